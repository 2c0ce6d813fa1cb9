"""A network of `--task segment` on arrays: whole pictures, or tiles of large ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .data.decode import PADDING, as_picture, fit, in_color
from .data.placement import place
from .errors import ArgumentError, RunError, whole_number
from .layout import to_channels_first
from .models import Model
from .structures import ImageSpec
from .tasks.class_maps import class_map
from .tasks.segment import Segment
from .training import loop
from .training.batches import Batch


class TrainedSegmenter:
    """Says the class of each pixel of arrays: `TrainedSegmenter(run.model).segment(image)`.

    Without `tile` an image is resized to the network's input, as in training, and the answer back. With `tile` (pixels) the image stays
    as it is, and the network looks at squares of that size, one after the other. Neighbours share `overlap` pixels (a quarter of a tile,
    where not given; at most half): the outer quarter of what they share counts not at all, and in between the one's answer passes
    into the other's. So where the network sees no further than a quarter of `overlap`, tiles answer as the whole would. Both are rounded up
    to multiples of the network's stride. Memory beside the image: 4 bytes for each class and pixel of one row of tiles, a byte for each
    pixel of the image, and what the network takes for one tile.
    """

    def __init__(self, model: Model, tile: int | None = None, overlap: int | None = None):
        if model.metadata.get("task") != Segment.name:
            raise RunError(
                f"{model.name} is no segmentation of a run", expected="the model of a run with --task segment",
                received=str(model.metadata.get("task")),
            )  # fmt: skip
        self.model, self.spec = model, ImageSpec(**model.metadata["image"])
        self.stride = stride_of(model)
        self.tile = None if tile is None else self._rounded(whole_number(tile, "TrainedSegmenter: tile", least=16))
        self.overlap = self._overlap(overlap, tile)
        self._ask = loop.asking(model)

    def segment(self, image: Any) -> np.ndarray:
        """The class number of each pixel, uint8 (height, width), of an image uint8 (height, width) or with 1 or 3 channels."""
        picture = as_picture(image)
        size = picture.height, picture.width
        if self.tile is None:
            (logits,) = self._said(fit(picture, self.spec))
            return class_map(logits, place(size, self.spec))
        pixels = np.asarray(in_color(picture, self.spec.channels)).reshape(*size, self.spec.channels)
        numbers = np.empty(size, np.uint8)
        for first, shares in self._rows(pixels):
            here = numbers[first : first + shares.shape[1]]
            here[...] = shares[:, : here.shape[0], : size[1]].argmax(0).byte().numpy()
        return numbers

    def _rounded(self, pixels: int) -> int:
        return -(-pixels // self.stride) * self.stride

    def _overlap(self, asked: int | None, tile: int | None) -> int:
        if self.tile is None:
            return 0
        overlap = self._rounded(
            self.tile // 4 if asked is None else whole_number(asked, "TrainedSegmenter: overlap", least=0)
        )
        if 2 * overlap > self.tile and asked is None:
            raise ArgumentError(
                f"A tile is too small: neighbours share a whole stride of the network, {self.stride} pixels, and at most half of a tile",
                expected=f"more than {self.tile} pixels", received=tile,
            )  # fmt: skip
        if 2 * overlap > self.tile:
            raise ArgumentError(
                "Neighbouring tiles share at most half of their pixels", expected=f"at most {self.tile // 2}",
                received=asked, fix=f"Give tiles of more than {self.tile} pixels",
            )  # fmt: skip
        return overlap

    def _rows(self, pixels: np.ndarray) -> Iterator[tuple[int, torch.Tensor]]:
        """(first row of the image, the classes' shares there (classes, rows, columns)), from top to bottom."""
        assert self.tile is not None
        sides = [self._rounded(side) for side in pixels.shape[:2]]
        down, across = ([*tiles(side, self.tile, self.overlap)] for side in sides)
        carried: torch.Tensor | None = None
        for number, (top, bottom) in enumerate(down):
            shares = self._row(pixels, (top, bottom), across, sides)
            if carried is not None:
                shares[:, : carried.shape[1]] += carried
            end = sides[0] if number + 1 == len(down) else down[number + 1][0]
            carried = shares[:, end - top :]
            yield top, shares[:, : end - top]

    def _row(
        self, pixels: np.ndarray, rows: tuple[int, int], across: list[tuple[int, int]], sides: list[int]
    ) -> torch.Tensor:
        """What a row of tiles adds to the classes' shares."""
        top, bottom = rows
        fade_down = fade(rows, sides[0], self.overlap)[:, None]
        total: torch.Tensor | None = None
        for left, right in across:
            (logits,) = self._said(cut(pixels, top, bottom, left, right))
            if total is None:
                total = torch.zeros(len(logits), bottom - top, sides[1])
            total[:, :, left:right] += logits.softmax(0) * fade_down * fade((left, right), sides[1], self.overlap)
        assert total is not None
        return total

    def _said(self, pixels: np.ndarray) -> torch.Tensor:
        """Logits (1, classes, height, width) of one image (height, width, channels)."""
        x = to_channels_first(torch.from_numpy(np.array(pixels)[None]))
        return self._ask(Batch((x,), None, None, 1))[0].float()


def stride_of(model: Model) -> int:
    """The most pixels of the input that lie between two places of a feature map of its own; a map of one place is none."""
    height, width, _ = model.input_shape[1:]
    shapes = [value.inner_shape for value in model.values.values() if len(value.inner_shape) == 3]
    strides = [max(-(-height // rows), -(-width // columns)) for _, rows, columns in shapes if rows > 1]
    return 1 << (max(strides, default=1) - 1).bit_length()


def tiles(side: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    """(first, end) of the tiles along a side, of which neighbours share `overlap` pixels; the last one may be smaller."""
    for first in range(0, max(side - overlap, 1), tile - overlap):
        yield first, min(first + tile, side)


def fade(span: tuple[int, int], side: int, overlap: int) -> torch.Tensor:
    """How much a tile's answer counts at each of its pixels along a side, 0 to 1: with its neighbours' it is 1 everywhere."""
    first, end = span
    margin = overlap // 4
    rising = ((torch.arange(overlap) + 0.5 - margin) / max(overlap - 2 * margin, 1)).clamp(0, 1)
    counts = torch.ones(end - first)
    if first > 0 and overlap:
        counts[:overlap] = rising
    if end < side and overlap:
        counts[-overlap:] = rising.flip(0)
    return counts


def cut(pixels: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A part of an image (height, width, channels), gray where it reaches over the bottom or right edge."""
    part = pixels[top:bottom, left:right]
    more = bottom - top - part.shape[0], right - left - part.shape[1]
    return np.pad(part, ((0, more[0]), (0, more[1]), (0, 0)), constant_values=PADDING) if any(more) else part
