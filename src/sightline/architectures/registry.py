"""Which networks have names, and how one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import activations
from ..configurable import refuse_beyond
from ..errors import ArgumentError, SightlineError, choose, refuse_unknown
from ..graph.symbolic import Value
from ..layers import Input
from ..models import Model
from . import (
    alexnet,
    csp,
    densenet,
    googlenet,
    inception,
    lenet,
    mobilenet,
    notes,
    resnet,
    senet,
    small,
    unet,
    vgg,
    xception,
)
from .family import Architecture
from .weights import load

TIMM = "timm:"
FAMILIES = (
    alexnet,
    csp,
    densenet,
    googlenet,
    inception,
    lenet,
    mobilenet,
    notes,
    resnet,
    senet,
    small,
    unet,
    vgg,
    xception,
)
ARCHITECTURES: dict[str, Architecture] = {
    name: architecture for family in FAMILIES for name, architecture in family.ARCHITECTURES.items()
}


def list_models() -> list[str]:
    """The names that `create` knows."""
    return sorted(ARCHITECTURES)


def find(name: str) -> Architecture:
    """The architecture of that name; raises ArgumentError with the nearest names."""
    return ARCHITECTURES[choose("model", name, ARCHITECTURES)]


def default_shape(name: str) -> tuple[int, int, int]:
    """The image (H, W, C) that the network of that name was published for; raises ArgumentError with the nearest names."""
    if name.startswith(TIMM):
        from . import timm_models  # which takes seconds to import

        return timm_models.default_shape(name)
    return find(name).input_shape


def default_classes(name: str) -> int:
    """How many classes `create` makes of that name when none are said."""
    return 1000 if name.startswith(TIMM) else find(name).classes


def create(
    name: str,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    auxiliary: bool = False,
    classifier_activation: str | None = "softmax",
    network: Mapping[str, Any] | None = None,
    **unknown: Any,
) -> Model:
    """A network by name, or "timm:NAME" for one of timm's; `input_shape` (H, W, C) and `classes` default to the published ones.

    `weights`: None for new ones, "imagenet" (fetched by timm, once), or a file: .safetensors or .pth with torchvision's,
    timm's or our names, .sightline, .keras or .h5 of this network. Where the file has another number of classes, the last
    layer is new. `include_top=False` leaves the head out: the output is the backbone's last feature map, and the layers
    "stride_4" ... "stride_32" name the stages where the network has them. `auxiliary` adds the auxiliary classifiers of
    GoogLeNet and Inception-v3: the outputs are then a dict, "predictions" and theirs. `classifier_activation=None` gives
    logits. `network` are arguments of the small networks that take some, such as {"filters": 16, "kernel_size": 5}. The network takes images as its paper does, (x / 255 - mean) / std: `metadata["preprocessing"]` holds both, and
    a run puts them before the network.

    Raises ArgumentError for an unknown name or a number of classes below 2, ShapeError for an image that is too small,
    ModelFileError for weights that do not fit.
    """
    refuse_beyond(create, unknown)
    if isinstance(name, str) and name.startswith(TIMM):
        from . import timm_models

        if auxiliary:
            raise ArgumentError(f"{name} has no auxiliary classifiers that Sightline knows")
        refuse_unknown(name, network or {}, ())
        return timm_models.create_timm(name, input_shape, classes, weights, include_top, classifier_activation)
    architecture = find(name)
    if network:
        architecture = architecture.with_arguments(network, name)
    classes = architecture.classes if classes is None else classes
    if not isinstance(classes, int) or classes < 2:
        raise ArgumentError("classes is a whole number of at least 2", received=repr(classes))
    if auxiliary and (architecture.auxiliary is None or not include_top):
        has = [each for each, known in ARCHITECTURES.items() if known.auxiliary is not None]
        raise ArgumentError(f"{name} has no auxiliary classifiers", fix=f"With include_top=True {', '.join(has)} have")
    shape = _checked_shape(name, architecture, input_shape)
    inputs = Input(shape)
    try:
        features = architecture.features(inputs)
        outputs: Any = architecture.head(features, classes) if include_top else features
        further = architecture.auxiliary(Model(inputs, features).values, classes) if auxiliary else {}  # type: ignore[misc]
    except SightlineError as error:
        raise type(error)(f"{name} cannot be made for images of {shape}: {error}") from error
    if include_top and classifier_activation != "softmax":
        outputs.call.layer.activation = activations.checked(classifier_activation)
    model = Model(inputs, {"predictions": outputs} | further if further else outputs, name=name)
    preprocessing = architecture.preprocessing.for_channels(shape[2])
    model.metadata.update(backbone=_name_of(model, features), preprocessing=preprocessing.as_dict())
    if weights is not None:
        load(model, architecture, name, weights)
    return model


def create_backbone(
    name: str,
    input_shape: Sequence[int],
    weights: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
) -> Model:
    """A network of that name without its head, for a head of another kind; arguments as `create` has them.

    Stages are named values, "stride_4" ... "stride_32". Those of a network of timm's, which is one layer, are the outputs, the
    finest first, where it has any; otherwise the output is the last feature map.
    """
    if name.startswith(TIMM) and not network:
        from . import timm_models

        return timm_models.create_stages(name, input_shape, weights)
    return create(name, input_shape, None, weights, include_top=False, network=network)


def _checked_shape(name: str, architecture: Architecture, input_shape: Sequence[int] | None) -> tuple[int, int, int]:
    shape = architecture.input_shape if input_shape is None else input_shape
    if (
        not isinstance(shape, Sequence)
        or len(shape) != 3
        or not all(isinstance(size, int) and size > 0 for size in shape)
    ):
        raise ArgumentError("input_shape is (height, width, channels)", received=repr(input_shape))
    if min(shape[:2]) < architecture.minimum:
        least = f"{architecture.minimum}x{architecture.minimum}"
        raise ArgumentError(
            f"{name} cannot be made for images of {tuple(shape)}: it takes images of at least {least}",
            fix="Use larger images, or a smaller network such as small_cnn",
        )
    return shape[0], shape[1], shape[2]


def _name_of(model: Model, value: Value) -> str:
    """The name of a value's node in the model."""
    return next(name for name, other in model.values.items() if other is value)
