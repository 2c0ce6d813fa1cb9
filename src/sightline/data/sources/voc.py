"""Pascal VOC's XML, as LabelImg and others write it: one file an image, `bndbox` in pixels."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ...files import write_text
from ...structures import Boxes, Dataset, Problem, Sample
from ..decode import image_size
from ..listing import (
    IMAGE_SUFFIXES,
    assemble,
    damaged,
    existing_folder,
    is_image_name,
    list_files,
    split_by_list,
    split_lists,
)
from .base import Format
from .boxes import (
    LIMIT,
    LOOKED_AT,
    SPLIT_FOLDERS,
    boxes_to_write,
    class_name,
    classes_to_write,
    copy_under_own_stem,
    finite_number,
    listed_classes,
    way,
    way_split,
)

ABOUT = "Pascal VOC: DIR/Annotations/*.xml, DIR/JPEGImages/*.jpg and DIR/ImageSets/Main/train.txt"
MASK_FOLDERS = {"segmentationclass", "segmentationobject", "masks", "mask", "trimaps"}  # images that are labels
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Annotation:
    """One XML file: what it calls its image, that image's (height, width), and class names with boxes xyxy, which may be difficult."""

    filename: str
    size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, ...], bool]]


def seen(root: Path) -> str | None:
    """Evidence: XML files, of which one of the first begins an annotation."""
    if not root.is_dir():
        return None
    paths = sorted(list_files(root, (".xml",)))
    if any(_begins_as_voc(path) for path in paths[:LOOKED_AT]):
        return f"XML files: {len(paths)}, the first {paths[0]}"
    return None


def _begins_as_voc(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return re.search(rb"<annotation[\s>]", file.read(4096)) is not None
    except OSError:  # reading it will say why
        return False


def read(root: Path, task: str) -> Dataset:
    """The images that XML files label: those of their stems, else of their `<filename>`.

    Splits are ImageSets/Main/train.txt, val.txt and test.txt, else folders of these names. Classes are those of
    classes.txt or labels.txt, else all names in order. An XML without objects is an image without boxes; one with an object
    that cannot be understood leaves its image out. Objects that are `<difficult>` are `ignored` ones. Coordinates stand as they are, which fits LabelImg, whose pixels count
    from 0; the VOC challenge's own files count from 1, so that their boxes lie a pixel too far right and down.
    Raises DataError where there is no XML file, or none that can be used.
    """
    existing_folder(root)
    labels = sorted(list_files(root, (".xml",)))
    if not labels:
        raise DataError(f"{root} holds no XML file", expected=ABOUT)
    pairs, problems = _pairs(labels, root)
    names = {name for _, _, annotation in pairs for name, *_ in annotation.objects}
    listed = listed_classes(root, root / "Annotations")
    classes = tuple(listed or sorted(names))
    numbers = {name: number for number, name in enumerate(classes)}
    lists = split_lists(root / "ImageSets" / "Main", root / "ImageSets", root)
    rows = []
    for label, image, annotation in pairs:
        split = split_by_list(Path(label).stem, lists) if lists else way_split(label, root) or way_split(image, root)
        rows.append((split, Sample(Path(image), boxes=_boxes(annotation, numbers), size=annotation.size)))
    return assemble(root, classes, rows, problems, task="detect", format="voc")


def _boxes(annotation: _Annotation, numbers: dict[str, int]) -> Boxes:
    named = [numbers.get(name, -1) for name, _, _ in annotation.objects]
    return Boxes([box for _, box, _ in annotation.objects], named, ignored=[hard for _, _, hard in annotation.objects])


def _pairs(labels: list[str], root: Path) -> tuple[list[tuple[str, str, _Annotation]], list[Problem]]:
    """Label files that can be read with their images; the problems are the other label files and images."""
    images = _images_by_stem(root)
    owners: dict[str, str] = {}
    pairs, problems = [], []
    for label in labels:
        annotation, stems = None, [Path(label).stem]
        try:
            annotation = _annotation(Path(label))
            stems.append(annotation.filename)
        except DataError as error:
            problems.append(damaged(Path(label), error))
        image = _image_of(label, stems, images, root)
        if image is not None and owners.setdefault(image, label) != label:
            problems.append(damaged(Path(label), f"labels the image of {Path(owners[image]).name} again"))
        elif annotation is not None and image is None:
            problems.append(Problem(Path(label), f"has no image {stems[0]} beside it or below {root}", "image-missing"))
        elif annotation is not None and image is not None:
            pairs.append((label, image, annotation))
    unlabelled = (path for paths in images.values() for path in paths if path not in owners)
    problems += [Problem(Path(path), "has no XML file", "label-missing") for path in sorted(unlabelled)]
    return pairs, problems


def _images_by_stem(root: Path) -> dict[str, list[str]]:
    """The images below a folder, without those that are masks."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in list_files(root, IMAGE_SUFFIXES):
        if not MASK_FOLDERS & {name.lower() for name in way(path, root)}:
            found[os.path.splitext(os.path.basename(path))[0]].append(path)
    return found


def _image_of(label: str, stems: list[str], images: dict[str, list[str]], root: Path) -> str | None:
    """The image of a label file: of the first stem that has one in the same split, then the nearest by its folders."""
    split = way_split(label, root)
    for stem in stems:
        fitting = [p for p in images.get(stem, ()) if split is None or way_split(p, root) in (None, split)]
        if fitting:
            return min(fitting, key=lambda path: (-len(os.path.commonpath([label, path])), path))
    return None


# --- one file --------------------------------------------------------------------------------------------------


def _annotation(path: Path) -> _Annotation:
    """One XML file; raises DataError with path and reason. A document type is refused, so no entity can grow."""
    try:
        if path.stat().st_size > LIMIT:
            raise DataError(f"{path} is too large for a label file ({path.stat().st_size:,} bytes)")
        data = path.read_bytes()
        if b"\0" in data:
            raise DataError(f"{path} is not text (it holds the byte 0)")  # UTF-16 would hide what the next line seeks
        if re.search(rb"<!(DOCTYPE|ENTITY)", data):
            raise DataError(f"{path} has a document type, which label files do not need")
        root = ET.fromstring(data)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter two: an encoding that is none
        raise DataError(f"{path} is no XML ({error})") from error
    if root.tag != "annotation":
        raise DataError(f"{path} is no annotation of Pascal VOC (it begins with <{root.tag[:40]}>)")
    objects = [_object(each, number, path) for number, each in enumerate(root.findall("object"), 1)]
    name = re.split(r"[\\/]", (root.findtext("filename") or "").strip())[-1]
    return _Annotation(os.path.splitext(name)[0] if is_image_name(name) else name, _size(root), objects)


def _object(element: ET.Element, number: int, path: Path) -> tuple[str, tuple[float, ...], bool]:
    name = class_name(element.findtext("name"))
    if name is None:
        raise DataError(f"{path} has no name in object {number}")
    box = element.find("bndbox")
    values = [None if box is None else finite_number(box.findtext(corner) or "") for corner in CORNERS]
    kept = tuple(value for value in values if value is not None)
    if len(kept) != len(CORNERS):
        missing = ", ".join(corner for corner, value in zip(CORNERS, values, strict=True) if value is None)
        raise DataError(f"{path} has no number for {missing} in object {number} ({name[:40]!r})")
    return name, kept, (element.findtext("difficult") or "").strip() == "1"


def _size(root: ET.Element) -> tuple[int, int] | None:
    """(height, width) where the file says so; LabelImg's forks write 0 for what they do not know."""
    values = [finite_number(root.findtext(f"size/{name}") or "") for name in ("height", "width")]
    height, width = (int(value) if value is not None and 1 <= value < 2**31 else 0 for value in values)
    return (height, width) if height and width else None


# --- writing ---------------------------------------------------------------------------------------------------


def write(dataset: Dataset, folder: Path) -> None:
    """`JPEGImages/`, `Annotations/<stem>.xml` and, where there are splits, `ImageSets/Main/<split>.txt`."""
    classes = classes_to_write(dataset)
    taken: Counter[str] = Counter()
    for split, samples in dataset.splits.items():
        lines = []
        for sample in samples:
            boxes = boxes_to_write(dataset, sample)
            size = sample.size or image_size(sample.path)
            copy = copy_under_own_stem(sample.path, folder / "JPEGImages", taken)
            assert sample.boxes is not None  # of which they are
            hard = sample.boxes.ignored.tolist()
            objects = [(classes[label], xyxy, each) for (xyxy, label), each in zip(boxes, hard, strict=True)]
            document = _document(copy.name, size, objects)
            write_text(folder / "Annotations" / f"{copy.stem}.xml", document)
            lines.append(_line(copy))
        if split in SPLIT_FOLDERS and lines:
            write_text(folder / "ImageSets" / "Main" / f"{SPLIT_FOLDERS[split]}.txt", "".join(lines))
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in classes))


def _line(image: Path) -> str:
    """An image's line in a list: its stem, or its name where the stem alone would be read as something else."""
    ambiguous = is_image_name(image.stem) or any(character.isspace() for character in image.stem)
    return f"{image.name if ambiguous else image.stem}\n"


def _document(filename: str, size: tuple[int, int], objects: list[tuple[str, list[float], bool]]) -> str:
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = filename
    sizes = ET.SubElement(root, "size")
    for tag, value in zip(("height", "width", "depth"), (*size, 3), strict=True):
        ET.SubElement(sizes, tag).text = str(value)
    for name, xyxy, difficult in objects:
        each = ET.SubElement(root, "object")
        ET.SubElement(each, "name").text = name
        if difficult:
            ET.SubElement(each, "difficult").text = "1"
        box = ET.SubElement(each, "bndbox")
        for corner, number in zip(CORNERS, xyxy, strict=True):
            ET.SubElement(box, corner).text = str(int(number)) if number.is_integer() else repr(number)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


FORMAT = Format("voc", ("detect",), ABOUT, seen, read, write)
