"""Callbacks by Keras's names: what happens around the steps of a training.

`logs` holds the loss and metrics by name, those of the validation with `val_` before. After each batch it is read
from the device only if a callback looks.
"""

from __future__ import annotations

from typing import Any

from ..keras_only import missing, own
from .averages import SwapEMAWeights
from .backups import BackupAndRestore, in_order, watching
from .base import Callback, LambdaCallback, as_callbacks
from .checkpoints import ModelCheckpoint
from .logs import CSVLogger, History, TensorBoard
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .stopping import EarlyStopping, TerminateOnNaN, TimeBudget

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "TimeBudget",
    "as_callbacks",
    "in_order",
    "watching",
]


def __getattr__(name: str) -> Any:
    raise missing("callbacks", name, own(globals()))
