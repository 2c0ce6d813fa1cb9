"""The samples of a split as a network sees them: each file is decoded once, and changed at random in training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..structures import IGNORE, Boxes, ImageSpec, Sample
from .augment import Example
from .cache import PixelCache
from .decode import decode, decode_areas, image_size
from .mask_files import read_mask
from .mix import augmented
from .placement import Placement, place
from .recipes import Augmentation
from .warp import corners_of, visible, warp_mask

MEMORY_SHARE = 0.25  # of the machine's free memory that decoded images may take
MIN_VISIBLE = 0.25  # of a box's area, where a resize policy cuts some of the image away


class Images:
    """Samples and where their pixels are kept; sample i is `cache`'s sample `first` + i.

    With `augmentation` what epoch e shows of sample i depends on (`seed`, e, i) only; from epoch `calm_from` on no pictures
    are mixed.
    """

    def __init__(
        self, samples: Sequence[Sample], spec: ImageSpec, cache: PixelCache, first: int = 0, *,
        augmentation: Augmentation | None = None, seed: int = 0, calm_from: int | None = None,
    ):  # fmt: skip
        self.samples, self.spec, self.cache, self.first = tuple(samples), spec, cache, first
        self.augmentation, self._seed = augmentation or Augmentation(), seed
        self._still = self.augmentation.changes_nothing
        self._calm_from, self._calm = calm_from, self.augmentation.unmixed()

    def __len__(self) -> int:
        return len(self.samples)

    def unchanged(self) -> Images:
        """The same images as they are, in every epoch."""
        return Images(self.samples, self.spec, self.cache, self.first)

    def chosen(self, indices: Sequence[int]) -> Images:
        """Some of the images, as they are."""
        own = self.cache.chosen([self.first + i for i in indices])
        return Images([self.samples[i] for i in indices], self.spec, own)

    def at(self, index: int, epoch: int) -> Example:
        """Sample `index` as this epoch shows it."""
        if self._still:
            return self.load(index)
        calm = self._calm_from is not None and epoch >= self._calm_from
        return augmented(self.load, index, len(self), self._calm if calm else self.augmentation, self._seed, epoch)

    def load(self, index: int) -> Example:
        """Sample `index` as it is, decoded and resized. Raises DataError where its file has become unreadable."""
        sample = self.samples[index]
        row = self.cache.get(self.first + index)
        if row is None:
            row = self._decoded(index)
        height, width, channels = self.spec.shape
        count = height * width * channels
        return Example(
            row[:count].reshape(height, width, channels),
            labels_of(sample),
            None if sample.boxes is None else _placed_boxes(sample, sample.boxes, self.spec),
            None if sample.mask is None else row[count:].reshape(height, width),
        )

    def _decoded(self, index: int) -> np.ndarray:
        """Sample `index`'s row from its file, which then is in the cache; with a part of a picture come its other parts, for all of the
        picture is decoded."""
        sample = self.samples[index]
        rows = {index: decode_row(sample, self.spec)} if sample.crop is None else self._decoded_parts(index)
        for i, row in rows.items():
            self.cache.put(self.first + i, row)
        return rows[index]

    def _decoded_parts(self, index: int) -> dict[int, np.ndarray]:
        """The rows of a part of a picture, and of those beside it that the cache lacks."""
        path = self.samples[index].path
        first = end = index
        while first > 0 and self._is_part(first - 1, path):
            first -= 1
        while end < len(self) and self._is_part(end, path):
            end += 1
        parts = {
            i: area
            for i in range(first, end)
            if (area := self.samples[i].crop) and (i == index or self.cache.lacks(self.first + i))
        }
        pixels = decode_areas(path, list(parts.values()), self.spec)
        return {i: each.reshape(-1) for i, each in zip(parts, pixels, strict=True)}

    def _is_part(self, index: int, path: Path) -> bool:
        return self.samples[index].crop is not None and self.samples[index].path == path


def labels_of(sample: Sample) -> tuple[tuple[int, float], ...]:
    """A sample's class, as an example says it."""
    return () if sample.label is None else ((sample.label, 1.0),)


def row_bytes(spec: ImageSpec, masks: bool) -> int:
    """What a sample takes in a cache: its pixels, and a byte a pixel for its mask."""
    return spec.height * spec.width * (spec.channels + masks)


def decode_row(sample: Sample, spec: ImageSpec) -> np.ndarray:
    """A sample's pixels, and its mask where it has one, as the bytes of a cache row."""
    pixels = decode(sample.path, spec).reshape(-1)
    if sample.mask is None:
        return pixels
    classes, _ = read_mask(sample.mask)
    return np.concatenate([pixels, placed_mask(classes, spec).reshape(-1)])


def placed_mask(classes: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """A mask (height, width) as its image is resized, by nearest neighbour; IGNORE beside a letterboxed one."""
    placement = place((classes.shape[0], classes.shape[1]), spec)
    mask = warp_mask(classes, _from_frame(placement), (spec.height, spec.width), fill=IGNORE)
    rows, columns = np.arange(spec.height)[:, None], np.arange(spec.width)
    inside = (rows >= placement.top) & (rows < placement.top + placement.inner[0])
    inside = inside & (columns >= placement.left) & (columns < placement.left + placement.inner[1])
    return np.where(inside, mask, np.uint8(IGNORE))


def _from_frame(placement: Placement) -> np.ndarray:
    """The matrix (2, 3) from a place of the frame to one of the image."""
    across, down = placement.scale
    left, top = placement.crop[:2]
    return np.array([[1 / across, 0, left - placement.left / across], [0, 1 / down, top - placement.top / down]])


def _placed_boxes(sample: Sample, boxes: Boxes, spec: ImageSpec) -> Boxes:
    size = sample.size or image_size(sample.path)
    return visible(boxes, corners_of(place(size, spec).to_frame(boxes.xyxy)), (spec.height, spec.width), MIN_VISIBLE)


def free_memory() -> int:
    """Bytes of memory that are available now, as the system says."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
