"""What a training asks of the memory: pages of 2 MB for large tensors, and small ones that stay when they are freed.

By default glibc gives a freed block back to the kernel at once, and the next step's activations come as fresh pages
that the kernel must clear and map, 4 KB at a time: up to half of a step. (docs/performance.md has the measurements.)
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it at its first tensor: blocks from 2 MB on then ask for huge pages
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MOST = 2**31 - 4096  # about the largest that mallopt's int holds
KEPT = 8 * 2**20  # blocks below stay in the heap. Larger ones would leave holes there that memory pays for
ADAPTED = 32 * 2**20  # where glibc's own adaptation of the threshold ends (DEFAULT_MMAP_THRESHOLD_MAX)


def ask_for_huge_pages() -> None:
    """Let torch's tensors of 2 MB and more lie on huge pages, where the system has them; a person's own word stands."""
    os.environ.setdefault(HUGE_PAGES, "1")


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """Inside, freed blocks wait for the next step; afterwards all that is free goes back to the system.

    Gives False, and changes nothing, where the C library is not glibc.
    """
    library = _glibc()
    if library is None:
        yield False
        return
    library.mallopt(M_TRIM_THRESHOLD, MOST)
    library.mallopt(M_MMAP_THRESHOLD, KEPT)
    try:
        yield True
    finally:
        library.mallopt(M_TRIM_THRESHOLD, 2 * ADAPTED)
        library.mallopt(M_MMAP_THRESHOLD, ADAPTED)
        library.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library of this process, None where it is another one."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
