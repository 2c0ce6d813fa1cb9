"""What every look into a network needs: images as it takes them, its graph without networks inside, a layer by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..data.decode import PADDING
from ..errors import ArgumentError, SightlineError, choose
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layout import channels_of
from ..measure.effective_field import as_batch, image_shape, last_feature_map
from ..rewrite import last_maps, output_nodes
from ..rewrite.inlining import inlined
from .targets import before_activation

BATCH = 32  # images at once


def looked_into(model: Network) -> Network:
    """The same function with the layers of nested networks in its own graph: "backbone/conv1" is "backbone_conv1" there.

    Raises ArgumentError for a network that does not take one image.
    """
    image_shape(model)
    return inlined(model)


def as_taken(network: Network, images: Any) -> tuple[torch.Tensor, bool]:
    """(a batch NCHW of the network's type and device, whether one image was given).

    Images are arrays (H, W, C) or (N, H, W, C), or tensors (C, H, W) or (N, C, H, W), of numbers as the network takes them.
    """
    shape = image_shape(network)
    given: Any = images if isinstance(images, torch.Tensor) else np.asarray(images)
    if not isinstance(given, torch.Tensor):
        if given.dtype.kind not in "buif":
            raise ArgumentError("Images are arrays of numbers", received=f"an array of {given.dtype}")
        given = given[..., None] if given.ndim == 2 and shape[0] == 1 else given
    single = given.ndim == 3
    batch = as_batch(given[None] if single else given, shape)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    return batch.to(like.device, like.dtype), single


def layer_named(network: Network, name: Any) -> str:
    """The node of that name, "backbone/conv1" where it is in a nested network; raises ArgumentError with the nearest names."""
    return choose("layer", name.replace("/", "_") if isinstance(name, str) else name, network.values)


def map_named(network: Network, name: Any) -> str:
    """The node of that name; raises ArgumentError where there is none, or where it has no height and width."""
    found = layer_named(network, name)
    if len(network.values[found].inner_shape) != 3:
        near = [each for each, value in network.values.items() if len(value.inner_shape) == 3]
        raise ArgumentError(
            f'"{found}" is no feature map',
            expected="a layer that gives (None, height, width, channels)",
            received=network.values[found].shape,
            fix=f'The last one is "{near[-1]}"',
        )
    return found


def last_map(network: Network) -> str:
    """The last feature map of several places through which all that follows goes, before the output.

    Raises SightlineError where there is none.
    """
    order, outputs = list(network.values), {node.name for node in output_nodes(network)}
    found = {
        name: size for size, name in last_maps(network).items() if max(size, key=_side) != 1 and name not in outputs
    }
    if found:
        return max(found, key=order.index)
    name = last_feature_map(network)
    if name in [node.name for node in network.graph.nodes if node.op == "placeholder"]:
        raise SightlineError(f"{network.name} has no feature map to look at")
    return name


def _side(pixels: int | None) -> float:
    return float("inf") if pixels is None else pixels  # in a network for images of any size


def channel_of(network: Network, name: str, number: Any) -> int:
    """A channel of a value, checked; raises ArgumentError where it has no such one."""
    channels = channels_of(network.values[name].inner_shape)
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < channels:
        raise ArgumentError(
            f'"{name}" has no filter {number!r}', expected=f"a number from 0 to {channels - 1}", received=repr(number)
        )
    return int(number)


def answer_of(model: Network, image: Any) -> Any:
    """What a network answers for images, before a last softmax or sigmoid, in inference mode."""
    with inference(model):
        return before_activation(model(as_taken(model, image)[0]))


def bites(batch: torch.Tensor, size: int = BATCH) -> Iterable[torch.Tensor]:
    return batch.split(size)


def gray_of(images: np.ndarray) -> float:
    """The gray for places where there is no picture, on the scale of the images: 0..255, 0..1, or around 0."""
    if images.dtype == np.uint8 or images.max(initial=0) > 1:
        return PADDING
    return 0.0 if images.min(initial=0) < 0 else PADDING / 255


def as_picture(images: np.ndarray) -> np.ndarray:
    """Images as a person can look at them, uint8 (..., channels): of 0..255 or 0..1 as they are, others from their least to their most."""
    if images.dtype == np.uint8:
        return images
    values = images.astype(np.float64)
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high > 255:
        values = (values - low) / max(high - low, 1e-12) * 255
    elif high <= 1:
        values = values * 255
    return values.round().astype(np.uint8)
