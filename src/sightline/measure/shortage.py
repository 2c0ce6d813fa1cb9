"""Whether a training will find the memory that it needs: asked before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..console import as_plain_text
from ..graph.network import Network
from ..training.ranks import on_this_machine
from . import limits
from .fitting import remedies_table
from .memory_plan import MemoryPlan, memory
from .steps import has_sizes
from .units import bytes_text

if TYPE_CHECKING:
    from rich.console import Group

    from ..training.batches import Batch
    from ..training.training import Take
    from .remedies import Remedy

OUTPUTS, WEIGHTS = 4, 6  # times: a step holds less than so many of all its outputs, and of all its weights
FEW_PARTS = 8  # of a layer that someone else wrote, whose own outputs are then not counted
MARGIN = 2**30  # of workspaces, and of what the allocator holds beyond what it was asked for


@dataclass(frozen=True)
class Shortage:
    """A plan, and the bytes that are free for it on its device: fewer than it needs."""

    plan: MemoryPlan
    free: int
    remedies: tuple[Remedy, ...] = ()

    def __rich__(self) -> Group:
        from rich.console import Group

        plan = self.plan
        said = (
            f"Memory: {plan.name} with batches of {plan.batch_size} is planned to peak at {bytes_text(plan.peak)}, "
            f"{bytes_text(plan.beyond_network)} more than it holds now, and {plan.device} has {bytes_text(self.free)} free: "
            f"the system may end the training. The peak falls in {plan.peak_phase} of {plan.peak_node}."
        )
        return Group(said, *([remedies_table(self.remedies)] if self.remedies else []))

    def __str__(self) -> str:
        return as_plain_text(self)


def shortage(model: Network, batch_size: int, precision: str = "float32", processes: int = 1) -> Shortage | None:
    """What will be missing when `model` trains on such batches; None where it fits, or nothing says what is free.

    So many `processes` do the same on this machine, each with a batch of that size.
    A network so small that it fits by a wide margin is not planned at all. Nothing is raised: a network that cannot be
    planned is trained without a word.
    """
    device = str(next((p.device for p in model.parameters()), "cpu"))
    free = limits.free(device)
    if free is not None and device == "cpu":
        free //= processes
    if free is None or not has_sizes(model) or _most(model, batch_size) < free:
        return None
    try:
        plan = memory(model, batch_size, precision=precision)
        return Shortage(plan, free, tuple(plan.remedies())) if plan.beyond_network > free else None
    except Exception:  # someone else's layer may do what no rehearsal can follow; that must not end the training
        return None


def foreseeing(
    take: Take, model: Network, precision: str, tell: Callable[[Any], None], rows_of: Callable[[Batch], int]
) -> Take:
    """`take`, which before its first batch tells of a shortage; `rows_of` a batch are those that this process computes."""
    asked = False

    def first(batch: Batch) -> Any:
        nonlocal asked
        if not asked:
            asked = True
            if (missing := shortage(model, rows_of(batch), precision, on_this_machine())) is not None:
                tell(missing)
        return take(batch)

    return first


def _most(model: Network, batch_size: int) -> float:
    """More bytes than a step can hold, found from the shapes alone; infinite where someone else's network hides its own."""
    outputs = 0
    for part in model.modules():
        if isinstance(part, Network):
            outputs += sum(math.prod(node.meta.get("shape", (0,))) for node in part.graph.nodes)
        elif getattr(part, "foreign", False) and sum(1 for _ in part.modules()) > FEW_PARTS:
            return math.inf
    weights = sum(parameter.numel() for parameter in model.parameters())
    return 4 * (OUTPUTS * batch_size * outputs + WEIGHTS * weights) + MARGIN
