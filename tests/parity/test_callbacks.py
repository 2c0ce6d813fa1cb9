"""Callbacks against Keras."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import (
    examples,
    keras,
)
from sightline.callbacks.monitoring import rises
from sightline.errors import ArgumentError


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


# --- stopping early ----------------------------------------------------------------------------------------------


class Weighted:
    """A model of one number, which Keras's and our callbacks take and give back each in its way."""

    def __init__(self) -> None:
        self.stop_training, self.number = False, torch.zeros(1)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"number": self.number}

    def get_weights(self) -> list[np.ndarray]:
        return [self.number.numpy().copy()]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.number.copy_(torch.from_numpy(weights[0]))


def how_it_ended(callback: Any, monitor: str, values: list[float]) -> tuple[Any, ...]:
    """After which epoch it stopped, of which epoch the weights are, and what the callback says of itself."""
    model = Weighted()
    callback.set_model(model)
    callback.on_train_begin()
    epoch = 0
    for epoch, value in enumerate(values):
        model.number.fill_(epoch)
        callback.on_epoch_end(epoch, {monitor: value})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch, model.stop_training, float(model.number), callback.stopped_epoch, callback.wait, callback.best


@examples(150)
@given(
    values=MONITORED,
    arguments=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "patience": st.integers(0, 3),
            "min_delta": st.sampled_from([0, 0.125, 0.25, -0.25]),
            "baseline": st.sampled_from([None, None, 0.25, -0.5]),
            "restore_best_weights": st.booleans(),
            "start_from_epoch": st.integers(0, 3),
        }
    ),
)
def test_early_stopping(values: list[float], arguments: dict[str, Any]) -> None:
    ours, theirs = (module.callbacks.EarlyStopping(**arguments) for module in (sl, keras))
    for again in (values, values[::-1]):  # each training begins anew
        assert how_it_ended(ours, "val_loss", again) == how_it_ended(theirs, "val_loss", again)


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
@pytest.mark.parametrize("start", [[], [1.0]])
def test_early_stopping_of_what_is_not_finite(start: list[float], value: float) -> None:
    values = [*start, value, value, 0.5, 0.5]
    ours, theirs = (module.callbacks.EarlyStopping(patience=2, mode="min") for module in (sl, keras))
    assert how_it_ended(ours, "val_loss", values) == how_it_ended(theirs, "val_loss", values)


# --- which way is better -----------------------------------------------------------------------------------------

METRICS = sorted(
    name for name, kind in vars(keras.metrics).items() if isinstance(kind, type) and name in sl.metrics.METRICS
)
ARGUMENTS = {"IoU": (2, [0]), "MeanIoU": (2,), "BinaryIoU": (), "OneHotIoU": (2, [0]), "OneHotMeanIoU": (2,)}


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_of_a_metric_by_its_name(name: str) -> None:
    """What Keras's metric says of itself; where it says nothing, mode has to be given on both sides."""
    theirs = getattr(keras.metrics, name)(*ARGUMENTS.get(name, ()))
    direction = getattr(theirs, "_direction", None)
    for monitor in (theirs.name, f"val_{theirs.name}"):
        if direction is None:
            with pytest.raises(ArgumentError, match=f"cannot tell whether '{monitor}' is to grow.*mode"):
                rises(monitor, "auto", "EarlyStopping")
        else:
            assert rises(monitor, "auto", "EarlyStopping") == (direction == "up")


@pytest.mark.parametrize(
    ("monitor", "up"),
    [
        *((name, False) for name in ("loss", "val_head_loss", "mape", "dice_loss")),
        *((name, True) for name in ("acc", "val_auc_1", "val_map50", "val_f1_score", "val_map_50_95", "weighted_acc")),
    ],
)
def test_the_direction_of_other_names(monitor: str, up: bool) -> None:
    assert rises(monitor, "auto", "EarlyStopping") == up
    assert rises(monitor, "max", "EarlyStopping")
    assert not rises(monitor, "min", "EarlyStopping")


# --- logs --------------------------------------------------------------------------------------------------------

EPOCHS: list[dict[str, Any]] = [
    {"loss": 0.5, "accuracy": 1, "val_loss": np.float32(0.1)},
    {"loss": float("nan"), "accuracy": 0.25},
    {"loss": 1e-30, "accuracy": np.array([0.5, 1.0]), "val_loss": "bad;,\n"},
]


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_csv_logger_writes_keras_s_bytes(tmp_path: Path, separator: str, append: bool, order: list[int]) -> None:
    """Two trainings into one file; where the first epoch has no validation its columns stand there all the same."""

    def written(module: Any) -> bytes:
        path = tmp_path / f"{module.__name__}.csv"
        logger = module.callbacks.CSVLogger(path, separator=separator, append=append)
        for _ in range(2):
            logger.on_train_begin()
            for epoch, number in enumerate(order):
                logger.on_epoch_end(epoch, dict(EPOCHS[number]))
            logger.on_train_end()
        return path.read_bytes()

    assert written(sl) == written(keras)


# --- averaged weights --------------------------------------------------------------------------------------------


def seen_weights(module: Any, optimizer: Any, weights: list[Any], step: Any, **arguments: Any) -> list[np.ndarray]:
    """What a callback behind SwapEMAWeights sees at each event of three epochs of two steps, and what is there at the end."""

    def now() -> None:
        for weight in weights:
            seen.append(np.array(weight.detach() if isinstance(weight, torch.Tensor) else weight.value))

    seen: list[np.ndarray] = []
    callback = module.callbacks.SwapEMAWeights(**arguments)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.set_params({"epochs": 3})
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        now()
        for number in range(2):
            step(2 * epoch + number)
        callback.on_test_begin()
        now()
        callback.on_test_end()
        now()
        callback.on_epoch_end(epoch)
        now()
    optimizer.finalize() if module is sl else optimizer.finalize_variable_values(weights)
    callback.on_train_end()
    now()
    return seen


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("frequency", [None, 4])
def test_swap_ema_weights(swap_on_epoch: bool, frequency: int | None) -> None:
    gradients = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    arguments = {"momentum": 0.5, "use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": frequency}
    ours, theirs = (module.optimizers.SGD(0.1, **arguments) for module in (sl, keras))
    parameter, variable = torch.nn.Parameter(torch.ones(4)), keras.Variable(np.ones(4, np.float32))
    ours.bind([parameter])
    theirs.build([variable])

    def step(number: int) -> None:
        parameter.grad = torch.from_numpy(gradients[number].copy())
        ours.step()

    actual = seen_weights(sl, ours, [parameter], step, swap_on_epoch=swap_on_epoch)
    expected = seen_weights(
        keras, theirs, [variable], lambda number: theirs.apply([gradients[number]], [variable]),
        swap_on_epoch=swap_on_epoch,
    )  # fmt: skip
    assert len(actual) == 13
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=f"look {number}")
    # The averages are seen in the validation, and at the epoch's end when asked for; elsewhere the weights
    assert not np.array_equal(actual[1], actual[2])
    assert np.array_equal(actual[3], actual[1] if swap_on_epoch else actual[2])


@pytest.mark.parametrize("swap", [None, False, True])
def test_a_fit_with_averaged_weights(swap: bool | None) -> None:
    """What the validation measured, and the weights at the end: the averages."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)).astype(np.float32), rng.normal(size=(24, 2)).astype(np.float32)
    start = [rng.normal(size=(3, 2)).astype(np.float32), np.zeros(2, np.float32)]
    ended = []
    for module in (sl, keras):
        model = module.Sequential([module.Input((3,)), module.layers.Dense(2)])
        model.set_weights(start)
        model.compile(module.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.8), "mse")
        given = [] if swap is None else [module.callbacks.SwapEMAWeights(swap_on_epoch=swap)]
        fit = {"epochs": 3, "batch_size": 8, "shuffle": False, "verbose": 0, "callbacks": given}
        history = model.fit(x[:16], y[:16], validation_data=(x[16:], y[16:]), **fit).history
        ended.append((history["loss"] + history["val_loss"], model.get_weights()))
    (ours, weights), (theirs, expected) = ended
    assert ours == pytest.approx(theirs, rel=1e-5)
    for actual, weight in zip(weights, expected, strict=True):
        np.testing.assert_allclose(actual, weight, rtol=1e-5, atol=1e-6)


# --- the learning rate -------------------------------------------------------------------------------------------


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
