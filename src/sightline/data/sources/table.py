"""Tables: a CSV or TSV file with a line for each image, or for each box."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import write_text
from ...structures import Boxes, Dataset, Mask, Problem, Sample
from ..listing import SPLITS, assemble, split_of
from ..mask_codings import find_coding
from ..mask_legends import read_legend, write_legend
from .base import Format, copy_image
from .masks import write_pair
from .table_rows import TABLE_SUFFIXES, Entry, Table, entries, table_at

MOST_PROBLEMS = 20  # named of one table; the rest are counted
MASKS = "class_masks"  # no name of `masks`, so that a written folder is one format only
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def seen(root: Path) -> str | None:
    """Evidence: a table with columns for the image and for its class, boxes or mask; only headers are read."""
    found = [table for table in _candidates(root) if table.tasks]
    if not found:
        return None
    names = ", ".join(table.path.name for table in found[:3])
    return f"{names} with the columns {', '.join(found[0].used)}"


def task_of(root: Path) -> str:
    """What a table's columns are for: masks, else boxes, else classes."""
    tasks = {task for table in _candidates(root) for task in table.tasks}
    return next((task for task in ("segment", "detect", "classify") if task in tasks), "classify")


def _candidates(root: Path) -> list[Table]:
    """The tables at a path, itself or in the folder. Raises DataError for a folder that cannot be read; what is no table is none."""
    if root.is_dir():
        try:
            paths = sorted(path for path in root.iterdir() if _is_table(path))
        except OSError as error:
            raise DataError(f"{root} cannot be read ({error.strerror})") from error
    else:
        paths = [root] if root.suffix.lower() in TABLE_SUFFIXES else []
    return [table for path in paths if (table := table_at(path)) is not None]


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _tables(root: Path, task: str) -> list[tuple[str | None, Table]]:
    """The one table for a task, or one for each split. Raises DataError where there is none or there are several."""
    found = _candidates(root)
    able = [table for table in found if task in table.tasks]
    splits = [split_of(table.path.stem) for table in able]
    if not able:
        received = "; ".join(f"{table.path.name} with {', '.join(table.header[:20])}" for table in found[:5])
        raise DataError(
            f"{root} has no table for the task {task}", expected=FORMAT.about, received=received[:500] or "no table"
        )
    if root.is_file():
        return [(None, able[0])]
    if len(able) > 1 and (None in splits or len(set(splits)) < len(splits)):
        names = ", ".join(table.path.name for table in able[:10])
        raise DataError(
            f"{root} holds several tables", expected="one, or one for each split (train.csv, val.csv, test.csv)",
            received=names, fix=f"Give the path of one, such as {able[0].path}",
        )  # fmt: skip
    return list(zip(splits, able, strict=True))


def read(root: Path, task: str) -> Dataset:
    """The images that a table names, with their classes, boxes or masks. Raises DataError where no line can be used.

    Lines that cannot be understood are problems, 20 of them by name. Classes are sorted by name, by number where all
    are whole numbers.
    """
    rows: list[Entry] = []
    problems: list[Problem] = []
    for split, table in _tables(root, task):
        found, wrong = entries(table, split, task)
        rows += found
        problems += wrong
    images, wrong = _by_image(rows, task)
    samples, classes, unusable = _samples(images, task, root)
    folder = root if root.is_dir() else root.parent
    found_problems = _capped([*problems, *wrong, *unusable])
    dataset = assemble(root, classes, samples, found_problems, task=task, format=FORMAT.name)
    return replace(dataset, root=folder)


def _by_image(rows: Iterable[Entry], task: str) -> tuple[list[list[Entry]], list[Problem]]:
    """The lines of each image, in the order of the first ones; a line that contradicts an earlier one is a problem."""
    said = ("split", "group", "size", *{"classify": ("label",), "segment": ("mask",)}.get(task, ()))
    images: dict[str, list[Entry]] = defaultdict(list)
    first: dict[tuple[str, str], Entry] = {}
    problems = []
    for row in rows:
        values = {what: value for what in said if (value := getattr(row, what)) is not None}
        earlier = {what: first.get((row.key, what), row) for what in values}
        wrong = next((what for what, value in values.items() if getattr(earlier[what], what) != value), None)
        if wrong is None:
            first.update(((row.key, what), earlier[what]) for what in values)
            images[row.key].append(row)
        else:
            other = earlier[wrong]
            beside = "" if other.table == row.table else f" of {other.table.name}"
            reason = f"says another {wrong} of {row.path.name} than line {other.line}{beside}"
            problems.append(row.problem(reason))
    return list(images.values()), problems


def _samples(
    images: Sequence[list[Entry]], task: str, root: Path
) -> tuple[list[tuple[str | None, Sample]], tuple[str, ...], list[Problem]]:
    """(split, sample) of each image, the classes, and the images without a label."""
    if task == "segment":
        return _with_masks(images, root)
    rows = [row for lines in images for row in lines]
    named = [row.label for row in rows if row.label is not None and (task == "classify" or row.box is not None)]
    classes = in_order(set(named))
    numbers = {name: number for number, name in enumerate(classes)}
    samples = []
    for lines in images:
        sample = _plain(lines)
        if task == "classify":
            sample = replace(sample, label=numbers[lines[0].label or ""])
        else:
            boxed = [row for row in lines if row.box is not None]
            sample = replace(
                sample, boxes=Boxes([row.box for row in boxed], [numbers[row.label or ""] for row in boxed])
            )
        samples.append((_first(lines, "split"), sample))
    return samples, classes, []


def _with_masks(
    images: Sequence[list[Entry]], root: Path
) -> tuple[list[tuple[str | None, Sample]], tuple[str, ...], list[Problem]]:
    masks = [_first(lines, "mask") for lines in images]
    problems = [
        Problem(
            lines[0].path,
            f"has no mask that is there in line {lines[0].line} of {lines[0].table.name}",
            "label-missing",
        )
        for lines, mask in zip(images, masks, strict=True)
        if mask is None
    ]
    paths = [mask for mask in masks if mask is not None]
    if not paths:
        return [], (), problems
    folder = root if root.is_dir() else root.parent
    coding, classes = find_coding(paths, read_legend(folder, paths[0].parent), folder)
    samples = [
        (_first(lines, "split"), replace(_plain(lines), mask=Mask(mask, coding)))
        for lines, mask in zip(images, masks, strict=True)
        if mask is not None
    ]
    return samples, classes, problems


def _plain(lines: list[Entry]) -> Sample:
    return Sample(lines[0].path, group=_first(lines, "group"), size=_first(lines, "size"))


def _first(lines: list[Entry], what: str) -> Any:
    """What the first of an image's lines that says it says."""
    return next((value for row in lines if (value := getattr(row, what)) is not None), None)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted, as numbers where all are whole numbers."""
    names = sorted(names)
    if all(name.removeprefix("-").isdecimal() and name.isascii() and len(name) <= 18 for name in names):
        names.sort(key=int)
    return tuple(names)


def _capped(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, of each table's lines only the first 20, and how many more there are."""
    kept, counts = [], Counter[Path]()
    for problem in problems:
        if problem.kind == "label-damaged":
            counts[problem.path] += 1
        if problem.kind != "label-damaged" or counts[problem.path] <= MOST_PROBLEMS:
            kept.append(problem)
    return kept + [
        Problem(path, f"has {count - MOST_PROBLEMS:,} more such lines", "label-damaged")
        for path, count in counts.items()
        if count > MOST_PROBLEMS
    ]


def write(dataset: Dataset, folder: Path) -> None:
    """labels.csv with the images in images/ (and masks in class_masks/, with legend.csv). Raises DataError for images without a label."""
    samples = [(split, sample) for split, samples in dataset.splits.items() for sample in samples]
    columns = {
        "split": bool(set(dataset.splits) & set(SPLITS)),
        "group": any(sample.group is not None for _, sample in samples),
        "size": any(sample.size is not None for _, sample in samples),
    }
    if dataset.task == "segment":
        write_legend(folder, dataset.classes, "index")
    lines: list[list[object]] = [_header(dataset.task, columns)]
    for split, sample in samples:
        for path, *label in _labels(dataset, sample, folder):
            extra: dict[str, Sequence[object]] = {
                "split": [split],
                "group": [sample.group],
                "size": sample.size[::-1] if sample.size else ["", ""],
            }
            lines.append([path, *label, *(cell for name, on in columns.items() if on for cell in extra[name])])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(folder / "labels.csv", text.getvalue())


def _header(task: str, columns: dict[str, bool]) -> list[object]:
    label = {"classify": ("label",), "segment": ("mask",)}.get(task, (*CORNERS, "label"))
    others = {"split": ("split",), "group": ("group",), "size": ("width", "height")}
    return ["path", *label, *(cell for name, on in columns.items() if on for cell in others[name])]


def _labels(dataset: Dataset, sample: Sample, folder: Path) -> list[list[object]]:
    """The cells of a sample's lines up to its label; its files are copied."""
    if dataset.task == "segment":
        image, mask = write_pair(sample, folder / "images", folder / MASKS, "index")
        return [[image.relative_to(folder).as_posix(), mask.relative_to(folder).as_posix()]]
    labels = [sample.label] if dataset.task == "classify" else None if sample.boxes is None else sample.boxes.labels
    if labels is None or any(label is None or label < 0 for label in labels):
        raise DataError(f"{sample.path} has no class", expected=f"a data set for the task {dataset.task}")
    path = copy_image(sample.path, folder / "images").relative_to(folder).as_posix()
    names = [dataset.classes[int(label)] for label in labels if label is not None]
    if dataset.task == "classify" or sample.boxes is None:
        return [[path, *names]]
    boxes = sample.boxes.xyxy.tolist()
    return [[path, *box, name] for box, name in zip(boxes, names, strict=True)] or [[path, "", "", "", "", ""]]


FORMAT = Format(
    "csv", ("classify", "detect", "segment"),
    "a CSV file with the columns path and label, or path, xmin, ymin, xmax, ymax, label, or path and mask",
    seen, read, write, task_of,
)  # fmt: skip
