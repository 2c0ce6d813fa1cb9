"""Class maps as others read them: tinted pictures, COCO's run lengths, polygons. As PNG files `mask_files.write_mask` writes them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from ..errors import ArgumentError, DataError, ShapeError
from ..structures import IGNORE

LARGEST = 2**30  # pixels of a mask that is read
OFFSET, BITS, SIGN, MORE = (
    48,
    5,
    16,
    32,
)  # of a character of COCO's string: from "0" on, 5 bits, their sign, and whether more follow


class Region(NamedTuple):
    """A connected part of a mask: its outline and those of its holes, (n, 2) whole x, y of corners of pixels, not closed.

    Outlines run clockwise as one sees them, holes the other way.
    """

    outline: np.ndarray
    holes: tuple[np.ndarray, ...]


def overlay(
    image: np.ndarray, classes: np.ndarray, colors: np.ndarray, opacity: float = 0.5, hidden: Collection[int] = ()
) -> np.ndarray:
    """An RGB picture (height, width, 3) uint8 with each pixel tinted in its class's color, of `colors` (classes, 3) uint8.

    Pixels of `hidden` classes and of IGNORE stay as they are. Raises ShapeError where the sizes differ, ArgumentError for a
    class without a color.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != classes.shape:
        raise ShapeError(
            "A picture and its class map have one size",
            expected=f"a class map of {image.shape[:2]} and an RGB picture",
            received=f"{classes.shape} and {image.shape}",
        )
    if not 0 <= opacity <= 1:
        raise ArgumentError("opacity is from 0 to 1", received=opacity)
    shown = ~np.isin(classes, [IGNORE, *hidden])
    if (highest := int(classes[shown].max(initial=0))) >= len(colors):
        raise ArgumentError("Each class has a color", expected=f"{highest + 1} colors", received=len(colors))
    result = image.copy()
    tint = np.asarray(colors, np.float32)[classes[shown]]
    result[shown] = np.rint(image[shown] * np.float32(1 - opacity) + tint * np.float32(opacity)).astype(np.uint8)
    return result


# --- COCO's run lengths --------------------------------------------------------------------------------------------


def to_rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask (height, width) as COCO's compressed run lengths: {"size": [height, width], "counts": text}, column by column.

    As pycocotools' `encode`, with the text as str, so that JSON takes it.
    """
    flat = _as_mask(mask).ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(
        [0, *([0] if flat[:1].any() else []), *ends.tolist(), len(flat)]
    )  # zeros first, even if there are none
    counts[3:] -= counts[1:-2].copy()  # from the fourth on, less the one before the last
    return {"size": list(mask.shape), "counts": "".join(map(_written, counts.tolist()))}


def from_rle(rle: dict[str, Any]) -> np.ndarray:
    """The inverse: a mask (height, width) bool; takes counts as a list of numbers (of COCO's crowds) and as bytes too.

    Raises DataError where they do not describe a mask of that size.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if (
        not isinstance(size, (list, tuple))
        or len(size) != 2
        or not all(type(side) is int and side >= 0 for side in size)
    ):
        raise DataError("Run lengths have no size", expected="[height, width]", received=repr(size))
    pixels = size[0] * size[1]
    if pixels > LARGEST:
        raise DataError(f"A mask is larger than {LARGEST:,} pixels", received=f"{size[0]} x {size[1]}")
    if isinstance(counts, (str, bytes)):
        counts = _read(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != pixels:
        raise DataError(
            "Run lengths do not fill their mask", expected=f"{pixels} pixels in all", received=_short(counts)
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size, order="F")


def _written(number: int) -> str:
    """Groups of 5 bits, the lowest first, until what is left is the sign of the last group."""
    text = ""
    while True:
        bits, number = number & (2**BITS - 1), number >> BITS
        last = number == (-1 if bits & SIGN else 0)
        text += chr(OFFSET + bits + (0 if last else MORE))
        if last:
            return text


def _read(text: bytes) -> list[int]:
    """The counts of COCO's string."""
    counts: list[int] = []
    number = shift = 0
    for character in text:
        group = character - OFFSET
        if not 0 <= group < 2 * MORE or shift > 60:
            raise DataError("Run lengths hold what is no such text", received=_short(text))
        number |= (group & (MORE - 1)) << shift
        shift += BITS
        if not group & MORE:
            number -= (1 << shift) if group & SIGN else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise DataError("Run lengths end within a number", received=_short(text))
    return counts


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- polygons --------------------------------------------------------------------------------------------------------


def to_polygons(mask: np.ndarray) -> list[Region]:
    """The outlines of a mask (height, width), exact, along the borders of its pixels: a region for each part that is 4-connected.

    COCO's polygons are `outline.ravel().tolist()`, which cannot say holes. Filled by the even-odd rule, outlines and holes
    together give the mask back.
    """
    mask = _as_mask(mask)
    parts, count = ndimage.label(mask)
    rings: list[list[np.ndarray]] = [[] for _ in range(count)]
    for corners, (row, column) in _rings(np.pad(mask, 1)):
        rings[parts[row, column] - 1].append(corners)
    return [_region(each) for each in rings]


def _region(rings: list[np.ndarray]) -> Region:
    clockwise = [_turns_clockwise(ring) for ring in rings]
    holes = tuple(ring for ring, is_outline in zip(rings, clockwise, strict=True) if not is_outline)
    return Region(rings[clockwise.index(True)], holes)


def _turns_clockwise(ring: np.ndarray) -> bool:
    """By the sign of its area; y points down."""
    (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, 0).T
    return bool((x * next_y - next_x * y).sum() > 0)


def _rings(padded: np.ndarray) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Each closed border of a mask with one pixel of nothing around it: its corners, and a pixel (row, column) at its right hand.

    Borders are walked with the mask at the right; where two pixels meet at a corner only, the walk turns right, so that it
    stays with its own.
    """
    following, start, pixel = _steps(padded)
    width = padded.shape[1] + 1
    order, left = following.tolist(), np.ones(len(following), bool)
    found = []
    for first in range(len(order)):
        if not left[first]:
            continue
        walk = [first]
        while (step := order[walk[-1]]) != first:
            walk.append(step)
        left[walk] = False
        at = start[walk]
        corners = np.stack([at % width - 1, at // width - 1], 1)
        moved = np.roll(corners, -1, 0) - corners
        row, column = divmod(int(pixel[first]), padded.shape[1])
        found.append((corners[(moved != np.roll(moved, 1, 0)).any(1)], (row - 1, column - 1)))
    return found


def _steps(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sides of pixels that bound the mask: the number of the one that follows each, its first corner, and its pixel.

    Corners are numbered row by row, as are pixels.
    """
    height, width = padded.shape
    wide = width + 1
    above, left = np.pad(padded, ((1, 0), (0, 0)))[:-1], np.pad(padded, ((0, 0), (1, 0)))[:, :-1]
    below, right = np.pad(padded, ((0, 1), (0, 0)))[1:], np.pad(padded, ((0, 0), (0, 1)))[:, 1:]
    starts, ends, pixels = [], [], []
    # east along the top, south along the right, west along the bottom, north along the left
    corners = (0, 1, wide + 1, wide, 0)
    for direction, beside in enumerate((above, right, below, left)):
        rows, columns = np.nonzero(padded & ~beside)
        starts.append(rows * wide + columns + corners[direction])
        ends.append(rows * wide + columns + corners[direction + 1])
        pixels.append(rows * width + columns)
    begins = np.full((4, (height + 1) * wide), -1)
    numbers = np.split(np.arange(sum(map(len, starts))), np.cumsum([len(each) for each in starts])[:-1])
    for direction in range(4):
        begins[direction, starts[direction]] = numbers[direction]
    following = []
    for direction, end in enumerate(ends):
        to_right, ahead, to_left = (begins[(direction + turn) % 4, end] for turn in (1, 0, 3))
        following.append(np.where(to_right >= 0, to_right, np.where(ahead >= 0, ahead, to_left)))
    return np.concatenate(following), np.concatenate(starts), np.concatenate(pixels)


def _as_mask(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2:
        raise ShapeError("A mask is (height, width)", received=mask.shape)
    return mask.astype(bool)
