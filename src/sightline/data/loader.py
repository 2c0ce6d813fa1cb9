"""Images -> batches: threads decode and change pictures ahead of the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..layout import to_channels_first
from ..training.batches import Batch
from ..training.parts import bounds
from .augment import Example
from .images import Images

PREFETCH = 3  # batches made ahead of the one in training


class ImageBatches:
    """Batches of (uint8 pixels 0..255, targets); the order is drawn from (seed, epoch), without a seed it is the samples'.

    `targets` makes of pictures what is to be learned, an array for each output; without it there are none. With a `rank`
    (number, count) it makes of each batch only that process's rows.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        workers: int,
        *,
        targets: Callable[[Sequence[Example]], tuple[np.ndarray, ...]] | None = None,
        seed: int | None = None,
        rank: tuple[int, int] = (0, 1),
    ):
        self._images, self._batch_size = images, batch_size
        self._workers, self._seed, self._targets, self._rank = workers, seed, targets, rank
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
        pixels, examples = unfinished.result()
        targets = None if self._targets is None else tuple(map(torch.from_numpy, self._targets(examples)))
        of = None if self._rank[1] == 1 else unfinished.of
        return Batch((to_channels_first(torch.from_numpy(pixels)),), targets, None, len(pixels), unfinished.first, of)


class _Unfinished:
    """A batch in the making: uint8 (n, height, width, channels), which the pool's threads fill; its rows from `first` on, `of` all."""

    def __init__(self, images: Images, indices: np.ndarray, epoch: int, pool: ThreadPoolExecutor, first: int, of: int):
        self.first, self.of = first, of
        self._pixels = np.empty((len(indices), *images.spec.shape), np.uint8)

        def fill(place: int, index: int) -> Example:
            example = images.at(index, epoch)
            self._pixels[place] = example.pixels
            return replace(example, pixels=self._pixels[place])

        self._parts: list[Future] = [pool.submit(fill, place, int(index)) for place, index in enumerate(indices)]

    def result(self) -> tuple[np.ndarray, list[Example]]:
        return self._pixels, [part.result() for part in self._parts]
