"""What an allocator holds beyond what it was asked for, found by playing a computation's takings and givings to a copy of it.

`GlibcHeap` is malloc of glibc 2.36 as `fit` sets it (`allocator.freed_memory_kept`): blocks stay in one heap when they are
freed, and an aligned block does not fit into the hole of an equal one. `AdaptedHeap` is the same left to itself, as `predict`
has it. `CudaCache` is torch's caching allocator.
"""

from __future__ import annotations

import abc
import bisect

import numpy as np

from ..allocator import ADAPTED, KEPT

PAGE = 4096
HEADER, LEAST = 16, 32  # of a chunk (malloc/malloc.c: CHUNK_HDR_SZ, MINSIZE)
TOP_PAD = 128 * 1024  # DEFAULT_TOP_PAD
ALIGNED, PAGE_ALIGNED_FROM = 64, 2 * 2**20  # torch's c10/core/alignment.h: gAlignment, gAlloc_threshold_thp
# Small objects settle in the gaps that alignment leaves, and keep freed neighbours apart. How many do, and how many are gone
# after a step, was fitted to the resident sets of the float32 trainings in docs/memory.md
SETTLED, LEFT = 0.6, 0.8


class Allocator(abc.ABC):
    """Blocks by a key; `held` is what the system sees as taken now, `peak` the most so far."""

    peak = 0

    @property
    @abc.abstractmethod
    def held(self) -> int: ...

    @abc.abstractmethod
    def take(self, key: object, size: int) -> None: ...

    @abc.abstractmethod
    def give(self, key: object) -> None: ...

    def end_of_step(self) -> None:  # noqa: B027
        """A step of training is over."""


class GlibcHeap(Allocator):
    """malloc's main heap: best fit, neighbours joined, nothing given back; large blocks by mmap where the heap has no room."""

    MAPPED_FROM = KEPT

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []  # (size, start), sorted
        self._size_at: dict[int, int] = {}
        self._start_before: dict[int, int] = {}  # the start of the free chunk that ends there
        self._top = self._end = 0
        self._touched, self._pages, self._mapped = np.zeros(1 << 18, bool), 0, 0
        self._blocks: dict[object, tuple[bool, int, int]] = {}
        self._gaps: list[tuple[int, int]] = []
        self._draws = np.random.default_rng(0)

    @property
    def held(self) -> int:
        return self._pages * PAGE + self._mapped

    def take(self, key: object, size: int) -> None:
        alignment = PAGE if size >= PAGE_ALIGNED_FROM else ALIGNED
        chunk = max(LEAST, (size + HEADER + 7) // 16 * 16)
        wanted = chunk + alignment + LEAST  # _int_memalign
        start = self._find(wanted)
        if start is None:
            pages = -(-size // PAGE) * PAGE
            self._mapped += pages
            self._blocks[key] = (True, 0, pages)
        else:
            self._blocks[key] = (False, *self._cut(start, wanted, chunk, alignment, size))
        self.peak = max(self.peak, self.held)

    def give(self, key: object) -> None:
        mapped, start, size = self._blocks.pop(key)
        if mapped:
            self._mapped -= size
        else:
            self._join(start, size)

    def end_of_step(self) -> None:
        settled = self._draws.random(len(self._gaps)) >= LEFT
        for (start, size), stays in zip(self._gaps, settled, strict=True):
            if not stays:
                self._join(start, size)
        self._gaps = [gap for gap, stays in zip(self._gaps, settled, strict=True) if stays]

    def _find(self, wanted: int) -> int | None:
        """Where so many bytes are free, taken out of what is free with all that lies behind; None: by mmap."""
        at = bisect.bisect_left(self._free, (wanted, 0))
        if at < len(self._free):
            size, start = self._free[at]
            self._remove(start, size)
            if size > wanted:
                self._join(start + wanted, size - wanted)
            return start
        if self._end - self._top < wanted + LEAST:
            if wanted >= self.MAPPED_FROM:
                return None
            self._end = -(-(self._top + wanted + LEAST + TOP_PAD) // PAGE) * PAGE
        self._top += wanted
        return self._top - wanted

    def _cut(self, start: int, wanted: int, chunk: int, alignment: int, size: int) -> tuple[int, int]:
        """The aligned chunk in what was found; what stands before and behind it is free again."""
        aligned = -(-(start + HEADER) // alignment) * alignment - HEADER
        if aligned != start and aligned - start < LEAST:
            aligned += alignment
        behind = start + wanted - aligned - chunk
        if aligned > start:
            if self._draws.random() < SETTLED:
                self._gaps.append((start, aligned - start))
                self._touch(start, aligned)
            else:
                self._join(start, aligned - start)
        if behind >= LEAST:
            self._join(aligned + chunk, behind)
        self._touch(aligned, aligned + HEADER + size)
        return aligned, chunk + (behind if behind < LEAST else 0)

    def _join(self, start: int, size: int) -> None:
        """Free a chunk: one with its free neighbours, or with the top."""
        if start in self._start_before:
            before = self._start_before[start]
            size += self._size_at[before]
            self._remove(before, start - before)
            start = before
        if start + size == self._top:
            self._top = start
            return
        if start + size in self._size_at:
            behind = self._size_at[start + size]
            self._remove(start + size, behind)
            size += behind
        bisect.insort(self._free, (size, start))
        self._size_at[start], self._start_before[start + size] = size, start

    def _remove(self, start: int, size: int) -> None:
        del self._free[bisect.bisect_left(self._free, (size, start))]
        del self._size_at[start], self._start_before[start + size]

    def _touch(self, start: int, end: int) -> None:
        """Pages that were written to are held from then on."""
        first, last = start // PAGE, -(-end // PAGE)
        while last > len(self._touched):
            self._touched = np.concatenate([self._touched, np.zeros_like(self._touched)])
        pages = self._touched[first:last]
        self._pages += len(pages) - int(np.count_nonzero(pages))
        pages[:] = True


class AdaptedHeap(GlibcHeap):
    """malloc by its own rules, where they end: blocks of 32 MB and more are mmapped, and what is free at the heap's end goes back
    to the system from twice that on (malloc/malloc.c: free, systrim). So it is after `fit`; a process that only asks comes there.
    """

    MAPPED_FROM = ADAPTED

    def give(self, key: object) -> None:
        super().give(key)
        if self._end - self._top >= 2 * ADAPTED:
            self._end = -(-(self._top + LEAST + TOP_PAD) // PAGE) * PAGE
            given = self._touched[self._end // PAGE :]
            self._pages -= int(np.count_nonzero(given))
            given[:] = False


class CudaCache(Allocator):
    """torch's CUDA caching allocator (c10/cuda/CUDACachingAllocator.cpp): what it has reserved it keeps.

    Sizes are rounded up to 512 B; up to 1 MB come from segments of 2 MB, up to 10 MB from segments of 20 MB, larger ones get
    a segment of their own, rounded up to 2 MB. The smallest free block that fits is split where enough remains.
    """

    UNIT, SMALL, SMALL_SEGMENT, LARGE_SEGMENT, LARGE_FROM, ROUND = (
        512,
        2**20,
        2 * 2**20,
        20 * 2**20,
        10 * 2**20,
        2 * 2**20,
    )

    def __init__(self) -> None:
        self._reserved = 0
        self._free: dict[bool, list[tuple[int, int]]] = {
            True: [],
            False: [],
        }  # (size, start) of the small, of the large
        self._size_at: dict[int, int] = {}
        self._start_before: dict[int, int] = {}
        self._blocks: dict[object, tuple[int, int, bool]] = {}
        self._edges: set[int] = set()  # starts of segments, over which nothing is joined
        self._next = 0

    @property
    def held(self) -> int:
        return self._reserved

    def take(self, key: object, size: int) -> None:
        size = max(-(-size // self.UNIT), 1) * self.UNIT
        small = size <= self.SMALL
        free = self._free[small]
        at = bisect.bisect_left(free, (size, 0))
        if at < len(free):
            found, start = free[at]
            self._remove(start, found, small)
        else:
            found, start = self._new_segment(size, small)
        rest = found - size
        if rest >= self.UNIT if small else rest > self.SMALL:
            self._put(start + size, rest, small)
        else:
            size = found
        self._blocks[key] = (start, size, small)
        self.peak = max(self.peak, self._reserved)

    def give(self, key: object) -> None:
        start, size, small = self._blocks.pop(key)
        if start in self._start_before and start not in self._edges:
            before = self._start_before[start]
            size += self._size_at[before]
            self._remove(before, start - before, small)
            start = before
        end = start + size
        if end in self._size_at and end not in self._edges:
            behind = self._size_at[end]
            self._remove(end, behind, small)
            size += behind
        self._put(start, size, small)

    def _new_segment(self, size: int, small: bool) -> tuple[int, int]:
        if small:
            segment = self.SMALL_SEGMENT
        else:
            segment = self.LARGE_SEGMENT if size < self.LARGE_FROM else -(-size // self.ROUND) * self.ROUND
        start = self._next
        self._next += segment
        self._edges.add(start)
        self._reserved += segment
        return segment, start

    def _put(self, start: int, size: int, small: bool) -> None:
        bisect.insort(self._free[small], (size, start))
        self._size_at[start], self._start_before[start + size] = size, start

    def _remove(self, start: int, size: int, small: bool) -> None:
        free = self._free[small]
        del free[bisect.bisect_left(free, (size, start))]
        del self._size_at[start], self._start_before[start + size]
