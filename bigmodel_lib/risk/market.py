"""A simulated market: moods from calm to panic, now and then a jump, and the best forecast that its past allows."""

import numpy as np
from numpy import ndarray
from scipy.optimize import brentq
from scipy.special import ndtr

MOODS = np.array([0.45, 0.7, 1.1, 1.8, 3.2])  # the deviation of a day's return in each mood, in per cent
STAY, JUMP, JUMP_MEAN, JUMP_DEVIATION = 0.98, 0.03, -1.0, 3.0  # a jump adds its own mean and deviation, in moods' σ
Parts = tuple[ndarray, ndarray, ndarray]  # the weights, means and deviations of a mixture of normals, (…, 2 K) each


def transitions() -> ndarray:
    """P(mood tomorrow | mood today), (K, K): it stays with 0.98, else goes one step up or down."""
    K = len(MOODS)
    step = np.eye(K, k=1) + np.eye(K, k=-1)
    step[:, -1] *= 0.4  # panic is rarer, and calms down
    return STAY * np.eye(K) + (1 - STAY) * step / step.sum(axis=1, keepdims=True)


def parts_of(mood: ndarray) -> Parts:
    """Tomorrow's return as a mixture: each mood without and with a jump. Shapes: mood (…, K) -> three of (…, 2 K)."""
    weights = np.concatenate([mood * (1 - JUMP), mood * JUMP], axis=-1)
    means = np.concatenate([0 * MOODS, JUMP_MEAN * MOODS])
    deviations = np.concatenate([MOODS, MOODS * np.sqrt(1 + JUMP_DEVIATION**2)])
    return weights, means + 0 * weights, deviations + 0 * weights


def simulate(days: int, seed: int) -> tuple[ndarray, ndarray]:
    """(returns in per cent, mood of each day), (days,) each."""
    rng = np.random.default_rng(seed)
    ladder, draws, mood = transitions().cumsum(axis=1), rng.random(days), 1
    moods = np.zeros(days, dtype=np.int64)
    for day in range(days):
        mood = min(int(np.searchsorted(ladder[mood], draws[day])), len(MOODS) - 1)
        moods[day] = mood
    jump = (rng.random(days) < JUMP) * (JUMP_MEAN + JUMP_DEVIATION * rng.standard_normal(days))
    return MOODS[moods] * (rng.standard_normal(days) + jump), moods


def likelihoods(r: ndarray) -> ndarray:
    """p(a day's return | its mood), (days, K)."""
    _, means, deviations = parts_of(np.zeros((len(r), len(MOODS))))
    density = np.exp(-(((r[:, None] - means) / deviations) ** 2) / 2) / deviations / np.sqrt(2 * np.pi)
    normal, jump = np.split(density, 2, axis=1)
    return (1 - JUMP) * normal + JUMP * jump


def next_mood(belief: ndarray, likelihood: ndarray, transition: ndarray) -> ndarray:
    """From what was believed of today's mood, and today's return, to tomorrow's: (Σ_i b_i ℓ_i P_ij) / Σ_i b_i ℓ_i.

    Shapes: belief (K,), likelihood (K,), transition (K, K) -> (K,). Source: Hamilton 1989, section 4.
    """
    seen = belief * likelihood
    return seen / seen.sum() @ transition


def best_beliefs(r: ndarray) -> ndarray:
    """P(tomorrow's mood | returns up to today) for each day, (days, K): no forecast from the past can know more."""
    transition, density = transitions(), likelihoods(r)
    belief = np.linalg.matrix_power(transition, 1000)[0]
    found = np.empty_like(density)
    for day, likelihood in enumerate(density):
        belief = found[day] = next_mood(belief, likelihood, transition)
    return found


def deviation(parts: Parts) -> ndarray:
    """σ of a mixture: √(Σ w (s² + m²) - (Σ w m)²)."""
    w, m, s = parts
    return np.sqrt((w * (s**2 + m**2)).sum(axis=-1) - (w * m).sum(axis=-1) ** 2)


def log_density(parts: Parts, r: ndarray) -> ndarray:
    """ln p(r) under each day's mixture, (days,)."""
    w, m, s = parts
    return np.log((w * np.exp(-(((r[:, None] - m) / s) ** 2) / 2) / s).sum(axis=-1) / np.sqrt(2 * np.pi))


def quantile(parts: Parts, p: float) -> ndarray:
    """The return below which tomorrow's is with probability p, (days,)."""
    return np.array([brentq(lambda x: w @ ndtr((x - m) / s) - p, -60, 60) for w, m, s in zip(*parts, strict=True)])  # noqa: B023
