"""The small networks of Keras CNN chapters, as their listings are written."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D


def mnist_cnn(x: Value, classes: int) -> Value:
    """Three convolutions for 28x28 digits (Chollet, Deep Learning with Python, section 5.1): 93,322 parameters at 10 classes."""
    x = Conv2D(32, (3, 3), activation="relu")(x)
    x = MaxPooling2D((2, 2))(x)
    x = Conv2D(64, (3, 3), activation="relu")(x)
    x = MaxPooling2D((2, 2))(x)
    x = Conv2D(64, (3, 3), activation="relu")(x)
    x = Flatten()(x)
    x = Dense(64, activation="relu")(x)
    return Dense(classes, activation="softmax")(x)


def intel_cnn(x: Value, classes: int) -> Value:
    """Three blocks of two convolutions for 150x150 scenes (Practical Deep Learning for Computer Vision with Python, on the
    Intel Image Classification data): 6,456,326 parameters at 6 classes."""
    for filters in (64, 128, 256):
        x = Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = MaxPooling2D(2, 2)(x)
        x = BatchNormalization()(x)
    x = Flatten()(x)
    x = Dense(64, activation="relu")(x)
    x = BatchNormalization()(x)
    x = Dropout(0.3, seed=2)(x)
    return Dense(classes, activation="softmax")(x)


def signs_cnn(x: Value, classes: int) -> Value:
    """One strided convolution and a large dense layer for 128x128 hand signs: 8,402,618 parameters at 26 classes."""
    x = Conv2D(16, kernel_size=(3, 3), strides=(2, 2), padding="same", activation="relu")(x)
    x = MaxPooling2D(pool_size=(2, 2), strides=(2, 2))(x)
    x = Flatten()(x)
    x = Dense(512, activation="relu")(x)
    return Dense(classes, activation="softmax")(x)
