"""Receptive fields: which pixels of the image can change one place of a feature map.

Found exactly, by walking the graph once: each node keeps, for each of its places along an axis, the first and the last pixel
that it is made of, and a layer's places take the hull of the places that they read (`windows`). This is done twice: as if image and feature
maps went on beyond their borders, which gives the size that papers state, and within the image, which gives the pixels that
a place near the border really reads. Whole numbers throughout, so strides, dilation, transposed convolutions, resizing and
joins of unlike paths are exact. Sizes that follow by formula are in Araujo, Norris & Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, overload

import numpy as np

from ..console import as_plain_text
from ..errors import ArgumentError, SightlineError, choose
from ..graph.network import Network
from ..layout import person_shape
from .looks import size_of
from .spans import Axis, Measured, measure_spans
from .steps import Port, Steps, steps_of

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class AxisField:
    """The receptive field along the height or the width. Pixel i covers i .. i + 1, so its centre is i + 0.5.

    `size`: pixels from the first to the last that a place can depend on, on an image without borders; where places differ, the
    most of any. None: all the image, whatever its size. 0: none of it.
    `stride`: pixels from the centre of a place's field to the next one's (1/2 where the network enlarges; on average
    where paths of unlike strides meet; 0 for a value that has one place and no more).
    `offset`: the centre of the first place's field, in pixels from the image's edge.
    `image`: pixels of the image. `spans` (places, 2): the first pixel and the one behind the last that each place reads in it.
    """

    size: int | None
    stride: Fraction
    offset: Fraction
    image: int
    spans: np.ndarray = field(repr=False, compare=False)

    @property
    def places(self) -> int:
        return len(self.spans)

    @property
    def whole(self) -> bool:
        """Whether it is all the image, whatever its size."""
        return self.size is None


@dataclass(frozen=True)
class ReceptiveField:
    """Of one node: along the `height` and along the `width`."""

    height: AxisField
    width: AxisField

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels; None for all the image."""
        return self.height.size, self.width.size

    @property
    def stride(self) -> tuple[Fraction, Fraction]:
        return self.height.stride, self.width.stride

    @property
    def offset(self) -> tuple[Fraction, Fraction]:
        """(y, x) of the first place's centre."""
        return self.height.offset, self.width.offset

    def at(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The box `xyxy` of the pixels that the place at (row, column) reads in the image; empty where it reads none.

        Raises ArgumentError where there is no such place.
        """
        for place, axis, name in ((row, self.height, "row"), (column, self.width, "column")):
            if not 0 <= place < axis.places:
                raise ArgumentError(f"There is no such {name}", expected=f"0 to {axis.places - 1}", received=place)
        (top, bottom), (left, right) = self.height.spans[row].tolist(), self.width.spans[column].tolist()
        return left, top, right, bottom

    def __str__(self) -> str:
        if self.height.whole and self.width.whole:
            return "the whole image"
        stride, (y, x) = times(*self.stride), (f"{float(v):g}" for v in self.offset)
        return f"{times(*self.size)} pixels, stride {stride}, the first centred on ({y}, {x})"


def times(height: object, width: object) -> str:
    """ "3x5" of two sizes, "3" where they are one; "all" stands for None."""
    one, other = ("all" if value is None else str(value) for value in (height, width))
    return one if one == other else f"{one}x{other}"


@dataclass(frozen=True)
class ReceptiveFields(Mapping[str, ReceptiveField]):
    """The field of every node by its name, and those of the outputs."""

    nodes: dict[str, ReceptiveField]
    outputs: dict[str, ReceptiveField]

    def __getitem__(self, node: str) -> ReceptiveField:
        return self.nodes[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("Node", overflow="fold")
        for heading in ("Field", "Stride", "First centre"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, each in self.nodes.items():
            table.add_row(name, times(*each.size), times(*each.stride), times(*each.offset))
        return table

    def __str__(self) -> str:
        return as_plain_text(self)


@overload
def receptive_field(model: Network, node: None = None) -> ReceptiveFields: ...
@overload
def receptive_field(model: Network, node: str) -> ReceptiveField: ...
def receptive_field(model: Network, node: str | None = None) -> ReceptiveField | ReceptiveFields:
    """Which pixels each place of a node depends on in inference; without `node`, of every node and the outputs.

    Nodes inside a nested network or a torch module stand behind its name: "backbone/conv2d". A value without
    height and width, as Flatten and global pooling give it, counts as one place, which is all that they were made from.
    Several image inputs, which must have one size, count as one.

    Raises ArgumentError where there is no such node or no image goes in, and SightlineError, naming it, for a layer of
    which it is not known how far it looks.
    """
    steps = steps_of(model)
    image = image_size(steps, model.name)
    measured = measure_spans(steps)
    wanted = list(measured.ports) if node is None else [choose("node", node, measured.ports)]
    found = {name: _field(_known(measured, name), image) for name in wanted}
    if node is not None:
        return found[node]
    return ReceptiveFields(found, {name: found[name] for name in steps.outputs})


def fields_where_known(steps: Steps) -> dict[Port, ReceptiveField | None]:
    """The field of each value of a network's own layers; None where it is not known."""
    ports = list(dict.fromkeys(steps.ports.values()))
    try:
        image = image_size(steps, "The network")
    except ArgumentError:
        return dict.fromkeys(ports)
    measured = measure_spans(steps)
    axes = {port: measured.axes.get(measured.inside.get(port, port).step) for port in ports}
    return {port: None if both is None else _field(both, image) for port, both in axes.items()}


def image_size(steps: Steps, name: str) -> tuple[int, int]:
    """(height, width) of the images that go in; raises ArgumentError where there is none, or they differ."""
    shapes = [step.shape for step in steps.all if step.layer is None]
    sizes = {size_of(shape) for shape in shapes if len(shape) == 3}
    if len(sizes) != 1:
        raise ArgumentError(
            f"{name} takes {'images of several sizes' if sizes else 'no image'}, so pixels say nothing of what it looks at",
            expected="inputs (None, height, width, channels) of one height and width",
            received=" and ".join(str((None, *person_shape(shape))) for shape in shapes),
        )
    return sizes.pop()


def _known(measured: Measured, name: str) -> tuple[Axis, Axis]:
    step = measured.ports[name].step
    if step in measured.axes:
        return measured.axes[step]
    culprit = measured.culprits[step]
    reason = f" (torch.fx cannot trace it: {measured.reasons[culprit]})" if culprit in measured.reasons else ""
    raise SightlineError(
        f'How far {culprit.name} ({culprit.kind}) looks is not known{reason}, so the receptive field of "{name}" is not either',
        fix='Ask for a node before it: receptive_field(model, node="..."); effective_receptive_field measures any',
    )


def _field(axes: tuple[Axis, Axis], image: tuple[int, int]) -> ReceptiveField:
    height, width = (_axis_field(axis, pixels) for axis, pixels in zip(axes, image, strict=True))
    return ReceptiveField(height, width)


def _axis_field(axis: Axis, image: int) -> AxisField:
    nominal = axis.nominal.cut(axis.places)
    reads = np.isfinite(axis.actual.first)
    spans = np.where(reads[:, None], np.stack([axis.actual.first, axis.actual.end], 1), 0).astype(np.int64)
    spans.setflags(write=False)
    if np.isinf(nominal.size):
        return AxisField(None, axis.stride, Fraction(image, 2), image, spans)
    seeing = np.flatnonzero(np.isfinite(nominal.first))
    offset = nominal.centre(int(seeing[0])) - int(seeing[0]) * axis.stride if len(seeing) else Fraction(0)
    return AxisField(int(nominal.size), axis.stride, offset, image, spans)
