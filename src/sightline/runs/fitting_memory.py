"""A run whose training would need more memory than there is: refused before its first step, or made to fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..callbacks import Callback
from ..errors import SightlineError
from ..measure.memory_plan import MemoryPlan
from ..measure.remedies import recomputed
from ..measure.shortage import Shortage, shortage
from ..measure.units import bytes_text
from ..models import Model
from ..rewrite import recompute
from ..training.numerics import Numerics, sixteen_bits
from ..training.ranks import current, first_does, most_rows, on_this_machine
from .assembly import Assembly
from .settings import FIT, REFUSE, Settings

SHARES = (0.7, 0.5, 0.35)  # of the activations, which checkpoints leave
LEAST_ROWS = 8  # of a part, where BatchNormalization averages over it


@dataclass(frozen=True)
class Way:
    """What makes a training fit: batches in so many `parts`, a precision, parts of the network computed again; and its peak."""

    peak: int
    parts: int = 1
    precision: str | None = None
    segments: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        told = []
        if self.parts > 1:
            told.append(f"batches in {self.parts} parts, whose gradients are added up before each update")
        if self.precision is not None:
            told.append(f"{self.precision} arithmetic")
        if self.segments:
            count = len(self.segments)
            told.append(f"{count} {'part' if count == 1 else 'parts'} of the network computed again in backward")
        return f"{' and '.join(told)} (planned peak {bytes_text(self.peak)})"


class InParts(Callback):
    """Lets the steps of a training compute their batches in so many parts; a resumed one keeps its own number."""

    def __init__(self, parts: int):
        self.parts = parts

    def on_train_begin(self, logs: Any = None) -> None:
        self.training.step.parts = self.parts


def fitted(
    assembly: Assembly, settings: Settings, say: Callable[[Any], None]
) -> tuple[Assembly, Settings, list[Callback]]:
    """The assembly, settings and callbacks of a training that fits, as far as `settings.fit_memory` has it do so.

    The way that was taken stands in the settings, so that a resumed run takes it again. Raises SightlineError, with the
    remedies said before, where the training will not fit on a CPU. On a GPU a step that finds no memory begins again in
    smaller parts, so it is not refused there.
    """
    if isinstance(settings.fit_memory, dict):
        return _taking(Way(**settings.fit_memory), assembly, settings)
    way = first_does(lambda: _chosen(assembly.model, settings, say))
    # In parts or not: what goes on with another memory must have the same callbacks
    return (assembly, settings, [InParts(1)]) if way is None else _taking(way, assembly, settings)


def _chosen(model: Model, settings: Settings, say: Callable[[Any], None]) -> Way | None:
    """The way to train in less memory; None where the training is to be as it is."""
    ranks = current()
    rows = most_rows(settings.batch_size, ranks)
    missing = shortage(model, rows, Numerics(settings.precision).known, on_this_machine())
    if missing is None:
        return None
    free, needed = bytes_text(missing.free), bytes_text(missing.plan.beyond_network)
    what = f"training {model.name} with batches of {rows}" + ("" if ranks is None else " in each process")
    if settings.fit_memory == FIT and (way := cheapest(missing)) is not None:
        say(f"Memory: {what} would need {needed} more, and {free} are free. It takes {way}")
        return way
    say(str(missing))
    if settings.fit_memory == FIT:
        raise SightlineError(
            f"No way of {what} fits into the {free} that are free",
            fix="Take a smaller --batch-size or --image-size, or a smaller network",
        )
    if settings.fit_memory == REFUSE and missing.plan.device == "cpu":
        raise SightlineError(
            f"More memory than there is would be needed for {what}", expected=f"at most {free}", received=needed,
            fix="Take a remedy above, or let one be taken: --fit-memory auto (--fit-memory off trains all the same)",
        )  # fmt: skip
    return None


def _taking(way: Way, assembly: Assembly, settings: Settings) -> tuple[Assembly, Settings, list[Callback]]:
    taken = replace(settings, fit_memory=asdict(way), precision=way.precision or settings.precision)
    model = assembly.model
    compiled = model._compiled
    assert compiled is not None
    if way.segments:
        model = recompute(model, way.segments)
    model.compile(**compiled.parts(), precision=taken.precision)
    return replace(assembly, model=model), taken, [InParts(way.parts)]


def cheapest(missing: Shortage) -> Way | None:
    """The way that costs least of those that fit; None where none does."""
    room = missing.free + missing.plan.library + missing.plan.parameters
    return next((way for way in ways(missing.plan) if way.peak <= room), None)


def ways(plan: MemoryPlan) -> Iterator[Way]:
    """What a training can do to need less, with the same batch and the same network, the cheapest first.

    Smaller parts cost hardly any time; 16 bits are taken where the device computes in them; computing again costs up to a
    forward pass. BatchNormalization would average over less, so parts become smaller than a few images only at the end.
    """
    averages = any(
        "BatchNorm" in type(part).__name__ and getattr(part, "trainable", True) for part in plan.network.modules()
    )
    least = min(LEAST_ROWS if averages else 1, plan.batch_size)
    yield from _in_parts(plan, least)
    precisions = _precisions(plan)
    for sixteen in precisions:
        yield from _in_parts(plan, least, precision=sixteen)
    lighter = list(recomputed(plan, SHARES))
    for smallest in dict.fromkeys((least, 1)):
        for _, segments, network in lighter:
            for precision in (None, *precisions):
                yield from _in_parts(plan, smallest, precision=precision, segments=segments, model=network)
    if least > 1:
        yield from _in_parts(plan, 1)


def _in_parts(plan: MemoryPlan, least: int, segments: Any = (), **changes: Any) -> Iterator[Way]:
    """The same with batches in 1, 2, 4 ... parts of at least so many rows."""
    changes = {name: value for name, value in changes.items() if value is not None}
    parts = 1
    while (rows := -(-plan.batch_size // parts)) >= least:
        now = plan.again(batch_size=rows, **changes)
        whole_batch = now.batch * plan.batch_size // rows - now.batch
        yield Way(now.peak + whole_batch, parts, changes.get("precision"), tuple(segments))
        if rows == 1:
            return
        parts *= 2


def _precisions(plan: MemoryPlan) -> list[str]:
    found = sixteen_bits(torch.device(plan.device)) if plan.precision == "float32" else None
    return [found] if found else []
