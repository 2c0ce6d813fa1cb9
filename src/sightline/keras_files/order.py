"""The order in which Keras counts a network's layers: by their distance from the outputs, the farthest first.

Keras's files number layers by it (layers/conv2d, layers/conv2d_1, ...) and old ones list weights by it, so it must be
Keras's to the last tie (`map_graph` in Keras's ops/function.py).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ..graph.network import Network


@dataclass(frozen=True)
class Named:
    """A layer with its name in this network; an input, which has no weights, has a node instead."""

    name: str
    layer: nn.Module | None
    node: fx.Node


def is_sequential(network: Network) -> bool:
    """Whether Keras would call it Sequential: a row, each layer called once and in no mode of its own."""
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    row = len({node.target for node in calls}) == len(calls) and not any(node.kwargs for node in calls)
    return row and bool(calls) and any(kind.__name__ == "Sequential" for kind in type(network).__mro__)


def ordered(network: Network) -> list[Named]:
    """The layers that Keras's `model.layers` has, in its order: a Sequential's without its input."""
    by_name = network.layers.named()
    if is_sequential(network):
        calls = [node for node in network.graph.nodes if node.op == "call_module"]
        return [Named(node.meta["layer"], by_name[node.meta["layer"]], node) for node in calls]
    first, finished = _depth_first(network)
    depths: dict[fx.Node, int] = {}
    layer_depths: dict[str, int] = {}
    for node in reversed(finished):
        name = node.meta["layer"]
        depth = max(depths.get(node, 0), layer_depths.get(name, 0))
        layer_depths[name] = depths[node] = depth
        for parent in parents(node):
            depths[parent] = max(depth + 1, depths.get(parent, 0))
    for node in inputs(network):
        if node.meta["layer"] not in layer_depths:  # an input that leads nowhere
            layer_depths[node.meta["layer"]] = 0
            first[node.meta["layer"]] = (-1, node)
    names = sorted(layer_depths, key=lambda name: (-layer_depths[name], first[name][0]))
    return [
        Named(name, by_name[name] if first[name][1].op == "call_module" else None, first[name][1]) for name in names
    ]


def inputs(network: Network) -> list[fx.Node]:
    return [node for node in network.graph.nodes if node.op == "placeholder"]


def _depth_first(network: Network) -> tuple[dict[str, tuple[int, fx.Node]], list[fx.Node]]:
    """Each layer's place in the order of first visits from the outputs, with that node; and the nodes, inputs first."""
    first: dict[str, tuple[int, fx.Node]] = {}
    finished: dict[fx.Node, None] = {}
    stack = [(node, False) for node in reversed(list(calls_in(network.graph.output_node().args[0])))]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            finished[node] = None
        elif node not in finished:
            first.setdefault(node.meta["layer"], (len(first), node))
            stack.append((node, True))
            stack += [(parent, False) for parent in reversed(list(parents(node)))]
    return first, list(finished)


def parents(node: fx.Node) -> Iterator[fx.Node]:
    """The calls and inputs whose values a call takes, in order."""
    return calls_in([node.args, node.kwargs])


def calls_in(structure: Any) -> Iterator[fx.Node]:
    """The calls and inputs whose values a structure holds, in Keras's order: a dict's by sorted keys."""
    for node in _flat(structure):
        yield source(node)[0]


def _flat(structure: Any) -> Iterator[fx.Node]:
    if isinstance(structure, fx.Node):
        yield structure
    elif isinstance(structure, dict):
        for key in sorted(structure):
            yield from _flat(structure[key])
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            yield from _flat(item)


def source(node: fx.Node) -> tuple[fx.Node, int]:
    """(the call or input, which of its results) that a node's value is."""
    if node.op == "call_function" and node.target is operator.getitem:
        call, item = node.args
        assert isinstance(call, fx.Node)
        assert isinstance(item, int)
        return call, item
    return node, 0
