"""The area under a curve of a confusion's rates over all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, ShapeError, choose
from ..losses.functions import EPSILON
from .base import Metric
from .confusion import ThresholdCounts, evenly_distributed, last_axis_cases, quotient

CURVES = ("ROC", "PR")
SUMMATION_METHODS = ("interpolation", "majoring", "minoring")


def area(x: np.ndarray, y: np.ndarray, summation_method: str) -> np.ndarray:
    """The area under y(x), points down axis 0 with x falling, by a Riemann sum.

    A step's height is the mean of its two ends, the larger ("majoring") or the smaller one ("minoring").
    """
    ends = y[:-1], y[1:]
    heights = {"interpolation": sum(ends) / 2, "majoring": np.maximum(*ends), "minoring": np.minimum(*ends)}
    return ((x[:-1] - x[1:]) * heights[summation_method]).sum(0)


def interpolated_precision_recall_area(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """The area under precision over recall, true positives linear in all positives between two thresholds.

    Thresholds rise down axis 0. Davis & Goadrich, "The relationship between Precision-Recall and ROC curves" (2006).
    """
    positives = tp + fp
    steps = tp[:-1] - tp[1:]
    slope = quotient(steps, np.maximum(positives[:-1] - positives[1:], 0))
    intercept = tp[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    ratio = np.where(both, quotient(positives[:-1], positives[1:]), 1)
    return quotient(slope * (steps + intercept * np.log(ratio)), tp[1:] + fn[1:]).sum(0)


class AUC(Metric):
    """The area under the "ROC" (true over false positive rate) or "PR" (precision over recall) curve.

    The curve is sampled at `num_thresholds` even thresholds, or at `thresholds` (0 .. 1) with 0 and 1 added.
    `multi_label` gives each column of (N, labels) its own curve and takes their mean, weighted by `label_weights`;
    else all columns make one curve, whose cases count `label_weights` times. `from_logits` applies a sigmoid first.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        evenly = thresholds is None or evenly_distributed([0, *sorted(thresholds), 1])
        self._counts = ThresholdCounts(_with_ends(num_thresholds, thresholds), evenly)
        if num_labels and not multi_label:
            raise ArgumentError("AUC: num_labels is the number of curves", fix="Give multi_label=True with it")
        self.num_thresholds = num_thresholds if thresholds is None else len(thresholds) + 2
        self.thresholds = None if thresholds is None else sorted(thresholds)
        self.curve = choose("curve", str(curve).upper(), CURVES)
        self.summation_method = choose("summation_method", str(summation_method).lower(), SUMMATION_METHODS)
        self.multi_label, self.num_labels, self.from_logits = multi_label, num_labels, from_logits
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]

    def reset_state(self) -> None:
        self._counts.reset()

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        y_true, y_pred, weights = last_axis_cases(y_true, y_pred, sample_weight)
        self._check_labels(y_pred.shape)
        if self.label_weights is not None and not self.multi_label:
            weights = weights * torch.tensor(self.label_weights, device=weights.device)
        if self.from_logits:
            y_pred = torch.sigmoid(y_pred)
        cases = (y_true, y_pred, weights)
        self._counts.add(*(cases if self.multi_label else (x.reshape(-1, 1) for x in cases)))

    def result(self) -> float:
        tp, fp, tn, fn = self._counts.result()
        recall = quotient(tp, tp + fn)
        if self.curve == "ROC":
            areas = area(quotient(fp, fp + tn), recall, self.summation_method)
        elif self.summation_method == "interpolation":
            areas = interpolated_precision_recall_area(tp, fp, fn)
        else:
            areas = area(recall, quotient(tp, tp + fp), self.summation_method)
        if self.label_weights is None or not self.multi_label:
            return float(areas.mean())
        weights = np.array(self.label_weights)
        return float(quotient((areas * weights).sum(), weights.sum()))

    def _check_labels(self, shape: Sequence[int]) -> None:
        if self.multi_label and (len(shape) != 2 or self.num_labels not in (None, shape[1])):
            expected = f"(N, {self.num_labels or 'labels'})"
            raise ShapeError("AUC: multi_label takes a score for each label", expected=expected, received=tuple(shape))
        if self.label_weights is not None and len(self.label_weights) != shape[-1]:
            raise ShapeError(
                "AUC: label_weights holds a weight for each label", expected=shape[-1], received=len(self.label_weights)
            )


def _with_ends(num_thresholds: int, thresholds: Sequence[float] | None) -> list[float]:
    """Keras's thresholds: even, or the given ones, between one just below 0 and one just above 1."""
    if thresholds is None:
        if num_thresholds < 2:
            raise ArgumentError("AUC: a curve has two ends", expected="num_thresholds >= 2", received=num_thresholds)
        thresholds = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
    return [-EPSILON, *sorted(thresholds), 1 + EPSILON]
