"""Losses as functions of one batch that return a value for each sample.

`y_true` and `y_pred` are tensors as a network gives them: classes stand on the channel axis, which is Keras's last
one. A function reduces that axis only: (N, C) gives (N), a feature map (N, C, H, W) gives (N, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..layout import channel_axis
from .targets import aligned, class_numbers, class_targets, require_same_shape

EPSILON = 1e-7  # Keras's


def categorical_crossentropy(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> torch.Tensor:
    """-sum(y_true * log p) over classes; `y_true` holds a probability for each class (one-hot).

    Probabilities are made to sum to one and clipped to [1e-7, 1 - 1e-7], as Keras does; logits need neither.
    """
    y_true = _smoothed_classes("categorical_crossentropy", y_true, y_pred, label_smoothing)
    return -(y_true * _log_probabilities(y_pred, from_logits)).sum(channel_axis(y_pred.ndim))


def categorical_focal_crossentropy(
    y_true: torch.Tensor,
    y_pred: torch.Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """-sum(alpha * (1 - p)^gamma * y_true * log p) over classes (Lin et al., 2017, equation 5); p as clipped above."""
    y_true = _smoothed_classes("categorical_focal_crossentropy", y_true, y_pred, label_smoothing)
    axis = channel_axis(y_pred.ndim)
    p = _clipped(torch.softmax(y_pred, axis) if from_logits else y_pred / y_pred.sum(axis, keepdim=True))
    return -(alpha * (1 - p) ** gamma * y_true * p.log()).sum(axis)


def sparse_categorical_crossentropy(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, ignore_class: int | None = None
) -> torch.Tensor:
    """-log p[y_true]; `y_true` holds class numbers 0 .. classes - 1, of shape (N) or (N, 1). 0 where `ignore_class`."""
    axis = channel_axis(y_pred.ndim)
    y_true = class_targets(y_true, y_pred)
    ignored = None if ignore_class is None else y_true == ignore_class
    numbers = class_numbers(y_true if ignored is None else y_true.masked_fill(ignored, 0), y_pred)
    # not nll_loss: its backward fails on channels_last feature maps
    values = -_log_probabilities(y_pred, from_logits).gather(axis, numbers.unsqueeze(axis)).squeeze(axis)
    return values if ignored is None else values.masked_fill(ignored, 0)


def binary_crossentropy(
    y_true: torch.Tensor, y_pred: torch.Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> torch.Tensor:
    """The mean over the last axis of -(y log p + (1 - y) log(1 - p)), p clipped to [1e-7, 1 - 1e-7]; logits are not."""
    y_true, y_pred = _alike("binary_crossentropy", y_true, y_pred)
    y_true = _smoothed(y_true, label_smoothing, 0.5)
    if from_logits:
        values = F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    else:
        values = _binary_crossentropy(y_true, y_pred)
    return values.mean(channel_axis(y_pred.ndim))


def binary_focal_crossentropy(
    y_true: torch.Tensor,
    y_pred: torch.Tensor,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """The binary cross-entropy times (1 - p of the true answer)^gamma, as a mean over the last axis (Lin et al., 2017).

    With `apply_class_balancing` ones count `alpha` times and zeros 1 - `alpha` times.
    """
    y_true, y_pred = _alike("binary_focal_crossentropy", y_true, y_pred)
    y_true = _smoothed(y_true, label_smoothing, 0.5)
    p = torch.sigmoid(y_pred) if from_logits else y_pred
    right = y_true * p + (1 - y_true) * (1 - p)
    values = (1 - right) ** gamma * _binary_crossentropy(y_true, p)
    if apply_class_balancing:
        values = values * (y_true * alpha + (1 - y_true) * (1 - alpha))
    return values.mean(channel_axis(y_pred.ndim))


def mean_squared_error(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """The mean over the last axis of (y_true - y_pred)^2."""
    y_true, y_pred = _alike("mean_squared_error", y_true, y_pred)
    return (y_true - y_pred).square().mean(channel_axis(y_pred.ndim))


def mean_absolute_error(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """The mean over the last axis of |y_true - y_pred|."""
    y_true, y_pred = _alike("mean_absolute_error", y_true, y_pred)
    return (y_true - y_pred).abs().mean(channel_axis(y_pred.ndim))


def huber(y_true: torch.Tensor, y_pred: torch.Tensor, delta: float = 1.0) -> torch.Tensor:
    """The mean over the last axis of e^2 / 2 where |e| <= delta, delta * |e| - delta^2 / 2 elsewhere; e is the error."""
    y_true, y_pred = _alike("huber", y_true, y_pred)
    size = (y_pred - y_true).abs()
    values = torch.where(size <= delta, 0.5 * size.square(), delta * size - 0.5 * delta**2)
    return values.mean(channel_axis(y_pred.ndim))


def _log_probabilities(y_pred: torch.Tensor, from_logits: bool) -> torch.Tensor:
    axis = channel_axis(y_pred.ndim)
    if from_logits:
        return torch.log_softmax(y_pred, axis)
    return _clipped(y_pred / y_pred.sum(axis, keepdim=True)).log()


def _clipped(p: torch.Tensor) -> torch.Tensor:
    return p.clamp(EPSILON, 1 - EPSILON)


def _binary_crossentropy(y_true: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    p = _clipped(p)
    return -(y_true * p.log() + (1 - y_true) * (1 - p).log())


def _smoothed_classes(where: str, y_true: torch.Tensor, y_pred: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    require_same_shape(where, y_true, y_pred, "Class numbers take sparse_categorical_crossentropy")
    return _smoothed(y_true.to(y_pred.dtype), label_smoothing, 1 / y_pred.shape[channel_axis(y_pred.ndim)])


def _smoothed(y_true: torch.Tensor, label_smoothing: float, even: float) -> torch.Tensor:
    return y_true * (1 - label_smoothing) + label_smoothing * even if label_smoothing else y_true


def _alike(where: str, y_true: torch.Tensor, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    y_true, y_pred = aligned(y_true, y_pred)
    require_same_shape(where, y_true, y_pred)
    return y_true.to(y_pred.dtype), y_pred
