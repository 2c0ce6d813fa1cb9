"""Several processes that compute one batch together, each its rows: what they tell each other.

They are those of torch.distributed's process group, as `torchrun` starts them: gloo between CPUs, NCCL between GPUs. All take the
same path through the training; whatever could differ (a clock, a signal, memory that runs out) is agreed on first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from ..errors import SightlineError

WAIT = timedelta(minutes=30)  # for a rank that is late, before it counts as gone
BUCKET = 32 * 2**20  # bytes of gradients that are added up at a time


class PeerOutOfMemory(torch.OutOfMemoryError):
    """Memory ran out in another process, which begins the step again, and so do all."""


class Ranks:
    """The processes: this one is `number` (from 0) of `count`. Every method is called by all of them, in the same order."""

    def __init__(self) -> None:
        self.number, self.count = distributed.get_rank(), distributed.get_world_size()
        on_gpu = distributed.get_backend() == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        self._flag = torch.zeros(1, device=self._device)  # made now: there may be no memory for it later

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.number == 0

    # --- in a step, where memory may run out in one of them -----------------------------------------------------------

    def failed(self) -> None:
        """Say that memory has run out here: each other process learns it where it would hear of this one next."""
        with _told():
            distributed.all_reduce(self._flag.fill_(1))

    def all_well(self) -> None:
        """Hear whether memory has run out elsewhere; what is exchanged next has its memory already."""
        with _told():
            distributed.all_reduce(self._flag.fill_(0))
        if self._flag.item():
            raise PeerOutOfMemory("memory ran out in another process")

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of each process's tensor."""
        total = tensor.detach().to(self._device, copy=True)
        self.all_well()
        with _told():
            distributed.all_reduce(total)
        return total.to(tensor.device)

    def gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Each process's tensor, in order."""
        mine = tensor.detach().to(self._device).contiguous()
        found = [torch.empty_like(mine) for _ in range(self.count)]
        self.all_well()
        with _told():
            distributed.all_gather(found, mine)
        return [each.to(tensor.device) for each in found]

    def add_up_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Make each gradient the sum of all processes'; one that none of them has stays None."""
        if not parameters:
            return
        has = self.summed(torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device))
        reached = [parameter for parameter, any_has in zip(parameters, has.tolist(), strict=True) if any_has]
        for bucket in _buckets(reached):
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            total = torch.cat([part.reshape(-1) for part in parts]).to(self._device)
            self.all_well()
            with _told():
                distributed.all_reduce(total)
            for parameter, part in zip(
                bucket, total.to(parts[0].device).split([p.numel() for p in bucket]), strict=True
            ):
                parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape))

    # --- between steps -------------------------------------------------------------------------------------------------

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of them."""
        with _told():
            return bool(self.summed(torch.tensor([float(flag)])).item())

    def same(self, value: Any) -> Any:
        """The first process's value; anything that can be pickled."""
        box = [value]
        with _told():
            distributed.broadcast_object_list(box, 0, device=self._device)
        return box[0]

    def all_of(self, value: Any) -> list[Any]:
        """Each process's value, in order; anything that can be pickled."""
        found: list[Any] = [None] * self.count
        with _told():
            distributed.all_gather_object(found, value)
        return found

    def first_does(self, work: Callable[[], Any]) -> Any:
        """What `work` gives in the first process, or the SightlineError that it raised there, in all of them."""
        value: Any = None
        failure: SightlineError | None = None
        if self.is_first:
            try:
                value = work()
            except SightlineError as error:
                failure = error
        value, failure = self.same((value, failure))
        if failure is not None:
            failure.is_told = not self.is_first
            raise failure
        return value

    def begin_alike(self, network: nn.Module) -> None:
        """Give all the first one's weights and random numbers."""
        for tensor in [*network.parameters(), *network.buffers()]:
            sent = tensor.detach().to(self._device, copy=True)
            with _told():
                distributed.broadcast(sent, 0)
            tensor.data.copy_(sent)
        torch.set_rng_state(self.same(torch.get_rng_state()))
        if torch.cuda.is_initialized():
            torch.cuda.set_rng_state(self.same(torch.cuda.get_rng_state()))


def current() -> Ranks | None:
    """The processes that train together; None where this one is alone."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return None
    return Ranks()


def is_first() -> bool:
    """Whether this process writes and speaks: the only one, or the first of several."""
    ranks = current()
    return ranks is None or ranks.is_first


def first_does(work: Callable[[], Any]) -> Any:
    """What `work` gives; of several processes the first one does it for all."""
    ranks = current()
    return work() if ranks is None else ranks.first_does(work)


def most_rows(of: int, ranks: Ranks | None) -> int:
    """How many rows of a batch the process with the most of them computes."""
    return -(-of // (1 if ranks is None else ranks.count))


def on_this_machine() -> int:
    """How many of the processes share this machine, and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if current() is not None else 1


@contextmanager
def joined() -> Iterator[None]:
    """Inside, this process is one of those that `torchrun` has started; nothing where it was not."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        own, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if own >= there:
            raise SightlineError(
                "There are more processes than GPUs on this machine", expected=f"at most {there}",
                received=os.environ.get("LOCAL_WORLD_SIZE", own + 1), fix=f"Start torchrun with --nproc-per-node {there}",
            )  # fmt: skip
        torch.cuda.set_device(own)
    with _told():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what torch.distributed says of a lost process into a sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError) and not isinstance(error, PeerOutOfMemory):
            raise
        raise SightlineError(
            f"The processes that train together have lost each other: one has ended, or cannot be reached ({_first_line(error)})",
            fix="Look at what the others said, and go on from the last checkpoint: --resume with the run's folder",
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one type, in their order, of about so many bytes together."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        own = parameter.numel() * parameter.element_size()
        if bucket and (size + own > BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += own
    if bucket:
        yield bucket


def agreeing(ranks: Ranks | None) -> Callable[[bool], bool]:
    """What makes a flag true for all where it is true for one."""
    return bool if ranks is None else ranks.any


Path = tuple[str | int, ...]
Kind = tuple[list[int], str] | None  # sizes and type; None of what has not begun to count


def added_up(counts: Any, fresh: Any, ranks: Ranks) -> Any:
    """Nested counts of all processes together: to each number of `fresh`, as they begin, comes what each has counted since.

    So numbers that nobody changes stay, and what a process without rows has not begun to count is as the others have it.
    Raises SightlineError, in all processes, for counts that cannot be added up.
    """
    mine, start = dict(_numbers(counts)), dict(_numbers(fresh))
    everyones = ranks.all_of({path: _kind(number) for path, number in mine.items()})
    known = {path: _common(path, [kinds.get(path, "missing") for kinds in everyones]) for path in everyones[0]}
    if any(kinds.keys() != known.keys() for kinds in everyones):
        raise _not_additive("it has other entries in each process")
    counted = {path: kind for path, kind in known.items() if kind is not None}
    if not counted:
        return counts
    since = [_since(mine[path], start.get(path), sizes) for path, (sizes, _) in counted.items()]
    totals = ranks.summed(torch.cat([each.reshape(-1) for each in since])).split([each.numel() for each in since])
    result = counts
    for (path, (sizes, dtype)), total in zip(counted.items(), totals, strict=True):
        whole = total.reshape(sizes)
        if start.get(path) is not None:
            whole = whole + _as_float64(start[path])
        result = _with(result, path, _as(whole, mine[path], dtype))
    return result


def _numbers(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The numbers, tensors and arrays in nested dicts and lists, by their places; and each None, which may become one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _numbers(item, (*path, key))
    if value is None or (isinstance(value, (torch.Tensor, np.ndarray, int, float)) and not isinstance(value, bool)):
        yield path, value


def _kind(number: Any) -> Kind:
    if number is None:
        return None
    if isinstance(number, (int, float)):
        return [], type(number).__name__
    module = "torch." if isinstance(number, torch.Tensor) else "numpy."
    return list(number.shape), module + str(number.dtype).removeprefix("torch.")


def _common(path: Path, kinds: list[Any]) -> Kind:
    """What a number is in all processes; one that has counted nothing may hold a plain number, or None."""
    there = [kind for kind in kinds if kind not in (None, "missing")]
    if not there:
        return None
    sizes, dtype = max(there, key=lambda kind: (len(kind[0]), "." in kind[1]))
    if any(other not in ([], sizes) for other, _ in there):
        raise _not_additive(f"{path[-1]} has another shape in each process")
    return sizes, dtype


def _not_additive(why: str) -> SightlineError:
    return SightlineError(
        f"What a metric has counted cannot be added up over the processes that train together: {why}",
        fix="Let it keep numbers, tensors or arrays that begin as 0 (or None) and grow by each sample's share",
    )


def _as(whole: torch.Tensor, own: Any, dtype: str) -> Any:
    if dtype in ("int", "float"):
        return int(whole.item()) if dtype == "int" else whole.item()
    module, name = dtype.split(".")
    if module == "numpy":
        return whole.numpy().astype(name)
    return whole.to(own.device if isinstance(own, torch.Tensor) else "cpu", getattr(torch, name))


def _as_float64(number: Any) -> torch.Tensor:
    return torch.as_tensor(number, dtype=torch.float64, device="cpu")


def _since(number: Any, start: Any, sizes: list[int]) -> torch.Tensor:
    now, before = (_as_float64(0 if each is None else each) for each in (number, start))
    return (now - before).expand(sizes)


def _with(value: Any, path: Path, new: Any) -> Any:
    """Nested dicts and lists with another value at a place."""
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed
