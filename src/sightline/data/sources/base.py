"""What a format must say of itself. Adding one is one file beside this, and its line in `sources.FORMATS`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...structures import Dataset


@dataclass(frozen=True)
class Format:
    """A way to keep labelled images in a folder.

    `seen(path)` says what of it lies there ("12 XML files in Annotations"), or None; it opens no image and answers fast.
    `read(path, task)` raises DataError where nothing can be read; single files that cannot are the data set's problems.
    `write(dataset, folder)` writes images and labels, splits as folders or lists, so that `read` gives the same.
    `task_of(path)` says which of its tasks the labels there are for; without it that is the first.
    """

    name: str
    tasks: tuple[str, ...]
    about: str
    seen: Callable[[Path], str | None]
    read: Callable[[Path, str], Dataset]
    write: Callable[[Dataset, Path], None]
    task_of: Callable[[Path], str] | None = None


def copy_image(path: Path, folder: Path) -> Path:
    """Copy an image into a folder, by its name (with a number where another image has it already); returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / path.name, 1
    while target.exists():
        target, number = folder / f"{path.stem}-{number}{path.suffix}", number + 1
    return Path(shutil.copyfile(path, target))
