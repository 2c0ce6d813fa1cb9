"""SENet (Hu, Shen, Sun: Squeeze-and-Excitation Networks, 2017), as in the authors' Caffe code. The names are timm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..graph.symbolic import Value
from ..layers import (
    Activation,
    Add,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
    Multiply,
    ZeroPadding2D,
)
from .family import IMAGENET, Architecture, conv_bn, pooled_head, stage, underscored

Block = Callable[[Value, int, int, str], Value]
REDUCTION = 16  # r, of the channels between the two dense layers of an excitation (section 4)


def excited(x: Value, name: str) -> Value:
    """Each feature map times a weight of 0..1 that comes from the means of all (figure 2, equations 2 to 4)."""
    filters = x.inner_shape[0]
    squeezed = GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    dense = partial(Conv2D, kernel_size=1, kernel_initializer="he_normal")
    weights = dense(filters // REDUCTION, activation="relu", name=f"{name}_fc1")(squeezed)
    weights = dense(filters, activation="sigmoid", name=f"{name}_fc2")(weights)
    return Multiply(name=f"{name}_scale")([x, weights])


def bottleneck(x: Value, filters: int, strides: int, name: str) -> Value:
    """ResNet's, with the stride in the first 1x1, excited before the sum (figure 3)."""
    y = conv_bn(x, filters, 1, f"{name}_conv1", f"{name}_bn1", strides=strides)
    y = conv_bn(y, filters, 3, f"{name}_conv2", f"{name}_bn2")
    y = conv_bn(y, 4 * filters, 1, f"{name}_conv3", f"{name}_bn3", activation=None)
    return _joined(x, y, strides, 1, name)


def grouped_bottleneck(x: Value, filters: int, strides: int, name: str) -> Value:
    """ResNeXt's of 64 groups with half the filters in the first 1x1, and a projection of 3x3 where there is a stride
    (appendix: Details of SENet-154)."""
    y = conv_bn(x, 2 * filters, 1, f"{name}_conv1", f"{name}_bn1")
    y = conv_bn(y, 4 * filters, 3, f"{name}_conv2", f"{name}_bn2", strides=strides, padding=1, groups=64)
    y = conv_bn(y, 4 * filters, 1, f"{name}_conv3", f"{name}_bn3", activation=None)
    return _joined(x, y, strides, 3 if strides > 1 else 1, name)


def _joined(x: Value, y: Value, strides: int, kernel_size: int, name: str) -> Value:
    """The sum of y, excited, and x, where need be with a projection, and a ReLU."""
    y = excited(y, f"{name}_se_module")
    if x.shape != y.shape:
        filters, names = y.inner_shape[0], (f"{name}_downsample_0", f"{name}_downsample_1")
        x = conv_bn(x, filters, kernel_size, *names, strides=strides, padding=kernel_size // 2, activation=None)
    return Activation("relu", name=f"{name}_relu")(Add(name=f"{name}_add")([y, x]))


def plain_stem(x: Value) -> Value:
    return conv_bn(x, 64, 7, "layer0_conv1", "layer0_bn1", strides=2, padding=3)


def deep_stem(x: Value) -> Value:
    """Three 3x3 convolutions in place of the 7x7."""
    x = conv_bn(x, 64, 3, "layer0_conv1", "layer0_bn1", strides=2, padding=1)
    x = conv_bn(x, 64, 3, "layer0_conv2", "layer0_bn2")
    return conv_bn(x, 128, 3, "layer0_conv3", "layer0_bn3")


def senet(x: Value, stem: Callable[[Value], Value], block: Block, blocks: Sequence[int]) -> Value:
    # Caffe's pooling rounds the size up; behind a ReLU a further row and column of zeros, where it needs one, is the same
    x = ZeroPadding2D(((0, 1), (0, 1)), name="pool0_pad")(stem(x))
    x = MaxPooling2D(3, 2, name="pool0")(x)
    for i, count in enumerate(blocks):
        for j in range(count):
            x = block(x, 64 * 2**i, 2 if i > 0 and j == 0 else 1, f"layer{i + 1}_{j}")
        x = stage(x, 4 * 2**i)
    return x


def dropped_head(x: Value, classes: int) -> Value:
    x = GlobalAveragePooling2D(name="avgpool")(x)
    x = Dropout(0.2, name="dropout")(x)
    return Dense(classes, activation="softmax", name="last_linear")(x)


def _variant(
    features: Callable[[Value], Value],
    head: Callable[[Value, int], Value],
    source: str,
    parameters: int,
    hub: str,
) -> Architecture:
    return Architecture(
        features,
        head,
        f"{source} (Hu et al., 2017, {'appendix' if head is dropped_head else 'table 1'})",
        parameters=parameters,  # as timm counts them
        preprocessing=IMAGENET,
        ports={"timm": underscored},
        hub=hub,
    )


_plain = partial(senet, stem=plain_stem, block=bottleneck)
_deep = partial(senet, stem=deep_stem, block=grouped_bottleneck, blocks=(3, 8, 36, 3))
_head = partial(pooled_head, name="last_linear")

ARCHITECTURES = {
    "se_resnet50": _variant(
        partial(_plain, blocks=(3, 4, 6, 3)), _head, "SE-ResNet-50", 28_088_024, "legacy_seresnet50"
    ),
    "se_resnet101": _variant(
        partial(_plain, blocks=(3, 4, 23, 3)), _head, "SE-ResNet-101", 49_326_872, "legacy_seresnet101"
    ),
    "senet154": _variant(_deep, dropped_head, "SENet-154", 115_088_984, "legacy_senet154"),
}
