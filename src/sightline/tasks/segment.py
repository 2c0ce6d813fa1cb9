"""Semantic segmentation: the class of every pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..architectures.segmenters import SEGMENTERS
from ..data.augment import Example
from ..data.images import Images
from ..data.mask_files import pixels
from ..data.placement import place
from ..errors import ArgumentError, DataError, choose
from ..explain.targets import Aim, of_region
from ..graph.network import Network
from ..losses import PixelCrossentropy, PixelDice, PixelFocal, SumOfLosses, class_weights
from ..metrics import MeanIoU, PixelAccuracy, SegmentationQuality
from ..models import Model
from ..plots import draw_confusion
from ..structures import IGNORE, Dataset, ImageSpec, Sample
from .base import Goals, Headline, Measures, Size, Source, Targets, Task, on_backbone
from .cases import Case
from .class_maps import ClassMap, class_map, true_mask
from .overlays import cases_of, draw_overlays, shown_of
from .segmented import Colors, Segmented, as_colors, voc_colors

LOSSES: dict[str, Any] = {
    "cross-entropy": lambda weights: PixelCrossentropy(weights),
    "dice": lambda weights: PixelDice(),
    "focal": lambda weights: PixelFocal(class_weights=weights),
    "cross-entropy+dice": lambda weights: SumOfLosses([(PixelCrossentropy(weights), 1.0), (PixelDice(), 1.0)]),
}
WEIGHTS = ("none", "inverse", "median")


class Segment(Task):
    """The network answers with logits of the classes at each pixel of its input.

    `head` is what stands on the backbone, one of `SEGMENTERS`. `pixel_loss` is one of `LOSSES`, in which the classes weigh alike, or
    as `class_weights` says: "inverse" to their share of the training's pixels, or "median" frequency balanced. `counts` (images, classes)
    are those pixels, `colors` what the classes are drawn in.
    """

    name = "segment"
    does = "says which of {} classes each pixel shows"
    question = "Which classes does it mix up?"
    picture = "Per cent of each true class's pixels (by row) that are taken for each class (by column)"
    wrong = "Images beside their true and their found classes"
    best = "val_mean_iou"
    meanings = {  # noqa: RUF012
        "mean IoU": "how well the found regions fit, averaged over the classes: the area that a found and the true region share, divided by the area that they cover together; 100 % is a perfect fit",
        "Dice": "the same with another formula (twice the shared area, divided by the sum of both), which doctors prefer; it is a little higher",
        "pixel accuracy": "the share of pixels whose class it says rightly; high already where most of the picture is background",
        "IoU": "the area that the found and the true region share, divided by the area that they cover together",
        "precision": "of the pixels that it calls so, the share that really are",
        "recall": "of the pixels that really are, the share that it calls so",
        "boundary F1": "how well the outlines fit",
    }
    defaults = {"model": "unet_small", "resize": "letterbox", "augment": "light"}  # noqa: RUF012
    own_settings = ("head", "pixel_loss", "class_weights")

    def __init__(
        self,
        head: str = "unet",
        pixel_loss: str = "cross-entropy",
        class_weights: str = "none",
        counts: np.ndarray | None = None,
        colors: Colors | None = None,
    ):
        self.head = choose("head", head, SEGMENTERS)
        self.pixel_loss = choose("loss of pixels", pixel_loss, LOSSES)
        self.class_weights = choose("weights of classes", class_weights, WEIGHTS)
        self.counts, self.colors = counts, colors

    # --- what the data say ----------------------------------------------------------------------------------------

    def for_data(self, dataset: Dataset) -> Task:
        return self._with(colors=colors_of(dataset))

    def for_training(self, images: Images, classes: int) -> Task:
        if self.class_weights == "none":
            return self
        return self._with(counts=pixel_counts(images, classes))

    def metadata(self) -> dict[str, Any]:
        return {} if self.colors is None else {"colors": [list(color) for color in self.colors]}

    def for_network(self, metadata: Mapping[str, Any]) -> Task:
        colors = metadata.get("colors")
        return self if colors is None else self._with(colors=as_colors(np.array(colors)))

    def _with(self, **more: Any) -> Segment:
        return Segment(**(vars(self) | more))

    # --- training -------------------------------------------------------------------------------------------------

    def network(self, source: Source, spec: ImageSpec, classes: Sequence[str]) -> Model:
        if spec.resize == "crop":
            raise ArgumentError(
                "--resize crop cuts pixels away, and every pixel is to have a class",
                fix="Give --resize letterbox or squash",
            )
        backbone = source.backbone(spec.shape)
        return on_backbone(backbone, backbone.outputs, SEGMENTERS[self.head](backbone, len(classes)), self.name)

    def targets(self, classes: int, shares: bool) -> Targets:
        return masks

    def goals(self, model: Model, classes: int, shares: bool, label_smoothing: float) -> Goals:
        weights = None if self.counts is None else class_weights(self.counts, self.class_weights)
        metrics = [
            MeanIoU(classes, name="mean_iou", ignore_class=IGNORE, sparse_y_pred=False),
            PixelAccuracy(name="accuracy"),
        ]
        return Goals(LOSSES[self.pixel_loss](weights), metrics)

    # --- what it says ---------------------------------------------------------------------------------------------

    def results(self, answers: Sequence[torch.Tensor], sizes: Iterable[Size], spec: ImageSpec) -> list[Any]:
        """The class of each pixel of the original images, as `ClassMap`s."""
        return [
            ClassMap.of(class_map(logits, place(size, spec))) for logits, size in zip(answers[0], sizes, strict=True)
        ]

    def measure(
        self, split: str, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Measures:
        quality = quality_of(results, samples, len(classes))
        headlines = (
            Headline("mean IoU", quality.mean_iou(), quality.interval("mean_iou")),
            Headline("Dice", quality.dice(), quality.interval("dice")),
            Headline("pixel accuracy", quality.pixel_accuracy(), quality.interval("pixel_accuracy")),
        )
        rows = [{**row, "class": name} for name, row in zip(classes, quality.per_class(), strict=True)]
        colors = self.colors or voc_colors(len(classes))
        details = {
            "classes": rows, "confusion": quality.confusion.tolist(), "boundary F1": quality.boundary_f1(),
            "colors": colors, "shown": shown_of(quality.scores(), results, samples),
        }  # fmt: skip
        return Measures(split, len(samples), headlines, details)

    def scores(
        self, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> tuple[str, np.ndarray]:
        each = quality_of(results, samples, len(classes)).scores()
        return "mean IoU of an image", np.nan_to_num(each, nan=1.0)  # where nothing is known nothing is wrong

    def explained(self, said: Any, label: int | None) -> Aim:
        """The pixels that are taken for this class; where none is asked for, for the one that has the most pixels behind the first."""
        numbers = said[0].argmax(0)
        counts = numbers.flatten().bincount(minlength=said.shape[1])
        chosen = label if label is not None else int(counts[1:].argmax()) + 1 if counts[1:].any() else 0
        region = numbers == chosen
        sure = said[0].softmax(0)[chosen]
        return Aim(
            chosen,
            float(sure[region].mean() if region.any() else sure.mean()),
            of_region(chosen, region if region.any() else None),
        )

    def cases(self, measures: Measures, classes: Sequence[str]) -> list[Case]:
        return cases_of(measures.details.get("shown", ()), measures.details["colors"])

    def legend(self, measures: Measures, classes: Sequence[str]) -> dict[str, str]:
        colors = zip(classes, measures.details["colors"], strict=True)
        return {name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in colors if any(color)}

    def answering_classes(self, model: Model) -> Network | None:
        return model

    def prediction(self, path: Path, result: Any, classes: Sequence[str]) -> Segmented:
        return Segmented(path, tuple(classes), result, self.colors or voc_colors(len(classes)))

    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        draw_confusion(np.array(measures.details["confusion"]), classes, path, in_percent=True)

    def draw_mistakes(self, measures: Measures, path: Path) -> bool:
        return draw_overlays(measures.details["shown"], measures.details["colors"], path)


def quality_of(results: Sequence[ClassMap], samples: Sequence[Sample], classes: int) -> SegmentationQuality:
    """What a segmentation's results are worth; only one image's maps are unpacked at a time."""
    quality = SegmentationQuality(classes)
    for result, sample in zip(results, samples, strict=True):
        quality.add(true_mask(sample, result.size), result.numbers)
    return quality


def masks(examples: Sequence[Example]) -> tuple[np.ndarray, ...]:
    """The class of each pixel, uint8 (n, height, width), IGNORE where nothing is known."""
    return (np.stack([example.mask for example in examples if example.mask is not None]),)


def pixel_counts(images: Images, classes: int) -> np.ndarray:
    """How many pixels of each class each image shows, int64 (images, classes), as it is fed to a network and not changed at random."""
    counts = np.empty((len(images), classes), np.int64)
    for index, row in enumerate(counts):
        mask = images.load(index).mask
        assert mask is not None
        row[:] = np.bincount(mask.ravel(), minlength=256)[:classes]
    return counts


def colors_of(dataset: Dataset) -> Colors:
    """The colours in which the data set's masks have its classes; PASCAL VOC's where they have none."""
    for sample in dataset.samples:
        if sample.mask is None:
            continue
        coding = sample.mask.coding
        if coding.kind == "color":
            return tuple((value >> 16, value >> 8 & 255, value & 255) for value in coding.values)
        try:
            palette = pixels(sample.mask.path).palette
        except DataError:
            continue  # one that cannot be read is told of by the check
        if palette is not None:
            colors = as_colors(palette[list(coding.values)])
            if len(set(colors)) == len(colors):
                return colors
        break
    return voc_colors(len(dataset.classes))
