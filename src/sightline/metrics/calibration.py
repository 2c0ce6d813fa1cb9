"""Whether probabilities can be trusted: of answers given with 80 %, 80 of 100 should be right (Guo et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15  # of equal width, as Guo et al. have them
LEAST, MOST = 1e-3, 1e3  # between which a temperature is looked for
DRAWS, LEVEL = 200, 0.95


class Reliability(NamedTuple):
    """For each bin of confidence: where it begins and ends, how many answers lie in it, their mean confidence, the share that is right
    (NaN in an empty bin)."""

    edges: np.ndarray
    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error (ECE): how far confidence and share lie apart, a mean over answers."""
        apart = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(self.n * apart) / self.n.sum())


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """How often answers (n,) of some confidence (0..1) are right, in bins of equal width."""
    at = _bins(confidence, bins)
    n = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(at, np.asarray(values, np.float64), bins) / n for values in (confidence, right)]
    return Reliability(np.linspace(0, 1, bins + 1), n, means[0], means[1])


def error_by_chance(confidence: np.ndarray, bins: int = BINS) -> float:
    """The ECE that 95 of 100 perfectly calibrated networks would stay within on answers of these confidences.

    It is above 0 because shares of few answers scatter, so an ECE below it says nothing against the network (Broecker & Smith, 2007).
    """
    confidence = np.asarray(confidence, np.float64)
    numbers, at = np.random.default_rng(0), _bins(confidence, bins)
    expected = np.bincount(at, confidence, bins)
    drawn = [
        np.abs(expected - np.bincount(at, numbers.random(len(at)) < confidence, bins)).sum() / len(at)
        for _ in range(DRAWS)
    ]
    return float(np.quantile(drawn, LEVEL))


def _bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    """In which bin each confidence lies; one on an edge in the lower one, as in Guo et al."""
    return np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, bins - 1)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The negative log-likelihood (n,) of the labels (n,) by probabilities (n, classes)."""
    said = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(said, np.finfo(np.float32).tiny))


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature) in float64, (n, classes). Logarithms of probabilities are logits too."""
    z = np.asarray(logits, np.float64) / temperature
    shares = np.exp(z - z.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature by which logits (n, classes) divided give the labels (n,) the least negative log-likelihood (Guo et al. 2017).

    The likelihood is concave in 1 / temperature; where its slope is 0 is found by halving an interval. None where no
    temperature is best: all are right, so that ever colder is better, or no better than chance, so that ever hotter is.
    """
    logits = np.asarray(logits, np.float64)
    true = logits[np.arange(len(labels)), labels]

    def slope(sharpness: float) -> float:
        """Of the negative log-likelihood, which rises with the sharpness."""
        return float(((tempered(logits, 1 / sharpness) * logits).sum(1) - true).mean())

    low, high = np.log([1 / MOST, 1 / LEAST])
    if np.array_equal(true, logits.max(1)) or slope(float(np.exp(low))) >= 0 or slope(float(np.exp(high))) <= 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))
