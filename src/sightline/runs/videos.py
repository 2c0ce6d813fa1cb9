"""A detector's answer for each frame of a video, as they are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.video import opened_video, written_video
from ..detectors import Detector
from ..files import unused
from ..tasks.found import Found


def watched(
    detector: Detector,
    path: Path,
    classes: tuple[str, ...],
    save: Path | None = None,
    *,
    conf: float = 0.25,
    iou: float = 0.6,
    max_det: int = 100,
    nms: str = "hard",
) -> Iterator[Found]:
    """What is found in one frame after the other; only one is in memory. `save` is a folder for the video with boxes, an .mp4 file,
    under a name that is not taken. Raises DataError for what is no video.
    """
    target = None if save is None else unused(save / f"{path.stem}.mp4")
    with (
        opened_video(path) as video,
        nullcontext() if target is None else written_video(target, video.rate) as writer,
    ):
        for number, pixels in enumerate(video.frames):
            detections = detector.detect(pixels, conf=conf, iou=iou, max_det=max_det, nms=nms)
            size = pixels.shape[0], pixels.shape[1]
            found = Found(path, classes, detections, size, number, number / video.rate)
            if writer is not None:
                writer.write(np.asarray(found.draw(Image.fromarray(pixels))))
            yield found
