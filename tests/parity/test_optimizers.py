"""Optimizers step by step against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sightline as sl
from oracle import (
    assert_close,
    jax,
    keras,
    normal,
)

OPTIMIZERS = [
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "epsilon": 1e-3}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
]


def check_optimizer(kind: str, arguments: dict[str, Any], factors: list[float], scale: float = 1.0) -> None:
    """The weights after each step with given gradients; `factors` are of the learning rate, one for each step."""
    rng = np.random.default_rng(0)
    starts = [0.1 * normal(rng, *shape) for shape in ((4, 3), (5,), (2, 3, 3, 2))]
    ours, theirs = getattr(sl.optimizers, kind)(**arguments), getattr(keras.optimizers, kind)(**arguments)
    assert ours.learning_rate == pytest.approx(float(theirs.learning_rate.value))
    rate = ours.learning_rate
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    variables = [keras.Variable(start) for start in starts]
    ours.bind(parameters)
    theirs.build(variables)
    for step, factor in enumerate(factors):
        ours.learning_rate = rate * factor
        theirs.learning_rate = rate * factor
        gradients = [scale * normal(rng, *start.shape) for start in starts]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        ours.step()
        theirs.apply([jax.numpy.asarray(gradient) for gradient in gradients], variables)
        for parameter, variable, start in zip(parameters, variables, starts, strict=True):
            expected = np.asarray(variable.value)
            assert_close(parameter, expected, f"weights after step {step + 1}", least=0)
            # The way itself is short against the weights, whose float32 rounding it carries
            moved = parameter.detach().numpy() - start
            assert_close(moved, expected - start, f"way after step {step + 1}", tolerance=2e-4, least=1e-3)


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS, ids=str)
def test_optimizer(kind: str, arguments: dict[str, Any]) -> None:
    check_optimizer(kind, arguments, [1.0] * 5 + [0.1] * 5)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_optimizer_where_epsilon_weighs(kind: str, scale: float) -> None:
    check_optimizer(kind, {}, [1.0] * 10, scale)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_survives_a_learning_rate_of_zero(nesterov: bool) -> None:
    """The velocity holds the old rate: weights coast at rate 0, and go on from there."""
    check_optimizer("SGD", {"momentum": 0.9, "nesterov": nesterov}, [0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0])
