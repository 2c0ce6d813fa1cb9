"""What the targets of a loss or metric must be to fit its predictions, said in sentences."""

from __future__ import annotations

import torch

from ..errors import ArgumentError, ShapeError
from ..layout import channel_axis


def aligned(y_true: torch.Tensor, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with one rank, where one has a last axis of size one more than the other: (n) and (n, 1) would make (n, n).

    Keras's rule: beside a vector the axis is given to the vector, elsewhere it is taken from the other.
    """
    if y_pred.ndim < y_true.ndim:
        return aligned(y_pred, y_true)[::-1]
    axis = channel_axis(y_pred.ndim) if y_pred.ndim else 0
    if y_pred.ndim != y_true.ndim + 1 or y_pred.shape[axis] != 1:
        return y_true, y_pred
    return (y_true.unsqueeze(-1), y_pred) if y_true.ndim == 1 else (y_true, y_pred.squeeze(axis))


def require_same_shape(where: str, y_true: torch.Tensor, y_pred: torch.Tensor, fix: str | None = None) -> None:
    """Raise ShapeError where targets and predictions would be broadcast against each other."""
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            f"{where}: targets and predictions must have one shape",
            expected=f"targets of shape {tuple(y_pred.shape)}",
            received=tuple(y_true.shape),
            fix=fix,
        )


def class_targets(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """Class numbers without a class axis of size one; raises ShapeError where there is not one for each prediction."""
    axis = channel_axis(y_pred.ndim)
    if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    expected = y_pred.shape[:axis] + y_pred.shape[axis + 1 :]
    if y_true.shape != expected:
        raise ShapeError(
            "The targets are not class numbers of these predictions",
            expected=f"targets of shape {tuple(expected)} for predictions of shape {tuple(y_pred.shape)}",
            received=f"targets of shape {tuple(y_true.shape)}",
            fix="One-hot targets take categorical_crossentropy",
        )
    return y_true


def class_numbers(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """`class_targets` as int64; raises ArgumentError where they are not whole numbers below the number of classes."""
    y_true = class_targets(y_true, y_pred)
    classes = y_pred.shape[channel_axis(y_pred.ndim)]
    numbers = y_true.long()
    if numbers.device.type == "cpu" and numbers.numel():  # elsewhere a look would wait for the device
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= classes or not torch.equal(numbers.to(y_true.dtype), y_true):
            raise ArgumentError(
                "The targets are not class numbers of these predictions",
                expected=f"whole numbers 0 .. {classes - 1}",
                received=f"{y_true.min().item():g} .. {y_true.max().item():g}",
            )
    return numbers
