"""A network of `--task detect` on arrays: whole pictures, or tiles of them where objects are small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from .. import ops
from ..data.decode import as_picture, fit
from ..data.tiles import OVERLAP, tiles
from ..errors import ArgumentError, RunError, whole_number
from ..layout import to_channels_first
from ..models import Model
from ..structures import Area, Detections, ImageSpec
from ..tasks.detect import Detect
from ..training import loop
from ..training.batches import Batch
from .base import Detector
from .outputs import suppressed

AT_ONCE = 16  # tiles in a batch
EDGE = 1.0  # pixels from a tile's inner edge, within which a box ends because the tile does


class TrainedDetector(Detector):
    """Finds what a detector of a run finds, in arrays: `TrainedDetector(run.model)`.

    With `tile` (pixels) it looks at squares of that size as well as at the whole picture, each resized to the network's input, so that
    small objects in large pictures are large enough to be seen; without, it does so where the network was trained on tiles. Tiles overlap by a share of `overlap`, 0..0.9: objects up to so many
    pixels are whole in one of them. What an inner edge of a tile cuts is left to the others. `batch_size`: tiles at once.
    """

    def __init__(self, model: Model, tile: int | None = None, overlap: float = OVERLAP, batch_size: int = AT_ONCE):
        if model.metadata.get("task") != Detect.name:
            raise RunError(
                f"{model.name} is no detector of a run", expected="the model of a run with --task detect",
                received=str(model.metadata.get("task")),
            )  # fmt: skip
        if not isinstance(overlap, (int, float)) or not 0 <= overlap <= 0.9:
            raise ArgumentError("overlap is a share of a tile, 0 to 0.9", received=repr(overlap))
        self.model, self.spec = model, ImageSpec(**model.metadata["image"])
        tile = model.metadata.get("tile") if tile is None else tile
        self.tile = None if tile is None else whole_number(tile, "TrainedDetector: tile", least=16)
        self.overlap, self.batch_size = overlap, whole_number(batch_size, "TrainedDetector: batch_size")
        self._ask = loop.asking(model)

    def _of_one(self, image: Any, conf: float, iou: float, max_det: int, nms: str) -> Detections:
        picture = as_picture(image)
        height, width = picture.height, picture.width
        areas = [(0, 0, width, height), *tiles((height, width), self.tile, self.overlap)]
        alone = len(areas) == 1
        # Where tiles are joined, scores are lowered once, of all of them together
        apart = Detect(conf, iou, max_det, nms) if alone or nms == "hard" else Detect(conf, 1.0, ops.COMPARED)
        parts = [
            _placed(found, area, (height, width))
            for first in range(0, len(areas), self.batch_size)
            for area, found in self._found(picture, areas[first : first + self.batch_size], apart)
        ]
        xyxy, scores, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        sure = scores >= conf
        xyxy, scores, labels = xyxy[sure], scores[sure], labels[sure]
        if alone:
            return Detections(xyxy, scores, labels)
        return suppressed(xyxy, scores, labels, conf, iou, max_det, nms)

    def _found(self, picture: Image.Image, areas: list[Area], task: Detect) -> Iterator[tuple[Area, Detections]]:
        """What is found in areas of the image, in their own pixels."""
        cuts = [picture.crop(area) for area in areas]
        pixels = torch.from_numpy(np.stack([fit(cut, self.spec) for cut in cuts]))
        said = self._ask(Batch((to_channels_first(pixels),), None, None, len(areas)))
        sizes = [(cut.height, cut.width) for cut in cuts]
        for area, (found, _) in zip(areas, task.results(said, sizes, self.spec), strict=True):
            yield area, found


def _placed(found: Detections, area: Area, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes in pixels of the whole image, scores, labels) without what an inner edge of the area cuts."""
    left, top, right, bottom = area
    xyxy = found.xyxy + np.array([left, top, left, top])
    height, width = size
    inner = [left > 0, top > 0, right < width, bottom < height]
    ends = np.abs(xyxy - [left, top, right, bottom]) <= EDGE
    whole = ~(ends & inner).any(1)
    return xyxy[whole], found.scores[whole], found.labels[whole]
