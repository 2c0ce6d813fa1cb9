"""Callbacks by Keras's names: what happens around the steps of a training.

`logs` holds the loss and metrics by name, those of the validation with `val_` before. After each batch it is read
from the device only if a callback looks.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .configurable import Configurable
from .console import say
from .errors import ArgumentError, choose, did_you_mean
from .keras_only import missing, own

if TYPE_CHECKING:
    from .models import Model


class Callback(Configurable):
    """The base of callbacks: override what you need. `self.model` is the model in training, `self.params` the call's."""

    model: Model
    params: Mapping[str, Any]

    def set_model(self, model: Model) -> None:
        for name in vars(type(self)):
            if name.startswith(("on_test_", "on_predict_")):
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is not called", fix="Look in on_epoch_end, at the val_ logs"
                )
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None: ...
    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.on_batch_end(batch, logs)


class History(Callback):
    """What `fit` returns: `history` maps each name to its values by epoch, `epoch` numbers them."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


def monitored(logs: Mapping[str, float], monitor: str, who: str) -> float:
    """The monitored value of this epoch; raises ArgumentError with what there is when it is missing."""
    if monitor not in logs:
        hint = " Give fit validation_data for the val_ ones." if monitor.startswith("val_") else ""
        raise ArgumentError(
            f"{who} monitors {monitor!r}, which this training has not", fix=did_you_mean(monitor, logs) + hint
        )
    return logs[monitor]


def is_better(value: float, best: float, monitor: str, mode: str, min_delta: float = 0.0) -> bool:
    """Whether `value` beats `best` by more than `min_delta`; in mode "auto" accuracies grow and all else falls."""
    if mode == "auto":
        mode = "max" if "acc" in monitor or "auc" in monitor else "min"
    return value > best + min_delta if mode == "max" else value < best - min_delta


def worst(monitor: str, mode: str) -> float:
    """What every value beats."""
    return -math.inf if is_better(1.0, 0.0, monitor, mode) else math.inf


class ModelCheckpoint(Callback):
    """Save the model at the end of each epoch, or only when `monitor` is the best so far.

    `filepath` may hold `{epoch:02d}` (from 1) and any name of the logs, as `{val_loss:.2f}`. Its suffix chooses the
    file: .keras and .h5 are Keras's, any other Sightline's. With `save_weights_only` it ends in .weights.h5.
    """

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        initial_value_threshold: float | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.filepath, self.monitor, self.verbose = filepath, monitor, verbose
        self.save_weights_only = save_weights_only
        self.save_best_only, self.mode = save_best_only, choose("mode", mode, ("auto", "min", "max"))
        self.initial_value_threshold = initial_value_threshold
        self.best = worst(monitor, mode) if initial_value_threshold is None else initial_value_threshold

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs = logs or {}
        if self.save_best_only:
            value = monitored(logs, self.monitor, "ModelCheckpoint")
            if not is_better(value, self.best, self.monitor, self.mode):
                return
            self.best = value
        try:
            path = str(self.filepath).format(epoch=epoch + 1, **logs)
        except (KeyError, IndexError, ValueError) as error:
            raise ArgumentError(
                f"ModelCheckpoint: the path {str(self.filepath)!r} cannot be filled in ({error})",
                expected=f"names among epoch, {', '.join(logs)}",
            ) from error
        written = self.model.save_weights(path) if self.save_weights_only else self.model.save(path)
        if self.verbose:
            say(f"Epoch {epoch + 1}: saved {written}")


class ReduceLROnPlateau(Callback):
    """Multiply the learning rate by `factor` when `monitor` has not improved by `min_delta` for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **unknown: Any,
    ):
        self._refuse(unknown)
        if not factor < 1:
            raise ArgumentError("ReduceLROnPlateau: factor must be below 1", received=factor)
        self.monitor, self.factor, self.patience, self.verbose = monitor, factor, patience, verbose
        self.mode, self.min_delta = choose("mode", mode, ("auto", "min", "max")), min_delta
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.best, self.wait, self.cooling = worst(self.monitor, self.mode), 0, 0

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        optimizer = self.model.optimizer
        logs["learning_rate"] = optimizer.learning_rate
        value = monitored(logs, self.monitor, "ReduceLROnPlateau")
        if self.cooling:
            self.cooling, self.wait = self.cooling - 1, 0
        if is_better(value, self.best, self.monitor, self.mode, abs(self.min_delta)):
            self.best, self.wait = value, 0
        elif not self.cooling:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
                self.cooling, self.wait = self.cooldown, 0
                if self.verbose:
                    say(f"Epoch {epoch + 1}: learning rate reduced to {optimizer.learning_rate:g}")


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to `schedule(epoch, rate)` (or `schedule(epoch)`), epochs from 0."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0, **unknown: Any):
        self._refuse(unknown)
        if not callable(schedule):
            raise ArgumentError("LearningRateScheduler takes a function of the epoch", received=repr(schedule))
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self._call(epoch, optimizer.learning_rate)
        is_number = isinstance(rate, (int, float, np.floating)) and not isinstance(rate, bool)
        if not is_number or not rate >= 0 or math.isinf(rate):
            raise ArgumentError(
                "The schedule must return a learning rate", expected="a number >= 0", received=repr(rate)
            )
        optimizer.learning_rate = float(rate)
        if self.verbose:
            say(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:g}")

    def _call(self, epoch: int, rate: float) -> Any:
        parameters = inspect.signature(self.schedule).parameters.values()
        places = sum(2 if p.kind is p.VAR_POSITIONAL else p.kind is not p.KEYWORD_ONLY for p in parameters)
        return self.schedule(epoch, rate) if places > 1 else self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def __getattr__(name: str) -> Any:
    raise missing("callbacks", name, own(globals()))
