"""Images -> batches: threads decode and change pictures ahead of the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from ..layout import to_channels_first
from ..training.batches import Batch
from ..training.parts import bounds
from .images import Images

PREFETCH = 3  # batches made ahead of the one in training


class ImageBatches:
    """Batches of (uint8 pixels 0..255, classes); the order is drawn from (seed, epoch), without a seed it is the samples'.

    Classes are their numbers, int64 (n,); with `shares_of` (the number of classes) their shares, float32 (n, classes), as
    pictures have them that show several. With a `rank` (number, count) it makes of each batch only that process's rows.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        workers: int,
        *,
        seed: int | None = None,
        shares_of: int | None = None,
        rank: tuple[int, int] = (0, 1),
    ):
        self._images, self._batch_size = images, batch_size
        self._workers, self._seed, self._shares_of, self._rank = workers, seed, shares_of, rank
        self.steps: int | None = -(-len(images) // batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        order = np.arange(len(self._images))
        if self._seed is not None:
            np.random.default_rng((self._seed, number)).shuffle(order)
        waiting: deque[_Unfinished] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            for start in range(first * self._batch_size, len(order), self._batch_size):
                waiting.append(self._begun(order[start : start + self._batch_size], number, pool))
                if len(waiting) > PREFETCH:
                    yield self._batch(waiting.popleft())
            while waiting:
                yield self._batch(waiting.popleft())

    def state_dict(self) -> dict[str, Any]:
        """Nothing: an epoch's order and pictures follow from the seed and the epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def _begun(self, indices: np.ndarray, epoch: int, pool: ThreadPoolExecutor) -> _Unfinished:
        number, count = self._rank
        first, end = bounds(len(indices), count)[number]
        return _Unfinished(self._images, indices[first:end], epoch, pool, first, len(indices))

    def _batch(self, unfinished: _Unfinished) -> Batch:
        """Pixels stay bytes: they become numbers where the network is, a quarter of the way there."""
        pixels, labels = unfinished.result()
        targets = torch.from_numpy(_as_targets(labels, self._shares_of))
        of = None if self._rank[1] == 1 else unfinished.of
        return Batch(
            (to_channels_first(torch.from_numpy(pixels)),), (targets,), None, len(pixels), unfinished.first, of
        )


class _Unfinished:
    """A batch in the making: uint8 (n, height, width, channels), which the pool's threads fill; its rows from `first` on, `of` all."""

    def __init__(self, images: Images, indices: np.ndarray, epoch: int, pool: ThreadPoolExecutor, first: int, of: int):
        self.first, self.of = first, of
        self._pixels = np.empty((len(indices), *images.spec.shape), np.uint8)

        def fill(place: int, index: int) -> tuple[tuple[int, float], ...]:
            example = images.at(index, epoch)
            self._pixels[place] = example.pixels
            return example.labels

        self._parts: list[Future] = [pool.submit(fill, place, int(index)) for place, index in enumerate(indices)]

    def result(self) -> tuple[np.ndarray, list[tuple[tuple[int, float], ...]]]:
        return self._pixels, [part.result() for part in self._parts]


def _as_targets(labels: list[tuple[tuple[int, float], ...]], shares_of: int | None) -> np.ndarray:
    if shares_of is None:
        return np.array([own[0][0] for own in labels], np.int64)
    shares = np.zeros((len(labels), shares_of), np.float32)
    for row, own in zip(shares, labels, strict=True):
        for label, share in own:
            row[label] += share
    return shares
