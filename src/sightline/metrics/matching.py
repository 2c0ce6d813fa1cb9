"""Which detections are right: the boxes of all images in one table, overlaps, and COCO's greedy matching of all images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..structures import Boxes, Detections

RANGES = {  # COCO's areas in square pixels, both ends inside
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
THRESHOLDS = np.linspace(0.5, 0.95, 10)
UNMATCHED, RIGHT, IGNORED = (
    0,
    1,
    2,
)  # what becomes of a detection; an unmatched one is false if its area is inside the range
_PAIRS = 2**20  # overlaps computed at a time, so that memory stays bounded


@dataclass(frozen=True, eq=False)
class Objects:
    """All objects (n,), by class, then image, then as they stand there. `number` is their place in their image's Boxes."""

    image: np.ndarray
    label: np.ndarray
    number: np.ndarray
    edges: np.ndarray  # (4, n): left, top, right, bottom
    box_area: np.ndarray
    area: np.ndarray  # the object's own, which says in which range it is
    crowd: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """All detections (n,), by class, then score, the surest first, then image. `rank` counts from 0 among those of their image and class."""

    image: np.ndarray
    label: np.ndarray
    number: np.ndarray
    edges: np.ndarray  # (4, n)
    area: np.ndarray
    score: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class Table:
    """What there is and what was found, in the images 0 .. images - 1 and the classes 0 .. classes - 1."""

    images: int
    classes: int
    objects: Objects
    found: Found

    def limited(self, most: int) -> Table:
        """With at most so many detections, the surest, of each image and class."""
        return replace(self, found=_rows(self.found, self.found.rank < most))


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the detections of a table, for each of A area ranges and T thresholds.

    `candidates` (C,) are the detections that overlap any object enough for the lowest threshold, rising; `outcome` (A, T, C)
    says what they are, `inside` (A, detections) whether a detection's area is in the range, `counted` (A, objects) whether
    an object must be found there, `taken` (A, T, objects) whether it was.
    """

    candidates: np.ndarray
    outcome: np.ndarray
    inside: np.ndarray
    counted: np.ndarray
    taken: np.ndarray

    def chosen(self, ranges: Sequence[int], thresholds: Sequence[int]) -> Matches:
        """Those of some ranges and thresholds."""
        at = np.ix_(ranges, thresholds)
        return Matches(
            self.candidates, self.outcome[at], self.inside[list(ranges)], self.counted[list(ranges)], self.taken[at]
        )


def tabulate(truths: Sequence[Boxes], found: Sequence[Detections], classes: int) -> Table:
    """The table of lists that have one entry for each image. Objects that are not finite are left out.

    Raises ArgumentError and ShapeError where the lists do not belong together or a class number is none.
    """
    if len(truths) != len(found):
        raise ShapeError("Each image has its objects and its detections", received=f"{len(truths)} and {len(found)}")
    for each, kind in ((truths, Boxes), (found, Detections)):
        if isinstance(each, kind):  # whose items are no images
            raise ArgumentError(f"{kind.__name__} of one image stand in a list", fix="[boxes], [detections]")
        for image, one in enumerate(each):
            if not isinstance(one, kind):
                raise ArgumentError(f"Image {image} needs {kind.__name__}", received=type(one).__name__)
    return Table(len(truths), classes, _objects(truths, classes), _found(found, classes))


def _objects(truths: Sequence[Boxes], classes: int) -> Objects:
    image, label, number = _places(truths, classes, "object")
    edges, box_area = _edges(_joined([each.xyxy for each in truths], (0, 4)))
    rows = Objects(
        image, label, number, edges, box_area,
        area=_joined([each.area for each in truths]),
        crowd=_joined([each.crowd for each in truths], kind=bool),
        ignored=_joined([each.ignored for each in truths], kind=bool),
    )  # fmt: skip
    order = np.argsort(label, kind="stable")
    return _rows(rows, order[np.isfinite(edges).all(0)[order]])


def _found(found: Sequence[Detections], classes: int) -> Found:
    image, label, number = _places(found, classes, "detection")
    edges, area = _edges(_joined([each.xyxy for each in found], (0, 4)))
    score = _joined([each.scores for each in found])
    grouped = np.argsort(image * classes + label, kind="stable")  # Detections come sorted by score
    rank = np.empty_like(label)
    rank[grouped] = _counted_up(image[grouped] * classes + label[grouped])
    return _rows(Found(image, label, number, edges, area, score, rank), np.lexsort((-score, label)))


def _places(
    each: Sequence[Boxes] | Sequence[Detections], classes: int, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image, class, place in its image) of all rows."""
    counts = np.array([len(one) for one in each], np.int64)
    image = np.repeat(np.arange(len(each)), counts)
    label = _joined([one.labels for one in each], kind=np.int64)
    wrong = np.flatnonzero((label < 0) | (label >= classes))
    if len(wrong):
        raise ArgumentError(
            f"Image {image[wrong[0]]} has a{'n' if what == 'object' else ''} {what} of no class",
            expected=f"class numbers from 0 to {classes - 1}",
            received=int(label[wrong[0]]),
            fix="Leave it out, or give the number of classes as classes=",
        )
    return image, label, np.arange(len(label)) - np.repeat(np.cumsum(counts) - counts, counts)


def _joined(parts: list[np.ndarray], empty: tuple[int, ...] = (0,), kind: type = np.float64) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, kind)


def _edges(xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (4, n) and areas (n,) as they come out of a COCO file's (left, top, width, height), to the same bits."""
    with np.errstate(invalid="ignore", over="ignore"):
        low, size = xyxy[:, :2].T, (xyxy[:, 2:] - xyxy[:, :2]).T
        return np.concatenate([low, low + size]), size.clip(min=0).prod(0)


def _rows(table: Any, chosen: np.ndarray) -> Any:
    """Some rows of Objects or Found."""
    return type(table)(**{name: each[..., chosen] for name, each in vars(table).items()})


def _counted_up(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each run of equal numbers."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))


def overlapping(table: Table, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(detection, object, overlap) of all pairs of one image and class that overlap by at least `least` > 0, by detection, then object.

    The overlap is intersection over union, and with a crowd intersection over the detection's area.
    """
    of_objects = table.objects.label * table.images + table.objects.image
    of_found = table.found.label * table.images + table.found.image
    first = np.searchsorted(of_objects, of_found)
    counts = np.searchsorted(of_objects, of_found, side="right") - first
    parts = []
    for some in _portions(counts):
        many = counts[some]
        found = np.repeat(np.arange(some.start, some.stop), many)
        objects = np.repeat(first[some] - (np.cumsum(many) - many), many) + np.arange(len(found))
        overlap = _overlap(table, found, objects)
        keep = np.flatnonzero(overlap >= least)
        parts.append((found[keep], objects[keep], overlap[keep]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    found, objects, overlap = (np.concatenate(each) for each in zip(*parts, strict=True))
    return found, objects, overlap


def _portions(counts: np.ndarray) -> Iterator[slice]:
    """Slices that sum to about _PAIRS each."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS, side="right")))
        yield slice(start, stop)
        start = stop


def _overlap(table: Table, found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    one, other = table.found, table.objects
    with np.errstate(invalid="ignore", over="ignore"):  # boxes of 1e200 pixels: NaN, which no threshold reaches
        width, height = (
            np.minimum(one.edges[side + 2, found], other.edges[side + 2, objects])
            - np.maximum(one.edges[side, found], other.edges[side, objects])
            for side in (0, 1)
        )
        both = width.clip(min=0) * height.clip(min=0)
        whole = one.area[found] + other.box_area[objects] - both
        whole = np.where(other.crowd[objects], one.area[found], whole)
        return np.divide(both, whole, out=np.zeros_like(both), where=both > 0)


def match(table: Table, thresholds: np.ndarray, ranges: Sequence[tuple[float, float]]) -> Matches:
    """COCO's matching for each area range and threshold.

    The surest detection of an image and class takes first: of the objects that it overlaps by at least the threshold and that
    are not taken, the one it overlaps most (of equals the last), before one that counts not: a crowd, an ignored object, one
    outside the range. A crowd is never taken. What takes an object that counts not, and what takes none and is itself
    outside the range, is neither right nor false.
    """
    least = np.minimum(thresholds, 1 - 1e-10)
    found, objects, overlap = overlapping(table, least.min())
    low, high = np.array(ranges).T[:, :, None]
    inside = (table.found.area >= low) & (table.found.area <= high)
    counted = (
        (table.objects.area >= low) & (table.objects.area <= high) & ~(table.objects.crowd | table.objects.ignored)
    )
    candidates, place = np.unique(found, return_inverse=True)
    rounds = _rounds(table, candidates)
    order = np.lexsort((objects, overlap, place, rounds[place]))
    place, objects, overlap = place[order], objects[order], overlap[order]
    outcome = np.zeros((len(candidates), len(ranges), len(least)), np.int8)
    taken = np.zeros((len(table.objects.image), len(ranges), len(least)), bool)
    ends = np.searchsorted(rounds[place], np.arange(rounds.max(initial=-1) + 2))
    for start, stop in pairwise(ends):
        some = slice(start, stop)
        _take(place[some], objects[some], overlap[some], least, counted.T, table.objects.crowd, outcome, taken)
    return Matches(
        candidates, np.ascontiguousarray(outcome.transpose(1, 2, 0)), inside, counted, taken.transpose(1, 2, 0)
    )


def _rounds(table: Table, candidates: np.ndarray) -> np.ndarray:
    """When each detection takes: those of one image and class one after the other, those of different ones at once."""
    groups = (table.found.label * table.images + table.found.image)[candidates]
    order = np.argsort(groups, kind="stable")
    rounds = np.empty(len(groups), np.int64)
    rounds[order] = _counted_up(groups[order])
    return rounds


def _take(
    place: np.ndarray,
    objects: np.ndarray,
    overlap: np.ndarray,
    least: np.ndarray,
    counted: np.ndarray,
    crowd: np.ndarray,
    outcome: np.ndarray,
    taken: np.ndarray,
) -> None:
    """One round: each detection has its turn. Pairs come by detection, then overlap, then object: of those it may take, the last is best."""
    many = len(place)
    free = (overlap[:, None] >= least)[:, None] & ~(taken[objects] & ~crowd[objects, None, None])
    worth = np.arange(1, many + 1, dtype=np.int32)[:, None] + np.int32(many) * counted[objects]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    best = np.maximum.reduceat(np.where(free, worth[:, :, None], np.int32(0)), starts, axis=0)
    outcome[place[starts]] = np.where(best > many, RIGHT, np.where(best > 0, IGNORED, UNMATCHED))
    at, area, threshold = np.nonzero(best)
    taken[objects[(best[at, area, threshold] - 1) % many], area, threshold] = True
