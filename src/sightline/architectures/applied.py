"""Functions that someone's forward applies, as modules: each a small graph with the weights that it reads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.utils import _pytree

from ..graph.build import attribute_name
from ..graph.network import describe_graph, draw_graph
from .tracing import CONSTANT, uses

ANY_LAYOUT = {
    "view": "reshape",
    "view_as": "reshape_as",
}  # the same where both can be, and not only for planes in NCHW memory


class Applied(fx.GraphModule):
    """One function of a forward, with the sizes and weights that it reads; takes and gives tensors.

    `graph` names what `members` holds. Copies and pickles hold the graph as data, as a Network's do.
    """

    def __init__(self, graph: fx.Graph, members: dict[str, Member]):
        held = {name: member.what for name, member in members.items()}
        fx.GraphModule.__init__(self, held | {"training": False}, graph, "Applied")
        self._non_persistent_buffers_set |= {name for name in self._buffers if not members[name].persistent}

    def __reduce__(self) -> Any:
        state = {key: value for key, value in self.__dict__.items() if key not in ("_graph", "_code")}
        rows = [row | {"target": _by_name(row["target"])} for row in describe_graph(self.graph)]
        return _blank, (), state | {"graph description": rows}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows = [row | {"target": _from_name(row["target"])} for row in state.pop("graph description")]
        self.__dict__.update(state)
        self.graph = draw_graph(rows)

    def __deepcopy__(self, memo: dict[int, Any]) -> Applied:
        result = memo[id(self)] = object.__new__(type(self))  # whose code is made of the graph, which never changes
        state = {key: value for key, value in self.__dict__.items() if key != "_graph"}
        result.__dict__.update(copy.deepcopy(state, memo), _graph=self._graph)
        return result


def _blank() -> Applied:
    return Applied(fx.Graph(), {})


@dataclass(frozen=True)
class _Named:
    """A function of torch.nn.functional that pickle cannot find by itself."""

    name: str


def _by_name(target: Any) -> Any:
    name = getattr(target, "__name__", "")
    is_hidden = "<locals>" in getattr(target, "__qualname__", "") and getattr(F, name, None) is target
    return _Named(name) if is_hidden else target


def _from_name(target: Any) -> Any:
    return getattr(F, target.name) if isinstance(target, _Named) else target


class Whole(nn.Module):
    """A module that is not looked into: its answer as a row of tensors, its inputs in NCHW memory where it needs that.

    `in_a_row`: whether the answer is a dict or nested, and so is taken apart. `contiguous`: a forward that calls view.
    """

    def __init__(self, module: nn.Module, *, in_a_row: bool = False, contiguous: bool = False):
        super().__init__()
        self.module, self.in_a_row, self.contiguous = module, in_a_row, contiguous
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.contiguous:
            args, kwargs = _pytree.tree_map_only(torch.Tensor, torch.Tensor.contiguous, (args, kwargs))
        answer = self.module(*args, **kwargs)
        return tuple(_pytree.tree_leaves(answer)) if self.in_a_row else answer


def needs_planes(module: nn.Module) -> bool:
    """Whether someone's own module calls `view`, which fails on some tensors in channels_last memory."""
    theirs = type(module).__module__.split(".")[0] not in ("torch", "timm", "torchvision")
    return theirs and uses(module, "view")


# --- folding ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A tensor or module that an `Applied` holds; `persistent` as for a buffer."""

    what: Any
    persistent: bool = True


@dataclass
class Folded:
    """A node with all that it reads and that is no value: the graph, what that holds, and the values that go in."""

    graph: fx.Graph = field(default_factory=fx.Graph)
    members: dict[str, Member] = field(default_factory=dict)
    inputs: list[fx.Node] = field(default_factory=list)


def fold(
    node: fx.Node, is_value: Callable[[fx.Node], bool], root: nn.Module, part: Callable[[str], nn.Module]
) -> Folded:
    """The graph of a node on its own. `root` has what get_attr names, `part(target)` is a called module."""
    folded = Folded(inputs=_values_read(node, is_value))
    at = {value: folded.graph.placeholder(f"x{i}" if i else "x") for i, value in enumerate(folded.inputs)}

    def visit(n: fx.Node) -> fx.Node:
        if n not in at:
            target = n.target
            if n.op == "get_attr" and n.target != "training":
                target = _hold(folded, str(n.target), _member(root, str(n.target)))
            elif n.op == "call_module":
                target = _hold(folded, str(n.target), Member(part(str(n.target))))
            args, kwargs = (_argument(item, visit, folded.graph) for item in (n.args, n.kwargs))
            if n.op == "call_method" and not any(isinstance(a, torch.dtype) for a in (*args, *kwargs.values())):
                target = ANY_LAYOUT.get(str(target), target)
            at[n] = folded.graph.create_node(n.op, target, args, kwargs)
        return at[n]

    folded.graph.output(visit(node))
    return folded


def _values_read(node: fx.Node, is_value: Callable[[fx.Node], bool]) -> list[fx.Node]:
    """The values that a node needs, through what is none, each once."""
    found: dict[fx.Node, None] = {}
    waiting = list(reversed(node.all_input_nodes))
    while waiting:
        source = waiting.pop()
        if is_value(source):
            found[source] = None
        else:
            waiting += reversed(source.all_input_nodes)
    return list(found)


def _argument(item: Any, visit: Callable[[fx.Node], fx.Node], graph: fx.Graph) -> Any:
    """An argument with the nodes of another graph; a slice between nodes becomes a node, for plain data has no such."""
    if isinstance(item, fx.Node):
        return visit(item)
    if isinstance(item, slice):
        ends = [_argument(end, visit, graph) for end in (item.start, item.stop, item.step)]
        return graph.call_function(slice, tuple(ends)) if any(isinstance(end, fx.Node) for end in ends) else item
    if isinstance(item, (list, tuple)):
        items = [_argument(part, visit, graph) for part in item]
        return items if isinstance(item, list) else tuple(items)
    if isinstance(item, dict):
        return {key: _argument(part, visit, graph) for key, part in item.items()}
    return item


def _member(root: nn.Module, target: str) -> Member:
    path, _, name = target.rpartition(".")
    owner = root.get_submodule(path)
    persistent = name in owner._buffers and name not in owner._non_persistent_buffers_set
    return Member(getattr(owner, name), persistent)


def _hold(folded: Folded, target: str, member: Member) -> str:
    """Give a member a name, the last of its path where that is free."""
    last = target.rpartition(".")[2]
    base = name = attribute_name("constant" if last.startswith(CONSTANT) else last)
    count = 0
    while hasattr(fx.GraphModule, name) or (name in folded.members and folded.members[name].what is not member.what):
        count += 1
        name = f"{base}_{count}"
    folded.members[name] = member
    return name
