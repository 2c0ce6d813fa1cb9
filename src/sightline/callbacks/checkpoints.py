"""Models kept while they train."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from ..console import say
from ..errors import ArgumentError, whole_number
from .base import Logs
from .monitoring import Monitoring


class ModelCheckpoint(Monitoring):
    """Save the model after each epoch, or after each `save_freq` batches; with `save_best_only` only the best so far.

    `filepath` may hold `{epoch:02d}` (from 1), with a number as `save_freq` also `{batch}` (from 1), and any name of
    the logs, as `{val_loss:.2f}`: with such names every one is kept, without only the last. Its suffix chooses the
    file: .keras and .h5 are Keras's, any other Sightline's. With `save_weights_only` it ends in .weights.h5.
    The batches of `save_freq` are counted on from epoch to epoch; the logs of a batch have no val_ names.
    """

    writes = True
    kept = ("best", "batches")

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self._watch(monitor, mode, now=save_best_only)
        self.filepath, self.verbose = filepath, verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        if save_freq != "epoch":
            save_freq = whole_number(save_freq, 'ModelCheckpoint: save_freq is "epoch" or a number of batches, which')
        self.save_freq, self.initial_value_threshold = save_freq, initial_value_threshold
        self.best = initial_value_threshold
        self.batches = 0  # since the last save
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not isinstance(self.save_freq, int):
            return
        self.batches += 1
        if self.batches >= self.save_freq:
            self.batches = 0
            self._save(logs or {}, {"epoch": self._epoch + 1, "batch": batch + 1})

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs or {}, {"epoch": epoch + 1})

    def _save(self, logs: Mapping[str, float], numbers: Mapping[str, int]) -> None:
        if self.save_best_only:
            value = self._monitored(logs)
            if value is None or not self._is_better(value, self.best):
                return
            self.best = value
        path = self._path({**numbers, **logs})
        written = self.model.save_weights(path) if self.save_weights_only else self.model.save(path)
        if self.verbose:
            say(f"Epoch {numbers['epoch']}: saved {written}")

    def _path(self, names: Mapping[str, float]) -> str:
        try:
            return str(self.filepath).format(**names)
        except (KeyError, IndexError, ValueError) as error:
            raise ArgumentError(
                f"ModelCheckpoint: the path {str(self.filepath)!r} cannot be filled in ({error})",
                expected=f"names among {', '.join(names)}",
            ) from error
