"""In which numbers a training computes: float32, or 16 bits where that is faster and says the same.

Weights, their gradients, losses, metrics and the optimizer stay in float32; in a 16-bit precision the arithmetic of
convolutions and dense layers runs in it (torch's autocast). `measuring` finds out which is faster on the first batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import choose
from .state import unchanged

if TYPE_CHECKING:
    from ..optimizers import Optimizer
    from .batches import Batch
    from .step import Step
    from .training import Take

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO = "auto"
VARIABLE = "SIGHTLINE_PRECISION"  # what "auto" means, where a person wants the same numbers on every machine

TIMED, MOST_TIMED = (
    3,
    9,
)  # steps of each precision that are timed: a median of at least so many, of more where they are short
TIMED_SECONDS = 0.5
WORTH_MEASURING = 100  # steps: a shorter training would not earn back what measuring takes
AGREEMENT = 0.05  # by which share of it a loss may differ; bfloat16 has 8 significant bits, so about 0.4 % an operation


def checked(precision: str) -> str:
    """A known precision, or "auto"; raises ArgumentError with the nearest otherwise. "auto" is $SIGHTLINE_PRECISION's word."""
    chosen = choose("precision", precision, (AUTO, *PRECISIONS))
    return (
        choose(f"precision in ${VARIABLE}", os.environ.get(VARIABLE, AUTO), (AUTO, *PRECISIONS))
        if chosen == AUTO
        else chosen
    )


class Numerics:
    """The precision of a step's arithmetic, and for float16 the factor that keeps small gradients from vanishing."""

    def __init__(self, precision: str = "float32"):
        self.precision = precision
        self._scale, self._good = 2.0**16, 0  # Micikevicius et al., 2018, section 3.2

    @property
    def known(self) -> str:
        """The precision, or float32, which takes the most memory, where it is to be found out."""
        return "float32" if self.precision == AUTO else self.precision

    def forward(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Around a network's forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(_device(network).type, PRECISIONS[self.precision])

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradients to those that the weights have."""
        (loss * self._scale if self.precision == "float16" else loss).backward()

    def update(self, network: nn.Module, optimizer: Optimizer) -> None:
        """Update the weights by their gradients."""
        if self.precision != "float16":
            optimizer.step()
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, 1 / self._scale)
        if all(torch.isfinite(norm) for norm in torch._foreach_norm(gradients)):
            optimizer.step()
            self._good += 1
            if self._good % 2000 == 0:
                self._scale *= 2
        else:  # too large for 16 bits: this update is left out
            self._scale, self._good = max(self._scale / 2, 1.0), 0

    def state_dict(self) -> dict[str, Any]:
        return {"precision": self.precision, "scale": self._scale, "good": self._good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.precision, self._scale, self._good = state["precision"], state["scale"], state["good"]


@dataclass(frozen=True)
class Trial:
    """A precision on the first batch: seconds of a step (the median), and the losses of the first ones."""

    precision: str
    seconds: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """What was taken, and the trials that say why."""

    precision: str
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        tried = ", ".join(f"{t.precision} {1000 * t.seconds:.3g} ms" for t in self.trials)
        differs = [t.precision for t in self.trials if not agree(t.losses, self.trials[0].losses)]
        why = f"; {' and '.join(differs)} did not give the same losses" if differs else ""
        return f"Precision {self.precision}" + (f" (a step took {tried}{why})" if tried else "")


def sixteen_bits(device: torch.device) -> str | None:
    """The 16-bit precision that a device computes in by itself, or None: emulated ones are many times slower."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device.type == "cpu":
        abilities = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
        return "bfloat16" if any(able is not None and able() for able in abilities) else None
    return None


@contextmanager
def repeatable() -> Iterator[None]:
    """Inside, cuDNN computes the same bits each time; its other kernels add up in any order, and are hardly faster."""
    cudnn = torch.backends.cudnn
    before, cudnn.deterministic = cudnn.deterministic, True
    try:
        yield
    finally:
        cudnn.deterministic = before


@contextmanager
def in_full_float32() -> Iterator[None]:
    """Inside, a GPU's convolutions keep all 24 bits of float32, where by default torch lets them drop 13 (TF32).

    What a network answers is then what it answers on a CPU.
    """
    cudnn: Any = torch.backends.cudnn
    kinds = cudnn.conv, cudnn.rnn  # which torch wants alike
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, its in zip(kinds, before, strict=True):
            kind.fp32_precision = its


def measuring(step: Step, network: nn.Module, decided: Callable[[Choice], None]) -> Take:
    """`step.train`, which in "auto" tries the device's precisions on its first batch and stays with the fastest that agrees.

    The trials start from one state and leave no trace: weights, optimizer and random numbers are as before.
    """

    def take(batch: Batch) -> torch.Tensor:
        if step.numerics.precision == AUTO:
            other = sixteen_bits(_device(network))
            other = other if step.ranks is None else step.ranks.same(other)
            choice = fastest(step, network, batch, ("float32", other) if other else ("float32",))
            step.numerics = Numerics(choice.precision)
            decided(choice)
        return step.train(batch)

    return take


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def fastest(step: Step, network: nn.Module, batch: Batch, precisions: tuple[str, ...]) -> Choice:
    """Time a few steps on `batch` in each precision; the first is what the others must agree with. One needs no timing."""
    if len(precisions) == 1:
        return Choice(precisions[0], ())
    trials: list[Trial] = []
    for precision in precisions:
        with unchanged(network, step.optimizer):
            trials.append(_try(step, batch, precision))
    step.reset()
    usable = [trial for trial in trials if agree(trial.losses, trials[0].losses)] or trials[:1]
    choice = Choice(min(usable, key=lambda trial: trial.seconds).precision, tuple(trials))
    return choice if step.ranks is None else step.ranks.same(choice)


def _try(step: Step, batch: Batch, precision: str) -> Trial:
    before, step.numerics = step.numerics, Numerics(precision)
    try:
        losses = [step.train(batch)]  # kernels are chosen and memory is taken in the first
        seconds: list[float] = []
        # Several processes must make as many steps each
        while len(seconds) < TIMED or (
            step.ranks is None and sum(seconds) < TIMED_SECONDS and len(seconds) < MOST_TIMED
        ):
            _wait(losses[-1])
            began = time.perf_counter()
            losses.append(step.train(batch))
            _wait(losses[-1])
            seconds.append(time.perf_counter() - began)
    finally:
        step.numerics = before
    return Trial(precision, sorted(seconds)[len(seconds) // 2], tuple(float(loss) for loss in losses[: 1 + TIMED]))


def _wait(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def agree(losses: tuple[float, ...], expected: tuple[float, ...]) -> bool:
    """Whether each loss is within AGREEMENT of what was expected, or both are not finite."""
    return all(
        abs(one - other) <= AGREEMENT * max(abs(other), 1e-3) or (one != one and other != other)
        for one, other in zip(losses, expected, strict=False)
    )
