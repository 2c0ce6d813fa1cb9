"""How good class maps are, image by image: overlap, accuracy and boundaries of the classes, with intervals over images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, choose, whole_number
from ..structures import IGNORE
from .boundaries import boundary_counts
from .intervals import draws, ends

SAMPLES = 1000  # of the bootstrap
BOUNDARY = 0.0075  # of the diagonal (Csurka et al. 2013, section 4)


class SegmentationQuality:
    """The quality of predicted class maps, which are added one by one: of each only counts of pixels are kept.

    Pixels whose true class is `ignore` do not count, whatever is said there. A measure's mean over classes leaves out those
    that neither side has; NaN where none is left. `boundary`: how far boundaries may be apart, as a share of the image's
    diagonal; None does not look at them.
    """

    def __init__(self, classes: int, ignore: int | None = IGNORE, boundary: float | None = BOUNDARY):
        self.classes = whole_number(classes, "SegmentationQuality: classes")
        if boundary is not None and not 0 <= boundary < math.inf:
            raise ArgumentError("boundary is a share of the diagonal", expected="at least 0", received=boundary)
        self.ignore, self.boundary = ignore, boundary
        self.confusion = np.zeros(
            (self.classes, self.classes), np.int64
        )  # row the true class, column the predicted one
        self._areas: list[np.ndarray] = []  # of each image (3, classes): right, true, said
        self._edges: list[np.ndarray] = []  # of each image, as `boundary_counts`

    def __len__(self) -> int:
        """How many images were added."""
        return len(self._areas)

    def add(self, true_mask: np.ndarray, predicted_mask: np.ndarray) -> None:
        """Add an image: class numbers (height, width), of any size. Raises ShapeError where the sizes differ, ArgumentError for what is no class."""
        true, said = np.asarray(true_mask), np.asarray(predicted_mask)
        if true.ndim != 2 or true.shape != said.shape:
            raise ShapeError(
                "Two class maps of one image have one size",
                expected=f"(height, width) twice, as {true.shape}",
                received=said.shape,
            )
        known = np.ones(true.shape, bool) if self.ignore is None else true != self.ignore
        self._require_classes(true[known], "true")
        self._require_classes(said[known], "predicted")
        cells = true[known].astype(np.int64) * self.classes + said[known]
        confusion = np.bincount(cells, minlength=self.classes**2).reshape(self.confusion.shape)
        self.confusion += confusion
        self._areas.append(np.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)]).astype(np.uint32))
        if self.boundary is not None:
            true, said = (np.where(known, each.astype(np.int64), self.classes) for each in (true, said))
            distance = self.boundary * math.hypot(*true.shape)
            self._edges.append(boundary_counts(true, said, self.classes, distance).astype(np.uint32))

    def _require_classes(self, numbers: np.ndarray, which: str) -> None:
        if numbers.dtype.kind not in "biu" or (len(numbers) and not 0 <= numbers.min() <= numbers.max() < self.classes):
            received = numbers.dtype if numbers.dtype.kind not in "biu" else f"{numbers.min()} .. {numbers.max()}"
            raise ArgumentError(
                f"The {which} class map has what is no class",
                expected=f"0 .. {self.classes - 1}",
                received=received,
            )

    def mean_iou(self) -> float:
        """The mean over classes of right / (true or said) pixels of all images together."""
        return self._measured("mean_iou")

    def dice(self) -> float:
        """The mean over classes of 2 right / (true + said) pixels of all images together."""
        return self._measured("dice")

    def pixel_accuracy(self) -> float:
        """The share of known pixels whose class is right."""
        return self._measured("pixel_accuracy")

    def boundary_f1(self) -> float:
        """The mean over classes of `per_class`'s boundary F1; NaN where boundaries were not looked at."""
        return self._measured("boundary_f1")

    def per_class(self) -> list[dict[str, Any]]:
        """A row for each class: its number, IoU, Dice, precision, recall, true pixels and boundary F1; None where undefined.

        The boundary F1 (Csurka et al. 2013) is the mean over the images in which either side has a boundary of the class, of
        the harmonic mean of precision and recall of boundary pixels; 0 where only one side has any. Along ignored pixels there
        is a boundary on both sides.
        """
        right, true, said = (counts.astype(float) for counts in self._totals())
        edges, weighed = self._boundaries()
        columns = {
            "IoU": _divided(right, true + said - right),
            "Dice": _divided(2 * right, true + said),
            "precision": _divided(right, said),
            "recall": _divided(right, true),
            "boundary F1": _divided(edges.sum(0), weighed.sum(0)),
        }
        return [
            {
                "class": number,
                **{
                    name: None if np.isnan(values[number]) else float(values[number])
                    for name, values in columns.items()
                },
                "pixels": int(true[number]),
            }
            for number in range(self.classes)
        ]

    def scores(self) -> np.ndarray:
        """The mean IoU of each image (n,), over the classes that it or its prediction has; NaN where nothing is known."""
        return _MEASURES["mean_iou"](np.array(self._areas, float).reshape(-1, 3, self.classes))

    def interval(self, name: str = "mean_iou", *, samples: int = SAMPLES, seed: int = 0) -> tuple[float, float]:
        """The 95 % interval of a measure by a bootstrap over images (percentiles); NaN where it is undefined."""
        choose("measure", name, (*_MEASURES, "boundary_f1"))
        if not self._areas:
            return float("nan"), float("nan")
        times = draws(len(self), whole_number(samples, "interval: samples"), seed).astype(float)
        return ends(self._measure(name, times), self._measured(name), method="percentile")

    def _measured(self, name: str) -> float:
        return float(self._measure(name, np.ones((1, len(self))))[0])

    def _measure(self, name: str, times: np.ndarray) -> np.ndarray:
        """A measure (S,) where image i is there times[s, i] times."""
        if name == "boundary_f1":
            f1, there = self._boundaries()
            return _mean(_divided(times @ f1, times @ there))
        areas = np.array(self._areas, float).reshape(len(self), 3 * self.classes)
        return _MEASURES[name]((times @ areas).reshape(len(times), 3, self.classes))

    def _totals(self) -> np.ndarray:
        return np.stack([self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)])

    def _boundaries(self) -> tuple[np.ndarray, np.ndarray]:
        """F1 of each image and class (images, classes), 0 where there is no boundary, and whether there is one."""
        if self.boundary is None:
            return np.zeros((len(self), self.classes)), np.zeros((len(self), self.classes))
        counts = np.array(self._edges, float).reshape(-1, 4, self.classes)
        true, found, said, right = counts.swapaxes(0, 1)
        recall, precision = (np.nan_to_num(_divided(*pair)) for pair in ((found, true), (right, said)))
        return np.nan_to_num(_divided(2 * precision * recall, precision + recall)), ((true + said) > 0).astype(float)


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of those that are numbers."""
    return _divided(np.nan_to_num(values).sum(-1), (~np.isnan(values)).sum(-1))


# From counts (..., 3, classes) of pixels that are right, true and said, to (...)
_MEASURES = {
    "mean_iou": lambda c: _mean(_divided(c[..., 0, :], c[..., 1, :] + c[..., 2, :] - c[..., 0, :])),
    "dice": lambda c: _mean(_divided(2 * c[..., 0, :], c[..., 1, :] + c[..., 2, :])),
    "pixel_accuracy": lambda c: _divided(c[..., 0, :].sum(-1), c[..., 1, :].sum(-1)),
}
