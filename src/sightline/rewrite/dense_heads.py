"""Layers of a head as layers on feature maps, on the same weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..graph.symbolic import FIRST_CALL
from ..layers import AveragePooling2D, Conv2D, Dense, MaxPooling2D, Torch

Pair = tuple[int, int]


def convolution_of(layer: Any, channels: int, window: Pair, order: str, stride: int) -> Conv2D:
    """A Dense layer, or torch's Linear, on a flattened map of (channels, *window) as a convolution with that window.

    `order`: how the map was flattened, "HWC" or "CHW". The kernel is a view of the layer's weight, in channels_last memory for
    "HWC" and in torch's for "CHW": what trains one trains the other. The bias is the layer's own.
    """
    module: Any = layer.module if isinstance(layer, Torch) else layer
    units = module.weight.shape[0]
    settings: dict[str, Any] = {}
    if isinstance(module, Dense):
        config = module.get_config()
        names = (
            "activation", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer", "trainable",
        )  # fmt: skip
        settings = {name: config[name] for name in names}
    use_bias = module.bias is not None
    result = Conv2D(units, window, stride, "valid", use_bias=use_bias, name=layer.name, **settings)
    weight = module.weight.detach()
    if order == "HWC":
        kernel = weight.view(units, *window, channels).permute(0, 3, 1, 2)
    else:
        kernel = weight.view(units, channels, *window)
    result.weight = nn.Parameter(kernel, requires_grad=module.weight.requires_grad)
    result.bias, result.built, result.training = module.bias, True, layer.training
    return result


def pooling_of(kind: str, window: Pair, strides: int | Pair, name: str) -> nn.Module:
    """Pooling over a whole map of the size of `window` as a pooling with that window; `kind` is "average" or "max"."""
    return (AveragePooling2D if kind == "average" else MaxPooling2D)(window, strides, "valid", name=name)


def changed(layer: nn.Module, **attributes: Any) -> Any:
    """A layer, or module, with other attributes, on the same weights."""
    other = copy.copy(layer)
    other.__dict__.pop(FIRST_CALL, None)
    other._modules = dict(layer._modules)  # which a copy shares otherwise
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def on_maps(layer: Torch) -> Torch | None:
    """torch's BatchNorm1d, or softmax over a row's last axis, for maps; None for any other module."""
    module = layer.module
    if type(module) is nn.BatchNorm1d:
        other = changed(module)
        other.__class__ = nn.BatchNorm2d
        return changed(layer, module=other)
    if type(module) in (nn.Softmax, nn.LogSoftmax) and module.dim in (-1, 1):
        return changed(layer, module=changed(module, dim=1))
    return None


# --- asking a layer that is not known -----------------------------------------------------------------------------


def works_on_places(layer: nn.Module, shapes: list[tuple[int, ...]], dtype: torch.dtype, *, rows: bool) -> bool:
    """Whether a layer does at each place of maps what it does on its own there; asked of it on random maps, in inference.

    `shapes`: what it takes, (C, H, W). The part of larger maps that has this size must give what it gives alone; with `rows`, each
    place of a map what its channels give as a row.
    """
    device = next((p.device for p in layer.parameters()), torch.device("cpu"))
    if device.type == "meta":
        return False
    more = 3 if rows else 2
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        large = [torch.randn(2, c, h + more, w + more + 1, dtype=dtype, device=device) for c, h, w in shapes]
        try:
            return _agrees(layer, large, [shape[1:] for shape in shapes], rows)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
            return False  # it does not take maps of this size


def _agrees(layer: nn.Module, large: list[torch.Tensor], sizes: list[tuple[int, ...]], rows: bool) -> bool:
    modes = [(part, part.training) for part in layer.modules()]
    layer.eval()
    try:
        whole = layer(*(x.clone() for x in large))
        for top, left in ((0, 0), (1, 2)):
            if rows:
                part, expected = layer(*(x[:, :, top, left].clone() for x in large)), whole[:, :, top, left]
            else:
                parts = [x[:, :, top : top + h, left : left + w] for x, (h, w) in zip(large, sizes, strict=True)]
                part = layer(*(x.clone() for x in parts))
                expected = whole[:, :, top : top + sizes[0][0], left : left + sizes[0][1]]
            if part.shape != expected.shape or not torch.allclose(part, expected, rtol=1e-4, atol=1e-5):
                return False
        return whole.shape[2:] == large[0].shape[2:]
    finally:
        for part, mode in modes:
            part.training = mode


def works_on_flattened(layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether a layer does to each value of a row on its own what it does to a map's: asked of it, in inference."""
    modes = [(part, part.training) for part in layer.modules()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(2, *shape, dtype=dtype, device=next((p.device for p in layer.parameters()), None))
        layer.eval()
        try:
            one, other = layer(x.clone()), layer(x.flatten(1).flip(1))
            return one.shape == x.shape and torch.allclose(one.flatten(1), other.flip(1), rtol=1e-4, atol=1e-5)
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
            return False
        finally:
            for part, mode in modes:
                part.training = mode
