"""Images with their true and their found classes side by side, as one picture: the worst ones, and some as they come."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.decode import decode_whole
from ..errors import DataError
from ..files import atomic_write
from ..structures import Sample
from .cases import Case, ends_of, file_of
from .class_maps import ClassMap, true_mask
from .segmented import tinted

EACH = 5  # images of a kind
CASES = 3  # of the best, and of the worst
SIDE, GAP, LINE = 220, 8, 18  # pixels of a picture's longer side, between pictures, of a line of text
NAME = 40  # letters of a file's name
COLUMNS = ("image", "true", "found")
WORST, TYPICAL, BEST = "The worst", "From the worst to the best", "The best"


def shown_of(scores: np.ndarray, results: Sequence[ClassMap], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The images with the lowest scores (mean IoU), some from the lowest to the highest, and those with the highest: file, score, and
    small maps of the true and found classes. JSON-able."""
    order = [int(i) for i in np.argsort(scores, kind="stable") if np.isfinite(scores[i])]
    worst, rest = order[:EACH], order[EACH:]
    between, best = rest[:-CASES], rest[-CASES:]
    places: Any = np.unique(np.linspace(0, len(between) - 1, EACH).round().astype(int)) if between else []
    chosen = ((WORST, worst), (TYPICAL, [between[p] for p in places]), (BEST, best))
    rows = []
    for kind, i in ((kind, i) for kind, images in chosen for i in images):
        said = results[i].numbers
        truth = true_mask(samples[i], results[i].size)
        rows.append(
            {"kind": kind, "path": file_of(samples[i]), "score": float(scores[i]), "true": _as_text(truth), "found": _as_text(said)}
        )  # fmt: skip
    return rows


def cases_of(shown: Sequence[Mapping[str, Any]], colors: Sequence[Sequence[int]]) -> list[Case]:
    """The best and the worst of what `shown_of` gives."""
    scores = np.array([each["score"] for each in shown], float)

    def case(each: Mapping[str, Any], good: bool) -> Case:
        def views(image: Image.Image) -> dict[str, Image.Image]:
            true, found = (_tinted_by(image, each[name], colors) for name in ("true", "found"))
            return {"The picture": image, "The truth": true, "What it found": found}

        sentence = f"The regions fit by {100 * each['score']:.0f} % (mean IoU of the classes in it)."
        return Case(Path(each["path"]), good, sentence, None, views)

    return [case(shown[i], good) for i, good in ends_of(scores, CASES)]


def draw_overlays(shown: Sequence[Mapping[str, Any]], colors: Sequence[Sequence[int]], path: Path) -> bool:
    """Draw what `shown_of` gives, a row for each image, into a PNG file; False, and no file, where there is nothing to show."""
    font = ImageFont.load_default(size=12)
    rows: list[tuple[str, list[Image.Image]]] = []
    for each in shown:
        pictures = _pictures(each, colors)
        if pictures:
            rows.append((f"{each['kind']}: {_short(Path(each['path']).name)}, mean IoU {each['score']:.2f}", pictures))
    if not rows:
        return False
    height = sum(LINE + pictures[0].height + GAP for _, pictures in rows) + LINE + 2 * GAP
    sheet = Image.new("RGB", (len(COLUMNS) * (SIDE + GAP) + GAP, height), "#ffffff")
    pen = ImageDraw.Draw(sheet)
    for i, name in enumerate(COLUMNS):
        pen.text((GAP + i * (SIDE + GAP), GAP), name, fill="#5a6575", font=font)
    top = GAP + LINE
    for text, pictures in rows:
        pen.text((GAP, top), text, fill="#1c2430", font=font)
        for i, picture in enumerate(pictures):
            sheet.paste(picture, (GAP + i * (SIDE + GAP), top + LINE))
        top += LINE + pictures[0].height + GAP
    with atomic_write(path) as file:
        sheet.save(file, format="PNG")
    return True


def _pictures(each: Mapping[str, Any], colors: Sequence[Sequence[int]]) -> list[Image.Image]:
    """An image, and it with the true and the found classes over it; nothing where the image is gone."""
    try:
        whole = Image.fromarray(decode_whole(Path(each["path"])))
    except DataError:
        return []
    size = _small(whole.size)
    image = whole.resize(size, Image.Resampling.BILINEAR)
    return [image, *(_tinted_by(image, each[name], colors) for name in ("true", "found"))]


def _tinted_by(image: Image.Image, text: str, colors: Sequence[Sequence[int]]) -> Image.Image:
    """An image with the classes of a small map over it."""
    numbers = np.asarray(_from_text(text).resize(image.size, Image.Resampling.NEAREST))
    return Image.fromarray(tinted(np.asarray(image), numbers, colors))


def _short(name: str) -> str:
    """A file's name as long as there is room for."""
    return name if len(name) <= NAME else f"{name[: NAME - 12]}...{name[-9:]}"


def _small(size: tuple[int, int]) -> tuple[int, int]:
    scale = SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _as_text(numbers: np.ndarray) -> str:
    """A small map of class numbers as PNG in letters."""
    picture = Image.fromarray(numbers)
    file = io.BytesIO()
    picture.resize(_small(picture.size), Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _from_text(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))
