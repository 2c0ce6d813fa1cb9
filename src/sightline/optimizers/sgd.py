"""Gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import torch

from ..schedules import TO_1, check_numbers
from .base import LearningRate, Optimizer, Tensors


class SGD(Optimizer):
    """Gradient descent with momentum; the rate stands inside the velocity: v = momentum * v - rate * g."""

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any
    ):
        super().__init__(learning_rate, **common)
        self.momentum, self.nesterov = momentum, nesterov
        check_numbers(self, TO_1, "momentum")

    def _kept(self) -> dict[str, float]:
        return {"velocity": 0.0} if self.momentum else {}

    def _update(self, parameters: Tensors, gradients: Tensors, rate: float) -> None:
        if not self.momentum:
            torch._foreach_add_(parameters, gradients, alpha=-rate)
            return
        velocities = self._slots("velocity", parameters)
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients, alpha=-rate)
        if self.nesterov:
            torch._foreach_add_(parameters, velocities, alpha=self.momentum)
            torch._foreach_add_(parameters, gradients, alpha=-rate)
        else:
            torch._foreach_add_(parameters, velocities)
