"""Rows of results in one JSON file, from several processes: it is written anew after each, so a stopped run goes on."""

import argparse
import concurrent.futures
import importlib.metadata
import json
import multiprocessing
import pathlib
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bigmodel_lib.measuring.costs import hardware


def options(description: str, mini: str = "") -> argparse.Namespace:
    """What was asked for on the command line: how many processes, and whether a miniature will do."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--processes", type=int, default=2)
    if mini:
        parser.add_argument("--mini", action="store_true", help=mini)
    return parser.parse_args()


def how(recipe: str, packages: Sequence[str] = (), **settings: Any) -> dict:
    """What a file says of its making: the recipe's name and settings, and where it ran."""
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in ("numpy", "torch", *packages)}
    return {"made_by": f"data/recipes/{recipe}.py", **settings, "hardware": hardware(), "versions": versions}


def read(file: pathlib.Path) -> list[dict]:
    """The rows that are there already."""
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []


def write(file: pathlib.Path, rows: list[dict], order: Sequence[str], **head: Any) -> None:
    """Write what stands before the rows, and the rows, sorted by these fields, one a line; whole at once."""
    in_order = sorted(rows, key=lambda row: [row[field] for field in order])
    before = "".join(f'"{name}": {json.dumps(value)},\n ' for name, value in head.items())
    lines = ",\n  ".join(json.dumps(row) for row in in_order)
    half = file.with_suffix(".half")
    half.write_text(f'{{{before}"rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    half.replace(file)


def work_off(
    file: pathlib.Path,
    run: Callable[..., dict],
    jobs: Callable[[list[dict]], Iterable[list[tuple]]],
    fields: Sequence[str],
    keep: Callable[[list[dict]], None],
    processes: int,
    hidden: Sequence[str] = (),
) -> None:
    """Do what the file lacks of the jobs, part after part, and keep all rows after each.

    run(*job) gives a row, whose `fields` are the job again. jobs(rows so far): the later parts may need the earlier.
    """
    rows, start, spawn = read(file), time.perf_counter(), multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, spawn) as pool:
        for part in jobs(rows):
            done = {tuple(row[field] for field in fields) for row in rows}
            waiting = [pool.submit(run, *job) for job in part if job not in done]
            for future in concurrent.futures.as_completed(waiting):
                rows.append(future.result())
                keep(rows)
                shown = {name: value for name, value in rows[-1].items() if name not in hidden}
                print(f"{time.perf_counter() - start:6.0f} s", shown, flush=True)
