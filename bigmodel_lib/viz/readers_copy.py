"""Pictures for widgets in the reader's copies of the notebooks when they are saved: an extension of Jupyter Server."""

from collections.abc import Collection

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
PICTURE_NOTE = "*This is a picture of the widget. Run the cell to use it.*"
WIDGET_NOTE = "*A widget was shown here. Run the cell to get it back.*"


def _note(text: str) -> dict:
    return {"output_type": "display_data", "data": {"text/markdown": text, "text/plain": text}, "metadata": {}}


def _without_widget(output: dict, saved: Collection[str]) -> list[dict]:
    """The output with a picture for its widget. saved: the ids of those that the notebook can show without a kernel."""
    view = output.get("data", {}).get(WIDGET)
    if view is None or view.get("model_id") in saved:
        return [output]
    data = {name: value for name, value in output["data"].items() if name != WIDGET}
    if data.keys() - {"text/plain"}:
        return [dict(output, data=data), _note(PICTURE_NOTE)]
    return [_note(WIDGET_NOTE)]


def keep_pictures(model: dict, **_: object) -> None:
    """Before saving: keep each widget's picture, not the widget, which shows an error when its kernel is gone."""
    if model.get("type") != "notebook" or not model.get("content"):
        return
    notebook = model["content"]
    saved = notebook.get("metadata", {}).get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.get("cells", []):
        if "outputs" in cell:
            cell["outputs"] = [kept for output in cell["outputs"] for kept in _without_widget(output, saved)]


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(server):
    server.contents_manager.register_pre_save_hook(keep_pictures)
    if "pre_save_hook" not in server.config.ContentsManager:  # Jupytext's extension, loaded later, makes a new manager
        server.config.ContentsManager.pre_save_hook = keep_pictures
