"""The class of each pixel of an image, as a network's answer says it, small enough to be kept for thousands of images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data.mask_files import read_mask
from ..data.placement import Placement
from ..data.warp import warp_mask
from ..structures import IGNORE, Sample

BAND = 2**20  # pixels of the image that are computed at once, for every class


@dataclass(frozen=True)
class ClassMap:
    """A class number for each pixel of an image of `size` (height, width), compressed."""

    size: tuple[int, int]
    packed: bytes

    @classmethod
    def of(cls, numbers: np.ndarray) -> ClassMap:
        """From numbers (height, width), uint8."""
        return cls((numbers.shape[0], numbers.shape[1]), zlib.compress(numbers.tobytes(), 1))

    @property
    def numbers(self) -> np.ndarray:
        """uint8 (height, width)."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.size)


def class_map(logits: torch.Tensor, placement: Placement) -> np.ndarray:
    """The class with the highest value at each pixel of the original image, uint8 (height, width).

    `logits` (classes, h, w) are of the frame in which the image lies at `placement`. Between its places they are interpolated
    linearly, band by band of the image, so that memory follows the frame and not the image.
    """
    height, width = placement.size
    inner = logits[:, placement.top :, placement.left :][:, : placement.inner[0], : placement.inner[1]].float()
    if inner.shape[1:] == (height, width):
        return inner.argmax(0).byte().numpy()
    left, top, right, bottom = placement.crop
    across = (torch.arange(width) + 0.5 - left) / (right - left) * 2 - 1  # grid_sample's places: -1 to 1, edge to edge
    down = (torch.arange(height) + 0.5 - top) / (bottom - top) * 2 - 1
    numbers = np.empty((height, width), np.uint8)
    for first in range(0, height, rows := max(1, BAND // width)):
        y, x = torch.meshgrid(down[first : first + rows], across, indexing="ij")
        band = F.grid_sample(inner[None], torch.stack([x, y], -1)[None], padding_mode="border", align_corners=False)
        numbers[first : first + rows] = band[0].argmax(0).byte().numpy()
    return numbers


def true_mask(sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """A sample's mask, uint8 at `size` (height, width); one of another size lies over the whole image."""
    assert sample.mask is not None
    mask, _ = read_mask(sample.mask)
    if mask.shape == size:
        return mask
    matrix = np.diag([mask.shape[1] / size[1], mask.shape[0] / size[0], 1.0])[:2]
    return warp_mask(mask, matrix, size, fill=IGNORE)
