"""Which memory a computation takes and gives back, operation by operation, without any of it being there.

Under fake tensors, which have shapes and no values, `LiveStorages` sees each operation that torch would run and each
storage that it would make; a storage's end is seen because Python tells when its last tensor has gone.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..graph import nested

Workspace = Callable[[Any, Sequence[Any], Any], list[int]]

# What is said to code that asks for a tensor's values, which are not there: zeros, and that they are what they should be
VALUES: dict[Any, Callable[[torch.Tensor], Any]] = {
    torch.ops.aten._local_scalar_dense.default: lambda tensor: 0.0 if tensor.is_floating_point() else 0,
    torch.ops.aten.equal.default: lambda tensor: True,
    torch.ops.prim.device.default: lambda tensor: tensor.device,
}


def blank(mode: Any, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A fake tensor on the CPU, made directly: torch's own way, through its dispatch, takes five times as long."""
    from torch._subclasses.fake_tensor import FakeTensor

    with torch._C._DisableTorchDispatch():
        empty = torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    return FakeTensor(mode, empty, torch.device("cpu"))


def _like(x: Any, *_: Any, **options: Any) -> Any:
    if any(options.values()) or not hasattr(x, "fake_mode"):
        return NotImplemented
    if x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return blank(x.fake_mode, x.shape, x.stride(), x.dtype)
    return NotImplemented


def _same(x: Any) -> Any:
    made = _like(x)
    return torch.empty_like(x) if made is NotImplemented else made


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: Any) -> Any:
    count = x.shape[1] if training else 0
    return _same(x), *(blank(x.fake_mode, (count,), (1,), x.dtype) for _ in range(2))


def _batch_norm_backward(gradient: Any, x: Any, *rest: Any) -> Any:
    by_x, *others = rest[-1]
    of_weights = (blank(x.fake_mode, (x.shape[1],), (1,), x.dtype) if by else None for by in others)
    return _same(x) if by_x else None, *of_weights


# What torch finds the shapes of by going through dozens of smaller operations, for each new shape again, or what is made so often
# that its dispatch counts: two thirds of the time of DenseNet's plan. NotImplemented: by torch after all
KNOWN: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.native_batch_norm_backward.default: _batch_norm_backward,
    torch.ops.aten.threshold_backward.default: lambda gradient, x, threshold: _same(x),
    torch.ops.aten.hardtanh_backward.default: lambda gradient, x, least, most: _same(x),
    torch.ops.aten.empty_like.default: _like,
    torch.ops.aten.zeros_like.default: _like,
    torch.ops.aten.full_like.default: _like,
}


def _computed(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation gives, in shapes only."""
    known = KNOWN[operation](*args, **kwargs) if operation in KNOWN else NotImplemented
    return operation(*args, **kwargs) if known is NotImplemented else known


@dataclass(frozen=True)
class Event:
    """`bytes` of storage number `storage` taken, or given back where they are negative, while `node` runs in `phase`."""

    storage: int
    bytes: int
    node: str
    phase: str


@dataclass
class Stream:
    """All events in order; what each storage is for, where that was said; and which storages each node reads."""

    events: list[Event] = field(default_factory=list)
    kinds: dict[int, str] = field(default_factory=dict)
    reads: dict[str, set[int]] = field(default_factory=dict)

    def live(self) -> dict[int, int]:
        """The bytes of each storage that has not been given back yet."""
        live: dict[int, int] = {}
        for event in self.events:
            live[event.storage] = live.get(event.storage, 0) + event.bytes
        return {storage: held for storage, held in live.items() if held}


# In place by their names, but what they change is the shape, or which storage it is
CHANGES_SHAPE = (
    "resize_",
    "resize_as_",
    "set_",
    "as_strided_",
    "squeeze_",
    "unsqueeze_",
    "t_",
    "transpose_",
    "swapdims_",
)


@functools.cache
def makes_nothing(operation: Any) -> bool:
    """Whether an operation works in the memory of its first argument and leaves its shape."""
    name = operation._schema.name.split("::")[-1]
    return name.endswith("_") and not name.endswith("__") and name not in CHANGES_SHAPE


class LiveStorages(TorchDispatchMode):
    """Inside, every storage that an operation makes is written into `stream`, with the node that `where()` names.

    `workspace(operation, arguments, result)` are the blocks that the operation's kernel takes for itself while it runs, in bytes.
    """

    def __init__(self, where: Callable[[], str], workspace: Workspace):
        super().__init__()
        self.stream = Stream()
        self.phase = "before"
        self._where, self._workspace = where, workspace
        self._sizes: dict[int, tuple[int, int]] = {}  # (number, bytes) by the address of the storage's object
        self._count, self._over = 0, False

    def __exit__(self, *error: Any) -> None:
        self._over = True
        super().__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in VALUES:
            return VALUES[func](args[0])
        if makes_nothing(func):
            self._read(args)  # left out: to look at it takes time
            return args[0] if isinstance(args[0], torch.Tensor) else None
        result = _computed(func, args, kwargs or {})
        node = self._read(args)
        for tensor in nested.each(torch.Tensor, result):
            self._number(tensor, node)
        blocks = [size for size in self._workspace(func, args, result) if size]
        numbers = range(self._count + 1, self._count + 1 + len(blocks))
        self._count += len(blocks)
        self.stream.kinds |= dict.fromkeys(numbers, "workspaces")
        for sign in (1, -1):
            for number, size in zip(numbers, blocks, strict=True):
                self._write(number, sign * size, node)
        return result

    def _read(self, args: Sequence[Any]) -> str:
        """Write down what is read, and say by which node."""
        node = self._where()
        self.stream.reads.setdefault(node, set()).update(
            self._number(tensor, node) for tensor in nested.each(torch.Tensor, args)
        )
        return node

    def hold(self, tensors: Sequence[torch.Tensor], kind: str) -> None:
        """Say what these tensors are for; those not seen yet are taken now."""
        for tensor in tensors:
            self.stream.kinds[self._number(tensor, kind)] = kind

    def _number(self, tensor: torch.Tensor, node: str) -> int:
        """The number of a tensor's storage, which is written down where it is new or has grown."""
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address not in self._sizes:
            self._count += 1
            self._sizes[address] = (self._count, 0)
            weakref.finalize(storage, self._end, address).atexit = False
        number, known = self._sizes[address]
        if size != known:
            self._sizes[address] = (number, size)
            self._write(number, size - known, node)
        return number

    def _end(self, address: int) -> None:
        number, size = self._sizes.pop(address)
        self._write(number, -size, self._where())

    def _write(self, number: int, size: int, node: str) -> None:
        if not self._over:
            self.stream.events.append(Event(number, size, node, self.phase))
