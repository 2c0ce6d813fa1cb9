"""Layers that move values and change none: flattening, reshaping, padding, cropping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F

from ..errors import ArgumentError, ShapeError
from ..layout import Shape, flatten, person_shape, reorder, to_channels_first, to_channels_last
from .base import Common, Layer, pair
from .convolution import feature_map_shape

Sides = tuple[tuple[int, int], tuple[int, int]]


class Flatten(Layer):
    """All axes but the batch as one, in HWC order: (H, W, C) -> (H*W*C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return flatten(x)


class Reshape(Layer):
    """The same values in another shape, in HWC order; one size of `target_shape` (without the batch) may be -1."""

    def __init__(self, target_shape: Sequence[int], **common: Unpack[Common]):
        super().__init__(**common)
        given = tuple(target_shape) if isinstance(target_shape, Sequence) else (target_shape,)
        sizes_fit = all(isinstance(s, int) and not isinstance(s, bool) and (s == -1 or s > 0) for s in given)
        if not sizes_fit or given.count(-1) > 1:
            raise ArgumentError(
                "Reshape: target_shape holds positive whole numbers, and -1 once at most", received=repr(target_shape)
            )
        self.target_shape = given

    def build(self, *shapes: Shape) -> None:
        total, known = math.prod(shapes[0]), math.prod(s for s in self.target_shape if s != -1)
        if total != known if -1 not in self.target_shape else total % known:
            raise ShapeError(
                f"Reshape: {total} values do not fit the target_shape {self.target_shape}",
                received=(None, *person_shape(shapes[0])),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return to_channels_first(to_channels_last(x).reshape(x.shape[0], *self.target_shape))


class Permute(Layer):
    """The axes in another order: `dims` names the old ones, counted from 1; (2, 1, 3) swaps height and width."""

    def __init__(self, dims: Sequence[int], **common: Unpack[Common]):
        super().__init__(**common)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                "Permute: dims names each axis once, from 1", expected="such as (2, 1, 3)", received=repr(dims)
            )

    def build(self, *shapes: Shape) -> None:
        if len(shapes[0]) != len(self.dims):
            raise ShapeError(f"Permute: dims {self.dims} needs as many axes", received=(None, *person_shape(shapes[0])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return reorder(x, (0, *self.dims))


class ZeroPadding2D(Layer):
    """Zeros around a feature map: `padding` is a number, (height, width), or ((top, bottom), (left, right))."""

    def __init__(self, padding: Any = (1, 1), **common: Unpack[Common]):
        super().__init__(**common)
        self.padding = sides(padding, "ZeroPadding2D: padding")

    def build(self, *shapes: Shape) -> None:
        feature_map_shape("ZeroPadding2D", *shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (*self.padding[1], *self.padding[0]))


class Cropping2D(Layer):
    """A feature map less its rim: `cropping` is a number, (height, width), or ((top, bottom), (left, right))."""

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), **common: Unpack[Common]):
        super().__init__(**common)
        self.cropping = sides(cropping, "Cropping2D: cropping")

    def build(self, *shapes: Shape) -> None:
        _, height, width = feature_map_shape("Cropping2D", *shapes)
        if sum(self.cropping[0]) >= height or sum(self.cropping[1]) >= width:
            raise ShapeError(f"Cropping2D: nothing of {height}x{width} is left", received=f"cropping={self.cropping}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = self.cropping
        return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def sides(value: Any, what: str) -> Sides:
    """A number, (height, width), or ((top, bottom), (left, right)), as the last of these."""
    if isinstance(value, Sequence) and len(value) == 2:
        height, width = value
    else:
        height, width = pair(value, what, least=0)
    return pair(height, what, least=0), pair(width, what, least=0)
