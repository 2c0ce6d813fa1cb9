"""A part of a network that is computed twice, so that less is kept in between (activation checkpointing)."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .. import sharing
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
    return nullcontext(), _Again(network)


class _State:
    """What may differ when a network runs again: the mode of each part, how often it has drawn, and its buffers."""

    def __init__(self, network: nn.Module):
        self._attributes = [
            (part, name, getattr(part, name))
            for part in network.modules()
            for name in ("training", *getattr(part, "counters", ()))
        ]
        self._buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]

    def restore(self) -> None:
        for part, name, value in self._attributes:
            setattr(part, name, value)
        for buffer, value in self._buffers:
            # Unseen by autograd, which may have saved it elsewhere: it is as it was afterwards
            buffer.data.copy_(value)


class _Again:
    """A context in which a network is as it was when this was made; entered once for each backward, in any thread."""

    def __init__(self, network: nn.Module):
        self._network, self._before, self._share = network, _State(network), sharing.current()

    def __enter__(self) -> None:
        self._now, self._computing = _State(self._network), sharing.computing(self._share)
        self._before.restore()
        self._computing.__enter__()

    def __exit__(self, *error: object) -> None:
        self._computing.__exit__(None, None, None)
        self._now.restore()
