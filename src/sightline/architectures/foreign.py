"""The way in for networks that someone else wrote: a `torch.nn.Module` as a Model, each of its calls a layer."""

from __future__ import annotations

import operator
import re
import warnings
from typing import Any

from torch import fx, nn
from torch.utils import _pytree

from ..errors import ArgumentError, SightlineError
from ..graph.build import map_nodes, snake_case
from ..graph.io import Recipe
from ..graph.network import Network
from ..graph.symbolic import Call, Value, remember, values_in
from ..layers import Input, Torch
from ..layers.base import checked_shape
from ..models import Model
from .applied import Applied, Whole, fold, needs_planes
from .dry_run import answer_of, dry_run, is_answer, like, values_among
from .tracing import ROOT, Entry, Untraceable, opaque_from_the_start, scope, trace, unchanged, why_opaque

NOT_TRACED = "not traced"  # in a model's metadata: why the module is one layer


class Wrapped(Model):
    """A module that someone else wrote, as a network of `layers.Torch`.

    `module_kind` is the module's class; `recipe` says how a model file's reader makes the network again, where it can.
    """

    foreign = True
    module_kind = ""
    recipe: Recipe | None = None

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        given = list(values_in([args, kwargs]))
        if not kwargs and [value.inner_shape for value in given] == self._input_shapes and given:
            results = self.output
            if is_flat(results):  # what comes out is known: someone else's code need not run for it
                mode = {} if training is None else {"training": bool(training)}
                return record_known(self, tuple(given), mode, results)
        return super().__call__(*args, training=training, **kwargs)


def wrap(module: nn.Module, input_shape: Any, name: str | None = None) -> Model:
    """A Model that computes what `module` does, with its very weights, in training and in inference.

    `input_shape`: (height, width, channels), or (features), or a list of such for several inputs; the module itself takes
    NCHW. `torch.fx` traces it: each call of a module is a layer named by its path ("layer1_0_conv1"), each function in its
    forward a layer too. Modules whose forward reads `self.training`, keeps something for later, or looks at values stay
    whole; where the module itself does, the Model has one layer, a warning says so, and `metadata["not traced"]` why.
    What it answers may be a tensor, or a list, tuple or dict of tensors.

    Raises ArgumentError for what is no module, ShapeError where the module cannot take such inputs.
    """
    if not isinstance(module, nn.Module) or isinstance(module, Network):
        raise ArgumentError(
            "wrap takes a torch.nn.Module",
            received=repr(module) if not isinstance(module, nn.Module) else f"the model {module.name}",
            fix="It is a Sightline network already: use it as it is" if isinstance(module, Network) else None,
        )
    if any(nn.parameter.is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ArgumentError(
            f"{type(module).__name__} has weights without a shape",
            fix="Call it on one batch first: module(torch.zeros(...))",
        )
    model = wrapped(module, input_shape, name)
    if NOT_TRACED in model.metadata:
        warnings.warn(one_layer_only(model), stacklevel=2)
    return model


def one_layer_only(model: Model) -> str:
    """What a person should know of a module that was not traced."""
    why = model.metadata[NOT_TRACED]
    return f"{model.name} is one layer, so summary, receptive field and rewriting see it as a whole. {why}"


def wrapped(module: nn.Module, input_shape: Any, name: str | None = None, prefix: str = "") -> Wrapped:
    """`wrap` without a warning; `prefix` ("model.") is left out of the layers' names."""
    inputs = [Input(shape, like(module).dtype) for shape in _shapes_of(input_shape)]
    shapes = [value.inner_shape for value in inputs]
    with unchanged(module):
        outputs, why = _traced(module, inputs, f"{ROOT}.{prefix}")
        if outputs is None:
            outputs = _as_one_layer(module, inputs, answer_of(module, shapes))
    model = Wrapped(inputs, outputs, name or snake_case(type(module).__name__))
    model.module_kind = type(module).__name__
    model.training = module.training
    for layer in model.layers:
        if isinstance(layer, Torch):
            layer.training = layer.module.training
    if why is not None:
        model.metadata[NOT_TRACED] = why
    return model


def _shapes_of(input_shape: Any) -> list[tuple[int, ...]]:
    several = isinstance(input_shape, (list, tuple)) and input_shape and isinstance(input_shape[0], (list, tuple))
    return [checked_shape(shape, "wrap") for shape in (input_shape if several else [input_shape])]


def _traced(module: nn.Module, inputs: list[Value], prefix: str) -> tuple[Any, str | None]:
    """The outputs of a module as calls of layers, and None; or None, and a sentence why it cannot be looked into."""
    opaque = opaque_from_the_start(Entry(module))
    why = why_opaque(module, is_root=True)
    while why is None:
        try:
            entry, graph = trace(module, len(inputs), opaque)
            results = dry_run(entry, graph, [value.inner_shape for value in inputs])
            return _Translation(entry, graph, results, prefix).outputs(inputs), None
        except Untraceable as error:
            part = Entry(module).get_submodule(error.path)
            if error.path == ROOT or opaque.holds(error.path, part):
                why = error.why
            else:
                opaque.add(error.path, part)
                why = error.why if opaque.holds(ROOT, module) else None
    return None, f"{type(module).__name__} cannot be traced: {why}."


def _as_one_layer(module: nn.Module, inputs: list[Value], answer: Any) -> Any:
    """The outputs of a module that is not looked into."""
    is_row = is_answer(answer)
    leaves, structure = _pytree.tree_flatten(answer)
    if not is_row and not is_answer(leaves):
        raise SightlineError(
            f"{type(module).__name__} must return tensors",
            expected="a tensor, or a list, tuple or dict of tensors",
            received=type(answer).__name__,
        )
    planes = needs_planes(module)
    whole = module if is_row and not planes else Whole(module, in_a_row=not is_row, contiguous=planes)
    values = record_known(
        _layer(whole, snake_case(type(module).__name__)), tuple(inputs), {}, answer if is_row else leaves
    )
    return values if is_row else _plain(_pytree.tree_unflatten(list(values), structure))


def _plain(structure: Any) -> Any:
    """Lists, tuples and dicts of no other class, as a network's outputs are."""
    if isinstance(structure, (list, tuple)):
        return (list if isinstance(structure, list) else tuple)(_plain(item) for item in structure)
    return {key: _plain(item) for key, item in structure.items()} if isinstance(structure, dict) else structure


def is_flat(results: Any) -> bool:
    """Whether results are one value, or a row of them: what a layer may return."""
    return isinstance(results, Value) or (
        isinstance(results, (list, tuple)) and all(isinstance(value, Value) for value in results)
    )


def record_known(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> Any:
    """The value, or tuple of values, of a layer's call whose results' shapes are those of tensors, or values, at hand."""
    call = Call(layer, args, tuple(kwargs.items()))

    def value(like: Any, item: int | None = None) -> Value | None:
        if like is None:
            return None
        shape = like.inner_shape if isinstance(like, Value) else tuple(like.shape[1:])
        return Value(call, shape, like.dtype, item)

    several = isinstance(results, (list, tuple))
    made = tuple(value(like, item) for item, like in enumerate(results)) if several else value(results)
    return remember(layer, args, made)


def _layer(module: nn.Module, name: str) -> Torch:
    layer = Torch(module, name=name)
    layer.built = True
    return layer


def _takes_an_item(node: fx.Node) -> bool:
    return node.target is operator.getitem and isinstance(node.args[0], fx.Node) and len(node.all_input_nodes) == 1


class _Translation:
    """A traced graph whose nodes become calls of layers."""

    def __init__(self, entry: nn.Module, graph: fx.Graph, results: dict[fx.Node, Any], prefix: str):
        self.entry, self.graph, self.results, self.prefix = entry, graph, results, prefix
        self.is_value = values_among(results).__contains__
        self.made: dict[fx.Node, Any] = {}  # a Value, or a tuple of them
        self.layers: dict[str, Torch] = {}  # of called modules, which may be called again
        self.parts: dict[str, nn.Module] = {}
        self.names: set[str] = set()

    def outputs(self, inputs: list[Value]) -> Any:
        """The graph's outputs when `inputs` come in."""
        waiting = iter(inputs)
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.made[node] = next(waiting)
            elif node.op == "output":
                answers = _pytree.tree_leaves(map_nodes(lambda each: each, node.args[0]))
                if not all(each is None or (isinstance(each, fx.Node) and self.is_value(each)) for each in answers):
                    raise Untraceable(ROOT, "it returns what is no tensor, or does not depend on the input")
                return self._with_values(node.args[0])
            elif self.is_value(node):
                self.made[node] = self._value_of(node)
        raise AssertionError("fx ends each graph with its output")

    def _value_of(self, node: fx.Node) -> Any:
        if _takes_an_item(node) and isinstance(row := self.made.get(node.args[0]), tuple):  # type: ignore[arg-type]
            return row[node.args[1]]  # type: ignore[index]
        result = self.results[node]
        if node.op == "call_module" and all(self.is_value(n) for n in node.all_input_nodes):
            layer = self._layer_of(str(node.target))
            return record_known(layer, self._with_values(node.args), self._with_values(node.kwargs), result)
        folded = fold(node, self.is_value, self.entry, self._part)
        applied = Applied(folded.graph, folded.members)
        applied.training = self.entry.get_submodule(scope(node)).training
        args = tuple(self.made[source] for source in folded.inputs)
        return record_known(_layer(applied, self._name(node)), args, {}, result)

    def _with_values(self, structure: Any) -> Any:
        return map_nodes(self.made.__getitem__, structure)

    def _part(self, target: str) -> nn.Module:
        """A called module, as it is called here."""
        if target not in self.parts:
            module = self.entry.get_submodule(target)
            self.parts[target] = Whole(module, contiguous=True) if needs_planes(module) else module
        return self.parts[target]

    def _layer_of(self, target: str) -> Torch:
        if target not in self.layers:
            self.layers[target] = _layer(self._part(target), self._free(target))
        return self.layers[target]

    def _name(self, node: fx.Node) -> str:
        what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "function")
        what = what.rpartition(".")[2] if node.op == "call_module" else what
        return self._free(f"{scope(node)}.{what.strip('_')}")

    def _free(self, path: str) -> str:
        base = name = re.sub(r"[^0-9a-zA-Z_]", "_", path.removeprefix(self.prefix).removeprefix(f"{ROOT}."))
        count = 0
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name
