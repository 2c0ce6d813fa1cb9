"""How far torch's own modules look, and a module of someone else's as steps of such.

A module around others is traced (`torch.fx`); what remains are torch's own layers, and functions of torch's that are the same
as one of them or as a joining layer.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..graph.build import map_nodes
from ..graph.symbolic import inference, shape_mode
from ..layers import Layer, Torch
from ..layout import Shape
from .looks import (
    PLACE_BY_PLACE,
    WHOLE,
    Look,
    Rule,
    beside,
    joins,
    look_of,
    place_by_place,
    reshapes,
    rule_of,
    size_of,
)
from .steps import Port, Step
from .windows import EVERYTHING, Window, adaptive, looked_up, resized, shifted, sliding, spread


def both(value: Any) -> tuple[int, int]:
    """torch's way of giving two sizes: one number for both."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _slides(module: Any, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """nn.Conv2d, nn.MaxPool2d and nn.AvgPool2d."""
    kernel, dilation = both(module.kernel_size), both(getattr(module, "dilation", 1))
    strides = kernel if module.stride is None else both(module.stride)
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    before = (0, 0) if module.padding == "valid" else module.padding
    if before == "same":  # whose strides are 1; an odd row or column goes to the bottom and right
        before = tuple((k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True))
    before = both(before)
    rows, columns = (sliding(kernel[i], strides[i], before[i], dilation[i]) for i in (0, 1))
    return Look(((rows, columns),))


def _spreads(module: nn.ConvTranspose2d, shapes: Sequence[Shape], out: Shape) -> Look:
    kernel, strides, dilation, before = map(both, (module.kernel_size, module.stride, module.dilation, module.padding))
    rows, columns = (spread(kernel[i], strides[i], before[i], dilation[i]) for i in (0, 1))
    return Look(((rows, columns),))


def _adapts(module: Any, shapes: Sequence[Shape], out: Shape) -> Look:
    rows, columns = (
        EVERYTHING if new == 1 else adaptive(old, new)
        for old, new in zip(size_of(shapes[0]), size_of(out), strict=True)
    )
    return Look(((rows, columns),))


def _upsamples(module: nn.Upsample, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """Where torch's arithmetic is that of whole factors, or of sizes."""
    sizes = list(zip(size_of(shapes[0]), size_of(out), strict=True))
    if module.mode in ("nearest", "nearest-exact"):
        return Look(((_nearest(module, sizes[0], 0), _nearest(module, sizes[1], 1)),))
    factors = () if module.scale_factor is None else both_factors(module.scale_factor)
    exact = all(old * factor == new for (old, new), factor in zip(sizes, factors, strict=False))
    if module.mode != "bilinear" or module.align_corners or not exact:
        return None
    rows, columns = (resized(old, new, "bilinear") for old, new in sizes)
    return Look(((rows, columns),))


def both_factors(value: Any) -> tuple[float, float]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _nearest(module: nn.Upsample, sizes: tuple[int, int], axis: int) -> Window:
    """Ask the module itself which pixels it takes: torch rounds in several ways."""
    old, new = sizes
    size = None if module.size is None else [new, 1][:: 1 if axis == 0 else -1]
    factors = (
        None
        if module.scale_factor is None
        else [both_factors(module.scale_factor)[axis], 1.0][:: 1 if axis == 0 else -1]
    )
    column = torch.arange(old, dtype=torch.float64).view((1, 1, old, 1) if axis == 0 else (1, 1, 1, old))
    pixels = F.interpolate(column, size, factors, mode=module.mode)
    return looked_up(pixels.flatten().long().numpy(), old)


def _pads(module: nn.ZeroPad2d, shapes: Sequence[Shape], out: Shape) -> Look:
    left, _, top, _ = module.padding
    return Look(((shifted(-top), shifted(-left)),))


RULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: _slides,
    nn.MaxPool2d: _slides,
    nn.AvgPool2d: _slides,
    nn.ConvTranspose2d: _spreads,
    nn.AdaptiveAvgPool2d: _adapts,
    nn.AdaptiveMaxPool2d: _adapts,
    nn.Upsample: _upsamples,
    nn.UpsamplingNearest2d: _upsamples,
    nn.ZeroPad2d: _pads,
    nn.Flatten: reshapes,
    nn.Unflatten: reshapes,
    **dict.fromkeys(
        (
            nn.BatchNorm1d, nn.BatchNorm2d, nn.CELU, nn.Dropout, nn.Dropout2d, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish,
            nn.Hardtanh, nn.Identity, nn.LeakyReLU, nn.LocalResponseNorm, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.SELU,
            nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh,
        ),
        place_by_place,
    ),
}  # fmt: skip


def look_of_module(module: nn.Module, shapes: Sequence[Shape], out: Shape) -> Look | None:
    """As `looks.look_of`, also for modules of torch's own, bare or as `layers.Torch`, and for `FunctionCall`s."""
    if isinstance(module, Torch):
        module = module.module
    elif isinstance(module, Layer):
        return look_of(module, shapes, out)
    if isinstance(module, FunctionCall):
        return module.rule(module, shapes, out)
    if isinstance(module, nn.Linear):
        return PLACE_BY_PLACE if len(shapes[0]) == 1 else None  # it works on the last axis, which is the width
    if isinstance(module, nn.Softmax):
        return PLACE_BY_PLACE if len(shapes[0]) == 1 or module.dim in (1, -3) else None
    rule = rule_of(module, RULES)
    return None if rule is None else rule(module, shapes, out)


class FunctionCall(nn.Module):
    """A function's call in a traced module, with its rule; its name is what messages say of it."""

    def __init__(self, name: str, rule: Rule):
        super().__init__()
        self.name, self.rule = name, rule


def _not_known(module: Any, shapes: Sequence[Shape], out: Shape) -> None:
    return None


def _whole_map(module: Any, shapes: Sequence[Shape], out: Shape) -> Look | None:
    return WHOLE if len(shapes[0]) == 3 else None


def _whole_if_pooled(node: fx.Node) -> nn.Module:
    """`x.mean((2, 3))`: the mean of whole feature maps; over other axes not known."""
    given: Any = [*node.args[1:2], node.kwargs.get("dim")][0]
    dims = {given} if isinstance(given, int) else set(given or ())
    return FunctionCall("mean", _whole_map if {dim % 4 for dim in dims} == {2, 3} else _not_known)


def _concatenation(node: fx.Node) -> nn.Module:
    dim: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return FunctionCall("cat", lambda module, shapes, out: beside(dim % (len(out) + 1), shapes))


def _with_arguments(kind: Callable[..., nn.Module], most: int, node: fx.Node) -> nn.Module:
    """The module that a function does the same as, made with its arguments behind the tensor."""
    if node.kwargs.get("antialias"):
        return FunctionCall("interpolate with antialias", _not_known)
    kwargs = {key: value for key, value in node.kwargs.items() if key not in ("input", "return_indices", "antialias")}
    return kind(*node.args[1 : 1 + most], **kwargs)


MODULES: dict[Any, Callable[[fx.Node], nn.Module]] = {
    F.max_pool2d: partial(_with_arguments, nn.MaxPool2d, 4),
    F.avg_pool2d: partial(_with_arguments, nn.AvgPool2d, 4),
    F.adaptive_avg_pool2d: partial(_with_arguments, nn.AdaptiveAvgPool2d, 1),
    F.adaptive_max_pool2d: partial(_with_arguments, nn.AdaptiveMaxPool2d, 1),
    F.interpolate: partial(_with_arguments, nn.Upsample, 4),
    **dict.fromkeys((torch.cat, torch.concat), _concatenation),
    **dict.fromkeys((torch.mean, "mean"), _whole_if_pooled),
}
ELEMENTWISE = {
    *(F.relu, F.relu_, F.relu6, F.elu, F.gelu, F.silu, F.mish, F.leaky_relu, F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh),
    *(F.dropout, F.batch_norm, F.local_response_norm),
    *(torch.relu, torch.relu_, torch.sigmoid, torch.tanh, torch.clamp),
    *("relu", "relu_", "sigmoid", "tanh", "clamp", "contiguous", "clone", "float", "detach"),
}  # fmt: skip
JOINS = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv),
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_"),
}
RESHAPES = {torch.flatten, torch.reshape, "flatten", "view", "reshape"}


def _module_of(node: fx.Node, traced: fx.GraphModule) -> nn.Module:
    """What a node does, as a module that has a rule, or a `FunctionCall`."""
    if node.op == "call_module":
        return traced.get_submodule(node.target)  # type: ignore[arg-type]
    if node.target in MODULES:
        return MODULES[node.target](node)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    if node.target in ELEMENTWISE:
        return FunctionCall(name, place_by_place)
    if node.target in JOINS:
        return FunctionCall(name, joins)
    return FunctionCall(name, reshapes if node.target in RESHAPES else _not_known)


class _Shapes(fx.Interpreter):
    """Runs a traced module and keeps the shape of each node's tensor, without the batch.

    Layers that change no shape are not run: without memory, torch's own BatchNorm2d takes longest of all.
    """

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        keeps_shape = RULES.get(type(self.fetch_attr(target))) is place_by_place
        return args[0] if keeps_shape and len(args) == 1 else super().call_module(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n] = tuple(result.shape[1:])
        return result


def steps_of_module(step: Step) -> tuple[list[Step], Port] | str | None:
    """The steps inside a `layers.Torch` of one output, and the port that it gives.

    None for what is no such module, or one of torch's own; where a module cannot be traced, what stood in the way.
    Each step's `layer` is one of torch's modules, or a `FunctionCall`; they are named behind the step, "torch/layer1_0_conv1".
    """
    if not isinstance(step.layer, Torch) or len(step.shapes) != 1 or step.kwargs:
        return None
    module = step.layer.module
    if rule_of(module, RULES) is not None:
        return None
    try:
        traced = fx.symbolic_trace(module)
        runner = _Shapes(traced)
        like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        with shape_mode(True), inference(traced):
            runner.run(*(torch.empty(2, *port.shape, dtype=like.dtype, device=like.device) for port in step.inputs))
    except Exception as error:  # someone's code may raise anything when it meets a symbolic value
        return (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
        )
    at: dict[fx.Node, Port] = {}
    steps: list[Step] = []
    waiting = iter(step.inputs)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            at[node] = next(waiting)
        elif node.op == "output":
            result = node.args[0]
            return (steps, at[result]) if isinstance(result, fx.Node) and result in at else None
        elif node in runner.shapes and any(source in at for source in node.all_input_nodes):  # else a constant
            args = map_nodes(at.get, node.args)
            inner = Step(f"{step.name}/{node.name}", _module_of(node, traced), (runner.shapes[node],), args)
            steps.append(inner)
            at[node] = Port(inner)
    return None
