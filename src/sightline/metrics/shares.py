"""Shares of right answers. The functions give 1 for a right answer and 0 for a wrong one."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import whole_number
from ..layout import channel_axis
from ..losses.reduction import weights_of
from ..losses.targets import aligned, class_targets, require_same_shape
from ..structures import IGNORE
from .base import SampleMean, largest_class


def accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """1 for each element of the prediction that equals the target's."""
    y_true, y_pred = aligned(y_true, y_pred)
    require_same_shape("accuracy", y_true, y_pred)
    return (y_true.to(y_pred.dtype) == y_pred).float()


def binary_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """1 for each element where the target is 1 and the prediction above the threshold, or 0 and not above."""
    y_true, y_pred = aligned(y_true, y_pred)
    require_same_shape("binary_accuracy", y_true, y_pred)
    return ((y_pred > threshold) == y_true).float()


def categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """1 where the largest prediction is the class of the one-hot target."""
    require_same_shape("categorical_accuracy", y_true, y_pred, "Class numbers take sparse_categorical_accuracy")
    axis = channel_axis(y_pred.ndim)
    return (y_true.argmax(axis) == y_pred.argmax(axis)).float()


def sparse_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """1 where the largest prediction is the target's class number; a number that is no class is never right."""
    return (class_targets(y_true, y_pred) == largest_class(y_pred)).float()


def shaped_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """The accuracy that fits the shapes, as Keras's compile resolves "accuracy": binary, one-hot or class numbers."""
    axis = channel_axis(y_pred.ndim)
    if y_pred.shape[axis] == 1:
        return binary_accuracy(y_true, y_pred)
    if y_true.ndim < y_pred.ndim or y_true.shape[channel_axis(y_true.ndim)] == 1:
        return sparse_categorical_accuracy(y_true, y_pred)
    return categorical_accuracy(y_true, y_pred)


def sparse_top_k_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, k: int = 5) -> torch.Tensor:
    """1 where fewer than k classes score above the target's class; never where the target's score is not finite."""
    axis = channel_axis(y_pred.ndim)
    target = class_targets(y_true, y_pred).long().unsqueeze(axis)
    inside = (target >= 0) & (target < y_pred.shape[axis])
    score = y_pred.gather(axis, torch.where(inside, target, 0))
    above = (y_pred > score).sum(axis, keepdim=True)
    return ((above < k) & inside & torch.isfinite(score)).squeeze(axis).float()


def top_k_categorical_accuracy(y_true: torch.Tensor, y_pred: torch.Tensor, k: int = 5) -> torch.Tensor:
    """As `sparse_top_k_categorical_accuracy`, for one-hot targets; class numbers are taken too."""
    if y_true.shape == y_pred.shape:
        y_true = y_true.argmax(channel_axis(y_true.ndim))
    return sparse_top_k_categorical_accuracy(y_true, y_pred, k)


class Accuracy(SampleMean):
    """The share of elements of `y_pred` that equal those of `y_true`: for predictions that are class numbers."""

    def __init__(self, name: str = "accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return accuracy(y_true, y_pred)


class ShapedAccuracy(SampleMean):
    """What "accuracy" means to `compile`: the kind of target (one-hot, class number, binary) is seen from its shape."""

    def __init__(self, name: str = "accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return shaped_accuracy(y_true, y_pred)


class BinaryAccuracy(SampleMean):
    """The share of elements on the target's side of `threshold`."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5, **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return binary_accuracy(y_true, y_pred, self.threshold)


class CategoricalAccuracy(SampleMean):
    """The share of right answers, one-hot targets."""

    def __init__(self, name: str = "categorical_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return categorical_accuracy(y_true, y_pred)


class SparseCategoricalAccuracy(SampleMean):
    """The share of right answers, class numbers."""

    def __init__(self, name: str = "sparse_categorical_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_categorical_accuracy(y_true, y_pred)


class PixelAccuracy(SampleMean):
    """The share of known pixels whose largest score is their class's: class numbers (N, H, W), of which `ignore_class` says nothing."""

    def __init__(self, ignore_class: int | None = IGNORE, name: str = "pixel_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.ignore_class = ignore_class

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_categorical_accuracy(y_true, y_pred)

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        values = self.values(y_true, y_pred)
        known = torch.ones_like(values)
        if self.ignore_class is not None:
            known = (class_targets(y_true, y_pred) != self.ignore_class).to(values.dtype)
        self.add(values, known if sample_weight is None else known * weights_of(values, sample_weight))


class TopKCategoricalAccuracy(SampleMean):
    """The share of samples whose class is among the k with the largest scores; one-hot targets, or class numbers."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.k = whole_number(k, f"{type(self).__name__}: k")

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


class SparseTopKCategoricalAccuracy(SampleMean):
    """The share of samples whose class is among the k with the largest scores; class numbers."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.k = whole_number(k, f"{type(self).__name__}: k")

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k)
