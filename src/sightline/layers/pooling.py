"""Pooling over windows and over whole feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F

from ..errors import ShapeError, whole_number
from ..layout import Shape, to_channels_first, to_channels_last
from .base import Common, Layer, pair
from .convolution import feature_map_shape
from .padding import Padding, Pads, checked_padding, is_symmetric, pads_of


class _Pooling2D(Layer):
    """What max and average pooling share: (H, W, C) -> (H', W', C), sizes and padding as in Conv2D. `strides` defaults to `pool_size`."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        where = type(self).__name__
        self.pool_size = pair(pool_size, f"{where}: pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, f"{where}: strides")
        self.padding = checked_padding(padding, self.pool_size)

    def build(self, *shapes: Shape) -> None:
        feature_map_shape(type(self).__name__, *shapes)

    def _pads(self, x: torch.Tensor) -> Pads:
        return pads_of((x.shape[-2], x.shape[-1]), self.pool_size, self.strides, self.padding)


class MaxPooling2D(_Pooling2D):
    """The largest value of each window; padding never wins."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = self._pads(x)
        if is_symmetric(pads):
            return F.max_pool2d(x, self.pool_size, self.strides, (pads[0][0], pads[1][0]))
        x = F.pad(x, (*pads[1], *pads[0]), value=float("-inf"))
        return F.max_pool2d(x, self.pool_size, self.strides)


class AveragePooling2D(_Pooling2D):
    """The mean of each window. What "same" pads does not count, as in Keras; rows and columns in numbers are zeros that do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads, counted = self._pads(x), not isinstance(self.padding, str)
        if is_symmetric(pads):
            both = (pads[0][0], pads[1][0])
            return F.avg_pool2d(x, self.pool_size, self.strides, both, count_include_pad=counted)
        around = (*pads[1], *pads[0])
        if counted:
            return F.avg_pool2d(F.pad(x, around), self.pool_size, self.strides)
        share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), around), self.pool_size, self.strides)
        return F.avg_pool2d(F.pad(x, around), self.pool_size, self.strides) / share


class DepthMaxPooling2D(Layer):
    """The largest of each group of `pool_size` feature maps that follow each other: (H, W, C) -> (H, W, C / pool_size).

    A network can so learn not to care which of several filters answers: rotations of a pattern, say. Not in Keras.
    """

    def __init__(self, pool_size: int = 2, **common: Unpack[Common]):
        super().__init__(**common)
        self.pool_size = whole_number(pool_size, "DepthMaxPooling2D: pool_size")

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("DepthMaxPooling2D", *shapes)[0]
        if channels % self.pool_size:
            raise ShapeError(
                "DepthMaxPooling2D: pool_size must divide the input's channels",
                received=f"{channels} channels, pool_size={self.pool_size}",
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = to_channels_last(x).unflatten(-1, (-1, self.pool_size))
        return to_channels_first(groups.max(-1).values)


class _GlobalPooling2D(Layer):
    """One value for each feature map: (H, W, C) -> (C), or (1, 1, C) with `keepdims`."""

    def __init__(self, keepdims: bool = False, **common: Unpack[Common]):
        super().__init__(**common)
        self.keepdims = keepdims

    def build(self, *shapes: Shape) -> None:
        feature_map_shape(type(self).__name__, *shapes)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each feature map: (H, W, C) -> (C), or (1, 1, C) with `keepdims`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=self.keepdims)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value of each feature map: (H, W, C) -> (C), or (1, 1, C) with `keepdims`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax((2, 3), keepdim=self.keepdims)


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
