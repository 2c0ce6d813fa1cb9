"""LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, 1998, figure 2)."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import AveragePooling2D, Conv2D, Dense, Flatten
from .family import Architecture


def features(x: Value) -> Value:
    x = Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = AveragePooling2D(2, name="s2")(x)
    x = Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = AveragePooling2D(2, name="s4")(x)
    return Conv2D(120, 5, activation="tanh", name="c5")(x)


def head(x: Value, classes: int) -> Value:
    x = Flatten()(x)
    x = Dense(84, activation="tanh", name="f6")(x)
    return Dense(classes, activation="softmax", name="output")(x)


# In the form commonly used today: each map of C3 sees all of S2's, subsampling has no weights, and a softmax stands for
# the radial basis functions.
ARCHITECTURES = {
    "lenet5": Architecture(
        features, head, "LeNet-5 for 32x32 characters (LeCun et al., 1998, figure 2)", (32, 32, 1), 10, 61_706
    )
}
