"""The effective receptive field: how much each pixel weighs in what a place answers, measured by gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, ShapeError, choose
from ..graph.network import Network
from ..graph.symbolic import in_mode
from ..layout import Shape, fits, person_shape, to_channels_first

IMAGES = 32  # of random noise, where none are given
THRESHOLD = 1 - 0.9545  # of the maximum: what a Gaussian has at about two and a half deviations


@dataclass(frozen=True)
class EffectiveField:
    """`map` (H, W): the weight of each pixel, 1 at the most. `size`: the side of a square of as many pixels as are above 4.55 %.

    `node` names the value, `place` (row, column) its place in the middle, `images` how many were averaged over.
    """

    map: np.ndarray = field(repr=False, compare=False)
    size: float
    node: str
    place: tuple[int, int]
    images: int

    def __str__(self) -> str:
        return f"{self.size:.0f}x{self.size:.0f} pixels of {self.node} at {self.place}, over {self.images} images"


def effective_receptive_field(model: Network, images: Any = None, node: str | None = None) -> EffectiveField:
    """How much each pixel weighs in the middle place of `node`, by default the last feature map of several places.

    The gradient of the place with respect to the image, its absolute value averaged over images and channels, in
    inference mode: Luo, Li, Urtasun & Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NeurIPS 2016, who count the pixels above 1 - 95.45 % of the maximum and take the square root. What is differentiated is
    a random combination of the place's channels, another one for each image (a softmax's plain sum would have no gradient).
    `images`: an array (NHWC) or tensor (NCHW) as the network takes it, by default 32 of standard normal noise with a fixed seed.

    Raises ArgumentError for an unknown node or a network of several inputs, ShapeError for images of another shape.
    """
    shape = image_shape(model)
    chosen = last_feature_map(model) if node is None else choose("node", node, model.values)
    part = Network(model.inputs, model.values[chosen])
    generator = torch.Generator().manual_seed(0)
    weight = next(model.parameters(), torch.empty(0))
    batch = torch.randn(IMAGES, *shape, generator=generator) if images is None else as_batch(images, shape)
    total = torch.zeros(shape[1:], dtype=torch.float64)
    place = (0, 0)
    with frozen(part):
        for image in batch:
            x = image[None].to(weight.device, weight.dtype).requires_grad_()
            y = part(x)
            place = (y.shape[2] // 2, y.shape[3] // 2) if y.ndim == 4 else (0, 0)
            answer = y[0, :, place[0], place[1]] if y.ndim == 4 else y[0].flatten()
            mixture = torch.randn(answer.shape, generator=generator).to(answer)
            (gradient,) = torch.autograd.grad((answer * mixture).sum(), x)
            total += gradient[0].abs().sum(0).double().cpu()
    weights = (total / total.max().clamp(min=torch.finfo(total.dtype).tiny)).numpy()
    return EffectiveField(weights, math.sqrt((weights > THRESHOLD).sum()), chosen, place, len(batch))


def image_shape(model: Network) -> Shape:
    """(channels, height, width) of the one image that a network takes; raises ArgumentError for another network."""
    shapes = [value.inner_shape for value in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ArgumentError(
            f"{model.name} does not take one image, so no pixels can be weighed",
            received=" and ".join(str(value.shape) for value in model.inputs),
        )
    return shapes[0]


def last_feature_map(model: Network) -> str:
    """The name of the last value with height and width, of those with several places where there are such."""
    maps = [name for name, value in model.values.items() if len(value.inner_shape) == 3]
    several = [name for name in maps if max(model.values[name].inner_shape[1:]) > 1]
    return (several or maps)[-1]


def as_batch(images: Any, shape: Shape) -> torch.Tensor:
    """Arrays NHWC, or a tensor NCHW, as a tensor NCHW; raises ShapeError where that does not fit (channels, height, width)."""
    batch = images if isinstance(images, torch.Tensor) else to_channels_first(torch.as_tensor(np.asarray(images)))
    if batch.ndim != 4 or not fits(batch.shape[1:], shape) or not len(batch):
        given = tuple(batch.shape[1:])
        raise ShapeError(
            "The images do not fit the network",
            expected=f"an array {(None, *person_shape(shape))}",
            received=f"shape {(len(batch), *person_shape(given))}" if batch.ndim else "one number",
        )
    return batch


@contextmanager
def frozen(part: Network) -> Iterator[None]:
    """A network in inference mode, with gradients of the input alone; afterwards all is as it was."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with in_mode(part, False), torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
