"""Guess first: `predict` keeps a prediction, `compare` shows it beside the result."""

import numbers

_predictions: dict = {}


def predict(question: str, guess: object = ..., among: tuple | list | None = None) -> None:
    """Keep a prediction, a number or a choice, until `compare` shows it beside the result.

    among: (lowest, highest) for a number, or a list of choices; a guess that is none of them is not kept.
    """
    _predictions.pop(question, None)
    if guess is ...:
        print(f"{question}: no prediction yet, write one in place of the ...")
    elif isinstance(among, tuple) and not (isinstance(guess, numbers.Real) and among[0] <= guess <= among[1]):
        print(f"{question}: a number from {among[0]:g} to {among[1]:g} was wanted, {guess!r} was given")
    elif isinstance(among, list) and guess not in among:
        print(f"{question}: one of {among} was wanted, {guess!r} was given")
    else:
        _predictions[question] = guess
        print(f"{question}: you say {guess}")


def compare(question: str, result: object) -> None:
    """Print the prediction for a question beside its result; nothing about the result if there was no prediction."""
    guess = _predictions.get(question, ...)
    if guess is ...:
        print(f"{question}: you made no prediction")
    elif isinstance(guess, (int, float)) and isinstance(result, (int, float)):
        print(f"{question}: you said {guess:g}, it is {result:.4g}, off by {abs(guess - result):.3g}")
    else:
        verdict = "as predicted" if guess == result else "not as predicted"
        print(f"{question}: you said {guess}, it is {result}: {verdict}")
