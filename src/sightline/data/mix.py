"""Several pictures in one: mixup, cutmix, mosaic. Partners are drawn from the whole data set by (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..structures import IGNORE, Boxes
from .augment import Example, changed, generator
from .decode import PADDING
from .recipes import Augmentation
from .warp import corners_of, moved_corners, rounded, visible, warp, warp_mask

Load = Callable[[int], Example]


def augmented(load: Load, index: int, count: int, recipe: Augmentation, seed: int, epoch: int) -> Example:
    """Sample `index` of `count` as epoch `epoch` shows it; `load(i)` gives sample i unchanged.

    Its partners come changed as they themselves are in this epoch, but for the mixing.
    """
    own = _alone(load, index, count, recipe, seed, epoch)
    if not recipe.mixes_labels:
        return own
    chance = generator(seed, epoch, index, 1)
    use_mixup = recipe.mixup > 0 and (recipe.cutmix == 0 or chance.random() < 0.5)
    alpha = recipe.mixup if use_mixup else recipe.cutmix
    share = float(chance.beta(alpha, alpha))
    other = _alone(load, int(chance.integers(count)), count, recipe, seed, epoch)
    return mixup(own, other, share) if use_mixup else cutmix(own, other, share, chance)


def _alone(load: Load, index: int, count: int, recipe: Augmentation, seed: int, epoch: int) -> Example:
    chance = generator(seed, epoch, index, 0)
    example = load(index)
    if recipe.mosaic and chance.random() < recipe.mosaic:
        others = [load(int(i)) for i in chance.integers(count, size=3)]
        example = mosaic([example, *others], chance, recipe.min_visible)
    return changed(example, recipe, chance)


def mixup(first: Example, second: Example, share: float) -> Example:
    """`share` of the first picture and the rest of the second, pixel by pixel; labels by share, boxes of both (Zhang et al. 2018)."""
    blend = first.pixels * np.float32(share) + second.pixels * np.float32(1 - share)
    boxes = first.boxes
    if first.boxes is not None and second.boxes is not None:
        boxes = Boxes.joined([first.boxes, second.boxes])
    return replace(first, pixels=rounded(blend), labels=_shared(first, second, share), boxes=boxes)


def cutmix(first: Example, second: Example, share: float, chance: np.random.Generator) -> Example:
    """The first picture with a rectangle of 1 - `share` of its area from the second, in the same place; labels by the
    area that each really has; the mask too (Yun et al. 2019)."""
    height, width = first.pixels.shape[:2]
    side = np.sqrt(1 - share)
    middle_x, middle_y = chance.uniform(0, width), chance.uniform(0, height)
    left, right = (int(np.clip(round(middle_x + s * side * width / 2), 0, width)) for s in (-1, 1))
    top, bottom = (int(np.clip(round(middle_y + s * side * height / 2), 0, height)) for s in (-1, 1))
    pixels = first.pixels.copy()
    pixels[top:bottom, left:right] = second.pixels[top:bottom, left:right]
    mask = first.mask
    if first.mask is not None and second.mask is not None:
        mask = first.mask.copy()
        mask[top:bottom, left:right] = second.mask[top:bottom, left:right]
    kept = 1 - (right - left) * (bottom - top) / (height * width)
    return replace(first, pixels=pixels, labels=_shared(first, second, kept), mask=mask)


def mosaic(four: list[Example], chance: np.random.Generator, min_visible: float) -> Example:
    """Four pictures around a point drawn in the middle half of a canvas of twice the size, of which a window of 1 to 2 times
    the picture's size is shown (Bochkovskiy et al. 2020). Boxes and masks come along; it has no class of its own."""
    height, width, channels = four[0].pixels.shape
    x, y = (int(chance.integers(side // 2, side + side // 2 + 1)) for side in (width, height))
    corners = [(x - width, y - height), (x, y - height), (x - width, y), (x, y)]
    canvas = np.full((2 * height, 2 * width, channels), PADDING, np.uint8)
    mask = None if four[0].mask is None else np.full(canvas.shape[:2], IGNORE, np.uint8)
    boxes = []
    for example, (left, top) in zip(four, corners, strict=True):
        there, here = _overlap(left, top, height, width)
        canvas[there] = example.pixels[here]
        if mask is not None and example.mask is not None:
            mask[there] = example.mask[here]
        if example.boxes is not None:
            moved = example.boxes.xyxy + [left, top] * 2
            boxes.append(visible(example.boxes, corners_of(moved), (2 * height, 2 * width), min_visible))
    scale = chance.uniform(1, 2)
    start = chance.uniform(0, 1, 2) * (2 - scale) * (width, height)
    matrix = np.array([[scale, 0, start[0]], [0, scale, start[1]]])
    pixels = rounded(warp(canvas, matrix, (height, width), fill=PADDING))
    together = Boxes.joined(boxes)
    seen = visible(together, moved_corners(together.xyxy, matrix), (height, width), min_visible)
    return Example(
        pixels, (), None if four[0].boxes is None else seen,
        None if mask is None else warp_mask(mask, matrix, (height, width), fill=IGNORE),
    )  # fmt: skip


def _overlap(left: int, top: int, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a picture laid at (left, top) meets a canvas of twice its size: there, and in the picture."""
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, 2 * width), min(top + height, 2 * height)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _shared(first: Example, second: Example, share: float) -> tuple[tuple[int, float], ...]:
    """The labels of both, each by its share, in order; nothing for a picture without a class."""
    shares: dict[int, float] = {}
    for example, part in ((first, share), (second, 1 - share)):
        for label, weight in example.labels:
            shares[label] = shares.get(label, 0.0) + weight * part
    return tuple(sorted((label, weight) for label, weight in shares.items() if weight > 0))
