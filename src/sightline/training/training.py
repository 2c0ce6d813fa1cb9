"""A training as it stands between two steps: all that the loop moves, and that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ArgumentError
from ..graph.network import Network
from .batches import Batch, Batches
from .state import State, capture, copied, restore
from .step import Step

if TYPE_CHECKING:
    from ..callbacks import Callback

Take = Callable[[Batch], torch.Tensor]


class Training:
    """A network, its step and its data, the callbacks around them, and the place: `batch` batches of `epoch` are done.

    `take(batch)` makes one update and returns the batch's loss on its device; by default `step.train`.
    """

    def __init__(
        self,
        network: Network,
        step: Step,
        batches: Batches,
        callbacks: Sequence[Callback] = (),
        take: Take | None = None,
    ):
        self.network, self.step, self.batches, self.callbacks = network, step, batches, list(callbacks)
        self.take = take or step.train
        self.is_first = step.ranks is None or step.ranks.is_first
        self.epoch = self.batch = 0
        self.last_loss: torch.Tensor | None = None

    def tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            if self.is_first or not callback.writes:
                getattr(callback, event)(*arguments)

    def state(self) -> State:
        """A copy of everything that the steps to come depend on."""
        return {
            "place": [self.epoch, self.batch],
            "kind": self._kind(),
            "stopped": bool(getattr(self.network, "stop_training", False)),
            "trained": capture(self.network, self.step.optimizer),
            "step": copied(self.step.state_dict()),
            "data": copied(self.batches.state_dict()),
            "callbacks": [[type(each).__name__, each.state_dict()] for each in self.callbacks] if self.is_first else [],
        }

    def _kind(self) -> State:
        """What a training that goes on must have in common with the one that was saved."""
        optimizer = self.step.optimizer
        return {
            "kind of data": type(self.batches).__name__,
            "batches in an epoch": self.batches.steps,
            "metrics": self.step.names(),
            "optimizer": f"{type(optimizer).__name__}, use_ema={getattr(optimizer, 'use_ema', False)}",
            "callbacks": [type(each).__name__ for each in self.callbacks],
            "network": [f"{name} {tuple(tensor.shape)}" for name, tensor in self.network.state_dict().items()],
        }

    def load(self, state: State) -> None:
        """Go on from a state. Raises ArgumentError where it is of another training."""
        for what, mine in self._kind().items():
            if mine != (its := state["kind"][what]):
                raise ArgumentError(
                    f"The checkpoint is of another training: not the same {what}", expected=_short(its),
                    received=_short(mine), fix="Resume with the data and arguments that it began with",
                )  # fmt: skip
        self.epoch, self.batch = state["place"]
        self.network.stop_training = state["stopped"]
        self.step.load_state_dict(copied(state["step"], next(self.network.parameters()).device))
        self.batches.load_state_dict(state["data"])
        for callback, (_, kept) in zip(self.callbacks, state["callbacks"], strict=True):
            if self.is_first or not callback.writes:
                callback.load_state_dict(kept)
        restore(self.network, self.step.optimizer, state["trained"])


def _short(value: Any) -> str:
    """A value of a message, cut where it is long."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) < 200 else f"{text[:200]} ..."
