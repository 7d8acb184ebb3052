"""A simulated market: moods from calm to panic, now and then a jump, and what can be said of its days."""

import numpy as np
from numpy import ndarray
from scipy.stats import norm

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


def deviation(parts: Parts) -> ndarray:
    """σ of a mixture: √(Σ w (s² + m²) - (Σ w m)²)."""
    w, m, s = parts
    return np.sqrt((w * (s**2 + m**2)).sum(axis=-1) - (w * m).sum(axis=-1) ** 2)


def density(parts: Parts, r: ndarray) -> ndarray:
    """p(r) under each day's mixture, or under one for all days, (days,)."""
    w, m, s = parts
    return (w * norm.pdf(r[:, None], m, s)).sum(axis=-1)


def likelihoods(r: ndarray) -> ndarray:
    """p(a day's return | its mood), (days, K)."""
    return np.stack([density(parts_of(mood), r) for mood in np.eye(len(MOODS))], axis=1)
