"""Optimizers by Keras's names, defaults and arithmetic, on torch's fused and multi-tensor kernels."""

from __future__ import annotations

from typing import Any

from .. import schedules as schedules
from ..configurable import from_name
from ..keras_only import missing, own
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .base import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}


def get(optimizer: Any) -> Optimizer:
    """An optimizer from its name, class or instance."""
    given = optimizer.lower() if isinstance(optimizer, str) else optimizer
    return from_name("optimizer", given, OPTIMIZERS, Optimizer)


def __getattr__(name: str) -> Any:
    raise missing("optimizers", name, own(globals()))
