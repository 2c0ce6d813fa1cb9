"""Where the scores of a fully convolutional network lie in the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import ShapeError, SightlineError
from ..graph.network import Network

KEY = "score map"  # in a model's metadata, which its file holds
Pair = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """How the places of a feature map lie in the image, along (height, width).

    `stride`: pixels from place to place. `before`, `after`: how many pixels beyond the image that the network was trained on its
    first place reads up and left, its last down and right; negative where some of the image is not read.
    """

    stride: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    before: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    after: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))

    def slid(self, kernel: Pair, strides: Pair, pads: tuple[Pair, Pair], size: Pair, places: Pair) -> Grid:
        """The grid behind a window that moves over a map of `size`, so that there are so many `places`."""
        axes = range(2)
        ends = [(places[i] - 1) * strides[i] - pads[i][0] + kernel[i] - size[i] for i in axes]
        return Grid(
            tuple(self.stride[i] * strides[i] for i in axes),  # type: ignore[arg-type]
            tuple(self.before[i] + pads[i][0] * self.stride[i] for i in axes),  # type: ignore[arg-type]
            tuple(self.after[i] + ends[i] * self.stride[i] for i in axes),  # type: ignore[arg-type]
        )

    def with_(self, other: Grid) -> Grid:
        """The grid of a map that is made of two of the same stride, place by place."""
        before, after = (
            tuple(max(a, b) for a, b in zip(mine, its, strict=True))
            for mine, its in ((self.before, other.before), (self.after, other.after))
        )
        return Grid(self.stride, before, after)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScoreMap:
    """Which window of the image each place of a fully convolutional network's scores answers for; all pairs (height, width).

    `window`: the image that the classifier was trained on. `stride`: pixels from a window to the next. `halo`: how many pixels around
    a window its score may depend on besides, where "same" padding ended at the window's border and now the image goes on; 0 for
    a network without padding, whose every score is exactly what the classifier says of that crop.
    """

    window: Pair
    stride: Pair
    halo: Pair = (0, 0)

    def shape(self, size: Pair) -> Pair:
        """(rows, columns) of the windows that lie within an image of `size` (height, width). Raises ShapeError for a smaller one."""
        if any(pixels < window for pixels, window in zip(size, self.window, strict=True)):
            raise ShapeError(
                "The image is smaller than what the network was trained on",
                expected=f"at least {self.window[0]}x{self.window[1]}",
                received=f"{size[0]}x{size[1]}",
                fix="Enlarge it, or pad it",
            )
        rows, columns = ((size[i] - self.window[i]) // self.stride[i] + 1 for i in (0, 1))
        return rows, columns

    def extent(self, shape: Pair) -> Pair:
        """(height, width) of what the windows of a map of `shape` (rows, columns) cover: a window and whole strides."""
        height, width = (self.window[i] + (shape[i] - 1) * self.stride[i] for i in (0, 1))
        return height, width

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The window `xyxy` in pixels that the place at (row, column) answers for."""
        top, left = row * self.stride[0], column * self.stride[1]
        return left, top, left + self.window[1], top + self.window[0]

    def boxes(self, shape: Pair) -> np.ndarray:
        """The windows `xyxy` of all places of a score map of `shape` (rows, columns), row by row: float64 (rows * columns, 4)."""
        rows, columns = np.indices(shape).reshape(2, -1)
        top, left = rows * self.stride[0], columns * self.stride[1]
        return np.stack([left, top, left + self.window[1], top + self.window[0]], 1).astype(np.float64)

    def as_dict(self) -> dict[str, list[int]]:
        return {"window": list(self.window), "stride": list(self.stride), "halo": list(self.halo)}


def score_map(dense: Network) -> ScoreMap:
    """Where the scores of a network lie that `to_fully_convolutional` made, also one from a file.

    Raises SightlineError for any other network.
    """
    known: Mapping[str, Any] | None = getattr(dense, "metadata", {}).get(KEY)
    if known is None:
        raise SightlineError(
            f"{dense.name} is not known to be fully convolutional",
            fix="sl.rewrite.to_fully_convolutional(model) makes it so",
        )
    return ScoreMap(*(tuple(known[name]) for name in ("window", "stride", "halo")))
