"""Plain facts of a run, computed from its network and its data: what it costs, how far it sees, how its answers hold."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..data.decode import image_size
from ..data.placement import place
from ..data.streaming import decoded
from ..detectors.trained import AT_ONCE
from ..errors import DataError, SightlineError
from ..explain.maps import stages
from ..explain.parts import looked_into
from ..graph.network import Network
from ..layout import person_shape
from ..measure import Cost, Invariance, ReceptiveField, cost, invariance, memory, receptive_field
from ..measure.units import bytes_text
from ..models import Model
from ..runs.settings import Settings
from ..structures import ImageSpec, Sample
from ..training.numerics import Numerics

SECONDS = 10.0  # that the curves of invariance may take
LEAST, MOST = 8, 48  # images for them
MEASURED = 400  # images whose objects are measured, at the most
PAIRS = 8  # classes that are mixed up most
CHANGES = {
    "translation right": (-0.2, -0.1, 0.0, 0.1, 0.2),
    "rotation": (-30.0, -15.0, 0.0, 15.0, 30.0),
    "brightness": (0.4, 0.7, 1.0, 1.5, 2.2),
    "scale": (0.7, 0.85, 1.0, 1.2, 1.5),
    "blur": (0.0, 0.5, 1.0, 2.0),
    "translation down": (-0.2, -0.1, 0.0, 0.1, 0.2),
}


@dataclass(frozen=True)
class Needs:
    """What a network costs: for one image, and in bytes of memory at the most, in training and for one answer, which takes so
    many `looks` at once: the picture, or it and its tiles."""

    cost: Cost
    batch_size: int
    training: int
    answering: int
    library: int  # of both, what the libraries take
    looks: int = 1

    def rows(self) -> list[tuple[str, str, str]]:
        """What, how much, and what that means."""
        weights = bytes_text(4 * self.cost.parameters)
        tiles = "" if self.looks == 1 else f" with {self.looks} of its tiles at a time"
        return [
            ("weights", f"{self.cost.parameters:,}", f"numbers that it learned; {weights} as 32-bit numbers"),
            ("work", f"{self.cost.macs / 1e6:,.1f} million", "multiplications for one picture"),
            ("training memory", bytes_text(self.training), f"planned, at the most, with {self.batch_size} pictures at a time"),
            ("answering memory", bytes_text(self.answering), f"planned, at the most, for one picture{tiles}"),
            ("of both, the libraries", bytes_text(self.library), "which any network needs"),
        ]  # fmt: skip


def needs(model: Model, settings: Settings, device: str) -> Needs:
    """The cost of a run's network. Raises SightlineError for one that cannot be planned."""
    kind, precision = device.split(":")[0], Numerics(settings.precision).known
    looks = 1 if settings.tile is None else AT_ONCE
    try:
        training = memory(model, settings.batch_size, precision=precision, device=kind)
        answering = memory(model, looks, training=False, device=kind)
    except SightlineError:
        raise
    except Exception as error:  # someone else's layer may do what no rehearsal can follow
        raise SightlineError(f"The memory of {model.name} cannot be planned") from error
    way = settings.fit_memory
    peak = way["peak"] if isinstance(way, dict) else training.peak  # as it was made to fit
    return Needs(cost(model), settings.batch_size, peak, answering.peak, training.library, looks)


@dataclass(frozen=True)
class Stage:
    """A stage of a network: where it ends, the (height, width, maps) of its answer, and what one of its places sees; None where
    that is not known."""

    name: str
    shape: tuple[int, ...]
    field: ReceptiveField | None
    image: tuple[int, int]

    @property
    def sides(self) -> tuple[float, float] | None:
        """(height, width) in pixels of what one place sees, as if the image went on; None where it is not known."""
        if self.field is None:
            return None
        return tuple(float("inf") if side is None else side for side in self.field.size)  # type: ignore[return-value]

    @property
    def sees(self) -> str:
        """The same in words."""
        if self.sides is None:
            return "not known"
        if all(side >= whole for side, whole in zip(self.sides, self.image, strict=True)):
            return "the whole picture"
        height, width = (min(side, whole) for side, whole in zip(self.sides, self.image, strict=True))
        return f"{width:.0f} x {height:.0f} pixels"

    @property
    def stride(self) -> str:
        """Pixels from one place to the next."""
        if self.field is None:
            return "-"
        return " x ".join(dict.fromkeys(_number(each) for each in self.field.stride[::-1]))


def stages_of(model: Model, spec: ImageSpec) -> list[Stage]:
    """The stages of a network, from fine to coarse."""
    network = looked_into(model)
    return [
        Stage(name, person_shape(network.values[name].inner_shape), _field(network, name), (spec.height, spec.width))
        for name in stages(network)
    ]


def _field(network: Network, name: str) -> ReceptiveField | None:
    try:
        return receptive_field(network, name)
    except SightlineError:  # someone else's layer, of which it is not known how far it looks
        return None


def object_sides(samples: Sequence[Sample], spec: ImageSpec, tile: int | None = None) -> np.ndarray:
    """(height, width) of the objects of images, (n, 2), in pixels of what the network is fed, an image or a `tile` of it; images that
    cannot be read are left out."""
    sides = [np.empty((0, 2))]
    for sample in samples[:: -(-len(samples) // MEASURED) or 1]:
        if sample.boxes is None:
            continue
        try:
            size = sample.size or image_size(sample.path)
        except DataError:
            continue
        if tile is not None:
            size = min(size[0], tile), min(size[1], tile)
        boxes = place(size, spec).to_frame(sample.boxes.xyxy)
        boxes = boxes[np.isfinite(boxes).all(1)]
        sides.append((boxes[:, 2:] - boxes[:, :2])[:, ::-1])
    found = np.concatenate(sides)
    return found[(found > 0).all(1)]


def share_larger(objects: np.ndarray, stage: Stage) -> float | None:
    """The share of objects (n, 2) of which one place of a stage cannot see all; None where nothing is known."""
    if stage.sides is None or not len(objects):
        return None
    return float((objects > np.array(stage.sides)).any(1).mean())


def held(network: Network, samples: Sequence[Sample], spec: ImageSpec) -> Invariance:
    """How a network's classes hold under changes of images: as many images and changes as `SECONDS` allow.

    Raises DataError where no image can be read.
    """
    chosen = (
        [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, MOST).round().astype(int))] if samples else []
    )
    numbers, parts = [], [np.empty((0, *spec.shape), np.uint8)]
    for some, pixels, _ in decoded([sample.path for sample in chosen], spec, LEAST, 2):
        numbers += some
        parts.append(pixels)
    images = np.concatenate(parts)
    if not len(images):
        raise DataError("None of the pictures that it was measured on can be read")
    changes, count = affordable(_seconds(network, images[:LEAST]), len(images))
    order = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))
    labels = [chosen[numbers[i]].label for i in order]
    known = None if any(label is None for label in labels) else np.array(labels)
    return invariance(network, images[order], known, changes=changes)


def _seconds(network: Network, images: np.ndarray) -> float:
    """What an answer to one image takes, whatever else the machine does meanwhile."""
    seconds = []
    for _ in range(2):  # the first one warms up
        wall, own = time.monotonic(), time.process_time()
        invariance(network, images, changes={"brightness": (1.0,)})
        seconds.append(min(time.monotonic() - wall, time.process_time() - own))
    return min(seconds) / 2 / len(images)  # it answers to the unchanged ones too


def affordable(seconds: float, images: int) -> tuple[Mapping[str, Sequence[float]], int]:
    """(changes, how many images): what an answer of so many seconds leaves time for, and at least one change of `LEAST` images."""
    names = list(CHANGES)
    while len(names) > 1 and seconds * LEAST * _answers(names) > SECONDS:
        names.pop()
    count = int(SECONDS / max(seconds * _answers(names), 1e-9))
    return {name: CHANGES[name] for name in names}, min(images, max(LEAST, count))


def _answers(names: Sequence[str]) -> int:
    return 1 + sum(len(CHANGES[name]) for name in names)


def mixed_up(confusion: Any, classes: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """(true class, what it is taken for, how often, share of the true class) of the pairs that are mixed up most."""
    counts = np.array(confusion)
    totals = np.maximum(counts.sum(1), 1)
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(at), len(classes)) for at in order]
    return [
        (classes[i], classes[j], int(counts[i, j]), float(counts[i, j] / totals[i])) for i, j in pairs if wrong[i, j]
    ]


def _number(value: Fraction) -> str:
    return f"{float(value):g}"
