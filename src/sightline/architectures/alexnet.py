"""AlexNet (Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012)."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import Conv2D, Dense, Dropout, Flatten, LocalResponseNormalization, MaxPooling2D
from .family import IMAGENET, Architecture, Preprocessing, stage


def conv(x: Value, filters: int, kernel_size: int, name: str, *, strides: int = 1, groups: int = 1) -> Value:
    """A convolution and its ReLU; the first, which has a stride, begins at the image's border.

    All begin with he_normal: from the paper's normal of 0.01, with biases of 1 in some layers, 64 small images stay at chance
    for 160 steps of Adam at 1e-4; from this they are learned in 80.
    """
    padding = "same" if strides == 1 else "valid"
    return Conv2D(
        filters,
        kernel_size,
        strides,
        padding,
        groups=groups,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)


def alexnet(x: Value) -> Value:
    """Figure 2: ReLU, then normalization (section 3.3), then overlapping pooling (3.4). The groups are its two GPUs."""
    x = conv(x, 96, 11, "conv1", strides=4)
    x = stage(LocalResponseNormalization(name="norm1")(x), 4)
    x = stage(MaxPooling2D(3, 2, name="pool1")(x), 8)
    x = conv(x, 256, 5, "conv2", groups=2)
    x = LocalResponseNormalization(name="norm2")(x)
    x = stage(MaxPooling2D(3, 2, name="pool2")(x), 16)
    x = conv(x, 384, 3, "conv3")
    x = conv(x, 384, 3, "conv4", groups=2)
    x = conv(x, 256, 3, "conv5", groups=2)
    return stage(MaxPooling2D(3, 2, name="pool5")(x), 32)


def head(x: Value, classes: int) -> Value:
    x = Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = Dense(4096, activation="relu", kernel_initializer="he_normal", name=name)(x)
        x = Dropout(0.5, name=f"{name}_dropout")(x)
    return Dense(classes, activation="softmax", name="fc8")(x)


ARCHITECTURES = {
    "alexnet": Architecture(
        alexnet,
        head,
        "AlexNet (Krizhevsky et al., 2012, figure 2)",
        (227, 227, 3),  # the paper's 224 does not give its 55x55 maps
        parameters=60_965_224,
        minimum=67,
        preprocessing=Preprocessing(IMAGENET.mean),  # the paper's mean image as its mean colour
    )
}
