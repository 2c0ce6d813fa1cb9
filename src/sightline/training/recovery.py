"""What happens when memory runs out in a step: it begins again with the batch in more parts, and nothing is lost or done twice.

The gradients of the parts add up to the batch's, so the training is the same one; only BatchNormalization averages over each
part instead of the batch, and moves its moving statistics once for each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import SightlineError
from ..graph.network import Network
from .batches import Batch
from .faults import Faults
from .parts import rows
from .ranks import PeerOutOfMemory
from .step import Step
from .training import Take

# What torch says on a CPU, where it raises no kind of its own
ON_CPU = ("not enough memory", "can't allocate memory", "cannot allocate memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left on a device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in ON_CPU)


def recovering(take: Take, step: Step, network: Network, tell: Callable[[str], None]) -> Take:
    """`take`, which begins again with the batch in twice as many parts where memory runs out.

    Raises SightlineError where it runs out for one sample, or in the middle of an update.
    """
    optimizer = step.optimizer
    assert optimizer is not None
    faults, before = Faults(), _Before(step, network)
    ready = False

    def attempt(batch: Batch) -> torch.Tensor | None:
        """The batch's loss; None where there was no memory for it, and all is as it was."""
        noted = False
        try:
            before.note()
            noted = True
            with faults.around(optimizer.iterations):
                return take(batch)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if step.updating:
                raise SightlineError(
                    f"Memory ran out in the middle of the update of step {optimizer.iterations + 1}, which cannot be undone",
                    fix="Resume from the last checkpoint with smaller batches, or in smaller numbers (precision)",
                ) from error
            _tell_others(step, error)
            if noted:
                before.put_back()
        # Only now, when the error and with it the frames of the step have gone, is their memory free
        return None

    def persistently(batch: Batch) -> torch.Tensor:
        nonlocal ready
        if not ready:
            optimizer.make_state()
            ready = True
        while (loss := attempt(batch)) is None:
            _free()
            _split(step, batch, network, tell)
        return loss

    return persistently


def _split(step: Step, batch: Batch, network: Network, tell: Callable[[str], None]) -> None:
    """Let the step compute batches in twice as many parts."""
    assert step.optimizer is not None
    if step.parts >= step.most_rows(batch):
        raise _for_one_sample(f"step {step.optimizer.iterations + 1}")
    step.parts = min(2 * step.parts, step.most_rows(batch))
    averaging = sum("BatchNorm" in type(part).__name__ and part.training for part in network.modules())
    of_parts = f"; its {averaging} layers of BatchNormalization now average over each part" if averaging else ""
    tell(
        f"Memory ran out in step {step.optimizer.iterations + 1}, which begins again: batches go through the network in "
        f"{step.parts} parts from now on, whose gradients add up to the same{of_parts}"
    )


def _tell_others(step: Step, error: Exception) -> None:
    """Let the other ranks hear that memory ran out here, unless it is they who said so."""
    if step.ranks is not None and not isinstance(error, PeerOutOfMemory):
        step.ranks.failed()


def _free() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class _Before:
    """What a step changes before its update: buffers, random numbers, and what is counted."""

    def __init__(self, step: Step, network: nn.Module):
        self._step, self._modules = step, list(network.modules())

    def note(self) -> None:
        self._kept = [
            (module, name, buffer, buffer.clone())
            for module in self._modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._drawn, self._counted = self._step.draws.now(), self._step.counted()
        self._others = np.random.get_state(), random.getstate()

    def put_back(self) -> None:
        assert self._step.optimizer is not None
        self._step.optimizer.zero_grad()
        with torch.no_grad():
            for module, name, buffer, kept in self._kept:
                module._buffers[name] = buffer.copy_(kept)
        np.random.set_state(self._others[0])
        random.setstate(self._others[1])
        self._step.draws.put_back(self._drawn)
        self._step.count_on_from(self._counted)


def evaluating(step: Step) -> Take:
    """`step.evaluate`, which where memory runs out computes batches in more parts from then on."""

    def attempt(batch: Batch) -> torch.Tensor | None:
        counted = step.counted()
        try:
            return step.evaluate(batch)
        except Exception as error:
            if not out_of_memory(error):
                raise
            _tell_others(step, error)
            if step.parts >= step.most_rows(batch):
                raise _for_one_sample("the evaluation") from error
            step.count_on_from(counted)
        return None

    def persistently(batch: Batch) -> torch.Tensor:
        while (loss := attempt(batch)) is None:
            _free()
            step.parts = min(2 * step.parts, step.most_rows(batch))
        return loss

    return persistently


class Bites:
    """Batches as they come, or in bites that memory is enough for: where it runs out they become half as large."""

    def __init__(self) -> None:
        self._most: int | None = None

    def of(self, batch: Batch, compute: Callable[[Batch], Any]) -> Iterator[Any]:
        """What `compute` gives for the batch; where that was too large, for one bite after the other."""
        start = 0
        while start < batch.size:
            end = min(start + (self._most or batch.size), batch.size)
            done, given = self._attempt(rows(batch, start, end), compute)
            if done:
                yield given
                start = end
            else:
                _free()

    def _attempt(self, bite: Batch, compute: Callable[[Batch], Any]) -> tuple[bool, Any]:
        try:
            return True, compute(bite)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if bite.size == 1:
                raise _for_one_sample("prediction") from error
            self._most = -(-bite.size // 2)
        return False, None


def _for_one_sample(what: str) -> SightlineError:
    return SightlineError(
        f"Memory ran out in {what} for one sample at a time",
        fix="Take smaller images, a smaller network, or 16-bit numbers; sl.measure.memory says what each would need",
    )
