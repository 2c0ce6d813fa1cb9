"""Layers that write their answer over an input. A person makes none: `rewrite.in_place` does, where nothing else reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..activations import activate_fresh
from .activation import Activation
from .merging import Add


class OverwritingActivation(Activation):
    """An activation whose input nothing else needs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return activate_fresh(x, self.activation)


class OverwritingAdd(Add):
    """The sum of two inputs, of which nothing else needs the one at `position`."""

    def __init__(self, position: int = 0, **common: Any):
        super().__init__(**common)
        self.position = position

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        ours, other = inputs[self.position], inputs[1 - self.position]
        # What is stretched, or of 16 bits beside 32, has no room for the sum
        return ours.add_(other) if (ours.shape, ours.dtype) == (other.shape, other.dtype) else ours + other
