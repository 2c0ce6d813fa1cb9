"""MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018).

The names are timm's.
"""

from __future__ import annotations

import re
from functools import partial

from ..graph.symbolic import Value
from ..layers import Add, Dense, Dropout, GlobalAveragePooling2D
from ..layers.padding import Padding
from .family import CENTRED, IMAGENET, Architecture, Preprocessing, conv_bn, depthwise_bn, stage, underscored

# Table 2: expansion t, output channels c, blocks n, stride s of the first
GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
BLOCKS = [f"blocks_{i}_{j}" for i, (_, _, count, _) in enumerate(GROUPS) for j in range(count)]
ENDS = {1: 4, 2: 8, 4: 16}  # the groups that are the last of their size, and the strides that lead to them


def inverted_residual(x: Value, expansion: int, filters: int, strides: int, padding: Padding, name: str) -> Value:
    """1x1 to more channels, 3x3 of each on its own, 1x1 to `filters` without an activation (figure 4d, table 1)."""
    channels, y = x.inner_shape[0], x
    last, count = "conv_pw", 1
    if expansion > 1:
        y = conv_bn(y, expansion * channels, 1, f"{name}_conv_pw", f"{name}_bn1", activation="relu6")
        last, count = "conv_pwl", 2
    depthwise = f"{name}_conv_dw", f"{name}_bn{count}"
    y = depthwise_bn(y, 3, *depthwise, strides=strides, padding=padding, activation="relu6")
    y = conv_bn(y, filters, 1, f"{name}_{last}", f"{name}_bn{count + 1}", activation=None)
    return Add(name=f"{name}_add")([y, x]) if strides == 1 and filters == channels else y


def mobilenetv2(x: Value, padding: Padding) -> Value:
    """Table 2. `padding`: of the 3x3 convolutions. The stages are bottlenecks, and the last convolution."""
    x = conv_bn(x, 32, 3, "conv_stem", "bn1", strides=2, padding=padding, activation="relu6")
    for i, (expansion, filters, count, strides) in enumerate(GROUPS):
        for j in range(count):
            name = f"blocks_{i}_{j}"
            x = inverted_residual(x, expansion, filters, strides if j == 0 else 1, padding, name)
        x = stage(x, ENDS[i]) if i in ENDS else x
    return stage(conv_bn(x, 1280, 1, "conv_head", "bn2", activation="relu6"), 32)


def head(x: Value, classes: int) -> Value:
    x = GlobalAveragePooling2D(name="avgpool")(x)
    x = Dropout(0.2, name="dropout")(x)
    return Dense(classes, activation="softmax", name="classifier")(x)


# torchvision's names
OUTSIDE = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "classifier.1": "classifier",
}
FIRST_BLOCK = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
LATER_BLOCKS = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}


def from_torchvision(parameter: str) -> str | None:
    """torchvision numbers the blocks through: its features.1 is blocks_0_0, features.2 is blocks_1_0."""
    module, _, attribute = parameter.rpartition(".")
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{attribute}"
    found = re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)", module)
    number = int(found[1]) if found else 0
    parts = FIRST_BLOCK if number == 1 else LATER_BLOCKS
    if found is None or not 1 <= number <= len(BLOCKS) or found[2] not in parts:
        return None
    return f"{BLOCKS[number - 1]}_{parts[found[2]]}.{attribute}"


def _variant(padding: Padding, source: str, preprocessing: Preprocessing, hub: str | None) -> Architecture:
    return Architecture(
        partial(mobilenetv2, padding=padding),
        head,
        f"{source} (Sandler et al., 2018, table 2)",
        parameters=3_504_872,  # torchvision's documentation
        preprocessing=preprocessing,
        ports={"torchvision": from_torchvision, "timm": underscored},
        hub=hub,
    )


ARCHITECTURES = {
    "mobilenetv2": _variant(1, "MobileNetV2", IMAGENET, "mobilenetv2_100"),
    "tf_mobilenetv2": _variant("same", "MobileNetV2 with TensorFlow's padding", CENTRED, None),
}
