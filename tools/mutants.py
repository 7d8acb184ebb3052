"""How much of what breaks do the tests notice? `make mutants` breaks the library and counts.

cosmic-ray, its operators unchanged, lists every small change it knows of to seven parts of the library; a random sample
of them is tried, one at a time, in a copy of the project. A mutant is caught if a test fails, or never ends. Results
are kept in .mutants/, so a run can be cut short by --budget and goes on the next time; a changed file is tried anew.
"""

import argparse
import collections
import difflib
import hashlib
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from typing import NamedTuple, NoReturn

import hypothesis  # noqa: F401  (what tests need and takes long to import is there when a process is forked)
import numpy  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "bigmodel_lib"
RECORD = ROOT / ".mutants/results.jsonl"
EQUIVALENT = pathlib.Path(__file__).with_name("equivalent_mutants.toml")
COPIED = ("bigmodel_lib", "tests", "tools", "data", "notebooks", "conftest.py", "pyproject.toml")
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no")
PATIENCE = 6  # times as long as without a mutant, and it counts as endless
TWINS = ["test_backprop.py::test_the_twins_agree", "test_backprop.py::test_the_twins_agree_for_twenty_steps"]
OWN_RUN = "test_generation.py::test_the_readers_own_run_comes_first_and_only_if_it_is_finished"
PIECES = "test_generation.py::test_a_text_read_in_pieces_is_the_text_read_at_once"
PARTS = {  # {part: (files of the library, tests that run against it)}
    "attention": (
        ["by_hand/model.py", "model/layers.py"],
        ["test_model_numpy.py", "test_model.py", *TWINS, PIECES, "test_interpretation.py"],
    ),
    "backprop": (["by_hand/backprop.py"], ["test_backprop.py"]),
    "model": (["model/transformer.py"], ["test_model.py", *TWINS, "test_interpretation.py", "test_generation.py"]),
    "optimizers": (["by_hand/optimizers.py", "training/optimizers.py"], ["test_optimizers.py", "test_backprop.py"]),
    "sampling": (["generation.py"], ["test_generation.py"]),
    "tokenizers": (["text/tokenizers.py"], ["test_caught_mutants.py", "test_tokenizers.py"]),
    "resume": (["training/trainer.py", "training/checkpoints.py"], ["test_trainer.py", "test_pretraining.py", OWN_RUN]),
}


class Mutant(NamedTuple):
    """One change: the n-th place in a file where an operator applies."""

    part: str
    file: str  # in bigmodel_lib
    operator: str
    occurrence: int


def all_mutants(parts) -> list[Mutant]:
    """Every mutant of some parts, in an order that does not change."""
    from cosmic_ray import commands
    from cosmic_ray.work_db import use_db

    found = []
    for part in parts:
        paths = [LIBRARY / name for name in PARTS[part][0]]
        with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/work.sqlite") as work:
            commands.init(paths, work, {})
            for item in work.work_items:
                (change,) = item.mutations
                name = pathlib.Path(change.module_path).relative_to(LIBRARY).as_posix()
                found.append(Mutant(part, name, change.operator_name, change.occurrence))
    return sorted(found)


def mutated(mutant: Mutant) -> str:
    """The file's text with the change made."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = (LIBRARY / mutant.file).read_text(encoding="utf-8")
    return mutate_code(text, get_operator(mutant.operator)(), mutant.occurrence)


def change(mutant: Mutant, text: str) -> tuple[str, str]:
    """(what stood there, what stands there now), the lines that differ, without what is around them."""
    before = (LIBRARY / mutant.file).read_text(encoding="utf-8").splitlines()
    lines = [line for line in difflib.ndiff(before, text.splitlines()) if line[0] in "-+"]
    old, new = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return old, new


def run_tests(root: pathlib.Path, tests: list[str]) -> NoReturn:
    """Be a process that runs tests in a folder and says nothing; its exit code is pytest's."""
    os.setsid()
    os.chdir(root)
    sys.path[0] = os.environ["PYTHONPATH"] = str(root)
    sys.dont_write_bytecode = True  # a mutant of the same second and size would be taken for the one before
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        os._exit(pytest.main([*PYTEST, *tests]))
    finally:
        os._exit(1)


class Workshop:
    """A copy of the project in which mutants are tried."""

    def __init__(self, folder: str):
        self.root = pathlib.Path(folder)
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.root / name, **({"ignore": ignored} if copy is shutil.copytree else {}))
        self.seconds: dict[str, float] = {}

    def tests_pass(self, part: str, timeout: float = math.inf) -> bool:
        """Whether the part's tests pass in the copy, as it is now, within a time in seconds."""
        child = os.fork()
        if child == 0:
            run_tests(self.root, [f"tests/{name}" for name in PARTS[part][1]])
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status == 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def patience(self, part: str) -> float:
        """How long a mutant of a part may take. Ends the program if its tests fail without one."""
        if part not in self.seconds:
            start = time.monotonic()
            if not self.tests_pass(part):
                sys.exit(f"the tests of {part} fail without a mutant: {' '.join(PARTS[part][1])}")
            self.seconds[part] = time.monotonic() - start
        return PATIENCE * self.seconds[part] + 10

    def catches(self, mutant: Mutant, text: str) -> bool:
        """Whether a test notices the change."""
        patience = self.patience(mutant.part)
        target = self.root / "bigmodel_lib" / mutant.file
        target.write_text(text, encoding="utf-8")
        try:
            return not self.tests_pass(mutant.part, patience)
        finally:
            shutil.copy(LIBRARY / mutant.file, target)


def key(mutant: Mutant) -> str:
    """What a result is filed under: another text of the file is another mutant."""
    text = (LIBRARY / mutant.file).read_bytes()
    return f"{hashlib.sha256(text).hexdigest()[:16]} {mutant.file} {mutant.operator} {mutant.occurrence}"


def read_record() -> dict[str, dict]:
    """{key: result} of the runs before; the last one counts."""
    lines = RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []
    return {result["key"]: result for result in map(json.loads, lines)}


def write_result(mutant: Mutant, caught: bool, old: str, new: str) -> dict:
    """Add a result to the record."""
    result = dict(key=key(mutant), part=mutant.part, file=mutant.file, caught=caught, before=old, after=new)
    RECORD.parent.mkdir(exist_ok=True)
    with RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result, ensure_ascii=False) + "\n")
    return result


def reasons() -> dict[tuple[str, str, str], str]:
    """{(file, before, after): why no test can notice it} of the mutants that are equivalent."""
    rows = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    return {(row["file"], row["before"], row["after"]): row["reason"] for row in rows}


def try_out(mutants: list[Mutant], again: bool, minutes: float) -> tuple[list[dict], int]:
    """(results, how many are left) after trying, within a budget, those that have no result yet.

    again: try those that survived once more, too.
    """
    known, results, left, end = read_record(), [], 0, time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(folder)
        for mutant in mutants:
            result = known.get(key(mutant))
            if result is None or (again and not result["caught"]):
                if time.monotonic() > end:
                    left += 1
                    continue
                text = mutated(mutant)
                old, new = change(mutant, text)
                result = write_result(mutant, workshop.catches(mutant, text), old, new)
                print("." if result["caught"] else "S", end="", flush=True)
            results.append(result)
    print()
    return results, left


def report(results: list[dict], left: int) -> str:
    """The survivors, and the score: caught of all that are not equivalent."""
    excused, lines, counts = reasons(), [], collections.Counter()
    for result in results:
        where = (result["file"], result["before"], result["after"])
        outcome = "caught" if result["caught"] else "equivalent" if where in excused else "survived"
        counts[outcome] += 1
        if outcome == "survived":
            lines.append("{}\n  - {}\n  + {}".format(*where))
    score = 100 * counts["caught"] / max(1, len(results) - counts["equivalent"])
    parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("caught", "survived", "equivalent"))
    unfinished = f"; {left} not tried yet" if left else ""
    return "\n".join([*lines, f"{len(results)} mutants: {parts}; score {score:.1f} %{unfinished}"])


def write_score(words: str, seed: int) -> None:
    """Put the score of all parts into CONTRIBUTING.md."""
    page = ROOT / "CONTRIBUTING.md"
    text = page.read_text(encoding="utf-8")
    score = f"<!-- score -->\n{words}, drawn with seed {seed}.\n<!-- end -->"
    page.write_text(re.sub("<!-- score -->.*?<!-- end -->", lambda _: score, text, flags=re.S), encoding="utf-8")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", choices=[*PARTS, "exercises"], help="one part instead of all; or the exercises' answers"
    )
    parser.add_argument("--sample", type=int, default=200, help="how many mutants to draw (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument("--budget", type=float, default=60, help="minutes after which no new one is begun (60)")
    parser.add_argument("--again", action="store_true", help="try survivors again, after a test was added")
    options = parser.parse_args(arguments)
    if options.only == "exercises":
        from tools import answer_mutants

        return answer_mutants.main()
    everything = all_mutants([options.only] if options.only else PARTS)
    drawn = random.Random(options.seed).sample(everything, min(options.sample, len(everything)))
    print(f"{len(drawn)} of {len(everything)} mutants", flush=True)
    results, left = try_out(sorted(drawn), options.again, options.budget)
    words = report(results, left)
    print(words)
    if not (options.only or left):
        write_score(words.splitlines()[-1], options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
