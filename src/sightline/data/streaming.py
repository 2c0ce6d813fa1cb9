"""Image files read once, a batch at a time: however many there are, only a few batches are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..structures import ImageSpec, Problem
from .decode import decode_or_problem
from .loader import PREFETCH

Waiting = tuple[int, list[Future[np.ndarray | Problem]]]


def decoded(
    paths: Sequence[Path], spec: ImageSpec, batch_size: int, workers: int
) -> Iterator[tuple[list[int], np.ndarray, dict[int, Problem]]]:
    """For each batch of files the numbers of the readable ones, their pixels (uint8: n, height, width, channels), and what is
    wrong with the others, by their numbers.

    So many threads read ahead of whoever takes the batches.
    """
    waiting: deque[Waiting] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), batch_size):
            files = paths[start : start + batch_size]
            waiting.append((start, [pool.submit(decode_or_problem, path, spec) for path in files]))
            if len(waiting) > PREFETCH:
                yield _gathered(waiting.popleft(), spec)
        while waiting:
            yield _gathered(waiting.popleft(), spec)


def _gathered(waiting: Waiting, spec: ImageSpec) -> tuple[list[int], np.ndarray, dict[int, Problem]]:
    start, futures = waiting
    numbers: list[int] = []
    problems: dict[int, Problem] = {}
    pixels = np.empty((len(futures), *spec.shape), np.uint8)
    for number, future in enumerate(futures, start):
        image = future.result()
        if isinstance(image, Problem):
            problems[number] = image
        else:
            pixels[len(numbers)] = image
            numbers.append(number)
    return numbers, pixels[: len(numbers)], problems
