"""Legend files of masks: which colour or number is which class."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import ArgumentError, DataError
from ..files import write_text
from ..structures import IGNORE
from .listing import read_text
from .mask_codings import Legend
from .mask_files import voc_palette

NO_CLASS = ("", "ignore")  # names, in a legend, of what is no class
VALUE, NAME = ("value", "id", "index", "class_id", "label"), ("name", "class", "class_name", "label_name")
RED_GREEN_BLUE = (("r", "red"), ("g", "green"), ("b", "blue"))
LARGEST = 2**16 - 1  # value of a mask of numbers
Row = tuple[str, int]


def read_legend(*folders: Path) -> Legend | None:
    """The legend in the first of `folders` that has one. Raises DataError, naming the file, where it cannot be understood."""
    for folder in folders:
        for name, reader in READERS.items():
            path = folder / name
            if path.is_file():
                return reader(path, read_text(path))
    return None


def _table(path: Path, text: str) -> Legend:
    """CSV with a header: name,r,g,b or value,name."""
    expected = "a header with name,r,g,b or value,name, and a line for each class"
    try:
        rows = [[cell.strip() for cell in cells] for cells in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error})", expected=expected) from error
    header, *rows = [cells for cells in rows if any(cells)] or [[]]
    header = [cell.lower() for cell in header]
    name, value = _column(header, NAME), _column(header, VALUE)
    rgb = [_column(header, names) for names in RED_GREEN_BLUE]
    color = [at for at in rgb if at is not None]
    if name is None or (len(color) < 3 and value is None):
        raise DataError(f"{path} has no such header", expected=expected, received=_short(",".join(header)))
    at, kind = (color, "color") if len(color) == 3 or value is None else ([value], "index")
    for cells in rows:
        if len(cells) < len(header):
            raise DataError(
                f"{path} has a line with too few cells", expected=expected, received=_short(",".join(cells))
            )
    return _legend(path, kind, [(cells[name], _code(path, [cells[i] for i in at])) for cells in rows])


def _column(header: Sequence[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _labelmap(path: Path, text: str) -> Legend:
    """CVAT's `name:r,g,b:parts:actions`."""
    rows = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            rows.append((name.strip(), _code(path, rest.split(":")[0].split(","), 3)))
    return _legend(path, "color", rows)


def _json(path: Path, text: str) -> Legend:
    """{name: [r, g, b]}."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({type(error).__name__})", expected='{"name": [r, g, b], ...}') from error
    if not isinstance(content, dict) or not all(isinstance(color, list) for color in content.values()):
        raise DataError(f"{path} is no legend", expected='{"name": [r, g, b], ...}', received=_short(repr(content)))
    return _legend(path, "color", [(name.strip(), _code(path, color, 3)) for name, color in content.items()])


def _lines(path: Path, text: str) -> Legend:
    """One name a line; line i (from 0) is class i."""
    names = [line.strip() for line in text.rstrip().split("\n")]
    if "" in names:
        line = names.index("") + 1
        raise DataError(f"{path} names no class in line {line}", expected="the name of class i in line i + 1")
    return _legend(path, "names", [(name, number) for number, name in enumerate(names)], none=())


READERS: dict[str, Callable[[Path, str], Legend]] = {
    "legend.csv": _table,
    "class_dict.csv": _table,
    "colors.csv": _table,
    "legend.json": _json,
    "labelmap.txt": _labelmap,
    "classes.txt": _lines,
    "labels.txt": _lines,
}


def _code(path: Path, parts: Sequence[object], count: int | None = None) -> int:
    """A number, or red, green and blue as 0xRRGGBB, from texts or numbers."""
    count = len(parts) if count is None else count
    largest = LARGEST if count == 1 else 255
    numbers = [_whole(part) for part in parts]
    code = 0
    for number in numbers:
        if number is None or number > largest or len(parts) != count:
            expected = f"{count} whole number{'s' * (count > 1)} of 0 to {largest} for each class"
            raise DataError(f"{path} is damaged", expected=expected, received=_short(repr(list(parts))))
        code = code << 8 | number
    return code


def _whole(part: object) -> int | None:
    """The whole number that a text or number of up to 5 digits is."""
    if isinstance(part, int) and not isinstance(part, bool):
        return part if 0 <= part <= LARGEST else None
    text = part.strip() if isinstance(part, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None


def _legend(path: Path, kind: str, rows: Iterable[Row], *, none: tuple[str, ...] = NO_CLASS) -> Legend:
    rows = list(rows)
    classes = [row for row in rows if row[0].lower() not in none]
    names, values = [name for name, _ in classes], [value for _, value in rows]
    if not 1 <= len(classes) <= IGNORE:
        raise DataError(f"{path} is no legend", expected=f"1 to {IGNORE} classes", received=len(classes))
    for what, each in (("name", Counter[object](names)), ("color" if kind == "color" else "value", Counter(values))):
        if each and each.most_common(1)[0][1] > 1:
            raise DataError(f"{path} has a {what} twice", received=_short(repr(each.most_common(1)[0][0])))
    ignored = tuple(value for name, value in rows if name.lower() in none)
    return Legend(path, tuple(names), kind, tuple(value for _, value in classes), ignored)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def write_legend(folder: Path, classes: Sequence[str], coding: str) -> Path:
    """legend.csv for masks that `write_mask` writes in this coding; where lines are classes, classes.txt too.

    Raises ArgumentError for a class that has the name of what is no class.
    """
    for name in classes:
        if name.strip().lower() in NO_CLASS:
            raise ArgumentError(f"A class of masks cannot be called {name!r}, which says that pixels have no class")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if coding == "color":
        writer.writerow(("name", "r", "g", "b"))
        colors = voc_palette().tolist()
        writer.writerows((name, *colors[number]) for number, name in enumerate(classes))
        writer.writerow(("ignore", *colors[IGNORE]))
    else:
        white = coding == "binary"
        writer.writerow(("value", "name"))
        writer.writerows((number * 255 if white else number, name) for number, name in enumerate(classes))
    path = folder / "legend.csv"
    write_text(path, text.getvalue())
    if coding in ("index", "palette"):
        write_text(folder / "classes.txt", "".join(" ".join(name.split()) + "\n" for name in classes))
    return path
