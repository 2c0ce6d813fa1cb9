"""What `compile` said: an optimizer, and a loss and metrics for each output; and the same as a model file holds it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import losses, metrics, optimizers
from ..configurable import Configurable, as_plain, from_plain
from ..errors import ArgumentError, SightlineError
from ..metrics import Metric
from . import numerics
from .ports import arranged


@dataclass
class Goal:
    """What one output is trained for and measured by."""

    output: str
    loss: losses.Loss | None
    weight: float = 1.0
    metrics: list[Metric] = field(default_factory=list)
    weighted_metrics: list[Metric] = field(default_factory=list)


class Compiled:
    """The parts as a person gave them, each made an instance: one, a list, or a dict by the names of outputs."""

    def __init__(
        self, optimizer: Any, loss: Any, metric: Any = None, *, loss_weights: Any = None, weighted_metrics: Any = None,
        precision: str = numerics.AUTO,
    ):  # fmt: skip
        self.optimizer = optimizers.get(optimizer)
        self.loss = _each(losses.get, loss)
        self.loss_weights = loss_weights
        self.metrics = _each(metrics.get, metric)
        self.weighted_metrics = _each(metrics.get, weighted_metrics)
        self.precision = numerics.checked(precision)
        self.choice: numerics.Choice | None = None

    def decided(self, choice: numerics.Choice) -> None:
        """In later trainings the precision is what the first one's trials have chosen."""
        self.precision, self.choice = choice.precision, choice

    def goals(self, outputs: Sequence[str], *, fresh: bool = False) -> list[Goal]:
        """A goal for each output. `fresh` metrics are of the same kinds and have seen nothing.

        Raises ArgumentError where the parts do not fit the outputs.
        """
        given = self.loss
        each = (given,) * len(outputs) if isinstance(given, losses.Loss) else _arranged(given, outputs, "losses")
        for loss in each:
            if loss is not None and loss.reduction in (None, "none"):
                raise ArgumentError(
                    f"The loss {loss.name} is not reduced to one number, which training needs",
                    fix='Leave reduction at "sum_over_batch_size"',
                )
        weights = self._weights(outputs)
        goals = []
        for i, output in enumerate(outputs):
            goal = Goal(output, each[i], weights[i])
            goal.metrics = _of_output(self.metrics, outputs, i, "metrics")
            goal.weighted_metrics = _of_output(self.weighted_metrics, outputs, i, "weighted_metrics")
            if fresh:
                goal.metrics, goal.weighted_metrics = copy.deepcopy((goal.metrics, goal.weighted_metrics))
                for metric in (*goal.metrics, *goal.weighted_metrics):
                    metric.reset_state()
            goals.append(goal)
        return goals

    def _weights(self, outputs: Sequence[str]) -> list[float]:
        given = self.loss_weights
        given = [given] if isinstance(given, (int, float)) else given
        weights = [1.0 if weight is None else weight for weight in _arranged(given, outputs, "loss_weights")]
        weights = [weight[0] if isinstance(weight, list) and len(weight) == 1 else weight for weight in weights]
        if any(isinstance(weight, bool) or not isinstance(weight, (int, float)) for weight in weights):
            raise ArgumentError("loss_weights are numbers, one for each output", received=repr(self.loss_weights))
        return [float(weight) for weight in weights]

    def parts(self) -> dict[str, Any]:
        """The instances as arguments of `compile`."""
        return {name: getattr(self, name) for name in PARTS}

    def describe(self) -> dict[str, Any] | None:
        """As JSON; None where it holds a function or class that a file cannot name."""
        parts = self.parts()
        try:
            plain = as_plain(parts)
            for name in PARTS:
                from_plain(plain[name], KINDS[name])
        except SightlineError:
            return None
        return plain if _all_known(parts) else None

    @staticmethod
    def arguments(description: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `describe`, as arguments of `compile`. Raises KeyError or TypeError where it is not that."""
        return {name: from_plain(description.get(name), KINDS[name]) for name in PARTS}


PARTS = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")


def _by_class(kinds: Mapping[str, type[Any]]) -> dict[str, type[Configurable]]:
    return {kind.__name__: kind for kind in kinds.values()}


KINDS: dict[str, dict[str, type[Configurable]]] = {
    "optimizer": _by_class(optimizers.OPTIMIZERS) | _by_class(optimizers.schedules.SCHEDULES),
    "loss": _by_class(losses.LOSSES),
    "loss_weights": {},
    "metrics": _by_class(metrics.METRICS),
    "weighted_metrics": _by_class(metrics.METRICS),
}


def _all_known(parts: Mapping[str, Any]) -> bool:
    """Whether each object's very class is known: a person's own class may have a known one's name."""

    def known(value: Any, kinds: Mapping[str, type]) -> bool:
        if isinstance(value, Configurable):
            return kinds.get(type(value).__name__) is type(value) and known(value.get_config(), kinds)
        items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return all(known(item, kinds) for item in items)

    return all(known(value, KINDS[name]) for name, value in parts.items())


def _each(get: Any, given: Any) -> Any:
    """Instances in the structure that was given; None stays."""
    if isinstance(given, (list, tuple)):
        return [_each(get, item) for item in given]
    if isinstance(given, dict):
        return {name: _each(get, item) for name, item in given.items()}
    return None if given is None else get(given)


def _arranged(given: Any, outputs: Sequence[str], what: str) -> tuple[Any, ...]:
    return (None,) * len(outputs) if given is None else arranged(given, outputs, what, optional=True)


def _of_output(given: Any, outputs: Sequence[str], index: int, what: str) -> list[Metric]:
    """The metrics of one output: all that were given where there is one; else its own, from a list or dict of lists."""
    if len(outputs) == 1:
        mine = given[outputs[0]] if isinstance(given, dict) and outputs[0] in given else given
        if isinstance(mine, dict):
            raise ArgumentError(f"{what} name an output that there is not", received=list(mine), expected=outputs[0])
    else:
        if given is not None and not isinstance(given, (list, dict)):
            raise ArgumentError(f"{what} are a list or a dict with an entry for each output", expected=outputs)
        mine = _arranged(given, outputs, what)[index]
    return list(_flat(mine))


def _flat(given: Any) -> Any:
    if isinstance(given, list):
        for item in given:
            yield from _flat(item)
    elif given is not None:
        yield given
