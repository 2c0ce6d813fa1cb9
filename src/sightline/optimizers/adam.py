"""Adam, and with weight decay on its own."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..schedules import AT_LEAST_0, check_numbers
from .base import BELOW_1, LearningRate, Optimizer, Tensors


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), the form of its section 2: epsilon stands outside the bias correction, as in Keras.

    `amsgrad` divides by the greatest second moment so far (Reddi et al., 2018).
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        check_numbers(self, BELOW_1, "beta_1", "beta_2")
        check_numbers(self, AT_LEAST_0, "epsilon")

    def _kept(self) -> dict[str, float]:
        return {"momentum": 0.0, "velocity": 0.0} | ({"velocity_hat": 0.0} if self.amsgrad else {})

    def _update(self, parameters: Tensors, gradients: Tensors, rate: float) -> None:
        step = self.iterations + 1
        torch._fused_adam_(
            parameters,
            gradients,
            self._slots("momentum", parameters),
            self._slots("velocity", parameters),
            self._slots("velocity_hat", parameters) if self.amsgrad else [],
            [torch.full((), float(step), device=parameters[0].device)] * len(parameters),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=0.0,
            # torch adds epsilon to sqrt(v / (1 - beta_2^t)), Keras to sqrt(v): the same with epsilon divided so too
            eps=self.epsilon / math.sqrt(1 - self.beta_2**step),
            amsgrad=self.amsgrad,
            maximize=False,
        )


class AdamW(Adam):
    """Adam with weight decay on its own (Loshchilov & Hutter, 2019)."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common)
        check_numbers(self, AT_LEAST_0, "weight_decay")  # None is Adam's
