"""Losses by Keras's names, first as functions of one batch that return a value for each sample.

`y_true` and `y_pred` are tensors as a network gives them: classes stand on the channel axis.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .configurable import Configurable, from_name
from .errors import ArgumentError, ShapeError
from .layout import channel_axis

EPSILON = 1e-7  # Keras's


def categorical_crossentropy(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> torch.Tensor:
    """-sum(y_true * log p) over classes; `y_true` holds a probability for each class (one-hot).

    Probabilities are made to sum to one and clipped to [1e-7, 1 - 1e-7], as Keras does; logits need neither.
    """
    _same_shape("categorical_crossentropy", y_true, y_pred, "sparse_categorical_crossentropy takes class numbers")
    axis = channel_axis(y_pred.ndim)
    y_true = y_true.to(y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y_pred.shape[axis]
    return -(y_true * _log_probabilities(y_pred, from_logits, axis)).sum(axis)


def sparse_categorical_crossentropy(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False
) -> torch.Tensor:
    """-log p[y_true]; `y_true` holds class numbers 0 .. classes - 1, of shape (N) or (N, 1)."""
    axis = channel_axis(y_pred.ndim)
    y_true = class_numbers(y_true, y_pred)
    if from_logits:
        return F.cross_entropy(y_pred, y_true, reduction="none")
    # not nll_loss: its backward fails on channels_last feature maps
    return -_log_probabilities(y_pred, False, axis).gather(axis, y_true.unsqueeze(axis)).squeeze(axis)


def mean_squared_error(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """The mean over the last axis of (y_true - y_pred)^2."""
    y_true = aligned(y_true, y_pred)
    _same_shape("mean_squared_error", y_true, y_pred, None)
    return (y_true.to(y_pred.dtype) - y_pred).square().mean(channel_axis(y_pred.ndim))


def aligned(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """`y_true` with a last axis of one added or removed, where `y_pred` has it so: (n) and (n, 1) would make (n, n)."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.unsqueeze(-1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.squeeze(-1)
    return y_true


def class_numbers(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """`y_true` as int64 class numbers, a trailing axis of one removed; raises ShapeError where it cannot be that."""
    axis = channel_axis(y_pred.ndim)
    if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    expected = y_pred.shape[:axis] + y_pred.shape[axis + 1 :] if axis >= 0 else y_pred.shape[:-1]
    if y_true.shape != expected:
        raise ShapeError(
            "The targets are not class numbers of these predictions",
            expected=f"targets of shape {tuple(expected)} for predictions of shape {tuple(y_pred.shape)}",
            received=f"targets of shape {tuple(y_true.shape)}",
            fix="One-hot targets take categorical_crossentropy",
        )
    numbers = y_true.long()
    if numbers.device.type == "cpu" and numbers.numel():  # elsewhere a look would wait for the device
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= y_pred.shape[axis] or not torch.equal(numbers.to(y_true.dtype), y_true):
            raise ArgumentError(
                "The targets are not class numbers of these predictions",
                expected=f"whole numbers 0 .. {y_pred.shape[axis] - 1}",
                received=f"{y_true.min().item():g} .. {y_true.max().item():g}",
            )
    return numbers


def _log_probabilities(y_pred: torch.Tensor, from_logits: bool, axis: int) -> torch.Tensor:
    if from_logits:
        return torch.log_softmax(y_pred, axis)
    return (y_pred / y_pred.sum(axis, keepdim=True)).clamp(EPSILON, 1 - EPSILON).log()


def _same_shape(where: str, y_true: torch.Tensor, y_pred: torch.Tensor, fix: str | None) -> None:
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            f"{where}: targets and predictions must have one shape",
            expected=f"targets of shape {tuple(y_pred.shape)}",
            received=tuple(y_true.shape),
            fix=fix,
        )


class Loss(Configurable, abc.ABC):
    """The mean over a batch of a loss for each sample: write one by giving `call`."""

    def __init__(self, name: str | None = None):
        self.name = name or type(self).__name__

    def __call__(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return self.call(y_true, y_pred).mean()

    @abc.abstractmethod
    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        """A value for each sample. Override this to write a loss."""

    def of_logits(self) -> Loss | None:
        """The same loss for what goes into a softmax instead of what comes out; None where there is no such."""
        return None


class CategoricalCrossentropy(Loss):
    """Cross-entropy with one-hot targets; see `categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        name: str = "categorical_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)

    def of_logits(self) -> Loss | None:
        if self.from_logits or type(self) is not CategoricalCrossentropy:  # a subclass wants its probabilities
            return None
        return CategoricalCrossentropy(True, self.label_smoothing)


class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy with class numbers; see `sparse_categorical_crossentropy`."""

    def __init__(self, from_logits: bool = False, name: str = "sparse_categorical_crossentropy", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.from_logits = from_logits

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)

    def of_logits(self) -> Loss | None:
        if self.from_logits or type(self) is not SparseCategoricalCrossentropy:
            return None
        return SparseCategoricalCrossentropy(True)


class MeanSquaredError(Loss):
    """The mean squared difference; see `mean_squared_error`."""

    def __init__(self, name: str = "mean_squared_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return mean_squared_error(y_true, y_pred)


class FunctionLoss(Loss):
    """A person's own function of (y_true, y_pred) that returns a value for each sample, or one."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], **unknown: Any):
        self._refuse(unknown)
        super().__init__(getattr(function, "__name__", None))
        self.function = function

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return self.function(aligned(y_true, y_pred), y_pred)


LOSSES: dict[str, type[Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
}


def get(loss: Any) -> Loss:
    """A loss from its name, class, instance, or a function of (y_true, y_pred)."""
    if callable(loss) and not isinstance(loss, (Loss, type)):
        return FunctionLoss(loss)
    return from_name("loss", loss, LOSSES, Loss)
