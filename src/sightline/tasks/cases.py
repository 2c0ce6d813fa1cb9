"""Single images on which a network did well or badly: what is said of each, and pictures of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..structures import Sample

EACH = 4  # images on which it did well, and as many on which it did badly


@dataclass(frozen=True)
class Case:
    """One image, whether it `went_well`, and a sentence on it; `label` is the class whose reason is asked for, None the surest.

    `views` gives pictures of the image, at any size, by what they show.
    """

    path: Path
    went_well: bool
    sentence: str
    label: int | None
    views: Callable[[Image.Image], dict[str, Image.Image]]


def ends_of(scores: np.ndarray, most: int = EACH) -> list[tuple[int, bool]]:
    """The numbers of the highest scores (True), the highest first, and of the lowest (False), the lowest first; none is both."""
    order = [int(i) for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    good = min(most, -(-len(order) // 2))
    bad = min(most, len(order) - good)
    return [(i, True) for i in order[:good]] + [(i, False) for i in order[::-1][:bad]]


def file_of(sample: Sample) -> str:
    """An image's file as a run writes it down, so that it is found from any folder."""
    return str(sample.path.resolve()) if sample.path is not None else ""


def scaled(boxes: Sequence[Sequence[float]], size: Sequence[int], image: Image.Image) -> list[list[float]]:
    """Boxes xyxy of an image of `size` (height, width) on a picture of it."""
    across, down = image.width / size[1], image.height / size[0]
    return [[left * across, top * down, right * across, bottom * down] for left, top, right, bottom in boxes]


def quoted(classes: Sequence[str], label: Any) -> str:
    return f"“{classes[int(label)]}”"
