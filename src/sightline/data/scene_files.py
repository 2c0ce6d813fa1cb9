"""Scenes as data sets on disk, in every format that has the labels of a task."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from ..errors import ArgumentError, DataError, choose, whole_number
from ..files import write_text
from ..structures import Dataset, Mask, MaskCoding, Sample
from .listing import SPLITS, is_hidden, read_text
from .mask_files import write_mask
from .scenes import CLASSES, MASK_CLASSES, Scene, make_scenes
from .sources import FORMATS

TASK_FORMATS = {
    "classify": ("class-folders", "csv"),
    "localize": ("coco", "voc", "yolo", "csv"),
    "detect": ("coco", "voc", "yolo", "csv"),
    "segment": ("masks", "csv"),
}
COUNTS = MappingProxyType({"train": 400, "validation": 100, "test": 100})
RECIPE = 1  # of how numbers become pixels; a change of it makes folders written before another data set
MARK = "scenes.json"  # says what a folder holds; written last
COMPRESSION = 1  # of PNG; grain does not get much smaller, only slower, by more


def write_scenes(
    folder: str | Path, task: str, n: Mapping[str, int] = COUNTS, *, format: str | None = None,
    size: tuple[int, int] = (128, 128), seed: int = 0, digits: tuple[int, int] | None = None,
    extent: tuple[float, float] | None = None,
) -> Path:  # fmt: skip
    """Write `n` scenes of each split as a data set for a task, PNG images and labels in a format; returns the folder.

    Without `format` it is the first of `TASK_FORMATS`. Scenes for classify and localize hold exactly one digit, others
    1 to 4 or what `digits` says, as large as `make_scenes` has them or `extent` says. The same arguments write the same bytes. A
    folder that holds just these scenes is left as it is; one that holds anything else, or only a part of them, is a DataError. Raises
    ArgumentError for what is out of range.
    """
    folder = Path(folder)
    arguments = _arguments(task, n, format, size, seed, digits, extent)
    try:
        if not _holds(folder, arguments):
            _write(folder, arguments)
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror or error})") from error
    return folder


def _write(folder: Path, arguments: dict[str, Any]) -> None:
    """Write everything into a hidden folder, then move it to its place, the mark last."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".scenes-", dir=folder) as temporary:  # elsewhere may be another disk
        files, whole = Path(temporary) / "files", Path(temporary) / "whole"
        whole.mkdir()
        FORMATS[arguments["format"]].write(_draw_files(files, arguments), whole)
        write_text(whole / MARK, _mark(arguments))
        # Folders first: to move one where another process has put one is an error, before any file is replaced
        for path in sorted(whole.iterdir(), key=lambda path: (path.name == MARK, path.is_file(), path.name)):
            os.rename(path, folder / path.name)


def _arguments(
    task: str, n: Mapping[str, int], format: str | None, size: tuple[int, int], seed: int, digits: tuple[int, int] | None,
    extent: tuple[float, float] | None,
) -> dict[str, Any]:  # fmt: skip
    """All that the files depend on, checked, as JSON has it."""
    choose("task", task, TASK_FORMATS)
    if format is not None:
        choose(f"format of scenes for {task}", format, TASK_FORMATS[task])
    if not isinstance(n, Mapping):
        raise ArgumentError("The number of scenes is said by split", expected='{"train": 400}', received=repr(n))
    for split, count in n.items():
        choose("split", split, SPLITS)
        whole_number(count, f"The number of scenes for {split}", least=int(split == "train"))
    if "train" not in n:
        raise ArgumentError("A data set has scenes to train on", received=f"scenes for {', '.join(n) or 'nothing'}")
    alone = task in ("classify", "localize")
    if digits is None:
        digits = (1, 1) if alone else (1, 4)
    make_scenes(0, size, digits=digits, seed=seed, extent=extent)  # raises
    if alone and tuple(digits) != (1, 1):
        raise ArgumentError(f"A scene for {task} holds one digit", expected="digits (1, 1)", received=repr(digits))
    return {
        "scenes": RECIPE, "task": task, "format": format or TASK_FORMATS[task][0],
        "n": {split: int(n[split]) for split in SPLITS if n.get(split)},
        "size": [int(side) for side in size], "seed": int(seed), "digits": [int(number) for number in digits],
    } | ({} if extent is None else {"extent": [float(share) for share in extent]})  # fmt: skip


def _holds(folder: Path, arguments: dict[str, Any]) -> bool:
    """Whether a folder holds just these scenes, or nothing yet. Raises DataError where it holds something else."""
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"{folder} is a file", fix="Give the name of a new folder")
        return False
    names = sorted(name for name in os.listdir(folder) if not is_hidden(name))
    if not names:
        return False
    fix = "Give the name of a new folder, or remove this one"
    if MARK not in names:
        raise DataError(
            f"{folder} holds something else than scenes, or a part of them", received=", ".join(names[:5]), fix=fix
        )
    text = read_text(folder / MARK, limit=2**16)
    if text != _mark(arguments):
        raise DataError(
            f"{folder} holds other scenes", expected=arguments, received=" ".join(text.split())[:300], fix=fix
        )
    return True


def _mark(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments) + "\n"


def _draw_files(folder: Path, arguments: dict[str, Any]) -> Dataset:
    """The scenes as image and mask files, with the labels that the task needs."""
    task, size = arguments["task"], tuple(arguments["size"])
    (folder / "masks").mkdir(parents=True)
    splits = {}
    for split, count in arguments["n"].items():
        drawn = make_scenes(
            count, size, digits=arguments["digits"], seed=arguments["seed"], split=split, extent=arguments.get("extent")
        )
        stems = (folder / f"{split}-{i:05d}" for i in range(count))
        splits[split] = tuple(_draw_file(stem, scene, task) for stem, scene in zip(stems, drawn, strict=True))
    classes = MASK_CLASSES if task == "segment" else CLASSES
    return Dataset(folder, classes, splits, tuple(splits), (), "detect" if task == "localize" else task)


def _draw_file(stem: Path, scene: Scene, task: str) -> Sample:
    path = stem.with_suffix(".png")
    Image.fromarray(scene.image).save(path, compress_level=COMPRESSION)
    sample = Sample(path, size=scene.mask.shape)
    if task == "classify":
        return replace(sample, label=int(scene.boxes.labels[0]))
    if task == "segment":
        coding = MaskCoding("index", tuple(range(len(MASK_CLASSES))))
        return replace(sample, mask=Mask(write_mask(scene.mask, stem.parent / "masks" / path.name), coding))
    return replace(sample, boxes=scene.boxes)
