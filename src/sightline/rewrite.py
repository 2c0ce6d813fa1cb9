"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from .errors import SightlineError
from .graph.build import layer_of, replay
from .graph.network import Network
from .graph.symbolic import Value
from .layers import Activation, Layer
from .layers.base import without_activation


def output_node(network: Network) -> fx.Node | None:
    """The node whose value is the network's one output; None where there are several."""
    result = network.graph.output_node().args[0]
    return result if isinstance(result, fx.Node) else None


def ends_in_softmax(network: Network) -> bool:
    """Whether the one output is a layer's softmax that nothing else in the network uses."""
    node = output_node(network)
    layer = layer_of(network, node) if node is not None else None
    return node is not None and getattr(layer, "activation", None) == "softmax" and len(node.users) == 1


def logits_network(network: Network) -> Network:
    """The network without its final softmax: what it computes goes into the softmax. Shares all weights.

    Raises SightlineError where the network does not end in a softmax.
    """
    if not ends_in_softmax(network):
        raise SightlineError(f"{network.name} does not end in a softmax")
    last = output_node(network)

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node is not last:
            return layer(*args, **kwargs)
        if isinstance(layer, Activation):
            return args[0]
        assert isinstance(layer, Layer)
        return without_activation(layer)(*args, **kwargs)

    inputs = network.inputs
    outputs = replay(network, inputs, substitute)
    logits = Network(inputs, outputs, f"{network.name}_logits")
    logits.train(network.training)
    return logits


def on_input(network: Network, value: Value) -> Any:
    """The network's outputs when `value` comes in where its one input was: networks in a row, in one graph."""
    return replay(network, [value])
