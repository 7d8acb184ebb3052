"""What programmers write to each other: the sentences in the docstrings of an installed package."""

import ast
import importlib.util
import pathlib
import re
from collections.abc import Iterator

from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.sources import read_text

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PLAIN = re.compile(r"[A-Z][A-Za-z0-9,;:'\"()\- ]+[.!?]")  # letters, digits and everyday punctuation alone


def docstrings(package: str) -> Iterator[str]:
    """The docstrings of an installed package's files, but for its tests; "python" is the standard library.

    Raises CourseError for a package that is not there.
    """
    found = importlib.util.find_spec("ast" if package == "python" else package)  # "ast" is part of it
    if found is None or found.origin is None:
        raise CourseError(f"no package {package!r} is installed: name one that is")
    root = pathlib.Path(found.origin).parent
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root).parts
        if "site-packages" in inside or any("test" in part for part in inside):
            continue
        try:
            tree = ast.parse(read_text(file))
        except (CourseError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED):
                yield ast.get_docstring(node) or ""


def sentences(text: str) -> Iterator[str]:
    """The plain sentences of 5 to 40 words in a docstring, without marks of code."""
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(re.sub(r"[`*]+", "", re.sub(r":\w+:`", "`", paragraph)).split())
        plain = re.sub(r"^.*---[^A-Z]*", "", plain)  # a heading, its line, a name and its type
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", plain):
            if PLAIN.fullmatch(sentence) and 5 <= len(sentence.split()) <= 40:
                yield sentence


def package_sentences(package: str) -> list[str]:
    """The different sentences in a package's docstrings, in the order of its files."""
    return list(dict.fromkeys(sentence for text in docstrings(package) for sentence in sentences(text)))
