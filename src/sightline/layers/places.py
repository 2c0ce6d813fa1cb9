"""Layers of detection's heads: from the places of a feature map to boxes, and all places in one row."""

from __future__ import annotations

from typing import Unpack

import torch

from ..errors import ShapeError
from ..layout import Shape, person_shape, to_channels_last
from ..ops import place_middles
from .base import Common, Layer

MOST = 8.0  # of a distance's logarithm: e^8 strides are more than any image


class PlaceBoxes(Layer):
    """Boxes xyxy in pixels of the input from what a map says at each place: (H, W, 4) -> (H*W, 4), row by row.

    The four values are the logarithms of how far the left, top, right and bottom edges lie from the place's middle, in strides
    (Tian et al. 2019, section 3.1: exp keeps them positive). `stride` is how many pixels of the input lie between two places.
    """

    def __init__(self, stride: int, **common: Unpack[Common]):
        super().__init__(**common)
        self.stride = stride

    def build(self, *shapes: Shape) -> None:
        if len(shapes[0]) != 3 or shapes[0][0] != 4:
            raise ShapeError("PlaceBoxes takes four values at each place", received=(None, *person_shape(shapes[0])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middles = place_middles((x.shape[2], x.shape[3]), self.stride, x.device)
        said = to_channels_last(x).flatten(1, 2)
        said = said if said.dtype == torch.float64 else said.float()  # 16 bits tell pixels apart only up to 256
        left_top, right_bottom = (said.clamp(max=MOST).exp() * self.stride).split(2, -1)
        return torch.cat([middles - left_top, middles + right_bottom], -1)


class PlaceValues(Layer):
    """What a map says at each place, in one row: (H, W, C) -> (H*W, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return to_channels_last(x).flatten(1, 2)
