"""How each task looks at a large picture: in tiles of so many pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..detectors import TrainedDetector
from ..errors import ArgumentError
from ..models import Model
from ..segmenting import TrainedSegmenter
from ..tasks import Task
from ..tasks.class_maps import ClassMap
from ..tasks.detect import LEAST, Detect
from ..tasks.segment import Segment


def answering(task: Task, model: Model, tile: int) -> Callable[[np.ndarray], Any]:
    """What makes of an image's pixels (height, width, channels) the task's result. Raises ArgumentError for a task that has no tiles."""
    if isinstance(task, Detect):
        detector = TrainedDetector(model, tile)
        least = min(LEAST, task.conf)  # as many as of a whole picture
        asked: dict[str, Any] = {"conf": least, "iou": task.iou, "max_det": task.max_det, "nms": task.nms}
        return lambda image: (detector.detect(image, **asked), image.shape[:2])
    if isinstance(task, Segment):
        segmenter = TrainedSegmenter(model, tile)
        return lambda image: ClassMap.of(segmenter.segment(image))
    raise ArgumentError(
        "--tile is for networks that find objects or tell pixels apart", received=f"a run with --task {task.name}",
        fix="Leave it out",
    )  # fmt: skip
