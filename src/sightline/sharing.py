"""Which rows of a batch are computed, where that is not all of it: a part in time, or the rows of one process of several.

What a layer draws or averages over a batch must not depend on how the batch is split. Random layers draw for all rows and
use their own; BatchNormalization averages over all processes. This room knows neither layers nor training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import torch


class Summing(Protocol):
    """What processes that compute one batch together can do."""

    def gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Each process's tensor, all of one shape, in the same order everywhere."""


@dataclass(frozen=True)
class Share:
    """Rows `first` .. `first + rows` - 1 of a batch of `total`. `ranks` compute the others at the same time; without them
    they come before or after, in this process. Where `rows` is 0, one is computed that counts for nothing: layers need one.
    """

    first: int
    rows: int
    total: int
    ranks: Summing | None = None


_CURRENT: ContextVar[Share | None] = ContextVar("share", default=None)


def current() -> Share | None:
    """The share that is being computed; None where it is whole batches."""
    return _CURRENT.get()


@contextmanager
def computing(share: Share | None) -> Iterator[None]:
    """Inside, layers compute this share."""
    token = _CURRENT.set(share)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def rows_of(x: torch.Tensor) -> int:
    """For how many rows a layer draws that computes `x`."""
    share = _CURRENT.get()
    return len(x) if share is None else share.total


def own(drawn: torch.Tensor) -> torch.Tensor:
    """Of what was drawn for all rows the share's; what has no rows, or one for all, stays."""
    share = _CURRENT.get()
    if share is None or not drawn.ndim or len(drawn) != share.total:
        return drawn
    return drawn[:1] if share.rows == 0 else drawn[share.first : share.first + share.rows]


def like(x: torch.Tensor) -> torch.Tensor:
    """An empty tensor as `x`, in the same order of memory, with all rows of its batch."""
    if _CURRENT.get() is None:
        return torch.empty_like(x)
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    sizes = (rows_of(x), *x.shape[1:])
    made = torch.empty([sizes[dim] for dim in order], dtype=x.dtype, device=x.device)
    return made.permute(sorted(range(x.ndim), key=order.__getitem__))
