"""How far each of our layers looks: a rule for each kind, from its arguments and the shapes of what it takes and gives.

`look_of` answers None for a layer that has no rule, among them a person's own and one with an activation function of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .. import layers
from ..layers.padding import pads_of
from ..layers.resizing import centre_window
from ..layout import Shape, inner_axis
from .windows import EVERYTHING, FIRST, NOTHING, SAME, Window, behind, resized, shifted, sliding, spread

Pair = tuple[Window, Window]  # along the height and along the width


@dataclass(frozen=True)
class Look:
    """For each input of a layer how its places are read."""

    windows: tuple[Pair, ...]


Rule = Callable[[Any, Sequence[Shape], Shape], Look | None]

PLACE_BY_PLACE = Look(((SAME, SAME),))
WHOLE = Look(((EVERYTHING, EVERYTHING),))  # what has no height and width is made of, or makes, a whole feature map


def size_of(shape: Shape) -> tuple[int, int]:
    """(height, width) of a value without the batch; what is no feature map counts as one place."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


def place_by_place(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    return PLACE_BY_PLACE


def whole(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    return WHOLE


def _slides(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    """Convolutions and poolings."""
    kernel = getattr(layer, "kernel_size", None) or layer.pool_size
    dilation = getattr(layer, "dilation_rate", (1, 1))
    pads = pads_of(size_of(shapes[0]), kernel, layer.strides, layer.padding, dilation)
    rows, columns = (sliding(kernel[i], layer.strides[i], pads[i][0], dilation[i]) for i in (0, 1))
    return Look(((rows, columns),))


def _spreads(layer: layers.Conv2DTranspose, shapes: Sequence[Shape], out: Shape) -> Look:
    rows, columns = (
        spread(layer.kernel_size[i], layer.strides[i], layer._crop(i)[0], layer.dilation_rate[i]) for i in (0, 1)
    )
    return Look(((rows, columns),))


def _pads(layer: layers.ZeroPadding2D, shapes: Sequence[Shape], out: Shape) -> Look:
    return Look(((shifted(-layer.padding[0][0]), shifted(-layer.padding[1][0])),))


def _crops(layer: layers.Cropping2D, shapes: Sequence[Shape], out: Shape) -> Look:
    return Look(((shifted(layer.cropping[0][0]), shifted(layer.cropping[1][0])),))


def _upsamples(layer: layers.UpSampling2D, shapes: Sequence[Shape], out: Shape) -> Look:
    rows, columns = (
        resized(old, new, layer.interpolation) for old, new in zip(size_of(shapes[0]), size_of(out), strict=True)
    )
    return Look(((rows, columns),))


def _resizes(layer: layers.Resizing, shapes: Sequence[Shape], out: Shape) -> Look:
    size, new = size_of(shapes[0]), size_of(out)
    if layer.crop_to_aspect_ratio:
        return _crops_and_resizes(size, new, layer.interpolation, layer.antialias)
    if not layer.pad_to_aspect_ratio:
        rows, columns = (resized(size[i], new[i], layer.interpolation, layer.antialias) for i in (0, 1))
        return Look(((rows, columns),))
    above = (max(size[0], int(size[1] * new[0] / new[1])) - size[0]) // 2
    left = (max(size[1], int(size[0] * new[1] / new[0])) - size[1]) // 2
    padded = (size[0] + 2 * above, size[1] + 2 * left)
    return _moved_and_resized((-above, -left), padded, new, layer.interpolation, layer.antialias)


def _crops_and_resizes(size: tuple[int, int], new: tuple[int, int], interpolation: str, antialias: bool) -> Look:
    top, left, *window = centre_window(size, new)
    return _moved_and_resized((top, left), window, new, interpolation, antialias)


def _moved_and_resized(
    start: tuple[int, int], window: Sequence[int], new: tuple[int, int], interpolation: str, antialias: bool
) -> Look:
    """The window of so many rows and columns at `start`, which may lie outside, at another size."""
    rows, columns = (
        behind(shifted(start[i]), window[i], resized(window[i], new[i], interpolation, antialias)) for i in (0, 1)
    )
    return Look(((rows, columns),))


def _resizes_like(layer: layers.ResizeLike, shapes: Sequence[Shape], out: Shape) -> Look:
    rows, columns = (
        FIRST if old == 1 else resized(old, new, layer.interpolation)
        for old, new in zip(size_of(shapes[0]), size_of(out), strict=True)
    )
    return Look(((rows, columns), (NOTHING, NOTHING)))


def _random_crop(layer: layers.RandomCrop, shapes: Sequence[Shape], out: Shape) -> Look:
    return _crops_and_resizes(size_of(shapes[0]), size_of(out), "bilinear", False)


def _along_axes(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    """Softmax and LayerNormalization: place by place over channels, all of an axis that is summed over."""
    rank = len(shapes[0]) + 1
    axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis
    dims = {inner_axis(axis, rank) for axis in axes} if rank == 4 else set()
    return Look(((EVERYTHING if 2 in dims else SAME, EVERYTHING if 3 in dims else SAME),))


def joins(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    """Merging place by place; an axis of one place is stretched."""
    size = size_of(out)
    return Look(tuple(_stretched(size_of(shape), size) for shape in shapes))


def _stretched(old: tuple[int, int], new: tuple[int, int]) -> Pair:
    rows, columns = (FIRST if old[i] == 1 and new[i] > 1 else SAME for i in (0, 1))
    return rows, columns


def beside(dim: int, shapes: Sequence[Shape]) -> Look | None:
    """Concatenation along `dim` of (N, C, H, W): of channels. In a row along the height, each part would look in its own way."""
    return None if len(shapes[0]) == 3 and dim != 1 else Look(((SAME, SAME),) * len(shapes))


def _concatenates(layer: layers.Concatenate, shapes: Sequence[Shape], out: Shape) -> Look | None:
    return beside(inner_axis(layer.axis, len(out) + 1), shapes)


def reshapes(layer: Any, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """From or to what has no height and width: the whole. Feature maps keep their places or are not known."""
    if max(len(shapes[0]), len(out)) > 3:
        return None
    if len(shapes[0]) == len(out) == 3:
        return PLACE_BY_PLACE if size_of(shapes[0]) == size_of(out) else None
    return WHOLE


def _permutes(layer: layers.Permute, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """Rows stay rows, or it is not known: along the height there would be columns."""
    return PLACE_BY_PLACE if len(out) != 3 or layer.dims == (1, 2, 3) else None


RULES: dict[type[nn.Module], Rule] = {
    layers.Conv2D: _slides,
    layers.DepthwiseConv2D: _slides,
    layers.SeparableConv2D: _slides,
    layers.Conv2DTranspose: _spreads,
    layers.MaxPooling2D: _slides,
    layers.AveragePooling2D: _slides,
    layers.GlobalAveragePooling2D: whole,
    layers.GlobalMaxPooling2D: whole,
    layers.ZeroPadding2D: _pads,
    layers.Cropping2D: _crops,
    layers.UpSampling2D: _upsamples,
    layers.Resizing: _resizes,
    layers.ResizeLike: _resizes_like,
    layers.RandomCrop: _random_crop,
    layers.Softmax: _along_axes,
    layers.LayerNormalization: _along_axes,
    layers.Concatenate: _concatenates,
    layers.Flatten: whole,
    layers.Reshape: reshapes,
    layers.Permute: _permutes,
    **dict.fromkeys(
        (
            layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract,
        ),
        joins,
    ),
    **dict.fromkeys(
        (
            layers.Activation, layers.BatchNormalization, layers.Dense, layers.DepthMaxPooling2D, layers.Dropout, layers.ELU,
            layers.Identity, layers.InputLayer, layers.LeakyReLU, layers.LocalResponseNormalization, layers.Normalization,
            layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip, layers.RandomRotation,
            layers.RandomTranslation, layers.RandomZoom, layers.ReLU, layers.Rescaling, layers.SpatialDropout2D,
        ),
        place_by_place,
    ),
}  # fmt: skip


def look_of(layer: nn.Module, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """How `layer` looks at inputs of these shapes (without the batch, channels first) in inference; None: not known."""
    rule = rule_of(layer, RULES)
    if rule is None or callable(getattr(layer, "activation", None)):
        return None
    return rule(layer, shapes, out)


def rule_of(layer: nn.Module, rules: dict[type[nn.Module], Rule]) -> Rule | None:
    """The rule of a layer's class, or of the one that it inherits what it computes from."""
    for kind in type(layer).__mro__:
        if kind in rules:
            return rules[kind] if type(layer).forward is kind.forward else None
    return None
