"""Where an image of any size comes to lie in a network's frame, for its pixels, boxes and masks alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..structures import ImageSpec


@dataclass(frozen=True)
class Placement:
    """An image of `size` (height, width) cut to `crop` (left, top, right, bottom), resized to `inner` (height, width), and
    laid at (`top`, `left`) of the frame. A point (x, y) comes to lie at ((x, y) - crop's corner) * scale + (left, top)."""

    size: tuple[int, int]
    crop: tuple[float, float, float, float]
    inner: tuple[int, int]
    top: int = 0
    left: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the frame for one of the image, along (x, y)."""
        left, top, right, bottom = self.crop
        return self.inner[1] / (right - left), self.inner[0] / (bottom - top)

    @property
    def least_size(self) -> tuple[int, int]:
        """The whole image's (height, width) at which no detail that the frame can show is lost."""
        across, down = self.scale
        return _whole(self.size[0] * down), _whole(self.size[1] * across)

    def to_frame(self, xyxy: np.ndarray) -> np.ndarray:
        """Boxes of the image, (n, 4), in pixels of the frame; they may reach beyond it."""
        return (xyxy - [*self.crop[:2]] * 2) * ([*self.scale] * 2) + [self.left, self.top] * 2

    def to_image(self, xyxy: np.ndarray) -> np.ndarray:
        """The inverse of `to_frame`."""
        return (xyxy - [self.left, self.top] * 2) / ([*self.scale] * 2) + [*self.crop[:2]] * 2


def place(size: tuple[int, int], spec: ImageSpec) -> Placement:
    """The place of an image of `size` (height, width) under the spec's resize policy.

    "crop" is the shorter side resized to the frame with the middle cut out; "letterbox" rounds the inner size to whole
    pixels, centered, the odd pixel of padding at the bottom and right.
    """
    height, width = size
    whole = (0.0, 0.0, float(width), float(height))
    if spec.resize == "squash":
        return Placement(size, whole, (spec.height, spec.width))
    across, down = spec.width / width, spec.height / height
    if spec.resize == "crop":
        scale = max(across, down)
        crop_width, crop_height = spec.width / scale, spec.height / scale
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        return Placement(size, (left, top, left + crop_width, top + crop_height), (spec.height, spec.width))
    scale = min(across, down)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement(size, whole, inner, (spec.height - inner[0]) // 2, (spec.width - inner[1]) // 2)


def _whole(length: float) -> int:
    """Rounded up, but for a rounding error."""
    return max(1, int(np.ceil(length - 1e-6)))
