"""Decoded and resized pixels on disk, so that a file is decoded once however many epochs and runs need it.

A cache file is rows of uint8 (pixels, and the mask where there is one) followed by a key of 16 bytes for each row: a
digest of the file's path, size and time of change and of what was made of it. A row whose key nobody asks for, because
the file has changed, is never read. A cache file is built under a temporary name and renamed when it is whole, so a kill
leaves the old one or none; two processes that build the same one each build it whole, and the last stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..structures import Sample

VERSION = 1  # of how files become pixels; a change of it makes every cache anew
KEY = 16  # bytes
DEFAULT_LIMIT = 20 * 2**30  # bytes of all cache files together
DISK_SHARE = 0.5  # of the free disk that caches may take at most
STALE = 2 * 24 * 3600  # seconds until another machine's unfinished file counts as left behind


def default_folder() -> Path:
    """`$SIGHTLINE_CACHE`, else `sightline` in the user's cache folder (`$XDG_CACHE_HOME` or ~/.cache)."""
    own = os.environ.get("SIGHTLINE_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"


def sample_key(sample: Sample, recipe: str = "") -> bytes:
    """What a sample's pixels depend on: its files' paths, sizes and times of change, and `recipe` (what is made of them).

    Of a part of an image also which part. A file that is not there has a key of its own.
    """
    digest = hashlib.blake2b(f"{VERSION} {recipe}".encode(), digest_size=KEY)
    for path in [sample.path] + ([sample.mask.path] if sample.mask else []):
        digest.update(b"\0" + os.fsencode(os.path.abspath(path)))
        with contextlib.suppress(OSError):
            status = os.stat(path)
            digest.update(f"\0{status.st_size} {status.st_mtime_ns}".encode())
    if sample.mask:
        digest.update(repr(sample.mask.coding).encode())
    if sample.crop:
        digest.update(repr(sample.crop).encode())
    return digest.digest()


class PixelCache:
    """Rows for samples, in memory or in a file: `rows[where[i]]` is sample i's once `filled[where[i]]`; -1 where there is no room.

    Whoever decodes a sample whose row is missing puts it there with `put`; `seal` makes a file of rows that are all filled.
    """

    def __init__(
        self, rows: np.ndarray, where: np.ndarray, filled: np.ndarray, keys: np.ndarray | None = None,
        building: Building | None = None,
    ):  # fmt: skip
        self.rows, self.where, self.filled, self._keys, self._building = rows, where, filled, keys, building

    def get(self, index: int) -> np.ndarray | None:
        """Sample `index`'s row, or None where it is not there (yet)."""
        row = self.where[index]
        return self.rows[row] if row >= 0 and self.filled[row] else None

    def put(self, index: int, values: np.ndarray) -> None:
        row = self.where[index]
        if row >= 0 and not self.filled[row]:
            self.rows[row] = values
            self.filled[row] = True  # after the row: another thread may be looking

    def lacks(self, index: int) -> bool:
        """Whether there is room for sample `index`'s row, and nobody has put it yet."""
        return bool(self.where[index] >= 0 and not self.filled[self.where[index]])

    @property
    def missing(self) -> list[int]:
        """The samples whose row it `lacks`."""
        return [int(i) for i in np.flatnonzero(self.where >= 0) if not self.filled[self.where[i]]]

    def chosen(self, samples: Sequence[int]) -> PixelCache:
        """The cache of some of the samples, on the same rows."""
        return PixelCache(self.rows, self.where[list(samples)], self.filled)

    def seal(self) -> None:
        """Make what was built the cache that the next run finds, if every row is there. Raises OSError, and leaves the old one."""
        if self._building is not None and self._keys is not None and self.filled.all():
            self._building.finish(self.rows, self._keys)
            self._building = None

    def close(self) -> None:
        """Remove what was not sealed."""
        if self._building is not None:
            self._building.discard()
            self._building = None


class Building:
    """A cache file in the making: `temporary` until it is whole."""

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(f"{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")

    def reserve(self, size: int) -> None:
        """Take the room on the disk at once: a full disk is an OSError now, not a signal in the middle of a write."""
        with open(self.temporary, "xb") as file:
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)

    def finish(self, rows: np.ndarray, keys: np.ndarray) -> None:
        if isinstance(rows, np.memmap):
            rows.flush()
        with open(self.temporary, "r+b") as file:
            file.seek(rows.nbytes)
            file.write(keys.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.temporary, self.path)

    def discard(self) -> None:
        self.temporary.unlink(missing_ok=True)


def in_memory(samples: Sequence[Sample], row_bytes: int, room: int) -> PixelCache:
    """A cache that lives as long as the process; it holds the first rows that `room` bytes allow."""
    count = min(len(samples), room // row_bytes)
    return PixelCache(np.empty((count, row_bytes), np.uint8), _first(count, len(samples)), np.zeros(count, bool))


def on_disk(
    folder: Path, root: Path, samples: Sequence[Sample], recipe: str, row_bytes: int, limit: int | None = None
) -> PixelCache:
    """The cache of a data set in `folder`: opened where it is whole and fits, otherwise begun with the rows that still hold.

    `recipe` names what is made of a file, `row_bytes` its size. `limit` (bytes, of all caches in the folder; without one
    `DEFAULT_LIMIT`, and never more than half of the free disk) makes the least recently used ones go; where the data set
    alone is larger, its first samples are cached. Raises OSError where nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = np.frombuffer(b"".join(sample_key(sample, recipe) for sample in samples), np.uint8).reshape(-1, KEY)
    name = hashlib.blake2b(os.fsencode(root.resolve()) + f" {recipe}".encode(), digest_size=12).hexdigest()
    path = folder / f"pixels-{name}"
    old, old_keys = open_rows(path, row_bytes)
    known = {key.tobytes(): row for row, key in enumerate(old_keys)}
    found = np.array([known.get(key.tobytes(), -1) for key in keys], np.int64)
    allowed = allowed_bytes(folder, limit)
    count = min(len(samples), allowed // (row_bytes + KEY))
    if (found >= 0).sum() >= (count if count == len(samples) else 0.9 * count):
        if len(old):
            os.utime(path)  # used now: the last to go
        return PixelCache(old, found, np.ones(len(old), bool))
    make_room(folder, path, allowed - count * (row_bytes + KEY))
    building = Building(path)
    try:
        building.reserve(count * (row_bytes + KEY))
        rows = np.memmap(building.temporary, np.uint8, "r+", shape=(count, row_bytes))
        filled = found[:count] >= 0
        for index in np.flatnonzero(filled):
            rows[index] = old[found[index]]
    except BaseException:
        building.discard()
        raise
    return PixelCache(rows, _first(count, len(samples)), filled, keys[:count], building)


def _first(count: int, length: int) -> np.ndarray:
    """Row i for sample i, while there are rows."""
    return np.where(np.arange(length) < count, np.arange(length), -1)


def open_rows(path: Path, row_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, keys) of a cache file, mapped; empty where there is none, or none of whole rows."""
    size = path.stat().st_size if path.is_file() else 0
    count, rest = divmod(size, row_bytes + KEY)
    if not count or rest:
        return np.empty((0, row_bytes), np.uint8), np.empty((0, KEY), np.uint8)
    rows = np.memmap(path, np.uint8, "r", shape=(count, row_bytes))
    return rows, np.fromfile(path, np.uint8, offset=count * row_bytes).reshape(count, KEY)


def allowed_bytes(folder: Path, limit: int | None) -> int:
    """How large all caches in a folder may be together."""
    disk = int(DISK_SHARE * (shutil.disk_usage(folder).free + sum(size for _, _, size in _caches(folder))))
    return min(DEFAULT_LIMIT if limit is None else limit, disk)


def make_room(folder: Path, keep: Path, allowed: int) -> None:
    """Remove the least recently used caches but `keep` until the others take `allowed` bytes at most, and what was left behind."""
    for temporary in folder.glob("pixels-*.tmp"):
        if _left_behind(temporary):
            _remove(temporary)
    others = sorted(each for each in _caches(folder) if each[1] != keep)
    total = sum(size for _, _, size in others)
    for _, path, size in others:
        if total <= allowed:
            break
        _remove(path)
        total -= size


def _caches(folder: Path) -> list[tuple[float, Path, int]]:
    """(time of the last use, path, bytes) of the whole cache files."""
    found = []
    for path in folder.glob("pixels-*"):
        with contextlib.suppress(FileNotFoundError):  # another process may remove it now
            status = path.stat()
            if path.suffix != ".tmp":
                found.append((status.st_mtime, path, status.st_size))
    return found


def _left_behind(temporary: Path) -> bool:
    """Whether nobody builds this any more: its process is gone, or (on another machine) it has not changed for long."""
    host, process = temporary.name.removesuffix(".tmp").rsplit(".", 3)[-3:-1]
    if host != _host():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - temporary.stat().st_mtime > STALE
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return False


def _host() -> str:
    """This machine's name as a part of a file's name."""
    return socket.gethostname().replace(".", "-").replace("/", "-")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # in use on a system that minds, or gone already
        path.unlink()
