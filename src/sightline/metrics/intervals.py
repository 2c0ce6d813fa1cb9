"""Between which values a number lies, were other images drawn: 95 % intervals, and what they are made of.

A share has Wilson's interval. A mean over images, or what a confusion gives, has it too, of as many trials as would scatter as much as
the number does (its effective sample size): near 0 and 1, and with few images of a class, that covers better than a bootstrap.
"""

from __future__ import annotations

import math

import numpy as np

Interval = tuple[float, float]
Z = 1.96  # of the 95 % that lie in the middle of a normal distribution


def wilson_interval(share: float, n: float, z: float = Z) -> Interval:
    """The 95 % interval of a share seen in n independent trials (Wilson, 1927).

    >>> [round(x, 3) for x in wilson_interval(0.9, 100)]
    [0.826, 0.945]
    """
    if n == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding alone can part them, at shares of 0 and 1


def effective_interval(value: float, error: float, n: int, most: float = math.inf) -> Interval:
    """The 95 % interval of a number within 0..1 of n images whose standard error is known: Wilson's, of the number of trials whose share
    has that error, at most `most` (Korn & Graubard, 1998). Where all images are alike, n are taken."""
    spread = value * (1 - value)
    return wilson_interval(value, min(spread / error**2, most) if error > 1e-9 and spread > 0 else n)


def mean_interval(values: np.ndarray) -> Interval:
    """The 95 % interval of a mean over images, of values within 0..1."""
    n = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return effective_interval(float(values.mean()), error, n)


# --- the bootstrap ---------------------------------------------------------------------------------------------


def draws(images: int, samples: int, seed: int) -> np.ndarray:
    """How many times (samples, images) each of a bootstrap's draws has each image; each draw has `images` in all."""
    numbers = np.random.default_rng(seed)
    return np.array(
        [np.bincount(numbers.integers(0, max(images, 1), images), minlength=images) for _ in range(samples)]
    )


def ends(drawn: np.ndarray, value: float, level: float = 0.95, method: str = "basic") -> Interval:
    """The interval of a number that is `value` on the images and `drawn` (samples,) on a bootstrap's draws; NaN where these are none.

    "percentile" is where the middle `level` of the draws lie; "basic" mirrors them at the number (Davison & Hinkley 1997, equation 5.6).
    """
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)) if method == "percentile" else (float(2 * value - high), float(2 * value - low))


# --- two networks on the same images ---------------------------------------------------------------------------


def paired_mean_interval(differences: np.ndarray, samples: int = 1000) -> Interval:
    """The 95 % interval of a mean of differences, one of each image: a bootstrap over images (percentiles)."""
    n, numbers = len(differences), np.random.default_rng(0)
    drawn = np.array([differences[numbers.integers(0, n, n)].mean() for _ in range(samples)])
    return ends(drawn, float(differences.mean()), method="percentile")


def paired_share_interval(first: int, second: int, n: int) -> Interval:
    """The 95 % interval of the difference of two shares of the same n trials, of which `first` favour one alone and `second` the other
    (Bonett & Price, 2012): it covers where few trials differ too, which a bootstrap does not."""
    one, other = (first + 1) / (n + 2), (second + 1) / (n + 2)
    half = Z * math.sqrt((one + other - (one - other) ** 2) / (n + 2))
    return max(-1.0, one - other - half), min(1.0, one - other + half)


def mcnemar(first: int, second: int) -> float:
    """How probable it is that trials on which two differ favour one of them so clearly, or more, were they equally good (McNemar, 1947): the
    exact two-sided test. 1 where they differ on none.

    >>> mcnemar(9, 1)
    0.021484375
    """
    n = first + second
    ways = total = 1
    for k in range(min(first, second)):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return min(1.0, 2 * total / 2**n)
