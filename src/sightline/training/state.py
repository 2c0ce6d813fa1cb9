"""All that a training changes, taken as it is and given back to the bit.

Weights and buffers, the optimizer's state, the counters of layers that draw random numbers, and the generators of
Python, NumPy and torch. A state is nested dicts and lists of tensors and plain values, so that a file can hold it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..optimizers import Optimizer

State = dict[str, Any]


def capture(network: nn.Module, optimizer: Optimizer | None) -> State:
    """A copy of what training steps change. The optimizer is one that is bound, or None."""
    return {
        "weights": copy_of_weights(network),
        "counters": _counters(network),
        "optimizer": None if optimizer is None else copied(optimizer.state_dict()),
        "random": random_state(),
    }


def restore(network: nn.Module, optimizer: Optimizer | None, state: State) -> None:
    """Give back what `capture` took; weights are written where they lie, so that whoever holds them sees it."""
    put_back(network, state["weights"])
    modules = dict(network.named_modules())
    for path, counters in state["counters"].items():
        for name, value in counters.items():
            setattr(modules[path], name, value)
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    set_random_state(state["random"])


def copy_of_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, where they lie."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def put_back(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Write the weights of `copy_of_weights` into the network's own tensors."""
    now = network.state_dict()
    for name, tensor in weights.items():
        now[name].copy_(tensor)


@contextmanager
def unchanged(network: nn.Module, optimizer: Optimizer | None) -> Iterator[None]:
    """Whatever is trained inside, all is as before afterwards."""
    before = capture(network, optimizer)
    try:
        yield
    finally:
        restore(network, optimizer, before)


def _counters(network: nn.Module) -> dict[str, dict[str, int]]:
    """The counters of layers that draw by themselves, by the layer's path."""
    return {
        path: {name: getattr(module, name) for name in module.counters}
        for path, module in network.named_modules()
        if getattr(module, "counters", ())
    }


class Draws:
    """What the layers of a network draw from: torch's generators, and the counters of seeded layers."""

    def __init__(self, network: nn.Module):
        self._counting = [(module, name) for module in network.modules() for name in getattr(module, "counters", ())]

    def now(self) -> State:
        """Where they stand."""
        counters = [getattr(module, name) for module, name in self._counting]
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return {"counters": counters, "torch": torch.get_rng_state(), "cuda": cuda}

    def put_back(self, state: State) -> None:
        """Let the layers draw again what they drew after `now`."""
        for (module, name), count in zip(self._counting, state["counters"], strict=True):
            setattr(module, name, count)
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])


def random_state() -> State:
    """Where the generators of Python, NumPy and torch (a GPU's too) stand."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, following = random.getstate()
    return {
        "python": [version, list(internal), following],
        "numpy": [kind, [int(key) for key in keys], position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: State) -> None:
    """Put the generators where `random_state` found them."""
    version, internal, following = state["python"]
    random.setstate((version, tuple(internal), following))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def copied(value: Any, device: torch.device | None = None) -> Any:
    """A nested state with copies of its tensors, on `device` where one is given."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone() if device is None else value.detach().to(device, copy=True)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(item, device) for key, item in value.items()}
    return [copied(item, device) for item in value] if isinstance(value, list) else value
