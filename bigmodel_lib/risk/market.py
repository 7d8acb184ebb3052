"""A simulated market: moods from calm to panic, now and then a jump, and what can be said of its days."""

import numpy as np
from numpy import ndarray

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


def deviation(parts: Parts) -> ndarray:
    """σ of a mixture: √(Σ w (s² + m²) - (Σ w m)²)."""
    w, m, s = parts
    return np.sqrt((w * (s**2 + m**2)).sum(axis=-1) - (w * m).sum(axis=-1) ** 2)


def log_density(parts: Parts, r: ndarray) -> ndarray:
    """ln p(r) under each day's mixture, (days,)."""
    w, m, s = parts
    return np.log((w * np.exp(-(((r[:, None] - m) / s) ** 2) / 2) / s).sum(axis=-1) / np.sqrt(2 * np.pi))
