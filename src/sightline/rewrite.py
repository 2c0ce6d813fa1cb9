"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from __future__ import annotations

from typing import Any

from torch import fx

from .graph.build import layer_of, map_nodes, replay
from .graph.network import Network
from .graph.symbolic import Value


def output_nodes(network: Network) -> list[fx.Node]:
    """The nodes whose values are the network's outputs, in order."""
    nodes: list[fx.Node] = []
    map_nodes(nodes.append, network.graph.output_node().args[0])
    return nodes


def ends_in_softmax(network: Network) -> bool:
    """Whether the one output is a layer's softmax."""
    nodes = output_nodes(network)
    layer = layer_of(network, nodes[0]) if len(nodes) == 1 else None
    return ends_in_softmax(layer) if isinstance(layer, Network) else getattr(layer, "activation", None) == "softmax"


def on_input(network: Network, value: Value) -> Any:
    """The network's outputs when `value` comes in where its one input was: networks in a row, in one graph."""
    return replay(network, [value])
