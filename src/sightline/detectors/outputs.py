"""What a network says of windows, as boxes with scores: the one place that all detectors share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import ops
from ..errors import ArgumentError, SightlineError
from ..graph.network import Network
from ..structures import Detections
from ..training.ports import flat

CORNERS = 4


@dataclass(frozen=True)
class Windows:
    """`boxes` (n, 4): windows `xyxy` in pixels; `scores` (n, classes), 0..1; `shares` (n, 4): what a box head says, or None.

    A box head gives centre x, centre y, height and width, in this order, in shares of the window.
    """

    boxes: np.ndarray
    scores: np.ndarray
    shares: np.ndarray | None = None


def box_output(model: Network) -> int | None:
    """Which of a network's two outputs is its box head: the one named so in a dict, else the second; None where it has one output.

    Raises SightlineError where there are more, or the box head does not have four numbers.
    """
    features = [value.inner_shape[0] for value in model.outputs]
    if len(features) == 1:
        return None
    names = list(model.output) if isinstance(model.output, dict) else []
    number = next((i for i, name in enumerate(names) if "box" in str(name)), len(features) - 1)
    if len(features) != 2 or features[number] != CORNERS:
        raise SightlineError(
            f"{model.name} has no outputs that a detector knows",
            expected="class probabilities (None, n), and perhaps a box (None, 4) behind it",
            received=str(model.output_shape),
            fix="Make a model of those outputs: sl.Model(model.input, [classes, box])",
        )
    return number


def arranged(said: Any, box: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(class scores, shares of the box head or None) of what a network answers."""
    parts = list(flat(said))
    return (parts[0], None) if box is None else (parts[1 - box], parts[box])


def candidates(windows: Windows, conf: float, background: int | None, name: str) -> tuple[np.ndarray, ...]:
    """(boxes (m, 4), scores (m,), class numbers (m,)) of all classes of all windows that score at least `conf`.

    Raises SightlineError for scores that are not from 0 to 1, and ArgumentError where there is no class `background`.
    """
    scores = windows.scores
    if np.isnan(scores).any():
        raise SightlineError(
            f"{name} gives scores that are no numbers",
            fix="Look for pixels that are NaN or infinite, or at a training that diverged",
        )
    if not ((scores >= -1e-6) & (scores <= 1 + 1e-6)).all():
        raise SightlineError(
            f"{name} gives scores that are no probabilities",
            expected="numbers from 0 to 1",
            received=f"{scores.min():g} to {scores.max():g}",
            fix="Let its last layer have activation='softmax' or 'sigmoid'",
        )
    if background is not None and not 0 <= background < scores.shape[1]:
        raise ArgumentError(
            "There is no such background class", expected=f"0 to {scores.shape[1] - 1}", received=background
        )
    sure = scores >= conf
    if background is not None:
        sure[:, background] = False
    which, labels = np.nonzero(sure)
    boxes = windows.boxes[which]
    if windows.shares is not None:
        boxes = within(boxes, windows.shares[which])
    return boxes, scores[which, labels].clip(0, 1), labels


def within(windows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Boxes `xyxy` (n, 4) of what a box head says of windows `xyxy`: centre x and y, height, width in shares of each."""
    x, y, height, width = shares.astype(np.float64).T
    left, top, right, bottom = windows.T
    x, y = left + x * (right - left), top + y * (bottom - top)
    height, width = np.maximum(height, 0) * (bottom - top), np.maximum(width, 0) * (right - left)
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)


def best(
    found: Sequence[tuple[np.ndarray, ...]], size: tuple[int, int], conf: float, iou: float, max_det: int, nms: str
) -> Detections:
    """What is left of candidates in an image of `size` (height, width): cut to it, of those that overlap what `nms` leaves, the
    surest `max_det`."""
    boxes, scores, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    boxes = boxes.copy()
    boxes[:, 0::2], boxes[:, 1::2] = boxes[:, 0::2].clip(0, size[1]), boxes[:, 1::2].clip(0, size[0])
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, labels = boxes[seen], scores[seen], labels[seen]
    return suppressed(boxes, scores, labels, conf, iou, max_det, nms)


def suppressed(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, conf: float, iou: float, max_det: int, nms: str
) -> Detections:
    """`ops.suppressed` of arrays: the surest `max_det` of what it leaves."""
    kept, left = ops.suppressed(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), iou, nms, conf
    )
    chosen = kept[:max_det].numpy()
    return Detections(boxes[chosen], left[:max_det].numpy(), labels[chosen])
