"""Losses against Keras: values, gradients, weights and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sightline as sl
from oracle import (
    OUR_OWN,
    TOLERANCE,
    assert_close,
    jax,
    keras,
    normal,
    one_hot,
    to_people,
    to_torch,
)
from sightline.configurable import as_plain, from_plain

REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]
SHAPES = [(7, 5), (2, 3, 4, 5)]  # few, because the oracle compiles for each
LOSSES = {name: kind for name, kind in sl.losses.LOSSES.items() if kind.__name__ not in OUR_OWN}
CLASSES = [kind.__name__ for kind in dict.fromkeys(LOSSES.values())]
# Every kind with each of its arguments at another value than the default
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "BinaryCrossentropy": [{}, {"from_logits": True}, {"label_smoothing": 0.2}],
    "BinaryFocalCrossentropy": [
        {},
        {"from_logits": True, "gamma": 0.5},
        {"apply_class_balancing": True, "alpha": 0.4, "label_smoothing": 0.2},
    ],
    "CategoricalCrossentropy": [{}, {"from_logits": True}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}],
    "CategoricalFocalCrossentropy": [
        {},
        {"from_logits": True, "gamma": 0.5},
        {"alpha": 0.4, "label_smoothing": 0.2, "gamma": 0.0},
    ],
    "Huber": [{}, {"delta": 0.3}],
    "MeanAbsoluteError": [{}],
    "MeanSquaredError": [{}],
    "SparseCategoricalCrossentropy": [{}, {"from_logits": True}, {"ignore_class": 1}],
}
CASES = [(kind, arguments) for kind, several in ARGUMENTS.items() for arguments in several]


def both(kind: str, **arguments: Any) -> list[Any]:
    return [getattr(module.losses, kind)(**arguments) for module in (sl, keras)]


def batch(kind: str, arguments: dict[str, Any], shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions: logits, probabilities, or positive scores that both sides make sum to one."""
    rng = np.random.default_rng(seed)
    scores = 3 * normal(rng, *shape)
    if "Error" in kind or kind == "Huber":
        return normal(rng, *shape), scores
    if not arguments.get("from_logits"):
        scores = 1 / (1 + np.exp(-scores)) if "Binary" in kind else np.exp(scores)
    if "Binary" in kind:
        return rng.integers(0, 2, shape), scores
    numbers = rng.integers(0, shape[-1], shape[:-1])
    return (numbers if "Sparse" in kind else one_hot(numbers, shape[-1])), scores


def check_loss(
    ours: Any,
    theirs: Any,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    weights: Any = None,
    their_weights: Any = None,
) -> None:
    """The value and its gradient. Both are called with `y_true` as a person writes it."""
    leaf = to_torch(y_pred).requires_grad_()
    inner = to_torch(weights) if isinstance(weights, np.ndarray) else weights
    value = ours(to_torch(y_true), leaf, sample_weight=inner)
    direction = np.random.default_rng(1).normal(size=tuple(value.shape)).astype(np.float32)
    (value * torch.from_numpy(direction)).sum().backward()

    def projected(p: Any) -> Any:
        loss = theirs(y_true, p, sample_weight=weights if their_weights is None else their_weights)
        return (loss * direction).sum(), loss

    (_, expected), gradient = jax.value_and_grad(projected, has_aux=True)(jax.numpy.asarray(y_pred))
    assert_close(value, expected, "value", least=1e-3)
    assert_close(to_people(leaf.grad), gradient, "gradient", least=1e-3)


def test_every_loss_is_tried() -> None:
    assert sorted(CLASSES) == sorted(ARGUMENTS)


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_values_and_gradients(kind: str, arguments: dict[str, Any]) -> None:
    check_loss(*both(kind, **arguments), *batch(kind, arguments, SHAPES[0]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", ARGUMENTS)  # of vectors and of maps
def test_weights_and_reductions(kind: str, reduction: str | None) -> None:
    losses = both(kind, **ARGUMENTS[kind][-1], reduction=reduction)
    rng = np.random.default_rng(2)
    for shape in ((7, 5), (2, 3, 4, 5)):
        y_true, y_pred = batch(kind, ARGUMENTS[kind][-1], shape)
        check_loss(*losses, y_true, y_pred)
        check_loss(*losses, y_true, y_pred, rng.random(shape[:-1], np.float32))
    if kind in ("MeanSquaredError", "SparseCategoricalCrossentropy"):  # without and with a mask
        check_loss(*losses, y_true, y_pred, 0.7)
        check_loss(*losses, y_true, y_pred, rng.integers(0, 2, (2, 3, 4)))
        check_loss(*losses, y_true, y_pred, rng.random((2, 3, 4, 1), np.float32))
        check_loss(*losses, y_true, y_pred, rng.random((2, 1, 1), np.float32))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_that_are_all_zero_and_nothing_left_by_the_mask(reduction: str | None) -> None:
    y_true, y_pred = batch("SparseCategoricalCrossentropy", {}, (7, 5))
    losses = both("SparseCategoricalCrossentropy", reduction=reduction, ignore_class=3)
    check_loss(*losses, y_true, y_pred, np.zeros(7, np.float32))
    check_loss(*losses, np.full(7, 3), y_pred)
    check_loss(*losses, np.full(7, 3), y_pred, np.ones(7, np.float32))


@pytest.mark.parametrize("ignore_class", [255, -1, 0])
def test_classes_that_are_ignored(ignore_class: int) -> None:
    y_true, y_pred = batch("SparseCategoricalCrossentropy", {}, (2, 3, 4, 5))
    y_true[0, 1:] = ignore_class
    check_loss(*both("SparseCategoricalCrossentropy", ignore_class=ignore_class), y_true, y_pred)
    check_loss(*both("SparseCategoricalCrossentropy", ignore_class=ignore_class), y_true[..., None], y_pred)


def test_a_weight_a_sample_counts_for_all_its_places() -> None:
    """Keras takes the shape (N, 1, 1) for that; (N) is its error, or by chance of shapes a weight for each column."""
    y_true, y_pred = batch("CategoricalCrossentropy", {}, (2, 3, 4, 5))
    weights = np.array([0.5, 2.0], np.float32)
    for w, theirs in ((weights, weights[:, None, None]), (np.outer(weights, np.arange(3.0)).astype(np.float32),) * 2):
        check_loss(*both("CategoricalCrossentropy"), y_true, y_pred, w, theirs.reshape(2, -1, 1))


@pytest.mark.parametrize("kind", ["MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossentropy"])
@pytest.mark.parametrize(
    ("target", "answer"), [((7, 1), (7, 1)), ((7,), (7, 1)), ((7, 1), (7,)), ((2, 3, 4), (2, 3, 4, 1))]
)
def test_trailing_axes_of_one(kind: str, target: tuple[int, ...], answer: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, target), rng.random(answer, np.float32)
    check_loss(*both(kind, reduction=None), y_true, y_pred)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("from_logits", [False, True])
def test_class_numbers_with_an_axis(shape: tuple[int, ...], from_logits: bool) -> None:
    arguments = {"from_logits": from_logits}
    y_true, y_pred = batch("SparseCategoricalCrossentropy", arguments, shape)
    check_loss(*both("SparseCategoricalCrossentropy", **arguments), y_true[..., None], y_pred)


def test_soft_and_whole_number_targets() -> None:
    rng = np.random.default_rng(0)
    soft, whole = rng.dirichlet(np.ones(5), 7).astype(np.float32), np.eye(5, dtype=np.int64)[[0, 1, 2, 3, 4, 0, 1]]
    for y_true in (soft, whole):
        check_loss(*both("CategoricalCrossentropy"), y_true, np.exp(normal(rng, *y_true.shape)))
        check_loss(*both("BinaryCrossentropy"), y_true, rng.random((7, 5), np.float32))


def test_certainty_is_clipped() -> None:
    certain = np.eye(3, dtype=np.float32)
    for wrong in (0, 1):
        numbers = (np.arange(3) + wrong) % 3
        for kind in CLASSES:
            if "Crossentropy" in kind:
                y_true = numbers if "Sparse" in kind else certain[numbers]
                ours, theirs = both(kind)
                value = float(ours(torch.from_numpy(y_true), torch.from_numpy(certain)))
                # float32 has few digits left of 1 - 1e-7, hence the absolute part
                assert value == pytest.approx(float(theirs(y_true, certain)), rel=TOLERANCE, abs=1e-7)


@pytest.mark.parametrize("kind", ["CategoricalCrossentropy", "SparseCategoricalCrossentropy", "BinaryCrossentropy"])
def test_of_logits_is_the_same_without_clipping(kind: str) -> None:
    arguments = {"ignore_class": 1} if "Sparse" in kind else {"label_smoothing": 0.1}
    ours, theirs = both(kind, **arguments, reduction="sum")
    twin = ours.of_logits()
    expected = as_plain(ours)
    expected["config"]["from_logits"] = True
    assert as_plain(twin) == expected
    assert twin.of_logits() is None
    y_true, logits = batch(kind, {"from_logits": True}, (7, 5))
    undo = {"softmax": torch.softmax, "sigmoid": lambda x, _: torch.sigmoid(x)}[ours.takes]
    value = twin(to_torch(y_true), to_torch(logits))
    probabilities = undo(to_torch(logits), -1)
    assert float(value) == pytest.approx(float(theirs(y_true, probabilities.numpy())), rel=TOLERANCE)
    far = to_torch(100 * logits).requires_grad_()  # where probabilities are clipped and have no gradient
    twin(to_torch(y_true), far).backward()
    assert (far.grad.abs().sum(-1) > 0.5).any()


def test_a_subclass_and_a_focal_loss_keep_their_probabilities() -> None:
    class Own(sl.losses.BinaryCrossentropy):
        pass

    for loss in (
        Own(),
        sl.losses.BinaryFocalCrossentropy(),
        sl.losses.CategoricalFocalCrossentropy(),
        sl.losses.Huber(),
    ):
        assert loss.of_logits() is None
    takes = [
        getattr(sl.losses, kind)().takes for kind in ("BinaryFocalCrossentropy", "CategoricalCrossentropy", "Huber")
    ]
    assert takes == ["sigmoid", "softmax", None]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_own_functions_and_classes_take_weights(reduction: str | None) -> None:
    class Ours(sl.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return (y_true - y_pred).abs().amax(-1)

    class Theirs(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return keras.ops.max(keras.ops.abs(y_true - y_pred), axis=-1)

    rng = np.random.default_rng(0)
    y_true, y_pred, weights = rng.integers(0, 3, (7, 5)), normal(rng, 7, 5), rng.random(7, np.float32)
    check_loss(Ours(reduction=reduction), Theirs(reduction=reduction), y_true, y_pred, weights)
    if reduction == "sum_over_batch_size":

        def square(y_true: Any, y_pred: Any) -> Any:
            return (y_true - y_pred) ** 2

        theirs = keras.src.losses.LossFunctionWrapper(square)
        check_loss(sl.losses.get(square), theirs, y_true, y_pred, rng.random((7, 1), np.float32))
        check_loss(sl.losses.get(square), theirs, y_true, y_pred, weights, weights[:, None])
        maps = normal(rng, 2, 3, 4, 5), normal(rng, 2, 3, 4, 5), rng.random((2, 3, 4), np.float32)
        check_loss(sl.losses.get(square), theirs, *maps, maps[2][..., None])
        check_loss(sl.losses.get(square), theirs, y_true[:, :1], y_pred[:, 0])
        assert sl.losses.get(square).name == "square"


def test_own_losses_see_floats_and_half_precision_is_summed_in_full() -> None:
    seen = []
    loss = sl.losses.get(lambda y_true, y_pred: seen.append((y_true.dtype, y_pred.dtype)) or y_pred)
    loss(torch.ones(2, 1, dtype=torch.uint8), torch.ones(2, 1, dtype=torch.bfloat16))
    assert seen == [(torch.float32, torch.float32)]
    assert sl.losses.MeanSquaredError()(torch.ones(2, 1), torch.ones(2, 1).double()).dtype == torch.float64


@pytest.mark.parametrize("kind", CLASSES)
def test_names_defaults_and_files(kind: str) -> None:
    ours, theirs = both(kind)
    config = {name: value for name, value in theirs.get_config().items() if name != "axis"}
    assert ours.get_config() == config | ({"delta": 1.0} if kind == "Huber" else {})  # which Keras forgets
    changed = {name: value for several in ARGUMENTS[kind] for name, value in several.items()}
    written = as_plain(getattr(sl.losses, kind)(**changed, reduction=None, name="mine"))
    assert as_plain(from_plain(written, {kind: getattr(sl.losses, kind)})) == written


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_names_mean_the_same_in_keras(name: str) -> None:
    y_true, y_pred = batch(sl.losses.LOSSES[name].__name__, {}, (7, 5))
    theirs = keras.losses.get(name)
    expected = theirs(y_true, y_pred).mean()
    assert float(sl.losses.get(name)(to_torch(y_true), to_torch(y_pred))) == pytest.approx(
        float(expected), rel=TOLERANCE
    )


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("argument", ["dtype", "axis"])
def test_what_is_not_supported_is_refused_by_name(kind: str, argument: str) -> None:
    with pytest.raises(sl.errors.ArgumentError, match=f"{kind} does not support the argument '{argument}'.*reduction"):
        getattr(sl.losses, kind)(**{argument: -1})


def test_mistakes_get_a_sentence() -> None:
    five = torch.full((4, 5), 0.2)
    with pytest.raises(sl.errors.ArgumentError, match=r"Unknown reduction 'average'"):
        sl.losses.Huber(reduction="average")
    with pytest.raises(sl.errors.ArgumentError, match='Did you mean "binary_crossentropy"'):
        sl.losses.get("binary_crossentropi")
    with pytest.raises(sl.errors.ShapeError, match="sparse_categorical_crossentropy"):
        sl.losses.CategoricalCrossentropy()(torch.zeros(4), five)
    with pytest.raises(sl.errors.ArgumentError, match=r"whole numbers 0 \.\. 4.*Received: 0 \.\. 9"):
        sl.losses.SparseCategoricalCrossentropy(ignore_class=7)(torch.tensor([0, 7, 9, 1]), five)
    with pytest.raises(sl.errors.ShapeError, match=r"mean_squared_error.*\(4, 5\).*\(4, 3\)"):
        sl.losses.MeanSquaredError()(torch.zeros(4, 3), five)
    with pytest.raises(sl.errors.ShapeError, match=r"one weight for each sample, or weights of shape \(4,\).*\(3,\)"):
        sl.losses.MeanSquaredError()(five, five, sample_weight=torch.ones(3))
    with pytest.raises(sl.errors.ShapeError, match="returns one for each sample"):
        sl.losses.get(lambda t, p: (t - p).mean())(five, five, sample_weight=torch.ones(4))
