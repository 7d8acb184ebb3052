"""What JupyterLab saves of a reader's notebook: pictures, and no widget that lives in a kernel alone."""

import types

import nbformat
import pytest
from jupyter_server.extension.manager import ExtensionPackage
from jupyter_server.services.contents.filemanager import FileContentsManager
from traitlets.config import Config

from bigmodel_lib.viz import readers_copy
from bigmodel_lib.viz.readers_copy import PICTURE_NOTE, WIDGET, WIDGET_NOTE, WIDGET_STATE
from tools import workspace

VIEW = {"version_major": 2, "version_minor": 0, "model_id": "abc"}
PICTURE = {"image/png": "iVBORw0KGgo=", "text/plain": "Picture: a slider"}


def shown(**data):
    return nbformat.v4.new_output("display_data", data, metadata={"image/png": {"alt": "a slider"}})


@pytest.fixture(params=["the server's manager", "a manager that an extension put in its place later"])
def save(tmp_path, monkeypatch, request):
    """A function (outputs of one cell, metadata) -> what lies on the disk after Jupyter Server has saved them."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))  # where signatures are kept
    manager, config = FileContentsManager(root_dir=str(tmp_path)), Config()
    readers_copy._load_jupyter_server_extension(types.SimpleNamespace(contents_manager=manager, config=config))
    if "later" in request.param:
        manager = FileContentsManager(root_dir=str(tmp_path), config=config)

    def save_and_read(outputs, **metadata):
        cells = [nbformat.v4.new_markdown_cell("# text"), nbformat.v4.new_code_cell("1", outputs=outputs)]
        content = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
        manager.save({"type": "notebook", "content": content}, "one.ipynb")
        found = nbformat.read(tmp_path / "one.ipynb", as_version=4)
        nbformat.validate(found)
        return found

    return save_and_read


def outputs_of(notebook):
    return notebook["cells"][1]["outputs"]


def test_a_widget_with_a_picture_is_saved_as_its_picture(save):
    picture, note = outputs_of(save([shown(**PICTURE, **{WIDGET: VIEW})]))
    assert picture["data"] == PICTURE and picture["metadata"] == {"image/png": {"alt": "a slider"}}
    assert note["data"]["text/markdown"] == PICTURE_NOTE


def test_a_widget_without_a_picture_leaves_a_line_that_says_how_to_get_it_back(save):
    (note,) = outputs_of(save([shown(**{WIDGET: VIEW, "text/plain": "IntSlider(value=0)"})]))
    assert note["data"]["text/markdown"] == WIDGET_NOTE


def test_everything_else_is_saved_as_it_is(save):
    outputs = [
        nbformat.v4.new_output("stream", text="printed\n"),
        shown(**PICTURE),
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"]),
        nbformat.v4.new_output("execute_result", {"text/plain": "3"}, execution_count=1),
    ]
    assert outputs_of(save(outputs)) == outputs


def test_what_was_saved_once_is_saved_the_same_again(save):
    once = outputs_of(save([shown(**PICTURE, **{WIDGET: VIEW})]))
    assert outputs_of(save(once)) == once


def test_a_widget_whose_state_the_reader_saves_stays(save):
    state = {"version_major": 2, "version_minor": 0, "state": {"abc": {"model_name": "IntSliderModel"}}}
    outputs = [shown(**PICTURE, **{WIDGET: view}) for view in (VIEW, {**VIEW, "model_id": "another"})]
    first, second, _ = outputs_of(save(outputs, widgets={WIDGET_STATE: state}))
    assert first["data"][WIDGET] == VIEW and WIDGET not in second["data"]


@pytest.mark.parametrize("model", [{"type": "file", "content": "text"}, {"type": "notebook"}, {"type": "directory"}])
def test_other_files_are_left_alone(model):
    before = dict(model)
    readers_copy.keep_pictures(model=model, path="a", contents_manager=None)
    assert model == before


def test_jupyter_server_takes_it_for_an_extension():
    for name in workspace.SERVER_SETTINGS["ServerApp"]["jpserver_extensions"]:
        assert ExtensionPackage(name=name, enabled=True).validate()
