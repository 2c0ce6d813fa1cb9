"""Activation checkpointing: parts of a network computed again in backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from ..errors import ArgumentError, choose
from ..graph.build import call_layer, replay
from ..graph.network import Network, public_class
from ..graph.recomputed import Recomputed
from ..graph.symbolic import Value, values_in


def recompute(network: Network, segments: Sequence[Sequence[str]]) -> Any:
    """The network, of its own kind, that computes each segment again in backward instead of keeping what is inside.

    A segment is the names of nodes that follow each other, of which only the last one's value is read outside: as
    `MemoryPlan.checkpoints` chooses them. Answers and gradients are those of the network, whose weights are shared; forward is
    computed once more in these places. Raises ArgumentError for a segment that the rest looks into.
    """
    parts = {tuple(segment): _recomputed(network, segment) for segment in _checked(network, segments)}
    segment_of = {name: segment for segment in parts for name in segment}
    taken: dict[tuple[str, ...], Value] = {}

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        segment = segment_of.get(node.name)
        if segment is None:
            return call_layer(node, layer, args, kwargs)
        if node.name == segment[0]:
            taken[segment] = next(values_in([args, kwargs]))
        return parts[segment](taken[segment]) if node.name == segment[-1] else None

    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return public_class(network).from_values(inputs, replay(network, inputs, substitute), network.name)


def _checked(network: Network, segments: Any) -> list[Sequence[str]]:
    """Segments as lists of names of calls, in the graph's order, each name once; raises ArgumentError otherwise."""
    order = [node.name for node in network.graph.nodes if node.op == "call_module"]
    received = repr(segments)
    if any(isinstance(segment, str) for segment in segments) or not all(segments):
        raise ArgumentError(
            "Segments are lists of names of nodes", expected='[["conv", "relu"], ...]', received=received
        )
    names = [choose("node", name, order) for segment in segments for name in segment]
    if len(set(names)) < len(names):
        raise ArgumentError("A node is in one segment, once", received=received)
    for segment in segments:
        if [order.index(name) for name in segment] != sorted(order.index(name) for name in segment):
            raise ArgumentError("A segment names its nodes in the order of the graph", received=received)
    return list(segments)


def _recomputed(network: Network, segment: Sequence[str]) -> Recomputed:
    """The segment as a network on the one value that it takes."""
    nodes = {node.name: node for node in network.graph.nodes}
    inside = [nodes[name] for name in segment]
    taken = {source.name for node in inside for source in node.all_input_nodes if source not in inside}
    read = {node.name for node in inside[:-1] if any(user not in inside for user in node.users)}
    if len(taken) != 1 or read or "shape" not in inside[-1].meta:
        raise ArgumentError(
            "A segment takes one value, and gives one to the rest",
            received=f"{segment[0]} to {segment[-1]}, which takes {', '.join(sorted(taken))}"
            + (f" and of which {', '.join(sorted(read))} is read too" if read else ""),
            fix="Let a plan choose them: sl.measure.memory(model, batch_size).checkpoints(0.5)",
        )
    return Recomputed(network.values[taken.pop()], network.values[segment[-1]], f"again_{segment[0]}")
