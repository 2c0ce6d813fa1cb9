"""What callbacks that watch one name of the logs have in common: its value, and which of two values is better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ..errors import ArgumentError, choose, did_you_mean
from .base import Callback

FALLING = re.compile("loss|error|entropy|mse|mae|mape|msle|hinge|poisson|divergence|cosh|bce")
RISING = re.compile(
    "acc|auc|precision|recall|io_?u|f1|f_?beta|r2|correlation|similarity|sensitivity|specificity|dice|"
    r"(^|_)m?ap($|[_\d@])"
)


def rises(monitor: str, mode: str, who: str) -> bool:
    """Whether the greater value is the better one; in mode "auto" the name says so.

    Raises ArgumentError for a name that does not.
    """
    choose("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode == "max"
    if not FALLING.search(monitor.lower()) and not RISING.search(monitor.lower()):
        raise ArgumentError(
            f"{who} cannot tell whether {monitor!r} is to grow or to fall", fix='Give mode="max" or mode="min"'
        )
    return not FALLING.search(monitor.lower())


class Monitoring(Callback):
    """The base of callbacks that watch `monitor`; a change of less than `min_delta` makes no value better."""

    def _watch(self, monitor: str, mode: str, min_delta: float = 0.0, *, now: bool = True) -> None:
        """Keep the arguments. Raises ArgumentError where they give no direction; later, when it is needed, without `now`."""
        self.monitor, self.mode, self.min_delta = monitor, choose("mode", mode, ("auto", "min", "max")), min_delta
        if now:
            rises(monitor, mode, type(self).__name__)

    def _monitored(self, logs: Mapping[str, float]) -> float | None:
        """The value of this epoch; None where it is of a validation that comes in other epochs.

        Raises ArgumentError, with what there is, when this training has no such value.
        """
        who = type(self).__name__
        if self.monitor not in logs:
            of_validation = self.monitor.startswith("val_")
            if of_validation and self.params.get("validates") and not any(name.startswith("val_") for name in logs):
                return None
            hint = " Give fit validation_data for the val_ ones." if of_validation else ""
            raise ArgumentError(
                f"{who} monitors {self.monitor!r}, which this training has not",
                fix=did_you_mean(self.monitor, logs) + hint,
            )
        value = logs[self.monitor]
        if getattr(value, "ndim", 0):
            raise ArgumentError(f"{who} monitors one number, and {self.monitor!r} has several", received=repr(value))
        return float(value)

    def _is_better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats `best` by more than `min_delta`. Every number beats None; NaN beats nothing."""
        if best is None:
            return not math.isnan(value)
        if rises(self.monitor, self.mode, type(self).__name__):
            return value > best + abs(self.min_delta)
        return value < best - abs(self.min_delta)
