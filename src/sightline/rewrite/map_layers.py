"""Sightline's layers on maps of any size: what stays, what keeps the padding of the training size, what cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .. import layers
from ..layers.padding import pads_of, sides
from ..layout import Shape
from .dense_heads import changed, works_on_places
from .score_map import Grid, Pair

SLIDING = (
    layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.MaxPooling2D, layers.AveragePooling2D,
)  # fmt: skip
SINGLE = (
    layers.Activation, layers.Dropout, layers.ELU, layers.Identity, layers.LeakyReLU, layers.ReLU,
)  # fmt: skip # what these do to a value depends on that value alone
JOINING = (
    layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract,
)  # fmt: skip
OVER_CHANNELS = (layers.BatchNormalization, layers.LayerNormalization, layers.Softmax, layers.Concatenate)
ANYWHERE = (
    *SINGLE, layers.Dense, layers.DepthMaxPooling2D, layers.LocalResponseNormalization, layers.Rescaling,
    layers.SpatialDropout2D,
)  # fmt: skip
KNOWN = (
    *SLIDING, *JOINING, *OVER_CHANNELS, *ANYWHERE,
    layers.ZeroPadding2D, layers.Cropping2D, layers.Flatten, layers.Reshape, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D,
)  # fmt: skip

Found = tuple[nn.Module, Grid]


def kind_of(layer: nn.Module) -> type[nn.Module] | None:
    """Which of the known layers this is, or inherits all that it computes from; None for others."""
    kind = next((kind for kind in type(layer).__mro__ if kind in KNOWN), None)
    return kind if kind is not None and type(layer).forward is kind.forward else None


def on_map(layer: Any, shapes: Sequence[Shape], out: Shape, grid: Grid) -> Found | str | None:
    """The layer for maps of any size and the grid behind it; a text says why there is none, None that the layer is not known.

    `shapes`, `out`: what it takes and gives at the training size, (C, H, W).
    """
    kind = kind_of(layer)
    if kind is None:
        return None
    if callable(getattr(layer, "activation", None)) and not _is_placewise(layer, out):
        return "has an activation that does not do the same at each place of a larger map"
    if kind in SLIDING:
        return _sliding(layer, shapes[0], out, grid)
    if kind is layers.ZeroPadding2D:
        return layer, grid.slid((1, 1), (1, 1), layer.padding, shapes[0][1:], out[1:])  # type: ignore[arg-type]
    if kind is layers.Cropping2D:
        (top, bottom), (left, right) = layer.cropping
        return layer, grid.slid((1, 1), (1, 1), ((-top, -bottom), (-left, -right)), shapes[0][1:], out[1:])  # type: ignore[arg-type]
    if kind in JOINING or kind in ANYWHERE or (kind in OVER_CHANNELS and axes_of(layer) <= {-1, 3}):
        return layer, grid
    return "works along the height or the width of the map"


def _sliding(layer: Any, shape: Shape, out: Shape, grid: Grid) -> Found | str:
    kernel = getattr(layer, "kernel_size", None) or layer.pool_size
    dilation = getattr(layer, "dilation_rate", (1, 1))
    size: Pair = shape[1], shape[2]
    pads = pads_of(size, kernel, layer.strides, layer.padding, dilation)
    wide = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    behind = grid.slid(wide, layer.strides, pads, size, out[1:])  # type: ignore[arg-type]
    if layer.padding != "same" or layer.strides == (1, 1):  # which pads every size alike
        return layer, behind
    (top, bottom), (left, right) = pads
    if isinstance(layer, layers.AveragePooling2D) and max(top, bottom, left, right) > 0:
        return 'pads ("same", with a stride) by another number of rows for each size and does not count them'
    if max(top, bottom, left, right) == 0:
        return changed(layer, padding="valid"), behind
    is_even = top == bottom and left == right
    return changed(layer, padding=(top, left) if is_even else pads), behind


def _is_placewise(layer: Any, out: Shape) -> bool:
    return works_on_places(layers.Activation(layer.activation), [out], _dtype(layer), rows=False)


def _dtype(layer: nn.Module) -> Any:
    return next((p.dtype for p in layer.parameters()), torch.float32)


def axes_of(layer: Any) -> set[int]:
    return {layer.axis} if isinstance(layer.axis, int) else set(layer.axis)


def on_head(layer: Any, rank: int) -> nn.Module | None:
    """The layer that does at each place what `layer` does to tensors of `rank` (batch included) with one place; None: not known."""
    kind = kind_of(layer)
    if kind is None or callable(getattr(layer, "activation", None)):
        return None
    if kind in OVER_CHANNELS:
        if not axes_of(layer) <= {-1, rank - 1}:
            return None
        return layer if layer.axis == -1 else changed(layer, axis=-1)
    if kind in SLIDING:
        kernel = getattr(layer, "kernel_size", None) or layer.pool_size
        before = max(max(each) for each in sides(layer.padding))
        return layer if is_one_by_one(kernel, layer.strides, (before, before)) else None
    if kind is layers.Dropout and layer.noise_shape is not None:
        return changed(layer, noise_shape=None)
    return layer if kind in ANYWHERE or kind in JOINING else None


def is_one_by_one(kernel: Pair, strides: Pair, before: Pair) -> bool:
    """Whether a window looks at one place and moves by one."""
    return kernel == strides == (1, 1) and before == (0, 0)


def passes_through(layer: nn.Module) -> bool:
    """Whether a layer changes nothing of a row or of a map of one place."""
    return kind_of(layer) in (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
