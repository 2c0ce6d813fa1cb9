"""The calls of a network one by one, those of nested networks in their place: what the measures walk over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import SightlineError
from ..graph import nested
from ..graph.build import layer_of, map_nodes
from ..graph.network import Network
from ..layout import Shape


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer, or an input (`layer` is None).

    `name` is the node's; inside a nested network it stands behind that network's node, "sequential/conv2d". `inputs` are the
    ports that it takes, in the order of its arguments; `args` and `kwargs` are these with the ports in place. `shapes`
    are those of its outputs, without the batch, channels first, and `dtypes` their types (where they are known).
    """

    name: str
    layer: nn.Module | None
    shapes: tuple[Shape, ...]
    args: Any = ()
    kwargs: Any = None
    dtypes: tuple[torch.dtype, ...] = ()

    @property
    def inputs(self) -> list[Port]:
        return list(nested.each(Port, [self.args, self.kwargs]))

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    @property
    def kind(self) -> str:
        """The class of its layer, as summaries call it."""
        return "InputLayer" if self.layer is None else type(self.layer).__name__


@dataclass(frozen=True, eq=False)
class Port:
    """One output of a step."""

    step: Step
    item: int = 0

    @property
    def shape(self) -> Shape:
        return self.step.shapes[self.item]

    @property
    def dtype(self) -> torch.dtype:
        return self.step.dtypes[self.item]


@dataclass(frozen=True)
class Steps:
    """A network's steps in order; `ports` has the value behind each node's name, `outputs` those that the network gives."""

    all: tuple[Step, ...]
    ports: dict[str, Port]
    outputs: dict[str, Port]


def steps_of(network: Network) -> Steps:
    """All calls of `network`, in order. Raises SightlineError where it is not built, or its graph holds anything but layers."""
    if not network.built:
        raise SightlineError(
            f"{network.name} does not know its input's shape yet, so nothing of it can be measured",
            fix="Give the first layer input_shape=(height, width, channels), or begin with sl.Input",
        )
    require_sizes(network)
    steps: list[Step] = []
    ports: dict[str, Port] = {}
    inputs = [
        Port(Step(node.name, None, (tuple(node.meta["shape"]),), dtypes=(node.meta["dtype"],)))
        for node in network.graph.nodes
        if node.op == "placeholder"
    ]
    steps += [port.step for port in inputs]
    result = _visit(network, inputs, "", steps, ports)
    names = {id(port): name for name, port in ports.items()}  # the nested network's before its last layer's
    return Steps(tuple(steps), ports, {names[id(port)]: port for port in nested.each(Port, result)})


def has_sizes(network: Network) -> bool:
    """Whether the shape of each value is known; not so where a network, or one in it, takes images of any size."""
    parts = [part for part in network.modules() if isinstance(part, Network)]
    return not any(None in node.meta.get("shape", ()) for part in parts for node in part.graph.nodes)


def require_sizes(network: Network) -> None:
    """Raise SightlineError for a network that takes images of any size: what it costs and sees is another for each."""
    if not has_sizes(network):
        raise SightlineError(
            f"{network.name} takes images of any size, so nothing of it can be measured",
            fix="Ask for one size: x = sl.Input((height, width, channels)); sl.Model(x, sl.rewrite.on_input(model, x))",
        )


def _visit(network: Network, inputs: Sequence[Port], prefix: str, steps: list[Step], ports: dict[str, Port]) -> Any:
    """Append the network's steps and name its values; returns its outputs in their structure."""
    at: dict[fx.Node, Any] = {}
    waiting = iter(inputs)
    for node in network.graph.nodes:
        name = prefix + node.name
        args, kwargs = map_nodes(at.__getitem__, [node.args, node.kwargs])
        layer = layer_of(network, node)
        if node.op == "placeholder":
            at[node] = next(waiting)
        elif isinstance(layer, Network):
            at[node] = _visit(layer, list(nested.each(Port, [args, kwargs])), f"{name}/", steps, ports)
        elif layer is not None:
            results = results_of(node)
            shapes = tuple(tuple(meta.get("shape", ())) for meta in results)
            step = Step(name, layer, shapes, args, kwargs, tuple(meta.get("dtype", torch.float32) for meta in results))
            steps.append(step)
            several = [Port(step, item) for item in range(len(step.shapes))]
            at[node] = several[0] if "shape" in node.meta else several
        elif node.op == "output":
            return args[0]
        else:  # operator.getitem
            at[node] = args[0][args[1]]
        if isinstance(at[node], Port) and not (prefix and node.op == "placeholder"):
            ports[name] = at[node]
    raise SightlineError("The graph has no output")


def results_of(node: fx.Node) -> list[dict[str, Any]]:
    """What is known of each of a call's outputs, as far as anything reads it: "shape" and "dtype"."""
    if "shape" in node.meta:
        return [node.meta]
    read: dict[Any, dict[str, Any]] = {user.args[1]: user.meta for user in node.users}
    return [read.get(item, {}) for item in range(max(read, default=-1) + 1)]
