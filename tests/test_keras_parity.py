"""Sightline against Keras (JAX backend) as the oracle: the same arguments, weights and data must give the same numbers.

Hypothesis draws the same cases in every run (derandomize), so that a failure here is always a change in the code.
"""

from __future__ import annotations

import inspect
import os
import re
from types import SimpleNamespace
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# Each case compiles its own small XLA program, which takes far longer than to run it
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline as sl
from sightline.layers.activations import ACTIVATIONS
from sightline.layers.initializers import INITIALIZERS

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
if keras.backend.backend() != "jax":
    pytest.skip("Keras was imported with another backend than JAX before", allow_module_level=True)

# Keras's own, for each array that crosses over
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TOLERANCE = 1e-5
SEEDS = st.integers(0, 2**16)
PADDINGS = st.sampled_from(["valid", "same"])


def examples(count: int) -> Any:
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


# --- both sides of a comparison --------------------------------------------------------------------------------


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def to_torch(x: np.ndarray) -> torch.Tensor:
    """An NHWC array as the NCHW tensor that a layer gets."""
    return torch.from_numpy(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def to_people(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(1, -1) if x.ndim == 4 else x


def as_keras_weight(x: torch.Tensor) -> np.ndarray:
    """OIHW -> HWIO, (units, features) -> (features, units)."""
    return (x.permute(2, 3, 1, 0) if x.ndim == 4 else x.T if x.ndim == 2 else x).detach().numpy()


def one_or_list(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def assert_close(actual: Any, expected: Any, what: str, tolerance: float = TOLERANCE, least: float = 1.0) -> None:
    """|actual - expected| <= tolerance * |expected|, by norm.

    Norms below `least` count as `least`: a sum of terms of size one may cancel, and its error does not.
    """
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, what
    error = np.linalg.norm((actual - expected).ravel()) / max(np.linalg.norm(expected.ravel()), least)
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


def weights_of(layer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """A layer's trainable weights in Keras's order."""
    return [w for name in ("weight", "bias") if (w := getattr(layer, name, None)) is not None]


def copy_weights(ours: torch.nn.Module, theirs: Any) -> None:
    ours_weights = weights_of(ours)
    assert len(ours_weights) == len(theirs.trainable_variables)
    for weight, variable in zip(ours_weights, theirs.trainable_variables, strict=True):
        variable.assign(as_keras_weight(weight))


def twins(kind: str, shapes: list[tuple[int, ...]], rng: np.random.Generator, **arguments: Any) -> tuple[Any, Any]:
    """One layer of each side, with the same random weights. Their symbolic output shapes must be equal."""
    ours, theirs = getattr(sl.layers, kind)(**arguments), getattr(keras.layers, kind)(**arguments)
    symbolic = ours(one_or_list([sl.Input(shape) for shape in shapes]))
    assert symbolic.shape == theirs(one_or_list([keras.Input(shape) for shape in shapes])).shape
    with torch.no_grad():
        for weight in weights_of(ours):
            weight.copy_(torch.from_numpy(normal(rng, *weight.shape)))
    copy_weights(ours, theirs)
    return ours, theirs


def assert_same_call(ours: Any, theirs: Any, inputs: list[np.ndarray], rng: np.random.Generator, **mode: Any) -> None:
    """Answer, gradients by inputs and by weights, and what the call did to Keras's state (which is written back)."""
    leaves = [to_torch(x).requires_grad_() for x in inputs]
    answer = to_people(ours(one_or_list(leaves)))
    direction = normal(rng, *answer.shape)
    ours.zero_grad()
    (answer * torch.from_numpy(direction)).sum().backward()

    def projected(trainable: Any, xs: Any) -> Any:
        state = [v.value for v in theirs.non_trainable_variables]
        y, state = theirs.stateless_call(trainable, state, one_or_list(xs), **mode)
        return (y * direction).sum(), (y, state)

    gradients = jax.jit(jax.value_and_grad(projected, argnums=(0, 1), has_aux=True))
    trainable = [v.value for v in theirs.trainable_variables]
    (_, (expected, state)), (by_weights, by_inputs) = gradients(trainable, [jax.numpy.asarray(x) for x in inputs])
    for variable, value in zip(theirs.non_trainable_variables, state, strict=True):
        variable.assign(value)
    assert_close(answer, expected, "answer")
    for leaf, gradient in zip(leaves, by_inputs, strict=True):
        assert_close(to_people(leaf.grad), gradient, "gradient by the input")
    for weight, gradient in zip(weights_of(ours), by_weights, strict=True):
        assert_close(as_keras_weight(weight.grad), gradient, f"gradient by a weight of shape {tuple(weight.shape)}")


def check_layer(kind: str, shapes: list[tuple[int, ...]], seed: int = 0, batch: int = 2, **arguments: Any) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = twins(kind, shapes, rng, **arguments)
    assert_same_call(ours, theirs, [normal(rng, batch, *shape) for shape in shapes], rng)


# --- layers ----------------------------------------------------------------------------------------------------


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


# --- losses ----------------------------------------------------------------------------------------------------


def one_hot(numbers: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[numbers]


def predictions(rng: np.random.Generator, shape: tuple[int, ...], from_logits: bool) -> np.ndarray:
    """Logits, or positive scores that do not sum to one: both sides normalise them."""
    scores = 3 * normal(rng, *shape)
    return scores if from_logits else np.exp(scores)


def check_loss(ours: Any, theirs: Any, y_true: np.ndarray, y_pred: np.ndarray) -> None:
    """The value and its gradient. Both are called with `y_true` as a person writes it."""
    leaf = to_torch(y_pred).requires_grad_()
    value = ours(to_torch(y_true), leaf)
    value.backward()
    expected, gradient = jax.jit(jax.value_and_grad(lambda p: theirs(y_true, p)))(jax.numpy.asarray(y_pred))
    assert value.item() == pytest.approx(float(expected), rel=TOLERANCE)
    assert_close(to_people(leaf.grad), gradient, "gradient", least=1e-3)


LOSS_SHAPES = [(7, 5), (1, 2), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", LOSS_SHAPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_categorical_crossentropy(shape: tuple[int, ...], from_logits: bool, label_smoothing: float) -> None:
    rng = np.random.default_rng(0)
    y_true = one_hot(rng.integers(0, shape[-1], shape[:-1]), shape[-1])
    arguments = {"from_logits": from_logits, "label_smoothing": label_smoothing}
    losses = [module.losses.CategoricalCrossentropy(**arguments) for module in (sl, keras)]
    check_loss(*losses, y_true, predictions(rng, shape, from_logits))


def test_categorical_crossentropy_of_soft_and_whole_number_targets() -> None:
    rng = np.random.default_rng(0)
    soft, whole = rng.dirichlet(np.ones(5), 7).astype(np.float32), np.eye(5, dtype=np.int64)[:4]
    for y_true in (soft, whole):
        losses = [module.losses.CategoricalCrossentropy() for module in (sl, keras)]
        check_loss(*losses, y_true, predictions(rng, y_true.shape, False))


@pytest.mark.parametrize("shape", LOSS_SHAPES)
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("trailing_axis", [False, True])
def test_sparse_categorical_crossentropy(shape: tuple[int, ...], from_logits: bool, trailing_axis: bool) -> None:
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, shape[-1], (*shape[:-1], 1) if trailing_axis else shape[:-1])
    losses = [module.losses.SparseCategoricalCrossentropy(from_logits=from_logits) for module in (sl, keras)]
    check_loss(*losses, y_true, predictions(rng, shape, from_logits))


def test_crossentropies_clip_certainty() -> None:
    certain = np.eye(3, dtype=np.float32)
    for wrong in (0, 1):
        numbers = (np.arange(3) + wrong) % 3
        for name, y_true in (("Categorical", certain[numbers]), ("SparseCategorical", numbers)):
            ours, theirs = (getattr(module.losses, f"{name}Crossentropy")() for module in (sl, keras))
            value = float(ours(torch.from_numpy(y_true), torch.from_numpy(certain)))
            # float32 has few digits left of 1 - 1e-7, hence the absolute part
            assert value == pytest.approx(float(theirs(y_true, certain)), rel=TOLERANCE, abs=1e-8)


@pytest.mark.parametrize(
    ("target", "answer"), [((7, 5), (7, 5)), ((7, 1), (7, 1)), ((7,), (7, 1)), ((2, 3, 4, 5), (2, 3, 4, 5))]
)
def test_mean_squared_error(target: tuple[int, ...], answer: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    losses = [module.losses.MeanSquaredError() for module in (sl, keras)]
    check_loss(*losses, normal(rng, *target), normal(rng, *answer))
    check_loss(*losses, rng.integers(0, 3, target), normal(rng, *answer))


# --- metrics ---------------------------------------------------------------------------------------------------

BATCHES = (5, 8, 1)


def keras_compiled_metric(name: str) -> Any:
    """What `compile(metrics=[name])` makes: Keras resolves "accuracy" from the first batch's shapes."""
    from keras.src.trainers.compile_utils import CompileMetrics

    metrics = CompileMetrics([name], None)
    return SimpleNamespace(update_state=metrics.update_state, result=lambda: metrics.result()[name])


def check_metric(ours: Any, theirs: Any, batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for y_true, y_pred in batches:
        ours.update_state(to_torch(y_true), to_torch(y_pred))
        theirs.update_state(y_true, y_pred)
        assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-6)


ACCURACY_TARGETS = {
    "one-hot": lambda rng, places, classes: one_hot(rng.integers(0, classes, places), classes),
    "sparse": lambda rng, places, classes: rng.integers(0, classes, places),
    "sparse with an axis": lambda rng, places, classes: rng.integers(0, classes, (*places, 1)),
}


@pytest.mark.parametrize("kind", ACCURACY_TARGETS)
@pytest.mark.parametrize("places", [(), (3, 4)])
@pytest.mark.parametrize("classes", [2, 5])
def test_accuracy_of_classes(kind: str, places: tuple[int, ...], classes: int) -> None:
    rng = np.random.default_rng(0)
    batches = [(ACCURACY_TARGETS[kind](rng, (n, *places), classes), normal(rng, n, *places, classes)) for n in BATCHES]
    check_metric(sl.metrics.get("accuracy"), keras_compiled_metric("accuracy"), batches)
    name = "CategoricalAccuracy" if kind == "one-hot" else "SparseCategoricalAccuracy"
    check_metric(getattr(sl.metrics, name)(), getattr(keras.metrics, name)(), batches)


@pytest.mark.parametrize("trailing_axis", [False, True])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_accuracy_of_two_classes_by_one_probability(trailing_axis: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    batches = [
        (rng.integers(0, 2, (n, 1) if trailing_axis else n).astype(dtype), rng.random((n, 1)).astype(np.float32))
        for n in BATCHES
    ]
    check_metric(sl.metrics.get("accuracy"), keras_compiled_metric("accuracy"), batches)


def test_accuracy_of_ties() -> None:
    """Of equal scores the first counts."""
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 4, n), rng.integers(0, 2, (n, 4)).astype(np.float32)) for n in (50, 20)]
    check_metric(sl.metrics.get("accuracy"), keras_compiled_metric("accuracy"), batches)


@examples(15)
@given(st.integers(1, 6), st.booleans(), st.booleans(), SEEDS)
def test_top_k_accuracy(k: int, ties: bool, sparse: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = []
    for n in BATCHES:
        numbers = rng.integers(0, 6, n)
        scores = rng.integers(0, 3, (n, 6)).astype(np.float32) if ties else normal(rng, n, 6)
        batches.append((numbers if sparse else one_hot(numbers, 6), scores))
    theirs = keras.metrics.SparseTopKCategoricalAccuracy if sparse else keras.metrics.TopKCategoricalAccuracy
    check_metric(sl.metrics.TopKCategoricalAccuracy(k), theirs(k), batches)


# --- optimizers ------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "epsilon": 1e-3}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
]


def check_optimizer(kind: str, arguments: dict[str, Any], factors: list[float], scale: float = 1.0) -> None:
    """The weights after each step with given gradients; `factors` are of the learning rate, one for each step."""
    rng = np.random.default_rng(0)
    starts = [0.1 * normal(rng, *shape) for shape in ((4, 3), (5,), (2, 3, 3, 2))]
    ours, theirs = getattr(sl.optimizers, kind)(**arguments), getattr(keras.optimizers, kind)(**arguments)
    assert ours.learning_rate == pytest.approx(float(theirs.learning_rate.value))
    rate = ours.learning_rate
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    variables = [keras.Variable(start) for start in starts]
    ours.bind(parameters)
    theirs.build(variables)
    for step, factor in enumerate(factors):
        ours.learning_rate = rate * factor
        theirs.learning_rate = rate * factor
        gradients = [scale * normal(rng, *start.shape) for start in starts]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        ours.step()
        theirs.apply([jax.numpy.asarray(gradient) for gradient in gradients], variables)
        for parameter, variable, start in zip(parameters, variables, starts, strict=True):
            expected = np.asarray(variable.value)
            assert_close(parameter, expected, f"weights after step {step + 1}", least=0)
            # The way itself is short against the weights, whose float32 rounding it carries
            moved = parameter.detach().numpy() - start
            assert_close(moved, expected - start, f"way after step {step + 1}", tolerance=2e-4, least=1e-3)


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS, ids=str)
def test_optimizer(kind: str, arguments: dict[str, Any]) -> None:
    check_optimizer(kind, arguments, [1.0] * 5 + [0.1] * 5)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_optimizer_where_epsilon_weighs(kind: str, scale: float) -> None:
    check_optimizer(kind, {}, [1.0] * 10, scale)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_survives_a_learning_rate_of_zero(nesterov: bool) -> None:
    """The velocity holds the old rate: weights coast at rate 0, and go on from there."""
    check_optimizer("SGD", {"momentum": 0.9, "nesterov": nesterov}, [0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0])


# --- initial weights -------------------------------------------------------------------------------------------

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


# --- callbacks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_model() -> Any:
    """A tiny compiled model that has seen a batch: Keras finds the direction of "auto" in its metrics."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.SGD(), "categorical_crossentropy", metrics=["accuracy", "mse"])
    model.train_on_batch(np.zeros((2, 2), np.float32), np.eye(2, dtype=np.float32))
    return model


def rates_chosen(callback: Any, model: Any, monitor: str, values: list[float], rate: float) -> list[float]:
    """The learning rate after each epoch; and that the logs hold it from before."""
    model.optimizer.learning_rate = rate
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        logs, before = {monitor: value}, float(model.optimizer.learning_rate)
        callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == pytest.approx(before)
        rates.append(float(model.optimizer.learning_rate))
    return rates


def check_plateau(keras_model: Any, values: list[float], rate: float = 0.5, **arguments: Any) -> None:
    model = SimpleNamespace(optimizer=sl.optimizers.SGD(rate))
    monitor = arguments.get("monitor", "val_loss")
    actual = rates_chosen(sl.callbacks.ReduceLROnPlateau(**arguments), model, monitor, values, rate)
    expected = rates_chosen(keras.callbacks.ReduceLROnPlateau(**arguments), keras_model, monitor, values, rate)
    assert actual == pytest.approx(expected, rel=1e-5)  # Keras holds the rate in float32


# Multiples of 1/8, for Keras compares in float32, where these and the deltas below are exact
MONITORED = st.lists(st.integers(-8, 8).map(lambda v: v / 8), min_size=1, max_size=24)


def test_reduce_lr_on_plateau(keras_model: Any) -> None:
    @examples(60)
    @given(
        values=MONITORED,
        arguments=st.fixed_dictionaries(
            {
                "monitor": st.sampled_from(["val_loss", "loss", "accuracy", "val_accuracy", "val_mse"]),
                "mode": st.sampled_from(["auto", "auto", "min", "max"]),
                "factor": st.sampled_from([0.5, 0.1]),
                "patience": st.integers(0, 3),
                "min_delta": st.sampled_from([0.0, 1e-4, 0.125, 0.25]),
                "cooldown": st.integers(0, 3),
                "min_lr": st.sampled_from([0.0, 0.0625, 0.07]),
            }
        ),
    )
    def holds(values: list[float], arguments: dict[str, Any]) -> None:
        check_plateau(keras_model, values, **arguments)

    holds()


def test_reduce_lr_on_plateau_by_default(keras_model: Any) -> None:
    check_plateau(keras_model, [1.0, 0.5] + [0.49995] * 25 + [0.25] * 12)


def test_reduce_lr_on_plateau_takes_the_size_of_min_delta(keras_model: Any) -> None:
    check_plateau(keras_model, [1.0, 0.875, 0.75, 0.5, 0.5, 0.5], patience=1, min_delta=-0.25)


@pytest.mark.parametrize(
    ("start", "value"),
    [
        # A NaN that comes first is left out: Keras takes it as the best for ever, here a NaN is never the best
        ([], float("inf")),
        ([], float("-inf")),
        ([1.0], float("nan")),
        ([1.0], float("inf")),
        ([1.0], float("-inf")),
        ([1.0, 1.0], float("nan")),
    ],
)
def test_reduce_lr_on_plateau_of_what_is_not_finite(keras_model: Any, start: list[float], value: float) -> None:
    check_plateau(keras_model, [*start, value, 0.5, 0.25, 0.5, 0.25], patience=2)


def test_reduce_lr_on_plateau_begins_anew_with_each_training(keras_model: Any) -> None:
    arguments = {"patience": 2, "cooldown": 2}
    ours, theirs = sl.callbacks.ReduceLROnPlateau(**arguments), keras.callbacks.ReduceLROnPlateau(**arguments)
    model = SimpleNamespace(optimizer=sl.optimizers.SGD())
    for values in ([0.25, 0.5, 0.5, 0.5], [1.0, 0.75, 1.0, 1.0, 1.0]):
        actual = rates_chosen(ours, model, "val_loss", values, 0.5)
        assert actual == pytest.approx(rates_chosen(theirs, keras_model, "val_loss", values, 0.5))


class _Schedule:
    def __call__(self, epoch: int, rate: float) -> float:
        return rate * 0.9**epoch

    def of_epoch(self, epoch: int) -> float:
        return 0.1 / (epoch + 1)


SCHEDULES = {
    "one argument": lambda epoch: 0.1 * 0.5**epoch,
    "two arguments": lambda epoch, rate: rate if epoch < 2 else rate * 0.5,
    "a second one with a default": lambda epoch, rate=0.2: rate * 0.5,
    "any arguments": lambda *arguments: 0.1 / (arguments[0] + len(arguments)),
    "an object": _Schedule(),
    "a method": _Schedule().of_epoch,
    "a NumPy float64": lambda epoch, rate: np.float64(rate) * 0.5,
    "a NumPy float32": lambda epoch, rate: np.float32(rate) * np.float32(0.5),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_scheduler(name: str, keras_model: Any) -> None:
    def rates(callback: Any, model: Any) -> list[float]:
        model.optimizer.learning_rate = 0.5
        callback.set_model(model)
        chosen = []
        for epoch in range(5):
            callback.on_epoch_begin(epoch)
            logs = {"loss": 1.0}
            callback.on_epoch_end(epoch, logs)
            assert logs["learning_rate"] == pytest.approx(float(model.optimizer.learning_rate))
            chosen.append(logs["learning_rate"])
        return chosen

    model = SimpleNamespace(optimizer=sl.optimizers.SGD())
    expected = rates(keras.callbacks.LearningRateScheduler(SCHEDULES[name]), keras_model)
    assert rates(sl.callbacks.LearningRateScheduler(SCHEDULES[name]), model) == pytest.approx(expected, rel=1e-5)


# --- a whole network -------------------------------------------------------------------------------------------

STEPS, BATCH = 20, 16


def keras_mnist_cnn() -> Any:
    """Written out a second time, so that neither a default nor the order of layers is taken from Sightline."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def losses_of_steps(model: Any, callback_base: type, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each step's loss, out of the running means that both sides log after a batch."""
    means: list[float] = []

    class Listener(callback_base):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            means.append(float(logs["loss"]))

    model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, callbacks=[Listener()])
    totals = np.array(means) * np.arange(1, len(means) + 1)
    return np.diff(totals, prepend=0.0)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("Adam", {"learning_rate": 5e-4}), ("SGD", {"learning_rate": 0.02, "momentum": 0.9})],
    ids=["Adam", "SGD"],
)
def test_training_follows_keras(kind: str, arguments: dict[str, Any]) -> None:
    """The two agree to about 1e-5 here; data and rates are mild for a reason.

    Keras computes Adam's bias correction in float32, which is 1e-5 off. Where that turns a ReLU or a maximum over, the
    losses part by 1e-3 within 20 steps, as Sightline's own do when its rate is changed by 1e-5.
    """
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 10, STEPS * BATCH)
    patterns = np.kron(rng.integers(0, 2, (10, 4, 4, 1)), np.ones((1, 7, 7, 1)))
    x = (patterns[numbers] + 0.5 * rng.random((len(numbers), 28, 28, 1))).astype(np.float32)
    y = one_hot(numbers, 10)
    sl.utils.set_random_seed(1)
    ours, theirs = sl.create("mnist_cnn"), keras_mnist_cnn()
    weighted = [layer for layer in ours.layers if weights_of(layer)]
    for layer, twin in zip(weighted, [layer for layer in theirs.layers if layer.weights], strict=True):
        copy_weights(layer, twin)
    assert ours.count_params() == theirs.count_params()
    assert_close(ours.predict(x[:8]), theirs.predict(x[:8], verbose=0), "prediction before")
    for module, model in ((sl, ours), (keras, theirs)):
        optimizer = getattr(module.optimizers, kind)(**arguments)
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    actual = losses_of_steps(ours, sl.callbacks.Callback, x, y)
    expected = losses_of_steps(theirs, keras.callbacks.Callback, x, y)
    assert len(actual) == STEPS
    assert expected[-1] < 0.95 * expected[0]  # it learns, so the steps differ
    assert actual == pytest.approx(expected, rel=1e-4)
    assert ours.evaluate(x, y, verbose=0) == pytest.approx(theirs.evaluate(x, y, verbose=0), rel=1e-3)


# --- names, arguments and defaults -----------------------------------------------------------------------------


def is_ours(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").startswith("sightline")


def shared(classes: bool) -> list[str]:
    """The public classes, or functions, that both sides have, as "layers.Conv2D"."""
    wanted = inspect.isclass if classes else inspect.isfunction
    names = []
    for module in ("layers", "losses", "metrics", "optimizers", "callbacks", "utils"):
        for name, thing in vars(getattr(sl, module)).items():
            theirs = getattr(getattr(keras, module), name, None)
            if not name.startswith("_") and wanted(thing) and is_ours(thing) and theirs is not None:
                names.append(f"{module}.{name}")
    return names


METHODS = ["Model.compile", "Model.fit", "Model.evaluate", "Model.predict", "Sequential.__init__", "Sequential.build"]
SHARED_LAYERS = [name.removeprefix("layers.") for name in shared(classes=True) if name.startswith("layers.")]


def found(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def named_parameters(function: Any) -> dict[str, Any]:
    """Named parameters with their defaults; `inspect.Parameter.empty` where there is none."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind not in kinds]
    return {p.name: p.default for p in parameters if p.name != "self"}


def arguments_of(thing: Any) -> dict[str, Any]:
    """A function's named arguments, or a constructor's with those that it hands on to its bases."""
    if not inspect.isclass(thing):
        return named_parameters(thing)
    arguments: dict[str, Any] = {}
    for base in thing.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        arguments = named_parameters(vars(base)["__init__"]) | arguments
        kinds = [p.kind for p in inspect.signature(vars(base)["__init__"]).parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return arguments


def plain(default: Any) -> Any:
    """(1, 1), [1, 1] and 1 are the same size."""
    if isinstance(default, (list, tuple)):
        return plain(default[0]) if len(set(default)) == 1 else tuple(default)
    return default


# Where an argument is not in Keras's signature, or has another default there, and why that is right
EXCEPTIONS = {
    "input_shape": "Keras's Layer takes it out of **kwargs",
    "layers.InputLayer.dtype": "Keras's None means keras.config.floatx(), which is float32",
    "layers.Input.dtype": "Keras's None means keras.config.floatx(), which is float32",
    "layers.InputLayer.shape": "Keras's None is for batch_shape, which is not there",
    "layers.Input.shape": "Keras's None is for batch_shape, which is not there",
    "layers.AveragePooling2D.pool_size": "Keras has no default; the default is MaxPooling2D's",
    "layers.AvgPool2D.pool_size": "Keras has no default; the default is MaxPooling2D's",
    "losses.get.loss": "Keras calls it identifier; it is given by position",
    "metrics.get.metric": "Keras calls it identifier; it is given by position",
    "optimizers.get.optimizer": "Keras calls it identifier; it is given by position",
    "Model.predict.verbose": "predict is quiet unless asked",
}


@pytest.mark.parametrize("path", [*shared(classes=True), *shared(classes=False), *METHODS])
def test_arguments_and_defaults(path: str) -> None:
    theirs = arguments_of(found(keras, path))
    for name, default in arguments_of(found(sl, path)).items():
        if name in EXCEPTIONS or f"{path}.{name}" in EXCEPTIONS:
            continue
        assert name in theirs, f"{path} takes {name}, which Keras does not"
        assert plain(default) == plain(theirs[name]), f"{path}: the default of {name}"


@pytest.mark.parametrize("path", [*shared(classes=True), *shared(classes=False), *METHODS])
def test_order_of_arguments(path: str) -> None:
    """Keras's order, with gaps: what is positional there is so here."""

    def order(thing: Any) -> list[str]:
        return list(named_parameters(thing.__init__ if inspect.isclass(thing) else thing))

    ours, theirs = order(found(sl, path)), order(found(keras, path))
    assert [name for name in ours if name in theirs] == [name for name in theirs if name in ours]


def test_exceptions_are_needed() -> None:
    for path, name in (key.rsplit(".", 1) for key in EXCEPTIONS if "." in key):
        ours, theirs = arguments_of(found(sl, path)), arguments_of(found(keras, path))
        assert name not in theirs or plain(ours[name]) != plain(theirs[name])


def test_what_is_shared_was_found() -> None:
    assert len(SHARED_LAYERS) >= 14
    assert {"optimizers.Adam", "losses.MeanSquaredError", "callbacks.ReduceLROnPlateau"} <= set(shared(classes=True))


LAYER_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Activation": ("relu",),
    "AveragePooling2D": (2,),
    "AvgPool2D": (2,),
    "Conv2D": (4, 3),
    "Dense": (4,),
    "Dropout": (0.5,),
    "Rescaling": (2.0,),
}


@pytest.fixture(scope="module")
def keras_counts_from_zero() -> None:
    keras.backend.clear_session()  # takes a third of a second, so once for all kinds


def is_alias(kind: str) -> bool:
    return getattr(sl.layers, kind).__name__ != kind


@pytest.mark.parametrize("kind", [kind for kind in SHARED_LAYERS if kind not in ("Layer", "InputLayer")])
def test_counted_names(kind: str, keras_counts_from_zero: None) -> None:
    if is_alias(kind):
        assert getattr(keras.layers, kind) is getattr(keras.layers, getattr(sl.layers, kind).__name__)
        return
    makers = [getattr(module.layers, kind) for module in (sl, keras)]
    ours, theirs = ([maker(*LAYER_ARGUMENTS.get(kind, ())) for _ in range(3)] for maker in makers)
    value = sl.Input((8, 8, 3))
    outputs = [layer([value, value] if kind in ("Add", "Concatenate") else value) for layer in ours]
    model = sl.Model(value, outputs)
    assert [layer.name for layer in model.layers][1:] == [layer.name for layer in theirs]


@pytest.mark.parametrize("kind", ["Sequential", "Model"])
def test_names_of_inputs_and_models(kind: str) -> None:
    def names(module: Any) -> list[str]:
        value = module.Input((4,))
        layer = module.layers.Dense(2)
        model = module.Sequential([value, layer]) if kind == "Sequential" else module.Model(value, layer(value))
        return [re.sub(r"_\d+$", "", part.name) for part in (model, *model.layers)]

    assert names(sl) == names(keras)


@pytest.mark.parametrize("module", ["optimizers", "losses", "metrics"])
def test_short_names(module: str) -> None:
    """Every name that `compile` takes means the same class in Keras."""
    ours = getattr(getattr(sl, module), module.upper())
    for name, kind in ours.items():
        if name in ("accuracy", "acc"):  # resolved by shape, see test_accuracy_of_classes
            continue
        theirs = getattr(keras, module).get(name)
        theirs_name = getattr(theirs, "__name__", type(theirs).__name__)
        assert theirs_name.lower().replace("_", "") == kind.__name__.lower()
