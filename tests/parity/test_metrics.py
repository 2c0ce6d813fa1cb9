"""Metrics over several batches against Keras."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import (
    SEEDS,
    examples,
    keras,
    normal,
    one_hot,
    to_torch,
)

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
