"""Class folders: `<class>/*.jpg`, or `<split>/<class>/*.jpg`."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...structures import Dataset, Sample
from ..listing import (
    IMAGE_SUFFIXES,
    SPLITS,
    existing_folder,
    is_image_name,
    list_files,
    list_images,
    split_of,
    subfolders,
)
from .base import Format, copy_image

# Folders of other formats, never classes unless the format is forced
STRUCTURE = {
    "images", "image", "imgs", "img", "jpegimages", "masks", "mask", "labels", "annotations",
    "segmentationclass", "segmentationobject", "imagesets",
}  # fmt: skip


def seen(root: Path) -> str | None:
    """Evidence: at least two folders with images that could be classes, or such folders in a training folder."""
    if not root.is_dir():
        return None
    inside = _folders(root)
    training = next((child for child in inside if split_of(child.name) == "train"), None)
    for at, place in ((_folders(training) if training else [], training), (inside, root)):
        names = [child.name for child in at if has_image(child)]
        if training and all(split_of(name) for name in names):
            continue  # splits of another format: train/images beside valid/images
        if len(names) >= 2 and not {name.lower() for name in names} & STRUCTURE:
            return f"{len(names)} class folders in {place}"
    return None


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
        split = split_of(child.name)
        if split in found:
            raise DataError(
                f"{root} has two folders for the {split} split, {found[split].name} and {child.name}",
                fix="Keep one, or put the images of both together",
            )
        if split is not None:
            found[split] = child
    if "train" not in found:
        return {}
    others = [child.name for child in inside if child not in found.values() and has_image(child)]
    if len(found) == 1 and others:
        return {}
    if others:
        raise DataError(
            f"{root} has the splits {', '.join(folder.name for folder in found.values())} and beside them images in {others[0]}",
            fix="Move that folder elsewhere, or into the splits",
        )
    return found


def _holds_runs(folder: Path) -> bool:
    """Whether this is the folder of runs that an earlier training left beside the classes."""
    return next(folder.glob("*/*/weights/*.sightline"), None) is not None


def _folders(root: Path) -> list[Path]:
    return [child for child in subfolders(root) if not _holds_runs(child)]


def has_image(folder: Path) -> bool:
    return next(list_files(folder, IMAGE_SUFFIXES), None) is not None


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


def write(dataset: Dataset, folder: Path) -> None:
    """`<split>/<class>/<image>`; the splits only where there are some. Raises DataError for images without a class."""
    for split, samples in dataset.splits.items():
        for sample in samples:
            if sample.label is None:
                raise DataError(f"{sample.path} has no class", expected="a data set for the task classify")
            at = (folder / split if split in SPLITS else folder) / dataset.classes[sample.label]
            copy_image(sample.path, at)


FORMAT = Format(
    "class-folders", ("classify",), "class folders: DIR/<class>/*.jpg or DIR/train/<class>/*.jpg",
    seen, lambda path, task: read_class_folders(path), write,
)  # fmt: skip
