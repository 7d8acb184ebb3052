"""`{{source by_hand.model.softmax}}` in a notebook: the library's own source of what is taught there.

A code cell of one or more such names becomes their source, and the notebook runs it. A Markdown cell shows it folded
and doesn't run it: that is for what the reader builds, so that ours doesn't take the place of theirs.
Docstrings are cut to their first line, and signatures lose their types; comments and layout of the bodies stay.
"""

import ast
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "bigmodel_lib"
PLACEHOLDER = re.compile(r"\{\{source ([\w. ]+)\}\}")
MARK = re.compile(r"\s*(Taught|Built by the reader) in \w+\.")  # what a docstring says of its notebook
LONGEST = 120
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def expand(cells: list) -> None:
    """Fill placeholders, and fill cells filled before anew."""
    for cell in cells:
        placeholder = PLACEHOLDER.fullmatch(cell["source"].strip())
        if placeholder:
            cell["metadata"]["source"] = " ".join(placeholder[1].split())
        if "source" in cell["metadata"]:
            shown = code if cell["cell_type"] == "code" else folded
            cell["source"] = shown(cell["metadata"]["source"].split())


def code(names: list[str]) -> str:
    """The source of all that is named, as a cell."""
    return "\n\n\n".join(source_of(name) for name in names)


def folded(names: list[str]) -> str:
    """The same as Markdown that opens when it is clicked."""
    called = " and ".join(f"<code>{name.split('.')[-1]}</code>" for name in names)
    return f"<details><summary>Ours: {called}</summary>\n\n```python\n{code(names)}\n```\n\n</details>"


def source_of(name: str) -> str:
    """The source of a function, class or method, by its name. Raises LookupError where there is none."""
    parts = name.split(".")
    for n in range(len(parts) - 1, 0, -1):
        for path in (LIBRARY.joinpath(*parts[:n]).with_suffix(".py"), LIBRARY.joinpath(*parts[:n], "__init__.py")):
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                return for_readers(text, definition(ast.parse(text), parts[n:], name))
    raise LookupError(f"{name} names no file of bigmodel_lib: write it like by_hand.model.softmax")


def definition(tree: ast.AST, path: list[str], name: str) -> ast.stmt:
    """The definition at a path of names, such as ["Attention", "forward"]."""
    for step in path:
        found = [node for node in tree.body if isinstance(node, DEFINITIONS) and node.name == step]
        if not found:
            raise LookupError(f"{name} is not defined in bigmodel_lib: give the placeholder the name it has now")
        tree = found[-1]
    return tree


def for_readers(text: str, node: ast.stmt) -> str:
    """A definition's text with plain signatures and short docstrings."""
    lines = text.splitlines()
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    inside = sorted((n for n in ast.walk(node) if isinstance(n, DEFINITIONS)), key=lambda n: -n.lineno)
    for each in inside:  # from the end, so that the lines before keep their numbers
        shorten_docstring(lines, each)
        if isinstance(each, ast.FunctionDef):
            replace_signature(lines, text, each)
    kept = text.splitlines()[node.end_lineno :]
    return textwrap.dedent("\n".join(lines[first - 1 : len(lines) - len(kept)]))


def shorten_docstring(lines: list[str], node: ast.stmt) -> None:
    """Put a docstring's first line in its place, without the mark of its notebook."""
    docstring = ast.get_docstring(node)
    if docstring is not None:
        place = node.body[0]
        short = MARK.sub("", docstring.splitlines()[0]).strip()
        lines[place.lineno - 1 : place.end_lineno] = [f'{" " * place.col_offset}"""{short}"""'] if short else []


def replace_signature(lines: list[str], text: str, node: ast.FunctionDef) -> None:
    """Put the signature without types in its place; a body of one line may follow on the same line."""
    first = node.body[0]
    begins = min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", []))])
    signature = plain_signature(text, node)
    before = lines[begins - 1].encode()[: first.col_offset]
    if before.strip():
        signature[-1] += lines[begins - 1].encode()[len(before.rstrip()) :].decode()
        begins += 1
    lines[node.lineno - 1 : begins - 1] = signature


def plain_signature(text: str, node: ast.FunctionDef) -> list[str]:
    """The lines of `def name(arguments):` without types, laid out as the formatter would."""
    indent = " " * node.col_offset
    arguments = arguments_of(text, node.args)
    line = f"{indent}def {node.name}({', '.join(arguments)}):"
    if len(line) <= LONGEST:
        return [line]
    inner = f"{indent}    {', '.join(arguments)}"
    rows = [inner] if len(inner) <= LONGEST else [f"{indent}    {argument}," for argument in arguments]
    return [f"{indent}def {node.name}(", *rows, f"{indent}):"]


def arguments_of(text: str, given: ast.arguments) -> list[str]:
    """The arguments as they are written, without types."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    written = [written_argument(text, *pair) for pair in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        written.insert(len(given.posonlyargs), "/")
    if given.vararg:
        written.append(f"*{given.vararg.arg}")
    elif given.kwonlyargs:
        written.append("*")
    written += [written_argument(text, *pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [*written, *([f"**{given.kwarg.arg}"] if given.kwarg else [])]


def written_argument(text: str, argument: ast.arg, default: ast.expr | None) -> str:
    return argument.arg if default is None else f"{argument.arg}={ast.get_source_segment(text, default)}"
