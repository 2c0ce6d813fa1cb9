"""Keras's configurations of networks -> ours: layers are made from a list and called on symbolic values.

Two forms are read: Keras 3's inbound nodes, whose arguments hold `__keras_tensor__` objects, and Keras 2's nested lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from ..graph.network import Network
from ..graph.symbolic import Value, values_in
from ..layers import Layer
from .checks import mapping, quoted, sequence, text
from .configs import FUNCTIONAL, NETWORKS, input_from_keras, is_custom, layer_from_keras, layer_name, shape_of
from .references import Place, References, Use, places_in

# A network is a layer of another, so that few bytes can ask for layers without end
MAX_DEPTH, MAX_LAYERS, MAX_CALLS = 20, 5_000, 50_000

Shapes = list[Any]  # for each input (H, W, C) without the batch, or None


@dataclass
class Made:
    """A network, the layers that one call of it runs, and the names of its inputs where they are a dict."""

    network: Network
    calls: int
    keys: list[str] | None = None


@dataclass
class Making:
    """What is shared while the networks of one file are made."""

    kinds: Mapping[str, type[Network]]  # "Sequential" and "Model"
    layers: int = 0
    called: int = 0

    def call(self, layer: Layer | Nested, given: Any, mode: dict[str, Any]) -> Any:
        """Call a layer on symbolic values. Raises ModelFileError when all calls so far are too many."""
        if isinstance(layer, Nested):
            given = layer.prepared(given)
        self.called += calls_of(layer)
        if self.called > MAX_CALLS:
            raise ModelFileError(f"It calls its layers more than {MAX_CALLS} times")
        target = layer if isinstance(layer, Layer) else layer.made().network
        return target(given, **mode)


class Nested:
    """A network that is a layer of another: it is made when it is first called, since only then its input's size is known."""

    def __init__(self, entry: Mapping[str, Any], making: Making, depth: int):
        self.entry, self.making, self.depth = entry, making, depth
        self._made: Made | None = None

    def made(self) -> Made:
        if self._made is None:
            raise ModelFileError(f"The network {quoted(layer_name(self.entry))} leads to no output")
        return self._made

    def prepared(self, given: Any) -> Any:
        """What it is called on, in the order of its inputs; makes it where it is not made."""
        in_order = [given[key] for key in sorted(given)] if isinstance(given, dict) else given
        if self._made is None:
            shapes = [tuple(value.shape[1:]) for value in values_in(in_order)]
            self._made = network_from_keras(self.entry, self.making, shapes, self.depth)
        if isinstance(given, dict) and sorted(given) != self._made.keys:
            raise ModelFileError(
                f"The network {quoted(layer_name(self.entry))} has other inputs",
                expected=self._made.keys,
                received=quoted(given),
            )
        return in_order


def calls_of(layer: Layer | Nested) -> int:
    """The layers that one call of `layer` runs."""
    return 1 if isinstance(layer, Layer) else layer.made().calls


def network_from_keras(entry: Any, making: Making, given: Shapes, depth: int = 0) -> Made:
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
    made = (_sequential if kind == "Sequential" else _functional)(config, making, given, depth)
    if config.get("trainable") is False:
        made.network.trainable = False
    return made


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


def _sequential(config: Mapping[str, Any], making: Making, given: Shapes, depth: int) -> Made:
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
    start = value = input_from_keras(first, shape).value()
    layers = [_layer(entry, making, depth) for entry in entries]
    for entry, layer in zip(entries, layers, strict=True):
        value = making.call(layer, value, {})
        if not isinstance(value, Value):
            raise ModelFileError(f"The layer {quoted(layer_name(entry))} of a Sequential has several outputs")
    network = making.kinds["Sequential"].from_values(start, value, _name(config))
    return Made(network, sum(map(calls_of, layers)))


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


# --- Functional --------------------------------------------------------------------------------------------------


def _functional(config: Mapping[str, Any], making: Making, given: Shapes, depth: int) -> Made:
    entries: dict[str, dict[str, Any]] = {}
    for row in sequence(config.get("layers"), "A model's layers"):
        entry = mapping(row, "A layer")
        if layer_name(entry) in entries:
            raise ModelFileError(f"Two layers are named {quoted(layer_name(entry))}")
        entries[layer_name(entry)] = entry
    references = References(entries)
    starts, keys = _inputs(config, references, given)
    layers = {
        name: _layer(entry, making, depth) for name, entry in entries.items() if entry.get("class_name") != "InputLayer"
    }
    uses = {(name, number): use for name in layers for number, use in enumerate(references.uses(name))}
    outputs = references.places(config.get("output_layers"), is_output=True)
    results: dict[tuple[str, int], Any] = {(name, 0): value for name, value in starts.items()}
    _evaluate(list(places_in(outputs)), uses, layers, making, results)
    idle = (layers.keys() - {name for name, _ in uses}) | {name for name, call in uses if (name, call) not in results}
    if idle or entries.keys() - layers.keys() - starts.keys():
        name = min(idle or entries.keys() - layers.keys() - starts.keys())
        raise ModelFileError(f"The layer {quoted(name)} leads to no output")
    if isinstance(outputs, list) and len(outputs) == 1:
        outputs = outputs[0]
    begins = list(starts.values())
    network = making.kinds["Model"].from_values(
        begins[0] if len(begins) == 1 else begins, _resolved(outputs, results), _name(config)
    )
    return Made(network, sum(calls_of(layers[name]) for name, _ in uses), keys)


def _inputs(
    config: Mapping[str, Any], references: References, given: Shapes
) -> tuple[dict[str, Value], list[str] | None]:
    """The symbolic inputs by their layers' names in order, and the keys where they are a dict (sorted, as Keras has them)."""
    structure = references.places(config.get("input_layers"), is_output=True)
    keys = sorted(structure) if isinstance(structure, dict) else None
    places = list(places_in(structure if keys is None else [structure[key] for key in keys]))
    if not places:
        raise ModelFileError("The model has no inputs")
    if given and len(given) != len(places):
        raise ModelFileError(
            f"The model has {len(places)} inputs", received=f"{len(given)} shapes", fix="Give one shape for each input"
        )
    shapes = given or [None] * len(places)
    starts = {
        place.layer: input_from_keras(references.entry(place.layer), shape).value()
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
        missing = [(p.layer, p.call) for p in places_in(uses[key].takes) if (p.layer, p.call) not in results]
        if missing:
            under_way.add(key)
            if any(need in under_way for need in missing):
                raise ModelFileError(f"The layer {quoted(key[0])} takes, in a circle, what it makes")
            stack += reversed(missing)
            continue
        results[key] = making.call(layers[key[0]], _resolved(uses[key].takes, results), uses[key].mode)
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
