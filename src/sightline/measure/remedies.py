"""What to do where memory does not suffice: ways to need less, in the order in which one tries, each planned as well.

They are those of the notes on convolutional networks (a smaller mini-batch, a larger stride, fewer layers, 16-bit floats,
several devices) and activation checkpointing (Chen et al., 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from ..errors import SightlineError
from ..graph.build import layer_of, replay
from ..graph.network import Network
from ..layers import Conv2D, Input, Layer

if TYPE_CHECKING:
    from .memory_plan import MemoryPlan

PEERS = 2  # devices in the last two remedies


@dataclass(frozen=True)
class Remedy:
    """A change, the peak that it would have in bytes (on one device, where there are several), and what it costs.

    `exact`: planned as the network itself was; otherwise estimated from its plan.
    """

    name: str
    change: str
    peak: int
    cost: str
    exact: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def remedies(plan: MemoryPlan) -> list[Remedy]:
    """All that apply to this plan, in order."""
    ways = [_smaller_batch, _larger_stride, _fewer_layers, _sixteen_bits]
    ways += [_checkpointing, _data_parallel, _sharded] if plan.training else []
    return [remedy for way in ways if (remedy := way(plan)) is not None]


def _smaller_batch(plan: MemoryPlan) -> Remedy | None:
    if plan.batch_size == 1:
        return None
    size = plan.batch_size // 2
    change = f"batch_size={size}"
    if not plan.training:
        return Remedy("smaller batch", change, plan.again(batch_size=size).peak, "about the same time an image")
    count = -(-plan.batch_size // size)
    return Remedy(
        "smaller mini-batch with accumulation",
        f"{change}, gradients of {count} added up before each update",
        plan.again(batch_size=size).peak,
        "the same updates and about the same time; BatchNormalization sees the smaller batch",
    )


def _larger_stride(plan: MemoryPlan) -> Remedy | None:
    first = next(
        (node for node in plan.network.graph.nodes if isinstance(layer_of(plan.network, node), Conv2D)),
        None,
    )
    if first is None:
        return None

    def strided(node: fx.Node, layer: nn.Module) -> nn.Module:
        if node is not first:
            return _new(layer)
        config = layer.get_config()  # type: ignore[operator]
        return type(layer)(**config | {"strides": tuple(2 * stride for stride in layer.strides)})  # type: ignore[union-attr]

    changed = _rebuilt(plan.network, strided)
    if changed is None:
        return None
    layer: Any = layer_of(plan.network, first)
    return Remedy(
        "larger stride",
        f"strides={tuple(2 * stride for stride in layer.strides)} in {first.name}",
        plan.again(model=changed).peak,
        "another network: feature maps of half the height and width, small things may be lost; a quarter of the arithmetic",
    )


def _fewer_layers(plan: MemoryPlan) -> Remedy | None:
    blocks = list(_removable(plan))
    if not blocks:
        return None
    before, nodes = max(blocks, key=lambda block: _weight_of(plan, block[1]))
    last = nodes[-1]

    def without(node: fx.Node, layer: nn.Module) -> nn.Module | None:
        return None if node in nodes else _new(layer)

    changed = _rebuilt(plan.network, without, skip=lambda node: before if node is last else None)
    if changed is None:
        return None
    between = last.name if len(nodes) == 1 else f"{nodes[0].name} to {last.name}"
    return Remedy(
        "fewer layers", f"without {between}", plan.again(model=changed).peak, "another network, which can learn less"
    )


def _sixteen_bits(plan: MemoryPlan) -> Remedy | None:
    if plan.precision != "float32":
        return None
    cost = "8 significant bits in convolutions and dense layers; slow on processors without such arithmetic"
    return Remedy("16-bit floats", 'precision="bfloat16"', plan.again(precision="bfloat16").peak, cost)


# --- estimated from the plan -----------------------------------------------------------------------------------------


def _checkpointing(plan: MemoryPlan) -> Remedy | None:
    segments, kept = checkpoints(plan)
    if len(segments) < 2:
        return None
    peak = plan.peak - plan.activations + kept
    if peak >= plan.peak:
        return None
    names = ", ".join(segment[-1] for segment in segments[:4]) + (" ..." if len(segments) > 4 else "")
    return Remedy(
        "activation checkpointing",
        f"keep only what {len(segments)} nodes say ({names}) and compute the rest again",
        peak,
        "one more forward pass: about a third more time",
        exact=False,
    )


def checkpoints(plan: MemoryPlan) -> tuple[list[list[str]], int]:
    """Segments of the graph to compute again in backward, by their nodes' names, and the bytes then kept at most.

    Segments end at `cut_points`. The most kept are all segments' last values and what is inside the largest segment; of all
    greedy partitions, that with the least. Returns no segments where the graph cannot be cut.
    """
    rows = {row.node: row.kept for row in plan.nodes}

    def kept_in(node: fx.Node) -> int:
        return sum(size for name, size in rows.items() if name == node.name or name.startswith(f"{node.name}/"))

    calls = [node for node in plan.network.graph.nodes if node.op == "call_module"]
    costs = {node: kept_in(node) for node in calls}
    ends = set(cut_points(plan.network))
    if not ends or not plan.activations:
        return [], plan.activations
    partitions = [_partition(calls, costs, ends, plan.activations / count) for count in range(2, 33)]
    best = min(partitions, key=lambda parts: _kept_by(parts, costs))
    return [[node.name for node in part] for part in best], _kept_by(best, costs)


def cut_points(network: Network) -> list[fx.Node]:
    """The calls after which nothing but their own value is needed any more: where the graph can be cut in two."""
    order = list(network.graph.nodes)
    place = {node: number for number, node in enumerate(order)}
    reach, found = -1, []
    for number, node in enumerate(order):
        if node.op == "call_module" and reach <= number and any(user.op != "output" for user in node.users):
            found.append(node)
        reach = max([reach, *(place[user] for user in node.users)])
    return found


def _partition(calls: list[fx.Node], costs: dict[fx.Node, int], ends: set[fx.Node], most: float) -> list[list[fx.Node]]:
    """Segments that end at a cut as soon as they keep `most`."""
    parts: list[list[fx.Node]] = [[]]
    for node in calls:
        parts[-1].append(node)
        if node in ends and sum(costs[member] for member in parts[-1]) >= most:
            parts.append([])
    return [part for part in parts if part]


def _kept_by(parts: list[list[fx.Node]], costs: dict[fx.Node, int]) -> int:
    return sum(costs[part[-1]] for part in parts[:-1]) + max(sum(costs[node] for node in part) for part in parts)


def _data_parallel(plan: MemoryPlan) -> Remedy | None:
    size = plan.batch_size // PEERS
    if size < 1:
        return None
    return Remedy(
        f"{PEERS} devices, data parallel",
        f"batch_size={size} on each",
        plan.again(batch_size=size).peak + plan.gradients,  # DDP's buckets hold the gradients once more
        "gradients are exchanged in each step; each device holds all weights, gradients and optimizer state",
        exact=False,
    )


def _sharded(plan: MemoryPlan) -> Remedy | None:
    size = plan.batch_size // PEERS
    if size < 1:
        return None
    half = plan.again(batch_size=size)
    state = half.parameters + half.gradients + half.optimizer
    gathered = 2 * max(sum(p.numel() * p.element_size() for p in layer.parameters()) for layer in plan.network.layers)
    return Remedy(
        f"{PEERS} devices, sharded",
        f"batch_size={size} on each, and a share of weights, gradients and optimizer state",
        half.peak - state + math.ceil(state / PEERS) + gathered,
        "weights are gathered layer by layer in each pass",
        exact=False,
    )


# --- changed networks --------------------------------------------------------------------------------------------------


def _removable(plan: MemoryPlan) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """(the node before, the nodes between): what can be left out because its input and output have one shape."""
    network = plan.network
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    ends = [node for node in network.graph.nodes if node.op == "placeholder"][:1] + cut_points(network)
    for before, last in pairwise(ends):
        if before.meta.get("shape") != last.meta.get("shape") or "shape" not in last.meta:
            continue
        first = calls.index(before) + 1 if before in calls else 0
        nodes = calls[first : calls.index(last) + 1]
        if any(any(True for _ in layer_of(network, node).parameters()) for node in nodes):  # type: ignore[union-attr]
            yield before, nodes


def _weight_of(plan: MemoryPlan, nodes: list[fx.Node]) -> int:
    names = {node.name for node in nodes}
    held = [row.kept if plan.training else row.forward for row in plan.nodes if row.node in names]
    return sum(held)


def _new(layer: nn.Module) -> nn.Module:
    """A layer of the same arguments without weights yet; a network, or someone else's module, itself."""
    if not isinstance(layer, Layer) or layer.foreign:
        return layer
    return type(layer)(**layer.get_config() | {"name": layer.name})


def _rebuilt(
    network: Network,
    make: Callable[[fx.Node, nn.Module], nn.Module | None],
    skip: Callable[[fx.Node], fx.Node | None] = lambda node: None,
) -> Network | None:
    """The network with each layer made anew by `make`, on shapes alone; None where the change does not fit it.

    Where `make` gives None there is no call; `skip(node)` names the node whose value stands for such a node's.
    """
    made: dict[int, nn.Module | None] = {}
    values: dict[fx.Node, Any] = {}

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(layer) not in made:
            made[id(layer)] = make(node, layer)
        new = made[id(layer)]
        if new is None:
            before = skip(node)
            values[node] = values[before] if before is not None else None
        else:
            values[node] = new(*args, **kwargs)
        return values[node]

    try:
        with torch.device("meta"):
            inputs = [Input(value.shape[1:], value.dtype) for value in network.inputs]  # type: ignore[arg-type]
            placeholders = (node for node in network.graph.nodes if node.op == "placeholder")
            values |= dict(zip(placeholders, inputs, strict=True))
            return Network(inputs, replay(network, inputs, substitute), network.name)
    except SightlineError:  # feature maps that are too small, say: then this is no remedy
        return None
