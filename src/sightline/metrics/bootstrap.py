"""How much a measure would differ on other images: bootstraps over images (Efron, 1979)."""

from __future__ import annotations

import numpy as np

SAMPLES, LEVEL = 1000, 0.95


def draws(images: int, samples: int, seed: int) -> np.ndarray:
    """How many times (samples, images) each of a bootstrap's draws has each image; each draw has `images` in all."""
    numbers = np.random.default_rng(seed)
    return np.array(
        [np.bincount(numbers.integers(0, max(images, 1), images), minlength=images) for _ in range(samples)]
    )


def middle(drawn: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Between which values the middle `level` of what was drawn lies; NaN are left out, and NaN where nothing is left."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean over images, by 1,000 bootstrap samples of them (percentiles)."""
    return middle(draws(len(values), SAMPLES, 0) @ values / max(len(values), 1))
