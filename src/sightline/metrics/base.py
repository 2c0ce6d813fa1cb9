"""What a metric is, and the means that most of them are. Sums stay on the device; only `result` reads them."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..configurable import Configurable, argument_names
from ..graph.build import snake_case
from ..layout import channel_axis
from ..losses.reduction import at_least_float32, weights_of
from ..losses.targets import aligned


class Metric(Configurable, abc.ABC):
    """A running measure: `update_state` for each batch, `result` when it is asked for, `reset_state` between epochs."""

    name: str

    def __init__(self, name: str | None = None, **unknown: Any):
        self._refuse(unknown)
        self.name = name or snake_case(type(self).__name__)

    def __call__(self, *batch: Any, **weights: Any) -> float | np.ndarray:
        """Take in one batch and give the measure so far, as Keras does."""
        self.update_state(*batch, **weights)
        return self.result()

    @abc.abstractmethod
    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take in one batch: (y_true, y_pred, sample_weight=None)."""

    @abc.abstractmethod
    def result(self) -> float | np.ndarray:
        """The measure over all batches since the last reset."""

    @abc.abstractmethod
    def reset_state(self) -> None:
        """Forget all batches."""

    def state_dict(self) -> dict[str, Any]:
        """What the batches so far have left: every attribute that is not a constructor's argument."""
        given = argument_names(type(self))
        return {name: _state_of(value) for name, value in vars(self).items() if name not in given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in state.items():
            if hasattr(part := vars(self).get(name), "load_state_dict"):
                part.load_state_dict(value)  # type: ignore[union-attr]
            else:
                setattr(self, name, value)


def largest_class(scores: torch.Tensor) -> torch.Tensor:
    """The number of the largest score on the channel axis, of equals the first. Not argmax, which on a CPU takes 2 to 15 times as long."""
    return scores.max(channel_axis(scores.ndim)).indices


def _state_of(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


class _Averaged(Metric):
    """A metric that is a mean over samples. Of a sample's several values their (weighted) mean is one value."""

    def __init__(self, name: str | None = None):
        super().__init__(name)
        self.reset_state()

    def reset_state(self) -> None:
        self._total: torch.Tensor | float = 0.0
        self._count: torch.Tensor | float = 0.0

    def add(self, values: torch.Tensor, sample_weight: Any = None) -> None:
        """Add values (samples first, or one for all) that count `sample_weight` times, which is by default once."""
        values = values.detach().double()
        if sample_weight is None:
            self._count += values.shape[0] if values.ndim else 1
        else:
            weights = weights_of(values, sample_weight).expand_as(values)
            values = values * weights
            self._count = self._count + _of_samples(weights).sum()
        self._total = self._total + _of_samples(values).sum()

    def result(self) -> float:
        """The mean; 0 when nothing was added, as Keras says."""
        count = float(self._count)
        return float(self._total) / count if count else 0.0


def _of_samples(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


class Mean(_Averaged):
    """The (weighted) mean of values."""

    def __init__(self, name: str = "mean", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self.add(torch.as_tensor(values), sample_weight)


class SampleMean(_Averaged):
    """A metric that is the mean over samples of `values(y_true, y_pred)`."""

    @abc.abstractmethod
    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        """A value for each sample of a batch."""

    def update_state(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> None:
        self.add(self.values(y_true, at_least_float32(y_pred)), sample_weight)


class FunctionMetric(SampleMean):
    """A person's own function of (y_true, y_pred) that returns a value for each sample, or one."""

    def __init__(self, function: Callable[..., torch.Tensor], name: str | None = None, **unknown: Any):
        self._refuse(unknown)
        super().__init__(name or str(getattr(function, "__name__", "metric")))
        self.function = function

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.function(*aligned(y_true, y_pred)))
