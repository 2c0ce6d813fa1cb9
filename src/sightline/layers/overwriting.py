"""Layers that write their answer over an input. A person makes none: `rewrite.in_place` does, where nothing else reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch

from ..activations import activate_fresh
from .activation import Activation, ReLU
from .base import Layer
from .merging import Add


class _Overwriting(Layer):
    @classmethod
    def of(cls, layer: Layer, **more: Any) -> Self:
        """The same layer, all that it has shared, as one of this kind: no copy is made, for `predict` asks for many."""
        result = object.__new__(cls)
        result.__dict__.update(layer.__dict__, **more)
        return result


class OverwritingActivation(_Overwriting, Activation):
    """An activation whose input nothing else needs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activate_fresh(x, self.activation)


class OverwritingReLU(_Overwriting, ReLU):
    """max(x, 0) of what nothing else needs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu_()


class OverwritingAdd(_Overwriting, Add):
    """The sum of two inputs, of which nothing else needs the one at `position`."""

    position: int

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        ours, other = inputs[self.position], inputs[1 - self.position]
        # What is stretched, or of 16 bits beside 32, has no room for the sum
        return ours.add_(other) if (ours.shape, ours.dtype) == (other.shape, other.dtype) else ours + other
