"""Layers that make one feature map of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from ..errors import ArgumentError, ShapeError
from ..layout import Shape, inner_axis, person_shape
from .base import Common, Layer


def _several(where: str, shapes: Sequence[Shape]) -> None:
    if len(shapes) < 2:
        raise ShapeError(f"{where} takes a list of at least two inputs", fix=f"layers.{where}()([a, b])")


def _people(shapes: Sequence[Shape]) -> str:
    return " and ".join(str((None, *person_shape(shape))) for shape in shapes)


class Add(Layer):
    """The sum of a list of inputs of one shape (axes of size 1 are stretched)."""

    def build(self, *shapes: Shape) -> None:
        _several("Add", shapes)
        try:
            torch.broadcast_shapes(*shapes)
            fits = (
                len({len(shape) for shape in shapes}) == 1
            )  # of unequal ranks, torch would pair channels with columns
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError("Add takes inputs of one shape", received=_people(shapes))

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total


class Concatenate(Layer):
    """A list of inputs one after the other along `axis`, as a person counts axes: -1 is channels."""

    def __init__(self, axis: int = -1, **common: Unpack[Common]):
        super().__init__(**common)
        self.axis = axis

    def build(self, *shapes: Shape) -> None:
        _several("Concatenate", shapes)
        rank = len(shapes[0]) + 1
        try:
            dim = inner_axis(self.axis, rank)
        except IndexError:
            raise ArgumentError(f"Concatenate: there is no axis {self.axis}", received=_people(shapes)) from None
        others = {(*s[: dim - 1], *s[dim:]) for s in shapes}
        if dim == 0 or len({len(s) for s in shapes}) > 1 or len(others) > 1:
            raise ShapeError(
                f"Concatenate takes inputs that differ only along axis {self.axis}", received=_people(shapes)
            )

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(inputs), dim=inner_axis(self.axis, inputs[0].ndim))
