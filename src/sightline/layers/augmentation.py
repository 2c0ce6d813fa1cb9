"""Random changes of images in training: each layer draws a few numbers per image, and changes them by a pure function.

`draw(shape, source)` gives the numbers, by the names and in the shapes of Keras's `get_random_transformation`;
`transform(x, draws)` is arithmetic without chance. In inference images pass unchanged (RandomCrop then takes the centre).
Images are (N, C, H, W); integer ones become float32 first. With a `seed` the n-th call since the layer was made draws
the same again. Everything but images (boxes, masks, labels) is beyond these layers.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Unpack

import torch

from .. import sharing
from ..errors import ArgumentError, choose, whole_number
from ..layout import Shape
from .base import Common, Layer
from .convolution import feature_map_shape
from .draws import checked_seed, generator, uniform, whole_below
from .resizing import centre_window, crop_to_aspect_ratio, number, resize
from .sampling import FILL_MODES, INTERPOLATIONS, affine, as_float

Draws = dict[str, torch.Tensor]
Source = torch.Generator | None
Factor = float | Sequence[float]

# Which dimensions of (N, C, H, W) each mode turns round
FLIPS = {"horizontal": (3,), "vertical": (2,), "horizontal_and_vertical": (2, 3)}


def flip(x: torch.Tensor, flips: torch.Tensor, mode: str) -> torch.Tensor:
    """Those images mirrored for which `flips` (N, 1, 1, 1) is true."""
    return torch.where(flips, x.flip(FLIPS[mode]), x)


def contrast(x: torch.Tensor, factor: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """(x - mean) * factor + mean by channel of each image, limited to `value_range`. `factor`: (N, 1, 1, 1)."""
    mean = x.mean((2, 3), keepdim=True)
    return ((x - mean) * factor.to(x.dtype) + mean).clamp(*value_range)


def brightness(x: torch.Tensor, delta: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """x + delta, limited to `value_range`. `delta`: (N, 1, 1, 1)."""
    return (x + delta.to(x.dtype)).clamp(*value_range)


def translation_matrices(translations: torch.Tensor) -> torch.Tensor:
    """(N, 2) pixels to the right and down as the (N, 6) matrices that `sampling.affine` takes."""
    zero, one = torch.zeros_like(translations[:, 0]), torch.ones_like(translations[:, 0])
    return torch.stack([one, zero, -translations[:, 0], zero, one, -translations[:, 1]], dim=1)


def rotation_matrices(angle: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N,) degrees counter-clockwise about the image's centre as (N, 6) matrices."""
    cosine, sine = torch.cos(angle * (math.pi / 180)), torch.sin(angle * (math.pi / 180))
    x, y = 0.5 * (width - 1), 0.5 * (height - 1)
    a2, b2 = x - x * cosine + y * sine, y - x * sine - y * cosine
    return torch.stack([cosine, -sine, a2, sine, cosine, b2], dim=1)


def zoom_matrices(height_zoom: torch.Tensor, width_zoom: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N, 1) steps, 1 for none and above 1 for smaller, about the image's centre as (N, 6) matrices."""
    y, x = height_zoom[:, 0], width_zoom[:, 0]
    zero = torch.zeros_like(x)
    return torch.stack([x, zero, (width - 1) / 2 * (1 - x), zero, y, (height - 1) / 2 * (1 - y)], dim=1)


class _Augmentation(Layer, abc.ABC):
    """What all share: active in training, drawing once a call."""

    counters = ("calls",)

    def __init__(self, seed: int | None = None, **common: Unpack[Common]):
        super().__init__(**common)
        self.seed = checked_seed(seed, type(self).__name__)
        self.calls = 0  # seeded ones so far

    def build(self, *shapes: Shape) -> None:
        feature_map_shape(type(self).__name__, *shapes)

    @abc.abstractmethod
    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        """The random numbers for a batch of `shape` (N, C, H, W), on the CPU; from `source`, or torch's own generator."""

    @abc.abstractmethod
    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        """The images `x`, floating, changed as `draws` say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = as_float(x)
        if not self.training:
            return x
        source = generator(self.seed, self.calls)
        self.calls += source is not None
        draws = self.draw((sharing.rows_of(x), *x.shape[1:]), source)
        return self.transform(x, {name: sharing.own(drawn) for name, drawn in draws.items()})


class RandomFlip(_Augmentation):
    """Mirrors half of the images. "horizontal_and_vertical" does both at once, or neither, as in Keras."""

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, **common: Unpack[Common]):
        super().__init__(seed, **common)
        self.mode = choose("mode of RandomFlip", mode, FLIPS)

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        return {"flips": uniform((shape[0], 1, 1, 1), 0, 1, source) <= 0.5}

    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        return flip(x, draws["flips"].to(x.device), self.mode)


class _Affine(_Augmentation):
    """What the movements share. `fill_mode`, `interpolation` and `fill_value` as in `sampling.sample`."""

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **common: Unpack[Common],
    ):
        super().__init__(seed, **common)
        self.fill_mode = choose("fill_mode", fill_mode, FILL_MODES)
        self.interpolation = choose("interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = number(fill_value, f"{type(self).__name__}: fill_value")

    @abc.abstractmethod
    def matrices(self, draws: Draws, height: int, width: int) -> torch.Tensor:
        """The (N, 6) matrices of `sampling.affine`."""

    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        matrices = self.matrices(draws, x.shape[2], x.shape[3])
        return affine(x, matrices, self.interpolation, self.fill_mode, self.fill_value)


class RandomTranslation(_Affine):
    """Moves each image by a share of its height (down) and width (right) drawn from [-f, f], or [f[0], f[1]] of a pair."""

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **common: Unpack[Common],
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, **common)
        self.height_factor = factor_range(height_factor, "RandomTranslation: height_factor")
        self.width_factor = factor_range(width_factor, "RandomTranslation: width_factor")

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        down = uniform((shape[0], 1), *self.height_factor, source) * shape[2]
        right = uniform((shape[0], 1), *self.width_factor, source) * shape[3]
        return {"translations": torch.cat([right, down], dim=1)}

    def matrices(self, draws: Draws, height: int, width: int) -> torch.Tensor:
        return translation_matrices(draws["translations"])


class RandomRotation(_Affine):
    """Turns each image counter-clockwise by a share of the full turn drawn from [-factor, factor], or from a pair's range."""

    def __init__(
        self,
        factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **common: Unpack[Common],
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, **common)
        self.factor = factor_range(factor, "RandomRotation: factor", overlap=True)

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        return {"angle": uniform((shape[0],), self.factor[0] * 360, self.factor[1] * 360, source)}

    def matrices(self, draws: Draws, height: int, width: int) -> torch.Tensor:
        return rotation_matrices(draws["angle"], height, width)


class RandomZoom(_Affine):
    """Zooms each image by a factor drawn from [-f, f], or [f[0], f[1]] of a pair: 0.2 is 20% out, -0.2 is 20% in.

    Without a `width_factor` the aspect ratio stays.
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **common: Unpack[Common],
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, **common)
        for factor, name in ((height_factor, "height_factor"), (width_factor, "width_factor")):
            if factor is not None and -1 in (factor if isinstance(factor, Sequence) else [factor]):
                raise ArgumentError(f"RandomZoom: {name} is above -1, where nothing is left", received=repr(factor))
        self.height_factor = factor_range(height_factor, "RandomZoom: height_factor")
        self.width_factor = None if width_factor is None else factor_range(width_factor, "RandomZoom: width_factor")

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        def zoom(factor: tuple[float, float]) -> torch.Tensor:
            return uniform((shape[0], 1), 1 + factor[0], 1 + factor[1], source)

        height_zoom = zoom(self.height_factor)
        return {
            "height_zoom": height_zoom,
            "width_zoom": height_zoom if self.width_factor is None else zoom(self.width_factor),
        }

    def matrices(self, draws: Draws, height: int, width: int) -> torch.Tensor:
        return zoom_matrices(draws["height_zoom"], draws["width_zoom"], height, width)


class RandomCrop(_Augmentation):
    """In training one window of (height, width) for the whole batch; in inference the centre, resized to that size.

    An image that is not larger both ways is cropped where it can be and resized, in training as Keras does it. In
    inference the largest window of the target's aspect ratio is taken: what Keras documents, and not what Keras 3.15
    does, which is to return the image in another size than the layer's.
    """

    def __init__(self, height: int, width: int, seed: int | None = None, **common: Unpack[Common]):
        super().__init__(seed, **common)
        self.height, self.width = whole_number(height, "RandomCrop: height"), whole_number(width, "RandomCrop: width")

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        height, width = shape[2], shape[3]
        if height > self.height and width > self.width:
            top, left = whole_below(height - self.height + 1, source), whole_below(width - self.width + 1, source)
        else:
            window = centre_window((height, width), (self.height, self.width))
            top, left = (torch.tensor(start, device="cpu") for start in window[:2])
        return {"h_start": top, "w_start": left}

    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        top, left = int(draws["h_start"]), int(draws["w_start"])
        return resize(x[:, :, top : top + self.height, left : left + self.width], (self.height, self.width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return super().forward(x)
        size = (self.height, self.width)
        return resize(crop_to_aspect_ratio(as_float(x), size), size)


class RandomContrast(_Augmentation):
    """(x - mean) * c + mean by channel, c drawn from [1 - f[0], 1 + f[1]] of a pair; of one number from [1, 1 + factor].

    The answer is limited to `value_range`. (Keras documents 1 - factor as the lower end of one number, and draws as here.)
    """

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **common: Unpack[Common],
    ):
        super().__init__(seed, **common)
        self.factor = factor_range(factor, "RandomContrast: factor", least=0, overlap=True)
        self.value_range = checked_range(value_range, "RandomContrast: value_range")

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        lower, upper = self.factor
        return {"contrast_factor": uniform((shape[0], 1, 1, 1), 1 - lower, 1 + upper, source)}

    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        return contrast(x, draws["contrast_factor"].to(x.device), self.value_range)


class RandomBrightness(_Augmentation):
    """Adds a share of `value_range` drawn from [-factor, factor], or from a pair's range, limited to `value_range`."""

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **common: Unpack[Common],
    ):
        super().__init__(seed, **common)
        self.factor = factor_range(factor, "RandomBrightness: factor", overlap=True)
        self.value_range = checked_range(value_range, "RandomBrightness: value_range")

    def draw(self, shape: Sequence[int], source: Source = None) -> Draws:
        low, high = self.value_range
        return {"rgb_delta": uniform((shape[0], 1, 1, 1), *self.factor, source) * (high - low)}

    def transform(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        return brightness(x, draws["rgb_delta"].to(x.device), self.value_range)


def factor_range(
    factor: object, what: str, *, least: float = -1, most: float = 1, overlap: bool = False
) -> tuple[float, float]:
    """A number f as (max(-|f|, least), |f|), a pair sorted; raises ArgumentError outside of [least, most].

    With `overlap` a pair may reach beyond, as Keras lets it for some layers: its range only has to meet [least, most].
    """
    bounds = f"a number of [{least}, {most}] or two of them"
    if isinstance(factor, (list, tuple)):
        if len(factor) != 2:
            raise ArgumentError(f"{what} is out of range", expected=bounds, received=repr(factor))
        first, second = (number(value, what) for value in factor)
        inside = least <= first <= most and least <= second <= most
        if not inside and not (overlap and first <= most and second >= least):
            raise ArgumentError(f"{what} is out of range", expected=bounds, received=repr(factor))
        return min(first, second), max(first, second)
    single = number(factor, what)
    if not least <= single <= most:
        raise ArgumentError(f"{what} is out of range", expected=bounds, received=repr(factor))
    return max(-abs(single), least), abs(single)


def checked_range(value_range: object, what: str) -> tuple[float, float]:
    """Two numbers, sorted; raises ArgumentError otherwise."""
    if not isinstance(value_range, (list, tuple)) or len(value_range) != 2:
        raise ArgumentError(f"{what} is two numbers, the lowest and the highest value", received=repr(value_range))
    low, high = sorted(number(value, what) for value in value_range)
    return low, high
