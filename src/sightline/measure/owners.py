"""Which node of a network's graph an operation belongs to, on the way forward and on the way back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

from ..graph import nested
from ..graph.build import layer_of
from ..graph.network import Network

KEY = "sightline node"  # in the metadata of an autograd node: the node of the graph that made it


class Owners:
    """Forward an operation belongs to the layer that runs; backward to the layer whose forward made its autograd node.

    The names are the graph's, "outer/inner" within a nested network. `outside` is what belongs to no layer.
    The network gets hooks, so it should be a copy.
    """

    def __init__(self, network: Network, outside: str = "input"):
        self.outside = outside
        self.order: dict[str, nn.Module] = {}  # what ran forward, in order
        self._running: list[str] = []
        self._frames: list[_Frame] = []
        self._hooked: set[int] = set()
        network.register_forward_pre_hook(lambda *_: self._frames.append(_Frame(network, "")))
        self._hook_layers(network)

    def __call__(self) -> str:
        """The node of what is computed now."""
        node = torch._C._current_autograd_node()
        if node is not None:
            metadata: Any = node.metadata
            return metadata.get(KEY, self.outside)
        return self._running[-1] if self._running else self.outside

    def _hook_layers(self, network: Network) -> None:
        for node in network.graph.nodes:
            layer = layer_of(network, node)
            if layer is None or id(layer) in self._hooked:
                continue
            self._hooked.add(id(layer))
            layer.register_forward_pre_hook(self._enter)
            layer.register_forward_hook(self._leave)
            if isinstance(layer, Network):
                self._hook_layers(layer)

    def _enter(self, layer: nn.Module, inputs: Any) -> None:
        name = self._frames[-1].next_call(layer)
        self._running.append(name)
        self.order[name] = layer
        if isinstance(layer, Network):
            self._frames.append(_Frame(layer, f"{name}/"))

    def _leave(self, layer: nn.Module, inputs: Any, outputs: Any) -> None:
        name = self._running.pop()
        if isinstance(layer, Network):
            self._frames.pop()
        waiting: list[Any] = [tensor.grad_fn for tensor in nested.each(torch.Tensor, outputs)]
        while waiting:
            node = waiting.pop()
            if node is not None and KEY not in node.metadata:
                node.metadata[KEY] = name
                waiting += [before for before, _ in node.next_functions]


class _Frame:
    """One run of a network: its layers' calls get the names of their nodes in turn."""

    def __init__(self, network: Network, prefix: str):
        self._names: dict[int, list[str]] = {}
        for node in network.graph.nodes:
            if (layer := layer_of(network, node)) is not None:
                self._names.setdefault(id(layer), []).append(prefix + node.name)
        self._prefix = prefix
        self._calls: Counter[int] = Counter()

    def next_call(self, layer: nn.Module) -> str:
        names = self._names.get(id(layer), [])
        number = self._calls[id(layer)]
        self._calls[id(layer)] += 1
        return names[number] if number < len(names) else f"{self._prefix}{getattr(layer, 'name', 'layer')}"
