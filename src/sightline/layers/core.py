"""Where values come in, dense connections, scaling, and the way in for torch's modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, Unpack

import torch
import torch.nn.functional as F
from torch import nn

from .. import activations, initializers, kernels, regularizers
from ..configurable import refuse_beyond
from ..errors import ArgumentError, ShapeError, whole_number
from ..graph.symbolic import FIRST_CALL, Call, Value, remember
from ..graph.weights import Variable, variables_of
from ..layout import Shape, broadcast_to_inner, channels_of, inner_shape
from .base import BIAS, KERNEL, Common, Layer, checked_shape


class InputLayer(Layer):
    """Where a value comes in; has no arithmetic. A height or width of None is another for each batch."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype | str = torch.float32, **common: Unpack[Common]):
        super().__init__(**common)
        given = tuple(shape) if isinstance(shape, Sequence) else shape
        is_open = isinstance(given, tuple) and len(given) == 3 and given[:2] == (None, None)
        self.shape: Any = (None, None, *checked_shape(given[2:], "Input")) if is_open else checked_shape(shape, "Input")
        self.dtype = str(dtype).removeprefix("torch.")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ArgumentError(
                "Input: unknown dtype", expected='"float32" or another of torch\'s', received=repr(dtype)
            )
        self.built = True

    def value(self) -> Value:
        """The symbolic value that comes in here, the same each time."""
        if FIRST_CALL not in self.__dict__:
            remember(self, (), Value(Call(self), inner_shape(self.shape), getattr(torch, self.dtype)))
        return self.output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def Input(
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | str = torch.float32,
    name: str | None = None,
    **unknown: Any,
) -> Value:
    """A symbolic value of `shape` (height, width, channels), or (features), without the batch."""
    refuse_beyond(Input, unknown)
    if shape is None:
        raise ArgumentError("Input needs a shape", expected="(height, width, channels), without the batch")
    checked_shape(shape, "Input")
    return InputLayer(shape, dtype, name=name).value()


class Dense(Layer):
    """x @ kernel + bias over the last axis: (features) -> (units); at every place of a feature map, (H, W, C) -> (H, W, units).

    Arguments, defaults and initial weights are Keras's. Weights: `weight` (units, features), `bias` (units).
    """

    weight_kinds = (KERNEL, BIAS)
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        units: int,
        activation: activations.Activation = None,
        use_bias: bool = True,
        kernel_initializer: initializers.Given = "glorot_uniform",
        bias_initializer: initializers.Given = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.units = whole_number(units, "Dense: units")
        self.activation = activations.checked(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.checked(kernel_initializer)
        self.bias_initializer = initializers.checked(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, *shapes: Shape) -> None:
        if len(shapes) != 1 or not shapes[0]:
            raise ShapeError("Dense takes one tensor with features", received=f"shapes {shapes}")
        if channels_of(shapes[0]) is None:
            raise ShapeError(
                "Dense takes so many features each time, and here their number follows from the image's size"
            )
        self.new_weight(KERNEL, (self.units, channels_of(shapes[0])))
        self.bias = None
        if self.use_bias:
            self.new_weight(BIAS, (self.units,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 4:
            x = F.conv2d(x, self.weight[:, :, None, None], self.bias)
        else:
            x = kernels.dense(x, self.weight, self.bias)
        return activations.activate_fresh(x, self.activation)


class Identity(Layer):
    """What comes in goes out; a place to name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Rescaling(Layer):
    """x * scale + offset: a run's first node, which takes raw 0..255 pixels. Both are numbers, or one for each channel."""

    def __init__(self, scale: float | Sequence[float], offset: float | Sequence[float] = 0.0, **common: Unpack[Common]):
        super().__init__(**common)
        self.scale = _numbers(scale, "Rescaling: scale")
        self.offset = _numbers(offset, "Rescaling: offset")

    def build(self, *shapes: Shape) -> None:
        channels = channels_of(shapes[0])
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(value, list) and len(value) not in (1, channels):
                raise ShapeError(f"Rescaling: {name} has a number for each channel", expected=channels, received=value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._spread(self.scale, x) + self._spread(self.offset, x)

    def _spread(self, value: float | list[float], x: torch.Tensor) -> float | torch.Tensor:
        if not isinstance(value, list):
            return value
        return broadcast_to_inner(torch.tensor(value, dtype=x.dtype, device=x.device), [x.ndim - 1], x.ndim)


def _numbers(value: Any, what: str) -> float | list[float]:
    given = value.tolist() if hasattr(value, "tolist") else value
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not several or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in several):
        raise ArgumentError(f"{what} is a number, or one for each channel", received=repr(value))
    return several if isinstance(given, Sequence) else several[0]


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

    def variables(self) -> Iterator[Variable]:
        yield from variables_of(self.module)

    def extra_repr(self) -> str:
        return ""
