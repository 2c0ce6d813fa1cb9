"""Initial weights by Keras's names and formulas.

An initializer fills a tensor in place. Fans are Keras's: the places of a kernel times its channels; here a kernel is
(out, in, height, width) and a dense weight (out, in). With a `seed` an initializer draws the same values each time.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .configurable import Configurable
from .errors import ArgumentError, choose
from .graph.build import snake_case
from .keras_only import missing, own

AT_ONCE = 2**20  # draws that are looked at together
TRUNCATED_STD = 0.87962566103423978  # of a unit normal that is cut off at two standard deviations


class Initializer(Configurable, abc.ABC):
    """The base: `initializer(tensor)` fills a tensor in place."""

    @abc.abstractmethod
    def __call__(self, tensor: torch.Tensor) -> object:
        """Fill `tensor`."""

    def _generator(self, tensor: torch.Tensor) -> torch.Generator | None:
        seed = getattr(self, "seed", None)
        if seed is None or tensor.device.type == "meta":
            return None
        return torch.Generator(tensor.device).manual_seed(seed)


class Zeros(Initializer):
    """All 0."""

    def __call__(self, tensor: torch.Tensor) -> object:
        return nn.init.zeros_(tensor)


class Ones(Initializer):
    """All 1."""

    def __call__(self, tensor: torch.Tensor) -> object:
        return nn.init.ones_(tensor)


class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: float = 0.0, **unknown: Any):
        self._refuse(unknown)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ArgumentError("Constant: value is one number", received=repr(value))
        self.value = value

    def __call__(self, tensor: torch.Tensor) -> object:
        return nn.init.constant_(tensor, self.value)


class RandomUniform(Initializer):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None, **unknown: Any):
        self._refuse(unknown)
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, tensor: torch.Tensor) -> object:
        return nn.init.uniform_(tensor, self.minval, self.maxval, generator=self._generator(tensor))


class RandomNormal(Initializer):
    """Normal with `mean` and standard deviation `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None, **unknown: Any):
        self._refuse(unknown)
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, tensor: torch.Tensor) -> object:
        return nn.init.normal_(tensor, self.mean, self.stddev, generator=self._generator(tensor))


def truncated_normal_(tensor: torch.Tensor, mean: float, std: float, generator: torch.Generator | None) -> torch.Tensor:
    """Fill with normal draws, those beyond two standard deviations drawn again: ten times as fast as torch's own, by the inverse."""
    if tensor.is_meta:
        return tensor
    fits = tensor.is_contiguous()  # the order in which draws fill a tensor is that of its memory
    values = tensor.detach() if fits else torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    flat = values.normal_(generator=generator).view(-1)
    while len(beyond := _beyond(flat, 2)):
        flat[beyond] = flat.new_empty(len(beyond)).normal_(generator=generator)
    values.mul_(std).add_(mean)
    return tensor if fits else tensor.copy_(values)


def _beyond(flat: torch.Tensor, limit: float) -> torch.Tensor:
    """Where magnitudes are above `limit`; part by part, so that large weights are never there twice."""
    starts = range(0, max(len(flat), 1), AT_ONCE)
    found = [(flat[start : start + AT_ONCE].abs() > limit).nonzero().flatten() + start for start in starts]
    return torch.cat(found)


class TruncatedNormal(RandomNormal):
    """Normal, draws beyond two standard deviations drawn again."""

    def __call__(self, tensor: torch.Tensor) -> object:
        return truncated_normal_(tensor, self.mean, self.stddev, self._generator(tensor))


class VarianceScaling(Initializer):
    """Draws with variance scale / fan, where `mode` is "fan_in", "fan_out" or "fan_avg".

    `distribution` is "truncated_normal" (at two standard deviations), "untruncated_normal" or "uniform".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        if not scale > 0:
            raise ArgumentError("VarianceScaling: scale is a positive number", received=repr(scale))
        self.scale, self.seed = scale, seed
        self.mode = choose("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        distribution = "truncated_normal" if distribution == "normal" else distribution
        self.distribution = choose("distribution", distribution, ("uniform", "truncated_normal", "untruncated_normal"))

    def __call__(self, tensor: torch.Tensor) -> object:
        fan_in, fan_out = fans(tensor.shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        std, generator = math.sqrt(self.scale / max(1.0, fan)), self._generator(tensor)
        if self.distribution == "uniform":
            return nn.init.uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)
        if self.distribution == "untruncated_normal":
            return nn.init.normal_(tensor, 0.0, std, generator=generator)
        return truncated_normal_(tensor, 0.0, std / TRUNCATED_STD, generator)


class _Scaled(VarianceScaling):
    """A VarianceScaling that has a name, and whose one argument is the seed."""

    parts: tuple[float, str, str]

    def __init__(self, seed: int | None = None, **unknown: Any):
        self._refuse(unknown)
        scale, mode, distribution = self.parts
        super().__init__(scale, mode, distribution, seed)


class GlorotUniform(_Scaled):
    """Glorot & Bengio, 2010: uniform in ±sqrt(6 / (fan in + fan out))."""

    parts = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Glorot & Bengio, 2010: variance 2 / (fan in + fan out), truncated normal."""

    parts = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """He et al., 2015: uniform in ±sqrt(6 / fan in)."""

    parts = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """He et al., 2015: variance 2 / fan in, truncated normal."""

    parts = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """LeCun et al., 1998: uniform in ±sqrt(3 / fan in)."""

    parts = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """LeCun et al., 1998: variance 1 / fan in, truncated normal."""

    parts = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """`gain` times a matrix with orthonormal rows or columns: one axis is the outputs, the other all the rest (Saxe et al., 2014)."""

    def __init__(self, gain: float = 1.0, seed: int | None = None, **unknown: Any):
        self._refuse(unknown)
        self.gain, self.seed = gain, seed

    def __call__(self, tensor: torch.Tensor) -> object:
        if tensor.ndim < 2:
            raise ArgumentError("Orthogonal fills kernels of at least two axes", received=tuple(tensor.shape))
        drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)  # torch fills contiguous ones only
        return tensor.copy_(nn.init.orthogonal_(drawn, self.gain, generator=self._generator(tensor)))


class Bilinear(Initializer):
    """Of a transposed convolution: bilinear interpolation of each channel by itself, at strides of half the kernel's size.

    As Long, Shelhamer & Darrell, 2015, section 3.3; the kernel 4x4 doubles height and width. Not in Keras.
    """

    def __call__(self, tensor: torch.Tensor) -> object:
        if tensor.ndim != 4:
            raise ArgumentError("Bilinear fills kernels of convolutions", received=tuple(tensor.shape))
        rows, columns = (_triangle(size).to(tensor) for size in tensor.shape[2:])
        same_channel = torch.eye(*tensor.shape[:2]).to(tensor)
        return tensor.copy_(same_channel[:, :, None, None] * rows[:, None] * columns)


def _triangle(size: int) -> torch.Tensor:
    """How much each of `size` places has of one at their middle that fades away over half of them."""
    factor = (size + 1) // 2
    return 1 - (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / factor


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """(fan in, fan out) of a weight: (out, in) or (out, in, *kernel); of a vector, its length twice.

    >>> fans((64, 3, 5, 5)), fans((10, 20))
    ((75, 1600), (20, 10))
    """
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


KINDS: tuple[type[Initializer], ...] = (
    Bilinear, Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, LecunNormal, LecunUniform, Ones, Orthogonal,
    RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros,
)  # fmt: skip

# The names that an argument may hold: "he_normal", "HeNormal", and Keras's short ones
INITIALIZERS: dict[str, type[Initializer]] = (
    {snake_case(kind.__name__): kind for kind in KINDS}
    | {kind.__name__: kind for kind in KINDS}
    | {"normal": RandomNormal, "uniform": RandomUniform, "one": Ones, "zero": Zeros}
)

Given = str | Initializer | Callable[[torch.Tensor], object]


def checked(given: Any) -> Given:
    """An initializer's name, instance (of a class, one), or a function that fills a tensor; raises ArgumentError otherwise."""
    if isinstance(given, type) and issubclass(given, Initializer):
        return given()
    if isinstance(given, Initializer) or (callable(given) and not isinstance(given, type)):
        return given
    return choose("initializer", given, INITIALIZERS)


def initialize(tensor: torch.Tensor, given: Given) -> None:
    """Fill `tensor` in place by what `checked` has accepted."""
    with torch.no_grad():
        (INITIALIZERS[given]() if isinstance(given, str) else given)(tensor)


# Keras's names for the classes in lower case
constant, glorot_normal, glorot_uniform, he_normal, he_uniform = (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
)
lecun_normal, lecun_uniform, ones, orthogonal, zeros = LecunNormal, LecunUniform, Ones, Orthogonal, Zeros
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, get = VarianceScaling, checked


def __getattr__(name: str) -> Any:
    raise missing("initializers", name, own(globals()))
