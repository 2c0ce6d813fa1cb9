"""Someone else's module -> a `torch.fx` graph that does what the module does, in training and in inference.

fx runs a module's forward once on stand-ins and writes down what is called. That says the whole truth only of a forward that
does the same each time; where it does not, the module that fx cannot follow stays one node, and the rest is traced again.
"""

from __future__ import annotations

import dis
import inspect
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import fx, nn

from ..graph.symbolic import in_mode
from ..graph.weights import Weighted

ROOT = "module"  # where the traced module stands in its `Entry`
READS = "LOAD_ATTR", "LOAD_METHOD"
CONSTANT = "_tensor_constant"  # how fx names a tensor that forward made itself


class Untraceable(Exception):
    """The module at `path` must stay one node, and why."""

    def __init__(self, path: str, why: str):
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class Entry(nn.Module):
    """Holds the module that is traced, so that it may itself be a node."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)


@dataclass
class Opaque:
    """What is not looked into: modules by path, and classes."""

    paths: set[str] = field(default_factory=set)
    kinds: set[type[nn.Module]] = field(default_factory=set)

    def add(self, path: str, module: nn.Module) -> None:
        """Look no more into a module, nor into others of its class; of torch's classes (Sequential) into this one."""
        if _is_torchs(type(module)):
            self.paths.add(path)
        else:
            self.kinds.add(type(module))

    def holds(self, path: str, module: nn.Module) -> bool:
        return path in self.paths or type(module) in self.kinds


def opaque_from_the_start(entry: Entry) -> Opaque:
    """What need not be tried: see `why_opaque`."""
    found = Opaque(kinds=set(_leaves_of_timm(entry)[0]))
    for path, module in entry.named_modules():
        if path and why_opaque(module, is_root=path == ROOT):
            found.add(path, module)
    return found


def why_opaque(module: nn.Module, *, is_root: bool) -> str | None:
    """Why fx would miss what a module does, by its code; None where nothing speaks against trying.

    A module that reads its mode stays whole unless it is the one that is wrapped: that is traced in both modes.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has hooks"
    if not isinstance(getattr(type(module), "forward", None), FunctionType) or isinstance(
        module, torch.jit.ScriptModule
    ):
        return "its forward is no Python function"
    if _is_torchs(type(module)):
        return None
    if "training" in _attributes(type(module).forward.__code__, *READS) and not is_root:
        return "its forward reads self.training"
    kept = [name for code in _own_code(type(module)) for name in _attributes(code, "STORE_ATTR")]
    return f"its forward keeps {kept[0]} for later" if kept else None


def uses(module: nn.Module, method: str) -> bool:
    """Whether the code of a module's forward, or of a part's that is not torch's own, calls a method of that name."""
    kinds = {type(part) for part in module.modules() if not _is_torchs(type(part))}
    return any(method in _attributes(code, *READS) for kind in kinds for code in _own_code(kind))


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.")


def _own_code(kind: type) -> Iterator[CodeType]:
    """The code of a class's forward and of the methods that it, and they, name."""
    waiting, seen = ["forward"], {"forward"}
    while waiting:
        method = inspect.getattr_static(kind, waiting.pop(), None)
        if isinstance(method, FunctionType) and not _is_torchs_method(method):
            yield method.__code__
            named = set(method.__code__.co_names) - seen
            waiting += sorted(named)
            seen |= named


def _is_torchs_method(method: FunctionType) -> bool:
    return str(method.__module__).startswith("torch.")


def _attributes(code: CodeType, *operations: str) -> list[str]:
    """The attributes that code, and the functions within it, reads or stores, by Python's names of these operations."""
    inner = [
        name for const in code.co_consts if isinstance(const, CodeType) for name in _attributes(const, *operations)
    ]
    return [i.argval for i in dis.get_instructions(code) if i.opname in operations] + inner


def _leaves_of_timm(module: nn.Module) -> tuple[list[type[nn.Module]], list[Any]]:
    """timm's own lists of modules and of functions not to look into, where it has a part in the module."""
    if not any(type(part).__module__.split(".")[0] == "timm" for part in module.modules()):
        return [], []
    from timm.models import _features_fx

    return _features_fx.get_notrace_modules(), _features_fx.get_notrace_functions()


# --- tracing ---------------------------------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """fx's tracer, that says which module it could not follow."""

    proxy_buffer_attributes = True

    def __init__(self, inputs: int, opaque: Opaque, functions: list[Any]):
        modules = tuple(m for m in (math, sys.modules.get("torchvision.ops")) if m is not None)
        super().__init__(modules, tuple(functions))
        self.inputs, self.opaque, self.around = inputs, opaque, _surroundings()

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """As many inputs as there are shapes; what else forward takes has its default."""
        given = [self.create_proxy("placeholder", f"input_{i}", (), {}) for i in range(self.inputs)]
        return root_fn, [self.root, *given]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, Weighted) or self.opaque.holds(module_qualified_name, m)
        return own or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        self.param_shapes_constant = isinstance(
            attr_val, nn.Parameter
        )  # fx has stand-ins of known shape for these alone
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        if self.around != _surroundings():
            raise RuntimeError("its forward turns gradients or autocast on or off")
        return super().create_node(kind, *args, **kwargs)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path = (self.submodule_paths or {}).get(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Untraceable:
            raise
        except Exception as error:  # whatever someone's code raises when it meets a stand-in
            if path is None or self.is_leaf_module(m, path):
                raise  # then it is the caller that cannot be followed
            raise Untraceable(path, first_line(error)) from error


def _surroundings() -> tuple[bool, ...]:
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]


def trace(module: nn.Module, inputs: int, opaque: Opaque) -> tuple[Entry, fx.Graph]:
    """The graph of a module in an `Entry`, good for both modes. Raises Untraceable for a part that it cannot follow.

    What differs between training and inference in a constant alone (the `training` of a dropout) is looked up by mode.
    """
    functions = _leaves_of_timm(module)[1]
    entries, graphs = (Entry(module), Entry(module)), []
    for entry, training in zip(entries, (True, False), strict=True):
        with in_mode(entry, training), torch.random.fork_rng(devices=[]):
            torch.manual_seed(training)  # two seeds, so that what is drawn differs
            graphs.append(_Tracer(inputs, opaque, functions).trace(entry))
    _merge(entries, graphs[0], graphs[1])
    return entries[1], graphs[1]


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Afterwards every part of a module has the attributes that it had before, and these hold what they held."""
    attributes = [vars(part) for part in module.modules()]
    held = [value for each in attributes for value in each.values() if type(value) in (dict, list, set)]
    before = [(each, each.copy()) for each in (*attributes, *held)]
    try:
        yield
    finally:
        for each, content in before:
            each.clear()
            each.extend(content) if isinstance(each, list) else each.update(content)


# --- one graph for both modes ----------------------------------------------------------------------------------


class _Different(Exception):
    """Two graphs do different things at a place."""


def by_mode(training: bool, in_training: Any, in_inference: Any) -> Any:
    """A constant of a forward that depends on the mode."""
    return in_training if training else in_inference


def _merge(entries: tuple[Entry, Entry], training: fx.Graph, inference: fx.Graph) -> None:
    """Make the graph of inference one that is good for training too. Raises Untraceable where it cannot be."""
    pairs = list(zip(list(training.nodes), list(inference.nodes), strict=False))
    same: dict[fx.Node, fx.Node] = {}
    for ours, theirs in pairs:
        try:
            if not _same_target(entries, ours, theirs):
                raise _Different
            theirs.args, theirs.kwargs = _merged((ours.args, ours.kwargs), (theirs.args, theirs.kwargs), same, theirs)
        except _Different:
            where = scope(theirs if theirs.op != "output" else ours)
            raise Untraceable(where, "its forward does other things in training than in inference") from None
        same[ours] = theirs


def _same_target(entries: tuple[Entry, Entry], one: fx.Node, other: fx.Node) -> bool:
    if one.op != other.op:
        return False
    if one.op == "get_attr" and str(one.target).startswith(CONSTANT):
        first, second = (getattr(entry, str(n.target), None) for entry, n in zip(entries, (one, other), strict=True))
        if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
            return False
        return torch.equal(first, second)  # else it was drawn, and is another each time
    return one.target == other.target


def _merged(one: Any, other: Any, same: dict[fx.Node, fx.Node], reader: fx.Node) -> Any:
    """Arguments of one graph and of the other, with nodes that choose where constants differ."""
    if isinstance(one, fx.Node) or isinstance(other, fx.Node):
        if not isinstance(one, fx.Node) or same.get(one) is not other:
            raise _Different
        return other
    if isinstance(one, slice) and isinstance(other, slice):
        return slice(*_merged((one.start, one.stop, one.step), (other.start, other.stop, other.step), same, reader))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        items = [_merged(a, b, same, reader) for a, b in zip(one, other, strict=True)]
        return items if isinstance(other, list) else tuple(items)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: _merged(one[key], other[key], same, reader) for key in other}
    if type(one) is type(other) and one == other:
        return other
    if not all(isinstance(item, (bool, int, float, str, type(None))) for item in (one, other)):
        raise _Different
    with reader.graph.inserting_before(reader):
        mode = reader.graph.create_node("get_attr", "training")
        chosen = mode if (one, other) == (True, False) else reader.graph.call_function(by_mode, (mode, one, other))
    for node in (mode, chosen):
        node.meta["nn_module_stack"] = reader.meta.get("nn_module_stack", {})
    return chosen


def scope(node: fx.Node) -> str:
    """The path of the innermost module that is looked into and calls a node."""
    paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return next((path for path in reversed(paths) if path and (node.op != "call_module" or path != node.target)), ROOT)
