"""Keras's "same" padding: the output has ceil(size / stride) places; an odd pad goes to the bottom and right. And torch's
and Caffe's, which is a number of rows and columns at each side, whatever the size; the sides may differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, ShapeError, choose

Padding = str | int | Sequence[int] | Sequence[Sequence[int]]
Pads = tuple[tuple[int, int], tuple[int, int]]
Checked = str | tuple[int, int] | Pads


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) for one axis; `dilation` spreads the kernel.

    >>> same_pads(128, 3, 2), same_pads(28, 3, 1), same_pads(5, 2, 2)
    ((0, 1), (1, 1), (0, 1))
    """
    places = -(-size // stride)
    total = max((places - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def checked_padding(padding: Any, window: tuple[int, int] | None = None) -> Checked:
    """ "valid" or "same", in any case of letters, or (rows, columns) at each side; raises ArgumentError otherwise.

    ((top, bottom), (left, right)) stays so where the sides differ. With `window`, a pooling's, the rows and columns are less
    than it: one that lies outside holds no value.
    """
    if isinstance(padding, str) or padding is None:
        return choose("padding", padding.lower() if isinstance(padding, str) else padding, ("valid", "same"))
    both = tuple(padding) if isinstance(padding, Sequence) else (padding, padding)
    pads = tuple(tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else (v, v) for v in both)
    numbers = [v for sides in pads for v in sides]
    are_numbers = all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in numbers)
    if [len(sides) for sides in pads] != [2, 2] or not are_numbers:
        expected = '"valid", "same", or a whole number of rows and columns at each side, or two of them'
        raise ArgumentError("Unknown padding", expected=expected, received=repr(padding))
    if window is not None and any(2 * max(sides) > size for sides, size in zip(pads, window, strict=True)):
        raise ArgumentError(f"A pooling of {window} pads at most half of that", received=repr(padding))
    (top, bottom), (left, right) = pads
    return (top, left) if top == bottom and left == right else ((top, bottom), (left, right))


def sides(padding: Checked) -> Pads:
    """((top, bottom), (left, right)) of a padding in numbers; none for "valid"."""
    if isinstance(padding, str):
        return (0, 0), (0, 0)
    rows, columns = (each if isinstance(each, tuple) else (each, each) for each in padding)
    return rows, columns


def pads_of(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: Checked,
    dilation: tuple[int, int] = (1, 1),
) -> Pads:
    """((top, bottom), (left, right)) for a feature map of `size` (height, width).

    Raises ShapeError when a window is larger than the feature map, but for "same".
    """
    if padding == "same":
        (h, w), (kh, kw), (sh, sw), (dh, dw) = size, kernel, strides, dilation
        return same_pads(h, kh, sh, dh), same_pads(w, kw, sw, dw)
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows, columns = sides(padding)
    if size[0] + sum(rows) < window[0] or size[1] + sum(columns) < window[1]:
        raise ShapeError(
            f"A window of {window[0]}x{window[1]} does not fit a feature map of {size[0]}x{size[1]} with padding {padding!r}",
            fix='Use a larger image, fewer poolings, or padding="same"',
        )
    return rows, columns


def is_symmetric(pads: Pads) -> bool:
    return pads[0][0] == pads[0][1] and pads[1][0] == pads[1][1]
