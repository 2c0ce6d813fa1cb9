"""Evaluating detections: Sightline beside pycocotools, on the same sets in memory.

python benchmarks/mean_average_precision.py [rounds] [images]

A set as COCO's validation images are: 5,000 images, 80 classes of which some are frequent, 7 objects an image on average,
100 detections an image, of which about a third lie near objects. Sightline's time is the whole of `detection_quality(...).coco()`
from lists of boxes; pycocotools' is `evaluate()` and `accumulate()`, without building its index. Rounds are interleaved, in
one process with one thread; told are medians, and the largest difference of the twelve numbers. Then the bootstrap's time.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sightline.metrics import detection_quality
from sightline.runs.folder import processor
from sightline.structures import Boxes, Detections

CLASSES, FOUND = 80, 100


def some_boxes(numbers: np.random.Generator, n: int) -> np.ndarray:
    """Boxes of all sizes, small ones more often, in an image of 640 x 480."""
    size = np.exp(numbers.uniform(np.log(8), np.log(400), (n, 2)))
    low = numbers.random((n, 2)) * np.maximum([640, 480] - size, 1)
    return np.concatenate([low, low + size], 1)


def made(images: int) -> tuple[list[Boxes], list[Detections]]:
    """A set; the classes of an image are few, as in photos, and so are those of most of its detections."""
    numbers = np.random.default_rng(0)
    frequent = 1 / np.arange(1, CLASSES + 1)
    frequent /= frequent.sum()
    truths, found = [], []
    for _ in range(images):
        n = min(int(numbers.geometric(1 / 7.3)) - 1 + int(numbers.integers(0, 2)), 60)
        boxes, labels = some_boxes(numbers, n), numbers.choice(CLASSES, n, p=frequent)
        truths.append(Boxes(boxes, labels, crowd=numbers.random(n) < 0.012))
        near = numbers.integers(0, n, FOUND // 3) if n else np.zeros(0, int)
        sides = np.tile(boxes[near, 2:] - boxes[near, :2], 2)
        shifted = boxes[near] + numbers.normal(0, 0.08, (len(near), 4)) * sides
        shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 1)
        far = FOUND - len(near)
        said = np.append(labels[near], numbers.choice(CLASSES, far, p=frequent))
        scores = np.append(numbers.beta(3, 2, len(near)), numbers.beta(1, 6, far))
        found.append(Detections(np.concatenate([shifted, some_boxes(numbers, far)]), scores, said))
    return truths, found


def for_pycocotools(truths: list[Boxes], found: list[Detections]) -> tuple[COCO, COCO]:
    def rows(each: list[Boxes] | list[Detections]) -> list[dict]:
        result: list[dict] = []
        for image, one in enumerate(each):
            for j, (left, top, right, bottom) in enumerate(one.xyxy.tolist()):
                bbox = [left, top, right - left, bottom - top]
                row = {
                    "id": len(result) + 1,
                    "image_id": image + 1,
                    "category_id": int(one.labels[j]) + 1,
                    "bbox": bbox,
                }
                of_object = isinstance(one, Boxes)
                row["area"], row["iscrowd"] = bbox[2] * bbox[3], int(one.crowd[j]) if of_object else 0
                result.append(row if of_object else row | {"score": float(one.scores[j])})
        return result

    def indexed(annotations: list[dict]) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(truths))],
            "categories": [{"id": label + 1} for label in range(CLASSES)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    return indexed(rows(truths)), indexed(rows(found))


def main(rounds: int, images: int) -> None:
    print(f"{processor()}, one thread, Python {platform.python_version()}, n = {rounds} rounds")
    print(", ".join(f"{name} {version(name)}" for name in ("numpy", "pycocotools")))
    truths, found = made(images)
    objects, seen = sum(map(len, truths)), sum(map(len, found))
    print(f"{images} images, {objects} objects, {seen} detections, {CLASSES} classes")
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet:
        sets = for_pycocotools(truths, found)
    ours, theirs, resampled = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        quality = detection_quality(truths, found, classes=CLASSES)
        said = quality.coco()
        ours.append(time.perf_counter() - began)
        with quiet:
            judge = COCOeval(*sets, "bbox")
            began = time.perf_counter()
            judge.evaluate()
            judge.accumulate()
            theirs.append(time.perf_counter() - began)
            judge.summarize()
        began = time.perf_counter()
        interval = quality.interval("AP50")
        resampled.append(time.perf_counter() - began)
    print(f"{'Sightline':28}{statistics.median(ours):9.2f} s   ({', '.join(f'{t:.2f}' for t in ours)})")
    print(f"{'pycocotools':28}{statistics.median(theirs):9.2f} s   ({', '.join(f'{t:.2f}' for t in theirs)})")
    print(f"{'ratio':28}{statistics.median(theirs) / statistics.median(ours):9.1f}")
    print(f"largest difference of the twelve numbers: {np.abs(np.array(list(said.values())) - judge.stats).max():.1e}")
    print(f"AP {said['AP']:.3f}, AP50 {said['AP50']:.3f}, 95 % interval {interval[0]:.3f} to {interval[1]:.3f}")
    print(f"{'interval, 200 samples':28}{statistics.median(resampled):9.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
