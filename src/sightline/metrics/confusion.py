"""Precision, recall and the area under a curve: counts of right and wrong answers at several thresholds at once.

A prediction is positive at the thresholds that lie below it. So one number of it is enough, how many lie below, and
what a metric keeps is a histogram of that number: all counts at all thresholds are sums of its bins.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, ShapeError
from ..layout import to_channels_last
from ..losses.functions import EPSILON
from ..losses.reduction import weights_of
from ..losses.targets import aligned, require_same_shape
from .base import Metric

NEVER = -1e10  # Keras's score of a class that is not among the top k


def thresholds_below(y_pred: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """How many of the sorted `thresholds` lie below each prediction, as int64; NaN is above none."""
    return torch.bucketize(torch.where(torch.isnan(y_pred), -torch.inf, y_pred), thresholds)


def even_thresholds_below(y_pred: torch.Tensor, number: int) -> torch.Tensor:
    """`thresholds_below` by Keras's arithmetic for `number` thresholds that divide [0, 1]: predictions are cut to it."""
    return (torch.nan_to_num(y_pred).clamp(0, 1) * (number - 1)).ceil().long()


def evenly_distributed(thresholds: Sequence[float] | np.ndarray) -> bool:
    """Whether three or more thresholds divide [0, 1] evenly, up to 1e-7."""
    even = np.arange(len(thresholds), dtype=np.float32) / max(len(thresholds) - 1, 1)
    return len(thresholds) >= 3 and bool(np.allclose(thresholds, even, atol=EPSILON))


def top_k_only(y_pred: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest scores of the last axis, of equal ones the first; `NEVER` in place of the others."""
    chosen = y_pred.argsort(dim=-1, descending=True, stable=True)[..., :k]
    return torch.full_like(y_pred, NEVER).scatter(-1, chosen, y_pred.gather(-1, chosen))


class ThresholdCounts:
    """The counts at sorted `levels` of all batches, for each column of the predictions.

    `evenly` counts as Keras does where the levels divide [0, 1] evenly.
    """

    def __init__(self, levels: Sequence[float], evenly: bool):
        self._levels, self._evenly = list(levels), evenly
        self.reset()

    def reset(self) -> None:
        self._histogram: torch.Tensor | None = None  # (2: no or yes, levels + 1, columns)

    def state_dict(self) -> dict[str, Any]:
        return {"_histogram": self._histogram}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._histogram = state["_histogram"]

    def add(self, y_true: torch.Tensor, y_pred: torch.Tensor, weights: torch.Tensor) -> None:
        """Add a batch: targets (any but zero is yes), predictions and weights, all of shape (cases, columns)."""
        bins, columns = len(self._levels) + 1, y_pred.shape[1]
        if self._histogram is None:
            self._histogram = torch.zeros(2, bins, columns, dtype=torch.float64, device=y_pred.device)
        if self._histogram.shape[2] != columns:
            raise ShapeError(
                "The number of labels changed between batches", expected=self._histogram.shape[2], received=columns
            )
        if self._evenly:  # a lowest level below 0 is below all
            below = even_thresholds_below(y_pred, len(self._levels)).clamp(min=int(self._levels[0] < 0))
        else:
            thresholds = torch.tensor(self._levels, dtype=torch.float32, device=y_pred.device)
            below = thresholds_below(y_pred, thresholds)
        cell = ((y_true != 0).long() * bins + below) * columns + torch.arange(columns, device=y_pred.device)
        self._histogram.view(-1).index_add_(0, cell.flatten(), weights.double().flatten())

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """True positives, false positives, true negatives, false negatives: each (levels, columns)."""
        histogram = (
            np.zeros((2, len(self._levels) + 1, 1)) if self._histogram is None else self._histogram.cpu().numpy()
        )
        positive = histogram[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
        negative = histogram.cumsum(1)[:, :-1]
        return positive[1], positive[0], negative[0], negative[1]


def last_axis_cases(
    y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets, predictions and their weights of one shape, as a person sees them: classes on the last axis."""
    y_true, y_pred = aligned(y_true, y_pred)
    require_same_shape("targets and predictions of a confusion", y_true, y_pred)
    ones = torch.ones_like(y_pred, dtype=torch.float32)
    weights = ones if sample_weight is None else weights_of(ones, sample_weight).expand_as(ones)
    return to_channels_last(y_true), to_channels_last(y_pred.float()), to_channels_last(weights)


class _AtThresholds(Metric):
    """A count, or a ratio of counts, at each threshold: a number for one threshold, else an array."""

    top_k: int | None = None
    class_id: int | None = None

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None):
        super().__init__(name)
        self.thresholds = thresholds
        asked = np.atleast_1d((0.5 if self.top_k is None else NEVER) if thresholds is None else thresholds)
        if thresholds is not None and not all(0 <= t <= 1 for t in asked):
            raise ArgumentError(f"{self.name}: thresholds are probabilities", expected="0 .. 1", received=thresholds)
        self._counts = ThresholdCounts(sorted(asked.tolist()), evenly_distributed(asked))
        self._place = np.searchsorted(np.sort(asked), asked)  # the result is in the order that was asked

    def reset_state(self) -> None:
        self._counts.reset()

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        y_true, y_pred, weights = last_axis_cases(y_true, y_pred, sample_weight)
        if self.top_k is not None:
            y_pred = top_k_only(y_pred, self.top_k)
        if self.class_id is not None:
            if y_pred.ndim < 2 or not 0 <= self.class_id < y_pred.shape[-1]:
                raise ShapeError(
                    f"{self.name}: there is no class {self.class_id}", received=f"predictions of {tuple(y_pred.shape)}"
                )
            y_true, y_pred, weights = (x[..., self.class_id] for x in (y_true, y_pred, weights))
        self._counts.add(*(x.reshape(-1, 1) for x in (y_true, y_pred, weights)))

    def result(self) -> float | np.ndarray:
        values = self.measure(*(count[:, 0] for count in self._counts.result()))
        values = values[self._place]
        return float(values[0]) if len(values) == 1 else values

    @abc.abstractmethod
    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        """The measure at each threshold from the counts there."""


def quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


class _Share(_AtThresholds):
    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.top_k, self.class_id = top_k, class_id
        super().__init__(thresholds, name)


class Precision(_Share):
    """True positives / all that is said to be positive: above `thresholds` (0.5), or among the `top_k` of its sample.

    `class_id` looks at one class alone. `thresholds` may be several in 0 .. 1: the result is an array then.
    """

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return quotient(tp, tp + fp)


class Recall(_Share):
    """True positives / all that is positive; arguments as `Precision` takes them."""

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return quotient(tp, tp + fn)


class _Count(_AtThresholds):
    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None, **unknown: Any):
        self._refuse(unknown)
        super().__init__(thresholds, name)


class TruePositives(_Count):
    """The (weighted) number of positives that are said to be so."""

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return tp


class FalsePositives(_Count):
    """The (weighted) number of negatives that are said to be positive."""

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return fp


class TrueNegatives(_Count):
    """The (weighted) number of negatives that are said to be so."""

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return tn


class FalseNegatives(_Count):
    """The (weighted) number of positives that are said to be negative."""

    def measure(self, tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
        return fn
