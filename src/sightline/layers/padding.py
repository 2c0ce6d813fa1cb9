"""Keras's "same" padding: the output has ceil(size / stride) places; an odd pad goes to the bottom and right."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, choose

Pads = tuple[tuple[int, int], tuple[int, int]]


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(before, after) for one axis; `dilation` spreads the kernel.

    >>> same_pads(128, 3, 2), same_pads(28, 3, 1), same_pads(5, 2, 2)
    ((0, 1), (1, 1), (0, 1))
    """
    places = -(-size // stride)
    total = max((places - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def checked_padding(padding: Any) -> str:
    """ "valid" or "same", in any case of letters; raises ArgumentError otherwise."""
    return choose("padding", padding.lower() if isinstance(padding, str) else padding, ("valid", "same"))


def pads_of(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation: tuple[int, int] = (1, 1),
) -> Pads:
    """((top, bottom), (left, right)) for a feature map of `size` (height, width).

    Raises ShapeError when a "valid" window is larger than the feature map.
    """
    if padding == "same":
        (h, w), (kh, kw), (sh, sw), (dh, dw) = size, kernel, strides, dilation
        return same_pads(h, kh, sh, dh), same_pads(w, kw, sw, dw)
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if size[0] < window[0] or size[1] < window[1]:
        raise ShapeError(
            f'A window of {window[0]}x{window[1]} does not fit a feature map of {size[0]}x{size[1]} with padding "valid"',
            fix='Use a larger image, fewer poolings, or padding="same"',
        )
    return (0, 0), (0, 0)


def is_symmetric(pads: Pads) -> bool:
    return pads[0][0] == pads[0][1] and pads[1][0] == pads[1][1]
