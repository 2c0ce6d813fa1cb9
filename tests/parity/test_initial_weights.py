"""The distributions of initial weights against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sightline as sl
from oracle import keras
from sightline.initializers import INITIALIZERS

# Each at least 55,000 draws, kernels as Keras has them: its fans are not the same for all
WEIGHTS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], str]] = {
    "conv": ("Conv2D", (1, 1, 64), {"filters": 96, "kernel_size": 3, "padding": "same"}, "kernel"),
    "groups": (
        "Conv2D",
        (1, 1, 128),
        {"filters": 256, "kernel_size": (5, 3), "groups": 4, "padding": "same"},
        "kernel",
    ),
    "dense": ("Dense", (200,), {"units": 300}, "kernel"),
    "transposed": ("Conv2DTranspose", (1, 1, 32), {"filters": 192, "kernel_size": 3}, "kernel"),
    "depthwise": ("DepthwiseConv2D", (25, 25, 32), {"kernel_size": 25, "depth_multiplier": 3}, "depthwise"),
    "separable": ("SeparableConv2D", (1, 1, 250), {"filters": 250, "kernel_size": 1}, "pointwise"),
}


def built(case: str, initializer: Any) -> tuple[Any, Any]:
    kind, shape, arguments, prefix = WEIGHTS[case]
    layers = []
    for module in (sl, keras):
        given = initializer(module) if callable(initializer) else initializer
        extra = {} if given is None else {f"{prefix}_initializer": given}
        layers.append(getattr(module.layers, kind)(**arguments, **extra))
    sl.utils.set_random_seed(0)
    keras.utils.set_random_seed(0)
    layers[0](sl.Input(shape))
    layers[1].build((None, *shape))
    return layers[0], layers[1]


def assert_same_distribution(ours: Any, theirs: Any) -> None:
    """Mean, standard deviation, bounds and quantiles of the largest weight; the others exactly."""
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert actual.shape == expected.shape
        spread = expected.std()
        if spread < 1e-6:
            assert np.allclose(actual, expected, atol=1e-6)
        elif expected.size > 50_000:
            assert abs(actual.mean() - expected.mean()) < 6 * spread / np.sqrt(actual.size)
            assert actual.std() == pytest.approx(spread, rel=0.015)
            places = np.linspace(0.02, 0.98, 19)
            assert np.abs(np.quantile(actual, places) - np.quantile(expected, places)).max() < 0.05 * spread
            bounds = np.abs(actual).max() / spread, np.abs(expected).max() / spread
            # A normal distribution has no bounds, a truncated or a uniform one has
            assert bounds[0] == pytest.approx(bounds[1], rel=0.01 if bounds[1] < 3 else 0.25)


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize(
    "initializer", [None, *(n for n in INITIALIZERS if n.lower() not in ("constant", "orthogonal", "bilinear"))]
)
def test_initial_weights(case: str, initializer: str | None) -> None:
    assert_same_distribution(*built(case, initializer))


OBJECTS = {
    "RandomNormal": lambda module: module.initializers.RandomNormal(mean=0.5, stddev=0.2),
    "TruncatedNormal": lambda module: module.initializers.TruncatedNormal(mean=-1.0, stddev=0.2),
    "RandomUniform": lambda module: module.initializers.RandomUniform(-1.0, 3.0),
    "Constant": lambda module: module.initializers.Constant(0.3),
    "VarianceScaling": lambda module: module.initializers.VarianceScaling(0.5, "fan_out", "untruncated_normal"),
    "VarianceScaling uniform": lambda module: module.initializers.VarianceScaling(3.0, "fan_avg", "uniform"),
}


@pytest.mark.parametrize("case", ["conv", "depthwise"])
@pytest.mark.parametrize("name", OBJECTS)
def test_initializers_with_arguments(name: str, case: str) -> None:
    assert_same_distribution(*built(case, OBJECTS[name]))


@pytest.mark.parametrize("case", ["conv", "dense"])
def test_orthogonal(case: str) -> None:
    """As in Keras, the shorter side of the kernel as a matrix (inputs, outputs) is orthonormal, up to the gain."""
    for layer in built(case, lambda module: module.initializers.Orthogonal(gain=1.5)):
        kernel = layer.get_weights()[0]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
        assert np.allclose(matrix @ matrix.T, 1.5**2 * np.eye(len(matrix)), atol=1e-4)


def test_a_seed_draws_the_same_again() -> None:
    first, again, other = (sl.initializers.HeNormal(seed=seed) for seed in (1, 1, 2))
    kernels = []
    for initializer in (first, first, again, other):
        layer = sl.layers.Dense(4, kernel_initializer=initializer)
        layer(sl.Input((3,)))
        kernels.append(layer.get_weights()[0])
    assert np.array_equal(kernels[0], kernels[1])
    assert np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[3])
