"""Samples -> batches: images are decoded by threads ahead of the training, once where memory allows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..structures import ImageSpec, Problem, Sample
from ..training.batches import Batch, BatchMaker
from ..training.ports import Ports
from .decode import decode, decode_or_problem

PREFETCH = 3  # batches decoded ahead of the one in training
MEMORY_SHARE = 0.25  # of the machine's free memory that decoded images may take


class Images:
    """Readable samples with their decoded pixels, where they fit in memory; otherwise decoded when asked for."""

    def __init__(self, samples: Sequence[Sample], spec: ImageSpec, pixels: np.ndarray | None):
        self.samples, self.spec, self._pixels = tuple(samples), spec, pixels

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, indices: np.ndarray, pool: ThreadPoolExecutor) -> Callable[[], np.ndarray]:
        """Begin to decode some images; the result, when called, is uint8 (n, height, width, channels)."""
        if self._pixels is not None:
            pixels = self._pixels
            return lambda: pixels[indices]
        futures = [pool.submit(decode, self.samples[i].path, self.spec) for i in indices]
        return lambda: np.stack([future.result() for future in futures])


def read_images(
    samples: Sequence[Sample], spec: ImageSpec, workers: int, *, advance: Callable[[], None] = lambda: None
) -> tuple[Images, list[Problem]]:
    """Decode every image once: (the readable ones, what is wrong with the others)."""
    keep = len(samples) * int(np.prod(spec.shape)) < MEMORY_SHARE * free_memory()
    pixels = np.empty((len(samples), *spec.shape), np.uint8) if keep else None
    good: list[int] = []
    problems: list[Problem] = []

    def one(index: int) -> Problem | None:
        image = decode_or_problem(samples[index].path, spec)
        if isinstance(image, Problem):
            return image
        if pixels is not None:
            pixels[index] = image
        return None

    with ThreadPoolExecutor(workers) as pool:
        for index, problem in enumerate(pool.map(one, range(len(samples)))):
            advance()
            if problem is None:
                good.append(index)
            else:
                problems.append(problem)
    if pixels is not None and problems:
        pixels = pixels[good]
    return Images([samples[i] for i in good], spec, pixels), problems


def free_memory() -> int:
    """Bytes of memory that are available now, as the system says."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class ImageBatches:
    """Batches of (uint8 pixels as floats 0..255, class numbers); the order is drawn from (seed, epoch)."""

    def __init__(self, images: Images, ports: Ports, batch_size: int, workers: int, *, seed: int | None = None):
        self._images, self._make, self._batch_size = images, BatchMaker(ports), batch_size
        self._workers, self._seed = workers, seed
        self.steps: int | None = -(-len(images) // batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.arange(len(self._images))
        if self._seed is not None:
            np.random.default_rng((self._seed, number)).shuffle(order)
        parts = [order[i : i + self._batch_size] for i in range(0, len(order), self._batch_size)]
        waiting: deque[tuple[Callable[[], np.ndarray], np.ndarray]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            for part in parts:
                waiting.append((self._images.take(part, pool), self._labels(part)))
                if len(waiting) > PREFETCH:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())

    def _labels(self, indices: np.ndarray) -> np.ndarray:
        return np.array([self._images.samples[i].label for i in indices], np.int64)

    def _batch(self, pixels: Callable[[], np.ndarray], labels: np.ndarray) -> Batch:
        return self._make(pixels(), labels)
