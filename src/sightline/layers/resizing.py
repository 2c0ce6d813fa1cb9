"""Resizing of images and feature maps: `resize` as a pure function, and the layers Resizing, UpSampling2D and ResizeLike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import torch
import torch.nn.functional as F

from ..errors import ArgumentError, ShapeError, choose, whole_number
from ..layout import Shape, person_shape, to_channels_first, to_channels_last
from .base import Common, Layer, pair
from .convolution import feature_map_shape
from .sampling import as_float, like_memory

Size = tuple[int, int]  # height, width


def resize(x: torch.Tensor, size: Size, interpolation: str = "bilinear", antialias: bool = False) -> torch.Tensor:
    """The images `x` (N, C, H, W) at `size` (height, width), pixels being squares with their centre at + 0.5.

    `interpolation`: "nearest", "bilinear", "bicubic" (Keys, a = -0.5), "lanczos3" or "lanczos5". `antialias` widens
    the kernel where the image shrinks; not for "nearest". Integers become float32, but by "nearest" they stay.
    The arithmetic is `jax.image.resize`'s, which Keras uses; torch's own bicubic has another kernel (a = -0.75).
    """
    if (x.shape[2], x.shape[3]) == tuple(size):
        return x if interpolation == "nearest" else as_float(x)
    if interpolation == "nearest":
        return _nearest(x, size)
    x = as_float(x)
    if interpolation == "bilinear" and not antialias:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return _separable(x, size, KERNELS[interpolation], antialias)


def crop_to_aspect_ratio(x: torch.Tensor, size: Size) -> torch.Tensor:
    """The largest window at the centre of `x` (N, C, H, W) that has the aspect ratio of `size` (height, width)."""
    top, left, height, width = centre_window((x.shape[2], x.shape[3]), size)
    return x[:, :, top : top + height, left : left + width]


def pad_to_aspect_ratio(x: torch.Tensor, size: Size, fill_value: float = 0.0) -> torch.Tensor:
    """`x` (N, C, H, W) with `fill_value` evenly around, up to the aspect ratio of `size` (height, width).

    As in Keras both sides get the same: of an odd number of missing rows or columns one stays missing.
    """
    height, width = x.shape[2:]
    rows = (max(height, int(width * size[0] / size[1])) - height) // 2
    columns = (max(width, int(height * size[1] / size[0])) - width) // 2
    return F.pad(x, (columns, columns, rows, rows), value=fill_value)


def centre_window(shape: Size, size: Size) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest centred window of `shape` with the aspect ratio of `size`."""
    height = max(min(shape[0], int(shape[1] * size[0] / size[1])), 1)
    width = max(min(shape[1], int(shape[0] * size[1] / size[0])), 1)
    return (shape[0] - height) // 2, (shape[1] - width) // 2, height, width


def number(value: object, what: str) -> float:
    """A number as it is; raises ArgumentError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ArgumentError(f"{what} is a number", received=repr(value))


def _nearest(x: torch.Tensor, size: Size) -> torch.Tensor:
    height, width = x.shape[2:]
    if x.is_floating_point() and size[0] % height == 0 and size[1] % width == 0:
        return F.interpolate(x, size=size, mode="nearest-exact")  # fast; only by whole factors is it free of ties
    pixels = ((height, size[0]), (width, size[1]))
    rows, columns = (_nearest_pixels(old, new, _computed_on(x)).to(x.device) for old, new in pixels)
    return to_channels_first(to_channels_last(x).index_select(1, rows).index_select(2, columns))


def _computed_on(x: torch.Tensor) -> str:
    """Indices and weights are the CPU's, the same for every device; for shapes alone nothing is computed."""
    return "meta" if x.device.type == "meta" else "cpu"


def _nearest_pixels(old: int, new: int, device: str) -> torch.Tensor:
    """For each of `new` pixels the one of `old` in which its centre lies.

    Where a centre lies between two, rounding decides: this is (i + 0.5) * old / new in float32 as XLA computes it,
    whose division is a product with the reciprocal. torch's "nearest-exact" rounds otherwise, and exact numbers too.
    """
    step = old * torch.tensor(1 / new, device=device, dtype=torch.float32)
    return ((torch.arange(new, device=device, dtype=torch.float32) + 0.5) * step).long()


def _separable(x: torch.Tensor, size: Size, kernel: Kernel, antialias: bool) -> torch.Tensor:
    """A_height x A_width^T for each image and channel; an axis that keeps its size is left alone."""
    batch, channels, height, width = x.shape
    y = to_channels_last(x)
    if size[0] != height:
        y = _weights(height, size[0], kernel, antialias, _computed_on(x)).to(x) @ y.reshape(
            batch, height, width * channels
        )
    if size[1] != width:
        y = _weights(width, size[1], kernel, antialias, _computed_on(x)).to(x) @ y.reshape(
            batch * size[0], width, channels
        )
    return to_channels_first(y.reshape(batch, *size, channels))


def _weights(old: int, new: int, kernel: Kernel, antialias: bool, device: str) -> torch.Tensor:
    """The (new, old) matrix that resizes one axis; each row sums to one, so that the border does not darken."""
    step = old / new
    centres = (torch.arange(new, device=device, dtype=torch.float64) + 0.5) * step - 0.5
    distance = (centres[:, None] - torch.arange(old, device=device, dtype=torch.float64)).abs()
    weights = kernel(distance / max(step, 1.0) if antialias else distance)
    return weights / weights.sum(1, keepdim=True)


Kernel = Callable[[torch.Tensor], torch.Tensor]


def _triangle(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp(min=0)


def _keys(distance: torch.Tensor) -> torch.Tensor:
    """R. G. Keys, "Cubic convolution interpolation for digital image processing", 1981: a = -0.5."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _lanczos(radius: int) -> Kernel:
    """sinc(d) sinc(d / radius) within the radius (C. E. Duchon, "Lanczos filtering", 1979)."""

    def kernel(distance: torch.Tensor) -> torch.Tensor:
        return torch.where(distance <= radius, torch.sinc(distance) * torch.sinc(distance / radius), 0.0)

    return kernel


KERNELS: dict[str, Kernel] = {
    "bilinear": _triangle,
    "bicubic": _keys,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}
RESIZE_INTERPOLATIONS = ("nearest", *KERNELS)


class Resizing(Layer):
    """Images of any size at (height, width): (H, W, C) -> (height, width, C); the same in training and inference.

    `crop_to_aspect_ratio` takes the largest window at the centre, `pad_to_aspect_ratio` puts `fill_value` around
    (one of them at most); without them the image is stretched. Interpolations as in `resize`. Integer images are
    resized as float32, rounded and limited to their type's range. `fill_mode` other than "constant" is refused, as in Keras.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.height, self.width = whole_number(height, "Resizing: height"), whole_number(width, "Resizing: width")
        self.interpolation = choose("interpolation", interpolation, RESIZE_INTERPOLATIONS)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ArgumentError("Resizing: crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")
        self.crop_to_aspect_ratio = bool(crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = bool(pad_to_aspect_ratio)
        self.fill_mode = choose("fill_mode of Resizing", fill_mode, ("constant",))
        self.fill_value = number(fill_value, "Resizing: fill_value")
        self.antialias = bool(antialias)

    def build(self, *shapes: Shape) -> None:
        feature_map_shape("Resizing", *shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = (self.height, self.width)
        y = as_float(x)
        if self.crop_to_aspect_ratio:
            y = crop_to_aspect_ratio(y, size)
        elif self.pad_to_aspect_ratio:
            y = pad_to_aspect_ratio(y, size, self.fill_value)
        y = like_memory(resize(y, size, self.interpolation, self.antialias), x)
        if x.is_floating_point():
            return y
        limits = torch.iinfo(x.dtype)
        return y.round().clamp(limits.min, limits.max).to(x.dtype)


class UpSampling2D(Layer):
    """Feature maps `size` times as high and wide: (H, W, C) -> (size[0] * H, size[1] * W, C).

    `size` is a whole number or two. Interpolations as in `resize`; "nearest" repeats rows and columns.
    """

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        interpolation: str = "nearest",
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.size = pair(size, "UpSampling2D: size")
        name = interpolation.lower() if isinstance(interpolation, str) else interpolation
        self.interpolation = choose("interpolation", name, RESIZE_INTERPOLATIONS)

    def build(self, *shapes: Shape) -> None:
        feature_map_shape("UpSampling2D", *shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = (x.shape[2] * self.size[0], x.shape[3] * self.size[1])
        return like_memory(resize(x, size, self.interpolation), x)


class ResizeLike(Layer):
    """The first of two feature maps at the second's height and width: (H, W, C) and (h, w, D) -> (h, w, C).

    For what joins maps in a network that takes images of any size: strides round sizes, and so an enlarged map may be a
    place smaller than the one that it meets. Where sizes are equal the map itself is the answer. Interpolations as in
    `resize`. Not in Keras.
    """

    def __init__(self, interpolation: str = "bilinear", **common: Unpack[Common]):
        super().__init__(**common)
        self.interpolation = choose("interpolation", interpolation, RESIZE_INTERPOLATIONS)

    def build(self, *shapes: Shape) -> None:
        if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
            raise ShapeError(
                "ResizeLike takes a list of two feature maps",
                received=" and ".join(str((None, *person_shape(shape))) for shape in shapes),
                fix="layers.ResizeLike()([x, like])",
            )

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        x, like = inputs
        return like_memory(resize(x, (like.shape[2], like.shape[3]), self.interpolation), x)
