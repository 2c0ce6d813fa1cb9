"""Intersection over union of classes, from a confusion of class numbers: the measure of segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, ShapeError
from ..layout import to_channels_last
from ..losses.functions import EPSILON
from ..losses.reduction import weights_of
from .base import Metric, largest_class


def confusion_matrix(
    y_true: torch.Tensor, y_pred: torch.Tensor, weights: torch.Tensor | None, num_classes: int, ignore_class: int | None
) -> torch.Tensor:
    """(num_classes, num_classes) sums of weights (None: 1 each) as float64: row the target's class, column the predicted one.

    Class numbers outside of 0 .. num_classes - 1, on either side, and targets that are `ignore_class` do not count.
    """
    counts = (y_true >= 0) & (y_true < num_classes) & (y_pred >= 0) & (y_pred < num_classes)
    if ignore_class is not None:
        counts &= y_true != ignore_class
    cells = num_classes * num_classes
    cell = torch.where(counts, y_true * num_classes + y_pred, cells)  # the last is for what does not count
    if y_true.device.type == "cpu":  # elsewhere it would wait for the device
        matrix = torch.bincount(cell, None if weights is None else weights.double(), minlength=cells + 1).double()
    else:
        matrix = torch.zeros(cells + 1, dtype=torch.float64, device=y_true.device)
        matrix.index_add_(0, cell, counts.double() if weights is None else weights.double())
    return matrix[:-1].view(num_classes, num_classes)


def intersection_over_union(confusion: np.ndarray, classes: Sequence[int]) -> float:
    """The mean over `classes` of both / (either); classes that neither side has are left out, 0 where none is left."""
    both = confusion.diagonal()[list(classes)]
    either = (confusion.sum(0) + confusion.sum(1))[list(classes)] - both
    seen = either > 1e-9
    return float((both[seen] / (either[seen] + EPSILON)).sum() / (seen.sum() + EPSILON))


class _Overlap(Metric):
    """A metric of the confusion of `num_classes` classes, averaged over `target_class_ids` (None: over all)."""

    num_classes: int
    target_class_ids: list[int] | None = None
    ignore_class: int | None = None
    sparse_y_true, sparse_y_pred = True, True

    def __init__(self, name: str | None = None):
        super().__init__(name)
        ids = range(self.num_classes) if self.target_class_ids is None else self.target_class_ids
        if not all(0 <= i < self.num_classes for i in ids):
            raise ArgumentError(
                f"{self.name}: there is no such class", expected=f"ids 0 .. {self.num_classes - 1}", received=ids
            )
        self._ids = list(ids)
        self.reset_state()

    def reset_state(self) -> None:
        self._confusion: torch.Tensor | None = None

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        """Class numbers, or a score for each class where `sparse_...` is False; weights count in full, not as integers."""
        numbers = y_true if self.sparse_y_true else largest_class(y_true)
        answers = y_pred if self.sparse_y_pred else largest_class(y_pred)
        if numbers.numel() != answers.numel():
            raise ShapeError(
                f"{self.name}: not one class for each target",
                expected=f"as many predictions as targets of shape {tuple(y_true.shape)}",
                received=tuple(y_pred.shape),
                fix="Scores for each class take sparse_y_pred=False, one-hot targets sparse_y_true=False",
            )
        weights = None
        if sample_weight is not None:
            ones = torch.ones_like(numbers, dtype=torch.float32)
            weights = to_channels_last(weights_of(ones, sample_weight).expand_as(ones)).reshape(-1)
        true, said = (to_channels_last(x).reshape(-1).long() for x in (numbers, answers))
        matrix = confusion_matrix(true, said, weights, self.num_classes, self.ignore_class)
        self._confusion = matrix if self._confusion is None else self._confusion + matrix

    def result(self) -> float:
        if self._confusion is None:
            return 0.0
        return intersection_over_union(self._confusion.cpu().numpy(), self._ids)


class IoU(_Overlap):
    """The mean intersection over union of the classes `target_class_ids`, of class numbers.

    `sparse_y_true` and `sparse_y_pred` False say that one is one-hot, or scores for each class.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, list(target_class_ids), ignore_class
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        super().__init__(name)


class MeanIoU(_Overlap):
    """The mean intersection over union of all classes; arguments as `IoU` takes them."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.num_classes, self.ignore_class = num_classes, ignore_class
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        super().__init__(name)


class OneHotIoU(_Overlap):
    """`IoU` of one-hot targets and, if not `sparse_y_pred`, scores for each class."""

    sparse_y_true = False

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, list(target_class_ids), ignore_class
        self.sparse_y_pred = sparse_y_pred
        super().__init__(name)


class OneHotMeanIoU(_Overlap):
    """`MeanIoU` of one-hot targets and, if not `sparse_y_pred`, scores for each class."""

    sparse_y_true = False

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.num_classes, self.ignore_class, self.sparse_y_pred = num_classes, ignore_class, sparse_y_pred
        super().__init__(name)


class BinaryIoU(_Overlap):
    """`IoU` of no (0) and yes (1), which is a prediction that is at least `threshold`."""

    num_classes = 2

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.target_class_ids, self.threshold = list(target_class_ids), threshold
        super().__init__(name)

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        super().update_state(y_true, y_pred >= self.threshold, sample_weight)
