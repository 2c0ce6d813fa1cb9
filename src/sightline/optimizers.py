"""Optimizers by Keras's names, defaults and arithmetic, on torch's fused kernels where the two agree.

An optimizer is made without parameters (`Adam(1e-3)`) and bound to a network's when it is compiled or first fitted.
`learning_rate` may be set at any time.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .configurable import Configurable, from_name
from .errors import ArgumentError, SightlineError


class Optimizer(Configurable, abc.ABC):
    """The base: holds the rate, makes torch's optimizer when bound, and puts Keras's arithmetic into each step."""

    learning_rate: float
    _parameters: list[nn.Parameter] | None = None
    _torch: torch.optim.Optimizer | None = None

    def bind(self, parameters: Iterable[nn.Parameter]) -> None:
        """Take over these parameters; state begins anew. Frozen ones are left out."""
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._torch = self._make(self._parameters) if self._parameters else None

    @abc.abstractmethod
    def _make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's optimizer for these parameters."""

    def is_bound_to(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether just these parameters, less the frozen ones, are what `step` updates."""
        if self._parameters is None:
            return False
        return [id(p) for p in parameters if p.requires_grad] == [id(p) for p in self._parameters]

    def step(self) -> None:
        """Update the parameters from their gradients."""
        if self._parameters is None:
            raise SightlineError(
                "The optimizer has no parameters yet", fix="Call bind(model.parameters()) or model.compile"
            )
        if self._torch is None:
            return
        self._prepare(self._torch)
        self._torch.step()

    def zero_grad(self) -> None:
        if self._torch is not None:
            self._torch.zero_grad(set_to_none=True)

    def _prepare(self, torch_optimizer: torch.optim.Optimizer) -> None:
        for group in torch_optimizer.param_groups:
            group["lr"] = self.learning_rate

    def state_dict(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "torch": self._torch.state_dict() if self._torch else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learning_rate = state["learning_rate"]
        if self._torch is not None and state["torch"] is not None:
            self._torch.load_state_dict(state["torch"])

    def _check(self, **ranges: tuple[float, float]) -> None:
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is out of range", expected=f"{low} to {high}", received=repr(value)
                )


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), the form of its section 2: epsilon stands outside the bias correction, as in Keras."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self._check(learning_rate=(0, math.inf), beta_1=(0, 1), beta_2=(0, 1), epsilon=(0, math.inf))
        self._steps = 0

    def _make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        self._steps = 0
        betas = (self.beta_1, self.beta_2)
        return torch.optim.Adam(parameters, self.learning_rate, betas, self.epsilon, fused=True)

    def _prepare(self, torch_optimizer: torch.optim.Optimizer) -> None:
        # torch adds epsilon to sqrt(v / (1 - beta_2^t)), Keras to sqrt(v): the same with epsilon / sqrt(1 - beta_2^t)
        super()._prepare(torch_optimizer)
        self._steps += 1
        for group in torch_optimizer.param_groups:
            group["eps"] = self.epsilon / math.sqrt(1 - self.beta_2**self._steps)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._steps = state["steps"]


class SGD(Optimizer):
    """Gradient descent with momentum; the rate stands inside the velocity: v = momentum * v - rate * g."""

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, **unknown: Any):
        self._refuse(unknown)
        self.learning_rate, self.momentum, self.nesterov = learning_rate, momentum, nesterov
        self._check(learning_rate=(0, math.inf), momentum=(0, 1))

    def _make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        if not self.momentum:
            return torch.optim.SGD(parameters, self.learning_rate, fused=True)
        return _Momentum(parameters, self.learning_rate, self.momentum, self.nesterov)


class _Momentum(torch.optim.Optimizer):
    """Keras's momentum on torch's multi-tensor kernels; torch's own keeps v / -rate, which a changed rate makes another."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, nesterov: bool):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters, gradients = _with_gradients(group)
            velocities = _state(self, parameters, "velocity")
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            if group["nesterov"]:
                torch._foreach_add_(parameters, velocities, alpha=group["momentum"])
                torch._foreach_add_(parameters, gradients, alpha=-group["lr"])
            else:
                torch._foreach_add_(parameters, velocities)


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012); epsilon stands inside the root, as in Keras."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.learning_rate, self.rho, self.momentum = learning_rate, rho, momentum
        self.epsilon, self.centered = epsilon, centered
        self._check(learning_rate=(0, math.inf), rho=(0, 1), momentum=(0, 1), epsilon=(0, math.inf))

    def _make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return _RMSprop(parameters, self.learning_rate, self.rho, self.momentum, self.epsilon, self.centered)


class _RMSprop(torch.optim.Optimizer):
    """Keras's RMSprop on torch's multi-tensor kernels; torch's own has epsilon outside the root."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, rho: float, momentum: float, eps: float, centered: bool
    ):
        super().__init__(parameters, {"lr": lr, "rho": rho, "momentum": momentum, "eps": eps, "centered": centered})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters, gradients = _with_gradients(group)
            rho = group["rho"]
            squares = _state(self, parameters, "square")
            torch._foreach_mul_(squares, rho)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - rho)
            if group["centered"]:
                means = _state(self, parameters, "mean")
                torch._foreach_lerp_(means, gradients, 1 - rho)
                roots = torch._foreach_add(squares, torch._foreach_mul(means, means), alpha=-1)
            else:
                roots = torch._foreach_add(squares, 0.0)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_sqrt_(roots)
            steps = torch._foreach_div(gradients, roots)
            if group["momentum"] > 0:
                velocities = _state(self, parameters, "velocity")
                torch._foreach_mul_(velocities, group["momentum"])
                torch._foreach_add_(velocities, steps, alpha=group["lr"])
                torch._foreach_sub_(parameters, velocities)
            else:
                torch._foreach_add_(parameters, steps, alpha=-group["lr"])


def _with_gradients(group: dict[str, Any]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    parameters: list[torch.Tensor] = [p for p in group["params"] if p.grad is not None]
    return parameters, [p.grad for p in parameters if p.grad is not None]


def _state(optimizer: torch.optim.Optimizer, parameters: list[torch.Tensor], name: str) -> list[torch.Tensor]:
    """A state tensor for each parameter, zero at first."""
    for parameter in parameters:
        if name not in optimizer.state[parameter]:
            optimizer.state[parameter][name] = torch.zeros_like(parameter)
    return [optimizer.state[parameter][name] for parameter in parameters]


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD, "rmsprop": RMSprop}


def get(optimizer: Any) -> Optimizer:
    """An optimizer from its name, class or instance."""
    given = optimizer.lower() if isinstance(optimizer, str) else optimizer
    return from_name("optimizer", given, OPTIMIZERS, Optimizer)
