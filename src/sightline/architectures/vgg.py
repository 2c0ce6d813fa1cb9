"""VGG (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..graph.symbolic import Value
from ..layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from .family import IMAGENET, Architecture, stage

FILTERS = (64, 128, 256, 512, 512)


def vgg(x: Value, convolutions: Sequence[int]) -> Value:
    """Five blocks of so many 3x3 convolutions, each with a pooling behind it; the stages are the poolings'."""
    for i, (filters, count) in enumerate(zip(FILTERS, convolutions, strict=True), start=1):
        for j in range(1, count + 1):
            x = Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{i}_conv{j}",
            )(x)
        x = MaxPooling2D(2, name=f"block{i}_pool")(x)
        if i > 1:
            x = stage(x, 2**i)
    return x


def head(x: Value, classes: int) -> Value:
    x = Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = Dense(4096, activation="relu", kernel_initializer="he_normal", name=name)(x)
        x = Dropout(0.5, name=f"{name}_dropout")(x)
    return Dense(classes, activation="softmax", name="predictions")(x)


HEADS = {
    "classifier.0": "fc1",
    "classifier.3": "fc2",
    "classifier.6": "predictions",
    "pre_logits.fc1": "fc1",
    "pre_logits.fc2": "fc2",
    "head.fc": "predictions",
}  # torchvision's names, and timm's


def layer_names(convolutions: Sequence[int]) -> dict[str, str]:
    """Our layers by the names of torchvision and timm, which count activations and poolings too: features.0, .2, .5 ..."""
    names, place = dict(HEADS), 0
    for i, count in enumerate(convolutions, start=1):
        for j in range(1, count + 1):
            names[f"features.{place}"] = f"block{i}_conv{j}"
            place += 2
        place += 1
    return names


def ported(parameter: str, names: Mapping[str, str]) -> str | None:
    path, _, attribute = parameter.rpartition(".")
    return f"{names[path]}.{attribute}" if path in names else None


def _variant(name: str, column: str, convolutions: Sequence[int], parameters: int) -> Architecture:
    return Architecture(
        partial(vgg, convolutions=convolutions),
        head,
        f"VGG-{name.removeprefix('vgg')} (Simonyan & Zisserman, 2014, table 1, column {column})",
        parameters=parameters,
        preprocessing=IMAGENET,
        ports={"torchvision, timm": partial(ported, names=layer_names(convolutions))},
        hub=name,
    )


# Table 1; the parameters are those of torchvision's documentation
ARCHITECTURES = {
    name: _variant(name, column, convolutions, parameters)
    for name, column, convolutions, parameters in (
        ("vgg11", "A", (1, 1, 2, 2, 2), 132_863_336),
        ("vgg13", "B", (2, 2, 2, 2, 2), 133_047_848),
        ("vgg16", "D", (2, 2, 3, 3, 3), 138_357_544),
        ("vgg19", "E", (2, 2, 4, 4, 4), 143_667_240),
    )
}
