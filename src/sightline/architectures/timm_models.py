"""Networks of timm by name, as backbones in front of a Dense layer of ours: `create("timm:NAME")`."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from .. import activations
from ..errors import ArgumentError, ModelFileError, ShapeError, whole_number
from ..graph.cuts import last_maps
from ..graph.io import Recipe
from ..graph.symbolic import Value
from ..layers import Dense, GlobalAveragePooling2D, Input
from ..layers.base import checked_shape
from ..models import Model
from .family import Preprocessing, stage
from .foreign import NOT_TRACED, Wrapped, one_layer_only, wrapped
from .tracing import first_line
from .weights import read

PREFIX = "timm:"
MAKER = "timm"  # as a model file names this one
BACKBONE, CLASSIFIER = "backbone", "fc"
STRIDES = (4, 8, 16, 32)
LARGEST = 2**34  # bytes: no network of timm's has weights or tables near this, but for images that no one has


class Unpooled(nn.Module):
    """A network of timm's up to its last feature map: NCHW, or (N, tokens, channels)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.model.forward_features(x)  # type: ignore[operator]
        return features.permute(0, 3, 1, 2) if self.is_channels_last else features

    @property
    def is_channels_last(self) -> bool:
        return str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")


def create_timm(
    name: str,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
) -> Model:
    """A network of timm's, "timm:NAME": the layer "backbone", which is a network, and a Dense layer "fc".

    Arguments as `registry.create` has them. `weights`: None, "imagenet" (timm fetches them, once), or a file .safetensors
    or .pth with timm's names. Raises ArgumentError for an unknown name, ShapeError for images that it cannot take,
    ModelFileError for weights that do not fit or cannot be fetched.
    """
    name = checked_name(name.removeprefix(PREFIX))
    config = _config(name)
    classes = 1000 if classes is None else whole_number(classes, "classes", least=2)
    shape = checked_shape(default_shape(name) if input_shape is None else input_shape, f"{PREFIX}{name}")
    source = None if weights is None else _tensors(name, shape, weights)  # before any work is done
    module, backbone = _backbone(name, shape, include_top)
    inputs = Input(shape)
    outputs = features = backbone(inputs)
    if include_top:
        dense = Dense(classes, activation=activations.checked(classifier_activation), name=CLASSIFIER)
        outputs = dense(_pooled(features, name))
    model = _described(Model(inputs, outputs, name=f"{PREFIX}{name}"), backbone, config)
    if source is not None:
        _take_over(module, dense if include_top else None, source, str(weights), _classifiers(config))
    return model


def create_stages(name: str, input_shape: Sequence[int], weights: str | Path | None = None) -> Model:
    """The feature maps of a network of timm's at strides of 4, 8, 16 and 32, the last of each size, as outputs "stride_4" ...

    The maps are those through which all that follows goes: of an inverted residual that halves the size they stand behind its
    expansion, as in SSDLite (Sandler et al. 2018, section 6.2). A network without them is as `create_timm(include_top=False)` makes it.
    Arguments and errors as there.
    """
    name = checked_name(name.removeprefix(PREFIX))
    shape = checked_shape(input_shape, f"{PREFIX}{name}")
    source = None if weights is None else _tensors(name, shape, weights)
    module, backbone = _backbone(name, shape, include_top=False, stages=True)
    inputs = Input(shape)
    maps = backbone(inputs)
    if isinstance(maps, tuple):
        maps = [stage(value, shape[0] // (value.shape[1] or 1)) for value in maps]
    model = _described(Model(inputs, maps, name=f"{PREFIX}{name}"), backbone, _config(name))
    if source is not None:
        _take_over(module, None, source, str(weights), _classifiers(_config(name)))
    return model


def _described(model: Model, backbone: Wrapped, config: Any) -> Model:
    """The model with what is known of it, and a warning where it is one layer."""
    preprocessing = Preprocessing(tuple(config.mean), tuple(config.std)).for_channels(model.inputs[0].inner_shape[0])
    model.metadata.update(backbone=BACKBONE, preprocessing=preprocessing.as_dict())
    if NOT_TRACED in backbone.metadata:
        model.metadata[NOT_TRACED] = backbone.metadata[NOT_TRACED]
        warnings.warn(one_layer_only(backbone), stacklevel=4)
    return model


def default_shape(name: str) -> tuple[int, int, int]:
    """(height, width, channels) of the images that a network's published weights were trained on."""
    channels, height, width = _config(checked_name(name.removeprefix(PREFIX))).input_size
    return height, width, channels


def checked_name(name: Any) -> str:
    """A name that timm has, with or without the tag of its weights ("resnet18.a1_in1k"); ArgumentError with the nearest otherwise."""
    base = name.split(".")[0] if isinstance(name, str) else ""
    if isinstance(name, str) and timm.is_model(base) and (name == base or name in timm.list_pretrained(f"{base}.*")):
        return name
    near = difflib.get_close_matches(str(name), timm.list_models(), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else 'timm.list_models("*net*") lists them'
    raise ArgumentError(f"timm has no network {name!r}", fix=hint)


def _config(name: str) -> Any:
    """What timm knows of a network's published weights: sizes, means, names."""
    return timm.get_pretrained_cfg(name)


def _backbone(name: str, shape: Sequence[int], include_top: bool, stages: bool = False) -> tuple[nn.Module, Wrapped]:
    """(timm's module, the network that is made of it): pooled features, or with `include_top=False` the last feature map, or with `stages`
    those of all its strides, where it has them."""
    module = _made(name, shape, pretrained=False, num_classes=0)
    whole, prefix = (module, "") if include_top else (Unpooled(module), "model.")
    try:
        network = wrapped(whole, tuple(shape), BACKBONE, prefix)
    except ShapeError as error:
        raise ShapeError(f"{PREFIX}{name} cannot be made for images of {tuple(shape)}: {error}") from error
    if stages:
        network = _with_stages(network)
    theirs = {id(tensor): key for key, tensor in whole.state_dict(keep_vars=True).items()}
    names = {key: theirs[id(tensor)].removeprefix(prefix) for key, tensor in network.state_dict(keep_vars=True).items()}
    arguments = {"name": name, "input_shape": list(shape), "include_top": include_top} | (
        {"stages": True} if stages else {}
    )
    network.recipe = Recipe(MAKER, arguments, names)
    network.module_kind = type(module).__name__
    return module, network


def _with_stages(network: Wrapped) -> Wrapped:
    """The network up to its feature maps at `STRIDES`, which are its outputs; itself where it has none."""
    _, height, width, _ = network.input_shape
    maps = last_maps(network)
    found = [maps[size] for stride in STRIDES if (size := (height // stride, width // stride)) in maps]
    if not found:
        return network
    staged = Wrapped(network.inputs, [network.values[each] for each in found], network.name)
    staged.training = network.training
    staged.metadata.update(network.metadata)
    return staged


def _made(name: str, shape: Sequence[int], **arguments: Any) -> nn.Module:
    """timm's own network for images (H, W, C)."""
    height, width, channels = shape
    size: dict[str, Any] = {"img_size": (height, width)} if _config(name).fixed_input_size else {}
    try:
        return timm.create_model(name, in_chans=channels, **size, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, NotImplementedError) as error:
        raise ShapeError(f"{PREFIX}{name} cannot be made for images of {tuple(shape)}: {first_line(error)}") from error


def _pooled(features: Value, name: str) -> Value:
    """Features of one axis; where timm's network leaves a feature map, its mean."""
    if len(features.inner_shape) == 3:
        return GlobalAveragePooling2D(name="avgpool")(features)
    if len(features.inner_shape) != 1:
        raise ArgumentError(f"{PREFIX}{name} gives no features that one layer could classify", received=features.shape)
    return features


# --- weights ---------------------------------------------------------------------------------------------------


def _tensors(name: str, shape: Sequence[int], weights: str | Path) -> dict[str, torch.Tensor]:
    """The weights under timm's names: its own for ImageNet, for such images, or those in a file."""
    if str(weights) != "imagenet":
        if Path(weights).suffix.lower() not in (".safetensors", ".pth", ".pt", ".bin"):
            kinds = ".safetensors or .pth with timm's names"
            fix = "A model that was saved is loaded: sl.load(path)"
            raise ModelFileError(f"{weights} is no file of weights for a network of timm's", expected=kinds, fix=fix)
        return read(Path(weights))
    if not _config(name).has_weights:
        raise ArgumentError(
            f"There are no weights for ImageNet of {PREFIX}{name}", fix="Leave weights out, or name a file"
        )
    try:
        return _made(name, shape, pretrained=True).state_dict()
    except ShapeError:
        raise
    except Exception as error:  # of any of the layers that fetch: requests, its adapters, the hub's, the file system
        raise ModelFileError(
            f"The weights of {PREFIX}{name} cannot be fetched ({first_line(error)})",
            fix="Check the connection, or name a file: weights='weights.safetensors'",
        ) from error


def _classifiers(config: Any) -> tuple[str, ...]:
    """The names that timm has for the last layers of a network, with a dot."""
    named = config.classifier or ()
    return tuple(f"{each}." for each in ((named,) if isinstance(named, str) else named))


def _take_over(
    module: nn.Module, dense: Dense | None, theirs: Mapping[str, torch.Tensor], where: str, last: tuple[str, ...]
) -> None:
    """Copy weights into timm's module, and those of its classifier into ours where they fit, before any is changed."""
    ours = module.state_dict()
    rest = {key: tensor for key, tensor in theirs.items() if key in ours or not key.startswith(last)}
    for key in sorted(ours.keys() | rest.keys()):
        expected = tuple(ours[key].shape) if key in ours else "no such weight"
        received = tuple(rest[key].shape) if key in rest else "none"
        if expected != received:
            raise ModelFileError(f"{where}: the weight {key} does not fit", expected=expected, received=received)
    module.load_state_dict(rest)
    head = (
        {key.removeprefix(last[0]): tensor for key, tensor in theirs.items() if key not in rest}
        if len(last) == 1
        else {}
    )
    if dense is None or "weight" not in head:
        return
    weight = head["weight"].flatten(1)
    if weight.shape == dense.weight.shape and dense.bias is not None:
        with torch.no_grad():
            dense.weight.copy_(weight)
            dense.bias.copy_(head.get("bias", torch.zeros_like(dense.bias)))


# --- from a model file -----------------------------------------------------------------------------------------


def backbone_from(arguments: Any) -> Wrapped:
    """The backbone that a model file describes; its weights are new. Raises SightlineError for what `create_timm` never wrote."""
    if not isinstance(arguments, dict) or arguments.keys() - {"stages"} != {"name", "input_shape", "include_top"}:
        raise ArgumentError("A network of timm's has other arguments", received=repr(arguments)[:200])
    name, include_top = checked_name(arguments["name"]), arguments["include_top"]
    shape = checked_shape(arguments["input_shape"], f"{PREFIX}{name}")
    stages = arguments.get("stages", False)
    if len(shape) != 3 or not isinstance(include_top, bool) or not isinstance(stages, bool):
        raise ArgumentError("A network of timm's takes (height, width, channels)", received=repr(arguments)[:200])
    _refuse_huge(name, shape)
    return _backbone(name, shape, include_top, stages)[1]


def _refuse_huge(name: str, shape: Sequence[int]) -> None:
    """ArgumentError where a file asks for a network that would fill the memory, found without making it."""
    try:
        with torch.device("meta"):
            module = _made(name, shape, pretrained=False, num_classes=0)
    except ShapeError:  # some of timm's networks compute with values as they are made
        module = nn.Module()
    bytes_ = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    if bytes_ > LARGEST or max(shape) > 2**16:
        raise ArgumentError(f"{PREFIX}{name} is too large for images of {tuple(shape)}")
