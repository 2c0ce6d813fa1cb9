"""Layers by Keras's names, arguments and defaults, as native torch modules."""

from typing import Any

from ..configurable import Configurable
from ..initializers import KINDS as _INITIALIZERS
from ..keras_only import missing, own
from ..regularizers import KINDS as _REGULARIZERS
from .activation import ELU, Activation, LeakyReLU, ReLU, Softmax
from .augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from .base import Layer
from .convolution import (
    Conv2D,
    Conv2DTranspose,
    Convolution2D,
    Convolution2DTranspose,
    DepthwiseConv2D,
    SeparableConv2D,
    SeparableConvolution2D,
)
from .core import Dense, Identity, Input, InputLayer, Rescaling, Torch
from .merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from .normalization import BatchNormalization, LayerNormalization, LocalResponseNormalization, Normalization
from .places import PlaceBoxes, PlaceValues
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    DepthMaxPooling2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from .regularization import Dropout, SpatialDropout2D
from .resizing import ResizeLike, Resizing, UpSampling2D
from .shaping import Cropping2D, Flatten, Permute, Reshape, ZeroPadding2D

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthMaxPooling2D",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "LocalResponseNormalization",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "Permute",
    "PlaceBoxes",
    "PlaceValues",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "ResizeLike",
    "Resizing",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout2D",
    "Subtract",
    "Torch",
    "UpSampling2D",
    "ZeroPadding2D",
    "add",
    "average",
    "concatenate",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]

# What a model file may name: all layers that hold no one else's code, and what their arguments may be. Loading makes
# only these, so it runs no one else's code.
FILE_LAYERS: dict[str, type[Configurable]] = {
    kind.__name__: kind
    for kind in (*(globals()[name] for name in __all__), *_INITIALIZERS, *_REGULARIZERS)
    if isinstance(kind, type) and kind not in (Layer, Torch)
}


def __getattr__(name: str) -> Any:
    raise missing("layers", name, own(globals()))
