"""Each layer against Keras: shapes, answers, gradients by inputs and by weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import (
    PADDINGS,
    SEEDS,
    assert_close,
    assert_same_call,
    check_layer,
    examples,
    keras,
    normal,
    twins,
)
from sightline.layers.activations import ACTIVATIONS


def pairs(low: int, high: int) -> Any:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    groups, kernel, padding = draw(st.sampled_from([1, 1, 2, 3])), draw(pairs(1, 4)), draw(PADDINGS)
    dilated = draw(st.booleans())  # Keras forbids strides and dilation at once
    strides, dilation = ((1, 1), draw(pairs(1, 3))) if dilated else (draw(pairs(1, 3)), (1, 1))
    least = [(k - 1) * d + 1 if padding == "valid" else 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(s, s + 6)) for s in least]
    arguments = {"filters": groups * draw(st.integers(1, 3)), "kernel_size": kernel, "strides": strides}
    arguments |= {"padding": padding, "dilation_rate": dilation, "groups": groups, "use_bias": draw(st.booleans())}
    arguments["activation"] = draw(st.sampled_from([None, "relu", "tanh", "softmax"]))
    return (*size, groups * draw(st.integers(1, 3))), arguments


@pytest.mark.filterwarnings("ignore:You are using a softmax")  # of one channel
@examples(12)
@given(convolutions(), SEEDS)
def test_convolution(case: Any, seed: int) -> None:
    shape, arguments = case
    check_layer("Conv2D", [shape], seed, **arguments)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 5), (1, 1, 5)])
@pytest.mark.parametrize("arguments", [{}, {"use_bias": False}, {"activation": "softmax"}])
def test_dense(shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
    check_layer("Dense", [shape], units=3, **arguments)


@st.composite
def poolings(draw: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    pool, padding = draw(pairs(1, 4)), draw(PADDINGS)
    size = [draw(st.integers(p if padding == "valid" else 1, p + 6)) for p in pool]
    return (*size, 2), {"pool_size": pool, "strides": draw(st.none() | pairs(1, 5)), "padding": padding}


@pytest.mark.parametrize("kind", ["MaxPooling2D", "AveragePooling2D"])
def test_pooling(kind: str) -> None:
    @examples(15)
    @given(poolings(), SEEDS)
    def holds(case: Any, seed: int) -> None:
        shape, arguments = case
        check_layer(kind, [shape], seed, **arguments)

    holds()


def test_pooling_with_padding_and_negative_values_only() -> None:
    rng = np.random.default_rng(0)
    for kind in ("MaxPooling2D", "AveragePooling2D"):
        ours, theirs = twins(kind, [(5, 4, 2)], rng, pool_size=3, strides=2, padding="same")
        assert_same_call(ours, theirs, [-1 - np.abs(normal(rng, 2, 5, 4, 2))], rng)


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_pooling(keepdims: bool) -> None:
    check_layer("GlobalAveragePooling2D", [(5, 4, 3)], keepdims=keepdims)


@pytest.mark.parametrize("shape", [(4, 5, 3), (6,), (1, 1, 4)])
@pytest.mark.parametrize("arguments", [{}, {"center": False, "momentum": 0.5}, {"scale": False, "epsilon": 0.1}])
def test_batch_normalization(shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = twins("BatchNormalization", [shape], rng, **arguments)

    def assert_same_statistics() -> None:
        assert_close(ours.running_mean, theirs.moving_mean.value, "running mean")
        assert_close(ours.running_var, theirs.moving_variance.value, "running variance")

    for batch in (4, 3, 8):
        ours.train()
        assert_same_call(ours, theirs, [2 * normal(rng, batch, *shape) + 1], rng, training=True)
        assert_same_statistics()
    ours.eval()
    assert_same_call(ours, theirs, [normal(rng, 3, *shape)], rng, training=False)
    assert_same_statistics()


@pytest.mark.parametrize("shape", [(4, 5, 3), (6,)])
@pytest.mark.parametrize("axis", [-1, "last"])
def test_batch_normalization_of_the_last_axis_by_number(shape: tuple[int, ...], axis: Any) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = twins("BatchNormalization", [shape], rng, axis=len(shape) if axis == "last" else axis)
    assert_same_call(ours.train(), theirs, [normal(rng, 4, *shape)], rng, training=True)


def test_batch_normalization_of_a_single_value_per_channel() -> None:
    """Its variance is zero, not undefined as an unbiased one would be."""
    rng = np.random.default_rng(0)
    ours, theirs = twins("BatchNormalization", [(3,)], rng)
    assert_same_call(ours.train(), theirs, [normal(rng, 1, 3)], rng, training=True)
    assert_close(ours.running_var, theirs.moving_variance.value, "running variance")


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5), (6,)])
def test_flatten(shape: tuple[int, ...]) -> None:
    check_layer("Flatten", [shape])


@pytest.mark.parametrize("shapes", [[(4, 5, 3)] * 3, [(6,)] * 2, [(4, 5, 3), (1, 1, 3)], [(4, 1, 3), (1, 5, 1)]])
def test_add(shapes: list[tuple[int, ...]]) -> None:
    check_layer("Add", shapes)


@pytest.mark.parametrize("shapes", [[(4, 5, 3), (3,)], [(1, 3, 3), (3,)], [(2, 3, 3), (3,)], [(2, 3, 4), (3, 4)]])
def test_add_of_unequal_ranks_is_as_in_keras_or_refused(shapes: list[tuple[int, ...]]) -> None:
    """Keras puts unit axes behind the batch, so that the last axes meet. Refusing is honest, another sum is not."""
    theirs = keras.layers.Add()([keras.Input(shape) for shape in shapes])
    try:
        ours = sl.layers.Add()([sl.Input(shape) for shape in shapes])
    except sl.SightlineError:
        return
    assert ours.shape == theirs.shape
    check_layer("Add", shapes)


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, -3])
def test_concatenate_feature_maps(axis: int) -> None:
    shapes = [[4, 5, 3] for _ in range(3)]
    for position, shape in enumerate(shapes):
        shape[axis - 1 if axis > 0 else axis] = position + 1
    check_layer("Concatenate", [tuple(shape) for shape in shapes], axis=axis)


@pytest.mark.parametrize("axis", [-1, 1])
def test_concatenate_features(axis: int) -> None:
    check_layer("Concatenate", [(2,), (5,)], axis=axis)


RELUS = [
    {},
    {"max_value": 1.0},
    {"negative_slope": 0.3},
    {"threshold": 0.5},
    {"max_value": 1.0, "negative_slope": 0.3, "threshold": 0.5},
    {"max_value": 0.5, "threshold": 1.0},
    {"max_value": 0.0, "negative_slope": 0.3},
    {"max_value": 6},
]


@pytest.mark.parametrize("arguments", RELUS, ids=str)
def test_relu(arguments: dict[str, Any]) -> None:
    check_layer("ReLU", [(4, 5, 3)], batch=4, **arguments)


@pytest.mark.parametrize("arguments", RELUS, ids=str)
def test_relu_at_its_corners(arguments: dict[str, Any]) -> None:
    x = np.array([[-1.0, -0.5, 0.0, 0.5, 1.0, 6.0, 7.0]], np.float32)
    expected = keras.layers.ReLU(**arguments)(x)
    assert_close(sl.layers.ReLU(**arguments)(torch.from_numpy(x)), expected, "answer")


@pytest.mark.parametrize("shape", [(4, 5, 3), (6,)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, shape: tuple[int, ...]) -> None:
    check_layer("Activation", [shape], batch=4, activation=name)


@pytest.mark.parametrize("arguments", [{"scale": 1 / 255}, {"scale": 2, "offset": -1.0}])
def test_rescaling(arguments: dict[str, Any]) -> None:
    check_layer("Rescaling", [(4, 5, 3)], **arguments)


@pytest.mark.parametrize("seed", [None, 1])
def test_dropout(seed: int | None) -> None:
    """The draws are each side's own; what is kept is scaled alike, and as many are kept."""
    x = np.ones((100, 100), np.float32)
    ours, theirs = sl.layers.Dropout(0.25, seed=seed), keras.layers.Dropout(0.25, seed=seed)
    torch.manual_seed(0)
    ours_kept, theirs_kept = ours(torch.from_numpy(x)).numpy(), np.asarray(theirs(x, training=True))
    assert np.allclose(np.unique(ours_kept), np.unique(theirs_kept))
    assert abs((ours_kept == 0).mean() - 0.25) < 0.02
    assert np.array_equal(ours.eval()(torch.from_numpy(x)), theirs(x, training=False))
