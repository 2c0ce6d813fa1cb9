"""Networks that say a class of every pixel: by name, a head on a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..errors import ArgumentError, choose
from ..graph.symbolic import Value
from ..layers import Activation, Input
from ..models import Model
from ..rewrite import on_input
from .deeplab import deeplab_head
from .fcn import fcn_head
from .registry import create, default_shape
from .unet import unet_head
from .vgg import ARCHITECTURES as VGG

Head = Callable[[Model, int], Value]

# What makes of a backbone and a number of classes the logits (H, W, classes), at the image's size
SEGMENTERS: dict[str, Head] = {
    "unet": unet_head,
    "fcn32s": partial(fcn_head, finest=32),
    "fcn16s": partial(fcn_head, finest=16),
    "fcn8s": partial(fcn_head, finest=8),
    "deeplabv3": deeplab_head,
}
BACKBONES = {
    "unet": "unet",
    "fcn32s": "vgg16",
    "fcn16s": "vgg16",
    "fcn8s": "vgg16",
    "deeplabv3": "resnet50",
}  # the papers'


def segmenter(
    name: str,
    backbone: str | None = None,
    input_shape: Sequence[int] | None = None,
    classes: int = 21,
    weights: str | Path | None = None,
    activation: str | None = None,
) -> Model:
    """A network that says a class of every pixel: (None, H, W, C) -> (None, H, W, classes), for images of any size once it is made.

    `name`: "unet", "fcn32s", "fcn16s", "fcn8s" or "deeplabv3". `backbone`: a network by name, by default the paper's; `weights` are its, as in
    `create`; an FCN takes a VGG's dense layers over with them. `activation` None gives logits, "softmax" probabilities.

    Raises ArgumentError for unknown names or a number of classes below 2, ShapeError for a backbone without the maps that the head needs.
    """
    head = SEGMENTERS[choose("segmenter", name, SEGMENTERS)]
    backbone = BACKBONES[name] if backbone is None else backbone
    if not isinstance(classes, int) or classes < 2:
        raise ArgumentError("classes is a whole number of at least 2", received=repr(classes))
    if not isinstance(backbone, str):
        raise ArgumentError(
            "backbone is a network's name", received=type(backbone).__name__, fix="sl.list_models() has them"
        )
    shape = default_shape(backbone) if input_shape is None else input_shape
    takes_dense = name.startswith("fcn") and backbone in VGG and weights is not None
    # Their weights are for the published size, so there they are read
    published = (*default_shape(backbone)[:2], shape[-1]) if takes_dense else shape
    frontend = create(backbone, published, None, weights, include_top=takes_dense)
    network = Model(frontend.inputs, head(frontend, classes))
    resized = takes_dense and tuple(shape) != published
    inputs = Input(shape) if resized else network.inputs[0]
    logits = on_input(network, inputs) if resized else network.outputs[0]
    outputs = logits if activation is None else Activation(activation, name="predictions")(logits)
    model = Model(inputs, outputs, f"{name}_{backbone}")
    model.metadata.update(frontend.metadata)
    return model
