"""A classifier slid over the picture, crop by crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import SightlineError, whole_number
from ..layers.base import pair
from ..rewrite import ScoreMap
from .base import WindowDetector, covered, resized
from .outputs import Windows


class SlidingWindowDetector(WindowDetector):
    """Asks a classifier about a crop at every place: any network will do, and each answer is exactly the classifier's.

    `window`: the crop's (height, width) in pixels of the image, the network's own by default; crops of another size are resized to that.
    `stride`: pixels from crop to crop. `batch_size`: crops that the network sees at once. `scales`, `background`: as `WindowDetector`.
    """

    def __init__(
        self,
        model: Any,
        window: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 16,
        scales: Sequence[float] = (1.0,),
        background: int | None = None,
        batch_size: int = 64,
    ):
        super().__init__(model, scales, background)
        _, height, width = model.inputs[0].inner_shape
        if len(model.inputs) != 1 or None in (height, width):
            raise SightlineError(
                f"{model.name} takes images of any size, so there is no window to slide", fix="Use DenseDetector(model)"
            )
        self.size = height, width
        self.window = self.size if window is None else pair(window, "SlidingWindowDetector: window")
        self.stride = pair(stride, "SlidingWindowDetector: stride")
        self.batch_size = whole_number(batch_size, "SlidingWindowDetector: batch_size")

    def _scan(self, image: np.ndarray) -> Windows:
        where = ScoreMap(self.window, self.stride)
        image = covered(image, where)
        boxes = where.boxes(where.shape((image.shape[0], image.shape[1])))
        answers = []
        for first in range(0, len(boxes), self.batch_size):
            some = boxes[first : first + self.batch_size].astype(int).tolist()
            crops = [resized(image[top:bottom, left:right], self.size) for left, top, right, bottom in some]
            answers.append(self._answers(self._tensor(np.stack(crops))))
        scores, shares = zip(*answers, strict=True)
        return Windows(boxes, np.concatenate(scores), None if shares[0] is None else np.concatenate(shares))
