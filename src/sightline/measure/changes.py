"""Ways in which a picture changes and what it shows does not: pure functions on NCHW batches, by strength."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..layers.sampling import affine

Range = tuple[float, float]
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Change:
    """A change of images, by a strength in `unit`; `neutral` is the strength that changes nothing.

    `moves` gives the matrix by which it moves places, of a map of that height and width: (a0, a1, a2, b0, b1, b2), as
    `layers.sampling.affine` takes it, where a segmentation should follow. `colors` changes values and leaves places:
    (images, strength, lowest and highest value) -> images.
    """

    unit: str
    strengths: tuple[float, ...]
    neutral: float
    limits: tuple[float, float] = (-math.inf, math.inf)  # of a strength
    whole: bool = False  # whether a strength is a whole number
    moves: Callable[[float, int, int], tuple[float, ...]] | None = None
    colors: Callable[[torch.Tensor, float, Range], torch.Tensor] | None = None

    def __call__(self, images: torch.Tensor, strength: float, limits: Range) -> torch.Tensor:
        """The images, changed; what comes in from outside is the nearest pixel of the border."""
        if strength == self.neutral:
            return images
        if self.colors is not None:
            return self.colors(images, strength, limits)
        matrix = self.matrix(strength, images)
        whole = matrix[:2] == (1, 0) and matrix[3:5] == (0, 1)  # a shift by whole pixels, which should be exact
        return moved(images, matrix, "nearest" if whole else "bilinear", "nearest")

    def matrix(self, strength: float, maps: torch.Tensor) -> tuple[float, ...]:
        assert self.moves is not None
        return self.moves(strength, maps.shape[2], maps.shape[3])


def moved(maps: torch.Tensor, matrix: tuple[float, ...], interpolation: str, fill: str) -> torch.Tensor:
    """Each place of `maps` read where the matrix says; beyond the border 0, or the nearest where `fill` is "nearest"."""
    return affine(maps, torch.tensor([matrix]).expand(len(maps), 6), interpolation, fill)


def _about_the_centre(a: float, b: float, c: float, d: float, height: int, width: int) -> tuple[float, ...]:
    """x' = a x + b y, y' = c x + d y around the middle of a map."""
    x, y = (width - 1) / 2, (height - 1) / 2
    return a, b, x - a * x - b * y, c, d, y - c * x - d * y


def _right(share: float, height: int, width: int) -> tuple[float, ...]:
    return 1.0, 0.0, -round(share * width), 0.0, 1.0, 0.0


def _down(share: float, height: int, width: int) -> tuple[float, ...]:
    return 1.0, 0.0, 0.0, 0.0, 1.0, -round(share * height)


def _turned(degrees: float, height: int, width: int) -> tuple[float, ...]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _about_the_centre(cosine, -sine, sine, cosine, height, width)


def _scaled(factor: float, height: int, width: int) -> tuple[float, ...]:
    return _about_the_centre(1 / factor, 0.0, 0.0, 1 / factor, height, width)


def _skewed(degrees: float, height: int, width: int) -> tuple[float, ...]:
    return _about_the_centre(1.0, math.tan(math.radians(degrees)), 0.0, 1.0, height, width)


def _thicker(images: torch.Tensor, pixels: float, limits: Range) -> torch.Tensor:
    """The brightest of a square around each pixel (dilation), the darkest (erosion) where `pixels` is below 0."""
    sign, radius = (1, -1)[pixels < 0], abs(round(pixels))
    return sign * F.max_pool2d(sign * images, 2 * radius + 1, 1, radius)


def _brighter(images: torch.Tensor, factor: float, limits: Range) -> torch.Tensor:
    return (limits[0] + (images - limits[0]) * factor).clamp(*limits)


def _saturated(images: torch.Tensor, factor: float, limits: Range) -> torch.Tensor:
    """0 is gray, above 1 more colourful; an image of another number of channels than 3 has no colours."""
    if images.shape[1] != 3:
        return images
    gray = (images * torch.tensor(LUMA, dtype=images.dtype).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (gray + (images - gray) * factor).clamp(*limits)


def _blurred(images: torch.Tensor, sigma: float, limits: Range) -> torch.Tensor:
    """A Gaussian of this deviation, three deviations to each side."""
    radius = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=images.dtype) / sigma) ** 2)
    weights, channels = weights / weights.sum(), images.shape[1]
    for shape, pad in (((1, 1, -1, 1), (0, 0, radius, radius)), ((1, 1, 1, -1), (radius, radius, 0, 0))):
        kernel = weights.view(shape).repeat(channels, 1, 1, 1)
        images = F.conv2d(F.pad(images, pad, mode="replicate"), kernel, groups=channels)
    return images


def _pixels_right(pixels: float, height: int, width: int) -> tuple[float, ...]:
    return 1.0, 0.0, -pixels, 0.0, 1.0, 0.0


def _pixels_down(pixels: float, height: int, width: int) -> tuple[float, ...]:
    return 1.0, 0.0, 0.0, 0.0, 1.0, -pixels


SHARES = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
CHANGES = {
    "translation right": Change("of the width", SHARES, 0.0, (-1.0, 1.0), moves=_right),
    "translation down": Change("of the height", SHARES, 0.0, (-1.0, 1.0), moves=_down),
    "rotation": Change("degrees", (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0), 0.0, (-360.0, 360.0), moves=_turned),
    "scale": Change("times", (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0), 1.0, (0.01, 100.0), moves=_scaled),
    "skew": Change("degrees", (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0), 0.0, (-85.0, 85.0), moves=_skewed),
    "thickness": Change("pixels", (-2.0, -1.0, 0.0, 1.0, 2.0), 0.0, (-50.0, 50.0), True, colors=_thicker),
    "brightness": Change("times", (0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.2), 1.0, (0.0, 1000.0), colors=_brighter),
    "colour": Change("times the saturation", (0.0, 0.5, 1.0, 1.5, 2.0), 1.0, (0.0, 1000.0), colors=_saturated),
    "blur": Change("pixels", (0.0, 0.5, 1.0, 2.0, 3.0), 0.0, (0.0, 100.0), colors=_blurred),
}
# Of a map's answers, by whole pixels
SHIFTS = {
    "shift right": Change("pixels", (), 0.0, whole=True, moves=_pixels_right),
    "shift down": Change("pixels", (), 0.0, whole=True, moves=_pixels_down),
}
