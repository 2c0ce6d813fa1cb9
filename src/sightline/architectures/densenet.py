"""DenseNet (Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016).

The names are torchvision's and timm's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from ..graph.symbolic import Value
from ..layers import AveragePooling2D, Concatenate, Conv2D, MaxPooling2D
from .family import IMAGENET, Architecture, bn, conv_bn, pooled_head, stage, underscored


def conv(x: Value, filters: int, kernel_size: int, name: str) -> Value:
    """A convolution without bias: its BatchNormalization and ReLU stand before it."""
    initializer = "he_normal"
    return Conv2D(filters, kernel_size, padding="same", use_bias=False, kernel_initializer=initializer, name=name)(x)


def dense_layer(x: Value, growth_rate: int, name: str) -> Value:
    """`growth_rate` feature maps of all so far, by way of four times as many, and all so far (section 3, DenseNet-B)."""
    y = conv(bn(x, f"{name}_norm1"), 4 * growth_rate, 1, f"{name}_conv1")
    y = conv(bn(y, f"{name}_norm2"), growth_rate, 3, f"{name}_conv2")
    return Concatenate(name=name)([x, y])


def transition(x: Value, name: str) -> Value:
    """Half the feature maps, and half their size (section 3, DenseNet-C)."""
    x = conv(bn(x, f"{name}_norm"), x.inner_shape[0] // 2, 1, f"{name}_conv")
    return AveragePooling2D(2, 2, name=f"{name}_pool")(x)


def densenet(x: Value, blocks: Sequence[int], growth_rate: int) -> Value:
    """Table 1. Each stage is what a dense block gives, the last behind BatchNormalization and ReLU."""
    x = conv_bn(x, 2 * growth_rate, 7, "conv0", "norm0", strides=2, padding=3)
    x = MaxPooling2D(3, 2, padding=1, name="pool0")(x)
    for i, count in enumerate(blocks, start=1):
        for j in range(1, count + 1):
            x = dense_layer(x, growth_rate, f"denseblock{i}_denselayer{j}")
        if i < len(blocks):
            x = transition(stage(x, 2 * 2**i), f"transition{i}")
    return stage(bn(x, "norm5"), 2 * 2 ** len(blocks))


def port(parameter: str) -> str:
    """torchvision's files are older than its names: a "norm.1" of theirs is a "norm1" of its network."""
    return underscored(re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", parameter.removeprefix("features.")))


ARCHITECTURES = {
    "densenet121": Architecture(
        partial(densenet, blocks=(6, 12, 24, 16), growth_rate=32),
        partial(pooled_head, name="classifier"),
        "DenseNet-121 (Huang et al., 2016, table 1)",
        parameters=7_978_856,  # torchvision's documentation
        preprocessing=IMAGENET,
        ports={"torchvision, timm": port},
        hub="densenet121",
    )
}
