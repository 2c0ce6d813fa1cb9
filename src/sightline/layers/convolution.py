"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ArgumentError, ShapeError, choose
from ..layout import Shape
from .activations import Activation, activate, checked
from .base import Common, Layer, pair
from .initializers import Initializer
from .padding import is_symmetric, pads_of


class Conv2D(Layer):
    """2D convolution of an image or feature map: (H, W, C) -> (H', W', filters).

    `padding="valid"` gives H' = floor((H - kernel) / strides) + 1, `"same"` gives H' = ceil(H / strides), with an odd pad at
    the bottom and right. `groups` splits channels and filters; both must divide by it. Arguments, defaults and
    initial weights are Keras's. Weights: `weight` (filters, C / groups, height, width) and `bias` (filters).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        if not isinstance(filters, int) or filters < 1 or filters % groups:
            raise ArgumentError(
                "Conv2D: filters is a positive whole number that groups divides", received=repr(filters)
            )
        self.filters = filters
        self.kernel_size = pair(kernel_size, "Conv2D: kernel_size")
        self.strides = pair(strides, "Conv2D: strides")
        self.padding = choose("padding", padding.lower() if isinstance(padding, str) else padding, ("valid", "same"))
        self.dilation_rate = pair(dilation_rate, "Conv2D: dilation_rate")
        self.groups = groups
        self.activation = checked(activation)
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = bias_initializer
        self.weight: nn.Parameter
        self.bias: nn.Parameter | None

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("Conv2D", *shapes)[0]
        if channels % self.groups:
            raise ShapeError(
                "Conv2D: groups must divide the input's channels", received=f"{channels} channels, groups={self.groups}"
            )
        self.weight = self.weight_of(
            (self.filters, channels // self.groups, *self.kernel_size), self.kernel_initializer
        )
        self.bias = self.weight_of((self.filters,), self.bias_initializer) if self.use_bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = (x.shape[-2], x.shape[-1])
        pads = pads_of(size, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        if is_symmetric(pads):
            padding = (pads[0][0], pads[1][0])
        else:  # torch pads both sides alike
            x, padding = F.pad(x, (*pads[1], *pads[0])), (0, 0)
        x = F.conv2d(x, self.weight, self.bias, self.strides, padding, self.dilation_rate, self.groups)
        return activate(x, self.activation)


def feature_map_shape(where: str, *shapes: Shape) -> Shape:
    """The one input's (C, H, W); raises ShapeError when there are several or it is no feature map."""
    if len(shapes) != 1 or len(shapes[0]) != 3:
        received = ", ".join(str((None, *shape)) for shape in shapes)
        raise ShapeError(
            f"{where} takes one feature map", expected="(None, height, width, channels)", received=received
        )
    return shapes[0]
