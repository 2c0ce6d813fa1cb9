"""Normalization."""

from __future__ import annotations

from typing import Self, Unpack

import torch
from torch import nn

from ..errors import ArgumentError
from ..layout import Shape, channels_of
from .base import Common, Layer
from .initializers import Initializer


class BatchNormalization(Layer):
    """Normalise each channel over the batch (Ioffe & Szegedy, 2015), then scale by `weight` and shift by `bias`.

    In training the batch's own mean and biased variance are used, and the moving ones follow:
    moving = moving * momentum + batch * (1 - momentum). Keras's defaults, and Keras's biased moving variance (torch
    keeps the unbiased one). Takes (H, W, C) or (features).
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initializer = "zeros",
        gamma_initializer: Initializer = "ones",
        moving_mean_initializer: Initializer = "zeros",
        moving_variance_initializer: Initializer = "ones",
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = beta_initializer
        self.gamma_initializer = gamma_initializer
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.running_mean: torch.Tensor
        self.running_var: torch.Tensor

    def build(self, *shapes: Shape) -> None:
        rank = len(shapes[0]) + 1
        if self.axis not in (-1, rank - 1):
            raise ArgumentError("BatchNormalization normalises the last axis (channels)", received=f"axis={self.axis}")
        channels = (channels_of(shapes[0]),)
        self.weight = self.weight_of(channels, self.gamma_initializer) if self.scale else None
        self.bias = self.weight_of(channels, self.beta_initializer) if self.center else None
        self.register_buffer("running_mean", self.weight_of(channels, self.moving_mean_initializer).data)
        self.register_buffer("running_var", self.weight_of(channels, self.moving_variance_initializer).data)

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and self.trainable)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return torch.batch_norm(
                x, self.weight, self.bias, self.running_mean, self.running_var, False, 0.0, self.epsilon, True
            )
        # With momentum 1 torch's own kernel hands back the batch's statistics: no second pass over x.
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = torch.batch_norm(x, self.weight, self.bias, mean, variance, True, 1.0, self.epsilon, True)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            biased = variance * ((count - 1) / count) if count > 1 else torch.zeros_like(variance)
            self.running_mean.lerp_(mean, 1 - self.momentum)
            self.running_var.lerp_(biased, 1 - self.momentum)
        return y
