"""The model file: one zip of `model.json` (the graph's calls and what the caller adds) and `weights.safetensors`.

Reading one makes layers from an allow-list, calls them on symbolic values, checks every weight's shape against the
result, and only then reads the weights. No code from the file runs; entries are stored, not compressed, so that a
file can never unpack to more than it is.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import fx, nn

from ..configurable import Configurable, as_plain, from_plain
from ..errors import ArgumentError, ModelFileError, SightlineError, check_name, did_you_mean
from ..files import atomic_write
from ..layout import person_shape
from .build import map_nodes
from .network import Network, public_class

FORMAT = 1
DESCRIPTION, WEIGHTS = "model.json", "weights.safetensors"
MAX_DESCRIPTION = 64 * 2**20
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same network gives the same bytes

LayerKinds = Mapping[str, type[Configurable]]
Makers = Mapping[str, Callable[[Any], Network]]


@dataclass(frozen=True)
class Recipe:
    """How a network of someone else's modules is made again: a network's attribute `recipe`.

    `maker` is the name of a function that a reader knows, `arguments` are what it takes (JSON), `names` are the maker's own
    names of the weights by those in the network's state dict: a file has the former, which last.
    """

    maker: str
    arguments: Mapping[str, Any]
    names: Mapping[str, str]


def write(network: Network, path: str | Path, extra: Mapping[str, Any], kinds: LayerKinds) -> None:
    """Write `network` and the JSON-able `extra` to `path`, whole or not at all.

    Raises ModelFileError, naming the layer, where one holds code that a file cannot name.
    """
    description = {"format": FORMAT, **extra, "network": describe(network, kinds)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors_to_write(network, path).items()}
    try:
        text = json.dumps(description, indent=1)
    except TypeError as error:
        raise ModelFileError(f"{path} cannot be written: {error}") from error
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(DESCRIPTION, EPOCH), text)
        archive.writestr(zipfile.ZipInfo(WEIGHTS, EPOCH), save_tensors(tensors))


def _tensors_to_write(network: Network, path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict by a file's names. A weight under two of them would be two weights when it is loaded."""
    names, tensors = _file_names(network), {}
    seen: dict[int, str] = {}
    for key, tensor in network.state_dict(keep_vars=True).items():
        name = names.get(key, key)
        first = seen.setdefault(id(tensor), name)
        if first != name:
            raise ModelFileError(
                f"{path} cannot be written: one weight is both {first} and {name}, which a model file cannot hold",
                fix="Use a layer in one model only, or build the network without nesting",
            )
        tensors[name] = tensor
    return tensors


def _file_names(network: Network) -> dict[str, str]:
    """The names in a file of those entries of a state dict that have others there: a recipe's."""
    names: dict[str, str] = {}
    for path, part in _made_by_recipe(network).items():
        names |= {f"{path}{ours}": f"{path}{theirs}" for ours, theirs in part.recipe.names.items()}
    return names


def _made_by_recipe(network: Network) -> dict[str, Any]:
    """The networks in a network, or itself, that have a recipe, by their path and a dot."""
    parts = ((f"{path}." if path else "", part) for path, part in network.named_modules() if isinstance(part, Network))
    return {path: part for path, part in parts if recipe_of(part) is not None}


def recipe_of(network: Network) -> Recipe | None:
    """How a file describes a network of someone else's modules; None for one of ours, or of modules that no file can name."""
    recipe = getattr(network, "recipe", None)
    return recipe if isinstance(recipe, Recipe) else None


def read(
    path: str | Path, kinds: LayerKinds, networks: Mapping[str, type[Network]], makers: Makers | None = None
) -> tuple[Network, dict[str, Any]]:
    """The network in a model file, and the file's whole description.

    `kinds`, `networks` and `makers` (of networks with a recipe) are what the file may name. Raises ModelFileError for a file that is missing, damaged,
    hostile, or of a later format.
    """
    description, weights = _parts(Path(path))
    try:
        with torch.device("meta"):
            network = restore(description["network"], kinds, networks, makers or {})
    except SightlineError as error:
        raise ModelFileError(f"{path} describes a network that cannot be made: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: its description of the network is not whole ({error!r})") from error
    _load_weights(network, weights, path)
    return network, description


def _parts(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise ModelFileError(f"There is no model file {path}", fix="Check the path; model.save(path) writes one")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if set(entries) != {DESCRIPTION, WEIGHTS}:
                raise ModelFileError(
                    f"{path} is not a Sightline model file", received=f"a zip of {sorted(entries)[:4]}"
                )
            if any(e.compress_type != zipfile.ZIP_STORED or e.flag_bits & 1 for e in entries.values()):
                raise ModelFileError(f"{path} has compressed or encrypted entries, which no Sightline model file has")
            if entries[DESCRIPTION].file_size > MAX_DESCRIPTION:
                raise ModelFileError(f"{path} has a description of {entries[DESCRIPTION].file_size} bytes")
            description = json.loads(archive.read(DESCRIPTION))
            tensors = load_tensors(archive.read(WEIGHTS))
    except (
        zipfile.BadZipFile,
        json.JSONDecodeError,
        UnicodeDecodeError,
        SafetensorError,
        RecursionError,
        EOFError,
    ) as e:
        raise ModelFileError(f"{path} is not a Sightline model file, or is damaged ({e})") from e
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or error})") from error
    if not isinstance(description, dict) or not isinstance(description.get("network"), dict):
        raise ModelFileError(f"{path} is damaged: its description holds no network")
    if description.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} is of another format", expected=FORMAT, received=description.get("format"), fix="Update Sightline"
        )
    return description, tensors


def _load_weights(network: Network, tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    names = _file_names(network)
    state = network.state_dict(keep_vars=True)
    wanted = {names.get(key, key): tensor for key, tensor in state.items()}
    for name in sorted(wanted.keys() | tensors.keys()):
        expected = tuple(wanted[name].shape) if name in wanted else "no such weight"
        received = tuple(tensors[name].shape) if name in tensors else "none"
        if expected != received or wanted[name].is_floating_point() != tensors[name].is_floating_point():
            raise ModelFileError(f"{path}: the weight {name} does not fit", expected=expected, received=received)
    laid_out = {key: _channels_last(tensors[names.get(key, key)]) for key, tensor in state.items() if tensor.is_meta}
    network.load_state_dict(laid_out, strict=False, assign=True)
    for name, tensor in wanted.items():
        if not tensor.is_meta:  # of a maker: stays the one object that all its readers share
            tensor.data = tensors[name]
    for part in _made_by_recipe(network).values():
        dtypes = {parameter.dtype for parameter in part.parameters()}
        if len(dtypes) == 1:
            part.to(dtypes.pop())  # what no file holds too, such as tables that are computed


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


# --- a network as JSON -----------------------------------------------------------------------------------------


def describe(network: Network, kinds: LayerKinds) -> dict[str, Any]:
    """The layers with their arguments, and the calls in order. Values are numbered: inputs first, then each call's.

    A network that has a recipe is described by that.
    """
    if (recipe := recipe_of(network)) is not None:
        frozen = [name for name, layer in network.layers.named().items() if not getattr(layer, "trainable", True)]
        made = {"maker": recipe.maker, "arguments": dict(recipe.arguments)}
        return made | {"name": network.name} | ({"frozen": frozen} if frozen else {})
    place: dict[fx.Node, Any] = {}
    inputs, calls, outputs = [], [], None

    def refer(node: fx.Node) -> Any:
        return _Place(place[node])

    for node in network.graph.nodes:
        if node.op == "placeholder":
            shape, dtype = person_shape(node.meta["shape"]), str(node.meta["dtype"]).removeprefix("torch.")
            inputs.append({"name": node.meta["layer"], "shape": shape, "dtype": dtype})
            place[node] = {"value": len(place)}
        elif node.op == "call_module":
            args, kwargs = map_nodes(refer, [node.args, node.kwargs])
            calls.append({"layer": node.meta["layer"], "args": _plain(args), "kwargs": _plain(kwargs)})
            place[node] = {"value": len(inputs) + len(calls) - 1}
        elif node.op == "call_function":
            place[node] = place[node.args[0]] | {"item": node.args[1]}
        else:
            outputs = _plain(map_nodes(refer, node.args[0]))
    theirs = getattr(network, "module_kind", "")
    layers = [_describe_layer(name, layer, kinds, theirs) for name, layer in network.layers.named().items()]
    kind = public_class(network).__name__
    return {"kind": kind, "name": network.name, "inputs": inputs, "layers": layers, "calls": calls, "outputs": outputs}


class _Place:
    def __init__(self, where: dict[str, int]):
        self.where = where


def _plain(item: Any) -> Any:
    if isinstance(item, _Place):
        return item.where
    if isinstance(item, (list, tuple)):
        return [_plain(i) for i in item]
    if isinstance(item, dict):
        return {"dict": {key: _plain(i) for key, i in item.items()}}
    return item


def _describe_layer(name: str, layer: nn.Module, kinds: LayerKinds, theirs: str = "") -> dict[str, Any]:
    """`theirs`: the class of the module that the whole network was wrapped from."""
    if isinstance(layer, Network):
        return {"name": name, "network": describe(layer, kinds)}
    kind = type(layer).__name__
    if kinds.get(kind) is not type(layer):
        module = theirs or (
            type(layer.module).__name__ if isinstance(getattr(layer, "module", None), nn.Module) else ""
        )
        raise ModelFileError(
            f"The layer {name} ({kind}) holds code that a model file does not carry{module and f', of {module}'}",
            fix="Build the network in code again and load its state_dict, or use Sightline's own layers",
        )
    config = {}
    for key, value in (layer.get_config() | {"name": name}).items():
        try:
            config[key] = as_plain(value)
        except ArgumentError as error:
            raise ModelFileError(
                f"The layer {name} ({kind}) has a function as its {key}, which a model file cannot hold",
                fix="Give its name instead, such as activation='relu'",
            ) from error
    return {"name": name, "class": kind, "config": {k: v for k, v in config.items() if v is not None}}


def restore(
    recipe: dict[str, Any], kinds: LayerKinds, networks: Mapping[str, type[Network]], makers: Makers
) -> Network:
    """The inverse of `describe`: calls allowed layers on symbolic values. Weights are new."""
    if "maker" in recipe:
        return _make(recipe, makers)
    layers: dict[str, Any] = {}
    input_layer: Any = kinds["InputLayer"]
    for row in recipe["layers"]:
        if "network" in row:
            layers[row["name"]] = restore(row["network"], kinds, networks, makers)
        elif row["class"] not in kinds:
            raise ModelFileError(
                f"It names an unknown layer {row['class']!r}", fix=did_you_mean(str(row["class"]), kinds)
            )
        else:
            layers[row["name"]] = kinds[row["class"]](**from_plain(row["config"], kinds))
    values: list[Any] = []
    for row in recipe["inputs"]:
        layer = layers.get(row["name"]) or input_layer(row["shape"], row["dtype"], name=row["name"])
        values.append(layer.value())
    inputs = list(values)
    for row in recipe["calls"]:
        kwargs = _resolve(row["kwargs"], values)
        values.append(layers[row["layer"]](*_resolve(row["args"], values), **kwargs))
    kind = recipe["kind"]
    if kind not in networks:
        raise ModelFileError(f"It names an unknown kind of model {kind!r}")
    return networks[kind].from_values(inputs, _resolve(recipe["outputs"], values), recipe["name"])


def _make(recipe: dict[str, Any], makers: Makers) -> Network:
    """A network by its recipe, on the CPU and not on meta: what it computes itself is in no file."""
    if recipe["maker"] not in makers:
        raise ModelFileError(f"It names an unknown maker of networks {recipe['maker']!r}")
    with torch.device("cpu"):
        network = makers[recipe["maker"]](recipe["arguments"])
    check_name(recipe["name"], "A model")
    network.name, network.named_by_count = recipe["name"], False
    layers = network.layers.named()
    for name in recipe.get("frozen", ()):
        layers[name].trainable = False  # type: ignore[assignment]
    return network


def _resolve(item: Any, values: list[Any]) -> Any:
    if isinstance(item, list):
        return [_resolve(i, values) for i in item]
    if isinstance(item, dict) and "dict" in item:
        return {key: _resolve(i, values) for key, i in item["dict"].items()}
    if isinstance(item, dict):
        value = values[item["value"]]
        return value[item["item"]] if "item" in item else value
    return item
