"""What flows between rooms: validated, immutable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError, choose

COLOR_MODES = {"grayscale": 1, "rgb": 3}
RESIZES = ("squash", "crop", "letterbox")
Area = tuple[int, int, int, int]  # left, top, right, bottom in pixels
IGNORE = 255  # in a class mask: no class here, neither learned nor measured


@dataclass(frozen=True)
class ImageSpec:
    """What an image must become for a network: uint8 (height, width, channels), resized by `resize` (bilinear, antialiased).

    "squash" resizes each side on its own; "crop" keeps the proportions and cuts the middle out of what is too long;
    "letterbox" keeps the proportions and all of the picture, with gray beside it.
    """

    height: int
    width: int
    channels: int
    resize: str = "squash"

    def __post_init__(self) -> None:
        if self.channels not in COLOR_MODES.values():
            raise ArgumentError("An image has 1 channel (grayscale) or 3 (rgb)", received=self.channels)
        if self.height < 1 or self.width < 1:
            raise ArgumentError("An image has at least one pixel", received=f"{self.height}x{self.width}")
        choose("resize policy", self.resize, RESIZES)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Boxes:
    """The objects of one image: boxes `xyxy` in pixels of the upright original image, float64 (n, 4), and class numbers, int64 (n,).

    Pixel i covers i .. i + 1, so the box around the first pixel is (0, 0, 1, 1). A box stands here as its file has it,
    an impossible one too, which `data.check` names; a class number of -1 is a name or number that is no class. Read-only.

    For measuring: `crowd` (n,) marks boxes around many objects (COCO's iscrowd), `ignored` (n,) objects that need not be found
    (VOC's difficult), both False where not given; `area` (n,) in square pixels is what an object covers, its box's where not given
    or NaN.
    """

    def __init__(self, xyxy: Any = (), labels: Any = (), *, crowd: Any = None, ignored: Any = None, area: Any = None):
        self.xyxy = _rows_of_four(xyxy)
        self.labels = np.array(labels, np.int64).reshape(-1)
        if len(self.xyxy) != len(self.labels):
            raise ShapeError(
                "Each box has a class number", received=f"{len(self.xyxy)} boxes, {len(self.labels)} numbers"
            )
        self.crowd = np.zeros(len(self), bool) if crowd is None else np.array(crowd, bool).reshape(-1)
        self.ignored = np.zeros(len(self), bool) if ignored is None else np.array(ignored, bool).reshape(-1)
        self.area = np.full(len(self), np.nan) if area is None else np.array(area, np.float64).reshape(-1)
        for name in ("crowd", "ignored", "area"):
            if len(getattr(self, name)) != len(self):
                raise ShapeError(
                    f"{name} has one value for each box", expected=len(self), received=len(getattr(self, name))
                )
        self.area = np.where(np.isnan(self.area), _areas(self.xyxy), self.area)
        for each in self._arrays():
            each.setflags(write=False)

    @classmethod
    def joined(cls, parts: Sequence[Boxes]) -> Boxes:
        """The boxes of several together."""
        if not parts:
            return cls()
        xyxy, labels, crowd, ignored, area = map(np.concatenate, zip(*(part._arrays() for part in parts), strict=True))
        return cls(xyxy, labels, crowd=crowd, ignored=ignored, area=area)

    def relabelled(self, labels: Any) -> Boxes:
        """The same objects under other class numbers."""
        return Boxes(self.xyxy, labels, crowd=self.crowd, ignored=self.ignored, area=self.area)

    def moved(self, xyxy: Any) -> Boxes:
        """The same objects elsewhere: other boxes (n, 4), of which each covers the share that it covered before."""
        boxes = _rows_of_four(xyxy)
        before, after = _areas(self.xyxy), _areas(boxes)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = np.where(self.area == before, after, self.area * (after / before))
        return Boxes(boxes, self.labels, crowd=self.crowd, ignored=self.ignored, area=area)

    def marks(self) -> dict[str, list[Any]]:
        """What is said of the boxes besides where and of which class they are: `crowd`, `ignored` and `area`, where any has it."""
        told = {name: each.tolist() for name in ("crowd", "ignored") if (each := getattr(self, name)).any()}
        own = not np.array_equal(self.area, _areas(self.xyxy), equal_nan=True)
        return told | ({"area": self.area.tolist()} if own else {})

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.xyxy, self.labels, self.crowd, self.ignored, self.area

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Any) -> Boxes:
        """Some of the boxes, by a mask or numbers."""
        crowd, ignored, area = self.crowd[chosen], self.ignored[chosen], self.area[chosen]
        return Boxes(self.xyxy[chosen], self.labels[chosen], crowd=crowd, ignored=ignored, area=area)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boxes):
            return NotImplemented
        return all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(self._arrays(), other._arrays(), strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(each.tobytes() for each in self._arrays()))

    def __repr__(self) -> str:
        told = [repr(self.xyxy.tolist()), repr(self.labels.tolist())]
        return f"Boxes({', '.join(told + [f'{name}={each}' for name, each in self.marks().items()])})"


def _rows_of_four(xyxy: Any) -> np.ndarray:
    """Boxes as float64 (n, 4), a copy; nothing, or one flat box, too."""
    boxes = np.array(xyxy, np.float64)
    if boxes.size and boxes.shape[-1] != 4:
        raise ShapeError("A box is four numbers: left, top, right, bottom", received=boxes.shape)
    return boxes.reshape(-1, 4)


def _areas(xyxy: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n, 4): 0 where one is inverted, NaN or infinite where it is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        return (xyxy[:, 2] - xyxy[:, 0]).clip(min=0) * (xyxy[:, 3] - xyxy[:, 1]).clip(min=0)


class Detections:
    """The objects that a network finds in one image, the surest first.

    `xyxy` float64 (n, 4) in pixels of the upright original image, `scores` float64 (n,) 0..1, `labels` int64 (n,) class numbers.
    Read-only. Raises ShapeError where they do not belong together, and ArgumentError for what is not finite or no score.
    """

    def __init__(self, xyxy: Any = (), scores: Any = (), labels: Any = ()):
        boxes = _rows_of_four(xyxy)
        sure, numbers = np.array(scores, np.float64).reshape(-1), np.array(labels, np.int64).reshape(-1)
        if not len(boxes) == len(sure) == len(numbers):
            raise ShapeError(
                "Each box has a score and a class number",
                received=f"{len(boxes)} boxes, {len(sure)} scores, {len(numbers)} numbers",
            )
        if not np.isfinite(boxes).all():
            raise ArgumentError("Boxes are finite numbers", received=boxes[~np.isfinite(boxes).all(1)][0].tolist())
        if not ((sure >= 0) & (sure <= 1)).all():
            raise ArgumentError("Scores are from 0 to 1", received=sure[~((sure >= 0) & (sure <= 1))][0])
        order = np.argsort(-sure, kind="stable")
        self.xyxy, self.scores, self.labels = boxes[order], sure[order], numbers[order]
        for each in (self.xyxy, self.scores, self.labels):
            each.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Any) -> Detections:
        """Some of them, by a mask, numbers or a slice."""
        return Detections(self.xyxy[chosen], self.scores[chosen], self.labels[chosen])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        mine, its = (self.xyxy, self.scores, self.labels), (other.xyxy, other.scores, other.labels)
        return all(np.array_equal(a, b) for a, b in zip(mine, its, strict=True))

    def __hash__(self) -> int:
        return hash((self.xyxy.tobytes(), self.scores.tobytes(), self.labels.tobytes()))

    def __repr__(self) -> str:
        return f"Detections({self.xyxy.tolist()}, {self.scores.tolist()}, {self.labels.tolist()})"


@dataclass(frozen=True)
class MaskCoding:
    """How a mask file says classes: `values[i]` stands for class i, those in `ignored` for no class.

    "index" is a gray or palette file's own number (0/255 files have the values (0, 255)); "color" is an RGB file's
    0xRRGGBB.
    """

    kind: str
    values: tuple[int, ...]
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        choose("coding of masks", self.kind, ("index", "color"))
        if not 1 <= len(self.values) <= IGNORE:
            raise ArgumentError(f"A mask tells 1 to {IGNORE} classes apart", received=len(self.values))


@dataclass(frozen=True)
class Mask:
    """The file that gives each pixel of an image its class."""

    path: Path
    coding: MaskCoding


@dataclass(frozen=True)
class Sample:
    """One image file and what is known of it; what its data set does not say is None.

    `label` is the number of its class, `group` what it belongs to with others (a patient, a video), which no split
    may part, `size` (height, width) what the label file says of the image. With a `crop` the sample is that part of the upright
    image alone, its boxes and its size are the part's.
    """

    path: Path
    label: int | None = None
    boxes: Boxes | None = None
    mask: Mask | None = None
    group: str | None = None
    size: tuple[int, int] | None = None
    crop: Area | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file, as a sentence's end ("is truncated"); `data.check` has the `kind`s."""

    path: Path
    reason: str
    kind: str = "unreadable"

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "validation", "test"; "all" where none is given), and the classes in the order of their numbers.

    `given` names the splits that the folder itself had; the others were drawn. `problems` is what the reader could not
    use: damaged label files, images that are not there.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    given: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    task: str = "classify"
    format: str = "class-folders"

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, split by split."""
        return tuple(sample for samples in self.splits.values() for sample in samples)

    def counts(self, split: str) -> list[int]:
        """Images (or, where there are boxes, boxes without crowds) of each class in a split."""
        counts = [0] * len(self.classes)
        for sample in self.splits.get(split, ()):
            boxes = sample.boxes
            labels = [sample.label] if boxes is None else boxes.labels[~boxes.crowd].tolist()
            for label in labels:
                if label is not None and label >= 0:
                    counts[label] += 1
        return counts


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image: every class's probability, in the order of the classes."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, the first first."""
        order = sorted(range(len(self.classes)), key=lambda i: -self.probabilities[i])
        return [(self.classes[i], self.probabilities[i]) for i in order[:k]]

    def row(self, k: int) -> tuple[str, str, str]:
        """What a table shows: the class, its probability, and the k - 1 that come next."""
        (name, probability), *others = self.top(k)
        return name, f"{probability:.4f}", ", ".join(f"{other} {p:.3f}" for other, p in others)

    def as_dict(self) -> dict[str, Any]:
        name, probability = self.top(1)[0]
        everything = dict(zip(self.classes, self.probabilities, strict=True))
        return {"path": str(self.path), "class": name, "probability": probability, "probabilities": everything}
