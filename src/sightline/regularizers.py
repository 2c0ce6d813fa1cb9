"""Penalties on weights by Keras's names; each layer's are added to the loss in training and in evaluation."""

from __future__ import annotations

import abc
from typing import Any

import torch

from .configurable import Configurable, from_name
from .errors import ArgumentError
from .keras_only import missing, own


class Regularizer(Configurable, abc.ABC):
    """The base: `regularizer(weight)` is a penalty, a tensor with one value."""

    @abc.abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The penalty of a weight."""


class L1L2(Regularizer):
    """l1 * sum(abs(w)) + l2 * sum(w^2)."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **unknown: Any):
        self._refuse(unknown)
        # None is 0 in Keras
        self.l1, self.l2 = self._factor("l1", l1 or 0.0), self._factor("l2", l2 or 0.0)

    def _factor(self, name: str, value: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ArgumentError(f"{type(self).__name__}: {name} is a number of at least 0", received=repr(value))
        return value

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        penalty = x.new_zeros(())
        if self.l1:
            penalty = penalty + self.l1 * x.abs().sum()
        if self.l2:
            penalty = penalty + self.l2 * x.square().sum()
        return penalty


class L1(L1L2):
    """l1 * sum(abs(w))."""

    def __init__(self, l1: float = 0.01, **unknown: Any):
        self._refuse(unknown)
        super().__init__(l1=0.01 if l1 is None else l1)


class L2(L1L2):
    """l2 * sum(w^2)."""

    def __init__(self, l2: float = 0.01, **unknown: Any):
        self._refuse(unknown)
        super().__init__(l2=0.01 if l2 is None else l2)


l1, l2, l1_l2 = L1, L2, L1L2  # Keras's older names

KINDS: tuple[type[Regularizer], ...] = (L1, L1L2, L2)
REGULARIZERS: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2} | {k.__name__: k for k in KINDS}


def get(regularizer: Any) -> Regularizer | None:
    """A regularizer from its name, class or instance; None stays None."""
    return None if regularizer is None else from_name("regularizer", regularizer, REGULARIZERS, Regularizer)


def __getattr__(name: str) -> Any:
    raise missing("regularizers", name, own(globals()))
