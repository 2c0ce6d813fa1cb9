"""A step of training, or an answer, on tensors that have shapes and no memory: what it would take, event by event.

The step is the real one (`training.step.Step`, the optimizer's own update) on a copy of the network whose weights are
stand-ins, so whatever a layer, a graph pass or a kernel does is what is planned. The network itself is not touched.
"""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import kernels, losses
from ..errors import SightlineError
from ..graph.network import Network
from ..graph.symbolic import inference
from ..optimizers import Optimizer
from ..rewrite import ends_in_softmax, in_place
from ..training.batches import Batch
from ..training.compiled import Compiled, Goal
from ..training.numerics import PRECISIONS, Numerics
from ..training.ports import flat, ports_of
from ..training.step import Step, answer
from .live_storages import LiveStorages, Stream, Workspace, blank
from .owners import Owners


@dataclass(frozen=True)
class Rehearsal:
    """What happened, and the layers that ran, by node, in order."""

    stream: Stream
    layers: dict[str, nn.Module]


def rehearse_training(
    network: Network,
    optimizer: Optimizer,
    batch_size: int,
    precision: str,
    workspace: Workspace,
    *,
    on_cpu: bool = True,
) -> Rehearsal:
    """One step of `fit` in its steady state: the optimizer has its state already.

    Without `on_cpu` it is the step of another device, whose kernels and passes are torch's own. The phases are "forward", "backward" and "update". Raises SightlineError where the network or its loss depends on values.
    """
    compiled: Compiled | None = getattr(network, "_compiled", None)
    with _fake_tensors(network, our_kernels=on_cpu) as mode:
        theirs, our_optimizer = _stand_in_copy(mode, network, optimizer)
        if not our_optimizer.is_bound_to(theirs.parameters()):
            our_optimizer.bind(theirs.parameters())
        our_optimizer.make_state()
        step = _step(theirs, getattr(theirs, "_compiled", None) if compiled is not None else None, our_optimizer)
        step.numerics = Numerics(precision)
        if not on_cpu:
            step._networks[True] = step._faster(False)  # the order of layers is changed on a CPU only
        trained = step._in_training()
        owners = Owners(trained)
        batch = _batch(theirs, step, batch_size)
        with LiveStorages(owners, workspace) as watch:
            _hold_model(watch, theirs)
            watch.hold([slot for slots in our_optimizer._state.values() for slot in slots.values()], "optimizer")
            watch.hold([*batch.inputs, *(target for target in batch.targets or () if target is not None)], "batch")
            step.numerics = _Told(precision, watch, owners)
            theirs.train()
            watch.phase = "forward"
            step.train(batch)
            watch.phase = "after"
    return Rehearsal(watch.stream, owners.order)


def rehearse_inference(
    network: Network, batch_size: int, precision: str, workspace: Workspace, *, on_cpu: bool = True
) -> Rehearsal:
    """One batch of `predict`; in a 16-bit precision the weights are of it too, as after `model.to(torch.bfloat16)`.

    On a CPU the batch is a view of the data, which is no part of this; another device gets a copy.
    """
    with _fake_tensors(network, our_kernels=False) as mode:
        theirs, _ = _stand_in_copy(mode, network, None, PRECISIONS[precision])
        faster = in_place(theirs)
        owners = Owners(faster)
        inputs = _inputs(theirs, batch_size)
        with LiveStorages(owners, workspace) as watch, inference(faster):
            _hold_model(watch, theirs)
            watch.hold(inputs, "batch")
            watch.phase = "forward"
            said = answer(faster, inputs)
            watch.hold(flat(said), "answer")
            watch.phase = "after"
    stream = watch.stream
    if on_cpu:
        stream.events = [event for event in stream.events if stream.kinds.get(event.storage) != "batch"]
    return Rehearsal(stream, owners.order)


class _Told(Numerics):
    """The numerics of a rehearsed step, which says when each phase begins.

    float16's scaled gradients are looked at one by one, which values that are not there do not allow; it costs nothing in memory.
    """

    def __init__(self, precision: str, watch: LiveStorages, owners: Owners):
        super().__init__(precision)
        self._watch, self._owners = watch, owners

    @contextmanager
    def forward(self, network: nn.Module) -> Iterator[None]:
        with super().forward(network):
            yield
        self._owners.outside = "loss"

    def backward(self, loss: torch.Tensor) -> None:
        for storage in self._watch.stream.live():
            self._watch.stream.kinds.setdefault(storage, "activations")
        self._watch.phase = "backward"
        loss.backward()

    def update(self, network: nn.Module, optimizer: Optimizer) -> None:
        self._owners.outside = "optimizer"
        self._watch.hold([p.grad for p in network.parameters() if p.grad is not None], "gradients")
        self._watch.phase = "update"
        optimizer.step()


@contextmanager
def _fake_tensors(network: Network, *, our_kernels: bool) -> Iterator[Any]:
    """A context in which torch computes shapes only; with `our_kernels` those of training take such tensors for real ones."""
    from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

    collects = gc.isenabled()
    gc.disable()  # with so many small objects it takes a tenth of the time; no tensor waits for it
    try:
        ours = kernels.rehearsed() if our_kernels else nullcontext()
        with ours, FakeTensorMode(allow_non_fake_inputs=True) as mode, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield mode
    except DynamicOutputShapeException as error:
        raise SightlineError(
            f"The memory of {network.name} cannot be known before it runs: the shape of a tensor follows from values ({error})",
            fix="Leave nonzero, unique and masks as indices out of forward and loss",
        ) from error
    finally:
        if collects:
            gc.enable()


def _stand_in_copy(
    mode: Any, network: Network, optimizer: Optimizer | None, dtype: torch.dtype | None = None
) -> tuple[Network, Any]:
    """A copy with tensors that have no memory wherever the network, or its optimizer's state, has one.

    How it was compiled is not copied: a step's losses keep nothing.
    """
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    tensors = [*network.parameters(), *network.buffers()]
    if optimizer is not None:
        tensors += [slot for slots in optimizer._state.values() for slot in slots.values()]
    memo: dict[int, Any] = {id(tensor): _stand_in(mode, tensor, dtype) for tensor in tensors}
    for name in ("_compiled", "optimizer"):
        part = network.__dict__.get(name)
        if part is not None and part is not optimizer:
            memo[id(part)] = part
    with unset_fake_temporarily():  # what other tensors a layer may hold are copied as they are
        return copy.deepcopy((network, optimizer), memo)


def _stand_in(mode: Any, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    empty = blank(mode, tensor.shape, tensor.stride(), kept)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _step(network: Network, compiled: Compiled | None, optimizer: Optimizer) -> Step:
    """The step of `fit`, without metrics: they are small, and may look at values."""
    names = ports_of(network).outputs
    if compiled is not None and compiled.loss is not None:
        goals = [Goal(goal.output, goal.loss, goal.weight) for goal in compiled.goals(names)]
    else:
        by_class = len(names) == 1 and ends_in_softmax(network)
        goals = [Goal(name, losses.get("sparse_categorical_crossentropy" if by_class else "mse")) for name in names]
    return Step(network, goals, optimizer)


def _inputs(network: Network, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Inputs as `fit` makes them of arrays: NHWC memory."""
    made = []
    for value in network.inputs:
        _, *sizes = value.shape
        array = torch.empty((batch_size, *sizes), dtype=value.dtype)  # type: ignore[arg-type]
        made.append(array.permute(0, 3, 1, 2) if array.ndim == 4 else array)
    return tuple(made)


def _batch(network: Network, step: Step, batch_size: int) -> Batch:
    """A batch for a network, with targets of the kind that each output's loss takes."""
    goals = [part.goal.loss for part in step._outputs]
    targets = tuple(
        None if loss is None else loss.blank_targets(batch_size, value.inner_shape)
        for value, loss in zip(network.outputs, goals, strict=True)
    )
    return Batch(_inputs(network, batch_size), targets, None, batch_size)


def _hold_model(watch: LiveStorages, network: Network) -> None:
    weights = list(network.parameters())
    watch.hold([weight for weight in weights if weight.ndim == 4], "kernels")
    watch.hold([weight for weight in weights if weight.ndim != 4], "parameters")
    watch.hold(list(network.buffers()), "buffers")
