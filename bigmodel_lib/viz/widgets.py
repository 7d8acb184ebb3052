"""What a reader plays with in a notebook: built on ipywidgets, each with a form that works without a screen."""

import html
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import anywidget
import ipywidgets
from IPython.utils.capture import capture_output

from bigmodel_lib.errors import CourseError
from bigmodel_lib.viz.plots import bundle, display_bundle


class Toy(anywidget.AnyWidget):
    """A widget whose script and style are beside its module, under its name, on top of what all of them share."""

    caption: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        own = pathlib.Path(sys.modules[cls.__module__].__file__ or "")
        shared = pathlib.Path(__file__).with_name("common")
        for name, suffix in (("_esm", ".js"), ("_css", ".css")):
            if not hasattr(cls, name):  # it has when traitlets makes a class of a widget
                files = shared.with_suffix(suffix), own.with_suffix(suffix)
                setattr(cls, name, "\n".join(file.read_text(encoding="utf-8") for file in files))
        super().__init_subclass__(**options)

    def picture(self) -> tuple[Any, str]:
        """(a figure for pages where no kernel runs, what is on it in words)."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        display_with_twin(self, *bundle(*self.picture()), self.caption)


def display_with_twin(widget: Any, data: dict, metadata: dict, caption: str) -> None:
    """Display a widget, beside it its twin for pages where no kernel runs, data by type, and a caption below both."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display_bundle({**data, "application/vnd.jupyter.widget-view+json": view}, metadata, caption)


def interact(draw: Callable[..., None], **controls: Any) -> None:
    """`ipywidgets.interact`, its first picture beside it where no kernel runs. Raises CourseError if there is none."""
    widget = ipywidgets.interactive(draw, **controls)
    with capture_output() as first:
        draw(**widget.kwargs)
    picture = next((output for output in first.outputs if "image/png" in output.data), None)
    if picture is None:
        raise CourseError(f"{draw.__name__} shows no picture: let it call plots.show")
    caption = f"In JupyterLab, change {', '.join(controls)}, and the picture follows."
    display_with_twin(widget, picture.data, picture.metadata, caption)


def switches(write: Callable[[list[str]], str], rows: Sequence[Sequence[str]], tried: Sequence[list[str]]) -> None:
    """A switch for each name in rows, and what `write(names that are off)` says; its twin, a table of those `tried`."""
    names = [name for row in rows for name in row]
    buttons = {name: ipywidgets.ToggleButton(True, description=name, icon="check") for name in names}
    text = ipywidgets.HTML()

    def again(change: Any = None) -> None:
        if change:
            change.owner.icon = "check" if change.new else "times"
        story = write([name for name in names if not buttons[name].value])
        text.value = f"<p style='font-size: 120%'>{html.escape(story)}</p>"

    for button in buttons.values():
        button.observe(again, "value")
    again()
    lines = [f"| {', '.join(off) or 'nothing'} | {write(off)} |" for off in tried]
    table = "\n".join(["| switched off | what it writes |", "| --- | --- |", *lines])
    panel = ipywidgets.VBox([*(ipywidgets.HBox([buttons[name] for name in row]) for row in rows), text])
    caption = "In JupyterLab, click on what you want to switch off or on, and the story is written anew."
    display_with_twin(panel, {"text/markdown": table, "text/plain": table}, {}, caption)
