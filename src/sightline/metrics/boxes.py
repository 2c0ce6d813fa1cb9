"""How well one box is found: for networks that say where the one object of an image is."""

from __future__ import annotations

from typing import Any

import torch

from .. import ops
from .base import SampleMean


class BoxIoU(SampleMean):
    """The mean intersection over union of boxes (N, 4) as centre x, centre y, height and width."""

    def __init__(self, name: str = "iou", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return ops.paired_iou(ops.cxcyhw_to_xyxy(y_true.to(y_pred.dtype)), ops.cxcyhw_to_xyxy(y_pred))


class BoxHits(SampleMean):
    """The share of boxes whose intersection over union with the true one is at least `least`."""

    def __init__(self, least: float = 0.5, name: str = "hits", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)
        self.least = least

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return (BoxIoU().values(y_true, y_pred) >= self.least).to(y_pred.dtype)
