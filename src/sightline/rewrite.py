"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from __future__ import annotations

from typing import Any

from torch import fx

from .graph.build import layer_of, replay
from .graph.network import Network
from .graph.symbolic import Value


def output_node(network: Network) -> fx.Node | None:
    """The node whose value is the network's one output; None where there are several."""
    result = network.graph.output_node().args[0]
    return result if isinstance(result, fx.Node) else None


def ends_in_softmax(network: Network) -> bool:
    """Whether the one output is a layer's softmax."""
    node = output_node(network)
    layer = layer_of(network, node) if node is not None else None
    return ends_in_softmax(layer) if isinstance(layer, Network) else getattr(layer, "activation", None) == "softmax"


def on_input(network: Network, value: Value) -> Any:
    """The network's outputs when `value` comes in where its one input was: networks in a row, in one graph."""
    return replay(network, [value])
