"""What a detector learns by: which places answer for which object, and how far their classes and boxes are off.

Places are assigned by how well class and box agree there (Feng et al. 2021, TOOD, sections 3.1 and 3.2), so no anchors and no
sizes are set by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from .. import ops
from ..errors import ArgumentError
from .classes import Loss
from .reduction import at_least_float32

ALPHA, BETA = 1.0, 6.0  # of score and overlap in the alignment (TOOD, section 4)
FOCUS = 2.0  # of places that are far off (TOOD, equation 7)
POSITIVES = 4.0  # about the sum of an object's target scores: makes an object's class weigh as its box
BOX_WEIGHT = 2.5
USUAL = 20  # objects in the fullest image of a batch, where memory is planned


class Assigned(NamedTuple):
    """For each place: the number of its object (N, A), how sure it should be (N, A; 0: of nothing), and the weight of its box,
    which over an object's places sums to 1."""

    objects: torch.Tensor
    scores: torch.Tensor
    weights: torch.Tensor


class DetectionLoss(Loss):
    """Classes and boxes of all places together: a focal cross-entropy to task-aligned scores, and 1 - CIoU.

    Predictions are (N, A, 4 + classes): a box xyxy in pixels of the network's input, and logits, for each of the A places of maps
    with these `strides` on an input of `image_size` (height, width). Targets are (N, M, 5): class number and box of each
    object, -1 for rows that fill up. The sum is divided by the number of objects (1 for an image without).
    `places`: how many may answer for one object.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        strides: Sequence[int] = (8, 16, 32),
        places: int = 10,
        name: str = "detection_loss",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.image_size, self.strides, self.places = tuple(image_size), tuple(strides), places
        height, width = self.image_size
        sizes = [(-(-height // stride), -(-width // stride)) for stride in self.strides]
        self._middles = torch.cat([ops.place_middles(size, s) for size, s in zip(sizes, self.strides, strict=True)])
        self._reach = torch.cat([torch.full((h * w,), s / 2) for (h, w), s in zip(sizes, self.strides, strict=True)])

    def __call__(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> torch.Tensor:
        values = self.call(y_true, at_least_float32(y_pred))
        if sample_weight is not None:
            values = values * torch.as_tensor(sample_weight, device=values.device, dtype=values.dtype)
        return values.sum() / _objects(y_true)

    def divisor(
        self, y_true: torch.Tensor, sample_weight: Any, values: torch.Tensor, y_pred: torch.Tensor
    ) -> torch.Tensor | None:
        return _objects(y_true).to(values.dtype)

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty((batch_size, USUAL, 5))

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        middles = self._middles.to(y_pred.device)
        if y_pred.shape[1] != len(middles):
            raise ArgumentError(
                f"The network does not answer at the places of an image of {self.image_size}",
                expected=f"{len(middles)} places",
                received=y_pred.shape[1],
            )
        boxes, logits = y_pred.split([4, y_pred.shape[2] - 4], -1)
        labels, truths = y_true[..., 0].long(), y_true[..., 1:].to(y_pred.dtype)
        if not y_true.shape[1]:
            return focal(logits, torch.zeros_like(logits)).sum((1, 2)) / POSITIVES
        found = self._assign(labels, truths, boxes.detach(), logits.detach(), middles)
        own_labels = labels.clamp(min=0).gather(1, found.objects)
        targets = F.one_hot(own_labels, logits.shape[2]) * found.scores[..., None]
        classes = focal(logits, targets.to(logits.dtype)).sum((1, 2)) / POSITIVES
        own = truths.gather(1, found.objects[..., None].expand(-1, -1, 4))
        away = torch.where(found.weights > 0, 1 - ops.paired_ciou(boxes, own), 0)
        return classes + BOX_WEIGHT * (away * found.weights).sum(1)

    @torch.no_grad()
    def _assign(
        self,
        labels: torch.Tensor,
        truths: torch.Tensor,
        boxes: torch.Tensor,
        logits: torch.Tensor,
        middles: torch.Tensor,
    ) -> Assigned:
        there = (labels >= 0)[..., None]  # (N, M, 1)
        overlap = ops.paired_iou(truths[:, :, None], boxes[:, None])  # (N, M, A)
        scores = logits.sigmoid().gather(2, labels.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)).mT
        aligned = scores.pow(ALPHA) * overlap.pow(BETA)
        inside = self._inside(truths, middles) & there
        # A place that says nothing useful yet is still told apart from the others by how near it is
        away = (middles - (truths[..., None, :2] + truths[..., None, 2:]) / 2).square().sum(-1)
        order = torch.where(inside, aligned + 1e-9 / (1 + away), -1.0)
        best = order.topk(min(self.places, order.shape[2]), -1).indices
        chosen = torch.zeros_like(inside).scatter(2, best, True) & inside
        # A place answers for one object: the one that it overlaps most, and of those that it does not the nearest
        preference = torch.where(chosen, overlap - 1e-9 * away, -torch.inf)
        objects = preference.argmax(1)
        chosen &= F.one_hot(objects, labels.shape[1]).mT.bool()
        aligned, overlap = aligned * chosen, overlap * chosen
        most = aligned.amax(-1, keepdim=True)
        sure = torch.where(most > 0, aligned / most.clamp(min=1e-30) * overlap.amax(-1, keepdim=True), 0)
        count = chosen.sum(-1, keepdim=True).clamp(min=1)
        weights = torch.where(sure.sum(-1, keepdim=True) > 0, sure, chosen / count)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)
        return Assigned(objects, sure.sum(1), weights.sum(1))

    def _inside(self, truths: torch.Tensor, middles: torch.Tensor) -> torch.Tensor:
        """Whether each place's middle lies in each object (N, M, A); of an object between all middles, the cell around it."""
        x, y = middles.unbind(-1)
        left, top, right, bottom = (truths[..., None, i] for i in range(4))
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        reach = self._reach.to(middles.device)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        near = ((x - middle_x).abs() <= reach) & ((y - middle_y).abs() <= reach)
        return torch.where(inside.any(-1, keepdim=True), inside, near)


def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """|target - probability|^2 times the cross-entropy, for targets from 0 to 1 (Li et al. 2020, equation 2)."""
    return (targets - logits.sigmoid()).abs().pow(FOCUS) * F.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )


def _objects(y_true: torch.Tensor) -> torch.Tensor:
    """The objects of a batch, an image without any counting as one."""
    return (y_true[..., 0] >= 0).sum(1).clamp(min=1).sum()
