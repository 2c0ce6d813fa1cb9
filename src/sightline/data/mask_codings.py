"""How the mask files of a data set say classes: found by a legend file and a look at some of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..structures import IGNORE, MaskCoding
from .mask_files import as_text, pixels

LOOK, LONG_LOOK = 40, 200  # masks looked at where a legend names the classes, and where none does
LOOK_PIXELS = 300_000_000  # of all masks looked at: some seconds
SHOWN = 12  # values or colours in a message
MOST_VALUES = 5000  # of one file; more is a photo
WHITE = (255, 2**16 - 1)  # of 8 and 16 bits


@dataclass(frozen=True)
class Legend:
    """What a file says of masks: the classes' names and, unless `kind` is "names", the value of each ("index", "color")."""

    path: Path
    names: tuple[str, ...]
    kind: str
    values: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()


@dataclass
class _Look:
    """What some masks hold: of each file its numbers (None for one in color) and its colours."""

    numbers: list[set[int] | None] = field(default_factory=list)
    colors: list[set[int]] = field(default_factory=list)
    in_color: Path | None = None
    lossy: Path | None = None

    @property
    def all_numbers(self) -> set[int]:
        return set().union(*(each for each in self.numbers if each is not None))

    @property
    def all_colors(self) -> set[int]:
        return set().union(*self.colors)


def find_coding(paths: Sequence[Path], legend: Legend | None, folder: Path) -> tuple[MaskCoding, tuple[str, ...]]:
    """The coding of these masks and the classes' names.

    Without a legend, black and white masks are "background" and "foreground", and small numbers are classes, 255 none.
    Values that most masks have but no class are an error; those of a few are left to `read_mask`. Raises DataError,
    listing what was seen and what file in `folder` would say more, where the masks do not speak for themselves.
    """
    look = _look(paths, LONG_LOOK if legend is None else LOOK)
    if legend is None:
        return _unnamed(look, paths[0].parent, folder)
    if legend.kind == "color" and (look.in_color or look.all_colors <= {*legend.values, *legend.ignored}):
        return _by_color(look, legend)
    if legend.kind == "index":
        return _by_number(look, legend, legend.values, legend.ignored)
    white = next((value for value in WHITE if {value} <= look.all_numbers <= {0, value}), None)
    if white is not None and len(legend.names) == 2:
        return _by_number(look, legend, (0, white), ())
    return _by_number(look, legend, tuple(range(len(legend.names))), ())


def _look(paths: Sequence[Path], most: int) -> _Look:
    """Look at masks spread evenly over all; those that cannot be opened are left to the check of the data."""
    look, budget, first_error = _Look(), LOOK_PIXELS, None
    for index in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)):
        try:
            found = pixels(paths[index])
        except DataError as error:
            first_error = first_error or error
            continue
        numbers = found.numbers
        look.numbers.append(None if numbers is None else _distinct(numbers))
        look.colors.append(_distinct(found.colors))
        if numbers is None:
            look.in_color = look.in_color or paths[index]
        if found.format in ("JPEG", "WEBP"):
            look.lossy = look.lossy or paths[index]
        budget -= found.values.size
        if budget < 0:
            break
    if not look.colors:
        raise first_error or DataError("There is no mask")
    return look


def _distinct(values: np.ndarray) -> set[int]:
    return set(np.unique(values)[:MOST_VALUES].tolist())


def _by_color(look: _Look, legend: Legend) -> tuple[MaskCoding, tuple[str, ...]]:
    known = {*legend.values, *legend.ignored}
    if _systematic(look.colors, known):
        raise DataError(
            f"{legend.path} lacks colors that most masks have",
            received=_shown((as_text(color) for color in sorted(look.all_colors - known)), "; "),
            fix=_lossy(look) or "Add a line for each; the name ignore is for pixels without a class",
        )
    return MaskCoding("color", legend.values, legend.ignored), legend.names


def _by_number(
    look: _Look, legend: Legend, values: tuple[int, ...], ignored: tuple[int, ...]
) -> tuple[MaskCoding, tuple[str, ...]]:
    ignored = ignored if IGNORE in (*values, *ignored) else (*ignored, IGNORE)
    known = {*values, *ignored}
    if _systematic(look.numbers, known):
        seen = f"the values {_shown(sorted(look.all_numbers))}" if look.all_numbers else "masks in color"
        raise DataError(
            f"{legend.path} does not name what most masks hold",
            expected=f"{len(values)} classes with the values {_shown(values)}",
            received=seen + (f" ({look.in_color} is in color)" if look.in_color and look.all_numbers else ""),
            fix=_lossy(look)
            or f"Name each value there, the background too, or write {legend.path.parent / 'legend.csv'} with value,name "
            "(for colors: name,r,g,b)",
        )
    return MaskCoding("index", values, ignored), legend.names


def _systematic(files: Sequence[set[int] | None], known: set[int]) -> bool:
    """Whether more than half of the files hold something that is not known."""
    return 2 * sum(values is None or not values <= known for values in files) > len(files)


def _unnamed(look: _Look, masks: Path, folder: Path) -> tuple[MaskCoding, tuple[str, ...]]:
    if look.in_color is not None:
        raise DataError(
            f"The masks in {masks} are in color ({look.in_color.name}), and nothing says which color is which class",
            received=f"the colors {_shown((as_text(color) for color in sorted(look.all_colors)), '; ')}",
            fix=_lossy(look) or f"Write {folder / 'legend.csv'} with the header name,r,g,b and a line for each color",
        )
    seen = look.all_numbers
    for white in WHITE:
        if seen == {0, white}:
            return MaskCoding("index", (0, white)), ("background", "foreground")
    classes = seen - {IGNORE}
    top = max(classes, default=0)
    spread = top > 200 or (top > 20 and 2 * len(classes) <= top + 1)
    if len(seen) < 2 or min(seen) < 0 or spread or (look.lossy and top > 1):
        raise DataError(
            f"The masks in {masks} do not say how many classes there are",
            received=f"the value{'s' * (len(seen) > 1)} {_shown(sorted(seen))} in {len(look.numbers)} masks",
            fix=_lossy(look) or f"Write {folder / 'legend.csv'} with the header value,name and a line for each class",
        )
    names = ("foreground",) if top == 1 else tuple(f"class {number}" for number in range(1, top + 1))
    return MaskCoding("index", tuple(range(top + 1)), (IGNORE,)), ("background", *names)


def _lossy(look: _Look) -> str | None:
    if look.lossy is None:
        return None
    return f"{look.lossy} is in a lossy format, which changes a mask's values: save masks as PNG"


def _shown(values: Iterable[object], separator: str = ", ") -> str:
    listed: Collection[object] = list(values)
    rest = len(listed) - SHOWN
    return separator.join(str(value) for value in list(listed)[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
