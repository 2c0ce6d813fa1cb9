"""How good detections are: average precision as COCO and VOC measure it, with what a person needs to act on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, choose, whole_number
from ..structures import Boxes, Detections
from .accumulation import average_precision, average_recall, points, states
from .intervals import draws, ends
from .matching import IGNORED, RANGES, RIGHT, THRESHOLDS, UNMATCHED, Matches, Table, match, tabulate
from .voc import voc_average_precision, voc_states

_AREAS = list(RANGES)
_AT_ONCE = 2**21  # numbers held at a time in a bootstrap


class Curve(NamedTuple):
    """Precision, recall and the score that gives them (each (n,)), the highest score first; one point for each score."""

    precision: np.ndarray
    recall: np.ndarray
    score: np.ndarray


class OperatingPoint(NamedTuple):
    """The lowest score that is still taken, and what taking it gives; NaN where nothing was found or there is no object."""

    score: float
    precision: float
    recall: float
    f1: float


class Mistakes(NamedTuple):
    """`false`: (image, number in its Detections, score), the surest first; `missed`: (image, number in its Boxes)."""

    false: list[tuple[int, int, float]]
    missed: list[tuple[int, int]]


class _Measure(NamedTuple):
    """Which numbers a COCO measure is the mean of; `most` None for a precision, for a recall how many detections."""

    most: int | None
    area: int = 0
    thresholds: Sequence[int] = range(len(THRESHOLDS))


def detection_quality(
    truths: Sequence[Boxes], found: Sequence[Detections], *, classes: int, max_detections: int = 100
) -> DetectionQuality:
    """How good the detections `found` of some images are, beside their objects `truths`; one entry for each image.

    `max_detections` of an image and class count, the surest, as in COCO (VOC's measure takes all). Crowds need not be found,
    and what lies in one (by its own area) is not false, however many; ignored objects need not be found, and what takes one is
    not false. A box without area is an object that can only be missed, and a detection without area is false; an object
    that is not finite is left out. Raises ArgumentError for class numbers outside 0 .. classes - 1 and what is no Boxes or
    Detections, ShapeError where the lists have two lengths.
    """
    classes = whole_number(classes, "detection_quality: classes")
    most = whole_number(max_detections, "detection_quality: max_detections")
    return DetectionQuality(tabulate(truths, found, classes), most)


class DetectionQuality:
    """What `detection_quality` measures. Each number is found when it is asked for; the matching is done once."""

    def __init__(self, table: Table, max_detections: int):
        self.max_detections = max_detections
        self._all, self._table = table, table.limited(max_detections)
        self._at: dict[float, Matches] = {}

    def __repr__(self) -> str:
        objects, found = len(self._all.objects.image), len(self._all.found.image)
        return f"DetectionQuality({self._all.images} images, {objects} objects, {found} detections)"

    def coco(self) -> dict[str, float]:
        """COCO's twelve numbers, 0..1: NaN where nothing could be found, which pycocotools tells as -1.

        AP is the mean over the IoUs 0.5, 0.55, ..., 0.95 and the classes that have objects; AP50 and AP75 at one IoU;
        small, medium and large of objects up to 32^2, up to 96^2 and above, in square pixels. AR_10 is the mean recall of the 10
        surest detections of an image and class; with another `max_detections`, AR_100 is named by that.
        """
        return {name: self._mean(name) for name in self._measures}

    def per_class(self) -> list[dict[str, Any]]:
        """A row for each class: its number, AP, AP50, AP75, AR (at most `max_detections`), and how many objects must be found and were said to be there."""
        counted = self._matches.counted[0]
        objects = np.bincount(self._table.objects.label[counted], minlength=self._table.classes)
        found = np.bincount(self._all.found.label, minlength=self._table.classes)
        precision, recall = self._precision[:, 0], self._recall(self.max_detections)[:, 0]
        return [
            {
                "class": label,
                "AP": float(precision[label].mean()),
                "AP50": float(precision[label, 0]),
                "AP75": float(precision[label, 5]),
                "AR": float(recall[label].mean()),
                "objects": int(objects[label]),
                "found": int(found[label]),
            }
            for label in range(self._table.classes)
        ]

    def voc(self, iou: float = 0.5, points: str | int = "all") -> dict[str, Any]:
        """VOC's average precision: "AP", the mean over the classes that have objects, and "per_class", NaN where there are none.

        `points` "all" is the rule of VOC 2010 and later, 11 that of VOC 2007. Difficult objects are ignored ones.
        """
        if points not in ("all", 11):
            raise ArgumentError(
                "VOC's curve has all points or 11", expected='points="all" or 11', received=repr(points)
            )
        table, state = self._all, voc_states(self._all, _checked(iou))
        must = ~(table.objects.crowd | table.objects.ignored)
        positives = np.bincount(table.objects.label[must], minlength=table.classes)
        ends = np.searchsorted(table.found.label, np.arange(table.classes + 1))
        each = [
            voc_average_precision(state[ends[label] : ends[label + 1]], int(positives[label]), points)
            for label in range(table.classes)
        ]
        return {"AP": _mean(np.array(each)), "per_class": each}

    def curve(self, label: int | None = None, iou: float = 0.5) -> Curve:
        """Precision and recall at each score, of one class or of all pooled. Recall is NaN where there is no object."""
        right, counted, score, positives = self._points(label, iou)
        with np.errstate(invalid="ignore"):
            return Curve(right / counted, right / positives if positives else np.full(len(score), np.nan), score)

    def operating_point(self, iou: float = 0.5) -> OperatingPoint:
        """The score from which on to take detections so that F1 of all classes pooled is highest; of equals the highest score."""
        right, counted, score, positives = self._points(None, iou)
        if not len(score) or not positives:
            return OperatingPoint(*[float("nan")] * 4)
        f1 = 2 * right / (counted + positives)
        at = int(f1.argmax())
        return OperatingPoint(*(float(x[at]) for x in (score, right / counted, right / positives, f1)))

    def per_image(self, score: float, iou: float = 0.5) -> np.ndarray:
        """How many detections from a score on are right, how many count as right or wrong, and how many objects must be found, for each
        image: int (images, 3)."""
        table, matches = self._table, self._matched(iou)
        state, sure = states(table, matches), table.found.score >= score
        rows = (
            table.found.image[sure & (state == RIGHT)],
            table.found.image[sure & (state != IGNORED)],
            table.objects.image[matches.counted[0]],
        )
        return np.stack([np.bincount(images, minlength=table.images) for images in rows], 1)

    def mistakes(self, iou: float = 0.5, k: int | None = 20) -> Mistakes:
        """The `k` surest false detections (None for all), and all objects that no detection took."""
        table, matches = self._table, self._matched(iou)
        wrong = np.flatnonzero(states(table, matches) == UNMATCHED)
        wrong = wrong[np.argsort(-table.found.score[wrong], kind="stable")]
        wrong = wrong if k is None else wrong[: whole_number(k, "mistakes: k", least=0)]
        missed = np.flatnonzero(matches.counted[0] & ~matches.taken[0, 0])
        missed = missed[np.lexsort((table.objects.number[missed], table.objects.image[missed]))]
        of, objects = table.found, table.objects
        return Mistakes(
            list(zip(of.image[wrong].tolist(), of.number[wrong].tolist(), of.score[wrong].tolist(), strict=True)),
            list(zip(objects.image[missed].tolist(), objects.number[missed].tolist(), strict=True)),
        )

    def interval(
        self, name: str = "AP", *, samples: int = 200, seed: int = 0, level: float = 0.95, method: str = "basic"
    ) -> tuple[float, float]:
        """Between which values one of `coco()`'s numbers lies, were other images drawn: a bootstrap over images (Efron, 1979).

        Each of `samples` draws as many images as there are, with replacement; nothing is matched again. A class that a
        draw has no object of is left out of that draw's mean, and a draw without any is left out; NaN where all are.

        "percentile" is where the middle `level` of the draws lie. Average precision comes out too high on few images, and on
        draws from them once more, so where classes have few objects these values lie too high, even all above the number
        itself; "basic" mirrors them at the number (Davison & Hinkley 1997, equation 5.6), within 0..1, and covers better.
        """
        choose("method", method, ("percentile", "basic"))
        if not 0 < level < 1:
            raise ArgumentError("interval: level is above 0 and below 1", received=level)
        low, high = np.clip(ends(self.drawn(name, samples=samples, seed=seed), self._mean(name), level, method), 0, 1)
        return float(low), float(high)

    def drawn(self, name: str = "AP", *, samples: int = 200, seed: int = 0) -> np.ndarray:
        """One of `coco()`'s numbers (samples,) on each draw of a bootstrap over images, NaN where it has none.

        Of two qualities on the same images the draws of one seed have the same images, so that their difference is one of pairs.
        """
        measure = self._measures[choose("measure", name, self._measures)]
        samples = whole_number(samples, "interval: samples")
        return np.array([_mean(each) for each in self._resampled(measure, draws(self._table.images, samples, seed))])

    def _resampled(self, measure: _Measure, times: np.ndarray) -> list[np.ndarray]:
        """The numbers that `measure` is the mean of, for each row of `times` (S, images)."""
        matches = self._matches.chosen([measure.area], measure.thresholds)
        largest = int(np.bincount(self._table.found.label, minlength=1).max()) * len(measure.thresholds)
        step = max(1, _AT_ONCE // max(largest, 1))
        result: list[np.ndarray] = []
        for start in range(0, len(times), step):
            some = times[start : start + step]
            if measure.most is None:
                result += list(average_precision(self._table, matches, some))
            else:
                result += list(average_recall(self._table, matches, some, measure.most))
        return result

    @cached_property
    def _measures(self) -> dict[str, _Measure]:
        most, sizes = self.max_detections, list(enumerate(_AREAS))[1:]
        return {
            "AP": _Measure(None),
            "AP50": _Measure(None, thresholds=[0]),
            "AP75": _Measure(None, thresholds=[5]),
            **{f"AP_{area}": _Measure(None, i) for i, area in sizes},
            **{f"AR_{many}": _Measure(many) for many in (1, 10, most)},
            **{f"AR_{area}": _Measure(most, i) for i, area in sizes},
        }

    def _mean(self, name: str) -> float:
        most, area, thresholds = self._measures[name]
        numbers = self._precision if most is None else self._recall(most)
        return _mean(numbers[:, area][:, thresholds])

    @cached_property
    def _matches(self) -> Matches:
        return match(self._table, THRESHOLDS, list(RANGES.values()))

    @cached_property
    def _precision(self) -> np.ndarray:
        return average_precision(self._table, self._matches, self._once)[0]

    def _recall(self, most: int) -> np.ndarray:
        return average_recall(self._table, self._matches, self._once, most)[0]

    @property
    def _once(self) -> np.ndarray:
        return np.ones((1, self._table.images), np.int64)

    def _matched(self, iou: float) -> Matches:
        """Matches at one IoU, of all areas."""
        iou = _checked(iou)
        if iou not in self._at:
            self._at[iou] = match(self._table, np.array([iou]), [RANGES["all"]])
        return self._at[iou]

    def _points(self, label: int | None, iou: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """(right ones, counted ones, score) at each score, and how many objects must be found."""
        table, matches = self._table, self._matched(iou)
        score, state, must = table.found.score, states(table, matches), matches.counted[0]
        if label is not None:
            if not 0 <= label < table.classes:
                raise ArgumentError("No such class", expected=f"0 to {table.classes - 1}", received=label)
            mine = table.found.label == label
            score, state, must = score[mine], state[mine], must & (table.objects.label == label)
        return *points(score, state), int(must.sum())


def _checked(iou: float) -> float:
    if not 0 < iou <= 1:
        raise ArgumentError("iou is above 0 and at most 1", received=iou)
    return float(iou)


def _mean(numbers: np.ndarray) -> float:
    """Of those that are numbers; NaN where none is."""
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")
