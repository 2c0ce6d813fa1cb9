"""A small network of our own for small pictures."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from .family import MOMENTUM, Architecture  # of the moving statistics: small data sets have few steps


def features(x: Value, filters: int = 32, kernel_size: int = 3) -> Value:
    for count in (filters, 2 * filters):
        x = Conv2D(count, kernel_size, padding="same", activation="relu")(x)
        x = Conv2D(count, kernel_size, padding="same", activation="relu")(x)
        x = MaxPooling2D(2)(x)
        x = BatchNormalization(momentum=MOMENTUM)(x)
        x = Dropout(0.25)(x)
    return x


def head(x: Value, classes: int, units: int = 128) -> Value:
    x = Flatten()(x)
    x = Dense(units, activation="relu")(x)
    x = BatchNormalization(momentum=MOMENTUM)(x)
    x = Dropout(0.5)(x)
    return Dense(classes, activation="softmax")(x)


ARCHITECTURES = {
    "small_cnn": Architecture(
        features,
        head,
        "Two blocks of two convolutions, with dropout, for small images and data sets (the demo's network)",
        (32, 32, 3),
        10,
        minimum=4,
    )
}
