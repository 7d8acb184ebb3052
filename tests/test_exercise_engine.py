"""How exercises are judged, whatever they ask: each fault that once slipped through, tried on small entries."""

import contextlib
import functools
import math
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from own_notebook import notebook_of

from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises import calls, engine, record
from bigmodel_lib.exercises.engine import Exercise, Gives, Tolerance, judge
from bigmodel_lib.exercises.watching import TooLong, within

OUTSIDE = np.ones(3)


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(record, "kept_in", lambda: None)


def an_exercise(**changes) -> Exercise:
    """An entry for `f(x)`, or with a plain answer for the value `f`."""
    parts = dict(
        id="99-f", title="", minutes=1, difficulty=1, task="", stub="def f(x):\n    return ...", name="f",
        hints=("", "", ""), answer=abs, another=(), wrong=(), right="right, and that is all",
    )  # fmt: skip
    return Exercise(**{**parts, **changes})


def _rows(rng):
    return (rng.normal(size=rng.integers(1, 5, size=rng.integers(1, 4))),)


def _centred(x):
    return x - x.mean(axis=-1, keepdims=True)


CENTRE = an_exercise(
    answer=_centred, inputs=_rows,
    special=(("one number", np.array([3.0])), ("a row of 1000s", np.array([1000.0, 1002.0]))),
    partial=((lambda x: x - x.mean(), "one row is right; the mean of all rows is taken"),),
    wrong=(
        (lambda x: x - np.median(x, axis=-1, keepdims=True), "that takes the median away"),
        (lambda x: x / x.mean(axis=-1, keepdims=True), "you divide"),
        (lambda x: x - x[:3].mean(axis=-1, keepdims=True), "only three rows fit"),
    ),
)  # fmt: skip


@pytest.fixture
def judged(monkeypatch):
    """judged(entry, attempt) -> (verdict, words), without a file of entries."""

    def run(exercise, attempt):
        monkeypatch.setattr(engine, "find", lambda exercise_id: exercise)
        return judge(exercise.id, attempt)

    return run


def one(answer, *arguments, **changes):
    """An entry that tries one named input."""
    return an_exercise(answer=answer, special=(("it", *arguments),), **changes)


# A cause is named only if it was verified


def test_a_known_mistake_is_named_whoever_writes_it(judged):
    assert judged(CENTRE, lambda x: x - np.median(x, -1)[..., None]) == ("not yet", "that takes the median away")
    assert judged(CENTRE, lambda x: x - np.average(x)) == ("not yet", CENTRE.partial[0][1])


def test_words_may_be_made_of_what_was_given(judged):
    rows = an_exercise(
        answer=_centred, special=(("two rows", np.array([[0.0, 1.0], [0.0, 3.0]])),),
        wrong=((lambda x: x - x.mean(axis=0), lambda inputs, given, _: f"{inputs[0][1, 1]:g} - 2 = {given[1, 1]:g}"),),
    )  # fmt: skip
    assert judged(rows, lambda x: x - sum(x) / len(x)) == ("not yet", "3 - 2 = 1")


def test_an_unknown_mistake_is_not_given_a_cause_but_shown(judged):
    verdict, words = judged(CENTRE, lambda x: _centred(x) + 0.125)
    assert verdict == "not yet" and "at place 0" in words and "x = [" in words and 'example("99-f", ' in words
    assert not any(said in words for _, said in CENTRE.wrong if isinstance(said, str))


def test_a_mistake_that_agrees_by_accident_on_one_input_is_not_named(judged):
    def median_of_short_rows(x):
        return x - np.median(x, axis=-1, keepdims=True) if x.shape[-1] < 4 else x

    assert "median" not in judged(CENTRE, median_of_short_rows)[1]


def test_the_smallest_failing_input_is_shown(judged):
    _, words = judged(CENTRE, lambda x: x)
    sizes = [calls.drawn(CENTRE, seed).size for seed in range(calls.TRIES)]
    shown = int(words.split('example("99-f", ')[1].split(")")[0])
    failing = [seed for seed in range(calls.TRIES) if abs(calls.drawn(CENTRE, seed).arguments[0].mean()) > 1e-9]
    assert calls.drawn(CENTRE, shown).size == min(sizes[seed] for seed in failing)


def test_example_gives_the_input_that_a_message_shows(monkeypatch):
    monkeypatch.setattr(engine, "find", lambda exercise_id: CENTRE)
    (x,) = engine.example("99-f", 7)
    assert np.array_equal(x, engine.example("99-f", 7)[0]) and x is not engine.example("99-f", 7)[0]
    assert engine.example("99-f", "one number")[0].tolist() == [3.0]
    with pytest.raises(CourseError, match="has no input 'two numbers'.*'one number'"):
        engine.example("99-f", "two numbers")


def test_a_case_of_the_task_is_tried_and_ordinary_inputs_get_credit(judged):
    verdict, words = judged(CENTRE, lambda x: _centred(x) if abs(x).max() < 100 else x)
    assert verdict == "not yet" and words.startswith("ordinary inputs come out right; a row of 1000s: at place 0")
    assert "x = [1000, 1002]" in words and 'example("99-f", "a row of 1000s")' in words


def test_digits_enough_to_see_the_difference_and_not_the_whole_answer(judged):
    wanted = np.array([0.123456, 0.2, 0.3])
    words = judged(one(lambda x: wanted, 0), lambda x: wanted + np.array([3e-6, 0, 1]))[1]
    assert (
        "0.123456 was wanted, yours has 0.123459" in words and "0.3" not in words and "2 of 3 numbers are off" in words
    )


@pytest.mark.parametrize("value, word", [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_nan_and_infinity_are_called_by_their_names(judged, value, word):
    verdict, words = judged(one(lambda x: 0.25, 1), lambda x: value)
    assert verdict == "not yet" and f"0.25 was wanted, yours gives {word}" in words
    assert judged(one(lambda x: value, 1), lambda x: value)[0] == "right"
    assert f"{word} was wanted, yours gives 0.25" in judged(one(lambda x: value, 1), lambda x: 0.25)[1]


# Inputs


def _double(x):
    return 2 * x


def _double_in_place(x):
    x *= 2
    return x


def test_an_input_changed_in_place_is_noticed_and_the_next_call_gets_a_whole_one(judged):
    exercise = an_exercise(answer=_double, inputs=_rows)
    for _ in range(2):
        verdict, words = judged(exercise, _double_in_place)
        assert verdict == "not yet" and "the result is right, but your function changes `x` in place" in words
    verdict, words = judged(one(sorted, [3, 1, 2]), lambda x: x.sort() or x)
    assert verdict == "not yet" and "changes `x` in place" in words


@pytest.mark.parametrize(
    "argument, spoil",
    [
        ({"a": np.ones(2)}, lambda x: x["a"].fill(0)),
        ({"a": 1}, lambda x: x.update(b=2)),
        ([[1, 2], [3]], lambda x: x[1].append(4)),
        ({1, 2}, lambda x: x.add(3)),
        (torch.ones(2), lambda x: x.zero_()),
    ],
    ids=["array in dict", "dict", "list in list", "set", "tensor"],
)
def test_every_kind_of_input_is_watched(judged, argument, spoil):
    def spoils(x):
        spoil(x)
        return 1

    verdict, words = judged(one(lambda x: 1, argument), spoils)
    assert verdict == "not yet" and "changes `x` in place" in words


def test_what_is_to_be_changed_in_place_is_compared(judged):
    def fill(x):
        x[0] = 7.0
        return 1

    exercise = one(fill, np.zeros(2), changes=(0,))
    assert judged(exercise, fill)[0] == "right"
    assert "`x` is as before: it is to be changed in place" in judged(exercise, lambda x: 1)[1]
    assert "`x` afterwards: at place 1" in judged(exercise, lambda x: x.fill(7) or 1)[1]


def test_a_wrong_result_with_an_input_spoiled_says_both(judged):
    exercise = one(lambda x: x.sum(), np.ones(3))
    words = judged(exercise, lambda x: np.add(x, 1, out=x).sum())[1]
    assert "3 was wanted, yours gives 6; it changes its argument `x` in place" in words


def test_what_is_changed_in_place_is_said_before_its_gradients_are_looked_at(judged):
    def added(x, y):
        return x + 2 * y

    case = ("it", torch.ones(2), torch.ones(2, requires_grad=True))
    exercise = an_exercise(answer=added, stub="def f(x, y):\n    return ...", special=(case,))
    assert judged(exercise, added)[0] == "right"
    words = judged(exercise, lambda x, y: x.add_(2 * y))[1]
    assert "the result is right, but your function changes `x` in place" in words


def test_an_array_outside_that_a_function_changes_is_noticed(judged):
    def spoils(x):
        OUTSIDE[0] += 1
        return x

    before = OUTSIDE.copy()
    verdict, words = judged(one(lambda x: x, 1), spoils)
    OUTSIDE[:] = before
    assert verdict == "not yet" and "changes `OUTSIDE`, which is defined outside it" in words


def test_an_argument_that_is_never_used_is_said(judged):
    exercise = an_exercise(
        stub="def f(x, scale):\n    return ...", answer=lambda x, scale: x * scale, special=(("it", 2.0, 3.0),)
    )
    assert "it never uses its argument `k`" in judged(exercise, lambda x, k: x)[1]
    assert "never uses" not in judged(exercise, lambda x, k: x + k)[1]


# Kinds


@pytest.mark.parametrize(
    "wanted, given, words",
    [
        (
            np.ones(2),
            [1.0, 1.0],
            "an array (2,) was wanted, yours gives a list of 2: `np.array` makes an array of a list",
        ),
        (np.ones(2), torch.ones(2), "yours gives a tensor of shape (2,): stay with NumPy"),
        (torch.ones(2), np.ones(2), "yours gives an array of shape (2,): stay with PyTorch"),
        (torch.ones(2, 3), [torch.ones(3)] * 2, "`torch.stack`"),
        (np.ones((2, 3)), np.ones((3, 2)), "an array (2, 3) was wanted, yours gives an array of shape (3, 2)"),
        (np.ones(2), 1.0, "yours gives the number 1"),
        (1.0, np.ones(1), "one number was wanted, yours gives an array of shape (1,)"),
        (1.0, "1", "one number was wanted, yours gives '1'"),
        (1.0, True, "one number was wanted, yours gives True"),
        (np.ones(2), np.ones(2) > 0, "True and False came back where numbers were wanted"),
        (np.ones(2) > 0, np.ones(2), "True and False were wanted"),
        (True, 1, "True or False was wanted, yours gives the number 1"),
        ((1, 2), 3, "a tuple of 2 was wanted, yours gives the number 3"),
        ([1, 2], (1, 2, 3), "a list of 2 was wanted, yours gives a tuple of 3"),
        ([1, [2, 3]], (1, [2, 4]), "at place 1: at place 1: 3 was wanted, yours gives 4"),
        ({"a": 1}, {"b": 1}, "your dictionary lacks the key 'a'"),
        ({"a": 1}, {"a": 1, "b": 1}, "your dictionary has the key 'b', which isn't wanted"),
        ({"a": 1}, {"a": 2}, "under 'a': 1 was wanted, yours gives 2"),
        ({"a": 1}, [1], "a dictionary was wanted, yours gives a list of 1"),
        ("ab", 3, "a text was wanted, yours gives the number 3"),
        ("ab", "ba", "'ab' was wanted, yours gives 'ba'"),
        ({1}, [1], "a set was wanted, yours gives a list of 1"),
        (np.ones(2), map(abs, [1, 1]), "yours gives a map"),
        (np.ones(2), np.array(["a", "b"]), "an array of shape (2,) can't be compared with that"),
    ],
    ids=lambda value: str(value).split(" object at ")[0],  # every process must find the same names
)
def test_the_wrong_kind_is_said_in_words(judged, wanted, given, words):
    verdict, said = judged(one(lambda x: wanted, 0), lambda x: given)
    assert verdict == "not yet" and words in said, said


@pytest.mark.parametrize(
    "wanted, given",
    [
        (1.5, np.float32(1.5)), (1.5, np.array(1.5)), (1.5, torch.tensor(1.5)), (2, 2.0), (torch.tensor(1.5), 1.5),
        ((np.ones(2), 1), [np.ones(2), 1.0]), ([1, 2], np.array([1, 2])), (np.ones(2), np.ones(2, dtype=int)),
        (True, np.True_), (np.float64(3), 3), ((torch.ones(1),) * 3, [torch.ones(1)] * 3),
    ],
    ids=str,
)  # fmt: skip
def test_other_dress_of_the_right_kind_passes(judged, wanted, given):
    assert judged(one(lambda x: wanted, 0), lambda x: given)[0] == "right"


def test_an_entry_may_ask_for_less_or_more(judged):
    lists = one(lambda x: np.ones(2), 0, gives=Gives(lists=True))
    assert judged(lists, lambda x: [1, 1.0])[0] == "right" and "shape (2,)" in judged(lists, lambda x: [1])[1]
    assert "rows of one length" in judged(lists, lambda x: [1, [2]])[1]
    dtype = one(lambda x: np.ones(2), 0, gives=Gives(dtype=True))
    assert "the dtype float64 was wanted, yours gives float32" in judged(dtype, lambda x: np.ones(2, dtype="f4"))[1]
    whole = one(lambda x: 3, 0, gives=Gives(integer=True))
    assert judged(whole, lambda x: np.int32(3))[0] == "right" and "a whole number" in judged(whole, lambda x: 3.0)[1]
    parts = one(lambda x: (1, 2, 3), 0, gives=Gives(parts=("m", "s", "y")))
    assert "m and y are right; s: 2 was wanted, yours gives 5" in judged(parts, lambda x: (1, 5, 3))[1]
    pairs = one(lambda x: ((1, 2), (3, 4)), 0, gives=Gives(parts=("x", "y")))
    assert "x is right; y: at place 1: 4 was wanted" in judged(pairs, lambda x: ((1, 2), (3, 5)))[1]
    assert "a tuple of 3 (m, s, y) was wanted" in judged(parts, lambda x: (1, 5))[1]


def test_a_known_mistake_is_known_in_any_dress_that_is_taken(judged):
    exercise = one(
        lambda x: np.array([1.0, 2.0]),
        0,
        gives=Gives(lists=True),
        wrong=((lambda x: np.zeros(2), "nothing was added"),),
    )
    assert judged(exercise, lambda x: [0, 0]) == ("not yet", "nothing was added")
    number = one(lambda x: 1.0, 0, wrong=((lambda x: 2.0, "twice as much"),))
    for other in (2, np.array(2.0), torch.tensor(2)):
        assert judged(number, lambda x, other=other: other) == ("not yet", "twice as much")


def test_a_right_value_of_the_wrong_kind_is_not_taken_for_a_mistake_of_another_kind(judged):
    exercise = one(
        lambda x: x.sum(), torch.ones(2, requires_grad=True), wrong=((lambda x: x.sum().item(), "that is a number"),)
    )
    assert judged(exercise, lambda x: sum(x).item()) == ("not yet", "that is a number")
    assert "your result has no gradient" in judged(exercise, lambda x: x.sum().detach())[1]


def test_a_wrong_dtype_is_not_taken_for_a_mistake_with_the_right_values(judged):
    exercise = an_exercise(
        answer=_centred, inputs=_rows, gives=Gives(dtype=True), special=(("1000s", np.array([1000.0, 1001.0])),),
        wrong=((lambda x: _centred(x) if x.max() < 100 else x, "it fails at 1000"),),
    )  # fmt: skip
    assert "the dtype float64 was wanted" in judged(exercise, lambda x: _centred(x).astype("f4"))[1]


def test_an_error_that_is_wanted_must_be_that_error(judged):
    def careful(x):
        if not x:
            raise ValueError("an empty text")
        return len(x)

    exercise = one(careful, "")
    assert judged(exercise, careful)[0] == "right"
    assert "ValueError was wanted, yours gives the number 0" in judged(exercise, len)[1]
    assert "it stopped with ZeroDivisionError" in judged(exercise, lambda x: 1 / 0)[1]


def test_none_and_a_printed_result_are_said(judged):
    assert "your function gives None; every way through it needs a `return`" in judged(CENTRE, lambda x: None)[1]
    assert "it prints something and gives back None" in judged(CENTRE, lambda x: print(x))[1]


def test_what_a_function_prints_is_not_shown(judged, capsys):
    assert judged(CENTRE, lambda x: print("here") or _centred(x))[0] == "right"
    assert capsys.readouterr().out == ""


def test_a_missing_gradient_is_said_before_backward_trips(judged):
    def loss(x):
        return (x**2).mean()

    exercise = one(loss, torch.arange(3.0, requires_grad=True))
    assert judged(exercise, lambda x: (x * x).sum() / 3)[0] == "right"
    assert "a plain number without a gradient" in judged(exercise, lambda x: loss(x).item())[1]
    assert "your result has no gradient" in judged(exercise, lambda x: loss(x).detach())[1]
    assert "its gradient is not" in judged(exercise, lambda x: (x * x.detach()).mean())[1]
    said = judged(exercise, lambda x: (x**2 // 1).mean())[1]
    assert "backward() through the result stopped with RuntimeError: derivative for aten::floor_divide" in said
    both = an_exercise(
        stub="def f(x, y):\n    return ...", answer=lambda x, y: (x * y).sum(),
        special=(("it", torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)),),
    )  # fmt: skip
    assert "no gradient reaches one of the inputs" in judged(both, lambda x, y: (x * y.detach()).sum())[1]


# Tolerances


def _softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", torch.float32, torch.bfloat16], ids=str)
def test_arithmetic_in_a_smaller_format_is_right(judged, dtype):
    def in_that_format(x):
        if isinstance(dtype, str):
            return _softmax(x.astype(dtype))
        return torch.from_numpy(x).to(dtype).softmax(dim=-1)

    wanted = _softmax if isinstance(dtype, str) else lambda x: torch.from_numpy(_softmax(x))
    assert judged(an_exercise(answer=wanted, inputs=_rows), in_that_format)[0] == "right"


def test_a_number_of_a_smaller_format_may_be_off_by_more(judged):
    assert judged(one(lambda x: 1.0, 0), lambda x: np.float32(1.0001))[0] == "right"
    assert judged(one(lambda x: 1.0, 0), lambda x: 1.0001)[0] == "not yet"
    assert judged(one(lambda x: np.float32(1), 0), lambda x: 1.001)[0] == "not yet"


def test_small_values_are_not_swallowed(judged):
    assert judged(one(lambda x: np.array([1e-9, 2e-9]), 1), lambda x: np.zeros(2))[0] == "not yet"
    assert judged(one(lambda x: 1e-12, 1), lambda x: 0.0)[0] == "not yet"
    assert judged(one(lambda x: 1e-12, 1), lambda x: 1e-12 * (1 + 1e-9))[0] == "right"


def test_what_cancels_may_leave_rounding_behind(judged):
    x = np.array([0.1, 0.2, 0.3])
    assert judged(one(lambda x: np.zeros(3), x), lambda x: (x + 0.1) - x - 0.1)[0] == "right"


def test_a_tolerance_of_its_own(judged):
    absolute, relative = (
        one(lambda x: 100.0, 0, tolerance=0.5),
        one(lambda x: 100.0, 0, tolerance=Tolerance(relative=0.01)),
    )
    for exercise, near, far in ((absolute, 100.4, 100.6), (relative, 100.9, 101.1)):
        assert judged(exercise, lambda x, near=near: near)[0] == "right"
        assert judged(exercise, lambda x, far=far: far)[0] == "not yet"


def test_several_right_results_are_compared_by_what_the_entry_sees_of_them(judged):
    exercise = one(lambda x: np.array([0, 1]), [5, 5], view=lambda result, x: np.sort(result))
    assert judged(exercise, lambda x: np.array([1, 0]))[0] == "right"
    assert "at place 1" in judged(exercise, lambda x: np.array([0, 2]))[1]
    assert "an array (2,) was wanted" in judged(exercise, lambda x: [1, 0])[1]


# Errors, loops, what is not finished


def test_an_exception_is_shown_as_it_was_with_the_readers_line(judged):
    def crashes(x):
        y = x.reshape(-1)
        return y @ np.ones(len(y) + 1)

    verdict, words = judged(CENTRE, crashes)
    assert verdict == "not yet" and "it stopped with ValueError: matmul: " in words
    assert "`return y @ np.ones(len(y) + 1)`" in words and f"line {crashes.__code__.co_firstlineno + 2}" in words


def test_a_known_mistake_that_crashes_keeps_its_error(judged):
    exercise = one(lambda x: x, 1, wrong=((lambda x: 1 / 0, "don't divide by nothing"),))
    words = judged(exercise, lambda x: x / 0)[1]
    assert words.startswith("don't divide by nothing (it stopped with ZeroDivisionError: division by zero (in line")


def test_a_function_that_takes_other_arguments_is_told_python_s_own_words(judged):
    assert "takes 2 positional arguments" not in judged(CENTRE, lambda x: x)[1]
    assert "missing 1 required positional argument: 'y'" in judged(CENTRE, lambda x, y: x)[1]


def test_an_endless_loop_ends_and_says_where(judged):
    def endless(x):
        while True:
            try:
                x = x + 1
            except Exception:
                break

    start = time.process_time()
    verdict, words = judged(an_exercise(answer=abs, special=(("it", 3),), seconds=0.3), endless)
    assert (
        verdict == "not yet"
        and "still running after 0.3 seconds" in words
        and "is there a loop that never ends" in words
    )
    assert "line" in words and "x = 3" in words and time.process_time() - start < 60


def test_an_endless_loop_that_swallows_everything_ends_too(judged):
    def stubborn(x):
        for _ in range(3):
            try:
                while True:
                    pass
            except BaseException:
                pass

    def bare(x):
        while True:
            try:
                x = x + 1
            except:  # noqa: E722
                x = 0

    assert "still running" in judged(one(abs, 3, seconds=0.1), stubborn)[1]
    assert "still running" in judged(one(abs, 3, seconds=0.1), bare)[1]


def test_an_own_check_is_watched_too(judged):
    exercise = an_exercise(check=lambda attempt: attempt(1) and "never", seconds=0.2)

    def endless(x):
        while True:
            pass

    assert "still running" in judged(exercise, endless)[1]
    assert "ZeroDivisionError" in judged(exercise, lambda x: 1 / 0)[1]
    assert judged(exercise, lambda x: x + ...)[0] == "not attempted"


def test_the_watch_never_reaches_beyond_its_end():
    for _ in range(2000):
        with contextlib.suppress(TooLong):
            within(1e-5, lambda: sum(range(100)))


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this system has no clocks of threads")
def test_only_the_time_counts_in_which_a_reader_s_code_computes():
    assert within(0.05, lambda: time.sleep(0.15) or "done") == "done"  # another program had the processor

    def asleep_for_ever():
        while True:
            time.sleep(0.001)

    with pytest.raises(TooLong):
        within(0.05, asleep_for_ever)


def test_nothing_is_left_of_the_watch(judged):
    exercise = one(lambda x: x, 1, seconds=0.05)
    for _ in range(20):
        assert judged(exercise, lambda x: x)[0] == "right"
    time.sleep(0.15)  # a watch that was not called off would raise here


WATCHED = """
import contextlib, faulthandler, sys, time
from bigmodel_lib.exercises.watching import TooLong, within

faulthandler.dump_traceback_later(60, exit=True)

def endless():
    while True:
        pass

for work in (lambda: 1, endless, *[lambda: time.sleep(0.012)] * 200):
    with contextlib.suppress(TooLong):
        within(0.002, work)
sys.setprofile(lambda *anything: None)
print([str(x) for x in [1, 2]])
"""


def test_a_profiler_works_after_the_watch():
    # an error that is taken back leaves Python 3.11 looking out for it: the first profiled function then never begins
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True)
    assert done.stdout == "['1', '2']\n", done.stderr


def whole_stub(x):
    return ...


def half_reached(x):
    mean = ...
    return x - mean


def half_in_a_branch(x):
    if x.ndim > 1:
        ...
    return x


def half_in_a_tuple(x):
    return x, ...


@pytest.mark.parametrize("attempt", [whole_stub, half_reached, half_in_a_branch, half_in_a_tuple, ..., None])
def test_what_is_not_finished_is_not_attempted(judged, attempt):
    verdict, words = judged(CENTRE, attempt)
    assert verdict == "not attempted" and words.startswith("replace the ...")


def test_a_right_answer_with_dots_left_over_is_right(judged):
    def over(x):
        return x[..., :] - x.mean(axis=-1)[..., None]
        return ...

    assert judged(CENTRE, over)[0] == "right"


def test_an_error_that_speaks_of_an_ellipsis_is_an_error(judged):
    verdict, words = judged(CENTRE, lambda x: x[..., ..., 0])
    assert verdict == "not yet" and "IndexError: an index can only have a single ellipsis" in words


def test_dots_that_take_a_slice_are_no_blank(judged):
    def slices(x):
        return x[..., :1] * 0

    assert judged(CENTRE, slices)[0] == "not yet"


def test_no_function_where_one_was_wanted(judged):
    assert judged(CENTRE, np.ones(3)) == ("not yet", "a function `f` was wanted, an array of shape (3,) was given")


def test_a_wrapped_or_partial_function_is_a_function(judged):
    assert judged(CENTRE, functools.partial(_centred))[0] == "right"
    assert judged(CENTRE, functools.wraps(whole_stub)(_centred))[0] == "right"


# Values


NUMBER = an_exercise(
    answer=13, stub="f = ...", wrong=((9, "that is nine"), (5, lambda _, given, __: f"{given:g} is half of it"))
)


@pytest.mark.parametrize("attempt", [13, 13.0, "13", np.float32(13), np.array(13), torch.tensor([13])], ids=str)
def test_a_number_in_any_dress(judged, attempt):
    assert judged(NUMBER, attempt) == ("right", "right, and that is all")


@pytest.mark.parametrize(
    "attempt, words",
    [
        (9, "that is nine"), (5.0, "5 is half of it"), (14, "14 is too large"), (0, "0 is too small"),
        (math.nan, "nan was given"), (math.inf, "inf was given"),
        ("x", "a number was wanted, 'x' was given"), ([13, 1], "a number was wanted"),
        (True, "a number was wanted, True was given"), (len, "a number was wanted, a function was given"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_number_gets_its_words_or_its_side(judged, attempt, words):
    verdict, said = judged(NUMBER, attempt)
    assert verdict == "not yet" and words in said and "13" not in said.replace("[13, 1]", "")


LETTER = an_exercise(answer="c", stub="f = ...", wrong=(("a", "not a"), ("b", "not b")))
ROWS = an_exercise(answer=[1, 2.5], stub="f = ...", tolerance=0.01, wrong=(((2.5, 1), "turned round"),))


@pytest.mark.parametrize(
    "exercise, attempt, verdict, words",
    [
        (LETTER, "(C).", "right", "right"), (LETTER, "c)", "right", "right"), (LETTER, "A", "not yet", "not a"),
        (LETTER, 3, "not yet", "one letter from a to c was wanted, 3 was given"),
        (LETTER, "maybe", "not yet", "one letter from a to c"),
        (ROWS, (1, 2.505), "right", "right"), (ROWS, torch.tensor([1, 2.5]), "right", "right"),
        (ROWS, np.array([2.5, 1]), "not yet", "turned round"),
        (ROWS, [1, 3], "not yet", "place 1 (counted from 0) is not right: 3"),
        (ROWS, [1], "not yet", "a list of 2 was wanted, [1] was given"), (ROWS, 1, "not yet", "a list of 2 was wanted"),
        (ROWS, [1, "x"], "not yet", "place 1"), (ROWS, [1, ...], "not attempted", "replace the ..."),
        (an_exercise(answer={0, 1}, stub=""), [1, 0], "right", "right"),
        (an_exercise(answer={0, 1}, stub=""), [1, 2], "not yet", "2 doesn't belong to it"),
        (an_exercise(answer={0, 1}, stub=""), {1}, "not yet", "something is missing"),
        (an_exercise(answer="the lamp", stub=""), " The  lamp. ", "right", "right"),
        (an_exercise(answer="the lamp", stub="", wrong=(("lamp", "which one?"),)), "Lamp", "not yet", "which one?"),
        (an_exercise(answer="the lamp", stub=""), 7, "not yet", "7 is not right"),
        (an_exercise(answer=["an", "ban"], stub=""), ["an", " BAN"], "right", "right"),
    ],
    ids=str,
)  # fmt: skip
def test_letters_texts_and_lists(judged, exercise, attempt, verdict, words):
    said = judged(exercise, attempt)
    assert said[0] == verdict and words in said[1], said


# What is remembered


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "progress.json"
    monkeypatch.setattr(record, "kept_in", lambda: path)
    monkeypatch.setattr(record, "_seen", {})
    return path


def test_progress_shows_what_is_done_here_and_in_the_whole_course(remembered, capsys):
    engine.check("05-accumulate", 9)
    engine.check("05-linear", (3, 5))
    engine.check("05-memory", ...)
    capsys.readouterr()
    record.progress("05")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["● 05-accumulate: right", "◐ 05-linear: not yet"] and lines[-1] == "1 of 7 right"
    record.progress()
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith("05 ●◐○") and row.endswith("1 of 7") for row in rows) and len(rows) == len(
        record.notebooks()
    )


def test_progress_outlives_the_kernel_and_a_right_answer_stays(remembered, capsys, monkeypatch):
    engine.check("05-accumulate", 9)
    monkeypatch.setattr(record, "_seen", {})
    engine.check("05-accumulate", 3)
    assert record.done("05")["05-accumulate"] == "not yet" and '"right"' in remembered.read_text()
    monkeypatch.setattr(record, "_seen", {})
    assert record.done("05")["05-accumulate"] == "right"


def test_what_was_not_attempted_leaves_no_file(remembered):
    engine.check("05-accumulate", ...)
    assert not remembered.parent.exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_a_damaged_record_counts_for_nothing(remembered, content, capsys):
    remembered.parent.mkdir()
    remembered.write_text(content)
    engine.check("05-accumulate", 9)
    assert record.done("05")["05-accumulate"] == "right"


def test_a_place_that_cannot_be_written_to_is_no_error(remembered, capsys):
    remembered.parent.write_text("a file where the folder should be")
    engine.check("05-accumulate", 9)
    assert record.done("05")["05-accumulate"] == "right"


# In a kernel


def test_a_set_where_order_counts_is_told_so():
    assert judge("04-embedding", {11, 22}) == ("not yet", "a set keeps no order: a list of 2 was wanted")


def said_in_a_kernel(*sources) -> list[str]:
    """What the cells of a notebook print."""
    notebook = notebook_of("from bigmodel_lib.exercises import check, progress, yours_or_ours", *sources)
    NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True).execute()
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells[1:]]


def test_in_a_notebook_a_loop_ends_an_error_has_its_line_and_the_kernel_goes_on():
    endless, error, half, done, after = said_in_a_kernel(
        "def merge_softmax(first, second):\n    while True:\n        pass\n"
        "merge_softmax = yours_or_ours('05-merge', merge_softmax)",
        "def merge_softmax(first, second):\n    m = first[0]\n    return m @ 'x'\ncheck('05-merge', merge_softmax)",
        "def merge_softmax(first, second):\n    m = ...\n    return first\ncheck('05-merge', merge_softmax)",
        "from bigmodel_lib.exercises.nb05 import merge_softmax as ours\n\ndef merge_softmax(first, second):\n"
        "    print('a trace')\n    return ours(first, second)\ncheck('05-merge', merge_softmax)\nprogress('05')",
        "print('and on')",
    )
    assert "still running after 5 seconds, in line" in endless and "uses ours" in endless
    assert "it stopped with TypeError: " in error and "(in line 3, `return m @ 'x'`)" in error
    assert done.startswith("05-merge ✓ right") and "a trace" not in done and "1 of 7 right" in done
    assert half.startswith("05-merge ○ not attempted: replace the ... in `m = ...`")
    assert after == "and on\n"
