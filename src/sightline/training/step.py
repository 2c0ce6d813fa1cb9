"""One step of training and of evaluation: forward, loss, backward, update, metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from ..errors import DataError
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers.activations import logits_of
from ..losses import Loss
from ..metrics import Mean, Metric
from ..optimizers import Optimizer
from ..rewrite import output_node
from .batches import Batch


class Step:
    """What the loop calls for each batch. Metrics stay on the device until `result` reads them.

    A cross-entropy of a final softmax is computed from the logits, which is the same and cannot overflow; metrics see
    the probabilities.
    """

    def __init__(self, network: Network, loss: Loss, metrics: Sequence[Metric], optimizer: Optimizer | None = None):
        self._network, self._loss, self._optimizer = network, loss, optimizer
        self._metrics = list(metrics)
        self._mean_loss = Mean()
        self._loss_of_logits = loss.of_logits()
        if self._loss_of_logits is not None and not _ends_in_activation(network):
            warnings.warn(
                f"{network.name}'s last layer has no softmax, and its loss takes probabilities: give the layer "
                "activation='softmax', or the loss from_logits=True",
                stacklevel=4,
            )

    def train(self, batch: Batch) -> None:
        """One update of the weights. Raises DataError when the batch has no targets."""
        assert self._optimizer is not None
        self._optimizer.zero_grad()
        loss = self.evaluate(batch)
        loss.backward()
        self._optimizer.step()

    def evaluate(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch; it and the metrics are counted."""
        if batch.targets is None:
            raise DataError("The batch has no targets", expected="(inputs, targets)")
        answers = answer(self._network, batch.inputs)
        targets = batch.targets.to(answers.device)
        logits = logits_of(answers)
        if self._loss_of_logits is not None and logits is not None:
            loss = self._loss_of_logits(targets, logits)
        else:
            loss = self._loss(targets, answers)
        with torch.no_grad():
            self._mean_loss.add(loss, batch.size)
            for metric in self._metrics:
                metric.update_state(targets, answers.detach())
        return loss

    def reset(self) -> None:
        self._mean_loss.reset_state()
        for metric in self._metrics:
            metric.reset_state()

    def result(self) -> dict[str, float]:
        """The loss and every metric since the last reset, by name. This waits for the device."""
        return {"loss": self._mean_loss.result()} | {m.name: float(m.result()) for m in self._metrics}


def answer(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """What the network says of inputs, which follow it to its device and precision."""
    for parameter in network.parameters():
        return network(inputs.to(parameter.device, parameter.dtype))
    return network(inputs)


def _ends_in_activation(network: Network) -> bool:
    """Whether the output comes from a layer that may well give probabilities."""
    node = output_node(network)
    layer = None if node is None else layer_of(network, node)
    return getattr(layer, "activation", "unknown") is not None
