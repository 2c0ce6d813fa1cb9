"""What to do where memory does not suffice: ways to need less, in the order in which one tries, each planned as well.

They are those of the notes on convolutional networks (a smaller mini-batch, a larger stride, fewer layers, 16-bit floats,
several devices) and activation checkpointing (Chen et al., 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from ..errors import ArgumentError, SightlineError
from ..graph.build import layer_of, replay
from ..graph.network import Network
from ..layers import Conv2D, Input, Layer, Torch
from ..layers.base import is_ours
from ..rewrite import cut_points, recompute
from ..training.ranks import BUCKET

if TYPE_CHECKING:
    from .memory_plan import MemoryPlan

PEERS = 2  # devices in the last remedy
SHARES = (0.5, 0.6, 0.7, 0.8)  # of the activations, which checkpoints leave: the first that lowers the peak


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
    """All that apply to this plan, in order.

    A network with layers of a person's own is not built anew: such a layer may count its calls, or not say how it was made.
    """
    own = any(
        isinstance(part, Layer) and type(part) is not Torch and not is_ours(part) for part in plan.network.modules()
    )
    anew = [] if own else [_larger_stride, _fewer_layers]
    ways = [_smaller_batch, *anew, _sixteen_bits]
    ways += [*([] if own else [_checkpointing]), _data_parallel] if plan.training else []
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


def _checkpointing(plan: MemoryPlan) -> Remedy | None:
    planned = ((share, segments, plan.again(model=network)) for share, segments, network in recomputed(plan, SHARES))
    lowers = next((each for each in planned if each[2].peak < plan.peak), None)
    if lowers is None:
        return None
    share, segments, lighter = lowers
    count = f"{len(segments)} {'part' if len(segments) == 1 else 'parts'}"
    return Remedy(
        "activation checkpointing",
        f"sl.rewrite.recompute(model, plan.checkpoints({share})): {count} computed again, the first from {segments[0][0]} on",
        lighter.peak,
        "the same updates; up to one more forward pass: about a third more time",
    )


def recomputed(plan: MemoryPlan, shares: Sequence[float]) -> Iterator[tuple[float, list[tuple[str, ...]], Network]]:
    """For each share of the activations that checkpoints can leave: it, the parts to compute again, and the network that does so."""
    for share in shares:
        try:
            segments = plan.checkpoints(share)
        except ArgumentError:  # a larger share may do
            continue
        yield share, segments, recompute(plan.network, segments)


# --- estimated from the plan -----------------------------------------------------------------------------------------


def _data_parallel(plan: MemoryPlan) -> Remedy | None:
    size = plan.batch_size // PEERS
    if size < 1:
        return None
    return Remedy(
        f"{PEERS} devices, data parallel",
        f"batch_size={size} on each",
        plan.again(batch_size=size).peak + min(plan.gradients, 2 * BUCKET),  # which are exchanged in buckets
        "gradients are exchanged in each step; each device holds all weights, gradients and optimizer state",
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
