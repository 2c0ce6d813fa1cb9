"""Our networks -> Keras 3's configurations of them, from which Keras makes the same network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import fx, nn

from ..errors import ModelFileError
from ..graph.build import map_nodes
from ..graph.network import Network
from ..graph.symbolic import describe_layer
from ..layout import person_shape
from .configs import input_to_keras, layer_to_keras
from .order import Named, inputs, is_sequential, ordered, source

# Where Keras has a class; the old format names classes alone
MODULES = {"Sequential": "keras", "Functional": "keras.src.models.functional"}


class Writer:
    """Writes one file's networks. `old` is the form of .h5 files."""

    def __init__(self, network: Network, *, old: bool):
        self.old = old
        shared = next(_in_several_networks(network), None)
        if shared is not None:
            raise ModelFileError(
                f"{describe_layer(shared)} stands in two networks, a nested one and beside it, say, which no file of Keras holds",
                fix="Use a layer in one network only",
            )

    def network(self, network: Network) -> dict[str, Any]:
        """Keras's configuration of a network, as a whole file or a layer holds it."""
        kind = "Sequential" if is_sequential(network) else "Functional"
        config = {"name": network.name, "trainable": network.trainable}
        config |= self._sequential(network) if kind == "Sequential" else self._functional(network)
        entry: dict[str, Any] = {"class_name": kind, "config": config}
        if not self.old:
            registered = "Functional" if kind == "Functional" else None
            entry |= {"module": MODULES[kind], "registered_name": registered}
        return entry

    def _layer(self, named: Named) -> dict[str, Any]:
        if named.layer is None:
            entry = self._input(named.node)
        elif isinstance(named.layer, Network):
            entry = self.network(named.layer)
            entry["config"]["name"] = named.name
        else:
            entry = layer_to_keras(named.layer, named.name)
        if not self.old:
            entry = {"module": "keras.layers", "registered_name": None} | entry
        elif isinstance(entry["config"].get("axis"), list) and len(entry["config"]["axis"]) > 1:
            raise ModelFileError(
                f"{named.name} has several axes, of which Keras 3 reads none from an .h5",
                fix="Save the model as .keras",
            )
        return entry

    def _input(self, node: fx.Node) -> dict[str, Any]:
        return input_to_keras(node.meta["layer"], _shape(node), node.meta["dtype"])

    def _sequential(self, network: Network) -> dict[str, Any]:
        (start,) = inputs(network)
        first = {} if self.old else {"module": "keras.layers", "registered_name": None}
        layers = [first | self._input(start), *(self._layer(named) for named in ordered(network))]
        return {"dtype": "float32", "layers": layers, "build_input_shape": list(_shape(start))}

    def _functional(self, network: Network) -> dict[str, Any]:
        numbers = _call_numbers(network)
        by_name = network.layers.named()

        def reference(node: fx.Node) -> list[Any]:
            """Keras counts the call by which a functional network was made, where outputs are named."""
            call, item = source(node)
            nested = by_name.get(call.meta["layer"])
            made = isinstance(nested, Network) and call.op == "call_module" and not is_sequential(nested)
            return [call.meta["layer"], numbers[call] + made, item]

        layers = []
        for named in ordered(network):
            calls = [node for node in numbers if node.meta["layer"] == named.name and node.op == "call_module"]
            nodes = [self._node(call, named, numbers) for call in calls]
            layers.append(self._layer(named) | {"name": named.name, "inbound_nodes": nodes})
        begins = [[node.meta["layer"], 0, 0] for node in inputs(network)]
        return {
            "layers": layers,
            "input_layers": begins[0] if len(begins) == 1 else begins,
            "output_layers": map_nodes(reference, network.graph.output_node().args[0]),
        }

    def _node(self, call: fx.Node, named: Named, numbers: dict[fx.Node, int]) -> dict[str, Any]:
        def tensor(node: fx.Node) -> dict[str, Any]:
            made, item = source(node)
            history = [made.meta["layer"], numbers[made], item]
            config = {"shape": list(_shape(node)), "dtype": _dtype(node), "keras_history": history}
            return {"class_name": "__keras_tensor__", "config": config}

        args = [map_nodes(tensor, item) for item in call.args]
        if isinstance(named.layer, Network) and len(args) > 1:
            args = [args]  # Keras calls a model on a list
        return {"args": args, "kwargs": map_nodes(tensor, dict(call.kwargs))}


def _shape(node: fx.Node) -> tuple[int | None, ...]:
    return (None, *person_shape(node.meta["shape"]))


def _dtype(node: fx.Node) -> str:
    return str(node.meta["dtype"]).removeprefix("torch.")


def _call_numbers(network: Network) -> dict[fx.Node, int]:
    """The inputs and calls, each with its number among the calls of its layer."""
    seen: Counter[str] = Counter()
    numbers = {}
    for node in network.graph.nodes:
        if node.op in ("placeholder", "call_module"):
            numbers[node] = seen[node.meta["layer"]]
            seen[node.meta["layer"]] += 1
    return numbers


def _in_several_networks(network: Network) -> Iterator[nn.Module]:
    """The layers that stand in more than one network."""
    holder: dict[int, Network] = {}
    visited: set[int] = set()
    stack = [network]
    while stack:
        here = stack.pop()
        if id(here) in visited:
            continue
        visited.add(id(here))
        layers = [named.layer for named in ordered(here) if named.layer is not None]
        yield from (layer for layer in layers if holder.setdefault(id(layer), here) is not here)
        stack += [layer for layer in layers if isinstance(layer, Network)]
