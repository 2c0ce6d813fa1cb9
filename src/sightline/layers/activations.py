"""Activation functions by Keras's names. Softmax is over channels: the last axis of what a person sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..errors import ArgumentError, choose
from ..layout import channel_axis

Function = Callable[[torch.Tensor], torch.Tensor]
Activation = str | Function | None


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Probabilities over channels. The result remembers `x`, so that a cross-entropy of it can be computed from logits."""
    y = torch.softmax(x, dim=channel_axis(x.ndim))
    if not torch.compiler.is_compiling():
        y.logits = x  # type: ignore[attr-defined]
    return y


def logits_of(y: torch.Tensor) -> torch.Tensor | None:
    """What went into the softmax whose result `y` is; None where it is no such result."""
    return getattr(y, "logits", None)


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(x, dim=channel_axis(x.ndim))


def linear(x: torch.Tensor) -> torch.Tensor:
    return x


ACTIVATIONS: dict[str, Function] = {
    "linear": linear,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),  # Keras's slope
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "swish": F.silu,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "exponential": torch.exp,
    "softmax": softmax,
    "log_softmax": log_softmax,
}


def checked(activation: Activation) -> Activation:
    """Return a known name, a function or None; raise ArgumentError with the nearest names otherwise."""
    if activation is None or callable(activation):
        return activation
    if not isinstance(activation, str):
        raise ArgumentError("An activation is a name or a function", received=repr(activation))
    return choose("activation", activation, ACTIVATIONS)


def activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Apply an activation that `checked` has accepted."""
    if activation is None:
        return x
    return activation(x) if callable(activation) else ACTIVATIONS[activation](x)
