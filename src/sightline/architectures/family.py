"""What every family of networks is made of: a backbone and a head, with where they come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..activations import Activation as ActivationName
from ..errors import refuse_unknown
from ..graph.symbolic import Value
from ..layers import Activation, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, GlobalAveragePooling2D, Identity
from ..layers.padding import Padding

Port = Callable[[str], str | None]

EPSILON, MOMENTUM = 1e-5, 0.9  # of BatchNormalization, where the paper's code was Caffe's or torch's


@dataclass(frozen=True)
class Preprocessing:
    """What a network takes: (x / 255 - mean) / std, one of each for each channel."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def as_dict(self) -> dict[str, list[float]]:
        return {"mean": list(self.mean), "std": list(self.std)}

    def for_channels(self, channels: int) -> Preprocessing:
        """The same for so many channels: for gray the mean of the colours'."""
        if channels == len(self.mean):
            return self
        return Preprocessing((sum(self.mean) / len(self.mean),) * channels, (sum(self.std) / len(self.std),) * channels)


IMAGENET = Preprocessing(
    (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)  # of ImageNet's images, as torchvision's weights take it
CENTRED = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # x / 127.5 - 1, as TensorFlow's weights take it


@dataclass(frozen=True)
class Architecture:
    """One network: how it is built, and what its paper says of it.

    `features` is the backbone: an image's value -> the last feature map. A value at which the strides so far reach 4, 8,
    16, 32 stands under that name: layers "stride_4" ... `head`: the last feature map and the number of classes -> their
    probabilities. `auxiliary`: the backbone's values by name, and the number of classes -> further probabilities, by name.
    `input_shape` (H, W, C) and `classes` are the published ones, and so are the trainable `parameters` at these.
    `minimum` is the least height and width of an image. `ports` turn the names of others' weights into ours
    ("layer.attribute"; None for one that we have no use for); `hub` is timm's name of the weights for ImageNet.
    """

    features: Callable[..., Value]
    head: Callable[..., Value]
    source: str
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    parameters: int | None = None
    minimum: int = 32
    preprocessing: Preprocessing = Preprocessing()
    auxiliary: Callable[[Mapping[str, Value], int], dict[str, Value]] | None = None
    ports: Mapping[str, Port] = field(default_factory=dict)
    hub: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What of the network may be another: the arguments of its functions that have defaults."""
        return tuple(
            name
            for function in (self.features, self.head)
            for name, parameter in inspect.signature(function).parameters.items()
            if not isinstance(function, partial) and parameter.default is not parameter.empty
        )

    def with_arguments(self, given: Mapping[str, Any], name: str) -> Architecture:
        """The network with other arguments, such as filters. Raises ArgumentError for one that it does not have."""
        refuse_unknown(name, {key: value for key, value in given.items() if key not in self.arguments}, self.arguments)

        def own(function: Callable[..., Value]) -> Callable[..., Value]:
            return partial(function, **{k: v for k, v in given.items() if k in inspect.signature(function).parameters})

        return replace(self, features=own(self.features), head=own(self.head))


def stage(x: Value, stride: int) -> Value:
    """Name a value by the strides that lead to it: `model.get_layer("stride_8").output`."""
    return Identity(name=f"stride_{stride}")(x)


def conv_bn(
    x: Value,
    filters: int,
    kernel_size: int | tuple[int, int],
    name: str,
    bn_name: str,
    *,
    strides: int = 1,
    padding: Padding = "same",
    groups: int = 1,
    activation: ActivationName = "relu",
    epsilon: float = EPSILON,
    momentum: float = MOMENTUM,
) -> Value:
    """A convolution without bias, BatchNormalization, and an activation (None for none)."""
    x = Conv2D(
        filters, kernel_size, strides, padding, groups=groups, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return bn(x, bn_name, activation, epsilon=epsilon, momentum=momentum)


def depthwise_bn(
    x: Value,
    kernel_size: int,
    name: str,
    bn_name: str,
    *,
    strides: int = 1,
    padding: Padding = "same",
    activation: ActivationName = "relu",
    epsilon: float = EPSILON,
    momentum: float = MOMENTUM,
) -> Value:
    """`conv_bn` of each channel on its own."""
    x = DepthwiseConv2D(kernel_size, strides, padding, use_bias=False, depthwise_initializer="he_normal", name=name)(x)
    return bn(x, bn_name, activation, epsilon=epsilon, momentum=momentum)


def bn(
    x: Value, name: str, activation: ActivationName = "relu", *, epsilon: float = EPSILON, momentum: float = MOMENTUM
) -> Value:
    """BatchNormalization, and an activation (None for none) under its name and "_act"."""
    x = BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)
    return x if activation is None else Activation(activation, name=f"{name}_act")(x)


def pooled_head(x: Value, classes: int, name: str = "fc") -> Value:
    """The mean of each feature map, then one Dense layer: the head of most networks since 2015."""
    x = GlobalAveragePooling2D(name="avgpool")(x)
    return Dense(classes, activation="softmax", name=name)(x)


def underscored(parameter: str) -> str:
    """The port of names that are ours but for dots: "layer1.0.conv1.weight" -> "layer1_0_conv1.weight"."""
    path, _, attribute = parameter.rpartition(".")
    return f"{path.replace('.', '_')}.{attribute}"
