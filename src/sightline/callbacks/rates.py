"""Learning rates that change between epochs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from .base import Callback, Logs, say_once
from .monitoring import Monitoring


class ReduceLROnPlateau(Monitoring):
    """Multiply the learning rate by `factor` when `monitor` has not improved by `min_delta` for `patience` epochs."""

    kept = ("best", "wait", "cooling")

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
        self._watch(monitor, mode, min_delta)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best: float | None = None
        self.wait, self.cooling = 0, 0

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.model.optimizer.learning_rate
        value = self._monitored(logs)
        if value is None:
            return
        if self.cooling:
            self.cooling, self.wait = self.cooling - 1, 0
        if self._is_better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooling:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        if optimizer.learning_rate <= self.min_lr:
            return
        optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        self.cooling, self.wait = self.cooldown, 0
        if self.verbose:
            say_once(f"Epoch {epoch + 1}: learning rate reduced to {optimizer.learning_rate:g}")


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to `schedule(epoch, rate)` (or `schedule(epoch)`), epochs from 0.

    A LearningRateSchedule is such a function too, and its steps are epochs here: `CosineDecay(1e-3, decay_steps=10)`
    falls over ten epochs, where in `Adam(CosineDecay(1e-3, decay_steps=10))` it would over ten updates.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0, **unknown: Any):
        self._refuse(unknown)
        if not callable(schedule):
            raise ArgumentError("LearningRateScheduler takes a function of the epoch", received=repr(schedule))
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self._call(epoch, optimizer.learning_rate)
        is_number = isinstance(rate, (int, float, np.floating)) and not isinstance(rate, bool)
        if not is_number or not rate >= 0 or math.isinf(rate):
            raise ArgumentError(
                "The schedule must return a learning rate", expected="a number >= 0", received=repr(rate)
            )
        optimizer.learning_rate = float(rate)
        if self.verbose:
            say_once(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:g}")

    def _call(self, epoch: int, rate: float) -> Any:
        parameters = inspect.signature(self.schedule).parameters.values()
        places = sum(2 if p.kind is p.VAR_POSITIONAL else p.kind is not p.KEYWORD_ONLY for p in parameters)
        return self.schedule(epoch, rate) if places > 1 else self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate
