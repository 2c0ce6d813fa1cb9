"""Losses by Keras's names: functions of one batch, and classes that weigh and reduce their values."""

from __future__ import annotations

from typing import Any

import torch

from ..configurable import from_name
from ..errors import ArgumentError
from ..graph.build import snake_case
from ..keras_only import missing, own
from .boxes import BoxGIoU
from .classes import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    FunctionLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from .detection import DetectionLoss
from .functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from .pixels import PixelCrossentropy, PixelDice, PixelFocal, class_weights
from .sums import SumOfLosses

__all__ = [
    "LOSSES",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "BoxGIoU",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "DetectionLoss",
    "FunctionLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PixelCrossentropy",
    "PixelDice",
    "PixelFocal",
    "SparseCategoricalCrossentropy",
    "SumOfLosses",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "class_weights",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]

_CLASSES: tuple[type[Loss], ...] = (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    BoxGIoU,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    DetectionLoss,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    PixelCrossentropy,
    PixelDice,
    PixelFocal,
    SparseCategoricalCrossentropy,
    SumOfLosses,
)
LOSSES: dict[str, type[Loss]] = {
    **{kind.__name__: kind for kind in _CLASSES},
    **{snake_case(kind.__name__): kind for kind in _CLASSES},
    **dict.fromkeys(("bce", "BCE"), BinaryCrossentropy),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
}


def get(loss: Any) -> Loss:
    """A loss from its name, class, instance, or a function of (y_true, y_pred)."""
    if isinstance(loss, torch.nn.Module):
        raise ArgumentError(
            f"torch's {type(loss).__name__} takes (y_pred, y_true), a loss here (y_true, y_pred)",
            fix="Give lambda y_true, y_pred: module(y_pred, y_true)",
        )
    if callable(loss) and not isinstance(loss, (Loss, type)):
        return FunctionLoss(loss)
    told = {name: kind for name, kind in LOSSES.items() if name.islower()}  # the others differ by case alone
    return from_name("loss", LOSSES.get(loss, loss) if isinstance(loss, str) else loss, told, Loss)


def __getattr__(name: str) -> Any:
    raise missing("losses", name, own(globals()))
