"""The files as a whole: what a person reads and writes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import torch

from .. import optimizers
from ..errors import ArgumentError, ModelFileError
from ..files import atomic_write
from ..graph.network import Network
from ..optimizers import Optimizer
from . import compiling
from .archive import (
    CONFIG,
    METADATA,
    WEIGHTS,
    attribute_text,
    attribute_texts,
    find,
    has,
    kind_of_file,
    open_hdf5,
    parse_json,
    read_archive,
    read_archived_weights,
    signature,
)
from .checks import mapping, reading
from .networks import Making, Shapes, network_from_keras
from .weights import (
    VERSION,
    Found,
    find_new_weights,
    find_old_weights,
    materialize,
    take_over,
    write_new_weights,
    write_old_weights,
    write_texts,
)
from .writing import Writer

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes
Compiled = dict[str, Any]


def read_model(
    path: str | Path, networks: Mapping[str, type[Network]], input_shape: Sequence[Any] | None = None
) -> tuple[Network, Compiled | None]:
    """The network in a .keras or .h5 file, with its weights, and the arguments of `compile`, None where it has none.

    `networks` are the classes to make: "Sequential" and "Model". `input_shape` is (height, width, channels) for a model
    whose input has no fixed size; of a model with several inputs, a list of such. An optimizer that was in use goes on
    from its state. Nothing from the file is run. Raises ModelFileError for a file that is missing, damaged, hostile,
    or holds what Sightline has not; warns where it cannot say how the model was compiled.
    """
    path = Path(path)
    signature(path)
    with reading(path):
        kind = kind_of_file(path)
        shapes = _shapes(input_shape)
        if kind == "keras":
            config, weights = read_archive(path)
            with open_hdf5(weights) as file:
                return _read(path, networks, shapes, config, file, old=False)
        if kind == "h5":
            with open_hdf5(path) as file:
                config = _old_config(file)
                return _read(path, networks, shapes, config, file, old=True)
        if kind is not None:
            raise ModelFileError(
                f"{path} holds weights only", fix="Build the network, and call its load_weights with this file"
            )
        raise ModelFileError(f"{path} is damaged, or not a model file of Keras")


def _shapes(input_shape: Sequence[Any] | None) -> Shapes:
    if input_shape is None:
        return []
    several = list(input_shape)
    return several if several and isinstance(several[0], (list, tuple)) else [tuple(several)]


def _old_config(file: h5py.File) -> dict[str, Any]:
    """An .h5's attributes in the form of a .keras file's configuration."""
    config = dict(mapping(parse_json(attribute_text(file, "model_config") or ""), "The model's configuration"))
    training = attribute_text(file, "training_config")
    return config | {"compile_config": None if training is None else parse_json(training)}


def _read(
    path: Path, networks: Mapping[str, type[Network]], shapes: Shapes, config: Any, file: h5py.File, *, old: bool
) -> tuple[Network, Compiled | None]:
    """Make the network without memory, find and check all weights, and only then give it memory and read them."""
    with torch.device("meta"):
        network = network_from_keras(config, Making(networks), shapes).network
    found = find_old_weights(find(file, "model_weights"), network) if old else find_new_weights(file, network)
    take_over(materialize(network, found))
    network.eval()
    compiled = compiling.read_compiled(config.get("compile_config"), path)
    if compiled is not None and isinstance(compiled["optimizer"], Optimizer):
        if not old:
            state = compiling.find_state(file)
        elif has(file, "optimizer_weights"):
            names = attribute_texts(find(file, "optimizer_weights"), "weight_names")
            state = compiling.find_old_state(file, names)
        else:
            state = []
        compiling.read_state(compiled["optimizer"], network, state, path)
    return network, compiled


def read_weights(network: Network, path: str | Path) -> None:
    """Take over the weights of a .weights.h5, .keras or .h5 file, which must be of a network of the same layers.

    All are checked before any is changed. An optimizer's state in the file stays there. Raises ModelFileError that
    names the layer where one does not fit.
    """
    path = Path(path)
    signature(path)
    _require_built(network, path)
    with reading(path):
        kind = kind_of_file(path)
        if kind is None:
            raise ModelFileError(f"{path} is damaged, or not a file of Keras")
        with open_hdf5(read_archived_weights(path) if kind == "keras" else path) as file:
            take_over(_find(file, network, kind))


def _find(file: h5py.File, network: Network, kind: str) -> Found:
    if kind == "h5":
        return find_old_weights(find(file, "model_weights"), network)
    return find_old_weights(file, network) if kind == "old weights" else find_new_weights(file, network)


def write_model(network: Network, path: str | Path, compiled: Mapping[str, Any] | None = None) -> Path:
    """Write a model as Keras 3 does: a .keras file, or an .h5 or .hdf5 by the path's suffix; returns the path.

    `compiled` are the arguments of `compile`. Raises ModelFileError, naming it, for a layer that Keras has not; warns
    where the loss or a metric is someone's own code, which a file cannot hold.
    """
    path = Path(path)
    _require_built(network, path)
    if path.suffix.lower() not in (".keras", ".h5", ".hdf5") or path.name.lower().endswith(".weights.h5"):
        fix = "write_weights writes .weights.h5" if path.suffix == ".h5" else None
        raise ArgumentError(f"{path} has no suffix of Keras's models", expected=".keras, .h5 or .hdf5", fix=fix)
    old = path.suffix.lower() != ".keras"
    config = Writer(network, old=old).network(network)
    compile_config = compiling.compiled_to_keras(compiled, path)
    optimizer = optimizers.get(compiled["optimizer"]) if compiled and compile_config is not None else None
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        if old:
            _write_old(file, network, config, compile_config, optimizer)
        else:
            write_new_weights(file, network)
            _write_state(file, network, optimizer)
    with atomic_write(path) as target:
        if old:
            target.write(data.getbuffer())
            return path
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            if compile_config is not None:
                config["compile_config"] = compile_config
            archive.writestr(zipfile.ZipInfo(METADATA, EPOCH), json.dumps({"keras_version": VERSION}))
            archive.writestr(zipfile.ZipInfo(CONFIG, EPOCH), json.dumps(config))
            archive.writestr(zipfile.ZipInfo(WEIGHTS, EPOCH), data.getbuffer())
    return path


def _write_old(
    file: h5py.File, network: Network, config: Any, compile_config: Any, optimizer: Optimizer | None
) -> None:
    file.attrs["keras_version"], file.attrs["backend"] = VERSION, "torch"
    file.attrs["model_config"] = json.dumps(config).encode()
    write_old_weights(file.create_group("model_weights"), network)
    if compile_config is None:
        return
    file.attrs["training_config"] = json.dumps(compiling.old_training_config(compile_config)).encode()
    if optimizer is not None:
        arrays = compiling.state_to_keras(optimizer, network)
        names = [f"{optimizer.name}/iteration", *(f"{optimizer.name}/{number}" for number in range(1, len(arrays)))]
        group = file.create_group("optimizer_weights")
        write_texts(group, "weight_names", names)
        for name, array in zip(names, arrays, strict=True):
            group[name] = array


def _write_state(file: h5py.File, network: Network, optimizer: Optimizer | None) -> None:
    if optimizer is not None:
        group = file.create_group("optimizer/vars")
        group.attrs["name"] = optimizer.name
        for number, array in enumerate(compiling.state_to_keras(optimizer, network)):
            group[str(number)] = array


def write_weights(network: Network, path: str | Path) -> Path:
    """Write the weights alone, as Keras 3's `save_weights` does: the path ends in .weights.h5; returns it."""
    path = Path(path)
    _require_built(network, path)
    if not path.name.lower().endswith(".weights.h5"):
        raise ArgumentError(f"{path} has no suffix of Keras's weights", expected=".weights.h5")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        write_new_weights(file, network)
    with atomic_write(path) as target:
        target.write(data.getbuffer())
    return path


def _require_built(network: Network, path: Path) -> None:
    if not network.built:
        raise ModelFileError(
            f"{network.name} does not know its input's shape yet, which {path} needs", fix="Begin it with an Input"
        )
