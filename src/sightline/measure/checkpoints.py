"""Where to cut a network so that what lies between the cuts is computed again in backward instead of being kept.

A partition costs the arithmetic of its segments once more, and keeps each segment's input, what lies outside of segments,
and what is inside the largest one (Chen et al., 2016). `segments` finds the cheapest one within a bound: a knapsack over
all runs of pieces between two cut points, in 1/256ths of the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from torch import fx

from ..errors import ArgumentError
from ..rewrite import cut_points
from .cost import cost
from .units import bytes_text

if TYPE_CHECKING:
    from .memory_plan import MemoryPlan

PRODUCTS_A_BYTE = 5  # multiply-adds that a CPU does while it moves a byte: to normalise or to clip is not free
UNITS = 256
LONGEST = 8  # pieces in one segment
BOUNDS = 16  # sizes of the largest segment that are tried

Segment = tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """The calls from one cut point to the next: bytes that they keep, bytes of what they take, and what they cost again."""

    nodes: Segment
    kept: int
    input: int
    cost: float


def segments(plan: MemoryPlan, most: int) -> list[Segment]:
    """The parts of the planned network to compute again, by their nodes' names, so that at most `most` bytes are kept.

    Of all choices the one with the least to compute. Raises ArgumentError where none keeps so little.
    """
    if plan.activations <= most:
        return []
    pieces = _pieces(plan)
    found = [_cheapest(pieces, most - bound, bound) for bound in _bounds(pieces) if bound < most]
    best = min((each for each in found if each is not None), key=lambda each: each[0], default=None)
    if best is None:
        least = min(_least(pieces, bound) + bound for bound in _bounds(pieces))
        raise ArgumentError(
            f"No checkpoints of {plan.name} keep so little", received=bytes_text(most),
            expected=f"at least about {bytes_text(least)} of {bytes_text(plan.activations)}", fix="Take a smaller batch",
        )  # fmt: skip
    return best[1]


def _bounds(pieces: list[_Piece]) -> list[int]:
    """Sizes of the largest segment: a few of those that runs of pieces have."""
    sizes = sorted({sum(piece.kept for piece in pieces[i:j]) for i, j in _runs(len(pieces))})
    return sorted({sizes[round(k * (len(sizes) - 1) / BOUNDS)] for k in range(BOUNDS + 1)})


def _runs(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i + 1, min(i + LONGEST, count) + 1)]


def _cheapest(pieces: list[_Piece], most: int, bound: int) -> tuple[float, list[Segment]] | None:
    """(cost, segments) with at most `most` bytes kept outside, by segments that keep at most `bound` inside; None: there are none.

    `costs[i][u]` is the least cost of the first i pieces that keep u units.
    """
    unit = max(most / UNITS, 1.0)
    costs = np.full((len(pieces) + 1, UNITS + 1), np.inf)
    # Where the last step begins, below 0 for a piece that is kept
    begins = np.zeros((len(pieces) + 1, UNITS + 1), dtype=int)
    costs[0, 0] = 0
    for end in range(1, len(pieces) + 1):
        steps = [(end - 1, pieces[end - 1].kept, 0.0, -end)]
        for begin in range(max(0, end - LONGEST), end):
            run = pieces[begin:end]
            if sum(piece.kept for piece in run) <= bound:
                steps.append((begin, run[0].input, sum(piece.cost for piece in run), begin))
        for begin, kept, extra, mark in steps:
            units = math.ceil(kept / unit)
            if units > UNITS:
                continue
            reached = costs[begin, : UNITS + 1 - units] + extra
            better = reached < costs[end, units:]
            costs[end, units:][better] = reached[better]
            begins[end, units:][better] = mark
    return _traced(pieces, costs, begins, unit)


def _traced(
    pieces: list[_Piece], costs: np.ndarray, begins: np.ndarray, unit: float
) -> tuple[float, list[Segment]] | None:
    left, end = int(costs[-1].argmin()), len(pieces)
    least = float(costs[-1, left])
    if not math.isfinite(least):
        return None
    found: list[Segment] = []
    while end:
        begin = int(begins[end, left])
        if begin < 0:
            left -= math.ceil(pieces[end - 1].kept / unit)
            end -= 1
            continue
        found.append(tuple(name for piece in pieces[begin:end] for name in piece.nodes))
        left -= math.ceil(pieces[begin].input / unit)
        end = begin
    return least, found[::-1]


def _least(pieces: list[_Piece], bound: int) -> int:
    """The least that is kept outside, by segments that keep at most `bound` inside."""
    least = [0.0]
    for end in range(1, len(pieces) + 1):
        steps = [least[end - 1] + pieces[end - 1].kept]
        for begin in range(max(0, end - LONGEST), end):
            run = pieces[begin:end]
            if sum(piece.kept for piece in run) <= bound and math.isfinite(sum(piece.cost for piece in run)):
                steps.append(least[begin] + run[0].input)
        least.append(min(steps))
    return math.ceil(least[-1])


def _pieces(plan: MemoryPlan) -> list[_Piece]:
    network = plan.network
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    places = {node: number for number, node in enumerate(calls)}
    first = [node for node in network.graph.nodes if node.op == "placeholder"]
    start = first[0] if len(first) == 1 else None  # with several inputs what stands before the first cut stays
    cuts = [start, *cut_points(network), None]
    kept = {row.node: row.kept for row in plan.nodes}
    products = {row.name: row.macs for row in cost(network).nodes}
    itemsize = 4 if plan.precision == "float32" else 2
    pieces = []
    for before, last in pairwise(cuts):
        begin = places[before] + 1 if before in places else 0
        nodes = calls[begin : places[last] + 1 if last is not None else None]
        if not nodes:
            continue
        held = sum(_of(node, kept) for node in nodes)
        macs = sum(_of(node, products) for node in nodes)
        taken = math.prod(before.meta["shape"]) * itemsize * plan.batch_size if before is not None else 0
        computed = plan.batch_size * macs + PRODUCTS_A_BYTE * held
        # What follows the last cut stays as well
        stays = before is None or last is None
        pieces.append(_Piece(tuple(n.name for n in nodes), held, taken, math.inf if stays else computed))
    return pieces


def _of(node: fx.Node, figures: dict[str, int]) -> int:
    """A node's figure, or the sum of those within its nested network."""
    return sum(size for name, size in figures.items() if name == node.name or name.startswith(f"{node.name}/"))
