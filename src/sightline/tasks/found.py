"""What is found in one image, as a person sees it: in a table, as JSON, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..structures import Detections

# Colours that stay apart for most people (Okabe and Ito, 2008), by class
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff")


@dataclass(frozen=True)
class Located:
    """The one object of an image: the classes' probabilities, and its box xyxy in pixels of the original image."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    xyxy: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def best(self) -> int:
        return int(np.argmax(self.probabilities))

    def row(self, k: int) -> tuple[str, str, str]:
        """What a table shows: the class, its probability, the box."""
        return self.classes[self.best], f"{self.probabilities[self.best]:.4f}", _box_text(self.xyxy)

    def as_dict(self) -> dict[str, Any]:
        named = dict(zip(self.classes, self.probabilities, strict=True))
        best = {"class": self.classes[self.best], "probability": self.probabilities[self.best]}
        return {
            "path": str(self.path),
            **best,
            "bbox": _coco_box(self.xyxy),
            "probabilities": named,
            **_size(self.size),
        }

    def draw(self, image: Image.Image) -> Image.Image:
        """The image with the box."""
        found = Detections([self.xyxy], [self.probabilities[self.best]], [self.best])
        return drawn(image, found, self.classes)


@dataclass(frozen=True)
class Found:
    """The objects of an image of `size` (height, width), the surest first; of a video those of one `frame` (from 0), and when."""

    path: Path
    classes: tuple[str, ...]
    detections: Detections
    size: tuple[int, int]
    frame: int | None = None
    seconds: float | None = None

    def row(self, k: int) -> tuple[str, str, str]:
        """What a table shows: how many of each class, the highest score, and the k surest with their boxes."""
        found = self.detections
        if not len(found):
            return "nothing", "", ""
        numbers, counts = np.unique(found.labels, return_counts=True)
        what = ", ".join(f"{count} {self.classes[n]}" for n, count in zip(numbers, counts, strict=True))
        first = zip(found.labels[:k], found.scores[:k], found.xyxy[:k], strict=True)
        return (
            what,
            f"{found.scores[0]:.4f}",
            "; ".join(f"{self.classes[n]} {s:.2f} {_box_text(b)}" for n, s, b in first),
        )

    def as_dict(self) -> dict[str, Any]:
        """With boxes as COCO has them: [left, top, width, height]."""
        each = zip(self.detections.labels, self.detections.scores, self.detections.xyxy, strict=True)
        rows = [
            {"category_id": int(n), "class": self.classes[n], "score": float(s), "bbox": _coco_box(b)}
            for n, s, b in each
        ]
        when = {} if self.frame is None else {"frame": self.frame, "seconds": self.seconds}
        return {"path": str(self.path), **when, **_size(self.size), "detections": rows}

    def draw(self, image: Image.Image) -> Image.Image:
        """The image with the boxes."""
        return drawn(image, self.detections, self.classes)


def drawn(image: Image.Image, found: Detections, classes: Sequence[str]) -> Image.Image:
    """A copy of an RGB image with boxes, their classes and scores."""
    texts = [f"{classes[label]} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True)]
    return marked(image, found.xyxy.tolist(), texts, [color_of(label) for label in found.labels])


def marked(
    image: Image.Image, boxes: Sequence[Sequence[float]], texts: Sequence[str], colors: Sequence[str]
) -> Image.Image:
    """A copy of an RGB image with boxes, and texts beside them ("" for none); the first lie on top, and texts on all boxes."""
    picture = image.convert("RGB")
    pen = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(9, round(min(picture.size) / 28)))
    rows = list(zip(boxes, texts, colors, strict=True))[::-1]
    for box, _, color in rows:
        pen.rectangle(_upright(box), outline=color, width=width)
    for box, text, color in rows:
        if not text:
            continue
        _, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        x = min(max(box[0], 0), max(picture.width - right, 0))
        y = box[1] - bottom if box[1] >= bottom else min(box[3], picture.height - bottom)
        pen.rectangle((x, y + top, x + right, y + bottom), fill=color)
        pen.text((x, y), text, fill="#000000", font=font)
    return picture


def color_of(label: int) -> str:
    """A class's colour."""
    return COLORS[int(label) % len(COLORS)]


def _upright(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _box_text(box: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in box) + ")"


def _coco_box(box: Sequence[float]) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def _size(size: tuple[int, int]) -> dict[str, int]:
    return {"height": int(size[0]), "width": int(size[1])}
