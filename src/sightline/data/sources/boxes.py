"""What the formats of boxes share: names, numbers, splits by folder, and what their writers refuse."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections import Counter
from pathlib import Path

from ...errors import DataError
from ...structures import Dataset, Sample
from ..listing import read_text, split_of

SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}  # how writers call the splits
LIMIT = 8 * 2**20  # bytes of one image's label file; 20,000 boxes
LOOKED_AT = 20  # label files that tell the format
CLASS_FILES = ("classes.txt", "labels.txt", "obj.names")
NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")  # what files and XML cannot hold


def way(path: str, root: Path) -> list[str]:
    """The names of the folders from the root to a file that `list_files` found below it."""
    return path[len(str(root)) :].split(os.sep)[:-1]


def way_split(path: str, root: Path) -> str | None:
    """The split that one of the folders from the root to a file says."""
    return folder_split(*way(path, root))


def finite_number(text: str) -> float | None:
    """A finite number as label files write it, or None."""
    text = text.strip()
    try:
        value = float(text) if len(text) < 400 and "_" not in text else math.nan  # Python itself allows 1_000
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def listed_classes(*folders: Path) -> list[str] | None:
    """The classes of the first file that lists them, a name a line; blank lines at the end do not count."""
    for path in (folder / name for folder in folders for name in CLASS_FILES):
        if path.is_file():
            lines = read_text(path, limit=LIMIT).rstrip().splitlines()
            names = [name for line in lines if (name := class_name(line))]
            if len(names) != len(lines) or len(set(names)) != len(names):
                raise DataError(f"{path} has a line that is no class's name, or one twice", expected="a class a line")
            if names:
                return names
    return None


def folder_split(*names: str) -> str | None:
    """The split that one of the folders on a way says: "train", "val2017"."""
    return next((split for name in names if (split := split_of(name.rstrip("0123456789")))), None)


def bounds(points: list[float]) -> tuple[float, float, float, float]:
    """xyxy around points x, y, x, y, ..."""
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def class_name(value: object) -> str | None:
    """A class's name from a label file, white space as single blanks; None where it is none."""
    name = " ".join(value.split()) if isinstance(value, str) else ""
    return name if name and not NOT_TEXT.search(name) else None


def boxes_to_write(dataset: Dataset, sample: Sample) -> list[tuple[list[float], int]]:
    """A sample's boxes xyxy with their classes' numbers; raises DataError for what no format of boxes can say."""
    boxes = sample.boxes
    if boxes is None:
        raise DataError(f"{sample.path} has no boxes", expected="a data set for the task detect")
    pairs = list(zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True))
    for xyxy, label in pairs:
        if not 0 <= label < len(dataset.classes):
            raise DataError(f"{sample.path} has a box of no class", received=xyxy, fix="Leave that box out")
        if not all(abs(value) < 1e15 for value in xyxy):
            raise DataError(f"{sample.path} has a box that no file can hold", received=xyxy, fix="Leave that box out")
    return pairs


def classes_to_write(dataset: Dataset) -> tuple[str, ...]:
    """The names of the classes; raises DataError for one that would not be read again as it is."""
    for name in dataset.classes:
        if class_name(name) != name:
            raise DataError(f"The class {name!r} has a name that label files cannot hold", fix="Rename it")
    return dataset.classes


def copy_under_own_stem(path: Path, folder: Path, taken: Counter[str]) -> Path:
    """Copy an image under a stem that no other has, since its label file is named by that; returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = NOT_TEXT.sub("_", path.stem).replace("\\", "_").strip(" .\xa0") or "image"
    stem = plain
    while taken[stem.casefold()]:
        stem = f"{plain}-{taken[plain.casefold()]}"
        taken[plain.casefold()] += 1
    taken[stem.casefold()] += 1
    try:
        return Path(shutil.copyfile(path, folder / f"{stem}{path.suffix}"))
    except OSError as error:
        raise DataError(f"{path} cannot be copied ({error.strerror})") from error
