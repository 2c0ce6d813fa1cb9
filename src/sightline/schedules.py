"""Learning rates that change while training: Keras's schedules of the step, and functions of the epoch.

A `LearningRateSchedule` is given as an optimizer's `learning_rate` and asked before each update, with the number of
updates so far; or it is given to `callbacks.LearningRateScheduler` and asked before each epoch, with its number from 0.
Any other function of the epoch, such as `cosine` makes, is for LearningRateScheduler alone.
"""

from __future__ import annotations

import abc
import bisect
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from .configurable import Configurable
from .errors import ArgumentError, whole_number

Range = tuple[str, Callable[[float], bool]]  # in words and as a test
AT_LEAST_0: Range = ("a number >= 0", lambda value: value >= 0)
ABOVE_0: Range = ("a number > 0", lambda value: value > 0)
TO_1: Range = ("a number from 0 to 1", lambda value: 0 <= value <= 1)
AT_LEAST_1: Range = ("a number >= 1", lambda value: value >= 1)


def is_number(value: object) -> bool:
    """Whether it is finite and real; True and False are no numbers."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_numbers(owner: Configurable, allowed: Range, *names: str) -> None:
    """Raise ArgumentError unless the attributes of these names are numbers of the range."""
    expected, holds = allowed
    for name in names:
        value = getattr(owner, name)
        if not is_number(value) or not holds(value):
            raise ArgumentError(
                f"{type(owner).__name__}: {name} is out of range", expected=expected, received=repr(value)
            )


class LearningRateSchedule(Configurable, abc.ABC):
    """The base: `schedule(step)` is the rate of the update that follows `step` updates.

    A schedule of one's own keeps its constructor's arguments as attributes of their names and defines `__call__`.
    """

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """The learning rate, >= 0, after `step` updates (0 at first)."""


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ^ (step / decay_steps); `staircase` takes the quotient's whole part."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name
        check_numbers(self, AT_LEAST_0, "initial_learning_rate", "decay_rate")
        check_numbers(self, ABOVE_0, "decay_steps")

    def __call__(self, step: int) -> float:
        periods = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**periods


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); `staircase` takes the quotient's whole part."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name
        check_numbers(self, AT_LEAST_0, "initial_learning_rate", "decay_rate")
        check_numbers(self, ABOVE_0, "decay_steps")

    def __call__(self, step: int) -> float:
        periods = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * periods)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with step boundaries[0], then values[1] up to and with boundaries[1], ..., then the last."""

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant", **unknown: Any
    ):
        self._refuse(unknown)
        self.boundaries, self.values, self.name = list(boundaries), list(values), name
        if len(self.boundaries) != len(self.values) - 1:
            raise ArgumentError(
                "PiecewiseConstantDecay: boundaries stand between values, so there is one less of them",
                expected=f"{max(len(self.values) - 1, 0)} boundaries for {len(self.values)} values",
                received=f"{len(self.boundaries)} boundaries",
            )
        if not all(map(is_number, self.boundaries)) or sorted(set(self.boundaries)) != self.boundaries:
            raise ArgumentError(
                "PiecewiseConstantDecay: boundaries must rise", expected="rising step numbers", received=self.boundaries
            )
        if not all(is_number(value) and value >= 0 for value in self.values):
            raise ArgumentError(
                "PiecewiseConstantDecay: values are learning rates", expected="numbers >= 0", received=self.values
            )

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_left(self.boundaries, step)]


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) * (1 - step / decay_steps) ^ power + end, and `end_learning_rate` from `decay_steps` on.

    With `cycle` the decay never ends: decay_steps stands for its first multiple that is at least `step`.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name
        check_numbers(self, AT_LEAST_0, "initial_learning_rate", "end_learning_rate", "power")
        check_numbers(self, ABOVE_0, "decay_steps")

    def __call__(self, step: int) -> float:
        if self.cycle:
            done = step / (self.decay_steps * max(math.ceil(step / self.decay_steps), 1))
        else:
            done = min(step / self.decay_steps, 1.0)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1 - done) ** self.power + self.end_learning_rate


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate to `alpha` times it in `decay_steps` (Loshchilov & Hutter, 2017, SGDR).

    With `warmup_target` the rate first rises in a line from `initial_learning_rate` to it, in `warmup_steps`, and the
    cosine begins there (Goyal et al., 2017).
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.initial_learning_rate, self.decay_steps, self.alpha, self.name = (
            initial_learning_rate,
            decay_steps,
            alpha,
            name,
        )
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps
        check_numbers(self, AT_LEAST_0, "initial_learning_rate", "alpha", "warmup_steps")
        check_numbers(self, ABOVE_0, "decay_steps")
        if warmup_target is not None:
            check_numbers(self, AT_LEAST_0, "warmup_target")
        elif warmup_steps:
            raise ArgumentError(
                f"CosineDecay: warmup_steps={warmup_steps!r} without a rate to rise to",
                fix="Give warmup_target, the rate after the warm-up",
            )

    def __call__(self, step: int) -> float:
        if self.warmup_target is None:
            return self._decayed(self.initial_learning_rate, step)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return self.initial_learning_rate + rise * step / self.warmup_steps
        return self._decayed(self.warmup_target, step - self.warmup_steps)

    def _decayed(self, rate: float, step: float) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1.0)))
        return rate * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine again and again (Loshchilov & Hutter, 2017, SGDR).

    Each period is `t_mul` times as long as the one before (the first has `first_decay_steps`) and begins at `m_mul`
    times its rate; `alpha` times the initial rate is the floor.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name
        check_numbers(self, AT_LEAST_0, "initial_learning_rate", "m_mul", "alpha")
        check_numbers(self, ABOVE_0, "first_decay_steps")
        check_numbers(self, AT_LEAST_1, "t_mul")  # periods that shrink end at a step after which there is no rate

    def __call__(self, step: int) -> float:
        done = step / self.first_decay_steps
        if self.t_mul == 1:
            restarts = math.floor(done)
            done -= restarts
        else:
            # The periods' lengths are a geometric series. 1e-12: log(243) / log(3) is just below 5
            restarts = math.floor(math.log(1 + done * (self.t_mul - 1)) / math.log(self.t_mul) + 1e-12)
            length = self.t_mul**restarts
            done = (done - (length - 1) / (self.t_mul - 1)) / length
        cosine = 0.5 * self.m_mul**restarts * (1 + math.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


class OneCycle(LearningRateSchedule):
    """Up half a cosine to `max_learning_rate`, then down half a cosine: super-convergence (Smith & Topin, 2018).

    The rise takes `warmup_share` of `total_steps` and begins at `start_factor` times `max_learning_rate`; the last step
    has `end_factor` times the rate of the first, and so have all after it. The defaults are torch's OneCycleLR's.
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: float,
        warmup_share: float = 0.3,
        start_factor: float = 1 / 25,
        end_factor: float = 1e-4,
        name: str = "OneCycle",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.max_learning_rate, self.total_steps, self.warmup_share = max_learning_rate, total_steps, warmup_share
        self.start_factor, self.end_factor, self.name = start_factor, end_factor, name
        check_numbers(self, AT_LEAST_0, "max_learning_rate", "start_factor", "end_factor")
        check_numbers(self, AT_LEAST_1, "total_steps")
        check_numbers(self, TO_1, "warmup_share")

    def __call__(self, step: int) -> float:
        first = self.max_learning_rate * self.start_factor
        peak, last = self.warmup_share * self.total_steps - 1, self.total_steps - 1
        if step <= peak and peak > 0:
            return _along_a_cosine(first, self.max_learning_rate, step / peak)
        done = (step - peak) / (last - peak) if last > peak else 1.0
        return _along_a_cosine(self.max_learning_rate, first * self.end_factor, min(done, 1.0))


def _along_a_cosine(start: float, end: float, done: float) -> float:
    """From `start` to `end` as `done` goes from 0 to 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))


class WarmUp(LearningRateSchedule):
    """A straight rise from `start` to the schedule's first rate in `steps`, then the schedule from its step 0.

    `schedule` is a LearningRateSchedule, or a number for a rate that stays (Goyal et al., 2017).
    """

    def __init__(
        self,
        schedule: float | LearningRateSchedule,
        steps: int,
        start: float = 0.0,
        name: str = "WarmUp",
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.schedule, self.start, self.name = schedule, start, name
        self.steps = whole_number(steps, "WarmUp: steps", least=0)
        if not isinstance(schedule, LearningRateSchedule) and (not is_number(schedule) or schedule < 0):
            raise ArgumentError(
                "WarmUp: schedule is a learning rate or a schedule of it",
                expected="a number >= 0 or a LearningRateSchedule",
                received=repr(schedule),
            )
        check_numbers(self, AT_LEAST_0, "start")

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.start + (self._after(0) - self.start) * step / self.steps
        return self._after(step - self.steps)

    def _after(self, step: int) -> float:
        return self.schedule(step) if isinstance(self.schedule, LearningRateSchedule) else float(self.schedule)


SCHEDULES: dict[str, type[LearningRateSchedule]] = {
    kind.__name__: kind
    for kind in (
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        CosineDecay,
        CosineDecayRestarts,
        OneCycle,
        WarmUp,
    )
}


def cosine(learning_rate: float, epochs: int) -> Callable[[int], float]:
    """From `learning_rate` in epoch 0 along half a cosine towards 0 after the last (Loshchilov & Hutter, 2017, eq. 5).

    >>> [round(cosine(1.0, 4)(epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return lambda epoch: learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
