"""The distributions of initial weights against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sightline as sl
from oracle import (
    as_keras_weight,
    keras,
)
from sightline.layers.initializers import INITIALIZERS

WEIGHTS = [
    ("Conv2D", (1, 1, 64), {"filters": 96, "kernel_size": 3, "padding": "same"}),
    ("Conv2D", (1, 1, 128), {"filters": 256, "kernel_size": (5, 3), "groups": 4, "padding": "same"}),
    ("Dense", (200,), {"units": 300}),
]


@pytest.mark.parametrize(("kind", "shape", "arguments"), WEIGHTS, ids=["conv", "groups", "dense"])
@pytest.mark.parametrize("initializer", [None, *INITIALIZERS])
def test_initial_weights(kind: str, shape: tuple[int, ...], arguments: dict[str, Any], initializer: str | None) -> None:
    """The same distribution: mean, standard deviation, bounds and quantiles of at least 55,000 draws."""
    if initializer is not None:
        arguments = arguments | {"kernel_initializer": initializer}
    ours, theirs = getattr(sl.layers, kind)(**arguments), getattr(keras.layers, kind)(**arguments)
    sl.utils.set_random_seed(0)
    keras.utils.set_random_seed(0)
    ours(sl.Input(shape))
    theirs.build((None, *shape))
    actual, expected = as_keras_weight(ours.weight), np.asarray(theirs.kernel)
    assert actual.shape == expected.shape
    spread = expected.std()
    if initializer in ("zeros", "ones"):
        assert np.array_equal(actual, expected)
    else:
        assert abs(actual.mean()) < 4 * spread / np.sqrt(actual.size)
        assert actual.std() == pytest.approx(spread, rel=0.015)
        assert np.abs(actual).max() == pytest.approx(np.abs(expected).max(), rel=0.01)
        places = np.linspace(0.05, 0.95, 19)
        assert np.abs(np.quantile(actual, places) - np.quantile(expected, places)).max() < 0.05 * spread
    assert np.array_equal(ours.bias.detach().numpy(), theirs.bias)
