"""The table of all that is known of a network before it runs: shapes, parameters, cost, receptive fields, connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..console import as_plain_text
from ..graph.network import Network
from ..layout import person_shape
from .cost import Cost, NodeCost, cost_of
from .receptive_field import ReceptiveField, fields_where_known, times
from .steps import Step, steps_of
from .units import bytes_text, count_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class FullRow:
    """One call of a layer. `field` is None where it is not known; `connected_to` names the nodes that it takes."""

    cost: NodeCost
    output_shape: str
    field: ReceptiveField | None
    connected_to: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.cost.name

    @property
    def field_text(self) -> str:
        """Size and stride in pixels, "7 / 2": "all" for the whole image, "?" for what is not known."""
        if self.field is None:
            return "?"
        size, stride = times(*self.field.size), times(*self.field.stride)
        return size if stride == "0" else f"{size} / {stride}"


@dataclass(frozen=True)
class FullSummary:
    """One row for each layer call, those inside nested networks in their place, and the totals."""

    title: str
    rows: tuple[FullRow, ...]
    cost: Cost

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(
            title=self.title, title_justify="left", caption=self._foot(), caption_justify="left", box=box.SIMPLE_HEAD
        )
        table.title_style = table.caption_style = ""
        table.add_column("Layer (type)", overflow="fold")
        table.add_column("Output Shape", no_wrap=True)
        for heading in ("Param #", "MACs", "Memory", "Field"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("Connected to", overflow="fold")
        above = None
        for row in self.rows:
            numbers = (
                count_text(row.cost.parameters),
                count_text(row.cost.macs),
                bytes_text(row.cost.activation_bytes),
            )
            taken = "" if row.connected_to == (above,) else ", ".join(row.connected_to)
            table.add_row(f"{row.name} ({row.cost.kind})", row.output_shape, *numbers, row.field_text, taken)
            above = row.name
        return table

    def _foot(self) -> str:
        cost = self.cost
        return (
            f"Total params: {cost.parameters:,} ({bytes_text(4 * cost.parameters)})\n"
            f"Trainable params: {cost.trainable:,}\n"
            f"Non-trainable params: {cost.non_trainable:,}\n"
            f"MACs: {cost.macs:,} ({count_text(cost.flops)} FLOPs)\n"
            f"Memory of all outputs: {cost.activation_bytes:,} bytes ({bytes_text(cost.activation_bytes)}), one image in float32\n"
            "Field: receptive field / stride, in pixels. Connected to: the layer above, unless it says otherwise."
        )

    def __str__(self) -> str:
        return as_plain_text(self)


def full_summary(model: Network, *, title: str | None = None) -> FullSummary:
    """Every layer's shape, parameters, multiply-adds, bytes and receptive field.

    Raises SightlineError where the network does not know its input's shape.
    """
    steps = steps_of(model)
    cost = cost_of(steps, model)
    fields = {port.step: field for port, field in fields_where_known(steps).items()}
    rows = [
        FullRow(each, _shapes_text(step), fields.get(step), _names(step))
        for step, each in zip(steps.all, cost.nodes, strict=True)
    ]
    return FullSummary(title or f'Model: "{model.name}"', tuple(rows), cost)


def _shapes_text(step: Step) -> str:
    return ", ".join(str((None, *person_shape(shape))) for shape in step.shapes)


def _names(step: Step) -> tuple[str, ...]:
    named = ((port.step.name, f"[{port.item}]" if len(port.step.shapes) > 1 else "") for port in step.inputs)
    return tuple(name + item for name, item in named)
