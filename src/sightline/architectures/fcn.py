"""FCN (Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, 2015).

A classifier's dense layers as convolutions, a score of each class at every place, and learned enlarging; skip connections add the scores of
finer maps. Unlike in the paper's code images are not padded by 100 pixels: the convolution that was the first dense layer pads ("same").
"""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, ShapeError
from ..graph.symbolic import Value
from ..initializers import Bilinear
from ..layers import Add, Conv2D, Conv2DTranspose, Dense, Dropout, Flatten, ResizeLike
from ..models import Model
from ..rewrite import remove_head
from ..rewrite.dense_heads import changed, convolution_of
from .stages import stages_of
from .vgg import ARCHITECTURES as VGG

WINDOW, UNITS = 7, 4096  # of VGG's dense layers, at 224x224


def fcn_head(backbone: Model, classes: int, finest: int) -> Value:
    """Logits (H, W, classes) at the image's size, of any size: FCN-32s, FCN-16s or FCN-8s by the stride of the `finest` map (figure 3).

    Of a VGG that has its dense layers, all but the last become convolutions on the same weights; for one without them they are made
    anew. Other backbones have their last map scored. New scores are zero and enlarging is bilinear (sections 4.2, 4.3);
    as in the authors' networks it is learned, over all classes, without bias.
    """
    if finest not in (8, 16, 32):
        raise ArgumentError("fcn_head: finest is the stride 8, 16 or 32", received=repr(finest))
    skips = [stride for stride in (16, 8) if stride >= finest]
    found = dict(zip(skips, stages_of(backbone, skips), strict=True))
    x = score(fully_connected(backbone), classes, "score_32")
    for stride, skip in found.items():
        if skip is None:
            raise ShapeError(
                f"{backbone.name} has no feature map at a stride of {stride}, which FCN-{finest}s adds to the last one's scores",
                fix="Take FCN-32s, or vgg16, resnet18, mobilenetv2 or another network with such a map",
            )
        scores = score(skip, classes, f"score_{stride}")
        x = ResizeLike(name=f"enlarged_{stride}_size")([enlarged(x, classes, 2, f"enlarged_{stride}"), scores])
        x = Add(name=f"fused_{stride}")([x, scores])
    x = enlarged(x, classes, finest, "enlarged_image")
    return ResizeLike(name="at_image_size")([x, backbone.inputs[0]])


def score(x: Value, classes: int, name: str) -> Value:
    return Conv2D(classes, 1, kernel_initializer="zeros", name=name)(x)


def enlarged(x: Value, classes: int, factor: int, name: str) -> Value:
    return Conv2DTranspose(
        classes, 2 * factor, factor, "same", use_bias=False, kernel_initializer=Bilinear(), name=name
    )(x)


def fully_connected(backbone: Model) -> Value:
    """The map of which the classes are scored: what a VGG's dense layers make of each place, or the backbone's last."""
    if len(backbone.outputs[-1].inner_shape) == 3:
        x = backbone.outputs[-1]  # of the stages of one of timm's networks the last
        layers: list[Any] = [_new_dense(WINDOW, "fc1"), _new_dense(1, "fc2")] if backbone.name in VGG else []
    else:
        x = remove_head(backbone).outputs[0]
        channels, *window = x.inner_shape
        layers = []
        for dense in [layer for layer in backbone.layers if isinstance(layer, Dense)][:-1]:
            is_first = not layers and any(isinstance(layer, Flatten) for layer in backbone.layers)
            at = (window[0], window[1]) if is_first else (1, 1)
            layers.append(changed(convolution_of(dense, channels, at, "HWC", 1), padding="same"))
            channels = dense.units
    for layer in layers:
        x = Dropout(0.5, name=f"{layer.name}_dropout")(layer(x))
    return x


def _new_dense(window: int, name: str) -> Conv2D:
    return Conv2D(UNITS, window, padding="same", activation="relu", kernel_initializer="he_normal", name=name)
