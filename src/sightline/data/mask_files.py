"""Mask files: each pixel's class from a file's numbers or colours, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import DataError, ShapeError, choose
from ..files import replacing
from ..structures import IGNORE, Mask, MaskCoding
from .decode import opened

CODINGS = ("index", "palette", "color", "binary")
UNKNOWN_LIMIT = 1000  # a photo in a mask's place has a million "classes"


@dataclass(frozen=True)
class Pixels:
    """A mask file's upright pixels: `values` (height, width) whole numbers, or (height, width, 3) RGB.

    `palette` (256, 3) has the colours of a palette file, whose values are its numbers; `format` is Pillow's name.
    """

    values: np.ndarray
    palette: np.ndarray | None
    format: str

    @property
    def numbers(self) -> np.ndarray | None:
        """(height, width) numbers; an RGB file of grays has some too, others None."""
        if self.values.ndim == 2:
            return self.values
        red, green, blue = (self.values[..., i] for i in range(3))
        return red if np.array_equal(red, green) and np.array_equal(red, blue) else None

    @property
    def colors(self) -> np.ndarray:
        """(height, width) of 0xRRGGBB; grays of more than 8 bits have none and become negative."""
        if self.palette is not None:
            return as_colors(self.palette).take(self.values)
        if self.values.ndim == 3:
            return as_colors(self.values)
        gray = self.values.astype(np.int64)
        return np.where((gray >= 0) & (gray <= 255), gray * 0x010101, -1).astype(np.int32)


def as_colors(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB as (...) int32 of 0xRRGGBB."""
    blue_first = np.zeros((*rgb.shape[:-1], 4), np.uint8)
    blue_first[..., :3] = rgb[..., ::-1]
    return blue_first.view("<i4")[..., 0]


def as_text(color: int) -> str:
    """0xRRGGBB as "r,g,b"."""
    return f"{color >> 16 & 255},{color >> 8 & 255},{color & 255}"


def voc_palette() -> np.ndarray:
    """(256, 3) uint8: PASCAL VOC's colour of each number, no two alike; the bits of a number go to red, green, blue in turn."""
    numbers = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((numbers >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def pixels(path: str | Path) -> Pixels:
    """A mask file's first image, turned as its EXIF says, without transparency; a 1-bit file has the values 0 and 255.

    Raises DataError with path and reason.
    """
    with opened(path) as image:
        name = image.format or ""
        upright = ImageOps.exif_transpose(image)
        palette = None
        if upright.mode in ("P", "PA"):
            colors = np.array(upright.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(colors)] = colors
        return Pixels(_values(upright, path), palette, name)


def _values(image: Image.Image, path: str | Path) -> np.ndarray:
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "L", "I", "RGB"):
        return np.asarray(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("PA", "LA"):
        return np.asarray(image)[..., 0]
    if image.mode == "RGBA":
        return np.asarray(image)[..., :3]
    if image.mode == "F":
        values = np.asarray(image)
        if not (np.isfinite(values).all() and np.array_equal(values, np.rint(values)) and np.abs(values).max() < 2**31):
            raise DataError(f"{path} holds fractions, where a mask has whole numbers")
        return values.astype(np.int32)
    return np.asarray(image.convert("RGB"))


def read_mask(mask: Mask) -> tuple[np.ndarray, tuple[int, ...]]:
    """(height, width) uint8 class numbers, upright, and the values that the coding does not know, in order (at most 1,000).

    Where a value is ignored or unknown stands IGNORE. Raises DataError with path and reason.
    """
    found = pixels(mask.path)
    values = found.colors if mask.coding.kind == "color" else found.numbers
    if values is None:
        raise DataError(f"{mask.path} is in color, where masks of numbers are expected")
    classes = _classes(values, mask.coding)
    nothing = classes == IGNORE
    if not nothing.any():
        return classes, ()
    strange = np.unique(values[nothing])[: UNKNOWN_LIMIT + len(mask.coding.ignored)].tolist()
    return classes, tuple(value for value in strange if value not in mask.coding.ignored)[:UNKNOWN_LIMIT]


def _classes(values: np.ndarray, coding: MaskCoding) -> np.ndarray:
    """The class of each value, IGNORE for those that are none's: by a table of all values where these are few."""
    if values.dtype.itemsize > 2 and coding.kind == "index" and values.min() >= 0 and values.max() < 2**16:
        values = values.astype(np.uint16)
    bounds = np.iinfo(values.dtype)
    codes = [(value, number) for number, value in enumerate(coding.values) if bounds.min <= value <= bounds.max]
    if values.dtype.itemsize <= 2:
        table = np.full(int(bounds.max) + 1, IGNORE, np.uint8)
        for value, number in codes:
            table[value] = number
        return table.take(values)
    known = np.array([value for value, _ in sorted(codes)], values.dtype)
    numbers = np.array([number for _, number in sorted(codes)] + [IGNORE], np.uint8)
    at = np.searchsorted(known, values)
    missed = known[np.minimum(at, len(known) - 1)] != values if len(known) else np.ones(values.shape, bool)
    at[missed] = len(known)
    return numbers.take(at)


def write_mask(classes: np.ndarray, path: str | Path, coding: str = "index", colors: np.ndarray | None = None) -> Path:
    """Write (height, width) uint8 class numbers, IGNORE among them, as a PNG file; returns its path.

    "index" is gray with the numbers as values, "palette" the same with colours for a viewer, "color" RGB in these colours,
    "binary" black for 0 and white for 1. `colors` (n, 3) uint8 are those of the first n classes, the others have VOC's.
    Raises DataError where "binary" cannot say it.
    """
    choose("coding of masks", coding, CODINGS)
    if classes.ndim != 2 or classes.dtype != np.uint8:
        raise ShapeError("A mask is (height, width) uint8", received=f"{classes.shape} {classes.dtype}")
    if coding == "binary" and classes.max(initial=0) > 1:
        raise DataError(
            f"{path} cannot be written in black and white",
            expected="the classes 0 and 1, and nothing ignored",
            received=f"the value {classes.max()}",
        )
    palette = _palette(colors)
    if coding == "color":
        image = Image.fromarray(palette[classes])
    else:
        image = Image.fromarray(classes * np.uint8(255) if coding == "binary" else np.ascontiguousarray(classes))
    if coding == "palette":
        image.putpalette(palette.tobytes())
    with replacing(path) as file:
        image.save(file, "PNG")
    return Path(path)


def _palette(colors: np.ndarray | None) -> np.ndarray:
    palette = voc_palette()
    if colors is not None:
        if colors.ndim != 2 or colors.shape[1] != 3 or len(colors) > 256 or colors.dtype != np.uint8:
            raise ShapeError("Colors are uint8 (classes, 3)", received=f"{colors.shape} {colors.dtype}")
        palette[: len(colors)] = colors
    return palette
