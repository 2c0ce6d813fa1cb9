"""The optimizer of a run, and its learning rate step by step, each from one word."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..optimizers import SGD, Adam, Optimizer, RMSprop
from ..schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
    WarmUp,
)

Rate = float | LearningRateSchedule

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "rmsprop": RMSprop,
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
}
SCHEDULES: dict[str, Callable[[float, int], Rate]] = {
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: CosineDecay(rate, steps),
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, 0.01),  # a hundredth at the end
    "linear": lambda rate, steps: PolynomialDecay(rate, steps, end_learning_rate=0.0),
    "one-cycle": lambda rate, steps: OneCycle(rate, steps),
    "plateau": lambda rate, steps: rate,  # lowered by ReduceLROnPlateau
    "step": lambda rate, steps: PiecewiseConstantDecay([steps / 2, steps * 3 / 4], [rate, rate / 10, rate / 100]),
}


def learning_rate(schedule: str, rate: float, steps: int, warmup: int) -> Rate:
    """`rate` along a schedule of `steps` updates, of which the first `warmup` rise to it in a line.

    "step" divides the rate by 10 after half and after three quarters, as He et al. (2016, section 4.2) do about there.
    """
    if not warmup:
        return SCHEDULES[schedule](rate, steps)
    return WarmUp(SCHEDULES[schedule](rate, max(steps - warmup, 1)), warmup)
