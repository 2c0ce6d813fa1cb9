"""What torch's own modules and functions do to a feature map, as far as a fully convolutional network needs to know it."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..layers import Torch

Pair = tuple[int, int]


@dataclass(frozen=True)
class Sliding:
    """A window that moves, with so many rows and columns of padding before the first."""

    kernel: Pair
    strides: Pair
    before: Pair


@dataclass(frozen=True)
class Pooling:
    """ "average" or "max" pooling to so many places, whatever the size; `flat`: the result is a row."""

    kind: str
    places: Pair
    flat: bool = False


FLATTENING = "flattening"
FLATTENERS = (torch.flatten, torch.reshape, "flatten", "reshape", "view")
ADAPTIVE = {
    nn.AdaptiveAvgPool2d: "average", nn.AdaptiveMaxPool2d: "max",
    F.adaptive_avg_pool2d: "average", F.adaptive_max_pool2d: "max",
}  # fmt: skip


def meaning_of(layer: nn.Module, shape: tuple[int, ...], out: tuple[int, ...]) -> Sliding | Pooling | str | None:
    """What a torch module or traced function does to a map (C, H, W) that becomes `out`; None where that is not known here."""
    module = layer.module if isinstance(layer, Torch) else layer
    if isinstance(module, fx.GraphModule):
        call = _the_call(module)
        return None if call is None else _of_call(call, shape, out)
    if type(module) is nn.Flatten:
        return FLATTENING if len(out) == 1 and module.start_dim == 1 else None
    if type(module) in ADAPTIVE:
        return Pooling(ADAPTIVE[type(module)], (out[1], out[2]))
    if type(module) in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        return _slides(module, shape, out)
    return None


def _the_call(graph: fx.GraphModule) -> fx.Node | None:
    """The one call of a traced function that computes, beside those that ask for sizes."""
    asks = ("size", "dim", getattr, operator.getitem)
    calls = [
        node for node in graph.graph.nodes if node.op in ("call_function", "call_method") and node.target not in asks
    ]
    result: Any = graph.graph.output_node().args[0]
    return result if len(calls) == 1 and calls[0] is result else None


def _of_call(call: fx.Node, shape: tuple[int, ...], out: tuple[int, ...]) -> Sliding | Pooling | str | None:
    target: Any = call.target
    if len(out) == 1 and target in FLATTENERS and out[0] == shape[0] * shape[1] * shape[2]:
        return FLATTENING
    if target in ADAPTIVE and len(out) == 3:
        return Pooling(ADAPTIVE[target], (out[1], out[2]))
    if target in (torch.mean, "mean", torch.amax, "amax"):
        dims = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else ())
        if isinstance(dims, (list, tuple)) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}:
            return Pooling("max" if "amax" in str(target) else "average", (1, 1), flat=len(out) == 1)
    kinds: dict[Any, type[nn.Module]] = {F.max_pool2d: nn.MaxPool2d, F.avg_pool2d: nn.AvgPool2d}
    if target in kinds and not any(isinstance(a, fx.Node) for a in (*call.args[1:], *call.kwargs.values())):
        kwargs = {key: value for key, value in call.kwargs.items() if key not in ("input", "return_indices")}
        return _slides(kinds[target](*call.args[1:], **kwargs), shape, out)
    return None


def _slides(module: Any, shape: tuple[int, ...], out: tuple[int, ...]) -> Sliding | None:
    kernel, dilation = _both(module.kernel_size), _both(getattr(module, "dilation", 1))
    strides = kernel if module.stride is None else _both(module.stride)
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    wide = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    before = (0, 0) if module.padding == "valid" else module.padding
    if before == "same":  # whose strides are 1; an odd row or column goes to the bottom and right
        before = ((wide[0] - 1) // 2, (wide[1] - 1) // 2)
    return Sliding(wide, strides, _both(before))


def _both(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
