"""Images beside masks: `images/*.jpg` with `masks/*.png`, whose pixels say the class."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError, choose
from ...structures import Dataset, Mask, Problem, Sample
from ..listing import (
    IMAGE_SUFFIXES,
    SPLITS,
    assemble,
    existing_folder,
    list_files,
    split_by_list,
    split_lists,
    split_of,
    subfolders,
)
from ..mask_codings import find_coding
from ..mask_files import CODINGS, read_mask, write_mask
from ..mask_legends import read_legend, write_legend
from .base import Format

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "segmentationclass", "ground_truth", "gt", "labels", "annotations")
IMAGE_ENDING = re.compile(r"[_-](image|img|rgb|leftimg8bit)$", re.IGNORECASE)
MASK_ENDING = re.compile(
    r"([_-](mask|masks|gt|seg|segmentation|label|labels|labelids|labeltrainids|gtfine|groundtruth|annotation))+$",
    re.IGNORECASE,
)
Key = tuple[str, str]  # the folder below images/ or masks/, the stem


@dataclass(frozen=True)
class Place:
    """A folder of images with its folder of masks; `split` where both lie in a split's folder."""

    split: str | None
    images: Path
    masks: Path


def seen(root: Path) -> str | None:
    """Evidence: folders of images and of masks with at least one stem in common."""
    if not root.is_dir():
        return None
    for place in places(root):
        masks = _Masks(place.masks)
        if any(masks.of(key) for key, _ in _keyed(place.images)):
            return f"images in {place.images} with masks in {place.masks}"
    return None


def places(root: Path) -> list[Place]:
    """The folders of images with masks: at the root, else in the folders of splits."""
    inside = subfolders(root)
    at_root = _place(None, inside)
    if at_root is not None:
        return [at_root]
    splits = [(split, child) for child in inside if (split := split_of(child.name)) is not None]
    return [place for split, child in splits if (place := _place(split, subfolders(child))) is not None]


def _place(split: str | None, inside: list[Path]) -> Place | None:
    by_name = {child.name.lower(): child for child in inside}
    images, masks = (
        next((by_name[name] for name in names if name in by_name and _has_image(by_name[name])), None)
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    return None if images is None or masks is None else Place(split, images, masks)


def _has_image(folder: Path) -> bool:
    return next(list_files(folder, IMAGE_SUFFIXES), None) is not None


def _keyed(folder: Path) -> Iterator[tuple[Key, Path]]:
    """The images below a folder, in order, with folder and stem; a split's folder by the split's name."""
    for name in sorted(list_files(folder, IMAGE_SUFFIXES)):
        below, file = os.path.split(os.path.relpath(name, folder))
        first, *rest = below.split(os.sep)
        yield ("/".join([split_of(first) or first, *rest]), os.path.splitext(file)[0]), Path(name)


class _Masks:
    """The masks of a folder, found by an image's folder and stem."""

    def __init__(self, folder: Path):
        self.exact: dict[Key, Path] = {}
        self.core: dict[Key, Path] = {}
        by_stem: dict[str, list[Path]] = {}
        for (below, stem), path in _keyed(folder):
            core = MASK_ENDING.sub("", stem)
            self.exact.setdefault((below, stem), path)
            self.core.setdefault((below, core), path)
            by_stem.setdefault(core, []).append(path)
        self.paths = [path for paths in by_stem.values() for path in paths]
        self.anywhere = {stem: paths[0] for stem, paths in by_stem.items() if len(paths) == 1}

    def of(self, key: Key) -> Path | None:
        """The mask with the image's stem, or with it and an ending such as _mask, in the like folder.

        For images that lie in no folder below theirs it may lie in any (annotations/trimaps), where it is the only one.
        """
        below, stem = key
        core = IMAGE_ENDING.sub("", stem)
        like = self.exact.get(key) or self.core.get(key) or self.core.get((below, core))
        return like or (None if below else self.anywhere.get(stem) or self.anywhere.get(core))


def read(root: Path, task: str) -> Dataset:
    """The images that have a mask. Raises DataError where there is none, or where nothing says what the masks' values mean."""
    root = existing_folder(root)
    found = places(root)
    if not found:
        raise DataError(f"{root} has no folders of images and masks", expected=FORMAT.about)
    rows, problems = [], []
    lists = split_lists(root, root / "ImageSets" / "Segmentation", root / "ImageSets")
    for place in found:
        pairs, wrong = _pairs(place, lists)
        rows += pairs
        problems += wrong
    if not rows:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{root} has no image with a mask", received=f"{len(problems)} files without another{first}")
    legend = read_legend(root, *(place.masks for place in found))
    coding, classes = find_coding([mask for _, _, mask in rows], legend, root)
    samples = ((split, Sample(image, mask=Mask(mask, coding))) for split, image, mask in rows)
    return assemble(root, classes, samples, problems, task=task, format=FORMAT.name)


def _pairs(place: Place, lists: dict[str, set[str]]) -> tuple[list[tuple[str | None, Path, Path]], list[Problem]]:
    """(split, image, mask) of each image that has one, and what lies alone."""
    pairs, problems = [], []
    masks = _Masks(place.masks)
    for (below, stem), image in _keyed(place.images):
        first = below.split("/")[0]
        split = place.split or (first if first in SPLITS else split_by_list(stem, lists))
        mask = masks.of((below, stem))
        if mask is not None:
            pairs.append((split, image, mask))
        elif split is not None or not lists:  # an image that is neither listed nor labelled is another task's
            problems.append(Problem(image, f"has no mask in {place.masks}", "label-missing"))
    used = {mask for _, _, mask in pairs}
    alone = [path for path in masks.paths if path not in used]
    problems += [Problem(path, f"is a mask of no image in {place.images}", "image-missing") for path in alone]
    return pairs, problems


def write(dataset: Dataset, folder: Path) -> None:
    """`images/<split>/*` with `masks/<split>/*.png`, whose gray values are class numbers; legend.csv and classes.txt name them."""
    write_masks(dataset, folder, "index")


def write_masks(dataset: Dataset, folder: Path, coding: str) -> None:
    """As `write`, the masks coded as `write_mask` says. Raises DataError for images without a mask."""
    choose("coding of masks", coding, CODINGS)
    if coding == "binary" and len(dataset.classes) != 2:
        raise DataError(f"{dataset.root} has {len(dataset.classes)} classes", expected="2 for masks in black and white")
    write_legend(folder, dataset.classes, coding)
    for split, samples in dataset.splits.items():
        below = split if split in SPLITS else ""
        for sample in samples:
            write_pair(sample, folder / "images" / below, folder / "masks" / below, coding)


def write_pair(sample: Sample, images: Path, masks: Path, coding: str) -> tuple[Path, Path]:
    """Copy an image and write its mask under one stem that no other mask there has; returns both paths."""
    if sample.mask is None:
        raise DataError(f"{sample.path} has no mask", expected="a data set for the task segment")
    classes, _ = read_mask(sample.mask)
    stem, number = sample.path.stem, 1
    while (masks / f"{stem}.png").exists():
        stem, number = f"{sample.path.stem}-{number}", number + 1
    images.mkdir(parents=True, exist_ok=True)
    mask = write_mask(classes, masks / f"{stem}.png", coding)
    return Path(shutil.copyfile(sample.path, images / f"{stem}{sample.path.suffix}")), mask


FORMAT = Format(
    "masks", ("segment",), "masks: DIR/images/*.jpg with DIR/masks/*.png of the same names",
    seen, read, write,
)  # fmt: skip
