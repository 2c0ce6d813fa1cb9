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
    to_people,
    to_torch,
    twins,
)
from sightline.activations import ACTIVATIONS


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


@st.composite
def depthwise_convolutions(draw: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    shape, arguments = draw(convolutions())
    arguments = {k: v for k, v in arguments.items() if k not in ("filters", "groups")}
    if arguments["strides"][0] != arguments["strides"][1]:  # which Keras has not for these
        arguments["strides"] = arguments["strides"][:1] * 2
    return shape, arguments | {"depth_multiplier": draw(st.integers(1, 3))}


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@examples(12)
@given(depthwise_convolutions(), SEEDS)
def test_depthwise_convolution(case: Any, seed: int) -> None:
    shape, arguments = case
    check_layer("DepthwiseConv2D", [shape], seed, **arguments)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@examples(12)
@given(depthwise_convolutions(), st.integers(1, 4), SEEDS)
def test_separable_convolution(case: Any, filters: int, seed: int) -> None:
    shape, arguments = case
    check_layer("SeparableConv2D", [shape], seed, filters=filters, **arguments)


@st.composite
def transposed_convolutions(draw: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    dilated = draw(st.booleans())
    strides, dilation = ((1, 1), draw(pairs(1, 3))) if dilated else (draw(pairs(1, 4)), (1, 1))
    more = draw(st.none() | st.tuples(*(st.integers(0, s - 1) for s in strides)))
    arguments = {"filters": draw(st.integers(1, 3)), "kernel_size": draw(pairs(1, 5)), "strides": strides}
    arguments |= {"padding": draw(PADDINGS), "dilation_rate": dilation, "output_padding": more}
    arguments |= {"use_bias": draw(st.booleans()), "activation": draw(st.sampled_from([None, "tanh"]))}
    return (draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 3))), arguments


@examples(40)
@given(transposed_convolutions(), SEEDS)
def test_transposed_convolution(case: Any, seed: int) -> None:
    shape, arguments = case
    check_layer("Conv2DTranspose", [shape], seed, **arguments)


@pytest.mark.parametrize("kind", ["GlobalAveragePooling2D", "GlobalMaxPooling2D"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling(kind: str, keepdims: bool) -> None:
    check_layer(kind, [(5, 4, 3)], keepdims=keepdims)


@examples(10)
@given(st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_depth_max_pooling(groups: int, pool_size: int, seed: int) -> None:
    """Keras has none; the largest of each group, one by one."""
    x = np.random.default_rng(seed).normal(size=(2, 3, 4, groups * pool_size))
    expected = np.stack([x[..., g * pool_size : (g + 1) * pool_size].max(-1) for g in range(groups)], -1)
    layer = sl.layers.DepthMaxPooling2D(pool_size)
    assert layer(sl.Input(x.shape[1:])).shape == (None, *expected.shape[1:])
    leaf = to_torch(x).requires_grad_()
    answer = to_people(layer(leaf))
    assert np.array_equal(answer.detach(), expected)
    answer.sum().backward()
    assert np.array_equal(to_people(leaf.grad), np.isin(x, expected))


@examples(10)
@given(st.integers(1, 9), st.integers(0, 4), SEEDS)
def test_local_response_normalization(channels: int, radius: int, seed: int) -> None:
    """Keras has none; the paper's formula, term by term."""
    rng = np.random.default_rng(seed)
    x, (bias, alpha, beta) = rng.normal(size=(2, 3, 4, channels)), rng.uniform(0.1, 2, 3)
    expected = np.empty_like(x)
    for c in range(channels):
        total = (x[..., max(0, c - radius) : c + radius + 1] ** 2).sum(-1)
        expected[..., c] = x[..., c] / (bias + alpha * total) ** beta
    layer = sl.layers.LocalResponseNormalization(radius, bias, alpha, beta)
    assert layer(sl.Input(x.shape[1:])).shape == (None, 3, 4, channels)
    assert_close(to_people(layer(to_torch(x))), expected, "answer", tolerance=1e-12)
    rounded = to_torch(x).bfloat16()  # torch's pooling has no 16 bits on CPUs
    assert torch.equal(layer(rounded), layer(rounded.float()).bfloat16())


@st.composite
def layer_normalizations(draw: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    shape = draw(st.sampled_from([(4, 5, 3), (6,), (4, 5)]))
    axes = draw(st.lists(st.integers(1, len(shape)), min_size=1, max_size=len(shape), unique=True))
    axis = draw(st.sampled_from([-1, sorted(axes)]))
    scaling = {
        "center": draw(st.booleans()),
        "scale": draw(st.booleans()),
        "epsilon": draw(st.sampled_from([1e-3, 0.1])),
    }
    return shape, {"axis": axis} | scaling


@examples(20)
@given(layer_normalizations(), SEEDS)
def test_layer_normalization(case: Any, seed: int) -> None:
    shape, arguments = case
    check_layer("LayerNormalization", [shape], seed, batch=3, **arguments)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, (1, 3), None])
def test_normalization(axis: Any, invert: bool) -> None:
    check_layer("Normalization", [(4, 5, 3)], axis=axis, invert=invert)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": 0.5, "variance": 4.0},
        {"mean": [1.0, 2.0, 3.0], "variance": [0.5, 1.0, 0.0]},
        {"axis": (1, 3), "mean": [1.0, 2.0, 3.0], "variance": [0.5, 1.0, 2.0]},
        {"axis": None, "mean": 1.0, "variance": 2.0, "invert": True},
    ],
    ids=str,
)
def test_normalization_by_given_values(arguments: dict[str, Any]) -> None:
    check_layer("Normalization", [(4, 5, 3)], **arguments)


@pytest.mark.parametrize("axis", [-1, 1, (1, 3), None])
@pytest.mark.parametrize("as_batches", [False, True])
def test_normalization_adapts(axis: Any, as_batches: bool) -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, (10, 4, 5, 3)).astype(np.float32)
    ours, theirs = sl.layers.Normalization(axis=axis), keras.layers.Normalization(axis=axis)
    ours.adapt([x[:7], x[7:]] if as_batches else x)
    theirs.adapt(x)
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(actual, expected, "what was found")
    assert_close(to_people(ours(to_torch(x))), theirs(x), "answer")


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


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 5, 3), a) for a in (1, 2, 3, -2, -3)] + [((6,), 1), ((4, 5), 2), ((4, 5), 1)]
)
def test_batch_normalization_of_any_axis(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = twins("BatchNormalization", [shape], rng, axis=axis)
    assert_same_call(ours.train(), theirs, [normal(rng, 4, *shape)], rng, training=True)
    assert_close(ours.running_var, theirs.moving_variance.value, "running variance")


def test_batch_normalization_of_a_single_value_per_channel() -> None:
    """Its variance is zero, not undefined as an unbiased one would be."""
    rng = np.random.default_rng(0)
    ours, theirs = twins("BatchNormalization", [(3,)], rng)
    assert_same_call(ours.train(), theirs, [normal(rng, 1, 3)], rng, training=True)
    assert_close(ours.running_var, theirs.moving_variance.value, "running variance")


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5), (6,)])
def test_flatten(shape: tuple[int, ...]) -> None:
    check_layer("Flatten", [shape])


@st.composite
def reshapes(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sizes = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=3).map(tuple)
    shape = draw(sizes)
    target = list(draw(st.permutations(shape)))
    while len(target) < 4 and draw(st.booleans()):
        target.insert(draw(st.integers(0, len(target))), 1)
    if draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return shape, tuple(target)


@examples(20)
@given(reshapes(), SEEDS)
def test_reshape(case: Any, seed: int) -> None:
    shape, target = case
    check_layer("Reshape", [shape], seed, target_shape=target)


@examples(15)
@given(st.permutations([1, 2, 3]) | st.permutations([1, 2]), SEEDS)
def test_permute(dims: list[int], seed: int) -> None:
    check_layer("Permute", [(4, 5, 3)[: len(dims)]], seed, dims=tuple(dims))


RIMS = st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)) | st.tuples(pairs(0, 2), pairs(0, 2))


@pytest.mark.parametrize(("kind", "argument"), [("ZeroPadding2D", "padding"), ("Cropping2D", "cropping")])
def test_rims(kind: str, argument: str) -> None:
    @examples(15)
    @given(RIMS, SEEDS)
    def holds(rim: Any, seed: int) -> None:
        check_layer(kind, [(6, 5, 2)], seed, **{argument: rim})

    holds()


MERGES = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


@pytest.mark.parametrize("shapes", [[(4, 5, 3)] * 3, [(6,)] * 2, [(4, 5, 3), (1, 1, 3)], [(4, 1, 3), (1, 5, 1)]])
@pytest.mark.parametrize("kind", MERGES)
def test_merging(kind: str, shapes: list[tuple[int, ...]]) -> None:
    check_layer(kind, shapes[:2] if kind == "Subtract" else shapes)


@pytest.mark.parametrize("kind", MERGES)
def test_merging_functions(kind: str) -> None:
    inputs = [sl.Input((3, 4, 2)) for _ in range(2)]
    merged = getattr(sl.layers, kind.lower())(inputs, name="merged")
    assert (merged.call.layer.name, type(merged.call.layer).__name__) == ("merged", kind)


@pytest.mark.parametrize("kind", MERGES)
@pytest.mark.parametrize("shapes", [[(4, 5, 3), (3,)], [(1, 3, 3), (3,)], [(2, 3, 3), (3,)], [(2, 3, 4), (3, 4)]])
def test_merging_of_unequal_ranks_is_refused(kind: str, shapes: list[tuple[int, ...]]) -> None:
    """Keras puts unit axes behind the batch, so that the last axes meet. Refusing is honest, another sum is not."""
    with pytest.raises(sl.SightlineError, match=f"{kind} takes inputs of one shape"):
        getattr(sl.layers, kind)()([sl.Input(shape) for shape in shapes])


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, -3])
def test_concatenate_feature_maps(axis: int) -> None:
    shapes = [[4, 5, 3] for _ in range(3)]
    for position, shape in enumerate(shapes):
        shape[axis - 1 if axis > 0 else axis] = position + 1
    check_layer("Concatenate", [tuple(shape) for shape in shapes], axis=axis)


@pytest.mark.parametrize("axis", [-1, 1])
def test_concatenate_features(axis: int) -> None:
    check_layer("Concatenate", [(2,), (5,)], axis=axis)


@pytest.mark.parametrize("slope", [0.0, 0.3, 2.0])
def test_leaky_relu_and_elu(slope: float) -> None:
    check_layer("LeakyReLU", [(4, 5, 3)], negative_slope=slope)
    check_layer("ELU", [(4, 5, 3)], alpha=slope)


@pytest.mark.parametrize(("shape", "axis"), [((4, 5, 3), a) for a in (-1, 1, 2, 3, -2)] + [((6,), -1), ((6,), 1)])
def test_softmax(shape: tuple[int, ...], axis: int) -> None:
    check_layer("Softmax", [shape], axis=axis)


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


@pytest.mark.parametrize(
    "arguments",
    [{"scale": 1 / 255}, {"scale": 2, "offset": -1.0}, {"scale": [1.0, 2.0, 3.0]}, {"scale": 0.5, "offset": [1, 2, 3]}],
)
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
