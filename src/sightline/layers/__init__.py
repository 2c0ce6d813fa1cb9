"""Layers by Keras's names, arguments and defaults, as native torch modules."""

from .base import Layer
from .convolution import Conv2D
from .core import Activation, Dense, Dropout, Flatten, Input, InputLayer, ReLU, Rescaling, Torch
from .merging import Add, Concatenate
from .normalization import BatchNormalization
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    MaxPool2D,
    MaxPooling2D,
)

# What a model file may name. Loading makes only these, so it runs no one else's code.
FILE_LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Activation,
        Add,
        AveragePooling2D,
        BatchNormalization,
        Concatenate,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        GlobalAveragePooling2D,
        InputLayer,
        MaxPooling2D,
        ReLU,
        Rescaling,
    )
}

__all__ = [
    "Activation",
    "Add",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Rescaling",
    "Torch",
]
