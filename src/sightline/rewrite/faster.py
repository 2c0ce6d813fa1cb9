"""The same function sooner: poolings before activations, and answers over what nothing else reads."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from ..graph.build import call_layer, layer_of, replay
from ..graph.network import Network
from ..graph.symbolic import FIRST_CALL, Value
from ..layers import Activation, Add, BatchNormalization, Concatenate, Conv2D, MaxPooling2D, Multiply, ReLU
from ..layers.base import Layer, is_ours
from ..layers.overwriting import OverwritingActivation, OverwritingAdd, OverwritingReLU
from .folding import FOLDABLE


def pool_before_activation(network: Network) -> Network:
    """The network with each ReLU between a convolution and the max pooling that alone reads it moved behind the pooling.

    The greatest of a window is the same before and after a function that never falls, so answers are equal to the bit and
    gradients but for rounding, and the ReLU has a quarter of the values to look at (with 2x2 windows). Convolutions with
    hooks stay as they are, for a hook would see what the layer does not say; where nothing moves, or a layer is someone
    else's code, the network itself is returned.
    """
    moved = {node.args[0]: node for node in network.graph.nodes if _pools_a_relu(network, node)}
    if not moved or any(isinstance(part, Layer) and not is_ours(part) for part in network.modules()):
        return network
    poolings = set(moved.values())

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node in moved:
            return without_activation(layer)(*args, **kwargs)
        value = call_layer(node, layer, args, kwargs)
        return Activation("relu")(value) if node in poolings else value

    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return Network(inputs, replay(network, inputs, substitute), network.name)


def _pools_a_relu(network: Network, node: fx.Node) -> bool:
    """Whether a node is a max pooling, and the only reader of a convolution that ends in a ReLU."""
    source = node.args[0] if node.args else None
    pooling = layer_of(network, node)
    if not isinstance(source, fx.Node) or type(pooling) is not MaxPooling2D or len(source.users) > 1:
        return False
    layer = layer_of(network, source)
    return type(layer) is Conv2D and layer.activation == "relu" and not _is_watched(layer) and not _is_watched(pooling)


def without_activation(layer: nn.Module) -> nn.Module:
    """The same layer, weights and all, that stops before its activation."""
    bare = copy.copy(layer)
    bare.__dict__.pop(FIRST_CALL, None)
    bare.activation = None  # type: ignore[assignment]
    return bare


def in_place(network: Network) -> Network:
    """The network in which ReLUs and sums write their answers over an input that they alone read.

    Answers and gradients are equal to the bit; the answers of the layers before are gone, so these must not have hooks.
    The layers are shared but for those ReLUs and sums; where there are none, the network itself is returned.
    """
    if torch.nn.modules.module._has_any_global_hook():
        return network
    layers = network.layers.named()
    calls = Counter(node.target for node in network.graph.nodes)
    changed: dict[str, nn.Module] = {}
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        name = node.meta["layer"]
        layer = layers[name]
        if isinstance(layer, Network):
            other: nn.Module | None = in_place(layer)
        else:
            other = _overwriting(node, layers) if calls[node.target] == 1 else None
        if other is not None and other is not layer:
            changed[name] = other
    return network.with_layers(changed) if changed else network


def _overwriting(node: fx.Node, layers: Mapping[str, nn.Module]) -> nn.Module | None:
    """A layer that answers what a node's does and overwrites an input; None where that is not possible."""
    layer, source = layers[node.meta["layer"]], node.args[0] if node.args else None
    if _is_watched(layer):
        return None
    if type(layer) is Activation and layer.activation in ("relu", "relu6"):
        return OverwritingActivation.of(layer) if _is_fresh(source, layers) else None
    if type(layer) is ReLU and layer.max_value is None and layer.threshold == layer.negative_slope == 0:
        return OverwritingReLU.of(layer) if _is_fresh(source, layers) else None
    if type(layer) is Add and isinstance(source, Sequence) and len(source) == 2 and source[0] is not source[1]:
        positions = (i for i in (0, 1) if _is_fresh(source[i], layers))
        return next((OverwritingAdd.of(layer, position=i) for i in positions), None)
    return None


def _is_fresh(node: Any, layers: Mapping[str, nn.Module]) -> bool:
    """Whether one node alone reads a value, which lies in memory of its own that no gradient is computed from."""
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) > 1:
        return False
    layer = layers[node.meta["layer"]]
    computes = type(layer) is BatchNormalization or (type(layer) in FOLDABLE and layer.activation is None)
    joins = type(layer) in (Add, Multiply, Concatenate) and len(node.all_input_nodes) > 1  # one alone it hands on
    return (computes or joins) and not _is_watched(layer)


def _is_watched(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)
