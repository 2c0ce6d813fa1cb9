"""Losses and their gradients against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sightline as sl
from oracle import (
    TOLERANCE,
    assert_close,
    jax,
    keras,
    normal,
    one_hot,
    to_people,
    to_torch,
)


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
