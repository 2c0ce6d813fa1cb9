"""Whether a plan fits into a limit; the largest batch that would, and what else helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..console import as_plain_text
from ..errors import ArgumentError
from ..graph.network import Network
from . import limits
from .memory_plan import MemoryPlan, memory
from .remedies import Remedy
from .units import bytes_text

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Fitting:
    """A plan beside a limit in bytes (None: none was given). `largest` is None where not even one sample fits."""

    plan: MemoryPlan
    limit: int | None = None
    largest: int | None = None
    remedies: tuple[Remedy, ...] = ()

    @property
    def fits(self) -> bool:
        return self.limit is None or self.plan.peak <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        within = {} if self.limit is None else {"limit": self.limit, "fits": self.fits, "largest_batch": self.largest}
        return self.plan.as_dict() | within | {"remedies": [remedy.as_dict() for remedy in self.remedies]}

    def __rich__(self) -> Group:
        from rich.console import Group

        parts: list[Any] = [self.plan]
        if self.limit is not None:
            parts.append(f"{self._verdict()} of {bytes_text(self.limit)}.")
        return Group(*parts, *([remedies_table(self.remedies)] if self.remedies else []))

    def _verdict(self) -> str:
        if self.largest is None:
            return "Not even one sample fits into the limit"
        word = "It fits" if self.fits else "It does not fit"
        return f"{word}: {self.largest} is the largest batch within the limit"

    def __str__(self) -> str:
        return as_plain_text(self)


def plan_within(model: Network, batch_size: int = 32, limit: Any = None, **settings: Any) -> Fitting:
    """The plan of `memory`, and with a `limit` ("8 GiB") the largest batch within it and, where it does not fit, the remedies."""
    most = None if limit is None else limits.as_bytes(limit)
    plan = memory(model, batch_size, **settings)
    if most is None:
        return Fitting(plan)
    try:
        largest: int | None = largest_batch(model, most, **settings)
    except ArgumentError:  # not even one
        largest = None
    return Fitting(plan, most, largest, () if plan.peak <= most else tuple(plan.remedies()))


def largest_batch(model: Network, limit: Any = None, **settings: Any) -> int:
    """The largest batch whose plan's peak is within `limit` ("8 GiB", or bytes), which counts the whole process.

    Without a limit: what is free on the device now, beside the libraries and the network, which are there. `settings` are
    those of `memory`. Raises ArgumentError where not even one sample fits, or nothing says what is free.
    """
    plan = partial(memory, model, **settings)
    peaks = {1: plan(batch_size=1).peak}
    most = limits.as_bytes(limit) if limit is not None else _free_for(plan(batch_size=1))
    if peaks[1] > most:
        raise ArgumentError(
            f"Not even one sample of {model.name} fits", expected=f"at most {bytes_text(most)}",
            received=f"a peak of {bytes_text(peaks[1])}", fix="Plan one sample and look at its remedies()",
        )  # fmt: skip
    fits, fails, tries = 1, None, 0
    while fails is None or fails - fits > 1:
        size = _next_guess(peaks, most, fits, fails, tries)
        peaks[size] = plan(batch_size=size).peak
        fits, fails = (size, fails) if peaks[size] <= most else (fits, size)
        tries += 1
    return fits


def _next_guess(peaks: dict[int, int], most: int, fits: int, fails: int | None, tries: int) -> int:
    """Where the line through two known peaks meets the limit; after some tries the middle."""
    if fails is not None and tries > 6:
        return (fits + fails) // 2
    other = fails or max((size for size in peaks if size != fits), default=None)
    slope = (peaks[other] - peaks[fits]) / (other - fits) if other is not None else 0
    guess = fits + int((most - peaks[fits]) / slope) if slope > 0 else 2 * fits
    return min(max(guess, fits + 1), fails - 1 if fails is not None else 64 * fits)


def _free_for(plan: MemoryPlan) -> int:
    room = limits.free(plan.device)
    if room is None:
        raise ArgumentError(f"It is not known what is free on {plan.device}", fix='Give a limit, such as limit="8 GiB"')
    return room + plan.library + plan.parameters


def remedies_table(remedies: Sequence[Remedy]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("What helps", "How", "Peak", "At which cost"):
        table.add_column(heading, justify="right" if heading == "Peak" else "left", no_wrap=heading == "Peak")
    for remedy in remedies:
        table.add_row(
            remedy.name, remedy.change, ("" if remedy.exact else "about ") + bytes_text(remedy.peak), remedy.cost
        )
    return table
