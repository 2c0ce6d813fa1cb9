"""The small networks of Keras CNN chapters, as their listings are written; arguments make them others of their kind."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from ..layers.padding import Padding
from .family import Architecture


def mnist_features(x: Value, filters: int = 32, kernel_size: int = 3, padding: Padding = "valid") -> Value:
    x = Conv2D(filters, kernel_size, padding=padding, activation="relu")(x)
    x = MaxPooling2D((2, 2))(x)
    x = Conv2D(2 * filters, kernel_size, padding=padding, activation="relu")(x)
    x = MaxPooling2D((2, 2))(x)
    return Conv2D(2 * filters, kernel_size, padding=padding, activation="relu")(x)


def mnist_head(x: Value, classes: int, units: int = 64) -> Value:
    x = Flatten()(x)
    x = Dense(units, activation="relu")(x)
    return Dense(classes, activation="softmax")(x)


def intel_features(x: Value, filters: int = 64, kernel_size: int = 3, padding: Padding = "same") -> Value:
    for count in (filters, 2 * filters, 4 * filters):
        x = Conv2D(count, kernel_size, activation="relu", padding=padding)(x)
        x = Conv2D(count, kernel_size, activation="relu", padding=padding)(x)
        x = MaxPooling2D(2, 2)(x)
        x = BatchNormalization()(x)
    return x


def intel_head(x: Value, classes: int, units: int = 64) -> Value:
    x = Flatten()(x)
    x = Dense(units, activation="relu")(x)
    x = BatchNormalization()(x)
    x = Dropout(0.3, seed=2)(x)
    return Dense(classes, activation="softmax")(x)


def signs_features(
    x: Value, filters: int = 16, kernel_size: int = 3, strides: int = 2, padding: Padding = "same"
) -> Value:
    x = Conv2D(filters, kernel_size, strides, padding, activation="relu")(x)
    return MaxPooling2D(pool_size=(2, 2), strides=(2, 2))(x)


def signs_head(x: Value, classes: int, units: int = 512) -> Value:
    x = Flatten()(x)
    x = Dense(units, activation="relu")(x)
    return Dense(classes, activation="softmax")(x)


ARCHITECTURES = {
    "mnist_cnn": Architecture(
        mnist_features,
        mnist_head,
        "Three convolutions for 28x28 digits (Chollet, Deep Learning with Python, section 5.1)",
        (28, 28, 1),
        10,
        93_322,
        minimum=18,
    ),
    "intel_cnn": Architecture(
        intel_features,
        intel_head,
        "Three blocks of two convolutions for 150x150 scenes (Practical Deep Learning for Computer Vision with Python)",
        (150, 150, 3),
        6,
        6_455_302,
        minimum=8,
    ),
    "signs_cnn": Architecture(
        signs_features,
        signs_head,
        "One strided convolution and a large dense layer for 128x128 hand signs",
        (128, 128, 1),
        26,
        8_402_618,
        minimum=4,
    ),
}
