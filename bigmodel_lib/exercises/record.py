"""What has been done so far: in this notebook, or in the whole course."""

import importlib
import json
import pathlib
import pkgutil

_seen: dict[str, str] = {}  # {exercise id: "right" or "not yet"}, of this kernel


def kept_in() -> pathlib.Path | None:
    """The file that remembers from notebook to notebook, in the reader's own folder for data; None without one."""
    import platformdirs

    return pathlib.Path(platformdirs.user_data_dir("bigmodel", appauthor=False), "progress.json")


def _remembered() -> dict[str, str]:
    path = kept_in()
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path else {}
    except (OSError, ValueError):
        return {}


def note(exercise_id: str, verdict: str) -> None:
    """Remember a verdict; what was right once stays right, and what was not attempted leaves no trace."""
    if verdict == "not attempted" or _seen.get(exercise_id) == "right":
        return
    _seen[exercise_id] = verdict
    path, before = kept_in(), _remembered()
    if path is None or before.get(exercise_id) in ("right", verdict):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**before, exercise_id: verdict}, indent=1), encoding="utf-8")
    except OSError:
        pass  # a folder that can't be written to: this kernel still knows


def done(notebook: str) -> dict[str, str]:
    """{exercise id: "right", "not yet" or "not attempted"} of one notebook, in order."""
    from bigmodel_lib.exercises.engine import entries

    known = {**_remembered(), **_seen}
    return {name: known.get(name, "not attempted") for name in entries(notebook)}


def notebooks() -> list[str]:
    """The numbers of the notebooks that have exercises."""
    folder = importlib.import_module("bigmodel_lib.exercises").__path__
    return sorted(module.name[2:] for module in pkgutil.iter_modules(folder) if module.name.startswith("nb"))


_SIGNS = {"right": "●", "not yet": "◐", "not attempted": "○"}


def progress(notebook: str | None = None) -> None:
    """Print what is done: of one notebook ("05"), exercise by exercise, or of the whole course, a line a notebook."""
    if notebook is not None:
        found = done(notebook)
        for name, verdict in found.items():
            print(f"{_SIGNS[verdict]} {name}: {verdict}")
        print(f"{sum(v == 'right' for v in found.values())} of {len(found)} right")
        return
    for number in notebooks():
        found = done(number)
        signs = "".join(_SIGNS[verdict] for verdict in found.values())
        print(f"{number} {signs} {sum(v == 'right' for v in found.values())} of {len(found)}")
