"""The lines of a CSV or TSV file: which column is what, and what a line says of its image."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ...errors import DataError
from ...structures import Problem
from ..listing import TEXT_LIMIT, damaged, read_text, split_of

TABLE_SUFFIXES = (".csv", ".tsv")
TABLE_LIMIT = 2 * TEXT_LIMIT  # bytes: some million boxes
HEAD = 2**16  # bytes in which the header lies
LARGEST_SIDE = 10**6  # of an image, in pixels
LONGEST_PATH = 4096  # characters
ONLY_CLASS = "object"  # of boxes in a table without a column for the class
NAMES = {
    "path": ("path", "image_path", "file_path", "filepath", "img_path", "image", "filename", "file_name", "file",
             "image_name", "image_file", "img"),
    "label": ("class_name", "label_name", "category_name", "label", "class", "category", "name", "target", "class_id",
              "label_id", "category_id"),
    "mask": ("mask", "mask_path", "mask_file", "mask_filename", "mask_name"),
    "split": ("split", "set", "subset", "fold"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}  # fmt: skip
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)  # fmt: skip
EXTENTS = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
SIZES = (("height", "width"), ("image_height", "image_width"), ("img_height", "img_width"))


@dataclass(frozen=True)
class Table:
    """A file with a header: `columns` has the numbers of the cells by what they say, "corners" or "extent" four of them."""

    path: Path
    delimiter: str
    header: tuple[str, ...]
    columns: dict[str, tuple[int, ...]]

    @property
    def tasks(self) -> set[str]:
        """The tasks that the columns serve."""
        if "path" not in self.columns:
            return set()
        needs = {"label": "classify", "corners": "detect", "extent": "detect", "mask": "segment"}
        return {task for what, task in needs.items() if what in self.columns}

    @property
    def used(self) -> list[str]:
        return [self.header[at] for places in self.columns.values() for at in places]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line says of its image; `key` is the image's absolute path, `split` the split's name."""

    table: Path
    line: int
    path: Path
    key: str
    split: str | None = None
    group: str | None = None
    size: tuple[int, int] | None = None
    label: str | None = None
    box: tuple[float, ...] | None = None
    mask: Path | None = None

    def problem(self, reason: str) -> Problem:
        return row_problem(self.table, self.line, reason)


def row_problem(table: Path, line: int, reason: object) -> Problem:
    return damaged(table, f"is damaged in line {line}: {reason}")


def table_at(path: Path) -> Table | None:
    """The table that a file's first line announces; None where it cannot be read as one."""
    try:
        with open(path, "rb") as file:
            text = file.read(HEAD).decode("utf-8-sig", errors="replace")
    except OSError:  # `read` says so where the file is asked for
        return None
    tables = [_table(path, delimiter, _header(text, delimiter)) for delimiter in ",;\t"]
    best = max(tables, key=lambda table: (len(table.columns), len(table.header)))
    return best if best.columns else None


def _header(text: str, delimiter: str) -> tuple[str, ...]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return tuple(cell.strip() for cell in next((row for row in rows if any(row)), []))
    except csv.Error:  # no header in this delimiter
        return ()


def _table(path: Path, delimiter: str, header: tuple[str, ...]) -> Table:
    names = [name.lower().replace(" ", "_").replace("-", "_") for name in header]
    columns: dict[str, tuple[int, ...]] = {}
    for what, known in NAMES.items():
        found = next((name for name in known if name in names), None)
        if found is not None:
            columns[what] = (names.index(found),)
    has_corner = not {"xmax", "x_max", "x2", "right"}.isdisjoint(names)  # width and height beside it are the image's
    taken: set[str] = set()
    for what, sets in (("corners", CORNERS), ("extent", () if has_corner else EXTENTS), ("size", SIZES)):
        full = next((each for each in sets if taken.isdisjoint(each) and set(each) <= set(names)), None)
        if full is not None:
            columns[what] = tuple(names.index(name) for name in full)
            taken.update(full)
    return Table(path, delimiter, header, columns)


def entries(table: Table, split: str | None, task: str) -> tuple[list[Entry], list[Problem]]:
    """The lines that can be used for a task, `split` where they name none, and what is wrong with the others.

    Raises DataError where the file cannot be read as a table.
    """
    found: list[Entry] = []
    problems: list[Problem] = []
    missing: dict[str, int] = {}
    locate, absolute = _locator(table.path.parent), cache(os.path.abspath)
    for line, cells in _rows(table):
        try:
            texts = _texts(table, cells)
            label = _label(table, cells, texts, task)
            image = locate(texts["path"])
            if image is None:
                missing.setdefault(texts["path"], line)
                continue
            mask = locate(texts["mask"]) if task == "segment" and "mask" in texts else None
            size, key = _size(table, cells), absolute(image)
            found.append(
                Entry(table.path, line, image, key, texts.get("split"), texts.get("group"), size, *label, mask=mask)
            )
        except ValueError as error:
            problems.append(row_problem(table.path, line, error))
    for name, line in missing.items():
        reason = f"is not there, but {table.path.name} names it in line {line}"
        problems.append(Problem(table.path.parent / name, reason, "image-missing"))
    found, wrong = _with_splits(found, split)
    return found, problems + wrong


def _rows(table: Table) -> Iterator[tuple[int, list[str]]]:
    """The lines after the header that are not blank, with the numbers of their lines in the file."""
    text = read_text(table.path, limit=TABLE_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=table.delimiter, strict=True)
    line, past_header = 1, False
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                if past_header:
                    yield line, cells
                past_header = True
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table.path} cannot be read as a table from line {line} on ({error})") from error


def _texts(table: Table, cells: Sequence[str]) -> dict[str, str]:
    """The cells of `NAMES`, without those that are empty. Raises ValueError, with the reason, for a line that is no line of this table."""
    width = len(table.header)
    if len(cells) < width or any(map(str.strip, cells[width:])):
        raise ValueError(f"has {len(cells)} cells, where the header has {width}")
    texts = {what: text for what in NAMES if what in table.columns and (text := cells[table.columns[what][0]].strip())}
    for what in ("path", "mask"):
        if len(texts.get(what, "")) > LONGEST_PATH or "\0" in texts.get(what, ""):
            raise ValueError(f"{_short(texts[what])} is no path")
    if "path" not in texts:
        raise ValueError("names no image")
    return texts


def _label(
    table: Table, cells: Sequence[str], texts: dict[str, str], task: str
) -> tuple[str | None, tuple[float, ...] | None]:
    """The class and the box of a line, as far as the task takes them. Raises ValueError, with the reason, where they are damaged."""
    if task == "segment":
        return None, None
    box = _box(table, cells) if task == "detect" else None
    if task == "detect" and box is None:
        return None, None
    label = texts.get("label") if "label" in table.columns else ONLY_CLASS
    if label is None:
        raise ValueError("names no class")
    return label, box


def _box(table: Table, cells: Sequence[str]) -> tuple[float, ...] | None:
    """xmin, ymin, xmax, ymax; None where all four cells are empty."""
    places = table.columns.get("corners") or table.columns["extent"]
    texts = [cells[at].strip() for at in places]
    if not any(texts):
        return None
    first, second, third, fourth = [_number(table, at, text) for at, text in zip(places, texts, strict=True)]
    if "corners" in table.columns:
        return first, second, third, fourth
    return first, second, first + third, second + fourth


def _number(table: Table, at: int, text: str) -> float:
    try:  # a table with semicolons may have decimal commas
        return float(text if table.delimiter == "," else text.replace(",", "."))
    except ValueError:
        raise ValueError(f"{table.header[at]} is {_short(text)}, no number") from None


def _size(table: Table, cells: Sequence[str]) -> tuple[int, int] | None:
    """(height, width) where the table has them and they are not empty."""
    sides = []
    for at in table.columns.get("size", ()):
        text = cells[at].strip()
        side = _number(table, at, text) if text else None
        if side is not None and not (1 <= side <= LARGEST_SIDE and side.is_integer()):
            raise ValueError(f"{table.header[at]} is {_short(text)}, no number of pixels")
        sides.append(side)
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 and sides[0] and sides[1] else None


def _locator(folder: Path) -> Callable[[str], Path | None]:
    """A function that finds the file which a cell names: from the table's folder, or the folder images in it."""

    @cache
    def locate(name: str) -> Path | None:
        for text in {name: None, name.replace("\\", "/"): None}:
            for place in (str(folder), str(folder / "images")):
                if os.path.isfile(path := os.path.join(place, text)):
                    return Path(path)
        return None

    return locate


def _with_splits(found: list[Entry], split: str | None) -> tuple[list[Entry], list[Problem]]:
    """The splits' names for what the column says; a column without any such name (numbers of folds) says nothing."""
    names = {row.split: split_of(row.split) for row in found if row.split is not None}
    if not any(names.values()):
        return [row if row.split == split else replace(row, split=split) for row in found], []
    kept: list[Entry] = []
    problems: list[Problem] = []
    for row in found:
        if row.split is None:
            kept.append(replace(row, split=split))
        elif names[row.split] is None:
            problems.append(row.problem(f"{_short(row.split)} is no split"))
        else:
            kept.append(replace(row, split=names[row.split]))
    return kept, problems


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
