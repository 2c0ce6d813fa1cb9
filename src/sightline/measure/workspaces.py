"""What an operation's kernel takes for itself while it runs, which no tensor of the network shows.

On CPUs these are oneDNN's copies of weights and feature maps in the orders that its kernels walk, and the windows of a
convolution unrolled (im2col) where oneDNN has no kernel. The rules were read off the allocations in torch 2.15's
profiler (AVX2, shapes of 3 to 128 channels, 75x75 and 150x150, 1x1 and 3x3); docs/memory.md says how well they meet whole networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

aten = torch.ops.aten
BLOCK = 8  # channels that stand together in oneDNN's blocked order on AVX2: odd ones are filled up


def on_cpu(operation: Any, args: Sequence[Any], result: Any) -> list[int]:
    """The blocks, in bytes, that a CPU's kernel of this operation takes for itself at one time."""
    if operation is aten.convolution.default:
        x, weight, bias, strides, pads, dilation, transposed, output_pads, groups = args[:9]
        geometry = (strides, pads, dilation, transposed, output_pads, groups)
        return _forward(x, weight, result, _backend(x, weight, bias, None, geometry), transposed, groups)
    if operation is aten.convolution_backward.default:
        gradient, x, weight, bias_sizes, strides, pads, dilation, transposed, output_pads, groups, mask = args[:11]
        geometry = (strides, pads, dilation, transposed, output_pads, groups)
        backend = _backend(x, weight, None, bias_sizes, geometry)
        return _backward(gradient, x, weight, backend, transposed, groups, mask)
    return []


def on_cuda(operation: Any, args: Sequence[Any], result: Any) -> list[int]:
    """Of a GPU's kernel: for a convolution, an allowance of twice its weights. cuDNN chooses by device; this is not measured."""
    at = {aten.convolution.default: 1, aten.convolution_backward.default: 2}.get(operation)
    return [] if at is None else [2 * _bytes(args[at])]


def _backend(x: Any, weight: Any, bias: Any, bias_sizes: Any, geometry: Sequence[Any]) -> str:
    """The name of the kernels that torch takes for this convolution."""
    names = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
    chosen = torch._C._select_conv_backend(
        x, weight, bias=bias, bias_sizes=bias_sizes, **dict(zip(names, geometry, strict=True))
    )
    return chosen.name


def _forward(x: Any, weight: Any, y: Any, backend: str, transposed: bool, groups: int) -> list[int]:
    if backend.startswith("Mkldnn"):
        if _in_channels_last(x, weight):
            return [_bytes(weight), *([] if _lies_channels_last(x) else [_bytes(x)])]
        return _larger([_blocked(x), _bytes(weight)], [_blocked(y)])
    if backend.startswith("Slow"):
        image, places = (y, x) if transposed else (x, y)
        return [_windows(image, weight, places, groups), *([_bytes(y)] if groups > 1 else [])]
    return []


def _backward(
    gradient: Any, x: Any, weight: Any, backend: str, transposed: bool, groups: int, mask: Sequence[bool]
) -> list[int]:
    by_x, by_weight = mask[0], mask[1] or mask[2]
    if backend.startswith("Mkldnn"):
        if _in_channels_last(x, weight):
            copies = [_bytes(tensor) for tensor in (gradient, x) if not _lies_channels_last(tensor)]
            return copies + [_bytes(weight)] * (2 if by_weight else 1)
        of_x = _larger([_blocked(gradient), _bytes(weight)], [_blocked(x)]) if by_x else []
        of_weight = _larger([_blocked(gradient), _blocked(x)], [_bytes(weight)]) if by_weight else []
        return _larger(of_x, of_weight)
    if backend.startswith("Slow"):
        image, places = (gradient, x) if transposed else (x, gradient)
        windows = [_windows(image, weight, places, groups)] if by_weight else []
        return windows + ([_bytes(x)] if groups > 1 and by_x else [])
    return []


def _larger(one: list[int], other: list[int]) -> list[int]:
    """The larger of blocks that are taken one after the other."""
    return max(one, other, key=sum)


def _in_channels_last(x: Any, weight: Any) -> bool:
    """oneDNN computes in channels_last where either lies so."""
    return _lies_channels_last(x) or _lies_channels_last(weight)


def _lies_channels_last(tensor: Any) -> bool:
    """Whether torch takes the memory for channels_last; what could be either, as 1x1 maps of one channel, it does not."""
    return torch._prims_common.suggest_memory_format(tensor) == torch.channels_last


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size()


def _blocked(tensor: Any) -> int:
    """The bytes of a feature map in oneDNN's blocked order; few channels stay as they are, and need no copy."""
    count, channels, *sizes = tensor.shape
    if channels <= BLOCK // 2:
        return 0
    return count * -(-channels // BLOCK) * BLOCK * math.prod(sizes) * tensor.element_size()


def _windows(image: Any, weight: Any, places: Any, groups: int) -> int:
    """The values under all windows of one group in the whole batch; a 1x1 kernel needs no copy of them."""
    kernel = math.prod(weight.shape[2:])
    if kernel == 1:
        return 0
    return image.shape[0] * (image.shape[1] // groups) * kernel * math.prod(places.shape[2:]) * image.element_size()
