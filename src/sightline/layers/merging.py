"""Layers that make one feature map of several."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from functools import reduce
from typing import Any, Unpack

import torch

from ..errors import ArgumentError, ShapeError
from ..layout import Shape, inner_axis, person_shape
from .base import Common, Layer


def _several(where: str, shapes: Sequence[Shape]) -> None:
    if len(shapes) < 2:
        raise ShapeError(f"{where} takes a list of at least two inputs", fix=f"layers.{where}()([a, b])")


def _people(shapes: Sequence[Shape]) -> str:
    return " and ".join(str((None, *person_shape(shape))) for shape in shapes)


class _Merge(Layer, abc.ABC):
    """A list of inputs of one shape (axes of size 1 are stretched) -> one, place by place."""

    def build(self, *shapes: Shape) -> None:
        where = type(self).__name__
        _several(where, shapes)
        try:
            torch.broadcast_shapes(*shapes)
            fits = len({len(s) for s in shapes}) == 1  # of unequal ranks, torch would pair channels with columns
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError(f"{where} takes inputs of one shape", received=_people(shapes))

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return reduce(self.combine, inputs)

    @abc.abstractmethod
    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Two inputs as one; further ones follow."""


class Add(_Merge):
    """The sum of a list of inputs."""

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one + other


class Subtract(_Merge):
    """The first of two inputs less the second."""

    def build(self, *shapes: Shape) -> None:
        super().build(*shapes)
        if len(shapes) != 2:
            raise ShapeError("Subtract takes two inputs", received=_people(shapes))

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one - other


class Multiply(_Merge):
    """The product of a list of inputs: a feature map times a weight (1, 1, C) for each channel, say."""

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one * other


class Average(_Merge):
    """The mean of a list of inputs."""

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return super().forward(inputs) / len(inputs)

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one + other


class Maximum(_Merge):
    """The largest of a list of inputs, at each place."""

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.maximum(one, other)


class Minimum(_Merge):
    """The smallest of a list of inputs, at each place."""

    def combine(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.minimum(one, other)


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


# Keras's functions: add([a, b]) is Add()([a, b])


def add(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Add()(inputs)`."""
    return Add(**common)(inputs)


def subtract(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Subtract()(inputs)`."""
    return Subtract(**common)(inputs)


def multiply(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Multiply()(inputs)`."""
    return Multiply(**common)(inputs)


def average(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Average()(inputs)`."""
    return Average(**common)(inputs)


def maximum(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Maximum()(inputs)`."""
    return Maximum(**common)(inputs)


def minimum(inputs: Sequence[Any], **common: Unpack[Common]) -> Any:
    """`Minimum()(inputs)`."""
    return Minimum(**common)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **common: Unpack[Common]) -> Any:
    """`Concatenate(axis)(inputs)`."""
    return Concatenate(axis, **common)(inputs)
