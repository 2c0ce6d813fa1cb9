"""YOLO's data.yaml: where images lie by split, and what classes are called."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...errors import DataError
from ..listing import SPLIT_NAMES, read_text
from .boxes import class_name

CONFIG_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CONFIG_LIMIT = 2**20  # bytes
CONFIG_DEPTH = 20
CONFIG_KEY = re.compile(r"""^["'{\s]*(names|train|val)["']?\s*:""", re.MULTILINE)
Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # each value a text: no numbers, dates, merges or objects


@dataclass(frozen=True)
class Config:
    """A data.yaml: where it lies, the folders that its paths may start from, class names by number, its paths by split."""

    path: Path
    bases: list[Path]
    names: dict[int, str] | None
    entries: dict[str, list[str]]


def config_path(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml") else None
    return next((path for name in CONFIG_NAMES if (path := root / name).is_file() and _begins_as_config(path)), None)


def _begins_as_config(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return CONFIG_KEY.search(file.read(2**16).decode(errors="replace")) is not None
    except OSError:  # reading it will say why
        return True


def read_config(path: Path) -> Config:
    """Raises DataError with path and reason. `path` counts where such a folder exists; data.yaml's own folder always."""
    document = _document(path)
    if not isinstance(document, dict):
        raise DataError(f"{path} is no mapping", expected="names, train and val")
    bases = [Path(os.path.normpath(path.parent))]
    start = document.get("path")
    if isinstance(start, str) and start and "\0" not in start and (path.parent / start).is_dir():
        bases.insert(0, Path(os.path.normpath(path.parent / start)))
    entries: dict[str, list[str]] = defaultdict(list)
    for key, split in SPLIT_NAMES.items():
        value = document.get(key) or []
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"{path} has in {key} what is no path", expected="a folder, a list of folders, or a .txt file"
            )
        entries[split] += [text for text in texts if text]
    return Config(path, bases, _names(path, document.get("names")), {s: texts for s, texts in entries.items() if texts})


def _document(path: Path) -> Any:
    """Texts, lists and mappings. Nesting is counted first: the loader for it is recursive C, which deep nesting overruns."""
    text, depth = read_text(path, limit=CONFIG_LIMIT), 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > CONFIG_DEPTH:
                raise DataError(f"{path} is nested too deeply")
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no YAML ({reason})") from error


def _names(path: Path, names: object) -> dict[int, str] | None:
    """Class names by number from a list or a mapping; None where there are none."""
    if not names:
        return None
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else [])
    found: dict[int, str] = {}
    for number, value in pairs:
        name = class_name(value)
        if name is None or not re.fullmatch(r"\d{1,5}", str(number), re.ASCII) or int(number) in found:
            raise DataError(f"{path} has in names an entry {str(number)[:40]!r} that is no class's number or no name")
        found[int(number)] = name
    if not found:
        raise DataError(f"{path} has names that are no list", expected="names: [cat, dog], or numbers with names")
    return found
