"""Layers that disturb what passes in training, and let it pass otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F

from .. import sharing
from ..errors import ArgumentError
from ..layout import Shape, person_shape, to_channels_first
from .base import Common, Layer
from .convolution import feature_map_shape
from .draws import checked_seed, generator


class _Dropout(Layer):
    """What both dropouts have: in training, a share `rate` of the values is zeroed and the rest scaled by 1 / (1 - rate)."""

    counters = ("draws",)

    def _set(self, rate: float, seed: int | None) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ArgumentError(f"{type(self).__name__}: rate is the share to drop, 0 to 1", received=repr(rate))
        self.rate, self.seed, self.draws = rate, checked_seed(seed, type(self).__name__), 0

    def _noise_shape(self, x: torch.Tensor) -> Sequence[int | None] | None:
        """The shape, as a person sees it, of what is drawn for `x`; None: each value on its own."""
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        if self.rate == 1:
            return torch.zeros_like(x)
        shape = self._noise_shape(x)
        if self.seed is None and shape is None:
            if sharing.current() is None:
                return F.dropout(x, self.rate)
            return x * sharing.own(F.dropout(sharing.like(x).fill_(1), self.rate))
        source = generator(self.seed, self.draws, x.device)
        self.draws += source is not None
        keep = sharing.like(x) if shape is None else _empty(x, shape)
        keep.bernoulli_(1 - self.rate, generator=source)
        return x * sharing.own(keep.div_(1 - self.rate))


class Dropout(_Dropout):
    """In training, zero a share `rate` (0 to 1) of the values and scale the rest by 1 / (1 - rate).

    `noise_shape` says which values fall together, batch included: (None, 1, 1, None) drops whole feature maps. With
    a `seed`, the n-th call since the layer was made draws the same mask again, whatever else draws in between.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self._set(rate, seed)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def build(self, *shapes: Shape) -> None:
        sizes = (None, *person_shape(shapes[0]))
        noise = self.noise_shape or sizes
        if len(noise) != len(sizes) or any(n not in (None, 1, s) for n, s in zip(noise[1:], sizes[1:], strict=True)):
            raise ArgumentError(
                "Dropout: noise_shape has a size, 1 or None for each axis", expected=sizes, received=noise
            )

    def _noise_shape(self, x: torch.Tensor) -> Sequence[int | None] | None:
        return self.noise_shape


class SpatialDropout2D(_Dropout):
    """Dropout of whole feature maps (Tompson et al., 2015): (H, W, C) -> (H, W, C)."""

    def __init__(self, rate: float, seed: int | None = None, **common: Unpack[Common]):
        super().__init__(**common)
        self._set(rate, seed)

    def build(self, *shapes: Shape) -> None:
        feature_map_shape("SpatialDropout2D", *shapes)

    def _noise_shape(self, x: torch.Tensor) -> Sequence[int | None] | None:
        return (None, 1, 1, None)


def _empty(x: torch.Tensor, shape: Sequence[int | None]) -> torch.Tensor:
    whole = (sharing.rows_of(x), *person_shape(x.shape[1:]))
    sizes = [given or size for given, size in zip(shape, whole, strict=True)]
    return to_channels_first(torch.empty(sizes, dtype=x.dtype, device=x.device))
