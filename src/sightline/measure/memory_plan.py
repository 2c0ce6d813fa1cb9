"""The plan of memory: what training a network, or asking it, will take, known before any of it is allocated."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import optimizers
from ..console import as_plain_text
from ..errors import ArgumentError, SightlineError, choose, whole_number
from ..graph.network import Network
from ..initializers import AT_ONCE
from ..training.numerics import PRECISIONS
from .allocators import AdaptedHeap, Allocator, CudaCache, GlibcHeap
from .node_memory import At, NodeMemory, height, nodes_of
from .rehearsal import rehearse_inference, rehearse_training
from .steps import require_sizes
from .units import bytes_text
from .workspaces import on_cpu, on_cuda

if TYPE_CHECKING:
    from rich.table import Table

    from .live_storages import Stream
    from .remedies import Remedy

# The resident set of a process that has imported Sightline, trained a tiny network and asked it: 740 to 760 MB in 20
# processes (torch 2.15 of the default index, Python 3.11, Linux 6.18 on x86-64), 340 MB of it pages of files
LIBRARY_ON_CPU = 750_000_000
# A CUDA context with the kernels of torch, cuBLAS and cuDNN: 695 MiB in 3 processes that predicted and 767 to 769 in 6 that
# trained (H100, torch 2.11, CUDA 13.0); and what cuBLAS takes from torch's allocator (8 MiB, on Hopper 32)
CUBLAS = 32 * 2**20
LIBRARY_ON_CUDA = 769 * 2**20 + CUBLAS
STEPS = 3  # of training that are played to the allocator; what it holds hardly rises after that
MODEL = ("kernels", "parameters", "buffers")
STATIC = (*MODEL, "optimizer")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class MemoryPlan:
    """What a process will hold, in bytes.

    `peak` is the most at any time, `library` and `fragmentation` (what the allocator holds beyond what it was asked for)
    included; `peak_node` is the graph's node in whose forward or backward (`peak_phase`) it falls. `parameters` hold the moving
    statistics too. `batch` is 0 in inference on a CPU, where batches of arrays are views. `activations` is all that forward keeps for
    backward; in inference the most that is alive together. `workspaces` is the most that one kernel takes for itself.
    `at_peak` splits what tensors hold at the peak by kind. `nodes` has each node's share, in the order of the graph, and
    `alive` what lives at the peak by the node that made it.
    """

    name: str
    batch_size: int
    precision: str
    training: bool
    device: str
    parameters: int
    gradients: int
    optimizer: int
    batch: int
    activations: int
    workspaces: int
    fragmentation: int
    library: int
    peak: int
    peak_node: str
    peak_phase: str
    at_peak: dict[str, int]
    nodes: tuple[NodeMemory, ...]
    alive: tuple[tuple[str, int], ...]
    again: Callable[..., MemoryPlan] = field(repr=False, compare=False)
    network: Network = field(repr=False, compare=False)

    @property
    def beyond_network(self) -> int:
        """What comes on top in a process that has loaded its libraries and made the network: ask `limits.free` for this."""
        return self.peak - self.library - self.parameters

    def node(self, name: str) -> NodeMemory:
        """The row of a node; raises ArgumentError with the nearest names."""
        rows = {row.node: row for row in self.nodes}
        return rows[choose("node", name, rows)]

    def checkpoints(self, share: float = 0.5) -> list[tuple[str, ...]]:
        """Parts of the network to compute again in backward, so that this share of `activations` is kept: for `rewrite.recompute`.

        Of all such choices the one with the least to compute. Raises ArgumentError where none keeps so little.
        """
        if not self.training:
            raise ArgumentError("Inference keeps nothing for backward", fix="Plan with training=True")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ArgumentError("share is a share of the activations, above 0 and at most 1", received=repr(share))
        from .checkpoints import segments

        return segments(self, int(share * self.activations))

    def remedies(self) -> list[Remedy]:
        """What makes it less, in the order in which one tries, each with the peak that it would have and what it costs."""
        from .remedies import remedies

        return remedies(self)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        names = [name for name in self.__dataclass_fields__ if name not in ("again", "network", "nodes", "alive")]
        plain = {name: getattr(self, name) for name in names}
        return plain | {"alive": [list(each) for each in self.alive], "nodes": [row.as_dict() for row in self.nodes]}

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        what = "Training" if self.training else "Inference"
        table = Table(
            title=f"{what} of {self.name}, batch of {self.batch_size}, {self.precision}, {self.device}",
            title_justify="left", box=box.SIMPLE_HEAD, caption=self._told(), caption_justify="left",
        )  # fmt: skip
        table.title_style = table.caption_style = ""
        table.add_column("Memory")
        table.add_column("In all", justify="right", no_wrap=True)
        table.add_column("At the peak", justify="right", no_wrap=True)
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> list[tuple[str, str, str]]:
        at, text = self.at_peak, bytes_text
        rows = [("parameters", self.parameters, sum(at.get(kind, 0) for kind in MODEL))]
        if self.training:
            rows += [(name, getattr(self, name), at.get(name, 0)) for name in ("gradients", "optimizer")]
        kept = "activations kept for backward" if self.training else "feature maps alive together"
        rows += [("batch", self.batch, at.get("batch", 0))] if self.batch else []
        rows += [(kept, self.activations, at.get("activations", 0))]
        rows += [("workspaces", self.workspaces, at.get("workspaces", 0))]
        told = [(name, text(whole), text(now)) for name, whole, now in rows]
        if self.training:
            told.append(("gradients of activations", "", text(at.get("passing", 0))))
        told += [("fragmentation", "", text(self.fragmentation)), ("library", "", text(self.library))]
        return [*told, ("peak", "", text(self.peak))]

    def _told(self) -> str:
        said = f"The peak falls in {self.peak_phase} of {self.peak_node}."
        waiting = {name for row in self.nodes for name, _ in row.waiting}
        if not self.training and waiting:
            order = [row.node for row in self.nodes if row.node in waiting]
            said += (
                f"\nKept for later nodes (skip connections): {', '.join(order[:8])}{' ...' if len(order) > 8 else ''}."
            )
        return said

    def __str__(self) -> str:
        return as_plain_text(self)


def memory(
    model: Network,
    batch_size: int = 32,
    *,
    precision: str = "float32",
    training: bool = True,
    optimizer: Any = None,
    device: Any = None,
) -> MemoryPlan:
    """What a batch of `fit` takes, or of `predict` with `training=False`.

    `optimizer` is the compiled one, Adam where there is none. `precision`: "float32", "bfloat16" or "float16"; in inference the
    weights are of it too, as after `model.to(torch.bfloat16)`. `device` is "cpu" or "cuda", the weights' own by default; nothing
    runs on it. The data set itself is not in the plan, nor are metrics and callbacks. Raises ArgumentError for bad arguments and
    SightlineError where the network is not built, has nothing to train, or makes tensors whose shape follows from values.
    """
    if not isinstance(model, Network):
        raise ArgumentError(
            "memory takes a model", received=type(model).__name__, fix="Wrap a module: sl.wrap(module, ...)"
        )
    batch_size = whole_number(batch_size, "batch_size")
    choose("precision", precision, PRECISIONS)
    kind = _device_of(model, device)
    if not model.built:
        raise SightlineError(
            f"{model.name} does not know its input's shape yet, so its memory cannot be planned",
            fix="Begin it with an Input",
        )
    require_sizes(model)
    if training and not any(parameter.requires_grad for parameter in model.parameters()):
        raise SightlineError(f"{model.name} has no weights to train", fix="Plan with training=False")
    workspace = on_cuda if kind == "cuda" else on_cpu
    again = partial(
        _again,
        model=model,
        batch_size=batch_size,
        precision=precision,
        training=training,
        optimizer=optimizer,
        device=kind,
    )
    if training:
        chosen = optimizers.get(optimizer if optimizer is not None else getattr(model, "optimizer", None) or "adam")
        heard = rehearse_training(model, chosen, batch_size, precision, workspace, on_cpu=kind == "cpu")
    else:
        heard = rehearse_inference(model, batch_size, precision, workspace, on_cpu=kind == "cpu")
    facts: dict[str, Any] = {
        "name": model.name,
        "batch_size": batch_size,
        "precision": precision,
        "training": training,
        "device": kind,
    }
    return MemoryPlan(**facts, **_figures(heard.stream, heard.layers, kind, training), again=again, network=model)


def _again(*, model: Network, batch_size: int, **settings: Any) -> MemoryPlan:
    return memory(model, batch_size, **settings)


def _device_of(model: Network, device: Any) -> str:
    kind = str(device) if device is not None else next((p.device.type for p in model.parameters()), "cpu")
    kind = "cpu" if kind in ("auto", "meta") else kind.split(":")[0]
    return choose("device", kind, DEVICES)


def _figures(stream: Stream, layers: dict[str, Any], device: str, training: bool) -> dict[str, Any]:
    """What a stream of takings and givings comes to."""
    top = height(stream)
    most = _most(stream)
    library = LIBRARY_ON_CUDA if device == "cuda" else LIBRARY_ON_CPU
    fragmentation = max(_held(stream, device, training) - top.bytes, 0)
    return {
        "parameters": sum(most.get(kind, 0) for kind in MODEL),
        "gradients": most.get("gradients", 0),
        "optimizer": most.get("optimizer", 0),
        "batch": most.get("batch", 0),
        "activations": most.get("activations", 0) if training else _alive_together(top),
        "workspaces": most.get("workspaces", 0),
        "fragmentation": fragmentation,
        "library": library,
        "peak": top.bytes + fragmentation + library,
        "peak_node": top.node,
        "peak_phase": top.phase,
        "at_peak": top.by_kind if training else top.by_kind | {"activations": _alive_together(top)},
        "nodes": nodes_of(stream, layers),
        "alive": top.alive,
    }


def _alive_together(top: At) -> int:
    return sum(held for kind, held in top.by_kind.items() if kind in ("passing", "answer", "activations"))


def _most(stream: Stream) -> dict[str, int]:
    """The most bytes of each kind at one time."""
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    for event in stream.events:
        kind = stream.kinds.get(event.storage, "passing")
        now[kind] = now.get(kind, 0) + event.bytes
        most[kind] = max(most.get(kind, 0), now[kind])
    return most


def _held(stream: Stream, device: str, training: bool) -> int:
    """The most that the device's allocator holds for this stream; 0 where nothing is known of it."""
    if device == "cpu" and platform.libc_ver()[0] != "glibc":
        return 0
    allocator: Allocator = CudaCache() if device == "cuda" else GlibcHeap() if training else AdaptedHeap()
    _make_network(allocator, stream, drawn=device == "cpu")
    allocator.peak = 0  # what making it took is over
    left: set[Any] = set()
    for step in range(STEPS):
        left = _play(allocator, stream, step, left)
    return allocator.peak


def _make_network(allocator: Allocator, stream: Stream, *, drawn: bool) -> None:
    """Take the weights. Where they are `drawn`, a convolution's is copied into its order, and then drawn in another (see `initializers`)."""
    for event in stream.events:
        kind = stream.kinds.get(event.storage)
        if event.bytes <= 0 or kind not in STATIC:
            continue
        redrawn = drawn and kind == "kernels"
        if redrawn:
            allocator.take("other order", event.bytes)
        allocator.take(event.storage, event.bytes)
        if redrawn:
            allocator.give("other order")
            allocator.take("drawn", event.bytes)
            allocator.take("magnitudes", min(event.bytes, 4 * AT_ONCE))
            allocator.give("magnitudes")
            allocator.give("drawn")


def _play(allocator: Allocator, stream: Stream, step: int, left: set[Any]) -> set[Any]:
    """One step; what was `left` by the one before goes once the next batch has come. Returns what this one leaves."""
    taken: set[Any] = set()
    for event in stream.events:
        if stream.kinds.get(event.storage) in STATIC:
            continue
        if event.phase != "before":
            while left:
                allocator.give(left.pop())
        key = (step, event.storage)
        if event.bytes > 0 and key not in taken:
            allocator.take(key, event.bytes)
            taken.add(key)
        elif event.bytes < 0 and key in taken:
            allocator.give(key)
            taken.discard(key)
    allocator.end_of_step()
    return taken
