"""Detection: every object of an image, its class and its box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import ops
from ..architectures.csp import SIZES, detection_head
from ..architectures.stages import stages_of
from ..data.augment import Example
from ..data.placement import place
from ..errors import ShapeError, choose
from ..explain.targets import CORNERS, Aim, of_detection
from ..losses import DetectionLoss
from ..metrics import BinnedAP50, DetectionQuality, detection_quality
from ..metrics.intervals import ends
from ..models import Model
from ..plots import draw_precision_recall
from ..structures import Boxes, Detections, ImageSpec, Sample
from .base import Difference, Goals, Headline, Measures, Size, Source, Targets, Task, on_backbone, plain
from .cases import Case
from .found import COLORS, Found, color_of
from .localize import within
from .mistakes import draw_mistakes, mistakes_of
from .whole_images import case_of, wholes_of

STRIDES = (8, 16, 32)
LEAST = 0.01  # a score from which a detection is measured
NONE = -1.0


class Detect(Task):
    """Of each place a network answers with a box and the classes' logits; `DetectionLoss` has the shapes.

    `conf` is the least score of what is predicted, `iou` the overlap from which two boxes of a class say the same, `max_det`
    the most objects in an image, and `nms` what becomes of boxes that say the same as a better one: "hard" removes them, "soft"
    lowers their scores. With `tile` (pixels) it learns from squares of that size too, and looks at them. Measured is all from a score of 0.01.
    """

    name = "detect"
    does = "finds every object of a picture, of {} classes"
    question = "What does it find, and how often is it wrong?"
    picture = "Precision by recall of each class"
    wrong = "Cut-outs around the surest wrong detections, and around objects that were not found"
    best = "val_ap50"
    meanings = {  # noqa: RUF012
        "mAP50": "how many objects are found, and how few detections are wrong, in one number (mean average precision) over all classes; a box counts as right if it overlaps the true one by half",
        "mAP": "the same, averaged over stricter and stricter demands on the overlap (from 50 % to 95 %), so it also says how well the boxes fit",
        "AP": "average precision of the class over overlaps from 50 % to 95 %",
        "AP50": "average precision where an overlap of half is enough",
        "AP75": "average precision where three quarters must overlap",
        "AR": "average recall: the share of objects that are found at any score, over overlaps from 50 % to 95 %",
        "objects": "how many there are",
        "found": "how many detections there are at any score, however unsure",
    }
    defaults = {"model": "yolo_n", "resize": "letterbox", "augment": "light"}  # noqa: RUF012

    own_settings = ("tile",)

    def __init__(
        self, conf: float = 0.25, iou: float = 0.6, max_det: int = 100, nms: str = "hard", tile: int | None = None
    ):
        self.conf, self.iou, self.max_det, self.tile = conf, iou, max_det, tile
        self.nms = choose("non-maximum suppression", nms, ops.SUPPRESSIONS)

    def network(self, source: Source, spec: ImageSpec, classes: Sequence[str]) -> Model:
        if spec.height % STRIDES[-1] or spec.width % STRIDES[-1]:
            raise ShapeError(
                f"A detector's image has sides that are multiples of {STRIDES[-1]}",
                expected=" or ".join(str(STRIDES[-1] * (spec.height // STRIDES[-1] + i)) for i in (0, 1)),
                received=f"{spec.height}x{spec.width}",
            )
        backbone = source.backbone(spec.shape)
        maps = stages_of(backbone, STRIDES)
        missing = [str(stride) for stride, value in zip(STRIDES, maps, strict=True) if value is None]
        if missing:
            raise ShapeError(
                f"{source.name} has no feature maps at strides of {', '.join(map(str, STRIDES))}, on which objects are found",
                received=f"none at a stride of {missing[0]}",
                fix="Take yolo_n, yolo_s, yolo_m, resnet18, mobilenetv2, timm:mobilenetv2_100 or another network with such maps",
            )
        size = SIZES.get(source.name.removeprefix("yolo_"), SIZES["s"])
        there = [value for value in maps if value is not None]
        return on_backbone(backbone, there, detection_head(there, STRIDES, len(classes), size), self.name)

    def metadata(self) -> dict[str, Any]:
        return {} if self.tile is None else {"tile": self.tile}

    def for_network(self, metadata: Mapping[str, Any]) -> Task:
        return self if metadata.get("tile") is None else self.with_options({"tile": metadata["tile"]})

    def targets(self, classes: int, shares: bool) -> Targets:
        return padded_boxes

    def goals(self, model: Model, classes: int, shares: bool, label_smoothing: float) -> Goals:
        return Goals(DetectionLoss(model.input_shape[1:3], STRIDES), [BinnedAP50(classes, name="ap50")])

    def results(self, answers: Sequence[torch.Tensor], sizes: Iterable[Size], spec: ImageSpec) -> list[Any]:
        """(detections in pixels of the original image, its size)."""
        return [(self._found(said, size, spec), size) for said, size in zip(answers[0], sizes, strict=True)]

    def _found(self, said: torch.Tensor, size: Size, spec: ImageSpec) -> Detections:
        boxes, scores, labels = ops.decoded(
            said, least=min(LEAST, max(self.conf, 1e-6)), iou_threshold=self.iou, max_det=self.max_det, method=self.nms
        )
        xyxy = within(place(size, spec).to_image(boxes.numpy()), size)
        there = (xyxy[:, :2] < xyxy[:, 2:]).all(1)
        return Detections(xyxy[there], scores.numpy()[there], labels.numpy()[there])

    def explained(self, said: Any, label: int | None) -> Aim:
        """The surest detection, of this class where one is asked for."""
        scores = said[0, :, CORNERS:] if label is None else said[0, :, CORNERS + label, None]
        place, chosen = divmod(int(scores.argmax()), scores.shape[1])
        found = chosen if label is None else label
        return Aim(found, float(scores[place, chosen].sigmoid()), of_detection(found, place))

    def measure(
        self, split: str, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Measures:
        truths = [known(sample.boxes) for sample in samples]
        found = [each for each, _ in results]
        quality = quality_of(results, samples, classes)
        numbers = quality.coco()
        headlines = [
            Headline(name, numbers[key], quality.interval(key)) for name, key in (("mAP50", "AP50"), ("mAP", "AP"))
        ]
        point = quality.operating_point()._asdict()
        curves = {}
        for label, name in enumerate(classes):
            precision, recall, _ = quality.curve(label)
            curves[name] = thinned(recall, precision)
        rows = [
            {"class": classes[row["class"]]} | {k: v for k, v in row.items() if k != "class"}
            for row in quality.per_class()
        ]
        details = {"classes": rows, "numbers": numbers, "operating point": point, "curves": curves}
        details["mistakes"] = mistakes_of(quality, truths, found, samples, classes)
        details["cases"] = wholes_of(quality, results, samples, point["score"])
        return Measures(split, len(samples), tuple(headlines), plain(details))

    def compare(
        self, first: Sequence[Any], second: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Difference:
        one, other = (quality_of(results, samples, classes) for results in (first, second))
        values = one.coco()["AP50"], other.coco()["AP50"]
        drawn = one.drawn("AP50") - other.drawn("AP50")  # of the same images
        return Difference("mAP50", values, ends(drawn, values[0] - values[1]))

    def prediction(self, path: Path, result: Any, classes: Sequence[str]) -> Found:
        found, size = result
        return Found(path, tuple(classes), found[found.scores >= self.conf], size)

    def cases(self, measures: Measures, classes: Sequence[str]) -> list[Case]:
        return [case_of(row, classes) for row in measures.details.get("cases", ())]

    def legend(self, measures: Measures, classes: Sequence[str]) -> dict[str, str]:
        return {name: color_of(label) for label, name in enumerate(classes[: len(COLORS)])}

    def remarks(self, measures: Measures) -> list[str]:
        point = measures.details.get("operating point", {})
        if point.get("score") is None:
            return []
        return [
            f"From a score of {point['score']:.2f} on, detections are right and objects are found most often together: "
            f"of those {100 * point['precision']:.1f} % are right, and {100 * point['recall']:.1f} % of the objects are among them"
        ]

    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        draw_precision_recall(measures.details["curves"], path)

    def draw_mistakes(self, measures: Measures, path: Path) -> bool:
        return draw_mistakes(measures.details["mistakes"], path)


def quality_of(results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]) -> DetectionQuality:
    """What a detector's results are worth."""
    truths = [known(sample.boxes) for sample in samples]
    return detection_quality(truths, [found for found, _ in results], classes=len(classes))


def padded_boxes(examples: Sequence[Example]) -> tuple[np.ndarray, ...]:
    """Class number and box xyxy of each object, float32 (n, most objects, 5), filled up with the class -1.

    Difficult objects are learned as any. Crowds are left out, as COCO's trainers do: no place answers for them.
    """
    every = [known(example.boxes) for example in examples]
    every = [boxes[~boxes.crowd] for boxes in every]
    rows = np.full((len(every), max([1, *map(len, every)]), 5), NONE, np.float32)
    for row, boxes in zip(rows, every, strict=True):
        row[: len(boxes), 0], row[: len(boxes), 1:] = boxes.labels, boxes.xyxy
    return (rows,)


def known(boxes: Boxes | None) -> Boxes:
    """The boxes that have a class and are possible."""
    if boxes is None:
        return Boxes()
    possible = np.isfinite(boxes.xyxy).all(1) & (boxes.xyxy[:, :2] < boxes.xyxy[:, 2:]).all(1)
    return boxes[possible & (boxes.labels >= 0)]


def thinned(x: np.ndarray, y: np.ndarray, most: int = 200) -> list[list[float]]:
    """A curve's points, at most so many."""
    if not len(x):
        return []
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), most)).astype(int))
    return [[float(x[i]), float(y[i])] for i in chosen]
