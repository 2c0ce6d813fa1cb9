"""A detector's mistakes as one picture: the surest detections that are wrong, and objects that were not found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.decode import PADDING, decode_whole
from ..files import atomic_write
from ..metrics import DetectionQuality
from ..structures import Boxes, Detections, Sample
from .found import color_of

MOST = 12  # of each kind
TILE, COLUMNS, GAP, LINE = 160, 6, 8, 18  # pixels
AROUND = 0.6  # of a box's longer side, shown on each side of it
LEAST = 24  # pixels of the image that are shown on each side at least


def mistakes_of(
    quality: DetectionQuality,
    truths: Sequence[Boxes],
    found: Sequence[Detections],
    samples: Sequence[Sample],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The surest false detections, and missed objects, the largest first: file, class, box and (of the false) score; and how many
    were missed. JSON-able."""
    made = quality.mistakes(k=MOST)

    def row(image: int, label: int, box: np.ndarray, **more: Any) -> dict[str, Any]:
        return {
            "path": str(samples[image].path),
            "class": classes[label],
            "label": int(label),
            "box": box.tolist(),
            **more,
        }

    false = [row(i, found[i].labels[n], found[i].xyxy[n], score=score) for i, n, score in made.false]
    missed = [row(i, truths[i].labels[n], truths[i].xyxy[n]) for i, n in made.missed]
    missed.sort(key=lambda each: -(each["box"][2] - each["box"][0]) * (each["box"][3] - each["box"][1]))
    return {"false": false, "missed": missed[:MOST], "all missed": len(made.missed)}


def draw_mistakes(mistakes: Mapping[str, Any], path: Path) -> bool:
    """Draw cut-outs of the images around each mistake into a PNG file; False, and no file, where there are none."""
    groups = [
        ("Wrong, and surest of it", [(each, f"{each['class']} {each['score']:.2f}") for each in mistakes["false"]]),
        ("Not found, the largest", [(each, str(each["class"])) for each in mistakes["missed"]]),
    ]
    groups = [(title, rows) for title, rows in groups if rows]
    if not groups:
        return False
    heights = [LINE + GAP + -(-len(rows) // COLUMNS) * (TILE + LINE + GAP) for _, rows in groups]
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, sum(heights) + GAP), "#ffffff")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    top = GAP
    for (title, rows), height in zip(groups, heights, strict=True):
        pen.text((GAP, top), title, fill="#1c2430", font=font)
        for i, (each, text) in enumerate(rows):
            x = GAP + i % COLUMNS * (TILE + GAP)
            y = top + LINE + GAP + i // COLUMNS * (TILE + LINE + GAP)
            sheet.paste(cut_out(Path(each["path"]), each["box"], color_of(each["label"])), (x, y))
            pen.text((x, y + TILE + 1), text, fill="#1c2430", font=font)
        top += height
    with atomic_write(path) as file:
        sheet.save(file, format="PNG")
    return True


def cut_out(path: Path, box: Sequence[float], color: str) -> Image.Image:
    """A square of the image around a box, which is drawn in."""
    image = Image.fromarray(decode_whole(path))
    left, top, right, bottom = box
    reach = max(right - left, bottom - top) * (0.5 + AROUND)
    reach = max(reach, LEAST)
    x, y = (left + right) / 2 - reach, (top + bottom) / 2 - reach
    tile = image.transform(
        (TILE, TILE), Image.Transform.EXTENT, (x, y, x + 2 * reach, y + 2 * reach), Image.Resampling.BILINEAR,
        fillcolor=(PADDING,) * 3,
    )  # fmt: skip
    scale = TILE / (2 * reach)
    corners = [(left - x) * scale, (top - y) * scale, (right - x) * scale, (bottom - y) * scale]
    ImageDraw.Draw(tile).rectangle(corners, outline=color, width=2)
    return tile
