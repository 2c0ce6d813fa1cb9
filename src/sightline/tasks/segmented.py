"""The classes of an image's pixels, as a person sees them: in a table, as JSON, drawn, and as a file of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.mask_files import voc_palette, write_mask
from ..data.mask_writing import overlay, to_rle
from .class_maps import ClassMap

Colors = tuple[tuple[int, int, int], ...]
OPACITY = 0.5  # of the classes' colours over an image


@dataclass(frozen=True)
class Segmented:
    """The class of each pixel of an image; `colors` are the classes' (red, green, blue)."""

    path: Path
    classes: tuple[str, ...]
    map: ClassMap
    colors: Colors

    @property
    def size(self) -> tuple[int, int]:
        return self.map.size

    @property
    def numbers(self) -> np.ndarray:
        """The class number of each pixel, uint8 (height, width)."""
        return self.map.numbers

    def shares(self) -> np.ndarray:
        """The share of the pixels that each class has."""
        return np.bincount(self.numbers.ravel(), minlength=len(self.classes)) / (self.size[0] * self.size[1])

    def row(self, k: int) -> tuple[str, str, str]:
        """What a table shows: the class with the most pixels, its share of them, and the k - 1 that come next."""
        shares = self.shares()
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
        others = ", ".join(f"{self.classes[i]} {shares[i]:.3f}" for i in order[1:k])
        return self.classes[order[0]], f"{shares[order[0]]:.4f}", others

    def as_dict(self) -> dict[str, Any]:
        """Each class that is there as COCO has it: run lengths of its pixels, their number, and the box [left, top, width, height]
        around them."""
        numbers = self.numbers
        rows = []
        for label in np.unique(numbers):
            there = numbers == label
            rows.append(
                {"category_id": int(label), "class": self.classes[label], "segmentation": to_rle(there),
                 "area": int(there.sum()), "bbox": _bounds(there)}
            )  # fmt: skip
        return {"path": str(self.path), "height": self.size[0], "width": self.size[1], "segments": rows}

    def draw(self, image: Image.Image) -> Image.Image:
        """The image with the classes' colours over it."""
        return Image.fromarray(tinted(np.asarray(image.convert("RGB")), self.numbers, self.colors))

    def write_mask(self, path: Path) -> Path:
        """Write the class numbers as a PNG file with the classes' colours as its palette; returns its path."""
        return write_mask(self.numbers, path, "palette", np.array(self.colors, np.uint8))


def tinted(image: np.ndarray, numbers: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """An RGB picture (height, width, 3) with the classes' colours over it; what is black, as the background mostly is, stays clear."""
    hidden = [number for number, color in enumerate(colors) if not any(color)]
    return overlay(image, numbers, np.array(colors, np.uint8), OPACITY, hidden)


def voc_colors(classes: int) -> Colors:
    """PASCAL VOC's colours of the first so many numbers."""
    return as_colors(voc_palette()[:classes])


def as_colors(rgb: np.ndarray) -> Colors:
    """(n, 3) numbers 0..255 as plain colours."""
    return tuple((int(r), int(g), int(b)) for r, g, b in rgb)


def _bounds(there: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
