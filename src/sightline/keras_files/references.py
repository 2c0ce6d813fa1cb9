"""How Keras's functional models say which layer takes what: references between layers, in either of Keras's forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from ..layers import Dropout, SpatialDropout2D
from .checks import index, mapping, quoted, sequence, text
from .configs import FUNCTIONAL, NETWORKS, layer_name


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


def places_in(structure: Any) -> Iterator[Place]:
    if isinstance(structure, Place):
        yield structure
    elif isinstance(structure, (list, dict)):
        for item in structure.values() if isinstance(structure, dict) else structure:
            yield from places_in(item)


NO_VALUE = "is called on something else than other layers' outputs"


class References:
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
        if not takes or not any(places_in(takes[0])) or any(item is not None for item in takes[1:]):
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
