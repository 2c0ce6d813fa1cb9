"""Convolution and dense arithmetic in training, on the kernel that is fastest where torch's own choice is not.

The answers are torch's own; what differs is which kernel finds a gradient, and so the last bits of it. All this holds
for float32 on CPUs with AVX2 and without AVX-512, where torch 2.15 was measured (docs/performance.md): oneDNN has no
blocked kernel there for a convolution's weight gradient in channels_last memory, and MKL is slow on AMD's processors.
Everywhere else, and whenever no gradient is asked for, these functions are `F.conv2d` and `F.linear`; but in a 16-bit
precision on a CPU a dense layer stays in float32 for few rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F

FEW_INPUTS = 32  # at most so many values under a window: its gradient is one product of matrices
FEW_ROWS = 32  # at most so many: to round a dense layer's weights to 16 bits, and its gradient back, takes longer than it saves
MANY_PRODUCTS = 10**8  # in one image: from there on it pays to bring both tensors into NCHW memory
Pair = tuple[int, int]


def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    strides: Pair,
    around: Pair,
    dilation: Pair,
    groups: int,
) -> torch.Tensor:
    """`F.conv2d`: (N, C, H, W) by (filters, C / groups, height, width)."""
    geometry = strides, around, dilation
    if (
        groups == 1
        and _is_trained_here(x, weight)
        and (_by_windows(weight) or _products(x, weight, geometry) >= MANY_PRODUCTS)
        and x.is_contiguous(memory_format=torch.channels_last)
    ):
        return _Convolution.apply(x, weight, bias, *geometry)
    return F.conv2d(x, weight, bias, strides, around, dilation, groups)


def dense(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`F.linear`: (N, features) by (units, features)."""
    if x.ndim == 2 and _is_trained_here(x, weight) and mkl_is_slow() and weight.numel() >= 2**16:
        return _Dense.apply(x, weight, bias)
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.numel() <= FEW_ROWS * x.shape[-1]:
        with torch.autocast("cpu", enabled=False):
            return F.linear(x.to(weight.dtype), weight, bias)
    return F.linear(x, weight, bias)


# Whether fake tensors are taken for real ones: where a step is rehearsed, to see what it would take
_rehearsed: ContextVar[bool] = ContextVar("_rehearsed", default=False)


@contextmanager
def rehearsed() -> Iterator[None]:
    """A context in which tensors without values go the way that those with values would."""
    token = _rehearsed.set(True)
    try:
        yield
    finally:
        _rehearsed.reset(token)


def _is_trained_here(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and torch.is_grad_enabled()
        and weight.requires_grad
        and (
            _rehearsed.get() or type(x) in (torch.Tensor, torch.nn.Parameter)
        )  # a fake tensor is else asked for a shape, or traced
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and only_avx2()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not any(map(torch._C._functorch.is_functorch_wrapped_tensor, (x, weight)))  # in torch.func's transforms
    )


@functools.cache
def only_avx2() -> bool:
    """Whether torch computes with AVX2 here, and with nothing wider."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2" and torch.backends.mkldnn.is_available()


@functools.cache
def mkl_is_slow() -> bool:
    """Whether MKL multiplies matrices on an AMD processor, and oneDNN's product is at hand."""
    try:
        with open("/proc/cpuinfo") as file:
            amd = any(line.startswith("vendor_id") and "AuthenticAMD" in line for line in file)
    except OSError:
        amd = False
    return amd and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, strides: Pair, around: Pair, dilation: Pair) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.has_bias = (strides, around, dilation), bias is not None
        return F.conv2d(x, weight, bias, strides, around, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad[:3]
        by_bias = by_bias and ctx.has_bias
        if torch.is_grad_enabled() or not by_weight:  # gradients of gradients are torch's
            found = _gradients(gradient, x, weight, ctx.geometry, [by_x, by_weight, by_bias])
            return *found, None, None, None
        # To ask torch for the bias alone would find the weight's gradient too
        of_x = _gradients(gradient, x, weight, ctx.geometry, [True, False, False])[0] if by_x else None
        if _by_windows(weight):
            of_weight = gradient_by_windows(x, gradient, (weight.shape[2], weight.shape[3]), *ctx.geometry)
            of_bias = gradient.sum((0, 2, 3)) if by_bias else None
        else:
            planes = gradient.contiguous(), x.contiguous(), weight.contiguous()
            _, of_weight, of_bias = _gradients(*planes, ctx.geometry, [False, True, by_bias])
        return of_x, of_weight, of_bias, None, None, None


def _by_windows(weight: torch.Tensor) -> bool:
    return weight.shape[2:] != (1, 1) and weight[0].numel() <= FEW_INPUTS


def _products(x: torch.Tensor, weight: torch.Tensor, geometry: tuple[Pair, Pair, Pair]) -> int:
    """Multiplications in one image; 0 for a 1x1 convolution, which is a product of matrices already."""
    if weight.shape[2:] == (1, 1):
        return 0
    sizes = zip(x.shape[2:], weight.shape[2:], *geometry, strict=True)
    places = [(size + 2 * pad - step * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, pad, step in sizes]
    return weight.numel() * places[0] * places[1]


def _gradients(gradient: Any, x: Any, weight: Any, geometry: tuple[Pair, Pair, Pair], mask: list[bool]) -> Any:
    """torch's gradients by x, weight and bias; None where the mask does not ask."""
    strides, around, dilation = geometry
    size = [weight.shape[0]]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, size, strides, around, dilation, False, [0, 0], 1, mask
    )


def gradient_by_windows(
    x: torch.Tensor, gradient: torch.Tensor, kernel: Pair, strides: Pair, around: Pair, dilation: Pair
) -> torch.Tensor:
    """The gradient by a convolution's weight (filters, C, height, width): the values under all windows times the gradients."""
    count, filters, height, width = gradient.shape
    channels = x.shape[1]
    planes = F.pad(x, (around[1], around[1], around[0], around[0])).contiguous()
    under = x.new_empty(channels, *kernel, count, height, width)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (height - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (width - 1) * strides[1] + 1, strides[1])
            under[:, i, j] = planes[:, :, rows, columns].transpose(0, 1)
    flat = gradient.permute(0, 2, 3, 1).reshape(-1, filters)
    found = (under.view(-1, len(flat)) @ flat).t().reshape(filters, channels, *kernel)
    return found.contiguous(memory_format=torch.channels_last)


class _Dense(torch.autograd.Function):
    """oneDNN's product for all three: its second operand may be a transposed view."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        of_bias = gradient.sum(0) if ctx.has_bias and by_bias else None
        if torch.is_grad_enabled():
            return gradient @ weight if by_x else None, gradient.t() @ x if by_weight else None, of_bias
        gradient = gradient.contiguous()
        of_x = _product(gradient, weight.t()) if by_x else None
        of_weight = _product(gradient.t().contiguous(), x.t()) if by_weight else None
        return of_x, of_weight, of_bias


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
