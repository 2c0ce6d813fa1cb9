"""One step of training and of evaluation: forward, losses, backward, update, metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from .. import sharing
from ..activations import logits_of
from ..errors import DataError
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers.base import Layer, is_ours
from ..losses import Loss
from ..losses.reduction import reduced_part
from ..metrics import Metric
from ..optimizers import Optimizer
from ..rewrite import in_place, output_nodes, pool_before_activation
from .batches import Batch
from .compiled import Goal
from .numerics import Numerics
from .parts import Divisor, Whole, bounds, in_parts, one_row_for_none, rows
from .ports import flat
from .ranks import added_up, current, most_rows
from .state import Draws, copied


class Step:
    """What the loop calls for each batch. Metrics stay on the device until `result` reads them.

    The loss is the weighted sum of the outputs' losses and of what the weights' regularizers say. A cross-entropy of a
    final softmax or sigmoid is computed from its logits, which is the same and cannot overflow; metrics see the
    probabilities.
    """

    def __init__(
        self, network: Network, goals: Sequence[Goal], optimizer: Optimizer | None = None, precision: str = "float32"
    ):
        self._network, self.optimizer = network, optimizer
        self._networks: dict[bool, Network] = {}
        self.numerics = Numerics(precision)
        self.ranks = current()
        self._trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._foreign = any(isinstance(part, Layer) and not is_ours(part) for part in network.modules())
        self.parts = 1  # in which a batch is computed
        self.updating = False  # or ended in the middle of an update
        self._outputs = [_Output(goal, several=len(goals) > 1) for goal in goals]
        self._mean_loss = _MeanLoss()
        self._fresh = self.counted() if self.ranks is not None else {}
        # Walks through all modules, so not in every step
        self._regularized, self.draws = network.regularized_layers(), Draws(network)
        for goal, node in zip(goals, output_nodes(network), strict=True):
            layer = layer_of(network, node)
            takes = goal.loss.of_logits() is not None if goal.loss else False
            if takes and getattr(layer, "activation", "unknown") is None:
                warnings.warn(
                    f"{network.name}'s last layer has no {goal.loss.takes}, and its loss takes probabilities: give the "  # type: ignore[union-attr]
                    f"layer activation='{goal.loss.takes}', or the loss from_logits=True",  # type: ignore[union-attr]
                    stacklevel=4,
                )

    def train(self, batch: Batch) -> torch.Tensor:
        """One update of the weights; returns the batch's loss, detached. Raises DataError when it has no targets."""
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        loss = self._computed(batch, self._in_training(), self.numerics.backward)
        if self.ranks is not None:
            self.ranks.add_up_gradients(self._trained)
            loss = self.ranks.summed(loss)
        self.updating = True
        self.numerics.update(self._network, self.optimizer)
        self.updating = False
        return loss

    def finish(self) -> None:
        """The end of a training: the weights become their averages, where the optimizer keeps such."""
        if self.optimizer is not None:
            self.optimizer.finalize()

    def _in_training(self) -> Network:
        """The network on its own weights, which are float32, as it trains fastest: the order of layers counts on a CPU."""
        weight = next(self._network.parameters())
        return self._faster(weight.device.type == "cpu" and weight.dtype == torch.float32)

    def _faster(self, reordered: bool) -> Network:
        if reordered not in self._networks:
            network = pool_before_activation(self._network) if reordered else self._network
            self._networks[reordered] = in_place(network)
        return self._networks[reordered]

    def evaluate(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch; it and the metrics are counted."""
        return self._computed(batch, self._faster(reordered=False))

    def _computed(
        self, batch: Batch, network: Network, then: Callable[[torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """The loss of the batch, of several ranks this one's share, detached.

        `then` takes it, or in `parts` each part's share, while what led to it is there.
        """
        if self.parts == 1 and self.ranks is None:
            loss = self._loss(batch, network)
            if then is not None:
                then(loss)
            return loss.detach()
        batch, parts = self._own(batch)
        whole, drawn = Whole(batch, self.ranks), self.draws.now()
        shares = []
        for part in in_parts(batch, parts):
            self.draws.put_back(drawn)  # each part draws for all rows
            with sharing.computing(sharing.Share(part.first, part.size, part.whole, self.ranks)):
                loss = self._loss(part, network, whole)
                if then is not None:
                    then(loss)
            shares.append(loss.detach())
        if self.ranks is not None:
            self.ranks.all_well()  # of an evaluation nothing else would tell the others before their next batch
            if self._foreign:  # which have drawn for the rows that they saw: not as many everywhere
                torch.set_rng_state(self.ranks.same(torch.get_rng_state()))
        return torch.stack(shares).sum()

    def _own(self, batch: Batch) -> tuple[Batch, int]:
        """This rank's rows of the batch, and in how many parts all ranks compute theirs."""
        if self.ranks is not None and batch.of is None:
            batch = rows(batch, *bounds(batch.size, self.ranks.count)[self.ranks.number])
        return batch, min(self.parts, self.most_rows(batch))

    def most_rows(self, batch: Batch) -> int:
        """How many rows the rank with the most of a batch has: there are no more parts than that."""
        return max(1, most_rows(batch.whole, self.ranks))

    def _loss(self, batch: Batch, network: Network, whole: Whole | None = None) -> torch.Tensor:
        """The loss of a batch, or of a part of `whole` its share; it and the metrics are counted."""
        if batch.targets is None:
            raise DataError("The batch has no targets", expected="(inputs, targets)")
        counts = batch.size > 0
        with self.numerics.forward(network):
            answers = flat(answer(network, (batch if counts else one_row_for_none(batch)).inputs))
        if not counts:
            return self._loss_of_none(answers, whole)
        weights = batch.weights or (None,) * len(answers)
        losses = [
            loss
            for i, (output, said, true, weight) in enumerate(
                zip(self._outputs, answers, batch.targets, weights, strict=True)
            )
            if (loss := output.evaluate(said, true, weight, batch, partial(whole.divisor, i) if whole else None))
            is not None
        ]
        share = 1 if whole is None else batch.size / batch.whole
        penalties = [share * penalty for layer in self._regularized for penalty in layer.penalties()]
        total: torch.Tensor = sum([*losses, *penalties])  # type: ignore[assignment]
        self._mean_loss.add(total, batch)
        return total

    def _loss_of_none(self, answers: Sequence[torch.Tensor], whole: Whole | None) -> torch.Tensor:
        """The share of no rows: 0, with gradients of 0, found with the same words to the other ranks."""
        assert whole is not None
        for i, (output, said) in enumerate(zip(self._outputs, answers, strict=True)):
            for term, (loss, _) in enumerate(output.goal.loss.terms() if output.goal.loss is not None else ()):
                whole.divisor(i, term, loss, said, _in_float32(said))
        return torch.stack([torch.nan_to_num(_in_float32(said)).sum() * 0 for said in answers]).sum()

    def reset(self) -> None:
        """Begin a pass: nothing is counted yet, and what a callback has changed in the network counts from here on."""
        self._networks.clear()
        self._forget()

    def _forget(self) -> None:
        self._mean_loss.reset()
        for output in self._outputs:
            output.reset()
        self._fresh = self.counted() if self.ranks is not None else {}

    def result(self) -> dict[str, Any]:
        """The loss and every metric since the last reset, by name; of several ranks those of all rows, and all must ask.

        This waits for the device.
        """
        if self.ranks is None:
            return self.own_result()
        mine = self.counted()
        self.count_on_from(added_up(mine, self._fresh, self.ranks))
        try:
            return self.own_result()
        finally:
            self.count_on_from(mine)

    def own_result(self) -> dict[str, Any]:
        """The same of the rows that this process has computed."""
        logs: dict[str, Any] = {"loss": self._mean_loss.result()}
        for output in self._outputs:
            logs |= {name: _plain(metric.result()) for name, metric in zip(output.names, output.metrics(), strict=True)}
        if len(losses := [output for output in self._outputs if output.goal.loss is not None]) > 1:
            logs |= {f"{output.prefix}loss": output.mean_loss.result() for output in losses}
        return logs

    def names(self) -> list[str]:
        """The names of the metrics, as the logs have them."""
        return [name for output in self._outputs for name in output.names]

    def counted(self) -> dict[str, Any]:
        """What the loss and the metrics have counted in this process since the last reset; copies."""
        return copied(
            {"loss": self._mean_loss.state_dict(), "outputs": [output.state_dict() for output in self._outputs]}
        )

    def count_on_from(self, state: dict[str, Any]) -> None:
        """Go on from what `counted` gave."""
        self._mean_loss.load_state_dict(state["loss"])
        for output, its in zip(self._outputs, state["outputs"], strict=True):
            output.load_state_dict(its)

    def state_dict(self) -> dict[str, Any]:
        """The numerics, and what was counted since the last reset, by all ranks together; all must ask."""
        counted = self.counted()
        if self.ranks is not None:
            counted = added_up(counted, self._fresh, self.ranks)
        return {"numerics": self.numerics.state_dict(), "parts": self.parts} | counted

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; of several ranks the first one takes over what was counted."""
        self.numerics.load_state_dict(state["numerics"])
        self.parts = state.get("parts", 1)
        self.count_on_from(state)
        if self.ranks is not None and not self.ranks.is_first:
            self._forget()


def _plain(value: Any) -> Any:
    """A metric's result as a float, or as an array where it has several values."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return value if getattr(value, "ndim", 0) else float(value)


class _Output:
    """One output's share of a step."""

    def __init__(self, goal: Goal, *, several: bool):
        self.goal = goal
        self.prefix = f"{goal.output}_" if several else ""
        self.of_logits = goal.loss.of_logits() if goal.loss is not None else None
        self.mean_loss = _MeanLoss()
        self.names = list(self._log_names())

    def _log_names(self) -> Iterator[str]:
        """As Keras names the metrics in the logs: the second of a name is name_1, a weighted one weighted_name."""
        seen: dict[str, int] = {}
        for metric in self.metrics():
            name = self.prefix + metric.name
            if name in seen and metric in self.goal.weighted_metrics:
                name = f"{self.prefix}weighted_{metric.name}"
            seen[name] = seen.get(name, -1) + 1
            yield f"{name}_{seen[name]}" if seen[name] else name

    def metrics(self) -> Iterator[Metric]:
        yield from self.goal.metrics
        yield from self.goal.weighted_metrics

    def evaluate(
        self,
        said: torch.Tensor,
        true: torch.Tensor | None,
        weights: torch.Tensor | None,
        batch: Batch,
        divisor: Divisor | None,
    ) -> torch.Tensor | None:
        """The weighted loss; None where this output has no loss. Metrics are counted."""
        if true is None:
            if self.goal.loss is not None or any(self.metrics()):
                raise DataError(f"The batch has no targets for {self.goal.output}")
            return None
        true = true.to(said.device)
        weights = None if weights is None else weights.to(said.device)
        loss = None
        if self.goal.loss is not None:
            loss = self._loss(self.goal.loss, said, true, weights, divisor)
            self.mean_loss.add(loss, batch)
            loss = loss * self.goal.weight
        with torch.no_grad():
            said = _in_float32(said.detach())
            for metric in self.goal.metrics:
                metric.update_state(true, said)
            for metric in self.goal.weighted_metrics:
                metric.update_state(true, said, weights)
        return loss

    def _loss(
        self,
        loss: Loss,
        said: torch.Tensor,
        true: torch.Tensor,
        weights: torch.Tensor | None,
        divisor: Divisor | None,
    ) -> torch.Tensor:
        logits = logits_of(said, loss.takes) if self.of_logits is not None and loss.takes else None
        if logits is not None:
            loss, said = self.of_logits, logits  # type: ignore[assignment]
        said = _in_float32(said)
        if divisor is None:
            return loss(true, said, weights)
        shares = []
        for number, (term, weight) in enumerate(loss.terms()):
            values, mask = term.values(true, said)
            divided_by = divisor(number, term, values, said)
            shares.append(weight * reduced_part(values, len(said), weights, divided_by, mask))
        return torch.stack(shares).sum()

    def reset(self) -> None:
        self.mean_loss.reset()
        for metric in self.metrics():
            metric.reset_state()

    def _counting(self) -> list[_MeanLoss | Metric]:
        return [self.mean_loss, *self.metrics()]

    def state_dict(self) -> list[dict[str, Any]]:
        return [each.state_dict() for each in self._counting()]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        for each, its in zip(self._counting(), state, strict=True):
            each.load_state_dict(its)


class _MeanLoss:
    """The mean loss of all samples since the last reset; its sum stays on the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._total: torch.Tensor | float = 0.0
        self._count = 0

    def add(self, loss: torch.Tensor, batch: Batch) -> None:
        """Count a batch's loss, or a part's share of it."""
        self._total = self._total + loss.detach().double() * batch.whole
        self._count += batch.size

    def result(self) -> float:
        return float(self._total) / self._count if self._count else float("nan")

    def state_dict(self) -> dict[str, Any]:
        return {"total": self._total, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._total, self._count = state["total"], state["count"]


def _in_float32(x: torch.Tensor) -> torch.Tensor:
    """16-bit numbers as float32: a loss or a metric of them would lose what counts."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def answer(network: Network, inputs: Sequence[torch.Tensor]) -> Any:
    """What the network says of inputs, which follow it to its device and precision; bytes become numbers there."""
    for parameter in network.parameters():
        return network(*(_follow(parameter, x) for x in inputs))
    return network(*inputs)


def _follow(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    x = x.to(parameter.device, non_blocking=True)
    return x.to(parameter.dtype) if x.is_floating_point() or x.dtype == torch.uint8 else x
