"""Weights by their places in Keras's HDF5 files: every shape is checked before any weight is read, none is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from ..errors import ModelFileError
from ..graph.build import snake_case
from ..graph.network import Network
from ..graph.weights import Variable, variables_of
from .archive import (
    attribute_text,
    attribute_texts,
    check_dataset,
    datasets,
    find,
    has,
    read_dataset,
)
from .checks import quoted
from .order import Named, is_sequential, ordered

LAYERS, OLD_LAYERS = "layers", "_layer_checkpoint_dependencies"  # the second in TensorFlow 2.13's .keras files
RANDOM_STATE = ("seed_generator", "_random_generator", "random_generator")
VERSION = "3.15.1"  # of Keras, whose format is written

Found = list[tuple[Variable, h5py.Dataset]]


def class_name(named: Named) -> str:
    """Keras's class of a layer, an input or a network."""
    if isinstance(named.layer, Network):
        return "Sequential" if is_sequential(named.layer) else "Functional"
    return "InputLayer" if named.layer is None else type(named.layer).__name__


def places(network: Network, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Named]]:
    """Each layer with its path in Keras 3's files, nested networks before their layers; one that is shared, once."""
    seen = set() if seen is None else seen
    counts: Counter[str] = Counter()
    for named in ordered(network):
        name = snake_case(class_name(named))
        path = f"{prefix}{LAYERS}/{name}" + (f"_{counts[name]}" if counts[name] else "")
        counts[name] += 1
        if id(named.layer) in seen:
            continue
        if named.layer is not None:
            seen.add(id(named.layer))
        yield path, named
        if isinstance(named.layer, Network):
            yield from places(named.layer, f"{path}/", seen)


# --- Keras 3 -----------------------------------------------------------------------------------------------------


def find_new_weights(file: h5py.Group, network: Network) -> Found:
    """Each variable with its dataset, checked. Raises ModelFileError that names what is missing, left over or misshapen."""
    found: Found = []
    expected: set[str] = set()
    old = has(file, OLD_LAYERS)
    for place, named in places(network):
        if named.layer is None or isinstance(named.layer, Network):
            continue
        path = place.replace(LAYERS, OLD_LAYERS) if old else place
        for number, variable in enumerate(variables_of(named.layer)):
            address = f"{path}/vars/{number}"
            if not has(file, address):
                raise ModelFileError(
                    f"The weight {variable.name} of {quoted(named.name)} is missing", expected=f"an array at {address}"
                )
            found.append((variable, _checked(find(file, address), variable, named.name)))
            expected.add(address)
    for path in datasets(file):
        steps = path.split("/")
        if path not in expected and steps[0] != "optimizer" and not any(step in RANDOM_STATE for step in steps):
            raise ModelFileError(f"It has a weight {quoted(path)} that the network has not", fix=_OTHER_NETWORK)
    return found


_OTHER_NETWORK = "Load it into the network that it was saved from"


def _checked(dataset: Any, variable: Variable, layer: str) -> h5py.Dataset:
    what = f"The weight {variable.name} of {quoted(layer)}"
    check_dataset(dataset, variable.keras_shape, what, whole=variable.name == "count")
    return dataset


def take_over(found: Found) -> None:
    """Read the arrays into the variables. All are read before the first is changed."""
    arrays = [read_dataset(dataset) for _, dataset in found]
    for (variable, _), array in zip(found, arrays, strict=True):
        variable.write(array)


def materialize(network: Network, found: Found) -> Found:
    """Give a network that was made without memory real weights, and find them again in it.

    Raises ModelFileError where some tensor of the network would stay without a value.
    """
    names = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    where = [names.pop(id(variable.tensor)) for variable, _ in found]
    if names:
        raise ModelFileError(f"The weight {next(iter(names.values()))} is missing")
    network.to_empty(device="cpu")
    state = network.state_dict(keep_vars=True)
    return [(Variable(v.name, state[name]), dataset) for (v, dataset), name in zip(found, where, strict=True)]


def write_new_weights(file: h5py.Group, network: Network) -> None:
    """All weights in Keras 3's layout."""
    file.create_group("vars").attrs["name"] = network.name
    for path, named in places(network):
        group = file.create_group(f"{path}/vars")
        group.attrs["name"] = named.name
        if named.layer is not None and not isinstance(named.layer, Network):
            for number, variable in enumerate(variables_of(named.layer)):
                group[str(number)] = _values(variable)


def _values(variable: Variable) -> np.ndarray:
    values = variable.read()
    return values.astype(np.int32) if variable.name == "count" else values


# --- the old layout ----------------------------------------------------------------------------------------------


def legacy_order(layer: Any) -> list[Variable]:
    """A layer's or nested network's weights as old files list them: those that are trained first."""
    variables = _flat_variables(layer)
    return [v for v in variables if v.trainable] + [v for v in variables if not v.trainable]


def _flat_variables(layer: Any) -> list[Variable]:
    if not isinstance(layer, Network):
        return list(variables_of(layer))
    variables = [
        variable for named in ordered(layer) if named.layer is not None for variable in _flat_variables(named.layer)
    ]
    return list({id(variable.tensor): variable for variable in variables}.values())


def find_old_weights(group: h5py.Group, network: Network) -> Found:
    """As `find_new_weights`, by the order of layers: what Keras 2 wrote, and Keras 3 writes into an .h5."""
    version = attribute_text(group, "keras_version") or "1"
    if version.split(".")[0] == "1":
        raise ModelFileError(f"It was written by Keras {quoted(version)}, whose weights lie otherwise")
    saved = [
        (name, attribute_texts(find(group, name), "weight_names")) for name in attribute_texts(group, "layer_names")
    ]
    saved = [(name, names) for name, names in saved if names]
    wanted = [(named, legacy_order(named.layer)) for named in ordered(network) if named.layer is not None]
    wanted = [(named, variables) for named, variables in wanted if variables]
    if len(saved) != len(wanted):
        raise ModelFileError(
            "It has other layers with weights than the network",
            expected=quoted([named.name for named, _ in wanted]),
            received=quoted([name for name, _ in saved]),
            fix=_OTHER_NETWORK,
        )
    found: Found = []
    for (name, names), (named, variables) in zip(saved, wanted, strict=True):
        if [_kind(n) for n in names] != [_kind(v.name) for v in variables]:
            raise ModelFileError(
                f"The layer {quoted(name)} has other weights than {quoted(named.name)}",
                expected=quoted([v.name for v in variables]),
                received=quoted(names),
                fix=_OTHER_NETWORK,
            )
        here = find(group, name)
        found += [(v, _checked(find(here, n), v, name)) for n, v in zip(names, variables, strict=True)]
    return found


def _kind(name: str) -> str:
    """What a weight is by its name: "conv/depthwise_kernel:0" is a kernel, and so is every kernel."""
    name = name.split("/")[-1].split(":")[0]
    return "kernel" if name.endswith("kernel") else name


def write_old_weights(group: h5py.Group, network: Network) -> None:
    """All weights in the layout of .h5 files."""
    layers = ordered(network)
    write_texts(group, "layer_names", [named.name for named in layers])
    group.attrs["backend"], group.attrs["keras_version"] = b"torch", VERSION.encode()
    for named in layers:
        here = group.create_group(named.name)
        variables = [] if named.layer is None else legacy_order(named.layer)
        paths = _paths(named)
        names = [f"{paths[id(v.tensor)]}/{v.name}" for v in variables]
        write_texts(here, "weight_names", names)
        for name, variable in zip(names, variables, strict=True):
            here[name] = _values(variable)
    write_texts(group.create_group("top_level_model_weights"), "weight_names", [])


def _paths(named: Named, prefix: str = "") -> dict[int, str]:
    """The path of names that leads to each weight."""
    path = f"{prefix}{named.name}"
    if not isinstance(named.layer, Network):
        return {} if named.layer is None else {id(v.tensor): path for v in variables_of(named.layer)}
    found: dict[int, str] = {}
    for inner in ordered(named.layer):
        found |= _paths(inner, f"{path}/")
    return found


HEADER_LIMIT = 64_000  # bytes of one attribute


def write_texts(group: h5py.Group, name: str, texts: list[str]) -> None:
    """A list of texts as an attribute, split as Keras does where it is too long for HDF5."""
    data = np.array([text.encode() for text in texts])
    if data.nbytes <= HEADER_LIMIT:
        group.attrs[name] = data
        return
    parts = -(-data.nbytes // HEADER_LIMIT)
    for number, part in enumerate(np.array_split(data, parts)):
        group.attrs[f"{name}{number}"] = part


def trained(network: Network) -> list[Variable]:
    """The weights that training changes, in the order in which Keras gives them to an optimizer."""
    return [variable for variable in _flat_variables(network) if variable.trainable]
