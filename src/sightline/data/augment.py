"""Random changes of a picture with its boxes and mask, for training.

What is drawn depends on (seed, epoch, index) and nothing else: not on workers, batches, ranks or what came before. All
that moves pixels is one affine map, applied once: bilinear to the picture, nearest neighbour to the mask, corner by
corner to the boxes. All that changes colours is one affine map of (red, green, blue).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..structures import IGNORE, Boxes
from .decode import PADDING
from .recipes import Augmentation
from .warp import flipped, is_flip, moved_corners, rounded, visible, warp, warp_mask

# Krizhevsky et al. 2012, section 4.1: principal components of ImageNet's colours (0..1), by the values in common use
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])
PCA_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)  # one in each column
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow turns RGB into L
TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class Example:
    """What a network learns from at once: pixels uint8 (height, width, channels), and what belongs to them.

    `labels` are class numbers with their shares, which sum to 1 (several after mixup and cutmix; empty where there is
    no class); `boxes` are in pixels of this picture; `mask` is uint8 (height, width), IGNORE where nothing is known.
    """

    pixels: np.ndarray
    labels: tuple[tuple[int, float], ...] = ()
    boxes: Boxes | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Draws:
    """What chance decided for one picture.

    `matrix` (2, 3) takes a place (x, y, 1) of the new picture to one of the old, None for itself. The factors are 1, `hue`
    (in turns) and `lighting` (red, green, blue in 0..255) 0 for no change. `haze` is (strength, x, y, radius), `erased` (left, top,
    right, bottom, gray), or None.
    """

    matrix: np.ndarray | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    lighting: tuple[float, float, float] = (0.0, 0.0, 0.0)
    haze: tuple[float, float, float, float] | None = None
    erased: tuple[int, int, int, int, int] | None = None


def generator(seed: int, epoch: int, index: int, part: int = 0) -> np.random.Generator:
    """The source of chance of one sample in one epoch; `part` 0 draws its own changes, 1 whom it is mixed with."""
    return np.random.default_rng((seed, epoch, index, part))


def draw(recipe: Augmentation, size: tuple[int, int], chance: np.random.Generator) -> Draws:
    """Draws for a picture of `size` (height, width)."""

    def factor(spread: float) -> float:
        return float(chance.uniform(1 - spread, 1 + spread)) if spread else 1.0

    matrix = _draw_matrix(recipe, size, chance)
    brightness, contrast, saturation = map(factor, (recipe.brightness, recipe.contrast, recipe.saturation))
    hue = float(chance.uniform(-recipe.hue, recipe.hue)) if recipe.hue else 0.0
    light = PCA_VECTORS @ (PCA_VALUES * chance.normal(0, recipe.lighting, 3)) * 255 if recipe.lighting else np.zeros(3)
    haze = _draw_haze(recipe.haze, size, chance) if recipe.haze else None
    erased = _draw_rectangle(size, chance) if recipe.erase and chance.random() < recipe.erase else None
    return Draws(matrix, brightness, contrast, saturation, hue, tuple(light.tolist()), haze, erased)


def _draw_matrix(recipe: Augmentation, size: tuple[int, int], chance: np.random.Generator) -> np.ndarray | None:
    height, width = size
    mirror_x = -1.0 if recipe.flip_horizontal and chance.random() < recipe.flip_horizontal else 1.0
    mirror_y = -1.0 if recipe.flip_vertical and chance.random() < recipe.flip_vertical else 1.0
    angle = np.deg2rad(chance.uniform(-recipe.rotate, recipe.rotate)) if recipe.rotate else 0.0
    shift = chance.uniform(-recipe.shift, recipe.shift, 2) * (width, height) if recipe.shift else np.zeros(2)
    zoom = chance.uniform(1 - recipe.zoom, 1 + recipe.zoom) if recipe.zoom else 1.0
    window = np.array([0.0, 0.0, width, height])
    if recipe.random_resized_crop < 1:
        window = _draw_window(recipe.random_resized_crop, size, chance)
    scale = np.array([window[2] - window[0], window[3] - window[1]]) / (width, height) / zoom * (mirror_x, mirror_y)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * scale  # the new picture is scaled, then turned about the window's middle
    middle = np.array([window[0] + window[2], window[1] + window[3]]) / 2 - shift
    matrix = np.column_stack([linear, middle - linear @ (width / 2, height / 2)])
    return None if np.array_equal(matrix, np.eye(2, 3)) else matrix


def _draw_window(least: float, size: tuple[int, int], chance: np.random.Generator) -> np.ndarray:
    """(left, top, right, bottom) of a share of the area from `least` to 1, its proportions changed by up to 4 to 3 (Szegedy
    et al. 2015); what does not fit is cut to the picture."""
    height, width = size
    area = chance.uniform(least, 1)
    ratio = np.exp(chance.uniform(np.log(3 / 4), np.log(4 / 3)))
    across = min(width, width * np.sqrt(area * ratio))
    down = min(height, height * np.sqrt(area / ratio))
    left, top = chance.uniform(0, width - across), chance.uniform(0, height - down)
    return np.array([left, top, left + across, top + down])


def _draw_haze(most: float, size: tuple[int, int], chance: np.random.Generator) -> tuple[float, float, float, float]:
    """(strength, x, y, radius) of a glow in the picture or up to half a side beside it, a quarter to once its longer side wide."""
    height, width = size
    x, y = chance.uniform(-0.5, 1.5, 2) * (width, height)
    return float(chance.uniform(0, most)), float(x), float(y), float(chance.uniform(0.25, 1) * max(size))


def _draw_rectangle(size: tuple[int, int], chance: np.random.Generator) -> tuple[int, int, int, int, int]:
    """Random erasing (Zhong et al. 2020): 2 to 20 % of the area, proportions 0.3 to 3.3, one gray."""
    height, width = size
    area, ratio = chance.uniform(0.02, 0.2) * height * width, np.exp(chance.uniform(np.log(0.3), np.log(3.3)))
    down = int(np.clip(round(np.sqrt(area / ratio)), 1, height))
    across = int(np.clip(round(np.sqrt(area * ratio)), 1, width))
    top, left = int(chance.integers(0, height - down + 1)), int(chance.integers(0, width - across + 1))
    return left, top, left + across, top + down, int(chance.integers(0, 256))


def apply(example: Example, draws: Draws, *, min_visible: float = 0.25) -> Example:
    """The example changed as `draws` say. A box of which less than `min_visible` of the area stays in the picture is dropped."""
    pixels, boxes, mask = example.pixels, example.boxes, example.mask
    size = pixels.shape[:2]
    if draws.matrix is not None:
        if boxes is not None:
            boxes = visible(boxes, moved_corners(boxes.xyxy, draws.matrix), size, min_visible)
        if is_flip(draws.matrix, size):
            pixels = flipped(pixels, draws.matrix)
            mask = None if mask is None else flipped(mask, draws.matrix)
        else:
            pixels = warp(pixels, draws.matrix, size, fill=PADDING)
            mask = None if mask is None else warp_mask(mask, draws.matrix, size, fill=IGNORE)
    pixels = recolored(pixels, draws)
    if draws.erased is not None:
        left, top, right, bottom, gray = draws.erased
        pixels = _painted(pixels, (left, top, right, bottom), gray)
        mask = None if mask is None else _painted(mask, (left, top, right, bottom), IGNORE)
    return replace(example, pixels=pixels, boxes=boxes, mask=mask)


def recolored(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Pixels (uint8, or float32 from a warp) with their colours changed, as uint8.

    Brightness multiplies; contrast moves away from the picture's mean gray; saturation moves away from each pixel's own
    gray; hue turns about the gray axis (in YIQ); lighting is added. Together they are one matrix and one offset. Haze then
    takes each value a part of its way to white, and values are limited to 0..255 once.
    """
    channels = pixels.shape[2]
    gain = draws.brightness * draws.contrast
    offset = np.array(draws.lighting)
    if draws.contrast != 1:
        means = [float(pixels[..., channel].mean(dtype=np.float32)) for channel in range(channels)]
        offset += (1 - draws.contrast) * draws.brightness * float(means @ LUMA if channels == 3 else means[0])
    mixed = channels == 3 and (draws.saturation != 1 or draws.hue)
    if pixels.dtype == np.uint8 and gain == 1 and not (mixed or offset.any() or draws.haze):
        return pixels
    if mixed:
        matrix = _hue_matrix(draws.hue) @ _saturation_matrix(draws.saturation) * gain
        values = _mixed(pixels, matrix)
    else:
        values = pixels * np.float32(gain)
    if offset.any():
        added = offset[:1] if np.ptp(offset) == 0 else offset if channels == 3 else offset.mean(keepdims=True)
        values += added.astype(np.float32)
    if draws.haze is not None:
        values += _glow(draws.haze, pixels.shape[:2])[..., None] * (255 - values)
    return rounded(values)


def _mixed(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel's (red, green, blue) times a matrix (3, 3), as float32.

    Not by NumPy's matrix product: its library's threads go on spinning for some 20 ms after each, on the cores that train.
    """
    planes = [np.ascontiguousarray(pixels[..., channel], np.float32) for channel in range(3)]
    values, part = np.empty((3, *pixels.shape[:2]), np.float32), np.empty(pixels.shape[:2], np.float32)
    for row, value in zip(matrix.astype(np.float32), values, strict=True):
        np.multiply(planes[0], row[0], out=value)
        for factor, plane in zip(row[1:], planes[1:], strict=True):
            np.multiply(plane, factor, out=part)
            value += part
    return values.transpose(1, 2, 0)


def _glow(haze: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """How much of its way to white each place goes, float32 (height, width): a Gaussian about the haze's middle."""
    strength, x, y, radius = haze
    rows, columns = (
        np.exp(-0.5 * ((np.arange(side) + 0.5 - middle) / radius) ** 2)
        for side, middle in zip(size, (y, x), strict=True)
    )
    return np.outer(strength * rows, columns).astype(np.float32)


def _saturation_matrix(factor: float) -> np.ndarray:
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _hue_matrix(turns: float) -> np.ndarray:
    cosine, sine = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    return np.linalg.inv(TO_YIQ) @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ TO_YIQ


def _painted(pixels: np.ndarray, box: tuple[int, int, int, int], value: int) -> np.ndarray:
    """A copy with (left, top, right, bottom) of one value."""
    left, top, right, bottom = box
    painted = pixels.copy()
    painted[top:bottom, left:right] = value
    return painted


def changed(example: Example, recipe: Augmentation, chance: np.random.Generator) -> Example:
    """The example changed at random. With `keep_boxes` a movement that would lose a box is left out, the colours stay changed."""
    draws = draw(recipe, example.pixels.shape[:2], chance)
    answer = apply(example, draws, min_visible=recipe.min_visible)
    if recipe.keep_boxes and len(answer.boxes or ()) < len(example.boxes or ()):
        answer = apply(example, replace(draws, matrix=None), min_visible=recipe.min_visible)
    return answer
