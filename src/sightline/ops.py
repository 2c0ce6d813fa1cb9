"""Boxes as tensors: conversions, overlaps, and what removes boxes that say the same.

Boxes are `xyxy` (left, top, right, bottom), in pixels or in shares of an image; a box reaches from its left and top edge to its
right and bottom edge, so its width is right - left. What torchvision has a kernel for is torchvision's.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from .errors import ArgumentError, ShapeError, choose

COMPARED = 1000  # of a detector's surest boxes, before those that say the same are removed
SOFT = ("linear", "gaussian")
SUPPRESSIONS = ("hard", "soft")


def xyxy_to_cxcywh(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) corners as (centre x, centre y, width, height)."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)


def cxcywh_to_xyxy(boxes: torch.Tensor) -> torch.Tensor:
    """The inverse of `xyxy_to_cxcywh`."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def xyxy_to_cxcyhw(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) corners as (centre x, centre y, height, width), in which a localizing network answers."""
    return xyxy_to_cxcywh(boxes)[..., [0, 1, 3, 2]]


def cxcyhw_to_xyxy(boxes: torch.Tensor) -> torch.Tensor:
    """The inverse of `xyxy_to_cxcyhw`."""
    return cxcywh_to_xyxy(boxes[..., [0, 1, 3, 2]])


def xyxy_to_xywh(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) corners as (left, top, width, height), as COCO files have them."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([left, top, right - left, bottom - top], -1)


def xywh_to_xyxy(boxes: torch.Tensor) -> torch.Tensor:
    """The inverse of `xyxy_to_xywh`."""
    left, top, width, height = boxes.unbind(-1)
    return torch.stack([left, top, left + width, top + height], -1)


def area(boxes: torch.Tensor) -> torch.Tensor:
    """Areas (...) of boxes (..., 4), at least in float32; 0 where a box is inverted."""
    boxes = _wide(boxes)
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union (n, m) of each box (n, 4) with each other (m, 4); 0 where both have no area."""
    return _overlap(one[:, None], other[None])[0]


def paired_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union (...) of the boxes (..., 4) that stand at the same place; 0 where both have no area."""
    return _overlap(one, other)[0]


def paired_giou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Generalized IoU (...), -1..1, of boxes (..., 4) at the same place (Rezatofighi et al. 2019, algorithm 1).

    What of the smallest box around both neither covers is subtracted, so it tells how far apart are boxes that do not meet.
    """
    one, other = _wide(one), _wide(other)
    shared, union = _overlap(one, other)
    width, height = _around(one, other)
    hull = width * height
    return shared - torch.where(hull > 0, (hull - union) / _safe(hull), 0)


def paired_ciou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Complete IoU (...), at most 1, of boxes (..., 4) at the same place (Zheng et al. 2020, equations 7 to 11).

    The distance of the centres by the diagonal around both, and how far the proportions differ, are subtracted.
    """
    one, other = _wide(one), _wide(other)
    shared, _ = _overlap(one, other)
    width, height = _around(one, other)
    (x1, y1, w1, h1), (x2, y2, w2, h2) = (xyxy_to_cxcywh(boxes).unbind(-1) for boxes in (one, other))
    diagonal = width.square() + height.square()
    away = torch.where(diagonal > 0, ((x1 - x2).square() + (y1 - y2).square()) / _safe(diagonal), 0)
    proportions = 4 / math.pi**2 * (torch.atan2(w1, _safe(h1)) - torch.atan2(w2, _safe(h2))).square()
    with torch.no_grad():
        trade_off = proportions / _safe(1 - shared + proportions)
    return shared - away - trade_off * proportions


def _overlap(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(IoU, area of the union)."""
    one, other = _wide(one), _wide(other)
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    union = area(one) + area(other) - both
    return torch.where(union > 0, both / _safe(union), 0), union


def _around(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and height of the smallest box around both."""
    low, high = torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])
    width, height = (high - low).unbind(-1)
    return width, height


def _wide(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes at least in float32: half precision holds no area above 65,504, and whole numbers cannot be divided safely."""
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


def _safe(divisor: torch.Tensor) -> torch.Tensor:
    """Never 0: where it would be, what is divided is not used, and no gradient becomes NaN."""
    return divisor.clamp(min=torch.finfo(divisor.dtype).tiny ** 0.5)


def place_middles(size: tuple[int, int], stride: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The middles (x, y) of the places of a feature map of `size` (height, width), float32 (height * width, 2), row by row.

    They are in pixels of the input, of which `stride` lie between two places.
    """
    y, x = ((torch.arange(side, device=device, dtype=torch.float32) + 0.5) * stride for side in size)
    return torch.stack([x.expand(size[0], -1), y[:, None].expand(-1, size[1])], -1).flatten(0, 1)


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor | None = None, iou_threshold: float = 0.5
) -> torch.Tensor:
    """Non-maximum suppression: the numbers of the boxes that stay, the best first.

    `boxes` (n, 4), `scores` (n,); a box goes where a better one of the same class (`labels` (n,); without them of any) overlaps
    it by more than `iou_threshold`, 0..1. Boxes or scores that are not finite go. Raises ShapeError and ArgumentError.
    """
    from torchvision import ops as kernels  # which takes seconds to import

    _check(boxes, scores, labels, iou_threshold)
    usable = (boxes.isfinite().all(1) & scores.isfinite()).nonzero()[:, 0]
    boxes, scores = boxes[usable].double(), scores[usable].double()
    if labels is None:
        return usable[kernels.nms(boxes, scores, iou_threshold)]
    return usable[kernels.batched_nms(boxes, scores, labels[usable], iou_threshold)]


def decoded(
    said: torch.Tensor, *, least: float = 0.01, iou_threshold: float = 0.6, max_det: int = 100, method: str = "hard"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a detector's answer for one image says: boxes (n, 4), scores (n,) and labels (n,), the best first.

    `said` (A, 4 + classes): a box and the classes' logits for each place. Scores below `least` go, then all but the
    best 1,000, then what says the same (`suppressed`, by `method`), then all but `max_det`.
    """
    return decoded_batch(said[None], least=least, iou_threshold=iou_threshold, max_det=max_det, method=method)[:3]


def decoded_batch(
    said: torch.Tensor,
    *,
    least: float = 0.01,
    iou_threshold: float = 0.6,
    max_det: int = 100,
    method: str = "hard",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`decoded` of every image at once, (N, A, 4 + classes): boxes, scores, labels, and the number of each one's image.

    They stand image by image, the best of each first.
    """
    scores = said[..., 4:].sigmoid()
    found = (scores >= least).nonzero()
    found = found[scores[found.unbind(1)].argsort(descending=True, stable=True)]
    found = found[found[:, 0].argsort(stable=True)]
    images, places, labels = found[_first_of_each(found[:, 0], COMPARED)].unbind(1)
    boxes, scores = said[images, places, :4].double(), scores[images, places, labels]
    ends = torch.searchsorted(images.contiguous(), torch.arange(len(said) + 1, device=images.device)).tolist()
    parts = [slice(a, b) for a, b in pairwise(ends)]  # in one go, boxes would be compared with those of other images
    left = [suppressed(boxes[i], scores[i], labels[i], iou_threshold, method, least) for i in parts]
    kept = torch.cat([numbers[:max_det] + i.start for (numbers, _), i in zip(left, parts, strict=True)])
    return boxes[kept], torch.cat([sure[:max_det] for _, sure in left]), labels[kept], images[kept]


def _first_of_each(groups: torch.Tensor, most: int) -> torch.Tensor:
    """Which of rising `groups` (n,) are among the first `most` of their own: bool (n,)."""
    groups = groups.contiguous()
    return torch.arange(len(groups), device=groups.device) - torch.searchsorted(groups, groups) < most


def suppressed(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou_threshold: float, method: str, least: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(numbers of the boxes that stay, their scores), the best first, where boxes of a class overlap by more than `iou_threshold`.

    "hard" removes all but the best (`nms`); "soft" lowers the others' scores by 1 - IoU (`soft_nms`, "linear"), and removes what
    falls below `least`.
    """
    if choose("non-maximum suppression", method, SUPPRESSIONS) == "soft":
        return soft_nms(boxes, scores, labels, iou_threshold, method="linear", least=least)
    kept = nms(boxes, scores, labels, iou_threshold)
    return kept, scores[kept]


def soft_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor | None = None,
    iou_threshold: float = 0.3,
    *,
    method: str = "gaussian",
    sigma: float = 0.5,
    least: float = 0.001,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft non-maximum suppression: (numbers of the boxes that stay, their lowered scores), the best first.

    Each box that a better one overlaps loses some of its score: "linear" multiplies by 1 - IoU from `iou_threshold` on, "gaussian" by
    exp(-IoU^2 / sigma) (Bodla et al. 2017, equations 3 and 4). What falls below `least` goes.
    """
    _check(boxes, scores, labels, iou_threshold)
    choose("method", method, SOFT)
    kept_boxes, left = boxes.double(), scores.double().clone()
    waiting = boxes.isfinite().all(1) & scores.isfinite() & (left >= least)
    chosen: list[int] = []
    while waiting.any():
        best = int(torch.where(waiting, left, -math.inf).argmax())
        chosen.append(best)
        waiting[best] = False
        others = waiting if labels is None else waiting & (labels == labels[best])
        overlap = iou(kept_boxes[best][None], kept_boxes)[0]
        if method == "gaussian":
            factor = torch.exp(-overlap.square() / sigma)
        else:
            factor = torch.where(overlap > iou_threshold, 1 - overlap, 1)
        left = torch.where(others, left * factor, left)
        waiting &= left >= least
    numbers = torch.tensor(chosen, dtype=torch.int64, device=boxes.device)
    return numbers, left[numbers].to(scores.dtype)


def _check(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor | None, threshold: float) -> None:
    if not isinstance(boxes, torch.Tensor) or not isinstance(scores, torch.Tensor):
        raise ArgumentError(
            "Boxes and scores are tensors", received=type(boxes).__name__, fix="torch.from_numpy(boxes)"
        )
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError("Boxes are (n, 4)", received=tuple(boxes.shape))
    for name, each in (("scores", scores), ("labels", labels)):
        if each is not None and each.shape != boxes.shape[:1]:
            raise ShapeError(f"There is one of {name} for each box", expected=(len(boxes),), received=tuple(each.shape))
    if not 0 <= threshold <= 1:
        raise ArgumentError("iou_threshold is from 0 to 1", received=threshold)
