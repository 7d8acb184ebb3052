"""The slice of a notebook that the browser runs: no toy's cell is lost, nor what it needs."""

import ast
import json
import pathlib

import pytest
from toy_cells import made_and_used, needed, toys_of

NOTEBOOKS = sorted((pathlib.Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
GARDEN = "from bigmodel_lib.viz.garden import Garden"


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        ([GARDEN, "m = 1", "n = 2", "g = Garden(m)", "g"], {0, 1, 3, 4}),
        ([GARDEN, "def play(x):\n    return Garden(x)", "other = 1", "g = play(3)", "display(g)"], {0, 1, 3, 4}),
        ([GARDEN, "g = Garden(1)", "print(g.text)", "display(g)"], {0, 1, 3}),
        ([GARDEN, "xs = []", "xs.append(3)", "n = 0", "n += 1", "Garden(xs, n)"], {0, 1, 2, 3, 4, 5}),
    ],
)
def test_what_a_toy_needs_is_kept(cells, kept):
    assert needed(dict(enumerate(cells))) == kept


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_with_a_toy_is_kept(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = {place: "".join(cell["source"]) for place, cell in enumerate(cells) if cell["cell_type"] == "code"}
    trees = {place: ast.parse(source) for place, source in sources.items()}
    kept, toys = needed(sources), set().union(*map(toys_of, trees.values()))
    assert {place for place, tree in trees.items() if made_and_used(tree)[1] & toys} <= kept
