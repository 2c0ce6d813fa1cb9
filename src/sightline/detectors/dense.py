"""A classifier as a fully convolutional network over the whole picture, or over tiles of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, whole_number
from ..rewrite import score_map, to_fully_convolutional
from ..rewrite.score_map import KEY
from .base import WindowDetector, covered, require_model
from .outputs import Windows
from .tiles import in_tiles


class DenseDetector(WindowDetector):
    """Asks a classifier about all windows at once: the same answers as `SlidingWindowDetector` at this network's stride, sooner.

    That is exact for networks without "same" padding; with it, windows see the image around them. `model`: a classifier, or
    what `rewrite.to_fully_convolutional` made of one. `stride` thins the windows, as there. `tile`: the side, in pixels, of the squares in which
    an image is computed, so that memory does not grow with it; the answers are those of the whole. `scales`, `background`: as `WindowDetector`.
    """

    def __init__(
        self,
        model: Any,
        stride: int = 1,
        scales: Sequence[float] = (1.0,),
        background: int | None = None,
        tile: int | None = None,
    ):
        require_model(model)
        converted = KEY in getattr(model, "metadata", {})
        if converted and stride != 1:
            raise ArgumentError(
                "DenseDetector: the network is fully convolutional already, so its stride stands",
                received=f"stride={stride}",
                fix=f"sl.rewrite.to_fully_convolutional(model, stride={stride})",
            )
        super().__init__(model if converted else to_fully_convolutional(model, stride), scales, background)
        self.where = score_map(self.model)
        self.tile = None if tile is None else whole_number(tile, "DenseDetector: tile")

    def _scan(self, image: np.ndarray) -> Windows:
        image = covered(image, self.where)
        scores, shares = in_tiles(lambda part: self._answers(self._tensor(part[None])), image, self.where, self.tile)
        boxes = self.where.boxes((scores.shape[0], scores.shape[1]))
        return Windows(
            boxes, scores.reshape(len(boxes), -1), None if shares is None else shares.reshape(len(boxes), -1)
        )
