"""Freed memory stays with the process while it trains.

By default glibc gives a large freed block back to the kernel at once, and the next step's activations come as fresh
pages that the kernel must first clear: a fault for each 4 KB of every activation in every step.
"""

from __future__ import annotations

import ctypes
import functools
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
TRIM_THRESHOLD = 2**31 - 4096  # the largest that mallopt's int holds: nothing at the heap's top is given back
MMAP_THRESHOLD = 32 * 2**20  # the largest that glibc takes (HEAP_MAX_SIZE / 2): smaller blocks come from the heap


@functools.cache  # the setting is the process's, and there is no way to read it
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks for the next step; False where the C library is another. Safe to call at any time."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)) and bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD))
