"""Whole trainings against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sightline as sl
from oracle import (
    assert_close,
    copy_weights,
    keras,
    one_hot,
)

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
    copy_weights(ours, theirs)
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
