"""Plant a fault in the library while it runs, and see whether a test notices it. Used by `test_planted_faults`.

A fault names a function and says what it does instead. The function's code is swapped in place, so the fault reaches
everyone who uses the function: whoever imported it by name, a table that holds it, a default argument.
"""

import contextlib
import inspect
import io
import pathlib
import pkgutil
import types
from collections.abc import Callable
from typing import NamedTuple

import pytest

TESTS = pathlib.Path(__file__).resolve().parent
OPTIONS = "-q -s --tb=short -o addopts= -p no:cacheprovider -p no:faulthandler -p no:unraisableexception".split()  # noqa: SIM905 (reads like a command line)


class Fault(NamedTuple):
    what: str  # what goes wrong, in words
    where: str  # the function in bigmodel_lib: "module:function" or "module:Class.method"
    faulty: Callable  # called in its place: faulty(original, *arguments), defaults included
    test: str  # the test in tests/ that must turn red: "test_file.py::test_name"


def find(where):
    """The function of that name. Raises LookupError, which says what to do, where there is none."""
    try:
        function = inspect.unwrap(pkgutil.resolve_name(f"bigmodel_lib.{where}"))
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{where} is not in bigmodel_lib ({error}): give the fault the name it has now") from None
    if not isinstance(function, types.FunctionType) or function.__closure__ or inspect.isgeneratorfunction(function):
        raise LookupError(f"{where} is no plain function: plant the fault in one that it calls, or that calls it")
    return function


def call_faulty(*arguments, faulty, **named):
    return faulty(*arguments, **named)


def plant(monkeypatch, where, faulty):
    """Let the function do something else until `monkeypatch` is undone."""
    function = find(where)
    original = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    original.__kwdefaults__ = function.__kwdefaults__
    signature = inspect.signature(original)

    def in_order(*arguments, **named):  # so that a fault needn't care which arguments its callers name
        given = signature.bind(*arguments, **named)
        given.apply_defaults()
        return faulty(original, *given.args, **given.kwargs)

    monkeypatch.setattr(function, "__code__", call_faulty.__code__)
    monkeypatch.setattr(function, "__defaults__", None)
    monkeypatch.setattr(function, "__kwdefaults__", {"faulty": in_order})


class Watcher:
    """A plugin of pytest that keeps what the tests raised, and ends the run at the first failed assertion."""

    def __init__(self):
        self.raised, self.asserted = [], False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.failed:
            self.raised.append(call.excinfo.value)
            if isinstance(call.excinfo.value, (AssertionError, pytest.fail.Exception)):
                self.asserted, item.session.shouldstop = True, "an assertion failed"
        return report


def run(test, folder):
    """(pytest's exit code, what it said, a Watcher of it) for one test, in this process; its files go into a folder."""
    watcher, said = Watcher(), io.StringIO()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTEST_ADDOPTS", "")
        environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # plugins for notebooks take long to load
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main([*OPTIONS, f"--basetemp={folder}", str(TESTS / test)], plugins=[watcher])
    return int(code), said.getvalue().strip(), watcher


def problem_with(fault, folder):
    """None if the test is green, and an assertion in it fails once the fault is planted; else what is wrong, in words.

    The test runs without the fault first, so whatever it imports or caches is right.
    """
    code, said, _ = run(fault.test, folder)
    if code != 0:
        return f"{fault.test} is not green without a fault: mend the test, or name another one.\n{said}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            plant(monkeypatch, fault.where, fault.faulty)
        except LookupError as error:
            return f"{error.args[0]}; if nothing does this any more, delete the fault"
        _, said, watcher = run(fault.test, folder)
    if watcher.asserted:
        return None
    if not watcher.raised:
        return f"{fault.test} stays green with this fault: name a test that notices it, or write one"
    return (
        f"{fault.test} ends in {watcher.raised[0]!r} before it compares anything: the fault no longer fits "
        f"{fault.where}, so bring it up to date\n{said}"
    )
