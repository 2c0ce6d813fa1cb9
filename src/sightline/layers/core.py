"""Layers that are not about places: dense connections, activations, shapes, and the way in for torch's modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, Unpack

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ArgumentError, ShapeError
from ..graph.symbolic import Call, Value
from ..layout import Shape, channels_of, flatten, inner_shape
from . import activations
from .base import Common, Layer, checked_shape
from .initializers import Initializer


class InputLayer(Layer):
    """Where a value comes in; has no arithmetic."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype | str = torch.float32, **common: Unpack[Common]):
        super().__init__(**common)
        self.shape = checked_shape(shape, "Input")
        self.dtype = str(dtype).removeprefix("torch.")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ArgumentError(
                "Input: unknown dtype", expected='"float32" or another of torch\'s', received=repr(dtype)
            )
        self.built = True

    def value(self) -> Value:
        """The symbolic value that comes in here."""
        return Value(Call(self), inner_shape(self.shape), getattr(torch, self.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def Input(
    shape: Sequence[int], dtype: torch.dtype | str = torch.float32, name: str | None = None, **unknown: Any
) -> Value:
    """A symbolic value of `shape` (height, width, channels), or (features), without the batch."""
    return InputLayer(shape, dtype, name=name, **unknown).value()


class Dense(Layer):
    """x @ kernel + bias over the last axis: (features) -> (units); at every place of a feature map, (H, W, C) -> (H, W, units).

    Arguments, defaults and initial weights are Keras's. Weights: `weight` (units, features), `bias` (units).
    """

    def __init__(
        self,
        units: int,
        activation: activations.Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        if not isinstance(units, int) or units < 1:
            raise ArgumentError("Dense: units is a positive whole number", received=repr(units))
        self.units = units
        self.activation = activations.checked(activation)
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = bias_initializer
        self.weight: nn.Parameter
        self.bias: nn.Parameter | None

    def build(self, *shapes: Shape) -> None:
        if len(shapes) != 1 or not shapes[0]:
            raise ShapeError("Dense takes one tensor with features", received=f"shapes {shapes}")
        self.weight = self.weight_of((self.units, channels_of(shapes[0])), self.kernel_initializer)
        self.bias = self.weight_of((self.units,), self.bias_initializer) if self.use_bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 4:
            x = F.conv2d(x, self.weight[:, :, None, None], self.bias)
        else:
            x = F.linear(x, self.weight, self.bias)
        return activations.activate(x, self.activation)


class Flatten(Layer):
    """All axes but the batch as one, in HWC order: (H, W, C) -> (H*W*C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return flatten(x)


class Dropout(Layer):
    """In training, zero a share `rate` (0 <= rate < 1) of the values and scale the rest by 1 / (1 - rate).

    With a `seed`, the n-th call since the layer was made draws the same mask again, whatever else draws in between.
    """

    def __init__(self, rate: float, seed: int | None = None, **common: Unpack[Common]):
        super().__init__(**common)
        if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ArgumentError("Dropout: rate is the share to drop, 0 <= rate < 1", received=repr(rate))
        self.rate = rate
        self.seed = seed
        self.draws = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        if self.seed is None:
            return F.dropout(x, self.rate)
        generator = torch.Generator(x.device).manual_seed(hash((self.seed, self.draws)) % 2**63)
        self.draws += 1
        keep = torch.empty_like(x).bernoulli_(1 - self.rate, generator=generator)
        return x * keep.div_(1 - self.rate)


class ReLU(Layer):
    """max(x, 0), with Keras's options: above `max_value` constant, below `threshold` a slope of `negative_slope`."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.threshold == 0 and self.negative_slope == 0:
            y = F.relu(x)
        else:
            y = torch.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return y if self.max_value is None else y.clamp(max=self.max_value)


class Activation(Layer):
    """An activation function by name, or any function of a tensor, as a layer."""

    def __init__(self, activation: activations.Activation, **common: Unpack[Common]):
        super().__init__(**common)
        self.activation = activations.checked(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activations.activate(x, self.activation)


class Rescaling(Layer):
    """x * scale + offset: a run's first node, which takes raw 0..255 pixels."""

    def __init__(self, scale: float, offset: float = 0.0, **common: Unpack[Common]):
        super().__init__(**common)
        self.scale = scale
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.offset


class Torch(Layer):
    """Any `torch.nn.Module` as a layer. It gets and gives tensors as torch has them: NCHW.

    A model that holds one can be trained, copied and pickled; its file names no code, so `save` refuses it.
    """

    foreign = True

    def __init__(self, module: nn.Module, **common: Unpack[Common]):
        super().__init__(**common)
        if not isinstance(module, nn.Module):
            raise ArgumentError("layers.Torch takes a torch.nn.Module", received=repr(module))
        self.module = module

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and self.trainable)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def extra_repr(self) -> str:
        return ""
