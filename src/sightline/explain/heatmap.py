"""Where in an image something is: a map over its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True, eq=False)
class Heatmap:
    """How much each pixel counts for a score.

    `map`: float32 (H, W) at the image's size, 0..1, 1 where it counts most; what counts against the score is 0. `raw`: the values that it
    is made of, coarser and with their sign. `score`: what is explained. Of a batch all have one more axis, the first.
    """

    map: np.ndarray = field(repr=False)
    raw: np.ndarray = field(repr=False)
    score: Any


def heatmap(raw: torch.Tensor, score: torch.Tensor, size: tuple[int, int], single: bool) -> Heatmap:
    """Of values (N, h, w), enlarged to `size` (bilinear)."""
    pixels = F.interpolate(raw.clamp(min=0)[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
    return as_heatmap(pixels, raw, score, single)


def as_heatmap(pixels: torch.Tensor, raw: torch.Tensor, score: torch.Tensor, single: bool) -> Heatmap:
    """Of values (N, H, W) for the pixels."""
    positive = pixels.float().clamp(min=0)
    most = positive.flatten(1).amax(1)[:, None, None]
    found = (positive / torch.where(most > 0, most, 1)).cpu().numpy()
    values, scores = raw.cpu().numpy(), score.cpu().numpy()
    return Heatmap(found[0], values[0], float(scores[0])) if single else Heatmap(found, values, scores)
