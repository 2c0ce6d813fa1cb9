"""Adagrad."""

from __future__ import annotations

from typing import Any

import torch

from ..schedules import AT_LEAST_0, check_numbers
from .base import LearningRate, Optimizer, Tensors


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011): p -= rate * g / sqrt(accumulator + epsilon), the accumulator summing g^2."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon
        check_numbers(self, AT_LEAST_0, "initial_accumulator_value", "epsilon")

    def _kept(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value}

    def _update(self, parameters: Tensors, gradients: Tensors, rate: float) -> None:
        accumulators = self._slots("accumulator", parameters, self.initial_accumulator_value)
        torch._foreach_addcmul_(accumulators, gradients, gradients)
        roots = torch._foreach_add(accumulators, self.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, -rate)
