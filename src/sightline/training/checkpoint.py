"""Checkpoints on disk: a state of a training in one file, whole or recognised as torn; the newest two are kept.

A file is a zip of `state.json` and a `.safetensors` for each tensor, stored uncompressed: the zip's end and its checksums tell a
whole one. It holds no pickles, so reading one runs no code. Tensors are copied one by one, so that writing takes hardly any memory.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..errors import ArgumentError, RunError
from ..files import atomic_write

FORMAT = 2
DESCRIPTION, TENSOR = "state.json", "tensor"
SUFFIX, KEPT = ".checkpoint", 2
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, RuntimeError, NotImplementedError,
    zipfile.BadZipFile, SafetensorError,
)  # fmt: skip


def write(path: str | Path, state: Any) -> None:
    """Write a nested state (dicts, lists, tensors, NumPy arrays, plain values) to `path`, whole or not at all.

    Raises ArgumentError, naming where it stands, for a value of another kind.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps({"format": FORMAT, "state": _encode(state, tensors, "state")})
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(DESCRIPTION, text)
        for name, tensor in tensors.items():
            # a copy: what is written must be in order and alone in its memory
            alone = tensor.cpu().clone(memory_format=torch.contiguous_format)
            archive.writestr(_entry(name), save_tensors({TENSOR: alone}))


def read(path: str | Path) -> Any:
    """The state in a file. Raises RunError where it is torn or no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed, so it was not written here")
            description = json.loads(archive.read(DESCRIPTION))
            if description["format"] != FORMAT:
                raise ValueError(f"its format is {description['format']}, and this version reads {FORMAT}")
            names = (entry for entry in archive.namelist() if entry != DESCRIPTION)
            tensors = {entry: load_tensors(archive.read(entry))[TENSOR] for entry in names}
        return _decode(description["state"], tensors)
    except UNREADABLE as error:
        raise RunError(f"The checkpoint {path} is damaged ({error})") from error


def add(folder: str | Path, number: int, state: Any) -> Path:
    """Write the state after `number` updates into a folder of checkpoints; the one before stays, older ones go."""
    path = Path(folder) / f"{number:012d}{SUFFIX}"
    write(path, state)
    _remove(_newest_first(folder)[KEPT:] + _half_written(folder))
    return path


def clear(folder: str | Path) -> None:
    """Remove the checkpoints of a folder, and the folder where nothing else is in it."""
    _remove(_newest_first(folder) + _half_written(folder))
    if Path(folder).is_dir() and not any(Path(folder).iterdir()):
        Path(folder).rmdir()


def newest(folder: str | Path, tell: Callable[[str], None]) -> Any:
    """The newest whole state in a folder, None where there is none; `tell` hears of damaged ones, which are removed.

    Raises RunError, and removes nothing, where there are checkpoints and none is whole.
    """
    damaged: list[Path] = []
    for path in _newest_first(folder):
        try:
            state = read(path)
        except RunError as error:
            tell(str(error))
            damaged.append(path)
            continue
        if damaged:
            tell(f"Going on from the one before, {path.name}")
        _remove(damaged)
        return state
    if damaged:
        raise RunError(f"No checkpoint in {folder} is whole", fix="Remove them to begin the training anew")
    return None


def _entry(name: str) -> str:
    return f"{name}.safetensors"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _half_written(folder: str | Path) -> list[Path]:
    """What a process left that was killed while it wrote."""
    return list(Path(folder).glob(f".*{SUFFIX}.*.tmp"))


def _newest_first(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob(f"*{SUFFIX}"), reverse=True)


def _encode(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    """A value as JSON: tensors go beside it, and what JSON has not stands in an object of one key."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, (torch.Tensor, np.ndarray)):
        name, is_array = str(len(tensors)), isinstance(value, np.ndarray)
        tensors[name] = torch.as_tensor(value).detach()
        return {"array" if is_array else "tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, tensors, where), _encode(v, tensors, f"{where}.{k}")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, tensors, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise ArgumentError(f"{where} cannot be kept in a checkpoint", received=type(value).__name__)


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, inside), *others = value.items()
    if others:
        raise ValueError(f"it holds an object of {len(others) + 1} keys")
    if kind == "dict":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in inside}
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in inside)
    tensor = tensors[_entry(inside)]
    return tensor if kind == "tensor" else tensor.numpy()
