"""Weights that someone else trained, from a file or a model hub, into a network of ours.

A port turns their names into ours; the shapes then say the rest: a depthwise kernel, a Dense layer that was a 1x1
convolution, a Dense layer behind a Flatten (theirs runs over channels first, ours over channels last), an image of one
channel.
"""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import fx, nn

from ..errors import ArgumentError, ModelFileError, did_you_mean
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers import Dense, DepthwiseConv2D, Flatten, SeparableConv2D
from ..models import KERAS_SUFFIXES, SUFFIX, Model, load_model
from .family import Architecture

Tensors = dict[str, torch.Tensor]
TORCH_SUFFIXES = (".pth", ".pt", ".bin")
UNSUPPORTED = re.compile(r"(?:GLOBAL|Unsupported class) (\S+)")  # in what torch says of an object that it does not make
COUNTS = "num_batches_tracked"  # of torch's BatchNorm; ours counts nothing


def load(model: Model, architecture: Architecture, name: str, weights: str | Path) -> None:
    """Give `model` the weights "imagenet", or those in a file. Raises ModelFileError, before any is changed, where they do not fit."""
    if str(weights) == "imagenet":
        theirs, where = fetch(architecture.hub, name), f"The weights for ImageNet of {name}"
    else:
        theirs, where = read(Path(weights)), str(weights)
    take_over(model, architecture, theirs, where)


def fetch(hub: str | None, name: str) -> Tensors:
    """The weights that timm has for ImageNet under its name `hub`: fetched once, then from its cache."""
    import timm

    if hub is None:
        raise ArgumentError(f"There are no weights for ImageNet of {name}", fix="Leave weights out, or name a file")
    try:
        return timm.create_model(hub, pretrained=True).state_dict()
    except Exception as error:  # of any of the layers that fetch: requests, its adapters, the hub's, the file system
        raise ModelFileError(
            f"The weights of {hub} cannot be fetched ({_first_line(error)})",
            fix="Check the connection, or name a file: weights='weights.safetensors'",
        ) from error


def read(path: Path) -> Tensors:
    """The tensors in a file, by the names that it has for them. Runs no code from the file."""
    if not path.is_file():
        raise ModelFileError(f"There is no file of weights {path}", fix='Check the path, or use weights="imagenet"')
    suffix = path.suffix.lower()
    if suffix in (SUFFIX, *KERAS_SUFFIXES):
        return named_weights(load_model(path, compile=False))
    if suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{path} cannot be read: {_first_line(error)}") from error
    if suffix in TORCH_SUFFIXES:
        return _tensors_in(_unpickled(path), path)
    kinds = ", ".join((".safetensors", *TORCH_SUFFIXES, SUFFIX, *KERAS_SUFFIXES))
    raise ModelFileError(f"{path} is no file of weights by its name", expected=kinds)


def _unpickled(path: Path) -> Any:
    """What torch.save wrote, by the unpickler that makes tensors and plain containers alone."""
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of pickle's version, in a damaged file
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {_first_line(error)}") from error
    except Exception as error:  # of a damaged file the unpickler raises whatever its wrong instructions lead to
        if isinstance(error, pickle.UnpicklingError) and (unsupported := UNSUPPORTED.search(str(error))):
            raise ModelFileError(
                f"{path} holds more than tensors ({unsupported[1]}), and to load that could run code",
                fix="Save the state dict alone: torch.save(model.state_dict(), path)",
            ) from error
        raise ModelFileError(f"{path} is damaged, or was not written by torch.save") from error


def _tensors_in(content: Any, path: Path) -> Tensors:
    """The state dict in what torch saved: itself, or under a usual key."""
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ModelFileError(f"{path} holds no state dict", expected="tensors by name, as model.state_dict() gives")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def named_weights(network: Network) -> Tensors:
    """A network's own tensors as "layer.attribute", those of nested networks too."""
    found: Tensors = {}
    for name, layer in network.layers.named().items():
        if isinstance(layer, Network):
            found |= named_weights(layer)
        else:
            found |= {f"{name}.{key}": tensor for key, tensor in layer.state_dict(keep_vars=True).items()}
    return found


def take_over(model: Model, architecture: Architecture, theirs: Tensors, where: str) -> None:
    """Copy their tensors into the model; the last layer stays new where theirs has other classes."""
    ours = named_weights(model)
    found, own = _ported(ours, architecture, theirs, where)
    last = _last_layers(model)
    fitted: Tensors = {}
    for node in (n for n in model.graph.nodes if n.op == "call_module"):
        layer, name = layer_of(model, node), node.meta["layer"]
        for key in layer.state_dict():  # type: ignore[union-attr]
            full = f"{name}.{key}"
            if full not in found:
                raise ModelFileError(f"{where} has no weight for {full} of {model.name}", fix=did_you_mean(full, found))
            tensor = found[full] if own else _laid_out(model, node, layer, key, found[full])  # type: ignore[arg-type]
            tensor = _for_gray(tensor, ours[full])
            if tensor.shape == ours[full].shape:
                fitted[full] = tensor
            elif name not in last:
                raise ModelFileError(
                    f"{where}: the weight {full} does not fit {model.name}",
                    expected=tuple(ours[full].shape),
                    received=tuple(found[full].shape),
                    fix=f"Use images of {architecture.input_shape}" if isinstance(layer, Dense) else None,
                )
    with torch.no_grad():
        for full, tensor in fitted.items():
            ours[full].copy_(tensor)


def _ported(ours: Tensors, architecture: Architecture, theirs: Tensors, where: str) -> tuple[Tensors, bool]:
    """Their tensors under our names, by the port that knows most of them, and whether their names are ours already.

    Raises ModelFileError where no port knows many.
    """
    best: tuple[Tensors, bool] = {}, True
    for port in (None, *architecture.ports.values()):
        renamed = {port(n) if port else n: t for n, t in theirs.items() if not n.endswith(COUNTS)}
        known = {name: tensor for name, tensor in renamed.items() if name in ours}
        best = (known, port is None) if len(known) > len(best[0]) else best
    if len(best[0]) < len(ours) / 2:
        kinds = ", ".join((*architecture.ports, "Sightline"))
        raise ModelFileError(
            f"{where} holds weights of another network",
            expected=f"names of {kinds}, as {next(iter(ours))!r}",
            received=f"{len(theirs)} tensors, as {next(iter(theirs), 'nothing')!r}",
        )
    return best


def _last_layers(model: Model) -> set[str]:
    """The names of the layers that give the outputs."""
    return {value.call.layer.name for value in model.outputs}  # type: ignore[misc]


def _laid_out(model: Network, node: fx.Node, layer: nn.Module, key: str, tensor: torch.Tensor) -> torch.Tensor:
    """Their tensor with its axes as our layer has them."""
    depthwise = {DepthwiseConv2D: "weight", SeparableConv2D: "depthwise_weight"}.get(type(layer))
    if key == depthwise and tensor.ndim == 4 and tensor.shape[1] == 1 and tensor.shape != getattr(layer, key).shape:
        channels = getattr(layer, key).shape[1]
        return tensor.squeeze(1).unflatten(0, (channels, -1)).transpose(0, 1)
    if isinstance(layer, Dense) and key == "weight":
        tensor = tensor.flatten(1)
        source = node.args[0]
        flattened = layer_of(model, source) if isinstance(source, fx.Node) else None
        if isinstance(flattened, Flatten):
            shape = source.args[0].meta["shape"]  # type: ignore[union-attr]
            if len(shape) == 3 and math.prod(shape) == tensor.shape[1]:
                return tensor.unflatten(1, shape).permute(0, 2, 3, 1).flatten(1)
    return tensor


def _for_gray(tensor: torch.Tensor, ours: torch.Tensor) -> torch.Tensor:
    """A kernel of three colours for a gray image, which is one whose colours are alike; others as they are."""
    if tensor.ndim == ours.ndim == 4 and tensor.shape[1] == 3 and ours.shape[1] == 1:
        return tensor.sum(1, keepdim=True)
    return tensor


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]
