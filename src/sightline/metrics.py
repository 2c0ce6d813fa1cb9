"""Metrics by Keras's names: pure functions of a batch that return a value for each sample, and their running means.

Sums stay on the device; only `result` reads them.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any

import torch

from .configurable import Configurable, from_name
from .graph.build import snake_case
from .layout import channel_axis
from .losses import aligned, class_numbers


def categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """1 where the largest prediction is the class of the one-hot target."""
    axis = channel_axis(y_pred.ndim)
    return (y_true.argmax(axis) == y_pred.argmax(axis)).float()


def sparse_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """1 where the largest prediction is the target's class number."""
    return (class_numbers(y_true, y_pred) == y_pred.argmax(channel_axis(y_pred.ndim))).float()


def binary_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """The share of the last axis where the target is 1 and the prediction above the threshold, or 0 and not above."""
    return ((y_pred > threshold).to(y_pred.dtype) == y_true.reshape(y_pred.shape).to(y_pred.dtype)).float().mean(-1)


def accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """The accuracy that fits the shapes, as Keras resolves "accuracy": binary, one-hot or class numbers."""
    axis = channel_axis(y_pred.ndim)
    if y_pred.shape[axis] == 1:
        return binary_accuracy(y_true, y_pred)
    if y_true.shape == y_pred.shape:
        return categorical_accuracy(y_true, y_pred)
    return sparse_categorical_accuracy(y_true, y_pred)


def sparse_top_k_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, k: int = 5) -> torch.Tensor:
    """1 where fewer than k classes score above the target's class; never where the target's score is not finite."""
    target = class_numbers(y_true, y_pred).unsqueeze(1)
    score = y_pred.gather(1, target)
    above = (y_pred > score).sum(1, keepdim=True)
    return ((above < k) & torch.isfinite(score)).squeeze(1).float()


def top_k_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, k: int = 5) -> torch.Tensor:
    """As `sparse_top_k_categorical_accuracy`, for one-hot targets; class numbers are taken too."""
    if y_true.shape == y_pred.shape:
        y_true = y_true.argmax(channel_axis(y_true.ndim))
    return sparse_top_k_categorical_accuracy(y_true, y_pred, k)


def wilson_interval(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share seen in n independent trials (Wilson, 1927).

    >>> [round(x, 3) for x in wilson_interval(0.9, 100)]
    [0.826, 0.945]
    """
    if n == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


class Metric(Configurable, abc.ABC):
    """A running measure: `update_state` for each batch, `result` when it is asked for, `reset_state` between epochs."""

    name: str

    def __init__(self, name: str | None = None):
        self.name = name or snake_case(type(self).__name__)

    @abc.abstractmethod
    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> None:
        """Take in one batch."""

    @abc.abstractmethod
    def result(self) -> float:
        """The measure over all batches since the last reset."""

    @abc.abstractmethod
    def reset_state(self) -> None:
        """Forget all batches."""


class Mean:
    """The mean of all values added since the last reset; its sum stays on the device."""

    def __init__(self) -> None:
        self.reset_state()

    def reset_state(self) -> None:
        self._total: torch.Tensor | float = 0.0
        self._count = 0

    def add(self, values: torch.Tensor, count: int | None = None) -> None:
        """Add a value for each sample; or, with `count`, a mean over that many."""
        values = values.detach().double()
        self._total = self._total + (values.sum() if count is None else values.mean() * count)
        self._count += values.numel() if count is None else count

    def result(self) -> float:
        return float(self._total) / self._count if self._count else math.nan


class SampleMean(Mean, Metric):
    """A metric that is the mean over samples of `values(y_true, y_pred)`."""

    @abc.abstractmethod
    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        """A value for each sample of a batch."""

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> None:
        self.add(self.values(y_true, y_pred))


class FunctionMetric(SampleMean):
    """A person's own function of (y_true, y_pred) that returns a value for each sample, or one."""

    def __init__(self, function: Callable[..., torch.Tensor], name: str | None = None, **unknown: Any):
        self._refuse(unknown)
        super().__init__()
        self.function = function
        self.name = name or str(getattr(function, "__name__", "metric"))

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.function(aligned(y_true, y_pred), y_pred))


class Accuracy(SampleMean):
    """The share of right answers; the kind of target (one-hot, class number, binary) is seen from its shape."""

    def __init__(self, name: str = "accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__()
        self.name = name

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return accuracy(y_true, y_pred)


class CategoricalAccuracy(Accuracy):
    """The share of right answers, one-hot targets."""

    def __init__(self, name: str = "categorical_accuracy", **unknown: Any):
        super().__init__(name, **unknown)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return categorical_accuracy(y_true, y_pred)


class SparseCategoricalAccuracy(Accuracy):
    """The share of right answers, class numbers."""

    def __init__(self, name: str = "sparse_categorical_accuracy", **unknown: Any):
        super().__init__(name, **unknown)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_categorical_accuracy(y_true, y_pred)


class TopKCategoricalAccuracy(SampleMean):
    """The share of samples whose class is among the k with the largest scores (Keras: k = 5)."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__()
        self.k, self.name = k, name

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


METRICS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "acc": Accuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
}


def get(metric: Any) -> Metric:
    """A metric from its name, class, instance, or a function of (y_true, y_pred)."""
    if callable(metric) and not isinstance(metric, (Metric, type)):
        return FunctionMetric(metric)
    made = from_name("metric", metric, METRICS, Metric)
    if metric == "acc":
        made.name = "acc"  # Keras keeps the short name in the history
    return made
