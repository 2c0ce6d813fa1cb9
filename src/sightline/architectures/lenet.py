"""LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, 1998, figure 2)."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import AveragePooling2D, Conv2D, Dense, Flatten


def lenet5(x: Value, classes: int) -> Value:
    """LeNet-5 for 32x32 characters (LeCun et al., 1998), in the form commonly used today: each map of C3 sees all of S2's, subsampling
    has no weights, and a softmax stands for the radial basis functions. 61,706 parameters at 32x32x1 and 10 classes."""
    x = Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = AveragePooling2D(2, name="s2")(x)
    x = Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = AveragePooling2D(2, name="s4")(x)
    x = Conv2D(120, 5, activation="tanh", name="c5")(x)
    x = Flatten()(x)
    x = Dense(84, activation="tanh", name="f6")(x)
    return Dense(classes, activation="softmax", name="output")(x)
