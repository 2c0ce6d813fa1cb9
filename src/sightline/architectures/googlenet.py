"""GoogLeNet (Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions, 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..errors import ShapeError
from ..graph.symbolic import Value
from ..layers import (
    AveragePooling2D,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    LocalResponseNormalization,
    MaxPooling2D,
)
from ..layers.padding import Padding
from .family import IMAGENET, Architecture, Preprocessing, stage

# Table 1: filters of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
GRIDS = {"3": 8, "4": 16, "5": 32}  # the strides that lead to the modules 3a and 3b, ...

# The paper names no constants; these are those of Caffe's bvlc_googlenet, which divides its alpha of 1e-4 by the 5 maps
normalization = partial(LocalResponseNormalization, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)


def conv(x: Value, filters: int, kernel_size: int, name: str, *, strides: int = 1, padding: Padding = "same") -> Value:
    """A convolution and its ReLU."""
    return Conv2D(filters, kernel_size, strides, padding, activation="relu", kernel_initializer="he_normal", name=name)(
        x
    )


def inception(x: Value, filters: Sequence[int], name: str) -> Value:
    """1x1, 3x3 and 5x5 convolutions and a pooling side by side, 1x1 ones to save arithmetic (figure 2b)."""
    ones, threes_reduce, threes, fives_reduce, fives, projection = filters
    one = conv(x, ones, 1, f"{name}_1x1")
    three = conv(conv(x, threes_reduce, 1, f"{name}_3x3_reduce"), threes, 3, f"{name}_3x3")
    five = conv(conv(x, fives_reduce, 1, f"{name}_5x5_reduce"), fives, 5, f"{name}_5x5")
    pooled = MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x)
    pooled = conv(pooled, projection, 1, f"{name}_pool_proj")
    return Concatenate(name=name)([one, three, five, pooled])


def googlenet(x: Value) -> Value:
    """Figure 3 without its heads; each stage is the last feature map of its size."""
    x = conv(x, 64, 7, "conv1", strides=2, padding=3)
    x = MaxPooling2D(3, 2, "same", name="pool1")(x)
    x = normalization(name="norm1")(x)
    x = conv(x, 64, 1, "conv2_reduce")
    x = conv(x, 192, 3, "conv2")
    x = stage(normalization(name="norm2")(x), 4)
    for grid, stride in GRIDS.items():
        x = MaxPooling2D(3, 2, "same", name=f"pool{int(grid) - 1}")(x)
        for name in (name for name in MODULES if name.startswith(grid)):
            x = inception(x, MODULES[name], f"inception_{name}")
        x = stage(x, stride)
    return x


def head(x: Value, classes: int) -> Value:
    x = GlobalAveragePooling2D(name="avgpool")(x)
    x = Dropout(0.4, name="dropout")(x)
    return Dense(classes, activation="softmax", name="predictions")(x)


def auxiliary(values: Mapping[str, Value], classes: int) -> dict[str, Value]:
    """The two classifiers on modules 4a and 4d (section 5), whose losses the paper weighs by 0.3.

    Raises ShapeError for images of less than 65x65, whose feature maps there are smaller than the 5x5 pooling.
    """
    return {
        name: _classifier(values[f"inception_{module}"], classes, name)
        for name, module in (("auxiliary_1", "4a"), ("auxiliary_2", "4d"))
    }


def _classifier(x: Value, classes: int, name: str) -> Value:
    x = auxiliary_pooling(x, f"{name}_pool", least=5, image=65)
    x = conv(x, 128, 1, f"{name}_conv")
    x = Flatten(name=f"{name}_flatten")(x)
    x = Dense(1024, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc")(x)
    x = Dropout(0.7, name=f"{name}_dropout")(x)
    return Dense(classes, activation="softmax", name=name)(x)


def auxiliary_pooling(x: Value, name: str, *, least: int, image: int) -> Value:
    """What an auxiliary classifier begins with: the mean of 5x5 places, at each third place.

    Raises ShapeError where the feature map has less than `least` rows or columns, as that of an image below `image` has.
    """
    if min(x.inner_shape[1:]) < least:
        raise ShapeError(
            f"The auxiliary classifiers take images of at least {image}x{image}",
            expected=f"a feature map of at least {least}x{least}",
            received=x.shape,
            fix="Use larger images, or leave auxiliary out",
        )
    return AveragePooling2D(5, 3, name=name)(x)


# All windows pad, so that images below 32x32 would do too, but their last feature maps would see more padding than image
ARCHITECTURES = {
    "googlenet": Architecture(
        googlenet,
        head,
        "GoogLeNet (Szegedy et al., 2014, table 1)",
        parameters=6_998_552,  # of Caffe's bvlc_googlenet, without the auxiliary classifiers
        minimum=32,
        preprocessing=Preprocessing(IMAGENET.mean),  # "RGB color channels with mean subtraction" (section 5)
        auxiliary=auxiliary,
    )
}
