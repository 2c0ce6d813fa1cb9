"""Nested networks in the graph of the network that holds them."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn

from ..graph.build import call_layer, replay
from ..graph.network import Network
from ..graph.symbolic import FIRST_CALL, Value


def inlined(network: Network) -> Network:
    """The same function without networks as layers: theirs are named behind them, "backbone_conv1". Weights are shared.

    Where there is none, the network itself.
    """
    if not any(isinstance(layer, Network) for layer in network.layers):
        return network
    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return Network(inputs, _opened(network, inputs, "", {}), network.name)


def _opened(network: Network, inputs: list[Any], prefix: str, named: dict[Any, nn.Module]) -> Any:
    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(layer, Network):
            given = args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args
            return _opened(layer, list(given), f"{prefix}{node.meta['layer']}_", named)
        if prefix:
            key = prefix, id(layer)
            layer = named.setdefault(key, renamed(layer, f"{prefix}{node.meta['layer']}"))
        return call_layer(node, layer, args, kwargs)

    return replay(network, inputs, substitute)


def renamed(layer: nn.Module, name: str) -> nn.Module:
    """The layer under another name, on the same weights."""
    other = copy.copy(layer)
    other.__dict__.pop(FIRST_CALL, None)
    other.name, other.named_by_count = name, False  # type: ignore[assignment]
    return other
