"""How much memory there is: what the system, a container's limit (cgroup v1 and v2) or a GPU would still give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ArgumentError

UNITS = {"": 1, "b": 1} | {
    name: factor**power
    for power, letter in enumerate("kmgt", start=1)
    for name, factor in ((letter, 1024), (f"{letter}b", 1000), (f"{letter}ib", 1024))
}
ROOT = Path("/")
NO_LIMIT = 2**60  # cgroup v1 writes about 2^63 where there is none


def as_bytes(size: Any) -> int:
    """A number of bytes from a whole number, or from a text such as "8 GiB", "500MB" (10^6) or "8G" (2^30).

    >>> as_bytes("8 GiB"), as_bytes("1.5MB"), as_bytes(1024)
    (8589934592, 1500000, 1024)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", size) if isinstance(size, str) else None
    if found and found[2].lower() in UNITS:
        size = int(float(found[1]) * UNITS[found[2].lower()])
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ArgumentError(
            "This is no amount of memory", expected='bytes, or a text such as "8 GiB" or "500 MB"', received=repr(size)
        )
    return size


def free(device: Any = "cpu", root: Path = ROOT) -> int | None:
    """The bytes that this process could still take on `device`; None where nothing says so (no Linux, no GPU of that name).

    On a CPU the least of what the system has available and what each cgroup above the process and its own limits
    (`ulimit -v`, `ulimit -d`) leave.
    """
    kind = str(device)
    if kind.startswith("cuda"):
        return _free_on_gpu(kind)
    if not kind.startswith("cpu"):
        return None
    rooms = [room for room in (_available(root), *_left_by_cgroups(root), *_left_to_process(root)) if room is not None]
    return min(rooms, default=None)


def _free_on_gpu(device: str) -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    left, _ = torch.cuda.mem_get_info(device)
    return left + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _available(root: Path) -> int | None:
    """MemAvailable of /proc/meminfo: free memory, and caches that would be given up."""
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_to_process(root: Path) -> Iterator[int]:
    """What the process's own limits (setrlimit) leave: of its address space, and of what it may write to."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    held = dict(line.split(":", 1) for line in _lines(root / "proc/self/status") if ":" in line)
    for name, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most, _ = resource.getrlimit(name)
        if most != resource.RLIM_INFINITY and field in held:
            yield max(most - int(held[field].split()[0]) * 1024, 0)


def _left_by_cgroups(root: Path) -> Iterator[int]:
    """What each memory cgroup from the process's own up to the root leaves, those without a limit left out."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.strip().split(":", 2)
        if controllers == "":
            mount, most, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, most, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        place = mount / path.lstrip("/")
        for group in (place, *place.parents):
            if (left := _left(group, most, used)) is not None:
                yield left
            if group == mount:
                break


def _left(group: Path, most: str, used: str) -> int | None:
    limit, usage = _number(group / most), _number(group / used)
    if limit is None or usage is None or limit >= NO_LIMIT:
        return None
    lines = (line.split() for line in _lines(group / "memory.stat"))
    caches = {name: int(value) for name, value in lines}  # of files that were read, which are given up
    return max(limit - usage + caches.get("total_inactive_file", caches.get("inactive_file", 0)), 0)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    """A file's lines; none where it is not there, or may not be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
