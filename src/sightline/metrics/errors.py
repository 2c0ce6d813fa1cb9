"""How far off: the mean errors and cross-entropies as metrics. Their functions are those of the losses."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..losses import functions
from ..losses.reduction import weights_of
from ..losses.targets import aligned, class_targets, require_same_shape
from .base import SampleMean


class MeanSquaredError(SampleMean):
    """The mean squared difference."""

    def __init__(self, name: str = "mean_squared_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.mean_squared_error(y_true, y_pred)


class RootMeanSquaredError(SampleMean):
    """The root of the mean squared difference over all batches."""

    def __init__(self, name: str = "root_mean_squared_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        y_true, y_pred = aligned(y_true, y_pred)
        require_same_shape("root_mean_squared_error", y_true, y_pred)
        return (y_pred - y_true.to(y_pred.dtype)).square()

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(SampleMean):
    """The mean difference without sign."""

    def __init__(self, name: str = "mean_absolute_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.mean_absolute_error(y_true, y_pred)


class BinaryCrossentropy(SampleMean):
    """The mean cross-entropy of yes or no."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


class CategoricalCrossentropy(SampleMean):
    """The mean cross-entropy, one-hot targets."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


class SparseCategoricalCrossentropy(SampleMean):
    """The mean cross-entropy, class numbers.

    Targets that are `ignore_class` give 0; as in Keras they are left out of the mean only where there are weights.
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        from_logits: bool = False,
        ignore_class: int | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.from_logits, self.ignore_class = from_logits, ignore_class

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class)

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        if sample_weight is not None and self.ignore_class is not None:
            counts = (class_targets(y_true, y_pred) != self.ignore_class).double()
            sample_weight = weights_of(counts, sample_weight) * counts
        super().update_state(y_true, y_pred, sample_weight)
