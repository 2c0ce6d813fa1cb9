"""Where a network's graph can be cut in two."""

from __future__ import annotations

from torch import fx

from .build import map_nodes
from .network import Network


def output_nodes(network: Network) -> list[fx.Node]:
    """The nodes whose values are the network's outputs, in order."""
    nodes: list[fx.Node] = []
    map_nodes(nodes.append, network.graph.output_node().args[0])
    return nodes


def cut_points(network: Network) -> list[fx.Node]:
    """The calls after which nothing but their own value is needed any more: where the graph can be cut in two."""
    order = list(network.graph.nodes)
    place = {node: number for number, node in enumerate(order)}
    reach, found = -1, []
    for number, node in enumerate(order):
        one_value = node.op == "call_module" and "shape" in node.meta
        if one_value and reach <= number and any(user.op != "output" for user in node.users):
            found.append(node)
        reach = max([reach, *(place[user] for user in node.users)])
    return found


def last_maps(network: Network) -> dict[tuple[int, int], str]:
    """For each size (height, width) the name of the last feature map through which all that follows goes."""
    nodes = [*cut_points(network), *output_nodes(network)]
    return {node.meta["shape"][1:]: node.name for node in nodes if len(node.meta.get("shape", ())) == 3}
