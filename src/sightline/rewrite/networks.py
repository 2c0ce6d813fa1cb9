"""Parts of networks, and networks in a row."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from ..errors import SightlineError, choose
from ..graph.build import call_layer, layer_of, replay
from ..graph.cuts import cut_points, output_nodes
from ..graph.network import Network, public_class
from ..graph.symbolic import Value
from ..layers import Dense, Dropout, Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D


def ends_in_softmax(network: Network) -> bool:
    """Whether the one output is a layer's softmax."""
    nodes = output_nodes(network)
    layer = layer_of(network, nodes[0]) if len(nodes) == 1 else None
    return ends_in_softmax(layer) if isinstance(layer, Network) else getattr(layer, "activation", None) == "softmax"


def on_input(network: Network, value: Value) -> Any:
    """The network's outputs when `value` comes in where its one input was: networks in a row, in one graph."""
    return replay(network, [value])


def split_at(network: Network, name: str) -> tuple[Network, Network]:
    """The network up to the node of that name, and the rest of it, which takes that node's value.

    Raises ArgumentError where there is no such node, or the rest needs another value too.
    """
    value = network.values[choose("node", name, network.values)]
    return Network(network.inputs, value), Network(value, network.output)


def split_around(network: Network, name: str) -> tuple[Network, Network]:
    """As `split_at` anywhere: the first part also gives, and the second also takes, what the rest needs beside the node's value.

    The first gives a list, the node's value first; none of the others depends on it. Raises ArgumentError where there is no such node.
    """
    value = network.values[choose("node", name, network.values)]
    behind: set[fx.Node] = set()
    beside: dict[fx.Node, None] = {}
    for node in network.graph.nodes:
        if any(source in behind or source.name == name for source in node.all_input_nodes) or node.op == "output":
            behind.add(node)
            beside |= dict.fromkeys(s for s in node.all_input_nodes if s not in behind and s.name != name)
    values = [value, *(network.values[node.name] for node in beside)]
    return Network(network.inputs, values), Network(values, network.output)


def with_dropout(network: Network, rate: float) -> Any:
    """The outputs of a network that has Dropout of this rate before its last layer, in place of one that it may have there.

    Returns values on the network's own inputs.
    """
    last = set(output_nodes(network))

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node not in last:
            return call_layer(node, layer, args, kwargs)
        source = args[0].call
        before = source.args[0] if isinstance(source.layer, Dropout) else args[0]
        return layer(Dropout(rate, name="dropout_before_last")(before), **kwargs)

    return replay(network, network.inputs, substitute)


def remove_head(model: Network) -> Any:
    """The network up to its last feature map, with which a head begins: global pooling, Flatten, or a Dense layer.

    Of the kind of `model`, on its own inputs and weights. Raises SightlineError where no such layer follows one feature map.
    """
    last: fx.Node | None = None
    found: fx.Node | None = None  # what stands before the last head so far
    pooled = False
    for node in [*cut_points(model), *output_nodes(model)]:
        is_map = len(node.meta.get("shape", ())) == 3
        pooled = isinstance(layer_of(model, node), GLOBAL) or (pooled and max(node.meta["shape"][1:], default=1) == 1)
        if is_map and not pooled:
            last = node
        elif isinstance(layer_of(model, node), (Dense, Flatten, *GLOBAL)):
            found = last
    if found is not None:
        return public_class(model).from_values(model.inputs, model.values[found.name], model.name)
    raise SightlineError(
        f"{model.name} has no head to remove: no global pooling, Flatten or Dense layer behind one feature map"
    )


GLOBAL = (GlobalAveragePooling2D, GlobalMaxPooling2D)
