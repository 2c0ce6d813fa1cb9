"""Xception (Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, 2016).

As in the author's code in Keras, whose names the layers have. timm's network differs in two things: it adds 1e-5 to the
variances, where this adds 0.001, and its poolings pad both sides, which for feature maps of an odd size is "same" too.
"""

from __future__ import annotations

import math
import re
from functools import partial

from ..graph.symbolic import Value
from ..initializers import RandomNormal
from ..layers import (
    Activation,
    Add,
    Dense,
    GlobalAveragePooling2D,
    MaxPooling2D,
    SeparableConv2D,
)
from .family import CENTRED, Architecture, bn, conv_bn, stage

EPSILON = 0.001  # Keras's; its momentum of 0.99 would need hundreds of steps until the statistics are the images'
# He's for the 9 inputs of a window: "he_normal" counts, as Keras does, those of all channels, and nothing here is
# normalised between the depthwise convolution and the pointwise one
DEPTHWISE = RandomNormal(stddev=math.sqrt(2 / 9))

_conv_bn = partial(conv_bn, activation=None, epsilon=EPSILON)


def relu(x: Value, layer: str) -> Value:
    """The ReLU that belongs to a convolution of that name."""
    return Activation("relu", name=f"{layer}_act")(x)


def conv(x: Value, filters: int, strides: int, name: str) -> Value:
    return relu(_conv_bn(x, filters, 3, name, f"{name}_bn", strides=strides, padding="valid"), name)


def separable(x: Value, filters: int, name: str) -> Value:
    """A separable 3x3 convolution and BatchNormalization."""
    x = SeparableConv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        depthwise_initializer=DEPTHWISE,
        pointwise_initializer="he_normal",
        name=name,
    )(x)
    return bn(x, f"{name}_bn", None, epsilon=EPSILON)


def reducing(x: Value, between: int, filters: int, block: str, *, relu_first: bool = True) -> Value:
    """Two separable convolutions, the first to `between` filters, and a pooling; beside them a projection."""
    around = _conv_bn(x, filters, 1, f"{block}_residual", f"{block}_residual_bn", strides=2)
    first, second = f"{block}_sepconv1", f"{block}_sepconv2"
    x = separable(relu(x, first) if relu_first else x, between, first)
    x = separable(relu(x, second), filters, second)
    x = MaxPooling2D(3, 2, "same", name=f"{block}_pool")(x)
    return Add(name=f"{block}_add")([x, around])


def middle(x: Value, block: str) -> Value:
    """Three separable convolutions and the way around them."""
    y = x
    for name in (f"{block}_sepconv{i}" for i in (1, 2, 3)):
        y = separable(relu(y, name), x.inner_shape[0], name)
    return Add(name=f"{block}_add")([y, x])


def xception(x: Value) -> Value:
    """Figure 5. Each stage is the last feature map of its size."""
    x = conv(x, 32, 2, "block1_conv1")
    x = conv(x, 64, 1, "block1_conv2")
    x = stage(reducing(x, 128, 128, "block2", relu_first=False), 4)
    x = stage(reducing(x, 256, 256, "block3"), 8)
    x = reducing(x, 728, 728, "block4")
    for i in range(5, 13):
        x = middle(x, f"block{i}")
    x = reducing(stage(x, 16), 728, 1024, "block13")
    for filters, name in ((1536, "block14_sepconv1"), (2048, "block14_sepconv2")):
        x = relu(separable(x, filters, name), name)
    return stage(x, 32)


def head(x: Value, classes: int) -> Value:
    x = GlobalAveragePooling2D(name="avg_pool")(x)
    return Dense(classes, activation="softmax", name="predictions")(x)


# timm's names of the modules outside blocks, and its parameters of a separable convolution
OUTSIDE = {
    "conv1": "block1_conv1",
    "bn1": "block1_conv1_bn",
    "conv2": "block1_conv2",
    "bn2": "block1_conv2_bn",
    "conv3": "block14_sepconv1",
    "bn3": "block14_sepconv1_bn",
    "conv4": "block14_sepconv2",
    "bn4": "block14_sepconv2_bn",
    "fc": "predictions",
}
SEPARABLE = {"conv1.weight": "depthwise_weight", "pointwise.weight": "pointwise_weight"}
WAY_AROUND = {"skip": "residual", "skipbn": "residual_bn"}


def from_timm(parameter: str) -> str | None:
    """timm's block1 is our block2. Its rep.0, rep.1, rep.2 ... are ReLU, convolution, BatchNormalization, again and
    again; the first ReLU of its block1 is missing."""
    if found := re.fullmatch(r"block(\d+)\.rep\.(\d+)\.(.+)", parameter):
        block, place, attribute = int(found[1]), int(found[2]), found[3]
        place += block == 1
        name = f"block{block + 1}_sepconv{place // 3 + 1}"
        return f"{name}_bn.{attribute}" if place % 3 == 2 else f"{name}.{SEPARABLE.get(attribute, attribute)}"
    if found := re.fullmatch(r"block(\d+)\.(skip|skipbn)\.(\w+)", parameter):
        return f"block{int(found[1]) + 1}_{WAY_AROUND[found[2]]}.{found[3]}"
    module, _, attribute = parameter.partition(".")
    return f"{OUTSIDE[module]}.{SEPARABLE.get(attribute, attribute)}" if module in OUTSIDE else None


ARCHITECTURES = {
    "xception": Architecture(
        xception,
        head,
        "Xception (Chollet, 2016, figure 5)",
        (299, 299, 3),
        parameters=22_855_952,  # table 3; Keras's 22,910,480 less the 54,528 moving statistics
        minimum=71,
        preprocessing=CENTRED,
        ports={"timm": from_timm},
        hub="legacy_xception",
    )
}
