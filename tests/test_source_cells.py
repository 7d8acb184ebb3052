"""The source of the library as notebooks show it."""

import ast

import nbformat
import pytest
import run_notebooks
import source_cells

TEXT = '''
import functools


@functools.cache
def scale(x: "np.ndarray | None", *, by: float = 1e-3, of: tuple[int, ...] = (1, 2)) -> float:
    """Scale it. Taught in 01_attention_formula.

    Shapes: (T,) -> (T,).
    """
    # a comment that explains
    def inner(y: int, /, *rest: int, z: str = "a, b", **named: int) -> int:
        """Short."""
        return y  # stays

    kept: int = 1
    return x * by


class Layer(Base):
    """What it is.

    And more.
    """

    width: int = 3

    def forward(
        self, something_with_a_long_name: dict[str, int], another_with_a_long_name: list[str], third_name: int = 10_000
    ) -> None:
        """Go."""
        pass
'''
SHOWN = {
    "scale": '''@functools.cache
def scale(x, *, by=1e-3, of=(1, 2)):
    """Scale it."""
    # a comment that explains
    def inner(y, /, *rest, z="a, b", **named):
        """Short."""
        return y  # stays

    kept: int = 1
    return x * by''',
    "Layer": '''class Layer(Base):
    """What it is."""

    width: int = 3

    def forward(self, something_with_a_long_name, another_with_a_long_name, third_name=10_000):
        """Go."""
        pass''',
    "Layer.forward": '''def forward(self, something_with_a_long_name, another_with_a_long_name, third_name=10_000):
    """Go."""
    pass''',
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file.py").write_text(TEXT)
    monkeypatch.setattr(source_cells, "LIBRARY", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SHOWN)
def test_docstrings_are_cut_types_go_and_the_rest_stays(library, name):
    assert source_cells.source_of(f"folder.file.{name}") == SHOWN[name]


def test_a_signature_too_long_for_a_line_is_laid_out_as_the_formatter_would(library):
    names = [f"a_rather_long_name_{i}" for i in range(8)]
    (library / "folder/file.py").write_text(f"def f({', '.join(f'{n}: int' for n in names)}):\n    return 0\n")
    rows = [f"    {name}," for name in names]
    assert source_cells.source_of("folder.file.f").splitlines() == ["def f(", *rows, "):", "    return 0"]


@pytest.mark.parametrize("name", ["folder.file.nothing", "folder.nothing.f", "nothing", "folder.file.Layer.nothing"])
def test_a_name_that_is_not_there_is_refused_with_the_name(library, name):
    with pytest.raises(LookupError, match=name):
        source_cells.source_of(name)


def test_a_body_on_the_line_of_its_signature_stays_there(library):
    (library / "folder/file.py").write_text("def f(x: str = 'é') -> int: ...  # later\n")
    assert source_cells.source_of("folder.file.f") == "def f(x='é'): ...  # later"


def test_code_cells_run_it_markdown_cells_fold_it_and_both_are_filled_anew_at_every_run(library):
    cells = [nbformat.v4.new_code_cell("{{source folder.file.scale  folder.file.Layer}}")]
    cells += [nbformat.v4.new_markdown_cell("{{source folder.file.scale}}"), nbformat.v4.new_code_cell("x = 1")]
    source_cells.expand(cells)
    assert cells[0]["source"] == f"{SHOWN['scale']}\n\n\n{SHOWN['Layer']}"
    assert cells[1]["source"].startswith(
        "<details><summary>Ours: <code>scale</code></summary>\n\n```python\n@functools"
    )
    assert cells[2]["source"] == "x = 1" and "source" not in cells[2]["metadata"]
    run_notebooks.normalise(nbformat.v4.new_notebook(cells=cells))
    (library / "folder/file.py").write_text(TEXT.replace("1e-3", "2.0"))
    source_cells.expand(cells)
    assert all("by=2.0" in cell["source"] for cell in cells[:2])


def test_every_function_of_the_library_can_be_shown():
    for path in source_cells.LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, source_cells.DEFINITIONS):
                (shown,) = ast.parse(source_cells.for_readers(text, node)).body
                assert shown.name == node.name and "Taught in" not in (ast.get_docstring(shown) or "")
