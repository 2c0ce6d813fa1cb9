"""Batch normalization as a part of the convolution before it."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import fx, nn

from ..graph.build import layer_of, replay
from ..graph.network import Network
from ..graph.symbolic import FIRST_CALL, Value
from ..layers import BatchNormalization, Conv2D, Dense, DepthwiseConv2D, SeparableConv2D


def fold_batchnorm(network: Network) -> Network:
    """The network for inference without each BatchNormalization that alone reads a convolution or dense layer.

    y = gamma * (w * x + b - mean) / sqrt(variance + epsilon) + beta is a convolution of its own, whose weights are computed
    in float64; they are new ones, and what is not folded shares the network's. Answers are equal but for rounding. Layers
    that are called several times, or have hooks, stay.
    """
    calls = Counter(node.target for node in network.graph.nodes)
    norms = {
        node: node.args[0]
        for node in network.graph.nodes
        if _is_folded(network, node) and calls[node.args[0].target] == 1
    }
    if not norms:
        return network
    folded = {source: layer_of(network, node) for node, source in norms.items()}

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node in norms:
            return args[0]
        return (_normalized(layer, folded[node]) if node in folded else layer)(*args, **kwargs)  # type: ignore[arg-type]

    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return Network(inputs, replay(network, inputs, substitute), network.name).eval()


# The weight whose first axis is the output's channels
FOLDABLE = {Conv2D: "weight", Dense: "weight", DepthwiseConv2D: "weight", SeparableConv2D: "pointwise_weight"}


def _is_folded(network: Network, node: fx.Node) -> bool:
    norm, source = layer_of(network, node), node.args[0] if node.args else None
    if (
        type(norm) is not BatchNormalization
        or not isinstance(source, fx.Node)
        or len(source.users) > 1
        or norm._forward_hooks
    ):
        return False
    layer = layer_of(network, source)
    over_channels = norm.axis in (-1, len(node.meta["shape"]))
    return type(layer) in FOLDABLE and layer.activation is None and not layer._forward_hooks and over_channels  # type: ignore[union-attr]


def _normalized(layer: Any, norm: BatchNormalization) -> nn.Module:
    """The layer that answers what `norm` makes of its answers."""
    result = copy.copy(layer)
    result.__dict__.pop(FIRST_CALL, None)
    result._parameters = dict(layer._parameters)
    weight = getattr(layer, FOLDABLE[type(layer)]).detach()
    factor = (norm.running_var.double() + norm.epsilon).rsqrt()
    factor = factor if norm.weight is None else factor * norm.weight.detach().double()
    before = norm.running_mean.double() - (0.0 if layer.bias is None else layer.bias.detach().double())
    bias = -before * factor + (0.0 if norm.bias is None else norm.bias.detach().double())
    if type(layer) is DepthwiseConv2D:  # (multiplier, C, ...): the outputs of one channel follow each other
        factor = factor.view(weight.shape[1], weight.shape[0]).T[..., None, None]
    else:
        factor = factor.view(-1, *(1,) * (weight.ndim - 1))
    folded = (weight.double() * factor).to(weight.dtype)
    if weight.ndim == 4:
        folded = folded.to(memory_format=torch.channels_last)
    setattr(result, FOLDABLE[type(layer)], nn.Parameter(folded, requires_grad=False))
    result.bias, result.use_bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False), True
    return result
