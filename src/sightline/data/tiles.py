"""A large picture in squares of its own pixels, so that what is small in it stays as large as it is: for learning and for looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..structures import Area, Boxes, Sample
from .decode import image_size
from .images import MIN_VISIBLE
from .warp import corners_of, visible

Size = tuple[int, int]  # height, width
OVERLAP = 0.25  # of a tile, that neighbours share at least


def tiles(size: Size, tile: int | None, overlap: float = OVERLAP) -> list[Area]:
    """Squares of `tile` pixels that cover an image of `size` (height, width) and overlap by at least a share of `overlap`.

    None where there is no `tile`, or one would be the whole image.
    """
    height, width = size
    if tile is None or (tile >= height and tile >= width):
        return []
    rows, columns = (_starts(side, tile, overlap) for side in size)
    return [(x, y, min(x + tile, width), min(y + tile, height)) for y in rows for x in columns]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    if side <= tile:
        return [0]
    count = int(np.ceil((side - tile) / (tile * (1 - overlap)) - 1e-9)) + 1
    return np.linspace(0, side - tile, count).round().astype(int).tolist()


def tiled(samples: Sequence[Sample], tile: int, seed: int | None = None) -> tuple[Sample, ...]:
    """What a detector that looks at tiles sees of samples: each picture whole, followed by the `views` of one that is larger than a tile.

    With a `seed` tiles without an object are drawn, as many as there are tiles with one; without it all are there. Raises DataError
    for a file whose size cannot be read.
    """
    every = [view for sample in samples for view in _seen(sample, tile)]
    if seed is None:
        return tuple(every)
    empty = [i for i, view in enumerate(every) if view.crop is not None and not view.boxes]
    holding = sum(view.crop is not None for view in every) - len(empty)
    left_out = set(np.random.default_rng(seed).permutation(empty)[holding:].tolist())
    return tuple(view for i, view in enumerate(every) if i not in left_out)


def _seen(sample: Sample, tile: int) -> list[Sample]:
    return [sample, *views(sample, sample.size or image_size(sample.path), tile)]


def views(sample: Sample, size: Size, tile: int) -> list[Sample]:
    """The tiles of a picture of `size` (height, width) as samples: the squares of `tiles`, and one around each object that would fit in
    a tile and is whole in none of these. None where a tile would be the whole picture."""
    areas = tiles(size, tile)
    if areas and sample.boxes is not None:
        areas += _around_objects(sample.boxes, areas, size, tile)
    return [cut(sample, area) for area in areas]


def cut(sample: Sample, area: Area) -> Sample:
    """The part of a sample that lies in an area of its picture, with its boxes there.

    What an edge cuts of a box is cut off, and one of which less than a quarter is left is dropped, as where a random change of a picture
    cuts it (SAHI, Akyon et al. 2022, drops below a tenth): the network says boxes that end with the tile, and who joins tiles knows
    them by that.
    """
    left, top, right, bottom = area
    size, boxes = (bottom - top, right - left), sample.boxes
    if boxes is not None:
        boxes = visible(boxes, corners_of(boxes.xyxy - [left, top] * 2), size, MIN_VISIBLE)
    return replace(sample, boxes=boxes, size=size, crop=area)


def _around_objects(boxes: Boxes, areas: Sequence[Area], size: Size, tile: int) -> list[Area]:
    """Tiles with the objects in their middle that fit in one and are whole in none of `areas`."""
    height, width = size
    across, down = min(tile, width), min(tile, height)
    xyxy = np.clip(boxes.xyxy[np.isfinite(boxes.xyxy).all(1)], 0, [width, height, width, height])
    whole = np.column_stack([np.floor(xyxy[:, :2]), np.ceil(xyxy[:, 2:])]).astype(int)
    found: list[Area] = []
    for left, top, right, bottom in whole.tolist():
        if not (0 < right - left <= across and 0 < bottom - top <= down):
            continue
        if any(a[0] <= left and a[1] <= top and right <= a[2] and bottom <= a[3] for a in [*areas, *found]):
            continue
        x = min(max((left + right - across) // 2, 0), width - across)
        y = min(max((top + bottom - down) // 2, 0), height - down)
        found.append((x, y, x + across, y + down))
    return found
