"""A sheet of samples with their labels, as they are and as augmentation shows them: errors in labels are seen, not read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..console import printable
from ..errors import DataError
from ..files import atomic_write
from ..structures import IGNORE, Dataset, ImageSpec, Sample
from .augment import Example
from .cache import in_memory
from .images import Images, row_bytes
from .mask_writing import overlay
from .recipes import Augmentation, recipe

CELL, GAP, CAPTION = 176, 8, 34  # pixels
ROWS, CHANGED = 8, 3  # samples on a sheet, and how often each is shown changed
COLORS = (
    (230, 85, 13), (31, 119, 180), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
    (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip


def preview(
    dataset: Dataset,
    path: str | Path,
    augmentation: str | Mapping[str, Any] | Augmentation | None = "light",
    *,
    rows: int = ROWS,
    seed: int = 0,
) -> Path:
    """Draw some samples of a data set into a PNG file: a row each, first as it is, then as three epochs would show it.

    Raises DataError where none can be read.
    """
    changes = recipe(dataset.task, augmentation)
    tried = _drawn(dataset, rows * 3, seed)
    images = _readable(tried)
    if not len(images):
        raise DataError(f"None of {len(tried)} images of {dataset.root} can be shown")
    changing = Images(images.samples, images.spec, images.cache, augmentation=changes, seed=seed)
    sheet = [
        (sample, [images.load(i), *(changing.at(i, epoch) for epoch in range(CHANGED))])
        for i, sample in enumerate(images.samples[:rows])
    ]
    with atomic_write(path) as file:
        _drawn_sheet(dataset, sheet).save(file, "PNG")
    return Path(path)


def _readable(samples: list[Sample]) -> Images:
    """Those that can be decoded, in memory; what cannot be read is in the check's findings."""
    spec = ImageSpec(CELL, CELL, 3, "letterbox")
    size = row_bytes(spec, masks=any(sample.mask is not None for sample in samples))
    images = Images(samples, spec, in_memory(samples, size, len(samples) * size))
    good = []
    for i in range(len(samples)):
        with contextlib.suppress(DataError):
            images.load(i)
            good.append(i)
    return Images([samples[i] for i in good], spec, images.cache.chosen(good))


def _drawn(dataset: Dataset, count: int, seed: int) -> list[Sample]:
    """Samples drawn at random, of as many classes as there are."""
    samples = dataset.samples
    order = [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))]
    seen: dict[int | None, int] = {}
    ranked = []
    for sample in order:
        seen[sample.label] = seen.get(sample.label, 0) + 1
        ranked.append((seen[sample.label], sample))
    return [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])[:count]]


def _drawn_sheet(dataset: Dataset, sheet: list[tuple[Sample, list[Example]]]) -> Image.Image:
    width = GAP + (CELL + GAP) * (1 + CHANGED)
    height = GAP + (CELL + GAP + CAPTION) * len(sheet) + CAPTION
    page = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(page), _font(13)
    for column, title in enumerate(["as it is", *(f"epoch {epoch + 1}" for epoch in range(CHANGED))]):
        pen.text((GAP + column * (CELL + GAP), GAP), title, fill=(90, 101, 117), font=font)
    for row, (sample, examples) in enumerate(sheet):
        top = CAPTION + row * (CELL + GAP + CAPTION)
        for column, example in enumerate(examples):
            left = GAP + column * (CELL + GAP)
            page.paste(_drawn_example(dataset, example), (left, top))
            words = printable(sample.path.name) if not column else ""
            lines = _fitting(pen, font, _label(dataset, example)), _fitting(pen, font, words)
            pen.text((left, top + CELL + 1), "\n".join(line for line in lines if line), fill=(28, 36, 48), font=font)
    return page


def _drawn_example(dataset: Dataset, example: Example) -> Image.Image:
    pixels = example.pixels
    if example.mask is not None:
        colors = np.array([COLORS[i % len(COLORS)] for i in range(IGNORE + 1)], np.uint8)
        pixels = overlay(pixels, example.mask, colors, hidden=(0,))
    picture = Image.fromarray(pixels)
    if example.boxes is not None:
        pen, font = ImageDraw.Draw(picture), _font(11)
        for box, label in zip(example.boxes.xyxy.tolist(), example.boxes.labels.tolist(), strict=True):
            color = COLORS[label % len(COLORS)]
            pen.rectangle(
                [round(v) - (i > 1) for i, v in enumerate(box)] if _has_area(box) else box, outline=color, width=2
            )
            if len(example.boxes) <= 12:
                pen.text((box[0] + 3, box[1] + 1), _name(dataset, label), fill=color, font=font)
    return picture


def _has_area(box: list[float]) -> bool:
    return round(box[2]) - 1 >= round(box[0]) and round(box[3]) - 1 >= round(box[1])


def _label(dataset: Dataset, example: Example) -> str:
    if example.labels:
        shares = [(_name(dataset, label), share) for label, share in example.labels]
        return ", ".join(name if share == 1 else f"{name} {share:.2f}" for name, share in shares)
    return "" if example.boxes is None else f"{len(example.boxes)} boxes"


def _name(dataset: Dataset, label: int) -> str:
    return printable(dataset.classes[label]) if 0 <= label < len(dataset.classes) else "?"


def _fitting(pen: ImageDraw.ImageDraw, font: Any, words: str) -> str:
    """The beginning of a text that fits below a picture."""
    if pen.textlength(words, font=font) <= CELL:
        return words
    while words and pen.textlength(words + "…", font=font) > CELL:
        words = words[:-1]
    return words + "…"


def _font(size: int) -> Any:
    """Matplotlib's own DejaVu Sans, which has letters of most scripts and is there on every machine."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
