"""Data sets in the formats that people have, one file a format; each gives the same samples."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ...errors import ArgumentError, DataError, choose
from ...structures import Boxes, Dataset, Problem, Sample
from . import class_folders, coco, masks, table, voc, yolo
from .base import Format

FORMATS: dict[str, Format] = {
    each.name: each for each in (class_folders.FORMAT, table.FORMAT, coco.FORMAT, voc.FORMAT, yolo.FORMAT, masks.FORMAT)
}
TASKS = ("classify", "localize", "detect", "segment")


def read(
    path: str | Path,
    task: str | None = None,
    format: str | None = None,
    *,
    classes: list[str] | None = None,
    group_pattern: str | None = None,
) -> Dataset:
    """The labelled images of a folder (or of a CSV, COCO or data.yaml file), for a task.

    Without `format` it is recognised; without `task` it is what the format is for. `classes` keeps boxes of these
    classes only. `group_pattern` is a regular expression: what its first group (or all of it) matches in a file's path below
    the folder is the sample's group. Raises DataError, listing what was seen, where nothing fits or several formats do.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"There is no folder {root}", fix="Check the path")
    if task is not None:
        choose("task", task, TASKS)
    chosen = FORMATS[choose("format", format, FORMATS)] if format is not None else recognise(root, task)
    task = task or (chosen.tasks[0] if chosen.task_of is None else chosen.task_of(root))
    reading = "detect" if task == "localize" else task
    if reading not in chosen.tasks:
        tasks = ", ".join(chosen.tasks)
        raise DataError(f"{root}: {chosen.name} cannot say what {task} needs", expected=f"a task of {tasks}")
    dataset = chosen.read(root, reading)
    if classes is not None:
        dataset = only_classes(dataset, classes)
    if task == "localize":
        dataset = one_box_each(dataset)
    return dataset if group_pattern is None else with_groups(dataset, group_pattern)


def write(dataset: Dataset, folder: str | Path, format: str) -> Path:
    """Write a data set's images and labels in a format, for `read`; returns the folder, which has to be new or empty."""
    target = Path(folder)
    chosen = FORMATS[choose("format", format, FORMATS)]
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists already", fix="Give the name of a new folder")
    target.mkdir(parents=True, exist_ok=True)
    chosen.write(dataset, target)
    return target


def recognise(root: Path, task: str | None = None) -> Format:
    """The one format that lies at `root` and can serve the task. Raises DataError, with what was seen, where none or several do."""
    reading = "detect" if task == "localize" else task
    seen = {name: what for name, each in FORMATS.items() if (what := each.seen(root)) is not None}
    fitting = [name for name in seen if reading is None or reading in FORMATS[name].tasks]
    if len(fitting) == 1:
        return FORMATS[fitting[0]]
    evidence = "; ".join(f"{name}: {what}" for name, what in seen.items())
    if fitting:
        fix = "Say which with format (--format)" + (", or the task (--task)" if task is None else "")
        raise DataError(f"{root} can be read in several ways", received=evidence, fix=fix)
    wanted = [each for each in FORMATS.values() if reading is None or reading in each.tasks]
    if seen:
        what = f"{root} has no labels for the task {task}"
        raise DataError(what, expected="; ".join(each.about for each in wanted), received=evidence)
    if len(wanted) == 1 or task in (None, "classify"):
        class_folders.FORMAT.read(root, "classify")  # says what stands in the way
    raise DataError(
        f"{root} is no data set that can be recognised", expected="; ".join(f"{f.name} ({f.about})" for f in wanted)
    )


def only_classes(dataset: Dataset, classes: list[str]) -> Dataset:
    """The data set with boxes of some classes only, numbered in the order given."""
    if dataset.task != "detect":
        raise ArgumentError("Only boxes are chosen by class", received=f"{dataset.root}, for the task {dataset.task}")
    numbers = {
        dataset.classes.index(choose(f"class of {dataset.root}", name, dataset.classes)): i
        for i, name in enumerate(classes)
    }

    def chosen(sample: Sample) -> Sample:
        boxes = sample.boxes
        if boxes is None:
            return sample
        keep = [i for i, label in enumerate(boxes.labels.tolist()) if label in numbers]
        return replace(sample, boxes=boxes[keep].relabelled([numbers[int(boxes.labels[i])] for i in keep]))

    splits = {split: tuple(map(chosen, samples)) for split, samples in dataset.splits.items()}
    return replace(dataset, classes=tuple(classes), splits=splits)


def one_box_each(dataset: Dataset) -> Dataset:
    """For localization: the images with exactly one box, whose class is the image's; the others are named as problems.

    Crowds do not count, and are left out.
    """
    problems = list(dataset.problems)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, samples in dataset.splits.items():
        kept = []
        for sample in samples:
            boxes = Boxes() if sample.boxes is None else sample.boxes[~sample.boxes.crowd]
            if len(boxes) == 1:
                kept.append(replace(sample, label=int(boxes.labels[0]), boxes=boxes))
            else:
                reason = f"has {len(boxes)} boxes, where localization takes one"
                problems.append(Problem(sample.path, reason, "not-one-box"))
        splits[split] = tuple(kept)
    if not any(splits.values()):
        raise DataError(
            f"{dataset.root} has no image with exactly one box", expected="one object in each image",
            fix="Choose its class with classes (--classes NAME), or detect",
        )  # fmt: skip
    return replace(dataset, splits=splits, problems=tuple(problems), task="localize")


def with_groups(dataset: Dataset, pattern: str) -> Dataset:
    """Each sample's group from its path below the root: what the pattern's first group (or all of it) matches."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"The group pattern {pattern!r} is no regular expression ({error})") from error

    def grouped(sample: Sample) -> Sample:
        name = sample.path.relative_to(dataset.root) if sample.path.is_relative_to(dataset.root) else sample.path
        match = compiled.search(name.as_posix())
        return sample if match is None else replace(sample, group=match[1] if compiled.groups else match[0])

    splits = {split: tuple(map(grouped, samples)) for split, samples in dataset.splits.items()}
    if not any(sample.group is not None for samples in splits.values() for sample in samples):
        first = dataset.samples[0].path.name if dataset.samples else None
        raise ArgumentError(
            f"The group pattern {pattern!r} matches no path below {dataset.root}", received=f"paths such as {first}"
        )
    return replace(dataset, splits=splits)
