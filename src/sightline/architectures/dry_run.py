"""A traced graph run on tensors that have shapes and no memory: what each node gives, and whether the graph tells the truth.

A graph says which results a call reads. It does not say that a call changes a tensor in place which another call reads too,
or that a call matters whose result nobody reads: such places are found here.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ..errors import ShapeError
from ..graph import nested
from ..graph.symbolic import PROBE_BATCH, inference
from ..layout import Shape, person_shape
from .tracing import Untraceable, first_line, scope

IN_PLACE = "it changes in place what other parts read"


class DryRun(fx.Interpreter):
    """One run of a graph in inference mode; `results` has what each node gave, as fake tensors."""

    def __init__(self, entry: nn.Module, graph: fx.Graph, mode: FakeTensorMode):
        super().__init__(entry, garbage_collect_values=False, graph=graph)
        self.mode = mode
        self.results: dict[fx.Node, Any] = {}
        self.changes: list[tuple[fx.Node, int]] = []  # nodes and the storages that they change
        self.at_storage: dict[int, list[fx.Node]] = defaultdict(list)

    def run_node(self, n: fx.Node) -> Any:
        args = self.fetch_args_kwargs_from_env(n)
        before = [(tensor, tensor._version) for tensor in nested.each(torch.Tensor, args)]
        try:
            result = super().run_node(n)
        except Untraceable:
            raise
        except Exception as error:  # what someone's code raises where tracing took it for other than it is
            raise Untraceable(scope(n), first_line(error)) from error
        if n.op != "output":
            changed = {_storage(tensor) for tensor, version in before if tensor._version != version}
            changed |= {_storage(before[0][0])} if before and self._says_in_place(n) else set()
            self.changes += [(n, storage) for storage in changed]
            for storage in {_storage(tensor) for tensor in nested.each(torch.Tensor, result)}:
                self.at_storage[storage].append(n)
            self.results[n] = result
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        found = super().get_attr(target, args, kwargs)
        return self.mode.from_tensor(found) if isinstance(found, torch.Tensor) else found

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        return call(self.fetch_attr(target), args, kwargs, self.mode)

    def _says_in_place(self, node: fx.Node) -> bool:
        """A dropout in place changes nothing in inference, but would in training."""
        if node.op == "call_module":
            return bool(getattr(self.fetch_attr(str(node.target)), "inplace", False))
        return node.kwargs.get("inplace") is True


def call(module: nn.Module, args: Any, kwargs: Any, mode: FakeTensorMode) -> Any:
    """What a module gives, as fake tensors; one that looks at values is run on noise, and its results' shapes are taken.

    Its weights and buffers stay as they are.
    """
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    try:
        return functional_call(module, {name: mode.from_tensor(t) for name, t in state.items()}, args, kwargs)
    except (
        Exception
    ):  # DataDependentOutputException and its like, or NumPy's: a real run says whether it can be run at all
        with unset_fake_temporarily(), torch.random.fork_rng(devices=[]):
            args, kwargs = _with_tensors(_noise, (args, kwargs))
            buffers = {name: tensor.clone() for name, tensor in module.named_buffers()}
            result = functional_call(module, buffers, args, kwargs)
        return _with_tensors(mode.from_tensor, result)


def _noise(like: torch.Tensor) -> torch.Tensor:
    if not isinstance(like, FakeTensor):
        return like
    make = torch.rand if like.is_floating_point() else torch.zeros
    return make(tuple(like.shape), dtype=like.dtype, device=like.device)


def probes(shapes: Sequence[Shape], like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Inputs for a dry run, made under its mode."""
    return tuple(torch.empty((PROBE_BATCH, *shape), dtype=like.dtype, device=like.device) for shape in shapes)


def like(module: nn.Module) -> torch.Tensor:
    """A tensor of the type and on the device that a module takes: its first weight."""
    tensors = (tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point())
    return next(tensors, torch.empty(0))


class _Shortcut(TorchFunctionMode):
    """Without memory torch takes batch_norm apart, which takes two thirds of a run; what it gives is as what it takes."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.empty_like(args[0]) if function is F.batch_norm else function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch logs whole tracebacks of what fails on fake tensors, also of what is tried."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def dry_run(entry: nn.Module, graph: fx.Graph, shapes: Sequence[Shape]) -> dict[fx.Node, Any]:
    """What each node of a graph gives, as fake tensors. Raises Untraceable where the graph is not the whole truth."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with _quiet(), mode, _Shortcut(), inference(entry):
        run = DryRun(entry, graph, mode)
        run.run(*probes(shapes, like(entry)))
    _refuse_order(run)
    _refuse_lost(run)
    return run.results


def answer_of(module: nn.Module, shapes: Sequence[Shape]) -> Any:
    """What a module gives as a whole, as fake tensors. Raises ShapeError where it cannot take such inputs."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with _quiet(), mode, inference(module):
            return call(module, probes(shapes, like(module)), {}, mode)
    except Exception as error:  # of someone's code
        given = ", ".join(str((None, *person_shape(shape))) for shape in shapes)
        kind = type(module).__name__
        raise ShapeError(f"{kind} cannot take an input of shape {given}: {first_line(error)}") from error


def _with_tensors(function: Any, structure: Any) -> Any:
    return torch.utils._pytree.tree_map_only(torch.Tensor, function, structure)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _refuse_order(run: DryRun) -> None:
    """Untraceable where a call changes what was there before it, or what a call reads that it is not ordered with."""
    order = {node: place for place, node in enumerate(run.results)}
    for node, storage in run.changes:
        for earlier in (n for n in run.at_storage[storage] if order[n] < order[node]):
            if earlier.op == "get_attr":
                raise Untraceable(scope(node), "its forward changes its own weights or buffers")
            for reader in earlier.users:
                is_before = reader in order and order[reader] < order[node]
                if reader is not node and not (is_before and reader in run.at_storage[storage]):
                    raise Untraceable(scope(node), IN_PLACE)


def _refuse_lost(run: DryRun) -> None:
    """Untraceable where nobody reads a module's answer, and the module may be called for what it changes."""
    for node in run.results:
        if node.op == "call_module" and not node.users:
            module = run.fetch_attr(str(node.target))
            if not type(module).__module__.startswith("torch.nn") or next(module.buffers(), None) is not None:
                raise Untraceable(scope(node), "its forward calls what it returns nothing of")


# --- which nodes are values ------------------------------------------------------------------------------------


def is_answer(result: Any) -> bool:
    """Whether a layer could give this: a tensor, or a row of tensors (some may be None)."""
    if isinstance(result, torch.Tensor):
        return True
    is_row = isinstance(result, (list, tuple)) and all(r is None or isinstance(r, torch.Tensor) for r in result)
    return is_row and any(r is not None for r in result)


def values_among(results: dict[fx.Node, Any]) -> set[fx.Node]:
    """The nodes that become symbolic values: they give tensors that depend on the inputs.

    The others (sizes, what is computed from weights alone) belong to the calls that read them. Raises Untraceable for a
    module among those that would be called more than once then.
    """
    depend: set[fx.Node] = set()
    for node in results:
        if node.op == "placeholder" or any(source in depend for source in node.all_input_nodes):
            depend.add(node)
    values = {node for node in depend if is_answer(results[node])}
    for node in results:
        if node.op == "call_module" and node not in values and not _is_used_once(node, values):
            raise Untraceable(scope(node), f"{node.target} gives no tensor, or one that does not depend on the input")
    return values


def _is_used_once(node: fx.Node, values: set[fx.Node]) -> bool:
    while node not in values:
        if len(node.users) != 1 or node.op == "output":
            return False
        node = next(iter(node.users))
    return True
