"""Initial weights by Keras's names and formulas. Fans follow Keras: receptive field size times channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..errors import choose

Initializer = str | Callable[[torch.Tensor], object]


def _scaled(tensor: torch.Tensor, scale: float, mode: str, uniform: bool) -> None:
    """Keras's VarianceScaling: variance scale / fan; normal draws are truncated at two standard deviations."""
    fan_in, fan_out = fans(tensor.shape)
    fan = {"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}[mode]
    variance = scale / max(1.0, fan)
    if uniform:
        limit = math.sqrt(3 * variance)
        nn.init.uniform_(tensor, -limit, limit)
    else:  # 0.8796 is the standard deviation of a unit normal truncated at two
        std = math.sqrt(variance) / 0.87962566103423978
        nn.init.trunc_normal_(tensor, 0.0, std, -2 * std, 2 * std)


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """(fan in, fan out) of a torch weight: (out, in) or (out, in, *kernel)."""
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


INITIALIZERS: dict[str, Callable[[torch.Tensor], object]] = {
    "glorot_uniform": lambda t: _scaled(t, 1, "average", True),
    "glorot_normal": lambda t: _scaled(t, 1, "average", False),
    "he_uniform": lambda t: _scaled(t, 2, "in", True),
    "he_normal": lambda t: _scaled(t, 2, "in", False),
    "lecun_uniform": lambda t: _scaled(t, 1, "in", True),
    "lecun_normal": lambda t: _scaled(t, 1, "in", False),
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
}


def initialize(tensor: torch.Tensor, initializer: Initializer) -> None:
    """Fill `tensor` in place by a name of `INITIALIZERS` or a function that does so."""
    with torch.no_grad():
        if callable(initializer):
            initializer(tensor)
        else:
            INITIALIZERS[choose("initializer", initializer, INITIALIZERS)](tensor)
