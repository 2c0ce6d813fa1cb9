"""Symbolic values -> `torch.fx.Graph`, and a graph's calls replayed on other values.

`emit` makes a fresh graph from the chain behind some outputs. `replay` walks a graph and calls its layers again, on
symbolic values or through a substitute: every rewrite of a network is a replay with a change.
"""

from __future__ import annotations

import itertools
import keyword
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import fx, nn

from ..errors import ArgumentError, SightlineError
from .symbolic import Call, Value, map_values, remember, values_in

LAYERS = "layers"  # the reserved container: a layer's parameters are `layers.<attribute>.<parameter>` in a state dict


@dataclass(frozen=True)
class Emitted:
    """A graph with its layers by name, in the order of their first call, and the value behind each node's name."""

    graph: fx.Graph
    layers: dict[str, nn.Module]
    values: dict[str, Value]


def emit(inputs: Sequence[Value], outputs: Any, *, with_input_layers: bool = True) -> Emitted:
    """A fresh graph that computes `outputs` (a value, or a list, tuple or dict of them) from `inputs`.

    Raises ArgumentError when the outputs need an Input that is not among `inputs`.
    """
    calls = _calls_between(inputs, outputs)
    names = name_layers([value.call.layer for value in inputs if _is_input(value)] + [call.layer for call in calls])
    graph, nodes, values = fx.Graph(), {}, {}
    for position, value in enumerate(inputs):
        wanted = names[id(value.call.layer)] if _is_input(value) else f"input_{position}"
        node = graph.placeholder(attribute_name(wanted))
        node.meta["layer"] = wanted
        _remember(node, value)
        nodes[id(value.call), value.item] = node
        values[node.name] = value

    def node_of(value: Value) -> fx.Node:
        key = (id(value.call), value.item)
        if key not in nodes:
            node = graph.call_function(operator.getitem, (nodes[id(value.call), None], value.item))
            _remember(node, value)
            nodes[key] = node
            values[node.name] = value
        return nodes[key]

    uses: Counter[int] = Counter()
    results = {id(v.call): v for call in calls for v in values_in([call.args, call.kwargs])}
    results |= {id(v.call): v for v in values_in(outputs)}
    for call in calls:
        args, kwargs = map_values(node_of, call.args), map_values(node_of, dict(call.kwargs))
        target = f"{LAYERS}.{attribute_name(names[id(call.layer)])}"
        uses[id(call.layer)] += 1
        again = f"_call{uses[id(call.layer)]}" if uses[id(call.layer)] > 1 else ""
        name = "self_" if names[id(call.layer)] == "self" else names[id(call.layer)]
        node = graph.create_node("call_module", target, args, kwargs, name=name + again)
        node.meta["layer"] = names[id(call.layer)]
        nodes[id(call), None] = node
        if results[id(call)].item is None:
            _remember(node, results[id(call)])
            values[node.name] = results[id(call)]
    graph.output(map_values(node_of, outputs))
    graph.lint()
    input_layers = [v.call.layer for v in inputs if _is_input(v)] if with_input_layers else []
    layers = {names[id(layer)]: layer for layer in [*input_layers, *(call.layer for call in calls)]}
    return Emitted(graph, layers, values)


def _remember(node: fx.Node, value: Value) -> None:
    node.meta["shape"], node.meta["dtype"] = value.inner_shape, value.dtype


def _is_input(value: Value) -> bool:
    return not value.call.args and not value.call.kwargs


def _calls_between(inputs: Sequence[Value], outputs: Any) -> list[Call]:
    """The calls that lead from inputs to outputs, each after those that it needs (no recursion: networks are deep)."""
    if not list(values_in(outputs)):
        raise ArgumentError("A model needs at least one output", received=repr(outputs))
    given = {(id(v.call), v.item) for v in inputs}
    done: set[int] = set()
    order: list[Call] = []
    stack = [(value, False) for value in reversed(list(values_in(outputs)))]
    while stack:
        value, expanded = stack.pop()
        call = value.call
        if id(call) in done or (id(call), value.item) in given:
            continue
        if expanded:
            done.add(id(call))
            order.append(call)
            continue
        if _is_input(value):
            raise ArgumentError(
                f"The outputs need an Input of shape {value.shape} that is not among the model's inputs",
                fix="Add it to inputs: Model(inputs=[...], outputs=...)",
            )
        stack.append((value, True))
        stack += [(needed, False) for needed in reversed(list(values_in([call.args, call.kwargs])))]
    return order


# --- names -----------------------------------------------------------------------------------------------------


def snake_case(class_name: str) -> str:
    """Keras's default layer names: Conv2D -> conv2d, MaxPooling2D -> max_pooling2d, ReLU -> re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def name_layers(layers: Sequence[nn.Module]) -> dict[int, str]:
    """A name for each distinct layer (by id), unique in this model: its own, else its class's, counted from here.

    A layer without a name takes the one it gets. A name given by a person twice is an error; a counted name that two
    layers brought from other models is counted anew for the second.
    """
    distinct = list({id(layer): layer for layer in layers}.values())
    names: dict[int, str] = {}
    taken: set[str] = set()
    for layer in distinct:
        name, chosen = getattr(layer, "name", None), not getattr(layer, "named_by_count", False)
        if not isinstance(name, str):
            continue
        if name not in taken:
            names[id(layer)] = name
            taken.add(name)
        elif chosen:
            raise ArgumentError(f'Two layers of one model are named "{name}"', fix="Give each layer its own name")
    for layer in distinct:
        if id(layer) in names:
            continue
        base = getattr(layer, "default_name", None) or snake_case(type(layer).__name__)
        counted = (base if count == 0 else f"{base}_{count}" for count in itertools.count())
        names[id(layer)] = next(name for name in counted if name not in taken)
        taken.add(names[id(layer)])
        if getattr(layer, "name", None) is None:
            layer.name, layer.named_by_count = names[id(layer)], True  # type: ignore[assignment]
    return names


def attribute_name(layer_name: str) -> str:
    """The attribute under which the container holds a layer: an identifier that is not one of a module's own.

    >>> attribute_name("conv2d_1"), attribute_name("train"), attribute_name("block 1/conv")
    ('conv2d_1', 'train_', 'block_1_conv_')
    """
    name = re.sub(r"[^0-9a-zA-Z_]", "_", layer_name)
    name = f"_{name}" if name[:1].isdigit() or not name else name
    reserved = hasattr(Layers, name) or keyword.iskeyword(name) or name.startswith("_") or name == "self"
    return f"{name}_" if reserved or name != layer_name else name


class Layers(nn.Module):
    """A model's layers, in order, apart from the model's own attributes.

    Reads like Keras's list (`model.layers[0]`, `len`, iteration) and finds a layer by name with `named`.
    """

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__()
        self._attributes: dict[str, str] = {}
        for name, layer in layers.items():
            attribute = attribute_name(name)
            if attribute in self._modules:
                raise ArgumentError(
                    f'The layer names "{name}" and "{attribute}" differ only in signs that an attribute cannot hold'
                )
            self._attributes[name] = attribute
            self.add_module(attribute, layer)

    def named(self) -> dict[str, nn.Module]:
        """The layers by their names in this model."""
        return {name: self._modules[attribute] for name, attribute in self._attributes.items()}  # type: ignore[misc]

    def changed(self, layers: Mapping[str, nn.Module]) -> Layers:
        """The same with other layers under these names."""
        result = object.__new__(Layers)
        others = {self._attributes[name]: layer for name, layer in layers.items()}
        result.__dict__.update(self.__dict__, _modules={**self._modules, **others})
        return result

    def __len__(self) -> int:
        return len(self._attributes)

    def __iter__(self):
        return iter(self.named().values())

    def __getitem__(self, index: int | slice):
        return list(self)[index]


# --- a graph's calls again -------------------------------------------------------------------------------------

Substitute = Callable[[fx.Node, nn.Module, tuple[Any, ...], dict[str, Any]], Any]


def call_layer(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The substitute that changes nothing."""
    return layer(*args, **kwargs)


def replay(network: fx.GraphModule, inputs: Sequence[Value], substitute: Substitute = call_layer) -> Any:
    """Call every layer of `network` again on symbolic `inputs`; returns the outputs' values in their structure.

    `substitute(node, layer, args, kwargs)` returns the value of each layer's call: change it to rewrite the network.
    Raises SightlineError on a graph that holds anything but layers.
    """
    return walk(network, lambda node, position: inputs[position], substitute)


def lift(network: fx.GraphModule, input_layer: Callable[[str], nn.Module]) -> dict[str, Value]:
    """Values for all nodes of a graph whose values are not at hand (a copy, a pickle), from the shapes it stores."""
    values: dict[str, Value] = {}

    def placeholder(node: fx.Node, position: int) -> Value:
        layer = input_layer(node.meta["layer"])
        values[node.name] = Value(Call(layer), node.meta["shape"], node.meta["dtype"])
        return remember(layer, (), values[node.name])

    def stored(node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = Call(layer, args, tuple(kwargs.items()))
        if "shape" in node.meta:
            values[node.name] = Value(call, node.meta["shape"], node.meta["dtype"])
            return remember(layer, args, values[node.name])
        items = {user.args[1]: user for user in node.users}
        several: dict[Any, Value] = {
            i: Value(call, user.meta["shape"], user.meta["dtype"], cast(int, i)) for i, user in items.items()
        }
        values.update({user.name: several[i] for i, user in items.items()})
        return remember(layer, args, several)

    walk(network, placeholder, stored)
    return values


def linear_chain(inputs: Sequence[Value], outputs: Any) -> list[nn.Module] | None:
    """The layers between one input and one output when each takes just the one before; otherwise None."""
    if len(inputs) != 1 or not isinstance(outputs, Value):
        return None
    layers: list[nn.Module] = []
    value = outputs
    while value is not inputs[0]:
        call = value.call
        if value.item is not None or len(call.args) != 1 or not isinstance(call.args[0], Value) or call.kwargs:
            return None
        layers.append(call.layer)
        value = call.args[0]
    return layers[::-1]


def walk(network: fx.GraphModule, placeholder: Callable[[fx.Node, int], Any], substitute: Substitute) -> Any:
    """Visit a graph's nodes in order, with a value for each; returns the outputs in their structure."""
    at: dict[fx.Node, Any] = {}
    position = 0
    for node in network.graph.nodes:
        args, kwargs = map_nodes(at.__getitem__, [node.args, node.kwargs])
        if node.op == "placeholder":
            at[node] = placeholder(node, position)
            position += 1
        elif node.op == "call_module":
            at[node] = substitute(node, network.get_submodule(node.target), args, kwargs)
        elif node.op == "call_function" and node.target is operator.getitem:
            at[node] = args[0][args[1]]
        elif node.op == "output":
            return args[0]
        else:
            raise SightlineError(f'The graph holds "{node.name}" ({node.op}), which is not a layer')
    raise SightlineError("The graph has no output")


def map_nodes(function: Callable[[fx.Node], Any], structure: Any) -> Any:
    """Apply `function` to every node in nested arguments; fx's immutable lists and dicts become plain ones."""
    if isinstance(structure, fx.Node):
        return function(structure)
    if isinstance(structure, dict):
        return {key: map_nodes(function, item) for key, item in structure.items()}
    if isinstance(structure, (list, tuple)):
        return (list if isinstance(structure, list) else tuple)(map_nodes(function, item) for item in structure)
    return structure


def layer_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls, or None."""
    return network.get_submodule(node.target) if node.op == "call_module" else None  # type: ignore[arg-type]
