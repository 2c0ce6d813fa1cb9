"""Small helpers by Keras's names."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from .errors import ArgumentError
from .keras_only import missing, own


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, so that what follows draws the same again."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ArgumentError("A seed is a whole number", received=repr(seed))
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers as one-hot float64 rows: (n,) -> (n, num_classes). Raises ArgumentError for numbers out of range."""
    given = np.asarray(x)
    if given.dtype.kind not in "biuf":
        raise ArgumentError("to_categorical takes class numbers", received=f"an array of {given.dtype}")
    numbers = given.astype(np.int64)
    if numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    classes = int(numbers.max(initial=-1)) + 1 if num_classes is None else num_classes
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
        received = f"{numbers.min()} .. {numbers.max()}"
        raise ArgumentError(
            "to_categorical: class numbers are out of range", expected=f"0 .. {classes - 1}", received=received
        )
    return np.eye(classes)[numbers]


def __getattr__(name: str) -> Any:
    raise missing("utils", name, own(globals()))
