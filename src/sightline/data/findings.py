"""What can be wrong with a data set: every kind with its severity, its meaning and its remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..structures import Dataset, Problem

SEVERITIES = ("error", "warning", "info")
EXAMPLES = 5  # of each kind that a run keeps


@dataclass(frozen=True)
class Kind:
    """`left_out` says what a training goes on without, where it goes on."""

    severity: str
    meaning: str
    fix: str
    left_out: str = ""


KINDS: dict[str, Kind] = {
    # files
    "unreadable": Kind("warning", "images that cannot be read", "Save them again, or remove them", "the image"),
    "image-missing": Kind("error", "labels of images that are not there", "Add the images, or remove the labels", "the label"),
    "label-damaged": Kind("error", "label files or rows that cannot be understood", "Mend what the reason names", "the image"),
    "label-missing": Kind("warning", "images without a label", "Label them, or move them elsewhere"),
    "not-listed": Kind("info", "images in none of the splits' lists", "Add them to a list to use them", "the image"),
    "not-one-box": Kind("warning", "images without exactly one box", "Choose one class, or detect", "the image"),
    # the same twice
    "copies-across-splits": Kind("error", "the same picture in two splits", "Keep it in one split: what is measured on it is not honest"),
    "likeness-across-splits": Kind("warning", "nearly the same picture in two splits", "Look at them, and keep them in one split"),
    "group-across-splits": Kind("error", "a group in two splits", "Keep each group in one split"),
    "conflicting-labels": Kind("warning", "the same picture, or nearly, under two classes", "Look at them: where they are the same, decide for one class"),
    "copies": Kind("warning", "the same picture twice in one split", "Keep one: it counts double"),
    "likeness": Kind("info", "nearly the same picture twice in one split", "Drawn splits keep them on one side"),
    # classes
    "imbalance": Kind("warning", "classes with far fewer images than others", "Collect more of them, or weigh classes"),
    "few": Kind("warning", "classes with fewer than 10 images to train on", "Collect more"),
    "class-absent": Kind("warning", "classes that a split does not have", "Measures of them are undefined there"),
    "class-unknown": Kind("error", "boxes whose class has no name", "Add its name, or remove the boxes", "the box"),
    # pictures
    "tiny-image": Kind("info", "images with a side below 32 pixels", "They are enlarged"),
    "huge-image": Kind("info", "images above 50 million pixels", "They take long to decode: save them smaller"),
    "odd-proportions": Kind("info", "images more than 4 times as long as wide, or as wide as long", "Letterboxing keeps them whole"),
    "size-differs": Kind("error", "images of another size than their label says", "Label the picture as it is shown, turned as its EXIF says"),
    # boxes
    "box-not-a-number": Kind("error", "boxes with a coordinate that is not a number", "Mend or remove them", "the box"),
    "box-inverted": Kind("error", "boxes whose right or bottom lies before their left or top", "Swap their sides", "the box"),
    "box-empty": Kind("warning", "boxes without area", "Remove or redraw them", "the box"),
    "box-outside": Kind("error", "boxes that lie outside of their image", "Check the coordinates' unit and the image", "the box"),
    "box-over-edge": Kind("warning", "boxes that reach over the edge of their image", "They are cut at the edge"),
    "box-twice": Kind("warning", "boxes that are there twice", "Remove one", "the second one"),
    "tiny-box": Kind("info", "boxes with a side of 3 pixels or less", "Networks with strides cannot see them: enlarge the images"),
    # masks
    "mask-unreadable": Kind("error", "masks that cannot be read", "Save them again", "the image"),
    "mask-size": Kind("error", "masks of another size than their image", "Save them in the image's size", "the image"),
    "mask-values": Kind("error", "masks with values that are no class", "Name the classes, or mend the masks", "the pixels"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """All problems of one kind: how many, and the first."""

    kind: str
    problems: tuple[Problem, ...]

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity

    @property
    def count(self) -> int:
        return len(self.problems)

    def as_dict(self, most: int | None = EXAMPLES) -> dict[str, Any]:
        """As JSON has it, with the first `most` problems as [path, reason]; None for all."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind, "severity": kind.severity, "count": self.count, "meaning": kind.meaning, "fix": kind.fix,
            "examples": [[str(problem.path), problem.reason] for problem in self.problems[:most]],
        }  # fmt: skip


@dataclass(frozen=True)
class Check:
    """What `data.check` found in a data set, the worst first."""

    dataset: Dataset
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def as_dict(self) -> dict[str, Any]:
        data = self.dataset
        return {
            "root": str(data.root), "format": data.format, "task": data.task, "classes": list(data.classes),
            "splits": {split: len(samples) for split, samples in data.splits.items()},
            "given splits": list(data.given),
            "findings": [finding.as_dict(None) for finding in self.findings],
        }  # fmt: skip


def gathered(problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Problems by kind, in the order of severity and of `KINDS`."""
    by_kind: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
    for problem in problems:
        by_kind[problem.kind].append(problem)
    kinds = sorted(
        (kind for kind, own in by_kind.items() if own), key=lambda kind: SEVERITIES.index(KINDS[kind].severity)
    )
    return tuple(Finding(kind, tuple(by_kind[kind])) for kind in kinds)
