"""YOLO's text files: one for an image, a row "class cx cy width height" an object, as shares of the upright image's sides."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ...errors import DataError
from ...files import write_text
from ...structures import Boxes, Dataset, Problem, Sample
from ..decode import image_size
from ..listing import (
    IMAGE_SUFFIXES,
    assemble,
    damaged,
    existing_folder,
    is_hidden,
    is_image_name,
    list_files,
    read_text,
    split_by_list,
    split_lists,
)
from .base import Format
from .boxes import (
    LIMIT,
    LOOKED_AT,
    NOT_TEXT,
    SPLIT_FOLDERS,
    bounds,
    boxes_to_write,
    classes_to_write,
    copy_under_own_stem,
    finite_number,
    listed_classes,
    way,
    way_split,
)
from .yolo_config import Config, config_path, read_config

ABOUT = "YOLO: DIR/data.yaml, or DIR/images/train/*.jpg with DIR/labels/train/*.txt"
MOST_CLASSES = 100_000  # a larger number is no class, so that a damaged row makes no list of a billion classes
ROW = re.compile(rb"\s*\d+(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4}(\s|\Z)")
OTHER_TEXTS = re.compile(r"(classes|labels|train|valid|val|test|notes|requirements)\.txt|readme.*", re.IGNORECASE)


@dataclass
class _Found:
    """Images with their splits, the files of their labels by image, and what is wrong."""

    images: list[tuple[str | None, str]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def seen(root: Path) -> str | None:
    """Evidence: a data.yaml, or text files of which one of the first holds a row, with images beside or in labels/."""
    config = config_path(root)
    if config is not None or not root.is_dir():
        return None if config is None else str(config)
    images = {os.path.splitext(path)[0] for path in list_files(root, IMAGE_SUFFIXES)}
    texts = [path for path in list_files(root, (".txt",)) if os.path.splitext(path)[0] in images or _in_labels(path)]
    texts.sort()
    if any(_begins_with_row(path) for path in texts[:LOOKED_AT]):
        return f"YOLO label files: {len(texts)}, the first {texts[0]}"
    return None


def read(root: Path, task: str) -> Dataset:
    """The images of a data.yaml, or of a folder, with the boxes of their text files (images/ becomes labels/, or beside).

    Splits are data.yaml's, else folders, else train.txt, val.txt and test.txt. Class names are data.yaml's, else those of
    classes.txt or obj.names, else the numbers. A row of a polygon is its bounds. An image without a text file is an image
    without boxes, as YOLO has it; where other images of its split have one it is a problem of kind "label-missing" too, and
    stays. One with a row that cannot be understood is left out. Raises DataError where nothing can be read.
    """
    said = config_path(root)
    config = None if said is None else read_config(said)
    base = existing_folder(root) if config is None else config.bases[0]
    found = _of_config(config) if config is not None and config.entries else _of_folder(base)
    if not found.labels:
        first = f"{found.problems[0]}" if found.problems else f"{len(found.images)} images"
        raise DataError(f"{root} holds no YOLO label of an image", expected=ABOUT, received=first)
    rows, ids = _samples(found)
    found.problems += _missing_labels(found) + _orphans(found)
    folders = dict.fromkeys(Path(label).parent for label in found.labels.values())
    listed = config.names if config is not None else None
    if listed is None:
        listed = dict(enumerate(listed_classes(base, base / "labels", base / "data", *folders) or ()))
    highest = max((number for number in ids if number < MOST_CLASSES), default=-1)
    listed = listed or {number: str(number) for number in range(highest + 1)}
    classes = tuple(dict.fromkeys(listed[number] for number in sorted(listed)))
    numbers = {number: classes.index(name) for number, name in listed.items()}
    named = [(split, _numbered(sample, numbers)) for split, sample in rows]
    return assemble(base, classes, named, found.problems, task="detect", format="yolo")


def _numbered(sample: Sample, numbers: dict[int, int]) -> Sample:
    boxes = sample.boxes or Boxes()
    return replace(sample, boxes=boxes.relabelled([numbers.get(label, -1) for label in boxes.labels.tolist()]))


# --- images and their label files ------------------------------------------------------------------------------


def _of_config(config: Config) -> _Found:
    found, folders, taken = _Found(), _LabelFolders(), set()
    for split, entries in config.entries.items():
        again = 0
        for path in (path for entry in entries for path in _entry(entry, config, found.problems)):
            again += path in taken
            if path not in taken:
                taken.add(path)
                found.images.append((split, path))
                folders.add_label(path, found.labels)
        if again:
            reason = f"names {again} images for {split} that it has named before"
            found.problems.append(damaged(config.path, reason))
    return found


def _entry(entry: str, config: Config, problems: list[Problem]) -> Iterator[str]:
    """The images of a path in data.yaml; what is not there goes to the problems.

    "../train/images" is tried without its dots too: a much used exporter writes it so for folders beside data.yaml.
    """
    if NOT_TEXT.search(entry):
        problems.append(damaged(config.path, f"names {entry[:40]!r}, which is no path"))
        return
    ways = [os.path.normpath(base / name) for base in config.bases for name in (entry, re.sub(r"^(\.\./)+", "", entry))]
    at = next((each for each in ways if os.path.exists(each)), None)
    home = os.path.abspath(config.path.parent)
    if at is None:
        problems.append(Problem(Path(ways[0]), f"is not there, though {config.path.name} names it", "image-missing"))
    elif os.path.isdir(at):
        if home != os.path.abspath(at) and os.path.commonpath([home, os.path.abspath(at)]) == os.path.abspath(at):
            problems.append(damaged(config.path, f"names {entry!r}, a folder around its own"))  # perhaps the whole disk
        else:
            yield from sorted(list_files(Path(at), IMAGE_SUFFIXES))
    else:
        yield from _listed_images(Path(at), config, problems)


def _listed_images(path: Path, config: Config, problems: list[Problem]) -> Iterator[str]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except DataError as error:
        problems.append(damaged(path, error))
        return
    for line in filter(None, lines):
        ways = [os.path.normpath(base / line) for base in (path.parent, *config.bases)]
        image = next((each for each in ways if is_image_name(os.path.basename(each)) and os.path.isfile(each)), None)
        if image is not None:
            yield image
        else:
            problems.append(Problem(Path(ways[0]), f"is not there, though {path.name} names it", "image-missing"))


def _of_folder(base: Path) -> _Found:
    """Images in folders images/, else those in folders with a label; label files; splits from folders or lists."""
    found, folders = _Found(), _LabelFolders()
    paths = sorted(list_files(base, IMAGE_SUFFIXES))
    among = [path for path in paths if {"images", "jpegimages"} & {name.lower() for name in way(path, base)}]
    for path in among or paths:
        folders.add_label(path, found.labels)
    labelled = {os.path.dirname(path) for path in found.labels}
    lists = split_lists(base)
    for path in among or (path for path in paths if os.path.dirname(path) in labelled):
        found.images.append((way_split(path, base) or split_by_list(Path(path).stem, lists), path))
    return found


class _LabelFolders:
    """Where the text files of images lie. Each folder is listed once: asking for each file takes longer."""

    def __init__(self) -> None:
        self.places: dict[str, list[tuple[str, set[str]]]] = {}

    def add_label(self, image: str, labels: dict[str, str]) -> None:
        """Add the image's text file to `labels`, where there is one."""
        folder, name = os.path.split(image)
        if folder not in self.places:
            places = dict.fromkeys((_beside_images(folder), os.path.join(folder, "labels"), folder))
            self.places[folder] = [(place, _stems(place, (".txt",))) for place in places if os.path.isdir(place or ".")]
        stem = os.path.splitext(name)[0]
        for place, stems in self.places[folder]:
            if stem in stems:
                labels[image] = os.path.join(place, f"{stem}.txt")
                return


def _beside_images(folder: str) -> str:
    """.../images/train -> .../labels/train, at the last folder of that name."""
    parts = folder.split(os.sep)
    at = max((i for i, part in enumerate(parts) if part.lower() in ("images", "jpegimages")), default=None)
    return folder if at is None else os.sep.join([*parts[:at], "labels", *parts[at + 1 :]])


def _stems(folder: str, suffixes: tuple[str, ...]) -> set[str]:
    """The stems of the files in a folder with one of these suffixes; raises DataError where it cannot be read."""
    try:
        names = os.listdir(folder or ".")
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from error
    return {os.path.splitext(name)[0] for name in names if name.lower().endswith(suffixes) and not is_hidden(name)}


def _missing_labels(found: _Found) -> list[Problem]:
    """The images without a label file; a split that has none at all is one problem, of its folder."""
    labelled = {split for split, image in found.images if image in found.labels}
    missing = defaultdict(list)
    for split, image in found.images:
        if image not in found.labels:
            missing[split].append(Path(image))
    problems = []
    for split, images in missing.items():
        if split in labelled:
            reason = "has no label file, so it counts as an image without objects"
            problems += [Problem(image, reason, "label-missing") for image in images]
        else:
            reason = f"holds no label file for {len(images)} images, which count as images without objects"
            problems.append(Problem(images[0].parent, reason, "label-missing"))
    return problems


def _orphans(found: _Found) -> list[Problem]:
    """Label files whose image is not there."""
    folders = defaultdict(set)
    for image, label in found.labels.items():
        folders[os.path.dirname(label)].add(os.path.dirname(image))
    problems = []
    for place, image_folders in sorted(folders.items()):
        images = set().union(*(_stems(folder, IMAGE_SUFFIXES) for folder in image_folders))
        for stem in sorted(_stems(place, (".txt",)) - images):
            path = os.path.join(place, f"{stem}.txt")
            if not OTHER_TEXTS.fullmatch(f"{stem}.txt") and (_in_labels(path) or _begins_with_row(path)):
                problems.append(Problem(Path(path), "has no image", "image-missing"))
    return problems


# --- one label file --------------------------------------------------------------------------------------------


def _in_labels(path: str) -> bool:
    return "labels" in path.split(os.sep)[:-1]


def _begins_with_row(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return ROW.match(file.read(4096)) is not None
    except OSError:  # reading it will say why
        return False


def _samples(found: _Found) -> tuple[list[tuple[str | None, Sample]], set[int]]:
    """The images with boxes whose labels are still the rows' numbers, and all these; what is damaged goes to the problems."""
    rows: list[tuple[str | None, Sample]] = []
    numbers: set[int] = set()
    for split, image in found.images:
        label = found.labels.get(image)
        try:
            labels, shares = ([], []) if label is None else _rows(Path(label))
        except DataError as error:
            found.problems.append(damaged(Path(label or image), error))
            continue
        try:
            height, width = image_size(image) if labels else (1, 1)  # a header costs more than a label file
        except DataError as error:
            found.problems.append(replace(damaged(Path(image), error), kind="unreadable"))
            continue
        numbers.update(labels)
        boxes = [(left * width, top * height, right * width, bottom * height) for left, top, right, bottom in shares]
        rows.append((split, Sample(Path(image), boxes=Boxes(boxes, labels))))
    return rows, numbers


def _rows(path: Path) -> tuple[list[int], list[tuple[float, ...]]]:
    """Class numbers and boxes xyxy as shares of the sides; raises DataError with path, line and reason."""
    labels: list[int] = []
    boxes: list[tuple[float, ...]] = []
    for line, text in enumerate(read_text(path, limit=LIMIT).splitlines(), 1):
        values = [finite_number(word) for word in text.split()]
        numbers = [value for value in values if value is not None]
        if len(numbers) != len(values):
            raise DataError(f"{path} has in line {line} what is no number")
        if not numbers:
            continue
        label, *rest = numbers
        if not label.is_integer() or abs(label) > 2**31:
            raise DataError(f"{path} has in line {line} a class that is no whole number ({label})")
        if len(rest) != 4 and (len(rest) < 6 or len(rest) % 2):
            raise DataError(
                f"{path} has in line {line} {len(numbers)} values, neither a box (5) nor a polygon (7, 9, ...)"
            )
        labels.append(int(label))
        boxes.append(_corners(*rest) if len(rest) == 4 else bounds(rest))
    return labels, boxes


def _corners(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# --- writing ---------------------------------------------------------------------------------------------------


def write(dataset: Dataset, folder: Path) -> None:
    """`images/<split>/`, `labels/<split>/` and data.yaml; without splits images/ and labels/, and data.yaml names classes."""
    names = dict(enumerate(classes_to_write(dataset)))
    document: dict[str, object] = {}
    for split, samples in dataset.splits.items():
        name = SPLIT_FOLDERS.get(split, "")
        taken: Counter[str] = Counter()
        for sample in samples:
            text = _text(dataset, sample)
            copy = copy_under_own_stem(sample.path, folder / "images" / name, taken)
            write_text(folder / "labels" / name / f"{copy.stem}.txt", text)
        if samples and name:
            document[name] = f"images/{name}"
    text = yaml.safe_dump({**document, "names": names}, allow_unicode=True, sort_keys=False)
    write_text(folder / "data.yaml", text)


def _text(dataset: Dataset, sample: Sample) -> str:
    boxes = boxes_to_write(dataset, sample)
    height, width = image_size(sample.path) if boxes else (1, 1)
    lines = []
    for (left, top, right, bottom), label in boxes:
        shares = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        lines.append(" ".join([str(label), *map(repr, shares)]) + "\n")
    return "".join(lines)


FORMAT = Format("yolo", ("detect",), ABOUT, seen, read, write)
