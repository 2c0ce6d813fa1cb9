"""A part of a network that is computed twice, so that less is kept in between (activation checkpointing)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .network import Network
from .symbolic import values_in


class Recomputed(Network):
    """A nested network that keeps nothing but its inputs for backward, where it is computed anew (Chen et al., 2016).

    Answers and gradients are those of the network: the second time it draws the same random numbers, and what it counts or
    averages (moving statistics) is as if it had run once.
    """

    default_name = "recomputed"

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        call = partial(super().__call__, training=training)
        if not torch.is_grad_enabled() or any(True for _ in values_in([args, kwargs])):
            return call(*args, **kwargs)
        return checkpoint(call, *args, use_reentrant=False, context_fn=partial(_contexts, self), **kwargs)


def _contexts(network: Network) -> tuple[Any, Any]:
    """What surrounds the first computation and the second."""
    return nullcontext(), _again(network, _State(network))


class _State:
    """What changes when a network runs in training: how often its layers have drawn, and its buffers."""

    def __init__(self, network: nn.Module):
        self._counts = [
            (layer, name, getattr(layer, name))
            for layer in network.modules()
            for name in getattr(layer, "counters", ())
        ]
        self._buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]

    def restore(self) -> None:
        for layer, name, count in self._counts:
            setattr(layer, name, count)
        with torch.no_grad():
            for buffer, value in self._buffers:
                buffer.copy_(value)


@contextmanager
def _again(network: nn.Module, before: _State) -> Iterator[None]:
    now = _State(network)
    before.restore()
    try:
        yield
    finally:
        now.restore()
