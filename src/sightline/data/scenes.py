"""The embedded data of every task: real handwritten digits on textured grounds, with exact boxes and masks.

The digits are those of `data.digits`; only where they stand, their colours and the ground are drawn by chance. Those of a
split appear in no other one. Turned by 25 degrees at most, a 6 stays a 6 and a 9 a 9.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ArgumentError, DataError, choose, whole_number
from ..files import write_text
from ..structures import Boxes, Dataset, Mask, MaskCoding, Sample
from .listing import SPLITS, is_hidden, read_text
from .mask_files import write_mask
from .sources import FORMATS

CLASSES = tuple(str(digit) for digit in range(10))
MASK_CLASSES = ("background", *CLASSES)
TASK_FORMATS = {
    "classify": ("class-folders", "csv"),
    "localize": ("coco", "voc", "yolo", "csv"),
    "detect": ("coco", "voc", "yolo", "csv"),
    "segment": ("masks", "csv"),
}
COUNTS = MappingProxyType({"train": 400, "validation": 100, "test": 100})
SIDES = (24, 4096)  # pixels; below, a digit has less room than its own 8x8 pixels need when turned
RECIPE = 1  # of how numbers become pixels; a change of it makes folders written before another data set
MARK = "scenes.json"  # says what a folder holds; written last

ALONE, AMONG = (0.3, 0.7), (0.2, 0.45)  # a digit's longer side by the shorter side of the scene
LEAST = 8.0  # pixels of a digit's longer side, as many as the real ones have
TURN = 25.0  # degrees, either way
INK = 0.45  # of the darkest value; above, a pixel is the digit's
EDGE = 1.5  # pixels in which a digit fades into the ground
BORDER = 2  # pixels of nothing around a real digit, for the interpolation
TRIES = 32  # places that are tried before a digit is made smaller
CONTRAST = 0.35  # of luminance (0..1) between a digit and all but the extremes of the ground below it
COMPRESSION = 1  # of PNG; grain does not get much smaller, only slower, by more
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class Scene:
    """uint8 image (height, width, 3); its digits' boxes, the bounds of each one's pixels; uint8 mask (height, width).

    The mask is 0 where there is ground and d + 1 where digit d is.
    """

    image: np.ndarray
    boxes: Boxes
    mask: np.ndarray


def scenes(
    n: int, size: tuple[int, int] = (128, 128), *, digits: tuple[int, int] = (1, 4), seed: int = 0, split: str = "train"
) -> Iterator[Scene]:
    """The first `n` scenes of a split, `size` (height, width); scene i depends on seed, split, i, size and digits only.

    `digits` is the fewest and most digits of a scene; where not all find room beside one another, there are fewer, never
    none. One that is alone by rule, (1, 1), is 30 to 70 % of the shorter side, others 20 to 45 %. The first digits of
    scenes 10 k to 10 k + 9 are each class once. Boxes never overlap. Raises ArgumentError for what is out of range.
    """
    whole_number(n, "The number of scenes", least=0)
    whole_number(seed, "The seed", least=0)
    choose("split", split, SPLITS)
    height, width = _pair(size, "A scene's size (height, width)", *SIDES)
    fewest, most = _pair(digits, "The fewest and most digits of a scene", 1, 1000)
    if fewest > most:
        raise ArgumentError("The fewest digits of a scene are no more than the most", received=f"{fewest} and {most}")
    return (_scene(seed, split, i, (height, width), (fewest, most)) for i in range(n))


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


# --- one scene -------------------------------------------------------------------------------------------------


def _scene(seed: int, split: str, index: int, size: tuple[int, int], digits: tuple[int, int]) -> Scene:
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image = _ground(rng, size)
    mask = np.zeros(size, np.uint8)
    taken: list[tuple[int, int, int, int]] = []
    boxes, labels = [], []
    for number in range(int(rng.integers(digits[0], digits[1] + 1))):
        label = _first_classes(seed, index // 10)[index % 10] if number == 0 else int(rng.integers(10))
        ink = _inks(split)[label]
        found = _find_place(rng, ink[rng.integers(len(ink))], size, ALONE if digits == (1, 1) else AMONG, taken)
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
    colors = np.vstack([_rgb(*rng.random((3, 24))), [[0.03] * 3, [0.97] * 3]]).astype(np.float32)
    luminance = colors @ LUMINANCE.ravel()
    contrast = np.abs(luminance - ground.mean()) - 2 * ground.std()
    return colors[np.minimum(contrast, CONTRAST).argmax()]  # the first that is enough, else the best


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Colours 0..1 (n, 3) of hues (n,) around a smooth wheel."""
    wheel = np.cos(2 * np.pi * (np.asarray(hue)[:, None] - np.array([0, 1, 2]) / 3))
    return np.asarray(value)[:, None] * (1 - np.asarray(saturation)[:, None] * (0.5 - 0.5 * wheel))


# --- the ground ------------------------------------------------------------------------------------------------


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """float32 (3, height, width), about 0..1: two colours near one another, mixed by a texture, under clouds and grain."""
    short = min(size)
    y, x = (np.arange(side, dtype=np.float32) / short for side in size)
    hue, value = rng.random(), rng.uniform(0.15, 0.9)
    colors = _rgb(hue + rng.normal(0, 0.12, 2), rng.uniform(0.1, 0.8, 2), value + rng.uniform(-0.12, 0.12, 2))
    one, other = np.clip(colors, 0, 1).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y[:, None]
    mixed = 0.5 * (slope - slope.min()) / np.ptp(slope) + 0.5 * TEXTURES[rng.integers(len(TEXTURES))](rng, y, x)
    grain = rng.standard_normal(size, np.float32)
    grain *= rng.uniform(0.005, 0.03)
    cells, amount = int(rng.integers(2, 8)), rng.uniform(0.05, 0.3)
    image = np.empty((3, *size), np.float32)
    for channel, start, step in zip(image, one - amount / 2, other - one, strict=True):
        np.multiply(_clouds(rng, size, cells), amount, out=channel, casting="same_kind")
        channel += step * mixed
        channel += grain + np.float32(start)
    return image


def _clouds(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise, float32 (height, width), 0..1 but for small overshoots, `cells` of it along the shorter side."""
    shape = [max(2, round(cells * side / min(size))) for side in size]
    grid = Image.fromarray(rng.random(shape, np.float32))
    return np.asarray(grid.resize(size[::-1], Image.Resampling.BICUBIC))


def _stripes(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Waves or, harder, stripes 0..1, 3 to 14 along the shorter side, any way."""
    angle, waves = rng.uniform(0, np.pi), 2 * np.pi * rng.uniform(3, 14)
    phase = np.float32(waves * np.cos(angle)) * x + np.float32(waves * np.sin(angle)) * y[:, None]
    return 0.5 + 0.5 * np.clip(np.sin(phase) * np.float32(rng.uniform(1, 4)), -1, 1)


def _checks(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Woven waves 0..1 along both sides."""
    rows, columns = (np.sin(np.float32(2 * np.pi * rng.uniform(2, 9)) * side) for side in (y, x))
    return 0.5 + 0.5 * np.clip(rows[:, None] * columns * np.float32(rng.uniform(1, 4)), -1, 1)


def _blobs(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """3 to 8 soft spots, 0..1."""
    count = int(rng.integers(3, 9))
    widths = rng.uniform(0.04, 0.2, (count, 1)).astype(np.float32)
    rows, columns = (
        np.exp(-(((side - rng.uniform(0, side[-1], (count, 1)).astype(np.float32)) / widths) ** 2)) for side in (y, x)
    )
    return np.minimum(rows.T @ columns, 1)


def _speckles(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Noise 0..1 of many small cells."""
    return _clouds(rng, (len(y), len(x)), int(rng.integers(12, 24)))


TEXTURES = (_stripes, _checks, _blobs, _speckles)


# --- files -----------------------------------------------------------------------------------------------------


def write_scenes(
    folder: str | Path, task: str, n: Mapping[str, int] = COUNTS, *, format: str | None = None,
    size: tuple[int, int] = (128, 128), seed: int = 0, digits: tuple[int, int] | None = None,
) -> Path:  # fmt: skip
    """Write `n` scenes of each split as a data set for a task, PNG images and labels in a format; returns the folder.

    Without `format` it is the first of `TASK_FORMATS`. Scenes for classify and localize hold exactly one digit, others
    1 to 4 or what `digits` says. The same arguments write the same bytes. A folder that holds just these scenes is left as
    it is; one that holds anything else, or only a part of them, is a DataError. Raises ArgumentError for what is out of range.
    """
    folder = Path(folder)
    arguments = _arguments(task, n, format, size, seed, digits)
    try:
        if not _holds(folder, arguments):
            _write(folder, arguments)
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror or error})") from error
    return folder


def _write(folder: Path, arguments: dict[str, Any]) -> None:
    """Write everything into a hidden folder, then move it to its place, the mark last."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".scenes-", dir=folder) as temporary:  # elsewhere may be another disk
        files, whole = Path(temporary) / "files", Path(temporary) / "whole"
        whole.mkdir()
        FORMATS[arguments["format"]].write(_draw_files(files, arguments), whole)
        write_text(whole / MARK, _mark(arguments))
        # Folders first: to move one where another process has put one is an error, before any file is replaced
        for path in sorted(whole.iterdir(), key=lambda path: (path.name == MARK, path.is_file(), path.name)):
            os.rename(path, folder / path.name)


def _arguments(
    task: str, n: Mapping[str, int], format: str | None, size: tuple[int, int], seed: int, digits: tuple[int, int] | None
) -> dict[str, Any]:  # fmt: skip
    """All that the files depend on, checked, as JSON has it."""
    choose("task", task, TASK_FORMATS)
    if format is not None:
        choose(f"format of scenes for {task}", format, TASK_FORMATS[task])
    if not isinstance(n, Mapping):
        raise ArgumentError("The number of scenes is said by split", expected='{"train": 400}', received=repr(n))
    for split, count in n.items():
        choose("split", split, SPLITS)
        whole_number(count, f"The number of scenes for {split}", least=int(split == "train"))
    if "train" not in n:
        raise ArgumentError("A data set has scenes to train on", received=f"scenes for {', '.join(n) or 'nothing'}")
    alone = task in ("classify", "localize")
    if digits is None:
        digits = (1, 1) if alone else (1, 4)
    scenes(0, size, digits=digits, seed=seed)  # raises
    if alone and tuple(digits) != (1, 1):
        raise ArgumentError(f"A scene for {task} holds one digit", expected="digits (1, 1)", received=repr(digits))
    return {
        "scenes": RECIPE, "task": task, "format": format or TASK_FORMATS[task][0],
        "n": {split: int(n[split]) for split in SPLITS if n.get(split)},
        "size": [int(side) for side in size], "seed": int(seed), "digits": [int(number) for number in digits],
    }  # fmt: skip


def _holds(folder: Path, arguments: dict[str, Any]) -> bool:
    """Whether a folder holds just these scenes, or nothing yet. Raises DataError where it holds something else."""
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"{folder} is a file", fix="Give the name of a new folder")
        return False
    names = sorted(name for name in os.listdir(folder) if not is_hidden(name))
    if not names:
        return False
    fix = "Give the name of a new folder, or remove this one"
    if MARK not in names:
        raise DataError(
            f"{folder} holds something else than scenes, or a part of them", received=", ".join(names[:5]), fix=fix
        )
    text = read_text(folder / MARK, limit=2**16)
    if text != _mark(arguments):
        raise DataError(
            f"{folder} holds other scenes", expected=arguments, received=" ".join(text.split())[:300], fix=fix
        )
    return True


def _mark(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments) + "\n"


def _draw_files(folder: Path, arguments: dict[str, Any]) -> Dataset:
    """The scenes as image and mask files, with the labels that the task needs."""
    task, size = arguments["task"], tuple(arguments["size"])
    (folder / "masks").mkdir(parents=True)
    splits = {}
    for split, count in arguments["n"].items():
        drawn = scenes(count, size, digits=arguments["digits"], seed=arguments["seed"], split=split)
        stems = (folder / f"{split}-{i:05d}" for i in range(count))
        splits[split] = tuple(_draw_file(stem, scene, task) for stem, scene in zip(stems, drawn, strict=True))
    classes = MASK_CLASSES if task == "segment" else CLASSES
    return Dataset(folder, classes, splits, tuple(splits), (), "detect" if task == "localize" else task)


def _draw_file(stem: Path, scene: Scene, task: str) -> Sample:
    path = stem.with_suffix(".png")
    Image.fromarray(scene.image).save(path, compress_level=COMPRESSION)
    sample = Sample(path, size=scene.mask.shape)
    if task == "classify":
        return replace(sample, label=int(scene.boxes.labels[0]))
    if task == "segment":
        coding = MaskCoding("index", tuple(range(len(MASK_CLASSES))))
        return replace(sample, mask=Mask(write_mask(scene.mask, stem.parent / "masks" / path.name), coding))
    return replace(sample, boxes=scene.boxes)
