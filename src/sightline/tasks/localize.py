"""Localization: the one object of each image, its class and its box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .. import ops
from ..data.augment import Example
from ..data.placement import place
from ..errors import ShapeError, choose
from ..graph.network import Network
from ..graph.symbolic import Value
from ..layers import BatchNormalization, Concatenate, Conv2D, Dense, Dropout, Flatten, GlobalAveragePooling2D, ReLU
from ..losses import BoxGIoU, Huber, Loss, MeanSquaredError
from ..metrics import BoxHits, BoxIoU, SparseCategoricalAccuracy, wilson_interval
from ..metrics.intervals import mean_interval
from ..models import Model
from ..plots import draw_overlaps
from ..structures import ImageSpec, Sample
from .base import Goals, Headline, Measures, Size, Source, Targets, Task, on_backbone
from .cases import Case, ends_of, file_of, quoted, scaled
from .found import Located, marked

# What a box's loss weighs beside the class's cross-entropy: squares of shares of a side are small
BOX_LOSSES: dict[str, tuple[Loss, float]] = {
    "mse": (MeanSquaredError(), 60.0),
    "huber": (Huber(delta=0.1), 60.0),
    "giou": (BoxGIoU(), 2.0),
}
TRUE, FOUND = "#56b4e9", "#e69f00"  # the colours of boxes
PLACES = 6  # a side of the map from which a box is found: 7 of an image of 224


class Localize(Task):
    """The head has two outputs: a softmax over the classes, and the box as centre x, centre y, height and width, in shares of
    the network's input. `box_loss` is "mse" (as Redmon et al. 2016 have it), "huber" or "giou"."""

    name = "localize"
    does = "finds the one object of a picture, of {} classes"
    question = "How well do the boxes fit?"
    picture = "Images by the overlap of the found box with the true one"
    best = "val_box_iou"
    meanings = {  # noqa: RUF012
        "mean IoU": "how well the found boxes fit: the area that the found and the true box share, divided by the area that they cover together; 100 % is a perfect fit, 0 % no overlap",
        "IoU of 0.5 and more": "the share of images whose found box fits by half or more, which is usually counted as found",
        "accuracy": "the share of images whose class it says rightly",
    }
    own_settings = ("box_loss",)
    defaults = {"model": "yolo_n", "image_size": 128, "augment": "light"}  # noqa: RUF012

    def __init__(self, box_loss: str = "mse"):
        self.box_loss = choose("loss of boxes", box_loss, BOX_LOSSES)

    def network(self, source: Source, spec: ImageSpec, classes: Sequence[str]) -> Model:
        backbone = source.backbone(spec.shape)
        x = map_with_places(backbone)
        if len(x.shape) != 4:
            raise ShapeError(
                f"{source.name} has no feature map on which a box could be found",
                expected="a network whose backbone ends in (None, height, width, channels)",
                received=backbone.output_shape,
            )
        return on_backbone(backbone, [x], heads(x, len(classes)), self.name)

    def targets(self, classes: int, shares: bool) -> Targets:
        return class_and_box

    def goals(self, model: Model, classes: int, shares: bool, label_smoothing: float) -> Goals:
        box, weight = BOX_LOSSES[self.box_loss]
        loss = {"class": "sparse_categorical_crossentropy", "box": box}
        metrics = {"class": [SparseCategoricalAccuracy(name="accuracy")], "box": [BoxIoU(), BoxHits()]}
        return Goals(loss, metrics, {"class": 1.0, "box": weight})

    def results(self, answers: Sequence[torch.Tensor], sizes: Iterable[Size], spec: ImageSpec) -> list[Any]:
        """(probabilities, box xyxy in pixels of the original image, its size)."""
        said, boxes = answers
        frame = ops.cxcyhw_to_xyxy(boxes.double()) * torch.tensor([spec.width, spec.height] * 2)
        return [
            (probabilities, within(place(size, spec).to_image(box), size), size)
            for probabilities, box, size in zip(said.numpy(), frame.numpy(), sizes, strict=True)
        ]

    def measure(
        self, split: str, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Measures:
        _, overlaps = self.scores(results, samples, classes)
        labels = np.array([sample.label for sample in samples])
        said = np.array([probabilities.argmax() for probabilities, _, _ in results])
        n = len(samples)
        hits, right = float((overlaps >= 0.5).mean()), float((said == labels).mean())
        headlines = (
            Headline("mean IoU", float(overlaps.mean()), mean_interval(overlaps)),
            Headline("IoU of 0.5 and more", hits, wilson_interval(hits, n)),
            Headline("accuracy", right, wilson_interval(right, n)),
        )
        rows = [
            {
                "class": name, "images": int((labels == i).sum()), "mean IoU": _mean(overlaps[labels == i]),
                "accuracy": _mean((said == labels)[labels == i]),
            }
            for i, name in enumerate(classes)
        ]  # fmt: skip
        cases = [_fit_of(results[i], samples[i], overlaps[i], good) for i, good in ends_of(overlaps)]
        return Measures(split, n, headlines, {"classes": rows, "overlaps": overlaps.tolist(), "cases": cases})

    def cases(self, measures: Measures, classes: Sequence[str]) -> list[Case]:
        return [_case(row, classes) for row in measures.details.get("cases", ())]

    def legend(self, measures: Measures, classes: Sequence[str]) -> dict[str, str]:
        return {"the true box": TRUE, "the found box": FOUND}

    def answering_classes(self, model: Model) -> Network | None:
        return Network(model.inputs, model.outputs[0])

    def scores(
        self, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> tuple[str, np.ndarray]:
        truths = np.array([_only_box(sample) for sample in samples])
        found = np.array([box for _, box, _ in results])
        return "mean IoU", ops.paired_iou(torch.from_numpy(found), torch.from_numpy(truths)).numpy()

    def prediction(self, path: Path, result: Any, classes: Sequence[str]) -> Located:
        probabilities, box, size = result
        left, top, right, bottom = map(float, box)
        return Located(path, tuple(classes), tuple(map(float, probabilities)), (left, top, right, bottom), size)

    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        draw_overlaps(np.array(measures.details["overlaps"]), path)


def _fit_of(result: Any, sample: Sample, overlap: float, good: bool) -> dict[str, Any]:
    """What is kept of one image: its file and size, the true and the found box, and what was said. JSON-able."""
    probabilities, box, size = result
    said = int(probabilities.argmax())
    return {
        "path": file_of(sample), "good": good, "size": list(size), "IoU": float(overlap), "true": _only_box(sample).tolist(),
        "found": [float(side) for side in box], "class": sample.label, "said": said, "probability": float(probabilities[said]),
    }  # fmt: skip


def _case(row: Mapping[str, Any], classes: Sequence[str]) -> Case:
    named = f"Taken for {quoted(classes, row['said'])} with a probability of {100 * row['probability']:.0f} %"
    wrong = "" if row["said"] == row["class"] else f", but it is {quoted(classes, row['class'])}"
    sentence = f"The boxes overlap by {100 * row['IoU']:.0f} % (IoU). {named}{wrong}."

    def views(image: Image.Image) -> dict[str, Image.Image]:
        boxes = scaled([row["true"], row["found"]], row["size"], image)
        return {"The true and the found box": marked(image, boxes, ["", ""], [TRUE, FOUND])}

    return Case(Path(row["path"]), row["good"], sentence, row["said"], views)


def map_with_places(backbone: Model) -> Value:
    """The coarsest feature map that still has `PLACES` a side, where the stages have names; the last, or the finest named one, otherwise."""
    for stride in (32, 16, 8, 4):
        value = backbone.values.get(f"stride_{stride}")
        if value is not None and min(side or 0 for side in value.shape[1:3]) >= PLACES:
            return value
    return backbone.outputs[0]


def heads(x: Value, classes: int) -> dict[str, Value]:
    """A feature map's class and box. Where things are is read from a narrow map whose places are kept, for a mean of places has none."""
    y = Conv2D(64, 1, use_bias=False, kernel_initializer="he_normal", name="where_conv")(x)
    y = ReLU(name="where_relu")(BatchNormalization(momentum=0.9, name="where_bn")(y))
    y = Dense(128, use_bias=False, kernel_initializer="he_normal", name="where_dense")(Flatten(name="where")(y))
    y = ReLU(name="where_dense_relu")(BatchNormalization(momentum=0.9, name="where_dense_bn")(y))
    seen = Concatenate(name="seen")([GlobalAveragePooling2D(name="what")(x), y])
    return {
        "class": Dense(classes, activation="softmax", name="class")(Dropout(0.3, name="class_dropout")(seen)),
        "box": Dense(4, activation="sigmoid", name="box")(y),
    }


def class_and_box(examples: Sequence[Example]) -> tuple[np.ndarray, ...]:
    """The classes, int64 (n,), and the boxes as centre x, centre y, height and width in shares of the picture, float32 (n, 4)."""
    labels, boxes = [], []
    for example in examples:
        assert example.boxes is not None
        height, width = example.pixels.shape[:2]
        whole = np.array([[0.0, 0.0, width, height]])  # where a crop has lost the object
        boxes.append((example.boxes.xyxy[:1] if len(example.boxes) else whole)[0] / ([width, height] * 2))
        labels.append(example.labels[0][0])
    return np.array(labels, np.int64), ops.xyxy_to_cxcyhw(torch.from_numpy(np.stack(boxes))).float().numpy()


def within(box: np.ndarray, size: Size) -> np.ndarray:
    """A box (4,) or boxes (n, 4) cut to an image of `size` (height, width)."""
    height, width = size
    return np.clip(box, 0, [width, height, width, height])


def _only_box(sample: Sample) -> np.ndarray:
    assert sample.boxes is not None
    return sample.boxes.xyxy[0]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
