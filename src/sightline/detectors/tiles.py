"""A large picture in tiles: each a part of the map of scores, computed from the pixels that it depends on and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError
from ..rewrite import ScoreMap

Answers = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Span:
    """Along one axis: the places `first` .. `stop`, the pixels `begin` .. `end` that they are computed from, and how many places
    of what those pixels give stand before the first."""

    first: int
    stop: int
    begin: int
    end: int
    skipped: int


def spans(pixels: int, window: int, stride: int, halo: int, tile: int | None) -> Iterator[Span]:
    """An axis of so many pixels in tiles of at most `tile`. Raises ArgumentError where one would hold no window with its halo."""
    places = (pixels - window) // stride + 1
    around = -(-halo // stride) * stride  # whole strides, so that a tile's places are the whole's
    each = places if tile is None or tile >= pixels else (tile - window - 2 * around) // stride + 1
    if each < 1:
        raise ArgumentError(
            "A tile is too small for one window and what its score depends on",
            expected=f"at least {window + 2 * around} pixels",
            received=tile,
        )
    for first in range(0, places, each):
        stop = min(first + each, places)
        begin = max(first * stride - around, 0)
        end = pixels if stop == places else min((stop - 1) * stride + window + around, pixels)
        yield Span(first, stop, begin, end, first - begin // stride)


def in_tiles(ask: Callable[[np.ndarray], Answers], image: np.ndarray, where: ScoreMap, tile: int | None) -> Answers:
    """The map of scores (rows, columns, classes) of an image (height, width, channels), and of the box head or None.

    `ask` gives both for a part of the image, with a batch of one. `tile`: the most pixels along a side; None: all at once.
    """
    rows, columns = (list(spans(image.shape[i], where.window[i], where.stride[i], where.halo[i], tile)) for i in (0, 1))
    found: list[np.ndarray | None] = [None, None]
    for row in rows:
        for column in columns:
            for number, part in enumerate(ask(image[row.begin : row.end, column.begin : column.end])):
                if part is None:
                    continue
                inner = part[0, row.skipped :, column.skipped :][: row.stop - row.first, : column.stop - column.first]
                if found[number] is None:
                    found[number] = np.empty((rows[-1].stop, columns[-1].stop, part.shape[-1]), part.dtype)
                found[number][row.first : row.stop, column.first : column.stop] = inner  # type: ignore[index]
    scores, shares = found
    assert scores is not None
    return scores, shares
