"""The nearest images: those of which a network thinks alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from ..errors import whole_number
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers import Dense, Torch
from ..rewrite import output_nodes
from .maps import has_weights, values_of
from .parts import as_taken, last_map, layer_named, looked_into


class Nearest(NamedTuple):
    """For each image the numbers of the nearest others, the nearest first, int64 (N, k), and their cosines, -1..1, float64 (N, k)."""

    indices: np.ndarray
    similarities: np.ndarray


def nearest(model: Network, images: Any, others: Any, k: int = 5, layer: str | None = None) -> Nearest:
    """The k of `others` (M, height, width, channels) that are nearest to each of `images` by the cosine of their features.

    Features are as `features` has them. Raises ArgumentError for an unknown layer, ShapeError for images of another shape.
    """
    return ranked(features(model, images, layer), features(model, others, layer), k)


def ranked(one: np.ndarray, other: np.ndarray, k: int) -> Nearest:
    """The k rows of `other` (M, features) that are nearest to each row of `one` (N, features) by their cosine."""
    rows, others = (normalize(torch.from_numpy(each), dim=1) for each in (one, other))
    found = (rows @ others.T).topk(min(whole_number(k, "k"), len(others)), dim=1)
    return Nearest(found.indices.numpy(), found.values.numpy())


def features(model: Network, images: Any, layer: str | None = None) -> np.ndarray:
    """What a layer says of images, float64 (N, features); of a feature map the mean of each channel over its places.

    By default it is what the last Dense layer takes, and where there is none the last feature map.
    """
    network = looked_into(model)
    name = penultimate(network) if layer is None else layer_named(network, layer)
    batch, _ = as_taken(network, images)
    values = values_of(network, [name], batch)[name].double().cpu()
    return (values.mean((2, 3)) if values.ndim == 4 else values.flatten(1)).numpy()


def penultimate(network: Network) -> str:
    """The node that the last Dense layer before the (first) output takes; the last feature map where a network ends otherwise."""
    node = output_nodes(network)[0]
    while len(node.all_input_nodes) == 1 and not has_weights(layer_of(network, node)):
        node = node.all_input_nodes[0]
    layer = layer_of(network, node)
    is_dense = isinstance(layer.module if isinstance(layer, Torch) else layer, (Dense, nn.Linear))
    return node.all_input_nodes[0].name if is_dense and len(node.meta["shape"]) == 1 else last_map(network)
