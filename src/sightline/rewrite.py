"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import fx, nn

from .errors import choose
from .graph.build import call_layer, layer_of, map_nodes, replay
from .graph.network import Network
from .graph.symbolic import FIRST_CALL, Value
from .layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    MaxPooling2D,
    SeparableConv2D,
)


def output_nodes(network: Network) -> list[fx.Node]:
    """The nodes whose values are the network's outputs, in order."""
    nodes: list[fx.Node] = []
    map_nodes(nodes.append, network.graph.output_node().args[0])
    return nodes


def ends_in_softmax(network: Network) -> bool:
    """Whether the one output is a layer's softmax."""
    nodes = output_nodes(network)
    layer = layer_of(network, nodes[0]) if len(nodes) == 1 else None
    return ends_in_softmax(layer) if isinstance(layer, Network) else getattr(layer, "activation", None) == "softmax"


def on_input(network: Network, value: Value) -> Any:
    """The network's outputs when `value` comes in where its one input was: networks in a row, in one graph."""
    return replay(network, [value])


def split_at(network: Network, name: str) -> tuple[Network, Network]:
    """The network up to the node of that name, and the rest of it, which takes that node's value.

    Raises ArgumentError where there is no such node, or the rest needs another value too.
    """
    value = network.values[choose("node", name, network.values)]
    return Network(network.inputs, value), Network(value, network.output)


def with_dropout(network: Network, rate: float) -> Any:
    """The outputs of a network that has Dropout of this rate before its last layer, in place of one that it may have there.

    Returns values on the network's own inputs.
    """
    last = set(output_nodes(network))

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node not in last:
            return call_layer(node, layer, args, kwargs)
        source = args[0].call
        before = source.args[0] if isinstance(source.layer, Dropout) else args[0]
        return layer(Dropout(rate, name="dropout_before_last")(before), **kwargs)

    return replay(network, network.inputs, substitute)


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


def pool_before_activation(network: Network) -> Network:
    """The network with each ReLU between a convolution and the max pooling that alone reads it moved behind the pooling.

    The greatest of a window is the same before and after a function that never falls, so answers are equal to the bit and
    gradients but for rounding, and the ReLU has a quarter of the values to look at (with 2x2 windows). Convolutions with
    hooks stay as they are, for a hook would see what the layer does not say; where nothing moves, or a layer is someone
    else's code, the network itself is returned.
    """
    moved = {node.args[0]: node for node in network.graph.nodes if _pools_a_relu(network, node)}
    if not moved or any(getattr(layer, "foreign", False) for layer in network.modules()):
        return network
    poolings = set(moved.values())

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node in moved:
            return _without_activation(layer)(*args, **kwargs)
        value = call_layer(node, layer, args, kwargs)
        return Activation("relu")(value) if node in poolings else value

    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return Network(inputs, replay(network, inputs, substitute), network.name)


def _pools_a_relu(network: Network, node: fx.Node) -> bool:
    """Whether a node is a max pooling, and the only reader of a convolution that ends in a ReLU."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or type(layer_of(network, node)) is not MaxPooling2D or len(source.users) > 1:
        return False
    layer = layer_of(network, source)
    return type(layer) is Conv2D and layer.activation == "relu" and not layer._forward_hooks


def _without_activation(layer: nn.Module) -> nn.Module:
    """The same layer, weights and all, that stops before its activation."""
    bare = copy.copy(layer)
    bare.__dict__.pop(FIRST_CALL, None)
    bare.activation = None  # type: ignore[assignment]
    return bare
