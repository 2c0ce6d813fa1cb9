"""A batch in parts: each is a batch with its place in the whole, computed one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch

from ..losses import Loss
from .batches import Batch
from .ranks import Ranks

Divisor = Callable[[int, Loss, torch.Tensor, torch.Tensor], torch.Tensor | None]


def rows(batch: Batch, start: int, end: int) -> Batch:
    """Rows `start` .. `end` - 1 of a batch; views of its tensors."""

    def cut(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return tensor[start:end] if tensor is not None and tensor.ndim and len(tensor) == batch.size else tensor

    def each(tensors: tuple[torch.Tensor | None, ...] | None) -> tuple[torch.Tensor | None, ...] | None:
        return None if tensors is None else tuple(map(cut, tensors))

    return Batch(
        tuple(x[start:end] for x in batch.inputs), each(batch.targets), each(batch.weights), end - start,
        batch.first + start, batch.whole,
    )  # fmt: skip


def bounds(count: int, parts: int) -> list[tuple[int, int]]:
    """Where each of so many parts of `count` rows begins and ends: the first ones have a row more where they are not even."""
    small, more = divmod(count, parts)
    starts = [part * small + min(part, more) for part in range(parts + 1)]
    return list(pairwise(starts))


def one_row_for_none(batch: Batch) -> Batch:
    """A batch without rows with one of zeros, for a network to compute: not every layer takes none."""
    return batch._replace(inputs=tuple(x.new_zeros((1, *x.shape[1:])) for x in batch.inputs))


def in_parts(batch: Batch, parts: int) -> Iterator[Batch]:
    """The batch in so many parts, some of which are empty where it has fewer rows."""
    for start, end in bounds(batch.size, parts):
        yield rows(batch, start, end)


class Whole:
    """What the parts of a batch must know of all of it: by what each term of each output's loss is divided."""

    def __init__(self, batch: Batch, ranks: Ranks | None = None):
        self._batch, self._ranks = batch, ranks
        self._divisors: dict[tuple[int, int], torch.Tensor | None] = {}

    def divisor(
        self, output: int, term: int, loss: Loss, values: torch.Tensor, said: torch.Tensor
    ) -> torch.Tensor | None:
        """The divisor of the loss that is this term of an output's, found at the first part, whose values and answers are given."""
        place = output, term
        if place not in self._divisors and not self._batch.size:
            self._divisors[place] = self._together(None if loss.reduction == "sum" else said.new_zeros(()))
        if place not in self._divisors:
            true, weights = ((given or {output: None})[output] for given in (self._batch.targets, self._batch.weights))
            assert true is not None
            weights = None if weights is None else weights.to(said.device)
            self._divisors[place] = self._together(loss.divisor(true.to(said.device), weights, values, said))
        return self._divisors[place]

    def _together(self, own: torch.Tensor | None) -> torch.Tensor | None:
        return own if own is None or self._ranks is None else self._ranks.summed(own)
