"""Which networks have names, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..configurable import refuse_beyond
from ..errors import ArgumentError, SightlineError, choose
from ..graph.symbolic import Value
from ..layers import Input
from ..models import Model
from .lenet import lenet5
from .notes import intel_cnn, mnist_cnn, signs_cnn
from .small import small_cnn

Builder = Callable[[Value, int], Value]


@dataclass(frozen=True)
class Architecture:
    """A builder from an input to the output, with the shape (H, W, C) and the classes that it was published for."""

    build: Builder
    input_shape: tuple[int, int, int]
    classes: int

    @property
    def about(self) -> str:
        return " ".join((self.build.__doc__ or "").split(":")[0].split())


ARCHITECTURES: dict[str, Architecture] = {
    "intel_cnn": Architecture(intel_cnn, (150, 150, 3), 6),
    "lenet5": Architecture(lenet5, (32, 32, 1), 10),
    "mnist_cnn": Architecture(mnist_cnn, (28, 28, 1), 10),
    "signs_cnn": Architecture(signs_cnn, (128, 128, 1), 26),
    "small_cnn": Architecture(small_cnn, (32, 32, 3), 10),
}


def list_models() -> list[str]:
    """The names that `create` knows."""
    return sorted(ARCHITECTURES)


def find(name: str) -> Architecture:
    """The architecture of that name; raises ArgumentError with the nearest names."""
    return ARCHITECTURES[choose("model", name, ARCHITECTURES)]


def create(name: str, input_shape: Sequence[int] | None = None, classes: int | None = None, **unknown: Any) -> Model:
    """A new network by name, with new weights; `input_shape` (H, W, C) and `classes` default to the published ones.

    Raises ArgumentError for an unknown name or a number of classes below 2, ShapeError for an image that is too small.
    """
    refuse_beyond(create, unknown)
    architecture = find(name)
    classes = architecture.classes if classes is None else classes
    if not isinstance(classes, int) or classes < 2:
        raise ArgumentError("classes is a whole number of at least 2", received=repr(classes))
    shape = tuple(input_shape or architecture.input_shape)
    if len(shape) != 3:
        raise ArgumentError("input_shape is (height, width, channels)", received=repr(input_shape))
    inputs = Input(shape)
    try:
        return Model(inputs, architecture.build(inputs, classes), name=name)
    except SightlineError as error:
        raise type(error)(f"{name} cannot be made for images of {shape}: {error}") from error
