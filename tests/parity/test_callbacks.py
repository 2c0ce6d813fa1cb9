"""Callbacks against Keras."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import (
    examples,
    keras,
)


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
