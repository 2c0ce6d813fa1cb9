"""Occlusion: how far a score falls when a part of the image is covered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, whole_number
from ..graph.network import Network
from ..graph.symbolic import inference
from .heatmap import Heatmap, as_heatmap
from .parts import BATCH, as_taken, looked_into
from .targets import Target, as_target, before_activation, scored

Pair = tuple[int, int]
SHARE = 6  # of the shorter side that a window takes, where no size is given


def occlusion(
    model: Network,
    image: Any,
    target: Any = None,
    size: int | Pair | None = None,
    stride: int | Pair | None = None,
    fill: float | Sequence[float] | None = None,
    batch_size: int = BATCH,
) -> Heatmap:
    """How far the target's score of one image, or of each in a batch, falls when a window of it is covered.

    `target` as `grad_cam` has it; without one it is the class of the whole image, and a function sees one image at a time, covered in
    several places. Windows of `size` (height, width), by default a sixth of the
    shorter side, stand `stride` apart, by default half of that, and the last ones at the right and bottom edge. They are covered with
    `fill`, one number or one for each channel, by default the image's mean colour. `raw` (rows, columns): how far the score falls
    under each window; `map`: the mean over the windows that cover a pixel. Zeiler & Fergus, "Visualizing and Understanding
    Convolutional Networks", ECCV 2014, section 4.2.

    Raises ArgumentError for a window that does not fit, ShapeError for images of another shape.
    """
    network = looked_into(model)
    batch, single = as_taken(network, image)
    height, width = batch.shape[2:]
    side = max(1, min(height, width) // SHARE)
    window = _pair(side if size is None else size, "size", (height, width))
    steps = _pair((max(1, window[0] // 2), max(1, window[1] // 2)) if stride is None else stride, "stride", None)
    tops, lefts = (starts(pixels, window[i], steps[i]) for i, pixels in enumerate((height, width)))
    corners = [(top, left) for top in tops for left in lefts]
    falls, scores = [], []
    with inference(network):
        for number, each in enumerate(batch):
            said = before_activation(network(each[None]))
            fixed = as_target(target[number] if np.ndim(target) else target, said)
            score = scored(fixed, said, 1)
            covered = _covered(network, each, fixed, corners, window, fill, whole_number(batch_size, "batch_size"))
            falls.append((score - covered).view(len(tops), len(lefts)))
            scores.append(score)
    raw = torch.stack(falls)
    return as_heatmap(_spread(raw, tops, lefts, window, (height, width)), raw, torch.cat(scores), single)


def _covered(
    network: Network, image: torch.Tensor, target: Target, corners: list[Pair], window: Pair, fill: Any, batch_size: int
) -> torch.Tensor:
    """The scores of an image (C, H, W) with a window at each of the corners (top, left) covered."""
    color = image.mean((1, 2)) if fill is None else torch.as_tensor(np.asarray(fill)).to(image)
    if color.ndim > 1 or (color.ndim == 1 and len(color) not in (1, len(image))):
        raise ArgumentError("fill is a number, or one for each channel", received=repr(fill))
    color = color.reshape(-1, 1, 1)
    found = []
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        x = image.repeat(len(part), 1, 1, 1)
        for row, (top, left) in zip(x, part, strict=True):
            row[:, top : top + window[0], left : left + window[1]] = color
        found.append(scored(target, before_activation(network(x)), len(part)))
    return torch.cat(found)


def starts(pixels: int, window: int, stride: int) -> list[int]:
    """Where windows begin that cover so many pixels: every `stride`, and the last one at the end."""
    return [*range(0, pixels - window, stride), pixels - window]


def _spread(raw: torch.Tensor, tops: list[int], lefts: list[int], window: Pair, size: Pair) -> torch.Tensor:
    """(N, height, width): at each pixel the mean of the values (N, rows, columns) of the windows that cover it; 0 where none does."""
    rows, columns = (
        torch.zeros(pixels, len(begins), dtype=raw.dtype, device=raw.device)
        for pixels, begins in zip(size, (tops, lefts), strict=True)
    )
    for axis, begins, length in ((rows, tops, window[0]), (columns, lefts, window[1])):
        for number, begin in enumerate(begins):
            axis[begin : begin + length, number] = 1
    count = rows.sum(1)[:, None] * columns.sum(1)
    return (rows @ raw @ columns.T) / count.clamp(min=1)


def _pair(value: Any, what: str, most: Pair | None) -> Pair:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ArgumentError(f"occlusion: {what} is a number, or (height, width)", received=repr(value))
    checked = whole_number(pair[0], f"occlusion: {what}"), whole_number(pair[1], f"occlusion: {what}")
    if most is not None and (checked[0] > most[0] or checked[1] > most[1]):
        raise ArgumentError(f"occlusion: {what} is no larger than the image", expected=most, received=checked)
    return checked
