"""Average precision while a training goes on: counts that grow with each batch, and add up over processes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from .. import ops
from ..structures import Boxes, Detections
from .accumulation import states
from .base import Metric
from .matching import RANGES, RIGHT, UNMATCHED, match, tabulate

IOU = 0.5
LEAST = 0.05  # a score below which nothing is looked at: new networks say a little of everything, which takes time


class BinnedAP50(Metric):
    """The mean over classes of the average precision at an IoU of 0.5, from scores in `bins` of one width.

    Targets and predictions are `DetectionLoss`'s. The area under all points of the curve (VOC 2010's rule) of each class that
    has objects; within a bin all detections count as equally sure, so it differs a little from the exact number.
    """

    def __init__(self, classes: int, bins: int = 500, name: str = "ap50", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.classes, self.bins = classes, bins
        self.reset_state()

    def reset_state(self) -> None:
        self._right, self._wrong = np.zeros((self.classes, self.bins)), np.zeros((self.classes, self.bins))
        self._objects = np.zeros(self.classes)

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        """Take in one batch; weights do not count."""
        truths = [Boxes(rows[rows[:, 0] >= 0, 1:], rows[rows[:, 0] >= 0, 0]) for rows in y_true.cpu().double().numpy()]
        said = ops.decoded_batch(torch.nan_to_num(y_pred.detach()).cpu(), least=LEAST)
        boxes, scores, labels, images = (each.numpy() for each in said)
        ends = np.searchsorted(images, np.arange(len(truths) + 1))
        found = [Detections(boxes[a:b], scores[a:b], labels[a:b]) for a, b in pairwise(ends)]
        table = tabulate(truths, found, self.classes)
        state = states(table, match(table, np.array([IOU]), [RANGES["all"]]))
        bins = np.minimum((table.found.score * self.bins).astype(int), self.bins - 1)
        for counts, which in ((self._right, RIGHT), (self._wrong, UNMATCHED)):
            np.add.at(counts, (table.found.label[state == which], bins[state == which]), 1)
        self._objects += np.bincount(table.objects.label, minlength=self.classes)

    def result(self) -> float:
        """0 where there was no object."""
        there = self._objects > 0
        if not there.any():
            return 0.0
        right, wrong = (counts[there, ::-1].cumsum(1) for counts in (self._right, self._wrong))
        precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right + wrong > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = right / self._objects[there, None]
        return float((np.diff(recall, prepend=0.0, axis=1) * envelope).sum(1).mean())
