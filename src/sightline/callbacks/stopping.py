"""Trainings that end before their last epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch

from ..console import duration
from ..errors import SightlineError
from ..schedules import ABOVE_0, check_numbers
from ..training.state import copy_of_weights, put_back
from .base import Callback, Logs, say_once
from .monitoring import Monitoring

LOOK_EVERY = 50  # steps between two looks at the losses: each waits for the device


class EarlyStopping(Monitoring):
    """Stop when `monitor` has not improved by `min_delta` for `patience` epochs.

    With `baseline` only an epoch that beats it, too, begins the wait anew. The first `start_from_epoch` epochs do not
    count. With `restore_best_weights` the model has at the end, however it came, the weights and moving statistics of
    its best epoch; of the first that counted where none was better.
    """

    kept = ("best", "wait", "best_epoch", "stopped_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self._watch(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best: float | None = None
        self.wait, self.best_epoch, self.stopped_epoch = 0, 0, 0
        self.best_weights: dict[str, torch.Tensor] | None = None

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        value = self._monitored(logs or {})
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        better = self._is_better(value, self.best)
        if better:
            self.best, self.best_epoch = value, epoch
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights, self.best_epoch = copy_of_weights(self.model), epoch
        if better and (self.baseline is None or self._is_better(value, self.baseline)):
            self.wait = 0
        elif not better and self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            say_once(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            put_back(self.model, self.best_weights)
            if self.verbose:
                say_once(f"The weights are those of the best epoch, {self.best_epoch + 1}")


class TerminateOnNaN(Callback):
    """Stop when a batch's loss is not finite, and say which was the first; with `raise_error` raise SightlineError.

    The losses stay on the device and are looked at every 50 steps and at each epoch's end, so that no step waits.
    `first_bad_step` is the batch's number, from 1, among all of the training; None while there is none.
    """

    kept = ("steps", "first_bad_step", "unseen", "count")

    def __init__(self, raise_error: bool = False, **unknown: Any):
        self._refuse(unknown)
        self.raise_error = raise_error
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.steps = 0
        self.first_bad_step: int | None = None
        self.unseen: torch.Tensor | None = None  # the losses since the last look: its first `count` elements
        self.count = 0
        self._epoch = self._batch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss: Any = self.training.last_loss
        self.unseen = loss.new_zeros(LOOK_EVERY) if self.unseen is None else self.unseen.to(loss)
        self.unseen[self.count] = loss  # a copy: the loop may use the loss's memory again
        self.steps, self.count, self._batch = self.steps + 1, self.count + 1, batch
        if self.count == LOOK_EVERY:
            self._look()

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        self._look()

    def _look(self) -> None:
        if self.unseen is None or self.first_bad_step is not None:
            self.count = 0
            return
        bad = (~torch.isfinite(self.unseen[: self.count])).nonzero()
        steps_since = self.count - 1 - int(bad[0]) if len(bad) else None
        self.count = 0
        if steps_since is not None:
            self._stop(self._batch + 1 - steps_since, self.steps - steps_since)

    def _stop(self, batch: int, step: int) -> None:
        self.first_bad_step = step
        found = f"Epoch {self._epoch + 1}: the loss of batch {batch} (step {step}) is not finite"
        if self.raise_error:
            raise SightlineError(found, fix="Try a smaller learning rate, clip gradients, or look at that batch's data")
        say_once(f"{found}: training stops")
        self.model.stop_training = True


class TimeBudget(Callback):
    """Stop after the first batch that ends when `seconds` have passed since the training began.

    `elapsed` is the time so far in seconds. The time before a resume counts, the time between does not.
    """

    kept = ("elapsed", "spent")
    spent: bool

    def __init__(self, seconds: float, **unknown: Any):
        self._refuse(unknown)
        self.seconds = seconds
        check_numbers(self, ABOVE_0, "seconds")
        self.on_train_begin()

    @property
    def elapsed(self) -> float:
        return self._before + time.monotonic() - self._began

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self._before, self._began = seconds, time.monotonic()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; a training that this budget ended goes on where it is larger now."""
        super().load_state_dict(state)
        if self.spent and self.elapsed <= self.seconds:
            self.spent = False
            self.model.stop_training = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.elapsed, self._epoch = 0.0, 0
        self.spent = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.spent or self.elapsed <= self.seconds:
            return
        self.spent = True
        self.model.stop_training = True
        say_once(f"Epoch {self._epoch + 1}: {duration(self.seconds)} are over after batch {batch + 1}: training stops")
