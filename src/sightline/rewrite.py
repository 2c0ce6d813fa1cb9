"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from .errors import ArgumentError, SightlineError, choose
from .graph.build import call_layer, layer_of, map_nodes, replay
from .graph.network import Network, public_class
from .graph.recomputed import Recomputed
from .graph.symbolic import FIRST_CALL, Value, values_in
from .layers import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
    Multiply,
    ReLU,
    SeparableConv2D,
)
from .layers.base import Layer, is_ours
from .layers.overwriting import OverwritingActivation, OverwritingAdd, OverwritingReLU


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


def remove_head(model: Network) -> Any:
    """The network up to its last feature map, with which a head begins: global pooling, Flatten, or a Dense layer.

    Of the kind of `model`, on its own inputs and weights. Raises SightlineError where no such layer follows one feature map.
    """
    last: fx.Node | None = None
    found: fx.Node | None = None  # what stands before the last head so far
    pooled = False
    for node in [*cut_points(model), *output_nodes(model)]:
        is_map = len(node.meta.get("shape", ())) == 3
        pooled = isinstance(layer_of(model, node), GLOBAL) or (pooled and max(node.meta["shape"][1:], default=1) == 1)
        if is_map and not pooled:
            last = node
        elif isinstance(layer_of(model, node), (Dense, Flatten, *GLOBAL)):
            found = last
    if found is not None:
        return public_class(model).from_values(model.inputs, model.values[found.name], model.name)
    raise SightlineError(
        f"{model.name} has no head to remove: no global pooling, Flatten or Dense layer behind one feature map"
    )


GLOBAL = (GlobalAveragePooling2D, GlobalMaxPooling2D)


def cut_points(network: Network) -> list[fx.Node]:
    """The calls after which nothing but their own value is needed any more: where the graph can be cut in two."""
    order = list(network.graph.nodes)
    place = {node: number for number, node in enumerate(order)}
    reach, found = -1, []
    for number, node in enumerate(order):
        one_value = node.op == "call_module" and "shape" in node.meta
        if one_value and reach <= number and any(user.op != "output" for user in node.users):
            found.append(node)
        reach = max([reach, *(place[user] for user in node.users)])
    return found


def recompute(network: Network, segments: Sequence[Sequence[str]]) -> Any:
    """The network, of its own kind, that computes each segment again in backward instead of keeping what is inside.

    A segment is the names of nodes that follow each other, of which only the last one's value is read outside: as
    `MemoryPlan.checkpoints` chooses them. Answers and gradients are those of the network, whose weights are shared; forward is
    computed once more in these places. Raises ArgumentError for a segment that the rest looks into.
    """
    parts = {tuple(segment): _recomputed(network, segment) for segment in _checked(network, segments)}
    segment_of = {name: segment for segment in parts for name in segment}
    taken: dict[tuple[str, ...], Value] = {}

    def substitute(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        segment = segment_of.get(node.name)
        if segment is None:
            return call_layer(node, layer, args, kwargs)
        if node.name == segment[0]:
            taken[segment] = next(values_in([args, kwargs]))
        return parts[segment](taken[segment]) if node.name == segment[-1] else None

    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    return public_class(network).from_values(inputs, replay(network, inputs, substitute), network.name)


def _checked(network: Network, segments: Any) -> list[Sequence[str]]:
    """Segments as lists of names of calls, in the graph's order, each name once; raises ArgumentError otherwise."""
    order = [node.name for node in network.graph.nodes if node.op == "call_module"]
    received = repr(segments)
    if any(isinstance(segment, str) for segment in segments) or not all(segments):
        raise ArgumentError(
            "Segments are lists of names of nodes", expected='[["conv", "relu"], ...]', received=received
        )
    names = [choose("node", name, order) for segment in segments for name in segment]
    if len(set(names)) < len(names):
        raise ArgumentError("A node is in one segment, once", received=received)
    for segment in segments:
        if [order.index(name) for name in segment] != sorted(order.index(name) for name in segment):
            raise ArgumentError("A segment names its nodes in the order of the graph", received=received)
    return list(segments)


def _recomputed(network: Network, segment: Sequence[str]) -> Recomputed:
    """The segment as a network on the one value that it takes."""
    nodes = {node.name: node for node in network.graph.nodes}
    inside = [nodes[name] for name in segment]
    taken = {source.name for node in inside for source in node.all_input_nodes if source not in inside}
    read = {node.name for node in inside[:-1] if any(user not in inside for user in node.users)}
    if len(taken) != 1 or read or "shape" not in inside[-1].meta:
        raise ArgumentError(
            "A segment takes one value, and gives one to the rest",
            received=f"{segment[0]} to {segment[-1]}, which takes {', '.join(sorted(taken))}"
            + (f" and of which {', '.join(sorted(read))} is read too" if read else ""),
            fix="Let a plan choose them: sl.measure.memory(model, batch_size).checkpoints(0.5)",
        )
    return Recomputed(network.values[taken.pop()], network.values[segment[-1]], f"again_{segment[0]}")


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
    if not moved or any(isinstance(part, Layer) and not is_ours(part) for part in network.modules()):
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
    pooling = layer_of(network, node)
    if not isinstance(source, fx.Node) or type(pooling) is not MaxPooling2D or len(source.users) > 1:
        return False
    layer = layer_of(network, source)
    return type(layer) is Conv2D and layer.activation == "relu" and not _is_watched(layer) and not _is_watched(pooling)


def _without_activation(layer: nn.Module) -> nn.Module:
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
