"""ResNet (He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..graph.symbolic import Value
from ..layers import Activation, Add, MaxPooling2D
from .family import IMAGENET, Architecture, conv_bn, pooled_head, stage, underscored

Block = Callable[[Value, int, int, str], Value]


def basic(x: Value, filters: int, strides: int, name: str) -> Value:
    """Two 3x3 convolutions and the way around them (figure 5, left)."""
    y = conv_bn(x, filters, 3, f"{name}_conv1", f"{name}_bn1", strides=strides, padding=1)
    y = conv_bn(y, filters, 3, f"{name}_conv2", f"{name}_bn2", activation=None)
    return _joined(x, y, strides, name)


def bottleneck(x: Value, filters: int, strides: int, name: str) -> Value:
    """1x1, 3x3, 1x1 to four times the filters (figure 5, right). The stride is in the 3x3, as in the code that the
    weights in use come from; the paper's Caffe code has it in the first 1x1."""
    y = conv_bn(x, filters, 1, f"{name}_conv1", f"{name}_bn1")
    y = conv_bn(y, filters, 3, f"{name}_conv2", f"{name}_bn2", strides=strides, padding=1)
    y = conv_bn(y, 4 * filters, 1, f"{name}_conv3", f"{name}_bn3", activation=None)
    return _joined(x, y, strides, name)


def _joined(x: Value, y: Value, strides: int, name: str) -> Value:
    """The sum, where need be with a projection on the way around (section 3.3, option B), and a ReLU."""
    if x.shape != y.shape:
        around = f"{name}_downsample"
        x = conv_bn(x, y.inner_shape[0], 1, f"{around}_0", f"{around}_1", strides=strides, activation=None)
    return Activation("relu", name=f"{name}_relu")(Add(name=f"{name}_add")([y, x]))


def resnet(x: Value, block: Block, blocks: Sequence[int]) -> Value:
    x = conv_bn(x, 64, 7, "conv1", "bn1", strides=2, padding=3)
    x = MaxPooling2D(3, 2, padding=1, name="maxpool")(x)
    for i, count in enumerate(blocks):
        for j in range(count):
            x = block(x, 64 * 2**i, 2 if i > 0 and j == 0 else 1, f"layer{i + 1}_{j}")
        x = stage(x, 4 * 2**i)
    return x


def _variant(block: Block, blocks: Sequence[int], parameters: int, name: str) -> Architecture:
    return Architecture(
        partial(resnet, block=block, blocks=blocks),
        pooled_head,
        f"ResNet-{name.removeprefix('resnet')} (He et al., 2015, table 1)",
        parameters=parameters,
        preprocessing=IMAGENET,
        ports={"torchvision, timm": underscored},
        hub=name,
    )


# Table 1; the parameters are those of torchvision's documentation
ARCHITECTURES = {
    name: _variant(block, blocks, parameters, name)
    for name, block, blocks, parameters in (
        ("resnet18", basic, (2, 2, 2, 2), 11_689_512),
        ("resnet34", basic, (3, 4, 6, 3), 21_797_672),
        ("resnet50", bottleneck, (3, 4, 6, 3), 25_557_032),
        ("resnet101", bottleneck, (3, 4, 23, 3), 44_549_160),
        ("resnet152", bottleneck, (3, 8, 36, 3), 60_192_808),
    )
}
