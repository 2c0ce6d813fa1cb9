"""The loops. They know no task, no model and no file: the step does the work, callbacks do the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch

from ..errors import ArgumentError, SightlineError
from ..graph.network import Network
from ..graph.symbolic import inference
from ..rewrite import in_place
from .batches import Batch, Batches
from .numerics import in_full_float32
from .ports import flat
from .ranks import agreeing
from .recovery import Bites, evaluating
from .state import State
from .step import Step, answer
from .training import Training


def fit(
    training: Training,
    *,
    epochs: int,
    first_epoch: int = 0,
    validate: Callable[[int], Callable[[], dict[str, float]] | None],
    should_stop: Callable[[], bool],
    saved: State | None = None,
) -> None:
    """Train for the epochs `first_epoch` .. `epochs` - 1, or until `should_stop()`; on from `saved` where there is one.

    `validate(epoch)` is what measures after that epoch, or None.
    """
    network, step, tell = training.network, training.step, training.tell
    agreed = agreeing(step.ranks)  # several processes stop at the same place
    training.epoch, training.batch = (first_epoch, 0) if saved is None else saved["place"]
    if saved is not None and training.epoch + (training.batch > 0) > epochs:
        raise ArgumentError(
            "The checkpoint is further than the training is to go", received=f"a checkpoint of epoch {training.epoch + 1}",
            expected=f"at most {epochs} epochs", fix="Ask for more epochs, or remove the checkpoint",
        )  # fmt: skip
    logs: dict[str, float] = {}
    try:
        tell("on_train_begin", {})
        within_an_epoch = training.batch > 0
        if saved is not None and not within_an_epoch:
            training.load(saved)
        while training.epoch < epochs and not agreed(should_stop()):
            network.train()
            step.reset()
            tell("on_epoch_begin", training.epoch, {})
            if saved is not None and within_an_epoch:  # what began the epoch then has done so again, and is overwritten
                training.load(saved)
            over = saved is not None and agreed(should_stop())  # the step that was saved had ended the training
            saved = None
            for batch in () if over else training.batches.epoch(training.epoch, training.batch):
                tell("on_train_batch_begin", training.batch, {})
                training.last_loss = training.take(batch)
                training.batch += 1
                with LazyLogs(step.own_result) as so_far:
                    tell("on_train_batch_end", training.batch - 1, so_far)
                if agreed(should_stop()):
                    break
            logs = step.result()
            if (measure := validate(training.epoch)) is not None:
                tell("on_test_begin", {})
                logs |= {f"val_{name}": value for name, value in measure().items()}
                tell("on_test_end", {})
            training.epoch, training.batch = training.epoch + 1, 0
            tell("on_epoch_end", training.epoch - 1, logs)
        step.finish()
    finally:
        network.eval()
    tell("on_train_end", logs)


def evaluate(network: Network, step: Step, batches: Batches) -> dict[str, float]:
    """The loss and metrics over one pass, in inference mode."""
    step.reset()
    take = evaluating(step)
    with inference(network), in_full_float32():
        for batch in batches.epoch(0):
            take(batch)
    return step.result()


def predict(network: Network, batches: Batches) -> Any:
    """What the network answers for one pass, in inference mode: a tensor, or a list or dict of them as its outputs are."""
    parts: list[tuple[torch.Tensor, ...]] = []
    said: Any = None
    bites = Bites()
    with inference(network), in_full_float32():
        faster = in_place(network)
        for batch in batches.epoch(0):
            for said in bites.of(batch, lambda bite: answer(faster, bite.inputs)):
                parts.append(tuple(part.cpu() for part in flat(said)))
    whole = [torch.cat(each) for each in zip(*parts, strict=True)]
    if isinstance(said, dict):
        return dict(zip(said, whole, strict=True))
    return whole if isinstance(said, (list, tuple)) else whole[0]


def asking(network: Network) -> Callable[[Batch], tuple[torch.Tensor, ...]]:
    """What answers batches as they come, in inference mode: a tensor for each of the network's outputs."""
    bites = Bites()
    with inference(network):
        faster = in_place(network)

    def ask(batch: Batch) -> tuple[torch.Tensor, ...]:
        with inference(network), in_full_float32():
            said = list(bites.of(batch, lambda bite: [part.cpu() for part in flat(answer(faster, bite.inputs))]))
            return tuple(torch.cat(each) for each in zip(*said, strict=True))

    return ask


class LazyLogs(Mapping[str, float]):
    """Logs that are read from the device only when a callback looks; a context, because later they would be others."""

    def __init__(self, read: Callable[[], dict[str, float]]):
        self._read: Callable[[], dict[str, float]] | None = read
        self._logs: dict[str, float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read = None

    def _now(self) -> dict[str, float]:
        if self._logs is None:
            if self._read is None:
                raise SightlineError(
                    "The logs of a batch are read while its callback runs", fix="Keep dict(logs) instead"
                )
            self._logs = self._read()
        return self._logs

    def __getitem__(self, name: str) -> float:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())
