"""A loss of one box for each image."""

from __future__ import annotations

from typing import Any

import torch

from .. import ops
from .classes import Loss
from .reduction import SUM_OVER_BATCH_SIZE


class BoxGIoU(Loss):
    """1 - GIoU of boxes (N, 4) as centre x, centre y, height and width; see `ops.paired_giou`."""

    def __init__(self, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "box_giou", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name, reduction)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return 1 - ops.paired_giou(ops.cxcyhw_to_xyxy(y_true), ops.cxcyhw_to_xyxy(y_pred))
