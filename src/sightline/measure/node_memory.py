"""A stream of takings and givings, node by node: where it is highest, what each node keeps, and what waits for later nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from .live_storages import Stream

NOT_OF_NODES = ("kernels", "parameters", "buffers", "optimizer", "batch", "gradients", "workspaces")


@dataclass(frozen=True)
class NodeMemory:
    """One node's part, in bytes.

    `kept`: what its forward leaves alive for backward. `forward`, `backward`: the most that all tensors hold while it runs.
    `waiting`: feature maps that other nodes made, that live while it runs and that it does not read (in inference: what a
    skip connection keeps), with their bytes.
    """

    node: str
    kind: str
    kept: int
    forward: int
    backward: int
    waiting: tuple[tuple[str, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class At:
    """The highest point of a stream: what all tensors hold there, by kind, and by the node that made it."""

    bytes: int
    node: str
    phase: str
    by_kind: dict[str, int]
    alive: tuple[tuple[str, int], ...]


def height(stream: Stream) -> At:
    """Where the most is held."""
    total, highest, place = 0, -1, 0
    for number, event in enumerate(stream.events):
        total += event.bytes
        if total > highest:
            highest, place = total, number
    held: Counter[int] = Counter()
    makers: dict[int, str] = {}
    for event in stream.events[: place + 1]:
        held[event.storage] += event.bytes
        makers.setdefault(event.storage, event.node)
    by_kind: Counter[str] = Counter()
    alive: Counter[str] = Counter()
    for storage, size in held.items():
        kind = stream.kinds.get(storage, "passing")
        by_kind[kind] += size
        if kind not in NOT_OF_NODES and size:
            alive[makers[storage]] += size
    at = stream.events[place]
    return At(highest, at.node, at.phase, dict(by_kind), tuple(alive.items()))


def nodes_of(stream: Stream, layers: dict[str, Any]) -> tuple[NodeMemory, ...]:
    """A row for each node that ran."""
    live: dict[int, int] = {}
    makers: dict[int, str] = {}
    total = 0
    kept: Counter[str] = Counter()
    most: dict[tuple[str, str], int] = {}
    beside: dict[str, dict[int, int]] = {}
    waits = "activations" not in stream.kinds.values()  # inference
    for event in stream.events:
        total += event.bytes
        makers.setdefault(event.storage, event.node)
        live[event.storage] = live.get(event.storage, 0) + event.bytes
        if not live[event.storage]:
            del live[event.storage]
        key = (event.node, event.phase)
        if event.bytes > 0 and total > most.get(key, 0):
            most[key] = total
            if waits and event.phase == "forward":
                beside[event.node] = _feature_maps(live, stream)
    sizes = {event.storage: event.bytes for event in stream.events if event.bytes > 0}
    for storage, kind in stream.kinds.items():
        if kind == "activations":
            kept[makers[storage]] += sizes.get(storage, 0)
    return tuple(
        NodeMemory(
            name,
            type(layer).__name__.removeprefix("Overwriting"),
            kept[name],
            most.get((name, "forward"), 0),
            most.get((name, "backward"), 0),
            _waiting(beside.get(name, {}), name, makers, stream),
        )
        for name, layer in layers.items()
    )


def _feature_maps(live: dict[int, int], stream: Stream) -> dict[int, int]:
    return {storage: size for storage, size in live.items() if stream.kinds.get(storage) not in NOT_OF_NODES}


def _waiting(beside: dict[int, int], name: str, makers: dict[int, str], stream: Stream) -> tuple[tuple[str, int], ...]:
    """What lives beside a node and is neither made nor read by it."""
    reads = stream.reads.get(name, set())
    found: Counter[str] = Counter()
    for storage, size in beside.items():
        if storage not in reads and makers[storage] != name:
            found[makers[storage]] += size
    return tuple(found.items())
