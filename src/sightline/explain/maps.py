"""Feature maps: what each stage of a network makes of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..graph.build import layer_of
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layers import Torch
from ..layout import to_channels_last
from ..rewrite import last_maps
from .parts import as_taken, bites, last_map, looked_into, map_named

STAGES = ("stride_2", "stride_4", "stride_8", "stride_16", "stride_32")


def feature_maps(model: Network, image: Any, layers: str | Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The feature maps of layers by name, (H, W, channels) for an image and (N, H, W, channels) for a batch.

    `layers` are by default the stages: those that have names, "stride_4" ..., else the last map of each size. Raises ArgumentError for an
    unknown layer, or one that gives no map, and ShapeError for images of another shape.
    """
    network = looked_into(model)
    batch, single = as_taken(network, image)
    asked = stages(network) if layers is None else [layers] if isinstance(layers, str) else list(layers)
    names = [map_named(network, name) for name in asked]
    values = values_of(network, names, batch)
    arrays = {name: to_channels_last(values[found]).cpu().numpy() for name, found in zip(asked, names, strict=True)}
    return {name: array[0] for name, array in arrays.items()} if single else arrays


def stages(network: Network) -> list[str]:
    """The layers at which a network's stages end, from fine to coarse."""
    if named := [name for name in STAGES if name in network.values]:
        return named
    order = list(network.values)
    first = next((i for i, node in enumerate(network.graph.nodes) if has_weights(layer_of(network, node))), 0)
    found = {name for name in last_maps(network).values() if order.index(name) >= first}  # before, it is preprocessing
    return sorted(found, key=order.index) or [last_map(network)]


def has_weights(layer: Any) -> bool:
    return layer is not None and next(layer.parameters(), None) is not None


def values_of(network: Network, names: Sequence[str], batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """The values of nodes for a batch, in inference mode."""
    found: dict[str, torch.Tensor] = {}
    with inference(network):
        for part in _parts(network, list(dict.fromkeys(names))):
            values = Network(network.inputs, {name: network.values[name] for name in part})
            bitten = [values(bite) for bite in bites(batch)]
            found |= {name: torch.cat([each[name] for each in bitten]) for name in part}
    return found


def _parts(network: Network, names: list[str]) -> Iterable[list[str]]:
    """Names to ask for at once: one by one where someone else's layer might write over what it reads."""
    foreign = any(isinstance(layer, Torch) for layer in network.layers)
    return [[name] for name in names] if foreign else [names]
