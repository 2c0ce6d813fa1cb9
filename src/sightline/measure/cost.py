"""What a network costs: multiplications, parameters and the bytes of what its layers answer, without running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import layers
from ..errors import choose
from ..graph import nested
from ..graph.network import Network
from ..graph.symbolic import call_on, inference, shape_mode
from ..layout import Shape
from .steps import Port, Step, Steps, steps_of
from .summary import parameter_counts
from .units import bytes_text, count_text

BYTES = 4  # of a float32


@dataclass(frozen=True)
class NodeCost:
    """Of one call of a layer, for one image. `parameters` of a layer that is called again count at its first call."""

    name: str
    kind: str
    macs: int
    parameters: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        """Two for each multiply-add: the product and the sum."""
        return 2 * self.macs


@dataclass(frozen=True)
class Cost:
    """The cost of each node, and the totals, for one image in float32.

    `activation_bytes` is the sum of all nodes' outputs, the image among them: what training keeps where nothing is computed
    anew or in place. `parameters` are `trainable` and `non_trainable`.
    """

    nodes: tuple[NodeCost, ...]
    trainable: int
    non_trainable: int

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def parameters(self) -> int:
        return self.trainable + self.non_trainable

    @property
    def activation_bytes(self) -> int:
        return sum(node.activation_bytes for node in self.nodes)

    def __getitem__(self, node: str) -> NodeCost:
        named = {each.name: each for each in self.nodes}
        return named[choose("node", node, named)]

    def __str__(self) -> str:
        return (
            f"{count_text(self.macs)} multiply-adds ({count_text(self.flops)} FLOPs), "
            f"{count_text(self.parameters)} parameters, {bytes_text(self.activation_bytes)} of activations for an image"
        )


def cost(model: Network) -> Cost:
    """What one image costs in inference: the multiply-adds of convolutions and dense layers, parameters, activations.

    Additions alone, activation functions, normalisation, pooling and resizing by two pixels are left out, as
    `torch.utils.flop_counter` leaves them out; a layer of someone else's is counted by that, on tensors without memory.
    Raises SightlineError where the network does not know its input's shape.
    """
    return cost_of(steps_of(model), model)


def cost_of(steps: Steps, model: Network) -> Cost:
    """`cost`, for who has the steps of `model` already."""
    seen: set[int] = set()
    nodes = []
    for step in steps.all:
        new = step.layer is not None and id(step.layer) not in seen
        seen.add(id(step.layer))
        parameters = sum(parameter_counts(step.layer)) if new and step.layer is not None else 0
        held = BYTES * sum(math.prod(shape) for shape in step.shapes if shape)
        nodes.append(NodeCost(step.name, step.kind, macs_of(step), parameters, held))
    return Cost(tuple(nodes), *parameter_counts(model))


def macs_of(step: Step) -> int:
    """The multiply-adds of one call for one image."""
    if step.layer is None:
        return 0
    formula = FORMULAS.get(type(step.layer))
    if formula is not None:
        return formula(step.layer, step.inputs[0].shape, step.shape)
    return 0 if type(step.layer) in WITHOUT_PRODUCTS else _counted(step, step.layer)


def _conv2d(layer: layers.Conv2D, shape: Shape, out: Shape) -> int:
    return math.prod(out) * (shape[0] // layer.groups) * math.prod(layer.kernel_size)


def _depthwise(layer: layers.DepthwiseConv2D, shape: Shape, out: Shape) -> int:
    return math.prod(out) * math.prod(layer.kernel_size)


def _separable(layer: layers.SeparableConv2D, shape: Shape, out: Shape) -> int:
    between = shape[0] * layer.depth_multiplier
    return between * math.prod(out[1:]) * math.prod(layer.kernel_size) + between * math.prod(out)


def _transposed(layer: layers.Conv2DTranspose, shape: Shape, out: Shape) -> int:
    return math.prod(shape) * layer.filters * math.prod(layer.kernel_size)


def _dense(layer: layers.Dense, shape: Shape, out: Shape) -> int:
    return math.prod(out) * layer.weight.shape[1]


FORMULAS: dict[type[nn.Module], Callable[[Any, Shape, Shape], int]] = {
    layers.Conv2D: _conv2d,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Conv2DTranspose: _transposed,
    layers.Dense: _dense,
}
# Resizing by a wide kernel is a product of matrices, and is counted
WITHOUT_PRODUCTS = set(layers.FILE_LAYERS.values()) - {layers.Resizing, layers.UpSampling2D, layers.RandomCrop}


def _counted(step: Step, layer: nn.Module) -> int:
    """What torch counts when the layer runs on one image without memory."""
    from torch.utils.flop_counter import FlopCounterMode

    with shape_mode(getattr(layer, "foreign", False)) as device, inference(layer), _attention_in_parts():
        args, kwargs = nested.mapped(
            Port,
            lambda port: torch.empty((1, *port.shape), dtype=port.dtype, device=device),
            [step.args, step.kwargs or {}],
        )
        with FlopCounterMode(display=False) as counter:
            call_on(device, layer, args, kwargs)
    return counter.get_total_flops() // 2


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """nn.MultiheadAttention without its kernel for inference, which torch does not count."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
