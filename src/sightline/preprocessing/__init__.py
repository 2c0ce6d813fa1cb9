"""Keras's older preprocessing: `preprocessing.image` has ImageDataGenerator. It loads no torch."""

from typing import Any

from ..keras_only import missing
from . import image as image

__all__ = ["image"]


def __getattr__(name: str) -> Any:
    raise missing("preprocessing", name, __all__)
