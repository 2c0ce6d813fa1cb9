"""The table of a network's layers, shapes and parameters, as Keras prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from ..console import as_plain_text
from ..graph.build import layer_of
from ..graph.network import Network
from ..graph.weights import variables_of
from ..layout import person_shape

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    output_shape: str
    parameters: int


@dataclass(frozen=True)
class Summary:
    """One row for each layer call, and the totals; a shared layer's parameters count once."""

    title: str
    rows: tuple[Row, ...]
    trainable: int
    non_trainable: int

    @property
    def total(self) -> int:
        return self.trainable + self.non_trainable

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        foot = f"Total params: {self.total:,}\nTrainable params: {self.trainable:,}\nNon-trainable params: {self.non_trainable:,}"
        table = Table(title=self.title, title_justify="left", caption=foot, caption_justify="left", box=box.SIMPLE_HEAD)
        table.title_style = table.caption_style = ""
        table.add_column("Layer (type)", no_wrap=True)
        table.add_column("Output Shape", no_wrap=True)
        table.add_column("Param #", justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(f"{row.name} ({row.kind})", row.output_shape, f"{row.parameters:,}")
        return table

    def __str__(self) -> str:
        return as_plain_text(self)


def summarize(network: Network, *, title: str | None = None) -> Summary:
    """The summary of any network of layers."""
    names = network.layers.named()
    seen: set[int] = set()
    rows = []
    for node in network.graph.nodes:
        if node.op == "call_module":
            layer = layer_of(network, node)
            assert layer is not None
            count = 0 if id(layer) in seen else sum(parameter_counts(layer))
            seen.add(id(layer))
            rows.append(Row(node.meta["layer"], type(layer).__name__, _shape_text(node), count))
        elif node.op == "placeholder" and node.meta["layer"] in names:
            rows.append(Row(node.meta["layer"], "InputLayer", _shape_text(node), 0))
    trainable, non_trainable = parameter_counts(network)
    return Summary(title or f'Model: "{network.name}"', tuple(rows), trainable, non_trainable)


def parameter_counts(module: nn.Module) -> tuple[int, int]:
    """(trainable, non-trainable): parameters that train; frozen ones and moving statistics (not counters)."""
    counts = [(variable.tensor.numel(), variable.trainable) for variable in variables_of(module)]
    return sum(n for n, trains in counts if trains), sum(n for n, trains in counts if not trains)


def _shape_text(node: fx.Node) -> str:
    if "shape" in node.meta:
        return _text(node.meta["shape"])
    return ", ".join(_text(user.meta["shape"]) for user in node.users)


def _text(inner: tuple[int, ...]) -> str:
    shape: tuple[Any, ...] = (None, *person_shape(inner))
    return str(shape)
