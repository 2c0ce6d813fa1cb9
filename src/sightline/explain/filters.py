"""What filters look for: the kernels of the first layer, and the parts of real images that excite a deeper one most."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..errors import SightlineError, whole_number
from ..graph.build import layer_of
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layers import Torch
from ..layout import to_channels_last
from ..measure.receptive_field import AxisField, receptive_field
from .parts import as_taken, bites, channel_of, gray_of, layer_named, looked_into, map_named


def filters(model: Network, layer: str | None = None) -> np.ndarray:
    """The kernels of a convolution on the image as pictures, float32 (filters, height, width, channels), 0..1, by default of the first.

    0.5 is a weight of 0; the largest weight of each filter, either way, is 0 or 1. Raises ArgumentError for an unknown layer, SightlineError
    for one whose kernels are no pictures: of deeper ones `exciting_patches` shows what they look for.
    """
    network = looked_into(model)
    name = _first_convolution(network) if layer is None else layer_named(network, layer)
    kernel = _kernel(network, name)
    if kernel is None or kernel.shape[1] not in (1, 3):
        what = "no kernels" if kernel is None else f"kernels of {kernel.shape[1]} channels"
        raise SightlineError(
            f'"{name}" has {what}, which are no pictures',
            expected="a convolution of an image of 1 or 3 channels",
            fix=f'What its filters look for: exciting_patches(model, "{name}", filter, images)',
        )
    weights = to_channels_last(kernel.detach().float())
    most = weights.abs().flatten(1).amax(1)[:, None, None, None]
    return (0.5 + weights / (2 * torch.where(most > 0, most, 1))).cpu().numpy()


def _first_convolution(network: Network) -> str:
    for node in network.graph.nodes:
        if _kernel(network, node.name) is not None:
            return node.name
    raise SightlineError(f"{network.name} has no convolution whose kernels could be shown")


def _kernel(network: Network, name: str) -> torch.Tensor | None:
    """(filters, channels, height, width) of a convolution; None for another layer."""
    node = next(node for node in network.graph.nodes if node.name == name)
    layer: Any = layer_of(network, node)
    weight = getattr(layer.module if isinstance(layer, Torch) else layer, "weight", None)
    return weight if isinstance(weight, torch.Tensor) and weight.ndim == 4 else None


@dataclass(frozen=True, eq=False)
class Patches:
    """What excites a filter most, the most exciting first: at most one patch of each image.

    `pixels` (k, height, width, channels), of the images' type; `scores` (k,), the filter's values; `images` (k,), which of the images; `boxes`
    (k, 4) xyxy, the pixels that the value depends on. What of a patch lies outside its box is gray.
    """

    pixels: np.ndarray = field(repr=False)
    scores: np.ndarray
    images: np.ndarray
    boxes: np.ndarray


def exciting_patches(model: Network, layer: str, filter: int, images: Any, k: int = 9) -> Patches:
    """The k patches of images (N, height, width, channels) that excite a filter of a feature map most, cut out by its exact receptive field.

    Nothing outside a patch's box can change its value. Along an axis on which the field is larger than the image, patches are as large as
    the image. Raises ArgumentError for an unknown layer or filter, SightlineError for one of which it is not known how far it looks.
    """
    network = looked_into(model)
    name = map_named(network, layer)
    channel, k = channel_of(network, name, filter), whole_number(k, "k")
    looks = receptive_field(network, name)
    batch, _ = as_taken(network, images)
    values = _best_places(network, name, channel, batch)
    order = np.argsort(-values[:, 0], kind="stable")[:k]
    pictures = to_channels_last(batch).cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    pictures = pictures.reshape(len(batch), *batch.shape[2:], -1)
    places = values[order, 1:].astype(int)
    boxes = np.array([looks.at(row, column) for row, column in places])
    cut = [
        _cut(pictures[image], box, (_start(looks.height, row), _start(looks.width, column)), gray_of(pictures))
        for image, box, (row, column) in zip(order, boxes, places, strict=True)
    ]
    return Patches(np.stack(cut), values[order, 0], order, boxes)


def _best_places(network: Network, name: str, channel: int, batch: torch.Tensor) -> np.ndarray:
    """For each image the highest value of a channel, its row and its column: float64 (N, 3)."""
    part = Network(network.inputs, network.values[name])
    found = []
    with inference(network):
        for bite in bites(batch):
            maps = part(bite)[:, channel].double()
            best = maps.flatten(1).max(1)
            columns = maps.shape[2]
            found.append(torch.stack([best.values, best.indices // columns, best.indices % columns], 1).cpu())
    return torch.cat(found).numpy()


def _start(axis: AxisField, place: int) -> tuple[int, int]:
    """(the first pixel of a place's patch along an axis, the patch's pixels); the first lies outside at the border."""
    if axis.size is None or axis.size >= axis.image:
        return 0, axis.image
    first, end = axis.spans[place].tolist()
    start = round(float(axis.offset + place * axis.stride) - axis.size / 2)
    return min(max(start, end - axis.size), first), axis.size


def _cut(image: np.ndarray, box: np.ndarray, where: tuple[tuple[int, int], tuple[int, int]], gray: float) -> np.ndarray:
    (top, height), (left, width) = where
    patch = np.full((height, width, image.shape[2]), gray, image.dtype)
    x1, y1, x2, y2 = box
    patch[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    return patch
