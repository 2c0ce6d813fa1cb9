"""Several losses of one output as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import ArgumentError
from .classes import Loss


class SumOfLosses(Loss):
    """The weighted sum of losses of the same targets and predictions: pairs (loss, weight), or {loss: weight}.

    Each is reduced as it is on its own. Raises ArgumentError for none, for what is no loss, and for losses that do not reduce.
    """

    def __init__(
        self,
        losses: Mapping[Loss, float] | Sequence[tuple[Loss, float]] = (),
        name: str = "sum_of_losses",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name)
        self.losses = [_checked(pair) for pair in (losses.items() if isinstance(losses, Mapping) else losses)]
        if not self.losses:
            raise ArgumentError(f"{self.name}: which losses?", expected="pairs (loss, weight)", received="none")

    def terms(self) -> list[tuple[Loss, float]]:
        return [(term, weight * share) for loss, weight in self.losses for term, share in loss.terms()]

    def __call__(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> torch.Tensor:
        return torch.stack([weight * loss(y_true, y_pred, sample_weight) for loss, weight in self.terms()]).sum()

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return self(y_true, y_pred)

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        return self.losses[0][0].blank_targets(batch_size, shape)


def _checked(pair: Any) -> tuple[Loss, float]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], Loss):
        raise ArgumentError("A sum of losses is of pairs (loss, weight)", received=repr(pair))
    loss, weight = pair
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise ArgumentError(f"The weight of {loss.name} is a number", received=repr(weight))
    if loss.reduction in (None, "none"):
        raise ArgumentError(f"{loss.name} is not reduced to a number, so it cannot be added", received=loss.reduction)
    return loss, float(weight)
