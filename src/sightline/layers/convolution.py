"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import nn

from .. import activations, initializers, kernels, regularizers
from ..activations import Activation, activate, activate_fresh
from ..errors import ArgumentError, ShapeError, choose, whole_number
from ..layout import Shape, depthwise_kernel
from .base import BIAS, KERNEL, Common, Layer, Weight, pair
from .padding import Checked, Padding, checked_padding, is_symmetric, pads_of, sides

Pair = int | Sequence[int]


class _Convolution(Layer):
    """What all convolutions have: a window that moves, an activation, and perhaps a bias of each output channel."""

    bias: nn.Parameter | None

    def _set_window(self, kernel_size: Pair, strides: Pair, padding: Padding, dilation_rate: Pair) -> None:
        where = type(self).__name__
        self.kernel_size = pair(kernel_size, f"{where}: kernel_size")
        self.strides = pair(strides, f"{where}: strides")
        self.padding = checked_padding(padding)
        self.dilation_rate = pair(dilation_rate, f"{where}: dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            received = f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            raise ArgumentError(f"{where}: strides and dilation_rate cannot both be above 1", received=received)

    def _set_output(self, activation: Activation, use_bias: bool, initializer: Any, regularizer: Any) -> None:
        self.activation = activations.checked(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.checked(initializer)
        self.bias_regularizer = regularizers.get(regularizer)

    def _new_bias(self, channels: int) -> None:
        self.bias = None
        if self.use_bias:
            self.new_weight(BIAS, (channels,))

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int) -> torch.Tensor:
        return convolve(x, weight, bias, self.strides, self.padding, self.dilation_rate, groups)


class Conv2D(_Convolution):
    """2D convolution of an image or feature map: (H, W, C) -> (H', W', filters).

    `padding="valid"` gives H' = floor((H - kernel) / strides) + 1, `"same"` gives H' = ceil(H / strides), with an odd pad at
    the bottom and right. It may also be the rows and columns of zeros at each side, as torch counts them (3, or (3, 3)), which
    Keras does not have. `groups` splits channels and filters; both must divide by it. Arguments, defaults and
    initial weights are Keras's. Weights: `weight` (filters, C / groups, height, width) and `bias` (filters).
    """

    weight_kinds = (KERNEL, BIAS)
    weight: nn.Parameter

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = (1, 1),
        padding: Padding = "valid",
        dilation_rate: Pair = (1, 1),
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: initializers.Given = "glorot_uniform",
        bias_initializer: initializers.Given = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.groups = whole_number(groups, "Conv2D: groups")
        self.filters = whole_number(filters, "Conv2D: filters")
        if self.filters % self.groups:
            raise ArgumentError(
                "Conv2D: filters is a positive whole number that groups divides", received=repr(filters)
            )
        self._set_window(kernel_size, strides, padding, dilation_rate)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)
        self.kernel_initializer = initializers.checked(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("Conv2D", *shapes)[0]
        if channels % self.groups:
            raise ShapeError(
                "Conv2D: groups must divide the input's channels", received=f"{channels} channels, groups={self.groups}"
            )
        self.new_weight(KERNEL, (self.filters, channels // self.groups, *self.kernel_size))
        self._new_bias(self.filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activate_fresh(self._convolve(x, self.weight, self.bias, self.groups), self.activation)


class DepthwiseConv2D(_Convolution):
    """A convolution of each channel on its own: (H, W, C) -> (H', W', C * depth_multiplier); sizes as in Conv2D.

    The first `depth_multiplier` output channels come from the first input channel, and so on. Weights: `weight`
    (depth_multiplier, C, height, width), `bias` (C * depth_multiplier).
    """

    weight_kinds = (Weight("kernel", "weight", "depthwise"), BIAS)
    weight: nn.Parameter

    def __init__(
        self,
        kernel_size: Pair,
        strides: Pair = (1, 1),
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        dilation_rate: Pair = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        depthwise_initializer: initializers.Given = "glorot_uniform",
        bias_initializer: initializers.Given = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.depth_multiplier = whole_number(depth_multiplier, "DepthwiseConv2D: depth_multiplier")
        self._set_window(kernel_size, strides, padding, dilation_rate)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)
        self.depthwise_initializer = initializers.checked(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("DepthwiseConv2D", *shapes)[0]
        self.new_weight(self.weight_kinds[0], (self.depth_multiplier, channels, *self.kernel_size))
        self._new_bias(channels * self.depth_multiplier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._convolve(x, depthwise_kernel(self.weight), self.bias, x.shape[1])
        return activate_fresh(x, self.activation)


class SeparableConv2D(_Convolution):
    """A depthwise convolution, then one of 1x1 over all channels (Chollet, 2017): (H, W, C) -> (H', W', filters).

    Weights: `depthwise_weight` (depth_multiplier, C, height, width), `pointwise_weight` (filters, C * depth_multiplier, 1, 1),
    `bias` (filters).
    """

    weight_kinds = (
        Weight("depthwise_kernel", "depthwise_weight", "depthwise"),
        Weight("pointwise_kernel", "pointwise_weight", "pointwise"),
        BIAS,
    )
    depthwise_weight: nn.Parameter
    pointwise_weight: nn.Parameter

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = (1, 1),
        padding: Padding = "valid",
        dilation_rate: Pair = (1, 1),
        depth_multiplier: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        depthwise_initializer: initializers.Given = "glorot_uniform",
        pointwise_initializer: initializers.Given = "glorot_uniform",
        bias_initializer: initializers.Given = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.filters = whole_number(filters, "SeparableConv2D: filters")
        self.depth_multiplier = whole_number(depth_multiplier, "SeparableConv2D: depth_multiplier")
        self._set_window(kernel_size, strides, padding, dilation_rate)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)
        self.depthwise_initializer = initializers.checked(depthwise_initializer)
        self.pointwise_initializer = initializers.checked(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("SeparableConv2D", *shapes)[0]
        depthwise, pointwise, _ = self.weight_kinds
        self.new_weight(depthwise, (self.depth_multiplier, channels, *self.kernel_size))
        self.new_weight(pointwise, (self.filters, channels * self.depth_multiplier, 1, 1))
        self._new_bias(self.filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._convolve(x, depthwise_kernel(self.depthwise_weight), None, x.shape[1])
        return activate_fresh(F.conv2d(x, self.pointwise_weight, self.bias), self.activation)


class Conv2DTranspose(_Convolution):
    """The transposed convolution, which enlarges: (H, W, C) -> (H', W', filters).

    `padding="same"` gives H' = H * strides, `"valid"` gives H' = (H - 1) * strides + max(kernel, strides). With
    `output_padding` (less than strides) they are (H - 1) * strides + kernel % 2 + output_padding and
    (H - 1) * strides + kernel + output_padding. Weights: `weight` (C, filters, height, width), `bias` (filters).
    """

    weight_kinds = (KERNEL, BIAS)
    weight: nn.Parameter

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = (1, 1),
        padding: str = "valid",
        output_padding: Pair | None = None,
        dilation_rate: Pair = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: initializers.Given = "glorot_uniform",
        bias_initializer: initializers.Given = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        choose(
            "padding of Conv2DTranspose", padding.lower() if isinstance(padding, str) else padding, ("valid", "same")
        )
        self.filters = whole_number(filters, "Conv2DTranspose: filters")
        self._set_window(kernel_size, strides, padding, dilation_rate)
        self._set_output(activation, use_bias, bias_initializer, bias_regularizer)
        what = "Conv2DTranspose: output_padding"
        self.output_padding = None if output_padding is None else pair(output_padding, what, least=0)
        if self.output_padding and any(o >= s for o, s in zip(self.output_padding, self.strides, strict=True)):
            raise ArgumentError(f"{what} must be less than strides {self.strides}", received=self.output_padding)
        self.kernel_initializer = initializers.checked(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, *shapes: Shape) -> None:
        channels = feature_map_shape("Conv2DTranspose", *shapes)[0]
        self.new_weight(KERNEL, (channels, self.filters, *self.kernel_size))
        self._new_bias(self.filters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before, after = zip(*(self._crop(axis) for axis in (0, 1)), strict=True)
        grow = [max(b - a, 0) for b, a in zip(before, after, strict=True)]
        x = F.conv_transpose2d(x, self.weight, self.bias, self.strides, before, grow, 1, self.dilation_rate)
        height, width = (max(a - b, 0) for b, a in zip(before, after, strict=True))
        x = x[:, :, : x.shape[2] - height, : x.shape[3] - width]
        return activate(x, self.activation)

    def _crop(self, axis: int) -> tuple[int, int]:
        """What Keras takes off both ends of (size - 1) * strides + kernel places; negative where it adds."""
        kernel = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
        stride, more = self.strides[axis], self.output_padding[axis] if self.output_padding else None
        if self.padding == "valid":
            return 0, -(max(stride - kernel, 0) if more is None else more)
        total = kernel - stride if more is None else kernel - kernel % 2 - more
        before = max(total // 2, 0)
        return before, total - before


ONEDNN_BLOCK = 16  # channels that its kernels take at a time


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    strides: tuple[int, int] = (1, 1),
    padding: Checked = "valid",
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """torch's convolution with Keras's padding, "valid" or "same", or so many rows and columns at each side."""
    kernel = (weight.shape[2], weight.shape[3])
    around_it = sides(padding)
    if kernel == (1, 1) and max(map(max, around_it)) > 0:
        x, padding = F.pad(x, (*around_it[1], *around_it[0])), "valid"
    if kernel == (1, 1) and max(strides) > 1 and weight.shape[1] < ONEDNN_BLOCK:
        # The gradient by such a kernel writes beyond its memory in torch 2.15 on a CPU; the places that a stride leaves
        # out can as well be left out before, which is slower only where the channels are many
        x, strides = x[:, :, :: strides[0], :: strides[1]], (1, 1)
    pads = pads_of((x.shape[-2], x.shape[-1]), kernel, strides, padding, dilation)
    if is_symmetric(pads):
        around = (pads[0][0], pads[1][0])
    else:  # torch pads both sides alike
        x, around = F.pad(x, (*pads[1], *pads[0])), (0, 0)
    return kernels.convolution(x, weight, bias, strides, around, dilation, groups)


def feature_map_shape(where: str, *shapes: Shape) -> Shape:
    """The one input's (C, H, W); raises ShapeError when there are several or it is no feature map."""
    if len(shapes) != 1 or len(shapes[0]) != 3:
        received = ", ".join(str((None, *shape)) for shape in shapes)
        raise ShapeError(
            f"{where} takes one feature map", expected="(None, height, width, channels)", received=received
        )
    return shapes[0]


Convolution2D, Convolution2DTranspose, SeparableConvolution2D = Conv2D, Conv2DTranspose, SeparableConv2D
