"""COCO JSON: `images`, `annotations` and `categories` in one file, or in one file a split."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import write_text
from ...structures import Boxes, Dataset, Problem, Sample
from ..decode import image_size
from ..listing import (
    SPLIT_NAMES,
    SPLITS,
    assemble,
    damaged,
    existing_folder,
    is_image_name,
    read_text,
    split_by_list,
    split_lists,
    split_of,
    subfolders,
)
from .base import Format
from .boxes import (
    NOT_TEXT,
    SPLIT_FOLDERS,
    bounds,
    boxes_to_write,
    class_name,
    classes_to_write,
    copy_under_own_stem,
    folder_split,
)

ABOUT = "COCO JSON: DIR/annotations/instances_train.json with DIR/images, or DIR/train/_annotations.coco.json"
KEYS = ("images", "annotations", "categories")
LIMIT = 2**30  # bytes; the largest in wide use, LVIS's, are near it
HEAD = 2**16  # bytes that tell a COCO file from another
MOST_FILES = 200  # JSON files of a folder that are looked at: it may have one for each image, of another format
NAMED = 20  # damaged entries of a file that are named one by one
BEGINS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
LABEL_FOLDERS = ("annotations", "annotation")
IMAGE_FOLDERS = ("images", "JPEGImages")


@dataclass(frozen=True)
class _Object:
    """One annotation: its box xyxy, the id of its category, whether it is a crowd, and the area that it covers (NaN: not said)."""

    box: tuple[float, ...]
    category: Any
    crowd: bool
    area: float


@dataclass(frozen=True)
class _Content:
    """One COCO file: class names by category, images and boxes by image id, and what is wrong with single entries."""

    path: Path
    split: str | None
    names: dict[Any, str] = field(default_factory=dict)
    images: dict[Any, tuple[str, tuple[int, int] | None]] = field(default_factory=dict)
    objects: dict[Any, list[_Object]] = field(default_factory=lambda: defaultdict(list))
    reasons: list[str] = field(default_factory=list)


def seen(root: Path) -> str | None:
    """Evidence: JSON files that begin as COCO's do; at most 64 KB of each are read."""
    paths = [path for path in _candidates(root) if _begins_as_coco(path)]
    return f"COCO files: {len(paths)}, the first {paths[0]}" if paths else None


def read(root: Path, task: str) -> Dataset:
    """The images and boxes of one COCO file, or of those of a folder.

    Splits are what the files' names say (instances_train2017.json) or the folders they lie in, else train.txt, val.txt and
    test.txt. Classes are the categories in the order of their ids, joined by name where there are several files. Single entries
    that cannot be understood are left out, which are problems, while their image and its other boxes stay. `iscrowd` and `area`
    come along; a crowd without a box is left out. A box missing where there are polygons is their bounds. An image is never
    looked for outside the folder.
    Raises DataError where there is no such file, or the only one is damaged.
    """
    base = _base(root)
    paths = _files(root)
    contents, problems = [], []
    for path in paths:
        try:
            contents.append(_content(path, base))
        except DataError as error:
            if len(paths) == 1:
                raise
            problems.append(damaged(path, error))
    classes = _classes(contents)
    if contents and not classes:
        raise DataError(f"{contents[0].path} names no class", expected="categories with an id and a name")
    lists = split_lists(base, base / "ImageSets" / "Main") if any(each.split is None for each in contents) else {}
    taken: dict[str, Path] = {}
    rows: list[tuple[str | None, Sample]] = []
    for content in contents:
        missing = _add_samples(content, base, classes, lists, rows, taken)
        problems += missing + _entry_problems(content)
    return assemble(base, classes, rows, problems, task="detect", format="coco")


def _base(root: Path) -> Path:
    """The folder that holds images and label files."""
    if not root.is_file():
        return existing_folder(root)
    return root.parent.parent if root.parent.name.lower() in LABEL_FOLDERS else root.parent


def _candidates(root: Path) -> list[Path]:
    """The JSON files that may be COCO's: the file itself; those in the folder, in annotations/, and in folders of splits."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    if not root.is_dir():
        return []
    folders = [f for f in subfolders(root) if f.name.lower() in LABEL_FOLDERS or folder_split(f.name)]
    paths = [path for folder in (root, *folders) for path in sorted(folder.glob("*.json"), key=_likely)[:MOST_FILES]]
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def _likely(path: Path) -> tuple[bool, str]:
    """Sorts names that say that the file is for many images before others."""
    return re.search("coco|instances|annotations|labels", path.name) is None and not name_split(path.stem), path.name


def _begins_as_coco(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:  # reading it will say why
        return False
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") and BEGINS.search(head) is not None


def _files(root: Path) -> list[Path]:
    """The COCO files to read, training first; a file of a split (by name) that is none is read too, so that it is named.

    COCO's own annotations folder has captions and keypoints of the same images: where there are instances, only these.
    """
    candidates = _candidates(root)
    paths = [path for path in candidates if _begins_as_coco(path)]
    if any(path.name.startswith("instances") for path in paths):
        candidates = paths = [path for path in candidates if path.name.startswith("instances")]
    paths += [path for path in candidates if path not in paths and (not paths or name_split(path.stem))]
    if not paths:
        raise DataError(f"{root} holds no COCO file", expected=ABOUT)
    return sorted(paths, key=lambda path: (_order(_split(path, _base(root))), path))


def _order(split: str | None) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _split(path: Path, base: Path) -> str | None:
    return name_split(path.stem) or (folder_split(path.parent.name) if path.parent != base else None)


def name_split(stem: str) -> str | None:
    """The split that a word of a file's name says: "instances_train2017"."""
    return next((split for word in re.split("[^a-z]+", stem.lower()) if (split := split_of(word))), None)


# --- one file --------------------------------------------------------------------------------------------------


def _content(path: Path, base: Path) -> _Content:
    document = _document(path)
    content = _Content(path, _split(path, base))
    for key, add in (("categories", _add_category), ("images", _add_image), ("annotations", _add_annotation)):
        for entry in document[key]:
            reason = add(content, entry) if isinstance(entry, dict) else "it is no object"
            if reason:
                number = entry.get("id") if isinstance(entry, dict) else entry
                content.reasons.append(f"has in {key} the entry {reprlib.repr(number)} that cannot be used: {reason}")
    return content


def _document(path: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(read_text(path, limit=LIMIT))
    except RecursionError:
        raise DataError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error})") from error
    missing = [key for key in KEYS if not isinstance(document, dict) or not isinstance(document.get(key), list)]
    if missing:
        raise DataError(f"{path} has no list {' or '.join(missing)}", expected=f"an object with {', '.join(KEYS)}")
    return document


def _add_category(content: _Content, entry: dict[str, Any]) -> str | None:
    number, name = entry.get("id"), class_name(entry.get("name"))
    if not _is_id(number):
        return "its id is no number"
    if name is None:
        return "it has no name"
    if content.names.setdefault(number, name) != name:
        return "another category has its id"
    return None


def _add_image(content: _Content, entry: dict[str, Any]) -> str | None:
    number, name = entry.get("id"), entry.get("file_name")
    if not _is_id(number):
        return "its id is no number"
    if number in content.images:
        return "another image has its id"
    if not isinstance(name, str) or "\0" in name or len(name) > 1024:
        return "its file_name is no name of a file"
    height, width = _length(entry.get("height")), _length(entry.get("width"))
    content.images[number] = name, (height, width) if height and width else None
    return None


def _add_annotation(content: _Content, entry: dict[str, Any]) -> str | None:
    image, category, box = entry.get("image_id"), entry.get("category_id"), _box(entry)
    crowd = entry.get("iscrowd") == 1
    if crowd and box is None:
        return None
    if not _is_id(image) or image not in content.images:
        return f"there is no image {reprlib.repr(image)}"
    if not _is_id(category):
        return "its category_id is no number"
    if box is None:
        return "its bbox is not four numbers, and it has no polygons"
    content.objects[image].append(_Object(box, category, crowd, _area(entry.get("area"))))
    return None


def _is_id(value: object) -> bool:
    return type(value) in (int, str) or (isinstance(value, float) and value.is_integer())


def _length(value: Any) -> int:
    """A side in pixels; 0 where it is none."""
    return int(value) if type(value) in (int, float) and 1 <= value < 2**31 else 0


def _area(value: Any) -> float:
    """Square pixels; NaN where the file says none."""
    return float(value) if type(value) in (int, float) and 0 <= value < 2**62 else math.nan


def _box(entry: dict[str, Any]) -> tuple[float, ...] | None:
    """xyxy from [x, y, width, height], or the bounds of polygons [x, y, x, y, ...]."""
    if entry.get("bbox"):
        values = _floats(entry["bbox"])
        if values is None or len(values) != 4:
            return None
        x, y, width, height = values
        return x, y, x + width, y + height
    polygons = entry.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        return None
    points: list[float] = []
    for polygon in polygons:
        values = _floats(polygon)
        if values is None or len(values) < 6 or len(values) % 2:
            return None
        points += values
    return bounds(points)


def _floats(values: Any) -> list[float] | None:
    if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
        return None
    try:
        return [float(value) for value in values]
    except OverflowError:  # a whole number of more than 308 digits
        return None


# --- samples ---------------------------------------------------------------------------------------------------


def _classes(contents: list[_Content]) -> tuple[str, ...]:
    first: dict[str, tuple[bool, Any]] = {}
    for content in contents:
        for number, name in content.names.items():
            first.setdefault(name, (isinstance(number, str), number))
    return tuple(sorted(first, key=lambda name: first[name]))


def _add_samples(
    content: _Content,
    base: Path,
    classes: tuple[str, ...],
    lists: dict[str, set[str]],
    rows: list[tuple[str | None, Sample]],
    taken: dict[str, Path],
) -> list[Problem]:
    """Append the file's images to `rows`; each image file once (`taken`). Returns those that are not there."""
    labels = {number: classes.index(name) for number, name in content.names.items()}
    places = _places(content, base)
    problems = []
    for number, (name, size) in content.images.items():
        path, reason = _locate(name, base, places)
        if reason is None and path in taken:
            reason = f"{taken[path].name} has {name} already"
        if reason is not None:
            content.reasons.append(f"has in images the entry {reprlib.repr(number)} that cannot be used: {reason}")
        elif not os.path.isfile(path):
            problems.append(Problem(Path(path), f"is not there, though {content.path.name} names it", "image-missing"))
        else:
            taken[path] = content.path
            boxes = _boxes(content.objects.get(number, []), labels)
            split = content.split or split_by_list(Path(name).stem, lists)
            rows.append((split, Sample(Path(path), boxes=boxes, size=size)))
    return problems


def _boxes(found: list[_Object], labels: dict[Any, int]) -> Boxes:
    return Boxes(
        [each.box for each in found], [labels.get(each.category, -1) for each in found],
        crowd=[each.crowd for each in found], area=[each.area for each in found],
    )  # fmt: skip


def _places(content: _Content, base: Path) -> list[str]:
    """The folders in which a file's images may lie, the most particular first."""
    own = [word for word in re.split(r"[^a-z0-9]+", content.path.stem.lower()) if name_split(word)]
    split = content.split
    splits = own + [name for name in SPLIT_NAMES if split in (None, SPLIT_NAMES[name])]
    particular = [base.joinpath(*way) for name in splits for way in (("images", name), (name, "images"), (name,))]
    general = [content.path.parent, *(base / name for name in IMAGE_FOLDERS), base]
    places = general + particular if split is None else particular + general
    return [str(place) for place in dict.fromkeys(places) if place.is_dir()]


def _locate(name: str, base: Path, places: list[str]) -> tuple[str, str | None]:
    """Where an image is, or should be; and what speaks against following its name."""
    name = os.path.normpath(name.replace("\\", "/"))
    if not is_image_name(os.path.basename(name)):
        return name, f"{reprlib.repr(name)} is no name of an image"
    if os.path.isabs(name):
        name = os.path.relpath(name, base)
        places = [str(base)]
    if name.split("/")[0] == "..":
        return name, f"{reprlib.repr(name)} is outside {base}"
    paths = [os.path.join(place, name) for place in places]
    found = next((path for path in paths if os.path.isfile(path)), None)
    if found is None and NOT_TEXT.search(name):
        return name, f"there is no file {reprlib.repr(name)}"
    return found or paths[0], None


def _entry_problems(content: _Content) -> list[Problem]:
    problems = [damaged(content.path, reason) for reason in content.reasons[:NAMED]]
    more = len(content.reasons) - NAMED
    return [*problems, damaged(content.path, f"has {more} more entries that cannot be used")] if more > 0 else problems


# --- writing ---------------------------------------------------------------------------------------------------


def write(dataset: Dataset, folder: Path) -> None:
    """`annotations/instances_<split>.json` and `images/<split>/`; a data set without splits is instances.json and images/."""
    for split, samples in dataset.splits.items():
        name = SPLIT_FOLDERS.get(split)
        if samples:
            document = _document_of(dataset, samples, folder / "images" / (name or ""))
            label_file = f"instances_{name}.json" if name else "instances.json"
            write_text(folder / "annotations" / label_file, json.dumps(document, ensure_ascii=False))


def _document_of(dataset: Dataset, samples: Iterable[Sample], folder: Path) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    taken: Counter[str] = Counter()
    for number, sample in enumerate(samples, 1):
        boxes = boxes_to_write(dataset, sample)
        height, width = sample.size or image_size(sample.path)
        copy = copy_under_own_stem(sample.path, folder, taken)
        images.append({"id": number, "file_name": copy.name, "width": width, "height": height})
        assert sample.boxes is not None  # of which they are
        marks = zip(sample.boxes.crowd.tolist(), sample.boxes.area.tolist(), strict=True)
        for ((left, top, right, bottom), label), (crowd, area) in zip(boxes, marks, strict=True):
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box,
                    "area": area, "iscrowd": int(crowd),
                }
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(classes_to_write(dataset), 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


FORMAT = Format("coco", ("detect",), ABOUT, seen, read, write)
