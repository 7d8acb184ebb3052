"""What stands for a widget where no kernel runs. What the widgets do is tested with what they show."""

import nbformat
import pytest
from nbclient import NotebookClient

VIEW = "application/vnd.jupyter.widget-view+json"
CELLS = [
    """
import ipywidgets
from bigmodel_lib.viz.plots import new_axes, plt, show
from bigmodel_lib.viz.widgets import interact

seen = []

def draw(x=1.0, name="a"):
    seen.append(x)
    ax = new_axes(f"{name} times {x}", "place", "value")
    ax.plot([0, x])
    show(ax, "A line, steeper for a larger x.", f"A line that rises to {x}.")

interact(draw, x=(0.0, 2.0, 0.5), name=["a", "b"])
""",
    """
(widget,) = (w for w in ipywidgets.widgets.widget._instances.values() if isinstance(w, ipywidgets.interactive))
slider, choice, _ = widget.children
slider.value = 2.0
print(widget.model_id, slider.min, slider.max, choice.options, set(seen[:-1]), seen[-1], plt.get_fignums())
""",
    """
def nothing(x=1.0):
    pass

interact(nothing, x=(0.0, 2.0))
""",
]


@pytest.fixture(scope="module")
def outputs():
    """The outputs of each of the cells, run in a kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True).execute()
    return [cell.outputs for cell in notebook.cells]


def test_sliders_have_their_first_picture_beside_them(outputs):
    picture, caption = outputs[0]
    assert picture["data"]["image/png"] and picture["metadata"]["image/png"]["alt"] == "A line that rises to 1.0."
    assert outputs[1][0]["text"].startswith(picture["data"][VIEW]["model_id"])
    assert caption["data"]["text/markdown"] == "*In JupyterLab, change x, name, and the picture follows.*"


def test_a_slider_that_is_moved_draws_anew_and_leaves_no_figure_open(outputs):
    assert outputs[1][0]["text"].split(maxsplit=1)[1] == "0.0 2.0 ('a', 'b') {1.0} 2.0 []\n"


def test_sliders_without_a_picture_are_refused(outputs):
    assert outputs[2][-1]["ename"] == "CourseError"
    assert outputs[2][-1]["evalue"] == "nothing shows no picture: let it call plots.show"
