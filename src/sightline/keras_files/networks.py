"""Keras's configurations of networks -> ours: layers are made from a list and called on symbolic values.

Two forms are read: Keras 3's inbound nodes, whose arguments hold `__keras_tensor__` objects, and Keras 2's nested lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelFileError
from ..graph.network import Network
from ..graph.symbolic import Value, values_in
from ..layers import Dropout, Layer, SpatialDropout2D
from .checks import index, mapping, quoted, sequence, text
from .configs import input_from_keras, is_custom, layer_from_keras, layer_name, shape_of

FUNCTIONAL = ("Functional", "Model")
NETWORKS = (*FUNCTIONAL, "Sequential")
# A network is a layer of another, so that few bytes can ask for layers without end
MAX_DEPTH, MAX_LAYERS, MAX_CALLS = 20, 20_000, 100_000

Shapes = list[Any]  # for each input (H, W, C) without the batch, or None


@dataclass
class Making:
    """What is shared while the networks of one file are made."""

    kinds: Mapping[str, type[Network]]  # "Sequential" and "Model"
    calls: dict[int, int] = field(default_factory=dict)  # by id of a network: the layers that run when it is called
    keys: dict[int, list[str]] = field(default_factory=dict)  # by id of a network: the names of a dict of inputs
    layers: int = 0
    called: int = 0

    def count(self, layer: Any) -> int:
        """The layers that one call of `layer` runs. Raises ModelFileError when all calls so far are too many."""
        calls = self.calls.get(id(layer), 1)
        self.called += calls
        if self.called > MAX_CALLS:
            raise ModelFileError(f"It calls its layers more than {MAX_CALLS} times")
        return calls


class Nested:
    """A network that is a layer of another: it is made when it is first called, since only then its input's size is known."""

    def __init__(self, entry: Mapping[str, Any], making: Making, depth: int):
        self.entry, self.making, self.depth = entry, making, depth
        self.network: Network | None = None

    def __call__(self, given: Any, **mode: Any) -> Any:
        if self.network is None:
            shapes = [tuple(value.shape[1:]) for value in values_in(_in_order(given))]
            self.network = network_from_keras(self.entry, self.making, shapes, self.depth)
        keys = self.making.keys.get(id(self.network))
        if isinstance(given, dict):
            given = [given[key] for key in keys or sorted(given)]
        self.making.count(self.network)
        return self.network(given, **mode)


def _in_order(given: Any) -> Any:
    return [given[key] for key in sorted(given)] if isinstance(given, dict) else given


def network_from_keras(entry: Any, making: Making, given: Shapes, depth: int = 0) -> Network:
    """A network with new weights, from Keras's configuration of a Sequential or Functional model.

    `given` are the shapes of the inputs where the configuration leaves them open. Raises ModelFileError.
    """
    entry = mapping(entry, "A model's configuration")
    kind, config = text(entry.get("class_name"), "A model's class"), entry.get("config")
    if depth > MAX_DEPTH:
        raise ModelFileError(f"It has networks in networks, more than {MAX_DEPTH} deep")
    if kind not in NETWORKS or is_custom(entry | {"registered_name": None}):
        raise ModelFileError(
            f"The model {quoted(kind)} is a class of someone's own, whose code is not in the file",
            expected="Sequential or a functional Model",
            fix="Build it in code, and load its weights",
        )
    if isinstance(config, list):  # as Keras 2 wrote a Sequential in its first years
        config = {"layers": config}
    config = mapping(config, "A model's configuration")
    network = (_sequential if kind == "Sequential" else _functional)(config, making, given, depth)
    if config.get("trainable") is False:
        network.trainable = False
    return network


def _layer(entry: Any, making: Making, depth: int) -> Layer | Nested:
    entry = mapping(entry, "A layer")
    making.layers += 1
    if making.layers > MAX_LAYERS:
        raise ModelFileError(f"It has more than {MAX_LAYERS} layers")
    return Nested(entry, making, depth + 1) if entry.get("class_name") in NETWORKS else layer_from_keras(entry)


def _name(config: Mapping[str, Any]) -> str | None:
    name = config.get("name")
    return None if name is None else text(name, "A model's name").replace("/", "_")


# --- Sequential --------------------------------------------------------------------------------------------------


def _sequential(config: Mapping[str, Any], making: Making, given: Shapes, depth: int) -> Network:
    entries = [mapping(entry, "A layer") for entry in sequence(config.get("layers"), "A Sequential's layers")]
    if not entries:
        raise ModelFileError("A Sequential has no layers")
    first = entries[0]
    if len(given) > 1:
        raise ModelFileError("A Sequential has one input", received=f"{len(given)} shapes")
    shape = given[0] if given else None
    if first.get("class_name") == "InputLayer":
        entries = entries[1:]
    else:
        first = _input_of(first, config)
    start = input_from_keras(first, shape).value()
    making.calls[id(start)] = 1
    value, calls = start, 0
    for entry in entries:
        layer = _layer(entry, making, depth)
        value = _called(layer, making, value, {})
        calls += making.count(layer.network if isinstance(layer, Nested) else layer)
        if not isinstance(value, Value):
            raise ModelFileError(f"The layer {quoted(layer_name(entry))} of a Sequential has several outputs")
    network = making.kinds["Sequential"].from_values(start, value, _name(config))
    making.calls[id(network)] = calls
    return network


def _input_of(first: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The InputLayer of a Sequential that has none: its shape is in the first layer's configuration, or in the model's."""
    shape = shape_of(mapping(first.get("config"), "A layer"))
    if shape is None and first.get("class_name") in FUNCTIONAL:
        shape = _only_input(mapping(first["config"], "A model's configuration"))
    built = config.get("build_input_shape")
    if shape is None and isinstance(built, list):
        shape = built[1:]
    batch_shape = None if shape is None else [None, *shape]
    return {"class_name": "InputLayer", "config": {"batch_shape": batch_shape, "name": "input_layer"}}


def _only_input(config: Mapping[str, Any]) -> list[Any] | None:
    shapes = [
        shape_of(mapping(entry.get("config"), "A layer"))
        for entry in sequence(config.get("layers"), "A model's layers")
        if isinstance(entry, dict) and entry.get("class_name") == "InputLayer"
    ]
    return shapes[0] if len(shapes) == 1 else None


def _called(layer: Layer | Nested, making: Making, given: Any, mode: dict[str, Any]) -> Any:
    if not isinstance(layer, Nested):
        making.count(layer)
    return layer(given, **mode)


# --- Functional --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a value comes from: the layer, which of its calls, which of that call's results."""

    layer: str
    call: int
    item: int


@dataclass(frozen=True)
class Use:
    """One call of a layer: what it takes (places in lists or dicts) and in which mode it runs."""

    takes: Any
    mode: dict[str, Any]


def _functional(config: Mapping[str, Any], making: Making, given: Shapes, depth: int) -> Network:
    entries: dict[str, dict[str, Any]] = {}
    for row in sequence(config.get("layers"), "A model's layers"):
        entry = mapping(row, "A layer")
        if layer_name(entry) in entries:
            raise ModelFileError(f"Two layers are named {quoted(layer_name(entry))}")
        entries[layer_name(entry)] = entry
    parser = _Parser(entries)
    starts, keys = _inputs(config, parser, given)
    layers = {
        name: _layer(entry, making, depth) for name, entry in entries.items() if entry.get("class_name") != "InputLayer"
    }
    uses = {(name, number): use for name in layers for number, use in enumerate(parser.uses(name))}
    outputs = parser.places(config.get("output_layers"), is_output=True)
    results: dict[tuple[str, int], Any] = {(name, 0): value for name, value in starts.items()}
    _evaluate(list(_places_in(outputs)), uses, layers, making, results)
    idle = next((key for key in uses if key not in results), None)
    if idle is not None:
        raise ModelFileError(f"The layer {quoted(idle[0])} leads to no output")
    if isinstance(outputs, list) and len(outputs) == 1:
        outputs = outputs[0]
    answer = _resolved(outputs, results)
    begins = list(starts.values())
    network = making.kinds["Model"].from_values(begins[0] if len(begins) == 1 else begins, answer, _name(config))
    called = [layers[name] for name, _ in uses]
    making.calls[id(network)] = sum(
        making.calls.get(id(layer.network), 1) if isinstance(layer, Nested) else 1 for layer in called
    )
    if keys is not None:
        making.keys[id(network)] = keys
    return network


def _inputs(config: Mapping[str, Any], parser: _Parser, given: Shapes) -> tuple[dict[str, Value], list[str] | None]:
    """The symbolic inputs by their layers' names in order, and the keys where they are a dict (sorted, as Keras has them)."""
    structure = parser.places(config.get("input_layers"), is_output=True)
    keys = sorted(structure) if isinstance(structure, dict) else None
    places = list(_places_in(structure if keys is None else [structure[key] for key in keys]))
    if not places:
        raise ModelFileError("The model has no inputs")
    if given and len(given) != len(places):
        raise ModelFileError(
            f"The model has {len(places)} inputs", received=f"{len(given)} shapes", fix="Give one shape for each input"
        )
    shapes = given or [None] * len(places)
    starts = {
        place.layer: input_from_keras(parser.entry(place.layer), shape).value()
        for place, shape in zip(places, shapes, strict=True)
    }
    if len(starts) < len(places):
        raise ModelFileError("One input is named twice")
    return starts, keys


def _evaluate(
    wanted: list[Place],
    uses: Mapping[tuple[str, int], Use],
    layers: Mapping[str, Layer | Nested],
    making: Making,
    results: dict[tuple[str, int], Any],
) -> None:
    """Call the layers that the wanted places need, each after those it takes from. Raises ModelFileError for a circle."""
    stack = [(place.layer, place.call) for place in reversed(wanted)]
    under_way: set[tuple[str, int]] = set()
    while stack:
        key = stack[-1]
        if key in results:
            stack.pop()
            continue
        if key not in uses:
            raise ModelFileError(f"It refers to call {key[1]} of {quoted(key[0])}, which there is not")
        missing = [(p.layer, p.call) for p in _places_in(uses[key].takes) if (p.layer, p.call) not in results]
        if missing:
            under_way.add(key)
            if any(need in under_way for need in missing):
                raise ModelFileError(f"The layer {quoted(key[0])} takes, in a circle, what it makes")
            stack += reversed(missing)
            continue
        results[key] = _called(layers[key[0]], making, _resolved(uses[key].takes, results), uses[key].mode)
        under_way.discard(key)


def _resolved(structure: Any, results: Mapping[tuple[str, int], Any]) -> Any:
    """Places as values; other structure stays."""
    if isinstance(structure, Place):
        result = results[structure.layer, structure.call]
        several = result if isinstance(result, tuple) else (result,)
        if structure.item >= len(several):
            raise ModelFileError(f"It refers to output {structure.item} of {quoted(structure.layer)}, which has none")
        return several[structure.item]
    if isinstance(structure, dict):
        return {key: _resolved(item, results) for key, item in structure.items()}
    return [_resolved(item, results) for item in structure]


def _places_in(structure: Any) -> Iterator[Place]:
    if isinstance(structure, Place):
        yield structure
    elif isinstance(structure, (list, dict)):
        for item in structure.values() if isinstance(structure, dict) else structure:
            yield from _places_in(item)


NO_VALUE = "is called on something else than other layers' outputs"


class _Parser:
    """A functional model's references between layers, in either of Keras's forms."""

    def __init__(self, entries: Mapping[str, dict[str, Any]]):
        self.entries = entries
        nodes = [node for entry in entries.values() for node in sequence(entry.get("inbound_nodes"), "A layer's calls")]
        self.old = any(isinstance(node, list) for node in nodes)

    def entry(self, name: str) -> dict[str, Any]:
        if name not in self.entries:
            raise ModelFileError(f"It refers to a layer {quoted(name)}, which there is not")
        return self.entries[name]

    def place(self, reference: Any, *, is_output: bool = False) -> Place:
        """A reference (name, call, item). A nested network's calls are counted from 1 in some of them.

        Keras 2 counts the call by which a network was made; Keras 3 where outputs are named, for functional ones.
        """
        name, call, item = sequence(reference, "A reference to a layer")[:3]
        name = text(name, "A layer's name").replace("/", "_")
        call, item = index(call, "A reference to a layer"), index(item, "A reference to a layer")
        kind = self.entry(name).get("class_name")
        from_one = kind in NETWORKS and (self.old or (is_output and kind in FUNCTIONAL))
        return Place(name, call - 1 if from_one else call, item)

    def places(self, structure: Any, *, is_output: bool = False) -> Any:
        """References in nested lists and dicts as places."""
        if isinstance(structure, dict) and structure.get("class_name") == "__tuple__":
            structure = structure.get("items")
        if isinstance(structure, dict):
            return {key: self.places(item, is_output=is_output) for key, item in structure.items()}
        items = sequence(structure, "A model's inputs or outputs")
        if len(items) == 3 and isinstance(items[0], str):
            return self.place(items, is_output=is_output)
        return [self.places(item, is_output=is_output) for item in items]

    def uses(self, name: str) -> Iterator[Use]:
        entry = self.entry(name)
        for node in entry["inbound_nodes"]:
            parse = self._old_use if isinstance(node, list) else self._use
            takes, options = parse(node, f"The layer {quoted(name)}")
            yield Use(takes, self._mode(entry, options))

    def _use(self, node: Any, what: str) -> tuple[Any, dict[str, Any]]:
        node = mapping(node, "A layer's call")
        arguments = node.get("args")
        if isinstance(arguments, dict):
            arguments = arguments.get("items")
        takes = [self._argument(item, what) for item in sequence(arguments, "A layer's call")]
        options = dict(mapping(node.get("kwargs"), "A layer's call"))
        if not takes and "inputs" in options:
            takes = [self._argument(options.pop("inputs"), what)]
        if not takes or not any(_places_in(takes[0])) or any(item is not None for item in takes[1:]):
            raise ModelFileError(f"{what} {NO_VALUE}", received=quoted(node))
        return takes[0], options

    def _argument(self, item: Any, what: str) -> Any:
        if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            return self.place(mapping(item.get("config"), "A layer's call").get("keras_history"))
        if isinstance(item, dict) and "class_name" not in item:
            return {key: self._argument(value, what) for key, value in item.items()}
        if isinstance(item, list):
            return [self._argument(value, what) for value in item]
        if item is None:
            return None
        raise ModelFileError(f"{what} {NO_VALUE}", received=quoted(item))

    def _old_use(self, node: list[Any], what: str) -> tuple[Any, dict[str, Any]]:
        rows = [node] if node and isinstance(node[0], str) else node
        takes = [self.place(row) for row in rows]
        options: dict[str, Any] = {}
        for row in rows:
            if len(row) > 3:
                options |= mapping(row[3], "A layer's call")
        if not takes:
            raise ModelFileError(f"{what} is called on nothing")
        return takes[0] if len(takes) == 1 else takes, options

    def _mode(self, entry: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """The mode that a call was given. Keras 3 also writes a mode that nobody gave: the default of the layer's call."""
        training = options.pop("training", None)
        rest = next((key for key, value in options.items() if not _says_nothing(value)), None)
        if rest is not None or training not in (None, True, False):
            what = f"The layer {quoted(layer_name(entry))} is called with {quoted(rest or 'training')}"
            raise ModelFileError(f"{what}, which is not supported")
        kind = str(entry.get("class_name"))
        unsaid = True if kind.startswith("Random") else False if kind in DROPOUTS and not self.old else None
        return {} if training is None or training == unsaid else {"training": bool(training)}


def _says_nothing(value: Any) -> bool:
    """None, or a mask of several inputs that are all None."""
    return all(map(_says_nothing, value)) if isinstance(value, list) else value is None


DROPOUTS = tuple(kind.__name__ for kind in (Dropout, SpatialDropout2D))
