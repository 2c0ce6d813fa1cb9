"""The images in which a detector did best and worst, with all true and all found boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..metrics import DetectionQuality
from ..structures import Sample
from .cases import Case, ends_of, file_of, scaled
from .found import color_of, marked

EACH = 3  # images on which it did well, and as many on which it did badly
NAMED = 8  # boxes in a picture that have room for their scores


def wholes_of(
    quality: DetectionQuality, results: Sequence[Any], samples: Sequence[Sample], score: float
) -> list[dict[str, Any]]:
    """The images with the highest and the lowest F1 of the detections from a score on: file, size, boxes and counts. JSON-able."""
    right, counted, objects = quality.per_image(score if np.isfinite(score) else np.inf).T
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (counted + objects)
    rows = []
    for i, good in ends_of(f1, EACH):
        found, size = results[i]
        sure = found[found.scores >= score]
        truth = samples[i].boxes
        assert truth is not None
        rows.append({
            "path": file_of(samples[i]), "good": good, "size": list(size), "right": right[i], "counted": counted[i], "objects": objects[i],
            "true": truth.xyxy.tolist(), "labels": truth.labels.tolist(),
            "found": sure.xyxy.tolist(), "said": sure.labels.tolist(), "scores": sure.scores.tolist(),
        })  # fmt: skip
    return rows


def case_of(row: Mapping[str, Any], classes: Sequence[str]) -> Case:
    """What is said and shown of such an image."""
    wrong = row["counted"] - row["right"]
    sentence = f"{row['right']} of {row['objects']} objects found, {wrong} wrong {'detection' if wrong == 1 else 'detections'}."

    def views(image: Image.Image) -> dict[str, Image.Image]:
        names = [f"{score:.2f}" if len(row["scores"]) <= NAMED else "" for score in row["scores"]]
        true = marked(image, scaled(row["true"], row["size"], image), [""] * len(row["labels"]), _colors(row["labels"]))
        found = marked(image, scaled(row["found"], row["size"], image), names, _colors(row["said"]))
        return {"As people marked it": true, "What it found": found}

    return Case(Path(row["path"]), row["good"], sentence, None, views)


def _colors(labels: Sequence[int]) -> list[str]:
    return [color_of(label) for label in labels]
