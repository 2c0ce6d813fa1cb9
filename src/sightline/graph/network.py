"""A network: a `torch.fx.GraphModule` made from symbolic values, which copies and pickles as any module does."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import fx, nn

from ..errors import ArgumentError, ShapeError, SightlineError, check_name, choose
from ..layout import Shape, fits, person_shape
from .build import Layers, emit, lift, map_nodes
from .symbolic import FIRST_CALL, Value, describe_layer, in_mode, map_values, record, values_in
from .weights import Variable, Weighted, variables_of


class Network(Weighted, fx.GraphModule):
    """What computes `outputs` from `inputs`; both are symbolic values, or lists of them.

    All layers stand in `layers`; nothing else of a network's is a submodule, so no layer's name can collide with a
    method. Tensors go in as NCHW (any floating type) and come out so. Called on symbolic values it is a layer.
    """

    default_name = "functional"
    name: str
    layers: Layers
    _input_shapes: list[Shape]

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None):
        if inputs is None or outputs is None:
            raise ArgumentError(
                f"{public_class(self).__name__} is made of symbolic inputs and outputs",
                expected="Model(inputs, outputs)",
                fix="What a subclass would compute in call is a function that returns such a model, or a layer's forward",
            )
        self._begin(name)
        self._set_graph(inputs, outputs)

    def _begin(self, name: str | None) -> None:
        """A module with an empty graph."""
        check_name(name, "A model")
        fx.GraphModule.__init__(self, {}, fx.Graph(), public_class(self).__name__)
        self.layers = Layers({})
        self.name, self.named_by_count = name or self.default_name, name is None
        self._input_shapes = []

    @classmethod
    def from_values(cls, inputs: Any, outputs: Any, name: str | None = None) -> Self:
        """A network of this kind; kinds whose constructor takes something else make their nearest such kind."""
        return cls(inputs, outputs, name)

    def _set_graph(self, inputs: Any, outputs: Any, *, with_input_layers: bool = True) -> None:
        """Emit a fresh graph. Called again when a network grows (Sequential.add)."""
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        for value in given:
            if not isinstance(value, Value):
                fix = "Give a list of them; data may be a dict by the names of the Inputs: Input(shape, name=...)"
                raise ArgumentError(
                    "A model's inputs are a symbolic value or a list of them",
                    received=repr(value),
                    fix=fix if isinstance(value, dict) else "Use sl.Input(shape)",
                )
        if len({id(value) for value in given}) < len(given):
            raise ArgumentError("A model's inputs hold one value twice", received=f"{len(given)} inputs")
        emitted = emit(given, outputs, with_input_layers=with_input_layers)
        self.layers = Layers(emitted.layers)
        self.graph = emitted.graph
        self._input_shapes = [value.inner_shape for value in given]
        self.__dict__["_values"] = emitted.values  # not a module's attribute: chains may be long

    # --- what it takes and gives -------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        return any(node.op == "output" for node in self.graph.nodes)

    @property
    def values(self) -> dict[str, Value]:
        """The symbolic value behind each node's name: make a model of a part with `Model(inputs, values[name])`."""
        if self.__dict__.get("_values") is None:
            self.__dict__["_values"] = lift(self, self._input_layer)
        return self.__dict__["_values"]

    def _input_layer(self, name: str) -> nn.Module:
        return self.layers.named().get(name) or Placeholder(name)

    @property
    def inputs(self) -> list[Value]:
        return [self.values[node.name] for node in self.graph.nodes if node.op == "placeholder"]

    @property
    def outputs(self) -> list[Value]:
        return list(values_in(self._output_structure()))

    def _output_structure(self) -> Any:
        if not self.built:
            raise SightlineError(
                f"{self.name} does not know its input's shape yet, so it has no output", fix="Begin it with an Input"
            )
        result = self.graph.output_node().args[0]
        return map_nodes(lambda node: self.values[node.name], result)

    @property
    def input_shape(self) -> Any:
        """`(None, H, W, C)`, or a list of such where there are several inputs."""
        shapes = [value.shape for value in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def input(self) -> Any:
        """The symbolic input, or a list of them."""
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    @property
    def output(self) -> Any:
        """The symbolic outputs, in their structure."""
        return self._output_structure()

    @property
    def output_shape(self) -> Any:
        """As `input_shape`, in the structure of the outputs."""
        return map_values(lambda value: value.shape, self._output_structure())

    def get_layer(self, name: str | None = None, index: int | None = None) -> nn.Module:
        """The layer of that name, or at that index. Raises ArgumentError with the nearest names."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ArgumentError(f"{self.name} has {len(self.layers)} layers", received=f"index={index}")
            return self.layers[index]
        return self.layers.named()[choose("layer", name, self.layers.named())]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets every layer's."""
        return any(getattr(layer, "trainable", True) for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def variables(self) -> Iterator[Variable]:
        """Every layer's weights, in the order of the layers; those of a layer in several places once."""
        seen: set[int] = set()
        for layer in self.layers:
            for variable in variables_of(layer):
                if id(variable.tensor) not in seen:
                    seen.add(id(variable.tensor))
                    yield variable

    def regularized_layers(self) -> list[Any]:
        """The layers, those of nested networks too, whose regularizers add to the loss."""
        return [part for part in self.modules() if getattr(part, "is_regularized", False)]

    def penalties(self) -> Iterator[torch.Tensor]:
        """What the regularizers of all layers, of nested networks too, add to the loss."""
        for layer in self.regularized_layers():
            yield from layer.penalties()

    def with_layers(self, changed: Mapping[str, nn.Module]) -> Self:
        """The same graph with other layers under these names, sharing all the rest with this network."""
        result = object.__new__(type(self))  # a class of its own, which has the forward
        result.__dict__.update(self.__dict__)
        result.__dict__["_modules"] = {**self._modules, "layers": self.layers.changed(changed)}
        return result

    # --- being called ------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        args = tuple(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple)) else args
        if symbolic := list(values_in([args, kwargs])):
            for value, shape in zip(symbolic, self._input_shapes, strict=False):
                if not fits(value.inner_shape, shape):
                    raise ShapeError(
                        f"{describe_layer(self)} was called on another shape",
                        expected=(None, *person_shape(shape)),
                        received=value.shape,
                        fix="Make the model for this size",
                    )
            return record(self, args, kwargs, training)
        for position, (tensor, shape) in enumerate(zip(args, self._input_shapes, strict=False)):
            if type(tensor).__module__ == "numpy":
                raise ShapeError(
                    f"{describe_layer(self)} was called on a NumPy array",
                    fix="Use predict, or a tensor (channels first)",
                )
            wrong_axes = isinstance(tensor, torch.Tensor) and tensor.ndim != len(shape) + 1
            if isinstance(tensor, torch.Tensor) and not wrong_axes and tensor.shape[1:2] != shape[:1]:
                raise ShapeError(
                    f"Input {position} of {describe_layer(self)} has other channels",
                    expected=f"a tensor (batch, {', '.join(map(str, shape))}): channels first, as torch's tensors are",
                    received=f"a tensor of shape {tuple(tensor.shape)}",
                )
            if wrong_axes:
                raise ShapeError(
                    f"Input {position} of {describe_layer(self)} has the wrong number of axes",
                    expected=f"a tensor (batch, {', '.join(map(str, shape))}): channels first, as torch's tensors are",
                    received=f"a tensor of shape {tuple(tensor.shape)}",
                    fix=f"A NumPy batch is {(None, *person_shape(shape))}: pass it to predict or fit",
                )
        with in_mode(self, training):
            return super().__call__(*args, **kwargs)

    # --- copies and pickles ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """All but the graph's own objects, which are described instead (fx has no lasting form of its own)."""
        state = {
            key: value for key, value in self.__dict__.items() if key not in ("_graph", "_code", "_values", FIRST_CALL)
        }
        return state | {"graph description": describe_graph(self.graph)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        description = state.pop("graph description")
        self._begin(None)
        self.__dict__.update(state)
        self.graph = draw_graph(description)
        if self.built:
            self.__dict__["_values"] = lift(self, self._input_layer)  # each layer's input and output

    def __reduce__(self):
        return _blank, (public_class(self),), self.__getstate__()

    def __reduce_ex__(self, protocol):
        return self.__reduce__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        make, (kind,), state = self.__reduce__()
        result = memo[id(self)] = make(kind)
        result.__setstate__(copy.deepcopy(state, memo))
        return result


class Placeholder(nn.Module):
    """Stands where a value came from when that is not known any more."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name


def public_class(network: fx.GraphModule) -> type[Any]:
    """The class that a person knows; fx gives each instance a class of its own, which no pickle could find."""
    return next(base for base in type(network).__mro__ if "GraphModuleImpl" not in base.__qualname__)


def _blank(kind: type[Network]) -> Network:
    return kind.__new__(kind)


def describe_graph(graph: fx.Graph) -> list[dict[str, Any]]:
    """A graph as plain data, without recursion, for copies and pickles within one version of Sightline."""

    def refer(node: fx.Node) -> Reference:
        return Reference(node.name)

    return [
        {
            "op": node.op,
            "target": node.target,
            "name": node.name,
            "args": map_nodes(refer, node.args),
            "kwargs": map_nodes(refer, node.kwargs),
            "meta": {key: node.meta[key] for key in ("shape", "dtype", "layer") if key in node.meta},
        }
        for node in graph.nodes
    ]


def draw_graph(description: list[dict[str, Any]]) -> fx.Graph:
    """The inverse of `describe_graph`."""
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def resolve(item: Any) -> Any:
        if isinstance(item, Reference):
            return nodes[item.node]
        if isinstance(item, (list, tuple)):
            return type(item)(resolve(i) for i in item)
        if isinstance(item, dict):
            return {key: resolve(i) for key, i in item.items()}
        return item

    for row in description:
        node = graph.create_node(row["op"], row["target"], resolve(row["args"]), resolve(row["kwargs"]), row["name"])
        node.meta.update(row["meta"])
        nodes[row["name"]] = node
    return graph


class Reference:
    """The place of a node in a description."""

    def __init__(self, node: str):
        self.node = node
