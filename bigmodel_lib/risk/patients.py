"""Simulated patients: timelines in which the order of events decides, and the true risk of each visit is known."""

import numpy as np
from numpy import ndarray

HISTORY = ("no family history", "family history")  # the first entry of every timeline
DRUGS = ("drug A", "drug B", "drug C", "drug D", "drug E", "drug F")
SYMPTOMS = ("rash", "cough", "dizziness", "bleeding", "swelling", "tremor")  # drug A may cause a rash, B a cough, …
OTHERS = ("check-up", "cold", "vaccination", "back pain")
EVENTS = (*HISTORY, *DRUGS, *SYMPTOMS, *OTHERS)
FIRST_DRUG, FIRST_SYMPTOM, FIRST_OTHER = (len(HISTORY), len(HISTORY + DRUGS), len(HISTORY + DRUGS + SYMPTOMS))
WINDOW = 10  # a symptom is a sign if its drug was started in the 10 visits before it
BASE, FAMILY, SIGN = np.log(1 / 300), np.log(3), np.log(5)  # log-odds at first, and what is added to them
PRESCRIBED = 0.3  # how often a symptom is answered by its own drug at the next visit: harmless, and misleading


def draw_events(n: int, visits: int, rng: np.random.Generator) -> ndarray:
    """Timelines of n patients, (n, visits) int64: family history first, then one event a visit."""
    sizes = [len(DRUGS), len(SYMPTOMS), len(OTHERS)]
    chances = np.repeat([0.2, 0.2, 0.6], sizes) / np.repeat(sizes, sizes)
    events = FIRST_DRUG + rng.choice(len(chances), size=(n, visits), p=chances)
    events[:, 0] = rng.random(n) < 0.3
    answered = rng.random((n, visits)) < PRESCRIBED
    for t in range(1, visits):
        before = events[:, t - 1]
        is_symptom = (before >= FIRST_SYMPTOM) & (before < FIRST_OTHER)
        events[:, t] = np.where(is_symptom & answered[:, t], before - len(DRUGS), events[:, t])
    return events


def causes(events: ndarray) -> ndarray:
    """For each visit how long ago the drug was started that makes its symptom a sign, 0 where there's none: (N, T)."""
    found = np.zeros_like(events)
    for back in range(WINDOW, 0, -1):  # the latest start counts
        if back < events.shape[1]:
            symptom, drug = events[:, back:], events[:, :-back]
            pair = (drug >= FIRST_DRUG) & (drug < FIRST_SYMPTOM) & (symptom == drug + len(DRUGS))
            found[:, back:][pair] = back
    return found


def true_risk(events: ndarray, base: float = BASE) -> ndarray:
    """The probability that the diagnosis is made at each visit, given the timeline up to it and none so far: (N, T).

    σ(ln 1/300 + ln 3 · family history + ln 5 · signs so far): each sign multiplies the odds by five, for good.
    """
    log_odds = base + FAMILY * (events[:, :1] == 1) + SIGN * np.cumsum(causes(events) > 0, axis=1)
    return 1 / (1 + np.exp(-log_odds))


def simulate(n: int, seed: int, visits: int = 40, base: float = BASE) -> tuple[ndarray, ndarray]:
    """(events, diagnosed) of n patients, (n, visits) each: diagnosed is 0 before the diagnosis, 1 at it, then -1."""
    rng = np.random.default_rng(seed)
    events = draw_events(n, visits, rng)
    diagnosed = (rng.random(events.shape) < true_risk(events, base)).astype(np.int64)
    over = np.cumsum(diagnosed, axis=1) - diagnosed > 0
    return events, np.where(over, -1, diagnosed)


def counts(events: ndarray, recency: bool = False) -> ndarray:
    """What a table can say at each visit: how often each event has happened so far, (N, T, V), or also when last.

    recency: V more columns, the visits since the last time, and 99 for never: (N, T, 2 V).
    """
    is_it = events[..., None] == np.arange(len(EVENTS))
    so_far = is_it.cumsum(axis=1).astype(np.float32)
    if not recency:
        return so_far
    place = np.arange(events.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(is_it, place, -1), axis=1)
    return np.concatenate([so_far, np.where(last < 0, 99, place - last).astype(np.float32)], axis=-1)
