"""Activation functions as layers."""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F

from .. import activations
from ..errors import ArgumentError
from ..layout import Shape, inner_axis, person_shape
from .base import Common, Layer


class Activation(Layer):
    """An activation function by name, or any function of a tensor, as a layer."""

    def __init__(self, activation: activations.Activation, **common: Unpack[Common]):
        super().__init__(**common)
        self.activation = activations.checked(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activations.activate(x, self.activation)


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
        for name, value in (
            ("max_value", max_value or 0),
            ("negative_slope", negative_slope),
            ("threshold", threshold),
        ):
            _at_least_zero(f"ReLU: {name}", value)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.threshold == 0 and self.negative_slope == 0:
            y = F.relu(x)
        else:
            y = torch.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return y if self.max_value is None else y.clamp(max=self.max_value)


class LeakyReLU(Layer):
    """x where it is positive, `negative_slope` * x elsewhere (Maas et al., 2013)."""

    def __init__(self, negative_slope: float = 0.3, **common: Unpack[Common]):
        super().__init__(**common)
        _at_least_zero("LeakyReLU: negative_slope", negative_slope)
        self.negative_slope = negative_slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, self.negative_slope)


class ELU(Layer):
    """x where it is positive, `alpha` * (exp(x) - 1) elsewhere (Clevert et al., 2016)."""

    def __init__(self, alpha: float = 1.0, **common: Unpack[Common]):
        super().__init__(**common)
        self.alpha = alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.elu(x, self.alpha)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over one axis, as a person counts axes: -1 is channels."""

    def __init__(self, axis: int = -1, **common: Unpack[Common]):
        super().__init__(**common)
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ArgumentError("Softmax: axis is one number", received=repr(axis))
        self.axis = axis

    @property
    def activation(self) -> str | None:
        """As Activation's: "softmax" where it is over channels."""
        return "softmax" if self.axis == -1 else None

    def build(self, *shapes: Shape) -> None:
        rank = len(shapes[0]) + 1
        if not -rank < self.axis < rank or not self.axis:
            received = f"axis={self.axis} of {(None, *person_shape(shapes[0]))}"
            raise ArgumentError("Softmax: there is no such axis to sum over", received=received)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.axis == -1:
            return activations.softmax(x)
        return torch.softmax(x, dim=inner_axis(self.axis, x.ndim))


def _at_least_zero(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ArgumentError(f"{what} is a number of at least 0", received=repr(value))
