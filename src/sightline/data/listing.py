"""What every format needs of a folder: its images, the names of splits, lists of names, texts of bounded size."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import DataError
from ..structures import Dataset, Problem, Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
SPLITS = ("train", "validation", "test")
TEXT_LIMIT = 64 * 2**20  # bytes of a label file for one image, or of a list; a COCO file for all images may be larger


def existing_folder(folder: str | Path) -> Path:
    root = Path(folder)
    if not root.exists():
        raise DataError(f"There is no folder {root}", fix="Check the path")
    if not root.is_dir():
        raise DataError(f"{root} is a file", expected="a folder of images")
    return root


def is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def list_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The paths of the files below a folder with one of these suffixes (lower case), in no order; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.join(place, name)


def list_images(folder: Path) -> list[Path]:
    """Every image file below a folder, in order."""
    return [Path(name) for name in sorted(list_files(folder, IMAGE_SUFFIXES), key=lambda name: name.split(os.sep))]


def subfolders(root: Path) -> list[Path]:
    """The folders in a folder, in order, without hidden ones."""
    try:
        with os.scandir(root) as children:
            names = sorted(child.name for child in children if not is_hidden(child.name) and child.is_dir())
    except OSError as error:
        raise DataError(f"{root} cannot be read ({error.strerror})") from error
    return [root / name for name in names]


def split_of(name: str) -> str | None:
    """ "train", "validation" or "test" where a folder's or file's name is one of the names of these."""
    return SPLIT_NAMES.get(name.lower())


def split_lists(*folders: Path) -> dict[str, set[str]]:
    """The stems of the images that train.txt, val.txt and test.txt (in the first of `folders` that has one) name, by split.

    A line is a stem, a file name or a path, with or without further words (VOC's class lists have a number there).
    """
    for folder in folders:
        found: dict[str, set[str]] = {}
        for name, split in SPLIT_NAMES.items():
            path = folder / f"{name}.txt"
            if path.is_file():
                found.setdefault(split, set()).update(
                    _stem(line) for line in read_text(path).splitlines() if line.strip()
                )
        if found:
            return found
    return {}


def _stem(line: str) -> str:
    words = line.strip()
    name = words if is_image_name(words) else words.split()[0]  # a file's name may hold spaces
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    return os.path.splitext(name)[0] if is_image_name(name) else name


def split_by_list(stem: str, lists: dict[str, set[str]]) -> str | None:
    """The split whose list has this stem."""
    return next((split for split, stems in lists.items() if stem in stems), None)


def read_text(path: Path, *, limit: int = TEXT_LIMIT) -> str:
    """A label file as text (UTF-8, a byte order mark left out). Raises DataError with path and reason."""
    try:
        if path.stat().st_size > limit:
            raise DataError(f"{path} is too large for a label file ({path.stat().st_size:,} bytes)")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text (byte {error.start} is not UTF-8)") from error


def damaged(path: Path, reason: object) -> Problem:
    """A label file that cannot be understood; a DataError gives what it says of the file."""
    text = reason.reason(path) if isinstance(reason, DataError) else str(reason)
    return Problem(path, text, "label-damaged")


def assemble(
    root: Path,
    classes: Iterable[str],
    rows: Iterable[tuple[str | None, Sample]],
    problems: Iterable[Problem],
    *,
    task: str,
    format: str,
) -> Dataset:
    """A data set from samples with their splits: None in all of them is one split, "all".

    Where some have a split, those without one are in no list, so they are left out and named. Raises DataError where
    there is no sample at all.
    """
    by_split: dict[str | None, list[Sample]] = defaultdict(list)
    for split, sample in rows:
        by_split[split].append(sample)
    problems = list(problems)
    given = tuple(split for split in SPLITS if split in by_split)
    if given:
        problems += [Problem(s.path, "is in none of the splits' lists", "not-listed") for s in by_split.pop(None, ())]
    if not by_split:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{root} holds no labelled image", received=f"{len(problems)} files that cannot be used{first}")
    splits = {split: tuple(by_split[split]) for split in given} if given else {"all": tuple(by_split[None])}
    return Dataset(root, tuple(classes), splits, given, tuple(problems), task, format)
