"""Inception-v3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, 2015).

As in TensorFlow's code, which the weights in use come from: where the paper's figure 5 has two 3x3 convolutions for a 5x5
one, it has a branch of each. The names are torchvision's and timm's.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph.symbolic import Value
from ..layers import AveragePooling2D, Concatenate, Dense, Dropout, GlobalAveragePooling2D, MaxPooling2D
from ..layers.padding import Padding
from .family import CENTRED, Architecture, conv_bn, stage, underscored
from .googlenet import auxiliary_pooling

Kernel = int | tuple[int, int]


def conv(
    x: Value, filters: int, kernel_size: Kernel, name: str, *, strides: int = 1, padding: Padding = "same"
) -> Value:
    """A convolution, BatchNormalization and a ReLU."""
    names = f"{name}_conv", f"{name}_bn"
    return conv_bn(x, filters, kernel_size, *names, strides=strides, padding=padding, epsilon=0.001)


def branch(x: Value, name: str, *convolutions: tuple[int, Kernel], reduce: bool = False) -> Value:
    """Convolutions (filters, kernel) in a row, name_1, name_2 ..., or one alone. With `reduce` the last has stride 2."""
    for i, (filters, kernel_size) in enumerate(convolutions, start=1):
        numbered = f"{name}_{i}" if len(convolutions) > 1 else name
        if reduce and i == len(convolutions):
            x = conv(x, filters, kernel_size, numbered, strides=2, padding="valid")
        else:
            x = conv(x, filters, kernel_size, numbered)
    return x


def pooled(x: Value, filters: int, name: str) -> Value:
    """The branch of an average pooling, whose padding counts as zeros, and a 1x1 convolution."""
    x = AveragePooling2D(3, 1, padding=1, name=f"{name}_pool")(x)
    return conv(x, filters, 1, f"{name}_branch_pool")


def grid_35(x: Value, filters: int, name: str) -> Value:
    """1x1, 5x5, twice 3x3, and a pooling to `filters` (figure 5)."""
    branches = [
        branch(x, f"{name}_branch1x1", (64, 1)),
        branch(x, f"{name}_branch5x5", (48, 1), (64, 5)),
        branch(x, f"{name}_branch3x3dbl", (64, 1), (96, 3), (96, 3)),
        pooled(x, filters, name),
    ]
    return Concatenate(name=name)(branches)


def to_grid_17(x: Value, name: str) -> Value:
    """Half the size: convolutions and a pooling side by side (figure 10)."""
    branches = [
        branch(x, f"{name}_branch3x3", (384, 3), reduce=True),
        branch(x, f"{name}_branch3x3dbl", (64, 1), (96, 3), (96, 3), reduce=True),
        MaxPooling2D(3, 2, name=f"{name}_pool")(x),
    ]
    return Concatenate(name=name)(branches)


def grid_17(x: Value, filters: int, name: str) -> Value:
    """1x1, 7x7 and twice 7x7, each as 1x7 and 7x1 with `filters` between them, and a pooling (figure 6)."""
    row, column = (1, 7), (7, 1)
    branches = [
        branch(x, f"{name}_branch1x1", (192, 1)),
        branch(x, f"{name}_branch7x7", (filters, 1), (filters, row), (192, column)),
        branch(
            x, f"{name}_branch7x7dbl", (filters, 1), (filters, column), (filters, row), (filters, column), (192, row)
        ),
        pooled(x, 192, name),
    ]
    return Concatenate(name=name)(branches)


def to_grid_8(x: Value, name: str) -> Value:
    """Half the size again: 3x3, 7x7 and 3x3, and a pooling side by side."""
    branches = [
        branch(x, f"{name}_branch3x3", (192, 1), (320, 3), reduce=True),
        branch(x, f"{name}_branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), reduce=True),
        MaxPooling2D(3, 2, name=f"{name}_pool")(x),
    ]
    return Concatenate(name=name)(branches)


def grid_8(x: Value, name: str) -> Value:
    """1x1, 3x3, twice 3x3, where the last 3x3 is 1x3 beside 3x1, and a pooling (figure 7)."""
    three = conv(x, 384, 1, f"{name}_branch3x3_1")
    double = branch(x, f"{name}_branch3x3dbl", (448, 1), (384, 3))
    branches = [
        conv(x, 320, 1, f"{name}_branch1x1"),
        conv(three, 384, (1, 3), f"{name}_branch3x3_2a"),
        conv(three, 384, (3, 1), f"{name}_branch3x3_2b"),
        conv(double, 384, (1, 3), f"{name}_branch3x3dbl_3a"),
        conv(double, 384, (3, 1), f"{name}_branch3x3dbl_3b"),
        pooled(x, 192, name),
    ]
    return Concatenate(name=name)(branches)


def inception_v3(x: Value) -> Value:
    """Table 1. Each stage is the last feature map of its size."""
    x = conv(x, 32, 3, "Conv2d_1a_3x3", strides=2, padding="valid")
    x = conv(x, 32, 3, "Conv2d_2a_3x3", padding="valid")
    x = conv(x, 64, 3, "Conv2d_2b_3x3")
    x = MaxPooling2D(3, 2, name="maxpool1")(x)
    x = conv(x, 80, 1, "Conv2d_3b_1x1")
    x = stage(conv(x, 192, 3, "Conv2d_4a_3x3", padding="valid"), 4)
    x = MaxPooling2D(3, 2, name="maxpool2")(x)
    for letter, filters in zip("bcd", (32, 64, 64), strict=True):
        x = grid_35(x, filters, f"Mixed_5{letter}")
    x = to_grid_17(stage(x, 8), "Mixed_6a")
    for letter, filters in zip("bcde", (128, 160, 160, 192), strict=True):
        x = grid_17(x, filters, f"Mixed_6{letter}")
    x = to_grid_8(stage(x, 16), "Mixed_7a")
    x = grid_8(grid_8(x, "Mixed_7b"), "Mixed_7c")
    return stage(x, 32)


def head(x: Value, classes: int) -> Value:
    x = GlobalAveragePooling2D(name="avgpool")(x)
    x = Dropout(0.5, name="dropout")(x)
    return Dense(classes, activation="softmax", name="fc")(x)


def auxiliary(values: Mapping[str, Value], classes: int) -> dict[str, Value]:
    """The classifier on the last 17x17 feature map (section 4, figure 8).

    Raises ShapeError for images of less than 299x299: its 5x5 convolution behind the pooling needs all 17 places.
    """
    x = auxiliary_pooling(values["Mixed_6e"], "AuxLogits_pool", least=17, image=299)
    x = conv(x, 128, 1, "AuxLogits_conv0")
    x = conv(x, 768, 5, "AuxLogits_conv1", padding="valid")
    x = GlobalAveragePooling2D(name="AuxLogits_avgpool")(x)
    return {"auxiliary": Dense(classes, activation="softmax", name="AuxLogits_fc")(x)}


ARCHITECTURES = {
    "inception_v3": Architecture(
        inception_v3,
        head,
        "Inception-v3 (Szegedy et al., 2015, table 1)",
        (299, 299, 3),
        parameters=23_834_568,  # as timm counts them, without the auxiliary classifier
        minimum=75,
        preprocessing=CENTRED,  # also of torchvision's weights, whose network turns ImageNet's scale into this itself
        auxiliary=auxiliary,
        ports={"torchvision, timm": underscored},
        hub="inception_v3",
    )
}
