"""The embedded data of every task: real handwritten digits on textured grounds, with exact boxes and masks.

The digits are those of `data.digits`; only where they stand, their colours and the ground are drawn by chance. Those of a
split appear in no other one. Turned by 25 degrees at most, a 6 stays a 6 and a 9 a 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image

from ..errors import ArgumentError, choose, whole_number
from ..structures import Boxes
from .grounds import rgb, textured_ground
from .listing import SPLITS

CLASSES = tuple(str(digit) for digit in range(10))
MASK_CLASSES = ("background", *CLASSES)
SIDES = (24, 4096)  # pixels; below, a digit has less room than its own 8x8 pixels need when turned

ALONE, AMONG = (0.3, 0.7), (0.2, 0.45)  # a digit's longer side by the shorter side of the scene
LEAST = 8.0  # pixels of a digit's longer side, as many as the real ones have
TURN = 25.0  # degrees, either way
INK = 0.45  # of the darkest value; above, a pixel is the digit's
EDGE = 1.5  # pixels in which a digit fades into the ground
BORDER = 2  # pixels of nothing around a real digit, for the interpolation
TRIES = 32  # places that are tried before a digit is made smaller
CONTRAST = 0.35  # of luminance (0..1) between a digit and all but the extremes of the ground below it
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class Scene:
    """uint8 image (height, width, 3); its digits' boxes, the bounds of each one's pixels; uint8 mask (height, width).

    The mask is 0 where there is ground and d + 1 where digit d is.
    """

    image: np.ndarray
    boxes: Boxes
    mask: np.ndarray


def make_scenes(
    n: int, size: tuple[int, int] = (128, 128), *, digits: tuple[int, int] = (1, 4), seed: int = 0, split: str = "train",
    extent: tuple[float, float] | None = None,
) -> Iterator[Scene]:  # fmt: skip
    """The first `n` scenes of a split, `size` (height, width); scene i depends on seed, split, i, size and digits only.

    `digits` is the fewest and most digits of a scene; where not all find room beside one another, there are fewer, never
    none. Their longer sides are from and to the shares of the shorter side that `extent` says, at least 8 pixels; without it 30 to 70 %
    for one that is alone by rule, (1, 1), and 20 to 45 % for others. The first digits of scenes 10 k to 10 k + 9 are each class once.
    Boxes never overlap. Raises ArgumentError for what is out of range.
    """
    whole_number(n, "The number of scenes", least=0)
    whole_number(seed, "The seed", least=0)
    choose("split", split, SPLITS)
    height, width = _pair(size, "A scene's size (height, width)", *SIDES)
    fewest, most = _pair(digits, "The fewest and most digits of a scene", 1, 1000)
    if fewest > most:
        raise ArgumentError("The fewest digits of a scene are no more than the most", received=f"{fewest} and {most}")
    shares = _shares(extent, alone=(fewest, most) == (1, 1))
    return (_scene(seed, split, i, (height, width), (fewest, most), shares) for i in range(n))


def real_digits(split: str) -> range:
    """Which of scikit-learn's 1,797 digits the scenes of a split show: 1,287, 258 and 252 of them (72, 14 and 14 %).

    They stand there form by form (the labels begin again every 130 or so), and a form is one person's: 10, 2 and 2 whole forms.
    """
    return {"train": range(1287), "validation": range(1287, 1545), "test": range(1545, 1797)}[split]


def _pair(values: object, what: str, least: int, most: int) -> tuple[int, int]:
    pair = tuple(values) if isinstance(values, tuple | list | np.ndarray) else (values,)
    if len(pair) != 2 or any(whole_number(value, what, least=least) > most for value in pair):
        raise ArgumentError(f"{what} is two whole numbers from {least} to {most}", received=repr(values))
    return int(pair[0]), int(pair[1])


def _shares(extent: object, *, alone: bool) -> tuple[float, float]:
    """A digit's shortest and longest side by the shorter side of the scene."""
    if extent is None:
        return ALONE if alone else AMONG
    pair = tuple(extent) if isinstance(extent, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(each, int | float) for each in pair) or not 0 < pair[0] <= pair[1] <= 1:
        raise ArgumentError(
            "The extent of digits is two shares of the scene's shorter side, above 0 and at most 1", expected="(0.05, 0.1)",
            received=repr(extent),
        )  # fmt: skip
    return float(pair[0]), float(pair[1])


# --- one scene -------------------------------------------------------------------------------------------------


def _scene(
    seed: int, split: str, index: int, size: tuple[int, int], digits: tuple[int, int], extent: tuple[float, float]
) -> Scene:
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image = textured_ground(rng, size)
    mask = np.zeros(size, np.uint8)
    taken: list[tuple[int, int, int, int]] = []
    boxes, labels = [], []
    for number in range(int(rng.integers(digits[0], digits[1] + 1))):
        label = _first_classes(seed, index // 10)[index % 10] if number == 0 else int(rng.integers(10))
        ink = _inks(split)[label]
        found = _find_place(rng, ink[rng.integers(len(ink))], size, extent, taken)
        if found is None:
            break
        alpha, top, left = found
        taken.append((top, left, top + alpha.shape[0], left + alpha.shape[1]))
        boxes.append(_paint(rng, image, mask, alpha, top, left, label + 1))
        labels.append(label)
    image *= 255
    values = np.clip(np.rint(image, image), 0, 255, image).astype(np.uint8)
    return Scene(np.ascontiguousarray(values.transpose(1, 2, 0)), Boxes(boxes, labels), mask)


@lru_cache(100)
def _first_classes(seed: int, ten: int) -> list[int]:
    """Ten scenes in a row have ten classes, in an order of chance that all splits share: a few scenes have the same few classes."""
    return np.random.default_rng((seed, len(SPLITS), ten)).permutation(10).tolist()


@cache
def _inks(split: str) -> tuple[tuple[Image.Image, ...], ...]:
    """The real digits of a split by class: cut to their ink, 0 to 1, with a border of nothing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    inks: tuple[list[Image.Image], ...] = tuple([] for _ in CLASSES)
    for index in real_digits(split):
        values = digits.images[index].astype(np.float32)
        top, left, bottom, right = _bounds(values > 0)
        inks[digits.target[index]].append(
            Image.fromarray(np.pad(values[top:bottom, left:right] / values.max(), BORDER))
        )
    return tuple(map(tuple, inks))


def _bounds(there: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) around what is true."""
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _find_place(
    rng: np.random.Generator, ink: Image.Image, size: tuple[int, int], share: tuple[float, float],
    taken: list[tuple[int, int, int, int]],
) -> tuple[np.ndarray, int, int] | None:  # fmt: skip
    """(alpha, top, left) of a digit where it touches none, made smaller until it fits; None where it fits nowhere."""
    extent = max(LEAST, min(size) * rng.uniform(*share))
    angle = rng.uniform(-TURN, TURN)
    while True:
        alpha = _draw(ink, extent, angle)
        height, width = alpha.shape
        if height <= size[0] and width <= size[1]:
            y, x = rng.integers(0, size[0] - height + 1, TRIES), rng.integers(0, size[1] - width + 1, TRIES)
            free = np.ones(TRIES, bool)
            for top, left, bottom, right in taken:
                free &= (y >= bottom) | (y <= top - height) | (x >= right) | (x <= left - width)
            first = free.argmax()
            if free[first]:
                return alpha, int(y[first]), int(x[first])
        if extent == LEAST:
            return None
        extent = max(LEAST, extent * 0.8)


def _draw(ink: Image.Image, extent: float, angle: float) -> np.ndarray:
    """A digit's alpha, float32 0..1, its longer side about `extent` pixels before it is turned; no row or column is 0."""
    scale = extent / (max(ink.size) - 2 * BORDER)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    w, h = ((side - 2 * BORDER + 1) * scale for side in ink.size)  # with half a pixel of the border on each side
    width, height = math.ceil(w * cos + h * abs(sin)) + 2, math.ceil(w * abs(sin) + h * cos) + 2
    a, b = cos / scale, sin / scale
    x, y = (ink.width - a * width + b * height) / 2, (ink.height - b * width - a * height) / 2
    matrix = (a, -b, x, b, a, y)  # the middle of one is the middle of the other
    values = np.asarray(ink.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))
    alpha = np.clip((values - INK) * max(1.0, scale / EDGE) + 0.5, 0, 1)
    top, left, bottom, right = _bounds(alpha > 0)
    return alpha[top:bottom, left:right]


def _paint(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, alpha: np.ndarray, top: int, left: int, value: int
) -> tuple[int, int, int, int]:
    """Blend a digit into image and mask; returns its box xyxy."""
    area = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    ground = image[:, *area]
    ground += alpha * (_color(rng, (LUMINANCE * ground[:, ::2, ::2]).sum(0))[:, None, None] - ground)
    there = alpha > 0.5
    mask[area][there] = value
    y1, x1, y2, x2 = _bounds(there)
    return left + x1, top + y1, left + x2, top + y2


def _color(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour, of chance, that stands out from the luminances of the ground; black or white where none does."""
    colors = np.vstack([rgb(*rng.random((3, 24))), [[0.03] * 3, [0.97] * 3]]).astype(np.float32)
    luminance = colors @ LUMINANCE.ravel()
    contrast = np.abs(luminance - ground.mean()) - 2 * ground.std()
    return colors[np.minimum(contrast, CONTRAST).argmax()]  # the first that is enough, else the best
