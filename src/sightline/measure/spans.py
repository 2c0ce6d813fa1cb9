"""The pixels behind every place of every value of a network, along each axis.

Each layer's places take the hull of the places that they read. Twice: `nominal` goes on beyond the borders, as far as any later
place near a border looks (which one walk backwards finds out); `actual` holds what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from .foreign import look_of_module, steps_of_module
from .looks import Look, size_of
from .steps import Port, Step, Steps
from .windows import EVERYTHING, FIRST, Range, Window

Reading = tuple[Port, Window]  # what is read, and how


@dataclass(frozen=True)
class Spans:
    """Of the places `start`, `start` + 1, ...: the first pixel and the one behind the last, as floats that are whole numbers.

    A place that reads nothing has (inf, -inf), one that reads all of the image, whatever its size, (-inf, inf): so a hull is
    a minimum and a maximum.
    """

    start: int
    first: np.ndarray
    end: np.ndarray

    @property
    def size(self) -> float:
        """The most pixels of any place; 0 where none reads any."""
        return max(float((self.end - self.first).max()), 0.0)

    def cut(self, places: int) -> Spans:
        """The places 0 .. places alone."""
        return Spans(0, *(each[-self.start : places - self.start] for each in (self.first, self.end)))

    def centre(self, place: int) -> Fraction:
        return Fraction(int(self.first[place - self.start] + self.end[place - self.start]), 2)

    def read(self, window: Window, places: Range, *, beyond: bool) -> Spans:
        """The spans of the places of a layer that reads this. `beyond`: its borders do not end it."""
        if window.behind is not None:
            near, size = window.behind
            between = (window.reach(places) if beyond else None) or (0, size)
            return self.read(near, between, beyond=beyond).read(replace(window, behind=None), places, beyond=beyond)
        if window.reads is None:
            first, end = self.first.min(), self.end.max()
            if beyond and first < end:
                first, end = -np.inf, np.inf
            count = places[1] - places[0]
            return Spans(places[0], np.full(count, first), np.full(count, end))
        at = window.reads(np.arange(*places)) - self.start
        there = (at >= 0) & (at < len(self.first))
        at = np.where(there, at, 0)
        first = np.where(there, self.first[at], np.inf).min(1)
        return Spans(places[0], first, np.where(there, self.end[at], -np.inf).max(1))


def hull(spans: Sequence[Spans]) -> Spans:
    """What several inputs together read, place by place."""
    firsts, ends = zip(*((each.first, each.end) for each in spans), strict=True)
    return Spans(spans[0].start, np.minimum.reduce(firsts), np.maximum.reduce(ends))


@dataclass(frozen=True)
class Axis:
    """One axis of a value; `nominal` may go on beyond its `places`."""

    nominal: Spans
    actual: Spans
    stride: Fraction

    @property
    def places(self) -> int:
        return len(self.actual.first)


@dataclass(frozen=True)
class Measured:
    """What was found: the axes of each step, or for steps behind one of which it is not known how far it looks, that one.

    `reasons` say of torch modules why they could not be traced. `ports` has the value behind each name, those inside torch
    modules too, and `inside` the port within such a module that gives what the module gives.
    """

    axes: dict[Step, tuple[Axis, Axis]]
    culprits: dict[Step, Step]
    ports: dict[str, Port]
    inside: dict[Port, Port]
    reasons: dict[Step, str]


def measure_spans(steps: Steps) -> Measured:
    """Walk over all steps, those inside torch modules too."""
    order, inside, reasons = _with_modules_opened(steps)
    ports = {name: inside.get(port, port) for name, port in steps.ports.items()}
    ports |= {step.name: Port(step) for step in order if step.name not in ports and len(step.shapes) == 1}
    readings, culprits = _readings(order, inside)
    ranges = _ranges(order, readings)
    axes: dict[Step, tuple[Axis, Axis]] = {}
    for step, both in readings.items():
        height, width = (_axis(step, i, both[i], axes, ranges[step][i]) for i in (0, 1))
        axes[step] = height, width
    return Measured(axes, culprits, ports, inside, reasons)


def _with_modules_opened(steps: Steps) -> tuple[list[Step], dict[Port, Port], dict[Step, str]]:
    """The steps with those inside each torch module in its place, where its outputs are found, and which did not open."""
    order: list[Step] = []
    reasons: dict[Step, str] = {}
    inside: dict[Port, Port] = {}
    outer = {id(port.step): port for port in steps.ports.values()}
    for step in steps.all:
        opened = steps_of_module(step)
        if isinstance(opened, str):
            reasons[step] = opened
        if opened is None or isinstance(opened, str) or id(step) not in outer:
            order.append(step)
        else:
            order += opened[0]
            inside[outer[id(step)]] = opened[1]
    return order, inside, reasons


def _readings(
    order: Iterable[Step], inside: dict[Port, Port]
) -> tuple[dict[Step, tuple[list[Reading], list[Reading]]], dict[Step, Step]]:
    """What each step reads along each of its axes; for steps of which that is not known, the one that is to blame."""
    readings: dict[Step, tuple[list[Reading], list[Reading]]] = {}
    culprits: dict[Step, Step] = {}
    for step in order:
        inputs = [inside.get(port, port) for port in step.inputs]
        blamed = next((culprits[port.step] for port in inputs if port.step in culprits), None)
        look = None if blamed else _look(step, inputs)
        if look is None:
            culprits[step] = blamed or step
            continue
        readings[step] = tuple(  # type: ignore[assignment]
            [(port, _of_one_place(pair[i], port, i)) for port, pair in zip(inputs, look.windows, strict=True)]
            for i in (0, 1)
        )
    return readings, culprits


def _look(step: Step, inputs: Sequence[Port]) -> Look | None:
    if step.layer is None:
        return Look(())
    if len(step.shapes) != 1:
        return None
    return look_of_module(step.layer, [port.shape for port in inputs], step.shape)


def _of_one_place(window: Window, port: Port, axis: int) -> Window:
    """All of an axis that has one place is that place, however far that looks."""
    return FIRST if window is EVERYTHING and size_of(port.shape)[axis] == 1 else window


def _ranges(
    order: Sequence[Step], readings: dict[Step, tuple[list[Reading], list[Reading]]]
) -> dict[Step, list[Range]]:
    """The places of each step that it or a later step asks for, beyond its borders too."""
    ranges: dict[Step, list[Range]] = {step: [(0, size) for size in size_of(step.shape)] for step in readings}
    for step in reversed(order):
        for axis, own in enumerate(readings.get(step, ())):
            for port, window in own:
                reach = window.reach(ranges[step][axis])
                if reach is not None and window.behind is not None:
                    reach = window.behind[0].reach(reach)
                if reach is not None:
                    first, stop = ranges[port.step][axis]
                    ranges[port.step][axis] = min(first, reach[0]), max(stop, reach[1])
    return ranges


def _axis(step: Step, axis: int, own: Sequence[Reading], found: dict[Step, tuple[Axis, Axis]], places: Range) -> Axis:
    size = size_of(step.shape)[axis]
    if not own:
        return _pixels(step, size, places)
    sources = [(found[port.step][axis], window) for port, window in own]
    nominal = hull([source.nominal.read(window, places, beyond=True) for source, window in sources])
    actual = hull([source.actual.read(window, (0, size), beyond=False) for source, window in sources])
    strides = {source.stride * window.stride for source, window in sources} - {0}
    return Axis(nominal, actual, _stride(nominal.cut(size), strides))


def _pixels(step: Step, size: int, places: Range) -> Axis:
    """The axis of an input: its own pixels, or nothing where it is no image."""
    at = np.arange(*places, dtype=np.float64)
    if len(step.shape) != 3:
        nothing = Spans(places[0], np.full_like(at, np.inf), np.full_like(at, -np.inf))
        return Axis(nothing, nothing.cut(size), Fraction(0))
    spans = Spans(places[0], at, at + 1)
    return Axis(spans, spans.cut(size), Fraction(1))


def _stride(spans: Spans, strides: set[Fraction]) -> Fraction:
    """The one stride of all paths; of several, the mean distance from centre to centre."""
    if len(strides) < 2:
        return next(iter(strides), Fraction(0))
    seeing = np.flatnonzero(np.isfinite(spans.first))
    if len(seeing) < 2:
        return max(strides)
    first, last = int(seeing[0]), int(seeing[-1])
    return (spans.centre(last) - spans.centre(first)) / (last - first)
