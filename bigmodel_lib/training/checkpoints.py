"""Models on disk: safetensors and JSON, never pickles. A file appears whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import tokenizer_from_dict


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file under a passing name and rename it: a reader sees the old file or the new one, never half.

    Raises CourseError where it cannot be written (no room, no permission); nothing is left behind then.
    """
    path = pathlib.Path(path)
    try:
        handle, passing = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(passing, 0o644)
            os.replace(passing, path)
            _sync_folder(path.parent)
        except BaseException:
            pathlib.Path(passing).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"{path} cannot be written ({reason}): make room, or name another folder") from None


@contextlib.contextmanager
def new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Fill the folder of a new run inside `with`, under a passing name: it appears filled, or not at all.

    Raises CourseError where it cannot be made; nothing is left behind then.
    """
    passing = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        _clear_half_made(folder)
        passing.mkdir(parents=True)
        yield passing
        _rename_folder(passing, folder)
        _sync_folder(folder.parent)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"the folder {folder} cannot be made ({reason}): name another") from None
    except CourseError as error:
        raise CourseError(str(error).replace(str(passing), str(folder))) from None
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _clear_half_made(folder: pathlib.Path) -> None:
    """Delete what a killed `new_folder` of this name has left."""
    for path in folder.parent.glob(".*"):
        ours = re.fullmatch(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}", path.name) and path.is_dir()
        if ours and all("checkpoint.safetensors" in inside.name for inside in path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def _rename_folder(passing: pathlib.Path, folder: pathlib.Path) -> None:
    """Rename, and try again where a virus scanner still reads the new files, which Windows takes for a refusal."""
    for pause in (0.1, 0.5, 2.0):
        try:
            os.rename(passing, folder)
            return
        except PermissionError:
            time.sleep(pause)
    os.rename(passing, folder)


def clear_passing(*paths: str | os.PathLike) -> None:
    """Delete what a killed `write_whole` of these files has left half written. For when nobody writes them."""
    for path in map(pathlib.Path, paths):
        for passing in path.parent.glob(f".{path.name}.????????"):
            passing.unlink(missing_ok=True)


def _sync_folder(folder: pathlib.Path) -> None:
    """Make a rename survive a power cut, on systems where a folder can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: str | os.PathLike, values: dict) -> None:
    """Write a dictionary as UTF-8 JSON, whole or not at all."""
    write_whole(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def read_json(path: str | os.PathLike) -> dict:
    """Read a dictionary. Raises CourseError for a file that is missing or is not one JSON object."""
    path = pathlib.Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path} is not there: name the folder of a finished pretraining run") from None
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise CourseError(f"{path} is damaged, one JSON object was wanted: make the run again")
    return values


def save_tensors(path: str | os.PathLike, tensors: dict, notes: dict | None = None) -> None:
    """Write named tensors and a JSON note as one safetensors file, whole or not at all."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(flat, {"notes": json.dumps(notes or {})}))


def load_tensors(path: str | os.PathLike) -> tuple[dict, dict]:
    """(named tensors on the CPU, the note). Raises CourseError for a file that is missing, cut short or foreign."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise CourseError(f"{path} is not there: name the folder of a pretraining run")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            return tensors, json.loads((file.metadata() or {}).get("notes", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CourseError(f"{path} is cut short or damaged ({error}): copy it again, or make the run again") from None


def read_notes(path: str | os.PathLike) -> dict:
    """The note of a safetensors file, without its tensors. Raises CourseError where there is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["notes"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise CourseError(f"{path} has no note of a run: name the folder of a run") from None


def fill(model: nn.Module, tensors: dict, path: str | os.PathLike) -> nn.Module:
    """Copy named tensors into the model, whatever their precision. Raises CourseError for another shape."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in [*wanted, *given]:
        if wanted.get(name) != given.get(name):
            raise CourseError(
                f"{path} is of another shape: {name} is {given.get(name, 'absent')} in it and "
                f"{wanted.get(name, 'absent')} in its config: put the config and the weights of one run together"
            )
    model.load_state_dict(tensors, strict=False)
    return model


def is_finished(folder: str | os.PathLike) -> bool:
    """Whether the run in a folder has written all it leaves: metrics.json is the last, then its checkpoint goes."""
    return (pathlib.Path(folder) / "metrics.json").exists()


def is_unfinished(folder: str | os.PathLike) -> bool:
    """Whether a run in a folder has still to go on, even if some files of a finished one are there already."""
    return (pathlib.Path(folder) / "checkpoint.safetensors").exists() and not is_finished(folder)


def save_model(folder: str | os.PathLike, model: nn.Module, tokenizer, dtype: torch.dtype = torch.float32) -> None:
    """Write model.safetensors, config.json and tokenizer.json into a folder."""
    folder = pathlib.Path(folder)
    save_tensors(folder / "model.safetensors", {n: p.to(dtype) for n, p in model.named_parameters()})
    write_json(folder / "config.json", model.config.to_dict())
    write_json(folder / "tokenizer.json", tokenizer.to_dict())


def own_or_committed(name: str) -> pathlib.Path:
    """The folder of the reader's own finished run, runs/`name`, or where there is none the course's, data/`name`.

    A run of the reader's counts in my_notebooks/ alone: notebooks/ holds outputs of the course's models.
    """
    committed = data_path(name)
    own = committed.parent.parent / "runs" / name
    finished = (own / "model.safetensors").exists() and not is_unfinished(own)
    return own if finished and pathlib.Path.cwd().name == "my_notebooks" else committed


def finished_folder(folder: str | os.PathLike) -> pathlib.Path:
    """The path of a finished run's folder. Raises CourseError for one that is missing or unfinished."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise CourseError(f"the checkpoint folder {folder} does not exist: check its name")
    if is_unfinished(folder):
        raise CourseError(f"the run in {folder} is not finished: continue it with --resume first")
    return folder


def load_model(folder: str | os.PathLike, device: torch.device | str = "cpu") -> tuple:
    """(model, tokenizer) of a folder that `save_model` or pretraining filled; the model is set to `eval`.

    Raises CourseError for a folder that is missing, unfinished or a classifier's, a file cut short, weights of another
    shape.
    """
    folder = finished_folder(folder)
    if (folder / "labels.json").exists():
        raise CourseError(f"{folder} holds a classifier and a language model was wanted: name a pretraining run")
    config = ModelConfig.from_dict(read_json(folder / "config.json"))
    tokenizer = tokenizer_from_dict(read_json(folder / "tokenizer.json"))
    if tokenizer.vocab_size + (not config.causal) != config.vocab_size:  # an encoder has one more, for hidden tokens
        raise CourseError(
            f"{folder} is of another shape: its tokenizer has {tokenizer.vocab_size} tokens and its config "
            f"{config.vocab_size}: put the files of one run together"
        )
    tensors, _ = load_tensors(folder / "model.safetensors")
    return fill(LanguageModel(config), tensors, folder / "model.safetensors").to(device).eval(), tokenizer
