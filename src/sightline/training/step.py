"""One step of training and of evaluation: forward, loss, backward, update, metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..errors import DataError
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers.activations import softmax
from ..losses import Loss
from ..metrics import Mean, Metric
from ..optimizers import Optimizer
from ..rewrite import ends_in_softmax, logits_network
from .batches import Batch


class Step:
    """What the loop calls for each batch. Metrics stay on the device until `result` reads them.

    A final softmax followed by a cross-entropy is computed from the logits, which is the same and cannot overflow;
    metrics see the probabilities.
    """

    def __init__(self, network: Network, loss: Loss, metrics: Sequence[Metric], optimizer: Optimizer | None = None):
        self._network, self._loss, self._optimizer = network, loss, optimizer
        self._metrics = list(metrics)
        self._mean_loss = Mean()
        self._scores: nn.Module = network
        self._fused = False
        if loss.takes_probabilities and not getattr(loss, "from_logits", False):
            self._fused = ends_in_softmax(network)
            if self._fused:
                self._scores, self._loss = logits_network(network), loss.on_logits()
            elif not _ends_in_activation(network):
                warnings.warn(
                    f"{network.name}'s last layer has no softmax, and its loss takes probabilities: give the layer "
                    "activation='softmax', or the loss from_logits=True",
                    stacklevel=4,
                )

    def train(self, batch: Batch) -> None:
        """One update of the weights. Raises DataError when the batch has no targets."""
        assert self._optimizer is not None
        scores, targets = self._forward(batch)
        loss = self._loss(targets, scores)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._count(loss, targets, scores, batch.size)

    def evaluate(self, batch: Batch) -> torch.Tensor:
        """Loss and metrics only; returns what the network answers."""
        scores, targets = self._forward(batch)
        return self._count(self._loss(targets, scores), targets, scores, batch.size)

    def _forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if batch.targets is None:
            raise DataError("The batch has no targets", expected="(inputs, targets)")
        device = next(self._network.parameters(), batch.inputs).device
        return self._scores(batch.inputs.to(device)), batch.targets.to(device)

    @torch.no_grad()
    def _count(self, loss: torch.Tensor, targets: torch.Tensor, scores: torch.Tensor, size: int) -> torch.Tensor:
        answers = softmax(scores.detach()) if self._fused else scores.detach()
        self._mean_loss.add(loss, size)
        for metric in self._metrics:
            metric.update_state(targets, answers)
        return answers

    def reset(self) -> None:
        self._mean_loss.reset_state()
        for metric in self._metrics:
            metric.reset_state()

    def result(self) -> dict[str, float]:
        """The loss and every metric since the last reset, by name. This waits for the device."""
        return {"loss": self._mean_loss.result()} | {metric.name: metric.result() for metric in self._metrics}


def _ends_in_activation(network: Network) -> bool:
    """Whether the output comes from a layer that may well give probabilities."""
    result: Any = network.graph.output_node().args[0]
    layer = layer_of(network, result) if hasattr(result, "op") else None
    return getattr(layer, "activation", "unknown") is not None
