"""Normalization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import initializers, regularizers, sharing
from ..errors import ArgumentError, DataError, ShapeError, whole_number
from ..layout import Shape, broadcast_to_inner, inner_axis, inner_shape, person_shape
from .base import Common, Layer, Weight
from .convolution import feature_map_shape

GAMMA, BETA = Weight("gamma", "weight", "gamma"), Weight("beta", "bias", "beta")


class _Scaled(Layer):
    """What is scaled by `weight` (gamma) and shifted by `bias` (beta) after it was normalised."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def _set_scaling(self, center: bool, scale: bool, beta: tuple[Any, Any], gamma: tuple[Any, Any]) -> None:
        """`beta` and `gamma`: (initializer, regularizer)."""
        self.center, self.scale = center, scale
        self.beta_initializer, self.beta_regularizer = initializers.checked(beta[0]), regularizers.get(beta[1])
        self.gamma_initializer, self.gamma_regularizer = initializers.checked(gamma[0]), regularizers.get(gamma[1])

    def _new_scaling(self, shape: Shape) -> None:
        self.weight = self.bias = None
        if self.scale:
            self.new_weight(GAMMA, shape)
        if self.center:
            self.new_weight(BETA, shape)


class BatchNormalization(_Scaled):
    """Normalise each channel over the batch (Ioffe & Szegedy, 2015), then scale by `weight` and shift by `bias`.

    In training the batch's own mean and biased variance are used, and the moving ones follow:
    moving = moving * momentum + batch * (1 - momentum). Keras's defaults, and Keras's biased moving variance (torch
    keeps the unbiased one). Takes any shape; `axis` is the one that is kept, as a person counts axes.
    """

    weight_kinds = (
        GAMMA,
        BETA,
        Weight("moving_mean", "running_mean", "moving_mean"),
        Weight("moving_variance", "running_var", "moving_variance"),
    )
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: initializers.Given = "zeros",
        gamma_initializer: initializers.Given = "ones",
        moving_mean_initializer: initializers.Given = "zeros",
        moving_variance_initializer: initializers.Given = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ArgumentError("BatchNormalization: axis is one number", received=repr(axis))
        if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
            raise ArgumentError("BatchNormalization: momentum is a share, 0 to 1", received=repr(momentum))
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self._set_scaling(center, scale, (beta_initializer, beta_regularizer), (gamma_initializer, gamma_regularizer))
        self.moving_mean_initializer = initializers.checked(moving_mean_initializer)
        self.moving_variance_initializer = initializers.checked(moving_variance_initializer)

    def build(self, *shapes: Shape) -> None:
        dim = kept_dimension("BatchNormalization", self.axis, shapes[0])
        channels = (shapes[0][dim - 1],)
        self._new_scaling(channels)
        for kind in self.weight_kinds[2:]:
            self.new_state(kind, channels)

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and self.trainable)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dim = inner_axis(self.axis, x.ndim)
        return self._normalize(x) if dim == 1 else self._normalize(x.transpose(1, dim)).transpose(1, dim)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return torch.batch_norm(
                x, self.weight, self.bias, self.running_mean, self.running_var, False, 0.0, self.epsilon, True
            )
        share = sharing.current()
        if share is not None and share.ranks is not None:
            return self._normalize_with(share.ranks, x, share.rows > 0)
        # torch's kernel moves the mean, and would move the variance by the unbiased one: that it adds to nothing instead
        count, moved = x.numel() // x.shape[1], 1 - self.momentum
        added = torch.zeros_like(self.running_var)
        y = torch.batch_norm(x, self.weight, self.bias, self.running_mean, added, True, moved, self.epsilon, True)
        # Unseen by autograd, as the kernel moves the mean: other calls may have saved it
        moving = self.running_var.data
        moving.mul_(self.momentum)
        if count > 1:
            moving.add_(added, alpha=(count - 1) / count)
        return y

    def _normalize_with(self, ranks: sharing.Summing, x: torch.Tensor, counts: bool) -> torch.Tensor:
        """Over the rows of all processes that compute the batch, as one would that has them all; where x `counts`."""
        y, mean, variance = NormalizedTogether.apply(x, self.weight, self.bias, self.epsilon, ranks, counts)
        self.running_mean.data.lerp_(mean, 1 - self.momentum)
        self.running_var.data.lerp_(variance, 1 - self.momentum)
        return y


class NormalizedTogether(torch.autograd.Function):
    """Batch normalization over all processes' rows; gives the mean and the biased variance too.

    Means and squared deviations are added up as Chan et al. (1979) do, which loses no digits where means are large.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, epsilon: float, ranks: sharing.Summing, counts: bool) -> Any:
        count, inner = counts * (x.numel() // x.shape[1]), [dim for dim in range(x.ndim) if dim != 1]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        own = wide.mean(inner)
        spread = (wide - _by_channel(own, x)).square().sum(inner)
        said = torch.stack(ranks.gathered(torch.cat([wide.new_full((1,), count), own, spread])))
        said = said[said[:, 0] > 0]
        each, means, spreads = said[:, :1], said[:, 1 : 1 + x.shape[1]], said[:, 1 + x.shape[1] :]
        total = each.sum()
        mean = (each * means).sum(0) / total
        variance = (spreads + each * (means - mean).square()).sum(0) / total
        y = torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, epsilon, False)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + epsilon), total)
        ctx.ranks, ctx.has_bias, ctx.counts = ranks, bias is not None, counts
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Any, *_: Any) -> Any:
        x, weight, mean, inverse, total = ctx.saved_tensors
        inner = [dim for dim in range(x.ndim) if dim != 1]
        wide = gradient.to(mean.dtype)
        normal = (x.to(mean.dtype) - _by_channel(mean, x)) * _by_channel(inverse, x)
        # Of the own rows: all gradients are added up later
        of_bias, of_weight = wide.sum(inner), (wide * normal).sum(inner)
        over_all = torch.stack(ctx.ranks.gathered(torch.cat([of_bias, of_weight]))).sum(0) / total
        shared, aligned = over_all.chunk(2)
        scale = inverse if weight is None else inverse * weight
        by_x = _by_channel(scale, x) * (wide - _by_channel(shared, x) - normal * _by_channel(aligned, x))
        by_x = by_x.to(x.dtype) if ctx.counts else torch.zeros_like(x)
        return by_x, None if weight is None else of_weight, of_bias if ctx.has_bias else None, None, None, None


def _by_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A value for each channel, shaped to act on (N, C, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


class LayerNormalization(_Scaled):
    """Normalise each sample over `axis` (Ba et al., 2016): one axis or several, as a person counts them.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias; the weights have the sizes of the axes, in their order.
    """

    weight_kinds = (GAMMA, BETA)

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: initializers.Given = "zeros",
        gamma_initializer: initializers.Given = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.epsilon = epsilon
        self._set_scaling(center, scale, (beta_initializer, beta_regularizer), (gamma_initializer, gamma_regularizer))

    def build(self, *shapes: Shape) -> None:
        sizes = (None, *person_shape(shapes[0]))
        self._new_scaling(tuple(sizes[axis] or 0 for axis in person_axes(self, self.axis, len(sizes))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = person_axes(self, self.axis, x.ndim)
        dims = [inner_axis(axis, x.ndim) for axis in axes]
        centred = x - x.mean(dims, keepdim=True)
        y = centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + self.epsilon)
        if self.weight is not None:
            y = y * broadcast_to_inner(self.weight, axes, x.ndim)
        return y if self.bias is None else y + broadcast_to_inner(self.bias, axes, x.ndim)


class LocalResponseNormalization(Layer):
    """Divide each value by what its neighbours among the feature maps answer (Krizhevsky et al., 2012, section 3.3).

    y_c = x_c / (bias + alpha * sum of x_i^2 over i = c - depth_radius .. c + depth_radius)^beta, with AlexNet's constants
    k = 2, n = 5, alpha = 1e-4, beta = 0.75 as the defaults. Not a layer of Keras.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.depth_radius = whole_number(depth_radius, "LocalResponseNormalization: depth_radius", least=0)
        self.bias, self.alpha, self.beta = bias, alpha, beta

    def build(self, *shapes: Shape) -> None:
        feature_map_shape("LocalResponseNormalization", *shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = 2 * self.depth_radius + 1  # torch takes the mean over it where the paper takes the sum
        if x.dtype in (torch.float16, torch.bfloat16):  # in which torch has no such pooling on CPUs
            return F.local_response_norm(x.float(), window, self.alpha * window, self.beta, self.bias).to(x.dtype)
        return F.local_response_norm(x, window, self.alpha * window, self.beta, self.bias)


class Normalization(Layer):
    """(x - mean) / sqrt(variance), or with `invert` x * sqrt(variance) + mean; both for each place of `axis`.

    `mean` and `variance` are given, or found by `adapt(data)`. `axis=None` takes one of each for everything.
    """

    weight_kinds = (
        Weight("mean", "mean_found", "mean"),
        Weight("variance", "variance_found", "variance"),
        Weight("count", "count", "count"),
    )
    mean_initializer, variance_initializer, count_initializer = "zeros", "ones", "zeros"
    mean_found: torch.Tensor
    variance_found: torch.Tensor
    count: torch.Tensor  # Keras keeps it for old files, and always at 0

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **common: Unpack[Common],
    ):
        super().__init__(**common)
        self.axis = axis if isinstance(axis, int) else [] if axis is None else list(axis)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ArgumentError(
                "Normalization takes both mean and variance, of one shape, or neither",
                received=f"mean={mean!r}, variance={variance!r}",
                fix="adapt(data) finds both",
            )
        self.mean, self.variance = (None if v is None else np.asarray(v).tolist() for v in (mean, variance))
        self.invert = invert

    def build(self, *shapes: Shape) -> None:
        sizes = (None, *person_shape(shapes[0]))
        self._sizes = tuple(sizes[axis] or 1 for axis in person_axes(self, self.axis, len(sizes)))
        if self.mean is None:
            for kind, shape in zip(self.weight_kinds, (self._sizes, self._sizes, ()), strict=True):
                self.new_state(kind, shape)
            return
        try:
            torch.broadcast_to(torch.as_tensor(self.mean), self._sizes)
        except RuntimeError:
            received = f"shape {np.shape(self.mean)}"
            raise ShapeError("Normalization: mean does not fit", expected=self._sizes, received=received) from None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = self._spread(x, "mean"), self._spread(x, "variance")
        deviation = variance.sqrt().clamp(min=1e-7)  # Keras's epsilon
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def _spread(self, x: torch.Tensor, name: str) -> torch.Tensor:
        given = getattr(self, name)
        values = getattr(self, f"{name}_found") if given is None else torch.as_tensor(given, device=x.device)
        whole_shape = values.to(x.dtype).broadcast_to(self._sizes)
        return broadcast_to_inner(whole_shape, person_axes(self, self.axis, x.ndim), x.ndim)

    def adapt(self, data: Any) -> None:
        """Find mean and variance over an array (NHWC), or an iterable of batches of them. Builds the layer if need be."""
        if self.mean is not None:
            raise ArgumentError("Normalization was given its mean and variance", fix="Leave them out to adapt it")
        batches = [data] if hasattr(data, "shape") else data
        if not isinstance(batches, Iterable):
            raise ArgumentError("adapt takes an array or an iterable of batches", received=type(data).__name__)
        count, total, squares = 0, np.float64(0), np.float64(0)
        for batch in batches:
            array = np.asarray(batch[0] if isinstance(batch, tuple) else batch, np.float64)
            if not self.built:
                self.build(inner_shape(array.shape[1:]))
                self.built = True
            rest = tuple(set(range(array.ndim)) - set(person_axes(self, self.axis, array.ndim)))
            mean = array.mean(rest)
            number = array.size // mean.size
            squares = squares + array.var(rest) * number + (mean - total) ** 2 * (count * number / (count + number))
            total = total + (mean - total) * (number / (count + number))
            count += number
        if not count:
            raise DataError("Normalization.adapt got no data")
        self.mean_found.copy_(torch.as_tensor(total))
        self.variance_found.copy_(torch.as_tensor(squares / count))


def kept_dimension(where: str, axis: int, shape: Shape) -> int:
    """The dimension, batch included, that a person's `axis` of one input means; raises ArgumentError where it is none."""
    rank = len(shape) + 1
    if not -rank < axis < rank or axis == 0:
        raise ArgumentError(f"{where}: there is no axis {axis}", received=(None, *person_shape(shape)))
    return inner_axis(axis, rank)


def person_axes(layer: Layer, axis: int | Sequence[int], rank: int) -> list[int]:
    """A person's axes, counted from 0 and sorted; raises ArgumentError where one does not exist or is the batch."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    if any(isinstance(a, bool) or not isinstance(a, int) or not -rank < a < rank or a == 0 for a in axes):
        raise ArgumentError(f"{type(layer).__name__}: there is no such axis", received=f"axis={axis}, {rank} axes")
    return sorted(a % rank for a in axes)
