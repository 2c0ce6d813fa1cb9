"""Activation functions by Keras's names. Softmax is over channels: the last axis of what a person sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .errors import ArgumentError, choose
from .keras_only import missing, own
from .layout import channel_axis

Function = Callable[[torch.Tensor], torch.Tensor]
Activation = str | Function | None


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Probabilities over channels. The result remembers `x`, so that a cross-entropy of it can be computed from logits."""
    return _remembering(torch.softmax(x, dim=channel_axis(x.ndim)), x, "softmax")


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x)). The result remembers `x`, as softmax's does."""
    return _remembering(torch.sigmoid(x), x, "sigmoid")


def _remembering(y: torch.Tensor, x: torch.Tensor, activation: str) -> torch.Tensor:
    if not torch.compiler.is_compiling():
        y.logits = activation, x  # type: ignore[attr-defined]
    return y


def logits_of(y: torch.Tensor, activation: str) -> torch.Tensor | None:
    """What went into the "softmax" or "sigmoid" whose result `y` is; None where it is no such result."""
    of, x = getattr(y, "logits", (None, None))
    return x if of == activation else None


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(x, dim=channel_axis(x.ndim))


def linear(x: torch.Tensor) -> torch.Tensor:
    return x


relu, relu6, elu, selu, silu, swish = F.relu, F.relu6, F.elu, F.selu, F.silu, F.silu
softplus, softsign, tanh, hard_sigmoid = F.softplus, F.softsign, torch.tanh, F.hardsigmoid


def leaky_relu(x: torch.Tensor, negative_slope: float = 0.2) -> torch.Tensor:
    """x where it is positive, `negative_slope` * x elsewhere."""
    return F.leaky_relu(x, negative_slope)


def gelu(x: torch.Tensor, approximate: bool = False) -> torch.Tensor:
    """x * P(X <= x) of a unit normal X; with `approximate` by tanh (Hendrycks & Gimpel, 2016)."""
    return F.gelu(x, approximate="tanh" if approximate else "none")


def hard_swish(x: torch.Tensor) -> torch.Tensor:
    """x * relu6(x + 3) / 6 (Howard et al., 2019)."""
    return F.hardswish(x)


def exponential(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x)


def mish(x: torch.Tensor) -> torch.Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return F.mish(x)


ACTIVATIONS: dict[str, Function] = {
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_swish,
    "hard_swish": hard_swish,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "swish": silu,
    "tanh": tanh,
}


def checked(activation: Activation) -> Activation:
    """Return a known name, a function or None; raise ArgumentError with the nearest names otherwise."""
    if activation is None:
        return None
    if callable(activation):  # a known function is kept by its name, so that a file can hold it
        return next((name for name, known in ACTIVATIONS.items() if known is activation), activation)
    if not isinstance(activation, str):
        raise ArgumentError("An activation is a name or a function", received=repr(activation))
    return choose("activation", activation, ACTIVATIONS)


def activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Apply an activation that `checked` has accepted."""
    if activation is None:
        return x
    return activation(x) if callable(activation) else ACTIVATIONS[activation](x)


def activate_fresh(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """`activate` of a tensor that nothing else needs: in its own memory where that is exact, in training too."""
    if activation == "relu":
        return x.relu_()
    return F.hardtanh_(x, 0.0, 6.0) if activation == "relu6" else activate(x, activation)


hard_silu = hard_swish


def get(identifier: Activation) -> Function:
    """The function of a name; a function stays, None is `linear`."""
    known = checked(identifier)
    return linear if known is None else ACTIVATIONS[known] if isinstance(known, str) else known


def __getattr__(name: str) -> Any:
    raise missing("activations", name, own(globals()))
