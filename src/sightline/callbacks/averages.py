"""Averaged weights where a model is measured and kept."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from .base import Callback, Logs


class SwapEMAWeights(Callback):
    """Validate the averages of the weights that an optimizer with `use_ema=True` keeps, and train on the weights.

    With `swap_on_epoch` the callbacks behind this one in the list see the averages at the end of each epoch too, so
    that ModelCheckpoint saves them. While they are in the model, the optimizer holds the weights in their place.
    Raises SightlineError, at the first swap, where the optimizer keeps no averages.
    """

    def __init__(self, swap_on_epoch: bool = False, **unknown: Any):
        self._refuse(unknown)
        self.swap_on_epoch = swap_on_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._show(averages=False)  # where a training was interrupted in its validation

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._show(averages=True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._show(averages=False)

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        if self.swap_on_epoch:
            self._show(averages=True)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._show(averages=False)

    def _show(self, *, averages: bool) -> None:
        if self.model.optimizer.swapped != averages:
            self.model.optimizer.swap_averages()
