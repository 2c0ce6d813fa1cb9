"""Class activation maps: which places of the last feature map speak for a class."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from ..errors import ArgumentError, SightlineError
from ..graph.build import layer_of
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layers import Activation, Dense, Dropout, Flatten, GlobalAveragePooling2D, Identity, Softmax, Torch
from ..measure.effective_field import frozen
from ..rewrite import output_nodes, split_around
from ..rewrite.foreign_parts import FLATTENING, Pooling, meaning_of
from .heatmap import Heatmap, heatmap
from .parts import as_taken, last_map, looked_into, map_named
from .targets import as_target, before_activation, class_scores, labels_of, scored

LINEAR = (None, "linear", "softmax", "sigmoid")  # activations that leave the scores before them in order


def grad_cam(model: Network, image: Any, target: Any = None, layer: str | None = None) -> Heatmap:
    """Grad-CAM of one image, or of a batch: the maps of `layer`, each weighed by the mean of the target's gradient over its places.

    `target`: a class number or one for each image, None for each image's surest class, or a function of the outputs, as `of_class`, `of_detection` and
    `of_region` make them, which gives one number for each image. `layer` is by default the last feature map. `raw` is the weighed
    sum before its negative part is cut off. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization", ICCV 2017, equations 1 and 2.

    Raises ArgumentError for an unknown layer or class, or where the target does not depend on the layer; ShapeError for other images.
    """
    network = looked_into(model)
    batch, single = as_taken(network, image)
    name = last_map(network) if layer is None else map_named(network, layer)
    below, above = split_around(network, name)
    with frozen(network):
        with torch.no_grad():
            values, *beside = below(batch)
        maps = values.detach().requires_grad_()
        said = before_activation(above(maps.clone(), *beside))  # a clone: someone's module may write over it
        score = scored(as_target(target, said), said, len(batch))
        gradient = _gradient(score.sum(), maps, name)
    raw = (gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1)
    return heatmap(raw, score.detach(), tuple(batch.shape[2:]), single)  # type: ignore[arg-type]


def _gradient(score: torch.Tensor, maps: torch.Tensor, name: str) -> torch.Tensor:
    found = torch.autograd.grad(score, maps, allow_unused=True)[0] if score.requires_grad else None
    if found is None:
        raise ArgumentError(
            f'What is to be explained does not depend on the layer "{name}"', fix="Choose one that leads to it"
        )
    return found


def cam(model: Network, image: Any, class_index: Any = None) -> Heatmap:
    """The class activation map of one image, or of a batch, for a class, by default each image's surest.

    For networks that end in global average pooling and one Dense layer: the maps before the pooling, each weighed by the class's weight. The
    mean of `raw` is then the class's score, but for its bias. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.

    Raises SightlineError for a network with another head, for which there is `grad_cam`.
    """
    network = looked_into(model)
    batch, single = as_taken(network, image)
    name, weight = _pooled_head(network)
    below, above = split_around(network, name)
    with inference(network):
        maps, *beside = below(batch)
        said = class_scores(before_activation(above(maps.clone(), *beside)))
    labels = labels_of(class_index, said)
    raw = (weight[labels][:, :, None, None] * maps).sum(1)
    return heatmap(raw, said.gather(1, labels[:, None])[:, 0], tuple(batch.shape[2:]), single)  # type: ignore[arg-type]


def _pooled_head(network: Network) -> tuple[str, torch.Tensor]:
    """(the feature map that is pooled, the Dense layer's weight (classes, channels))."""
    node, weight = output_nodes(network)[0], None
    while len(node.all_input_nodes) == 1:
        layer = layer_of(network, node)
        module: Any = layer.module if isinstance(layer, Torch) else layer
        source = node.all_input_nodes[0]
        if weight is None and isinstance(module, (Dense, nn.Linear)):
            if getattr(module, "activation", None) not in LINEAR or len(node.meta["shape"]) != 1:
                break
            weight = module.weight.detach()
        elif weight is not None and _is_mean(layer, source, node):
            return source.name, weight
        elif not _passes(module, weight is None):
            meaning = (
                meaning_of(module, source.meta["shape"], node.meta["shape"]) if len(source.meta["shape"]) == 3 else None
            )
            if weight is None or meaning != FLATTENING or source.meta["shape"][1:] != (1, 1):
                break
        node = source
    raise SightlineError(
        f"{network.name} does not end in global average pooling and one Dense layer, of which cam knows",
        fix="grad_cam explains any network",
    )


def _is_mean(layer: Any, source: fx.Node, node: fx.Node) -> bool:
    """Whether a layer takes the mean of each feature map."""
    if isinstance(layer, GlobalAveragePooling2D):
        return True
    shape, out = source.meta["shape"], node.meta["shape"]
    meaning = meaning_of(layer, shape, out) if len(shape) == 3 else None
    return isinstance(meaning, Pooling) and (meaning.kind, meaning.places) == ("average", (1, 1))


def _passes(module: Any, is_behind: bool) -> bool:
    """Whether a layer before (or behind) the Dense layer leaves its rows (or the order of its scores) in inference."""
    if is_behind and isinstance(module, (Activation, Softmax)):
        return getattr(module, "activation", None) in LINEAR
    return isinstance(module, (Dropout, Flatten, Identity, nn.Dropout, nn.Identity, nn.Flatten))
