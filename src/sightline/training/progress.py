"""How a training is seen: a bar in a terminal, a line for each epoch everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self

from ..callbacks import Callback
from ..console import duration, progress_bar, say

REFRESH = 0.25  # seconds between two looks at the metrics: each waits for the device


class EpochProgress(Callback):
    """A context manager around `fit`, so that the terminal is whole again after an interruption."""

    writes = True

    def __init__(self, epochs: int, steps: int | None, *, bar: bool, tell: Callable[[str], None] = say):
        self._epochs, self._steps, self._bar, self._tell = epochs, steps, bar, tell

    def __enter__(self) -> Self:
        self._progress = progress_bar("Epoch", "batches")
        self._progress.disable = self._progress.disable or not self._bar
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._began = self._looked = time.monotonic()
        self._task = self._progress.add_task(f"{epoch + 1}/{self._epochs}", total=self._steps, note="")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if self._progress.disable or now - self._looked < REFRESH:
            return
        self._looked = now
        self._progress.update(self._task, completed=batch + 1, note=as_text(logs or {}))

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        self._progress.remove_task(self._task)
        took = duration(time.monotonic() - self._began)
        self._tell(f"Epoch {epoch + 1}/{self._epochs}  {took}  {as_text(logs or {})}")


def as_text(logs: Mapping[str, Any]) -> str:
    """The logs in one line; a metric with several values shows them all."""
    return "  ".join(f"{name} {_number(name, value)}" for name, value in logs.items())


def _number(name: str, value: Any) -> str:
    if getattr(value, "ndim", 0):
        return "[" + " ".join(_number(name, v) for v in value) + "]"
    return f"{value:.4g}" if name == "learning_rate" else f"{value:.4f}"
