"""Opening zips and HDF5 files that nobody has looked at: nothing is unpacked to disk, followed elsewhere, or run.

Sizes are checked before anything is read, so that a small file can never become a large array.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import ModelFileError
from .checks import quoted

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_JSON = 64 * 2**20
MAX_ENTRIES = 1000
# A compressed part may grow by this factor (weights hardly shrink; deflate reaches 1032), beyond a floor for small ones
MAX_EXPANSION, EXPANSION_FLOOR = 100, 16 * 2**20
MAX_OBJECTS = 200_000  # groups and datasets of one HDF5 file
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
HDF5_SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


def signature(path: Path) -> bytes:
    """The first eight bytes. Raises ModelFileError where there is no such file."""
    if not path.is_file():
        fix = "Save it as one .keras file" if path.is_dir() else "Check the path"
        raise ModelFileError(f"There is no model file {path}", fix=fix)
    with open(path, "rb") as file:
        return file.read(8)


def kind_of_file(path: str | Path) -> str | None:
    """What a file is, by its content: "keras", "h5" (a whole model), "weights" or "old weights"; None for anything else.

    "weights" is Keras 3's .weights.h5, "old weights" what Keras 2 wrote into an .h5. Raises ModelFileError where there
    is no file.
    """
    path = Path(path)
    begins = signature(path)
    try:
        if begins.startswith(ZIP_SIGNATURE):
            with zipfile.ZipFile(path) as archive:
                return "keras" if CONFIG in archive.namelist() else None
        if begins != HDF5_SIGNATURE:
            return None
        with open_hdf5(path) as file:
            if "model_config" in file.attrs:
                return "h5"
            if any(has(file, name) for name in ("layers", "_layer_checkpoint_dependencies", "vars")):
                return "weights"
            return "old weights" if "layer_names" in file.attrs or "layer_names0" in file.attrs else None
    except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, ModelFileError):
        return None  # not whole enough to say


# --- zip ---------------------------------------------------------------------------------------------------------


def read_archive(path: Path) -> tuple[Any, io.BytesIO]:
    """(the configuration, the weights' HDF5 file in memory) of a .keras file."""
    with zipfile.ZipFile(path) as archive:
        entries = _checked_entries(archive)
        if CONFIG not in entries or WEIGHTS not in entries:
            raise ModelFileError(
                f"{path} is not a model of Keras",
                expected=f"a zip with {CONFIG} and {WEIGHTS}",
                received=quoted(sorted(entries)),
            )
        return parse_json(_entry(archive, entries[CONFIG], MAX_JSON)), weights_of(archive, entries)


def read_archived_weights(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        return weights_of(archive, _checked_entries(archive))


def weights_of(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> io.BytesIO:
    return io.BytesIO(_entry(archive, entries[WEIGHTS]))


def _checked_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    listed = archive.infolist()
    if len(listed) > MAX_ENTRIES:
        raise ModelFileError(f"It has {len(listed)} entries, which no model of Keras has")
    entries = {entry.filename: entry for entry in listed}
    if len(entries) < len(listed):
        raise ModelFileError("It has two entries of one name")
    for name, entry in entries.items():
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
            raise ModelFileError(f"The entry {quoted(name)} leads out of the archive")
        if entry.flag_bits & 1:
            raise ModelFileError(
                f"The entry {quoted(name)} is encrypted", fix="Save the model again without a password"
            )
    return entries


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: float = math.inf) -> bytes:
    stored, size = entry.compress_size, entry.file_size
    allowed = min(limit, max(stored * MAX_EXPANSION, EXPANSION_FLOOR))
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or size > allowed:
        raise ModelFileError(f"Its {entry.filename} has {size} bytes of {stored} stored ones, which is not believable")
    with archive.open(entry) as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ModelFileError(f"Its {entry.filename} is cut short", expected=f"{size} bytes", received=f"{len(data)}")
    return data


def parse_json(data: str | bytes) -> Any:
    """Raises ModelFileError above 64 MiB, ValueError or RecursionError for what is no JSON."""
    if len(data) > MAX_JSON:
        raise ModelFileError(f"It has a configuration of {len(data)} bytes", expected=f"{MAX_JSON} at most")
    return json.loads(data)


# --- HDF5 --------------------------------------------------------------------------------------------------------


def open_hdf5(source: Path | io.BytesIO) -> h5py.File:
    """Raises ModelFileError for a file over whose texts the HDF5 library would go for ever."""
    if isinstance(source, Path):
        with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            _check_heaps(view)
    else:
        _check_heaps(source.getvalue())
    return h5py.File(source, "r")


HEAP, HEAP_HEADER = b"GCOL\x01\x00\x00\x00", struct.Struct("<8sQ")
HEAP_OBJECT = struct.Struct("<HHIQ")  # number (0: the room left, whose size counts the header), references, -, size


def _check_heaps(data: mmap.mmap | bytes) -> None:
    """Walk the collections in which HDF5 keeps texts: each object must lead on, and end within (HDF5 format, III.E).

    libhdf5 2.0 goes round for ever in a collection that has an object of size 0.
    """
    start = data.find(HEAP)
    while start >= 0:
        if len(data) - start < HEAP_HEADER.size:
            raise ModelFileError("It ends in the middle of a heap")
        at, end = start + HEAP_HEADER.size, start + HEAP_HEADER.unpack_from(data, start)[1]
        while at + HEAP_OBJECT.size <= min(end, len(data)):
            number, _, _, size = HEAP_OBJECT.unpack_from(data, at)
            if number == 0 and size < HEAP_OBJECT.size:
                raise ModelFileError("It has a heap in which one part leads to itself")
            at += size if number == 0 else HEAP_OBJECT.size + -(-size // 8) * 8
        if end > len(data) or at > end:
            raise ModelFileError("It has a heap that does not end where it says")
        start = data.find(HEAP, start + len(HEAP))


def has(group: h5py.Group, path: str) -> bool:
    """Whether every step of `path` is there; links that lead elsewhere are not followed to say so."""
    for step in path.split("/"):
        if not _holds(group, step):
            return False
        group = _step(group, step)
    return True


def find(group: h5py.Group, path: str) -> Any:
    """The group or dataset at `path`. Raises ModelFileError for one that is missing or only linked to."""
    here = group
    for step in path.split("/"):
        if not _holds(here, step):
            raise ModelFileError(f"It has no {quoted(path)}")
        here = _step(here, step)
    return here


def _holds(group: Any, name: str) -> bool:
    # h5py's own `in` would follow a link, into another file even
    return bool(name) and isinstance(group, h5py.Group) and group.id.links.exists(name.encode())


def _step(group: h5py.Group, name: str) -> Any:
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ModelFileError(f"Its {quoted(name)} is a link to elsewhere, which is not followed")
    return group[name]


def datasets(file: h5py.Group) -> Iterator[str]:
    """The paths of all datasets. Groups are visited once, so that a circle of them ends."""
    seen: set[Any] = set()
    stack = [("", file)]
    while stack:
        path, here = stack.pop()
        if isinstance(here, h5py.Dataset):
            yield path
            continue
        address = h5py.h5o.get_info(here.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) + len(stack) + len(here) > MAX_OBJECTS:
            raise ModelFileError("It has more groups than any network has layers")
        stack += [(f"{path}/{name}".lstrip("/"), _step(here, name)) for name in here]


def check_dataset(dataset: Any, shape: Sequence[int], what: str, *, whole: bool = False) -> None:
    """Raise ModelFileError unless it is an array of numbers of this shape that lies in the file. Reads nothing.

    `whole`: whole numbers are expected.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise ModelFileError(f"{what} is not an array")
    if dataset.shape != tuple(shape):
        raise ModelFileError(f"{what} has another shape", expected=tuple(shape), received=quoted(dataset.shape))
    kinds = "iuf" if whole else "f"
    if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > 8:
        raise ModelFileError(f"{what} holds no numbers of that kind", received=quoted(str(dataset.dtype)))
    if dataset.external or dataset.is_virtual:
        raise ModelFileError(f"{what} lies in another file, which is not opened")
    plan = dataset.id.get_create_plist()
    used = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if used - FILTERS:
        raise ModelFileError(f"{what} is packed in a way that is not supported", fix="Save it without compression")
    size, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if size > (max(stored * MAX_EXPANSION, EXPANSION_FLOOR) if used else stored):
        raise ModelFileError(f"{what} has {size} bytes of {stored} stored ones, which is not believable")


def read_dataset(dataset: h5py.Dataset) -> np.ndarray:
    """The values of a dataset that `check_dataset` has accepted."""
    return np.asarray(dataset[()])


def attribute_text(holder: h5py.Group, name: str) -> str | None:
    """An attribute that is one text; None where it is missing."""
    if name not in holder.attrs:
        return None
    _check_text_attribute(holder, name, ())
    value = holder.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def attribute_texts(holder: h5py.Group, name: str) -> list[str]:
    """An attribute that is a list of texts; Keras splits a long one into `name0`, `name1`, ..."""
    if name in holder.attrs:
        parts = [name]
    else:
        parts = []
        while f"{name}{len(parts)}" in holder.attrs:
            parts.append(f"{name}{len(parts)}")
    if not parts:
        raise ModelFileError(f"It has no {name}")
    found: list[str] = []
    for part in parts:
        _check_text_attribute(holder, part, (None,))
        found += [value.decode() if isinstance(value, bytes) else str(value) for value in holder.attrs[part]]
    return found


def _check_text_attribute(holder: h5py.Group, name: str, shape: tuple[None, ...]) -> None:
    attribute = holder.attrs.get_id(name)
    is_text = attribute.dtype.kind in "SU" or h5py.check_string_dtype(attribute.dtype) is not None
    empty = attribute.shape == (0,)  # of no texts, which have no type
    if len(attribute.shape) != len(shape) or not (is_text or empty) or math.prod(attribute.shape) > MAX_OBJECTS:
        raise ModelFileError(f"Its {name} is not {'a list of texts' if shape else 'a text'}")
