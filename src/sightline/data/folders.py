"""Class folders: `<class>/*.jpg`, or `<split>/<class>/*.jpg`."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError
from ..structures import Dataset, Sample

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


def read_class_folders(folder: str | Path) -> Dataset:
    """The images of a folder by class (alphabetically) and, where the folder has them, by split.

    A folder has splits when it has a training folder, with or without further splits, and no images beside them.
    Everything else is one split, "all". Raises DataError, naming the folder, when it is missing, empty, or has fewer than two classes.
    """
    root = existing_folder(folder)
    inside = _folders(root)
    roots = _split_folders(root, inside) or {"all": root}
    by_class = {split: {child.name: list_images(child) for child in _folders(at)} for split, at in roots.items()}
    classes = sorted({name for folders in by_class.values() for name, paths in folders.items() if paths})
    _require_classes(root, classes, inside)
    if "train" in by_class:
        unseen = [name for name in classes if not by_class["train"].get(name)]
        if unseen:
            raise DataError(
                f"{roots['train']} has no image of the class {unseen[0]!r}, which another split of {root} has",
                fix="Put images of each class into the training folder, or remove the class",
            )
    splits = {
        split: tuple(Sample(path, label) for label, name in enumerate(classes) for path in folders.get(name, ()))
        for split, folders in by_class.items()
    }
    return Dataset(root, tuple(classes), splits, tuple(split for split in splits if split != "all"))


def _split_folders(root: Path, inside: list[Path]) -> dict[str, Path]:
    """The folders of the splits; empty where the folders are classes ("train" may be one). Raises DataError where both could be."""
    found: dict[str, Path] = {}
    for child in inside:
        split = SPLIT_NAMES.get(child.name.lower())
        if split in found:
            raise DataError(
                f"{root} has two folders for the {split} split, {found[split].name} and {child.name}",
                fix="Keep one, or put the images of both together",
            )
        if split is not None:
            found[split] = child
    if "train" not in found:
        return {}
    others = [child.name for child in inside if child not in found.values() and list_images(child)]
    if len(found) == 1 and others:
        return {}
    if others:
        raise DataError(
            f"{root} has the splits {', '.join(folder.name for folder in found.values())} and beside them images in {others[0]}",
            fix="Move that folder elsewhere, or into the splits",
        )
    return found


def existing_folder(folder: str | Path) -> Path:
    root = Path(folder)
    if not root.exists():
        raise DataError(f"There is no folder {root}", fix="Check the path")
    if not root.is_dir():
        raise DataError(f"{root} is a file", expected="a folder of class folders")
    return root


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _holds_runs(folder: Path) -> bool:
    """Whether this is the folder of runs that an earlier training left beside the classes."""
    return next(folder.glob("*/*/weights/*.sightline"), None) is not None


def _folders(root: Path) -> list[Path]:
    try:
        children = sorted(root.iterdir())
    except OSError as error:
        raise DataError(f"{root} cannot be read ({error.strerror})") from error
    return [c for c in children if c.is_dir() and not _is_hidden(c.name) and not _holds_runs(c)]


def list_images(folder: Path) -> list[Path]:
    """Every image file below a folder, in order."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [Path(place, name) for name in names if is_image_name(name)]
    return sorted(found)


def is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _require_classes(root: Path, classes: list[str], inside: list[Path]) -> None:
    expected = f"at least two class folders with images: {root}/<class>/*.jpg, or {root}/train/<class>/*.jpg"
    if not classes:
        loose = sum(1 for child in root.iterdir() if child.is_file() and is_image_name(child.name))
        received = (
            f"{loose} images without a class folder"
            if loose
            else "no image" + (f" in {', '.join(child.name for child in inside[:5])}" if inside else "")
        )
        raise DataError(f"{root} holds nothing to train on", expected=expected, received=received)
    if len(classes) == 1:
        raise DataError(f"{root} holds one class only, {classes[0]!r}", expected=expected)
