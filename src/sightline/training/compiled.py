"""What `compile` said: an optimizer, a loss and metrics; and the same as a model file holds it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from typing import Any

from .. import losses, metrics, optimizers
from ..configurable import Configurable, as_plain, from_plain


class Compiled:
    """Instances made from names, classes, instances or functions."""

    def __init__(self, optimizer: Any, loss: Any, metric: Any = ()):
        metric = () if metric is None else metric
        several = [metric] if isinstance(metric, str) or not isinstance(metric, Iterable) else list(metric)
        self.optimizer = optimizers.get(optimizer)
        self.loss = None if loss is None else losses.get(loss)
        self.metrics = [metrics.get(m) for m in several]
        _make_names_distinct(self.metrics)

    def fresh_metrics(self) -> list[metrics.Metric]:
        """Metrics of the same kinds that have seen nothing."""
        twins = copy.deepcopy(self.metrics)
        for metric in twins:
            metric.reset_state()
        return twins

    def describe(self) -> dict[str, Any] | None:
        """As JSON; None where it holds a function or class that a file cannot name."""
        parts = [self.optimizer, *([self.loss] if self.loss else []), *self.metrics]
        if any(_KINDS.get(type(part).__name__) is not type(part) for part in parts):
            return None
        return as_plain({"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics})

    @staticmethod
    def arguments(description: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `describe`, as arguments of `compile`. Raises KeyError or TypeError where it is not that."""
        return {name: from_plain(description[name], _KINDS) for name in ("optimizer", "loss", "metrics")}


def _make_names_distinct(several: list[metrics.Metric]) -> None:
    """Number the metrics of one name as Keras does: accuracy, accuracy_1, ..."""
    taken: set[str] = set()
    for metric in several:
        numbered = (metric.name if n == 0 else f"{metric.name}_{n}" for n in itertools.count())
        metric.name = next(name for name in numbered if name not in taken)
        taken.add(metric.name)


_KINDS: dict[str, type[Configurable]] = {
    kind.__name__: kind for known in (optimizers.OPTIMIZERS, losses.LOSSES, metrics.METRICS) for kind in known.values()
}
