"""RMSprop."""

from __future__ import annotations

from typing import Any

import torch

from ..schedules import AT_LEAST_0, TO_1, check_numbers
from .base import LearningRate, Optimizer, Tensors


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012); epsilon stands inside the root, as in Keras. `centered` subtracts the squared mean."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        check_numbers(self, TO_1, "rho", "momentum")
        check_numbers(self, AT_LEAST_0, "epsilon")

    def _kept(self) -> dict[str, float]:
        asked = {"square": True, "mean": self.centered, "velocity": bool(self.momentum)}
        return {name: 0.0 for name, kept in asked.items() if kept}

    def _update(self, parameters: Tensors, gradients: Tensors, rate: float) -> None:
        squares = self._slots("square", parameters)
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.rho)
        roots = torch._foreach_add(squares, self.epsilon)
        if self.centered:
            means = self._slots("mean", parameters)
            torch._foreach_lerp_(means, gradients, 1 - self.rho)
            torch._foreach_addcmul_(roots, means, means, -1)
        torch._foreach_sqrt_(roots)
        if not self.momentum:
            torch._foreach_addcdiv_(parameters, gradients, roots, -rate)
            return
        velocities = self._slots("velocity", parameters)
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_addcdiv_(velocities, gradients, roots, rate)
        torch._foreach_sub_(parameters, velocities)
