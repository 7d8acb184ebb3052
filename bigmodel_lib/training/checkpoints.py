"""Models on disk: safetensors and JSON, never pickles. A file appears whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.transformer import LanguageModel
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import Tokenizer, tokenizer_from_dict

Path = str | os.PathLike


def _rename(half: pathlib.Path, path: pathlib.Path) -> None:
    """Give the whole thing its name, and make that survive a power cut where a folder can be opened."""
    for pause in (0.1, 0.5, 2.0) if half.is_dir() else ():  # on Windows a virus scanner may still read a new folder
        try:
            os.replace(half, path)
            break
        except PermissionError:
            time.sleep(pause)
    else:
        os.replace(half, path)
    if os.name == "posix":
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The passing name of a file or folder, to fill inside `with`: under its own it appears whole, or not at all.

    Raises CourseError where it cannot be written (no room, no permission); nothing is left behind then.
    """
    half = path.with_name(f".{path.name}.half-written")  # what a kill leaves there is overwritten the next time
    try:
        yield half
        _rename(half, path)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise CourseError(f"{path} cannot be written ({reason}): make room, or name another folder") from None
    except CourseError as error:  # of a file in a folder
        raise CourseError(str(error).replace(str(half), str(path))) from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, `whole` or not at all."""
    with whole(pathlib.Path(path)) as half, half.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Make the folder of a new run, to fill inside `with`, `whole` or not at all."""
    with whole(folder) as half:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        yield half


def write_json(path: Path, values: dict) -> None:
    """Write a dictionary as UTF-8 JSON, whole or not at all."""
    write_whole(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def read_json(path: Path) -> dict:
    """Read a dictionary. Raises CourseError for a file that is missing or is not one JSON object."""
    try:
        values = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path} is not there: name the folder of a finished pretraining run") from None
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise CourseError(f"{path} is damaged, one JSON object was wanted: make the run again")
    return values


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict | None = None) -> None:
    """Write named tensors and a JSON note as one safetensors file, whole or not at all."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(flat, {"notes": json.dumps(notes or {})}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(named tensors on the CPU, the note). Raises CourseError for a file that is missing, cut short or foreign."""
    if not pathlib.Path(path).is_file():
        raise CourseError(f"{path} is not there: name the folder of a pretraining run")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            return tensors, json.loads((file.metadata() or {}).get("notes", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CourseError(f"{path} is cut short or damaged ({error}): copy it again, or make the run again") from None


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy named tensors into the model, whatever their precision. Raises CourseError for other names or shapes."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        what = str(error).split("\n\t")[1][:200]
        todo = "put the config and the weights of one run together"
        raise CourseError(f"{path} is of another shape ({what}): {todo}") from None


def save_model(folder: Path, model: nn.Module, tokenizer: Tokenizer, dtype: torch.dtype = torch.float32) -> None:
    """Write model.safetensors, config.json and tokenizer.json into a folder."""
    folder = pathlib.Path(folder)
    save_tensors(folder / "model.safetensors", {n: p.to(dtype) for n, p in model.named_parameters()})
    config: ModelConfig = model.config  # type: ignore[assignment]
    write_json(folder / "config.json", config.to_dict())
    write_json(folder / "tokenizer.json", tokenizer.to_dict())


def is_unfinished(folder: pathlib.Path) -> bool:
    """Whether a run has still to go on: metrics.json is the last file that it writes, then its checkpoint goes."""
    return (folder / "checkpoint.safetensors").exists() and not (folder / "metrics.json").exists()


def own_or_committed(name: str) -> pathlib.Path:
    """The folder of the reader's own finished run, runs/`name`, or where there is none the course's, data/`name`.

    A run of the reader's counts in my_notebooks/ alone: notebooks/ holds outputs of the course's models.
    """
    committed = data_path(name)
    own = committed.parent.parent / "runs" / name
    finished = (own / "model.safetensors").exists() and not is_unfinished(own)
    return own if finished and pathlib.Path.cwd().name == "my_notebooks" else committed


def finished_folder(folder: Path) -> pathlib.Path:
    """The path of a finished run's folder. Raises CourseError for one that is missing or unfinished."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise CourseError(f"the checkpoint folder {folder} does not exist: check its name")
    if is_unfinished(folder):
        raise CourseError(f"the run in {folder} is not finished: continue it with --resume first")
    return folder


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[LanguageModel, Tokenizer]:
    """(model, tokenizer) of a folder that `save_model` or pretraining filled; the model is set to `eval`.

    Raises CourseError for a folder that is missing, unfinished or a classifier's, a file cut short, another shape.
    """
    folder = finished_folder(folder)
    if (folder / "labels.json").exists():
        raise CourseError(f"{folder} holds a classifier and a language model was wanted: name a pretraining run")
    config = ModelConfig.from_dict(read_json(folder / "config.json"))
    tokenizer = tokenizer_from_dict(read_json(folder / "tokenizer.json"))
    if tokenizer.vocab_size + (not config.causal) != config.vocab_size:  # an encoder has one more, for hidden tokens
        wrong = f"its tokenizer has {tokenizer.vocab_size} tokens and its config {config.vocab_size}"
        raise CourseError(f"{folder} is of another shape: {wrong}: put the files of one run together")
    model = LanguageModel(config)
    fill(model, load_tensors(folder / "model.safetensors")[0], folder / "model.safetensors")
    return model.to(device).eval(), tokenizer
