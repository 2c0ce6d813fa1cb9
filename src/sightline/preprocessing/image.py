"""`ImageDataGenerator`, Keras's older way from a folder or arrays to batches that are changed at random.

Names, arguments, defaults, numbers and random draws are those of Keras 3's `keras.src.legacy.preprocessing.image`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..configurable import Configurable, refuse_beyond
from ..errors import ArgumentError, ShapeError, choose
from .files import array_to_img, img_to_array, load_img, require_channels_last
from .iterators import DirectoryIterator, Iterator, NumpyArrayIterator, warn_of_channels
from .transforms import FILL_MODES, random_parameters, random_source, transformed

__all__ = [
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "array_to_img",
    "img_to_array",
    "load_img",
]


class ImageDataGenerator(Configurable):
    """Changes images at random and normalizes them, one at a time, for the batches of `flow` and `flow_from_directory`.

    Random are the rotation (up to +-`rotation_range` degrees), the shifts (a share of the size below 1, pixels from 1),
    shear (degrees), zoom (a number z is [1 - z, 1 + z], of each side on its own), `brightness_range` (two factors),
    `channel_shift_range` (values), and flips by half of a chance. `fill_mode` (with `cval`) says what comes in from outside.
    Then comes `preprocessing_function(image)`, `rescale` (a factor) and the normalization: samplewise by an image's own
    mean and standard deviation, featurewise by those that `fit` finds for each channel; division by a standard deviation
    implies that the mean is taken off. Raises ArgumentError.

    As in Keras 3, whose `apply_affine_transform` swaps the axes at its end, `height_shift_range` moves images along their
    width and `width_shift_range` along their height.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], np.ndarray] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: str | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        require_channels_last(data_format)
        _require(dtype in (None, "float32"), 'Batches are float32: dtype is None or "float32"', dtype)
        whitens_twice = zca_whitening and featurewise_std_normalization
        _require(not whitens_twice, "Give zca_whitening or featurewise_std_normalization, not both", "both")
        self.featurewise_center = featurewise_center or featurewise_std_normalization or zca_whitening
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, _number("zca_epsilon", zca_epsilon)
        self.rotation_range, self.shear_range = (
            _number("rotation_range", rotation_range),
            _number("shear_range", shear_range),
        )
        self.width_shift_range = _shift_range("width_shift_range", width_shift_range)
        self.height_shift_range = _shift_range("height_shift_range", height_shift_range)
        self.brightness_range = None if brightness_range is None else _two("brightness_range", brightness_range)
        self.zoom_range = _two(
            "zoom_range", [1 - zoom_range, 1 + zoom_range] if isinstance(zoom_range, Real) else zoom_range
        )
        self.channel_shift_range = _number("channel_shift_range", channel_shift_range)
        self.fill_mode, self.cval = choose("fill_mode", fill_mode, FILL_MODES), _number("cval", cval)
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale = None if rescale is None else _number("rescale", rescale)
        function = preprocessing_function
        _require(
            function is None or callable(function), "preprocessing_function takes an image and returns one", function
        )
        share = _number("validation_split", validation_split)
        _require(0 <= share < 1, "validation_split is a share, from 0 and below 1", share)
        _require(
            interpolation_order in range(6), "interpolation_order is that of a spline, 0 .. 5", interpolation_order
        )
        self.preprocessing_function, self.validation_split = function, share
        self.interpolation_order, self.data_format, self.dtype = interpolation_order, "channels_last", "float32"
        self.mean: np.ndarray | None = None  # (1, 1, channels), as std; both from fit
        self.std: np.ndarray | None = None
        self.zca_whitening_matrix: np.ndarray | None = None  # (features, features)

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        *,
        ignore_class_split: bool = False,
        subset: str | None = None,
        **unknown: Any,
    ) -> NumpyArrayIterator:
        """Endless batches of the images `x` (n, height, width, channels); see NumpyArrayIterator.

        `subset` is "training" or "validation": the first `validation_split` of x is for validation.
        """
        refuse_beyond(self.flow, _without_saving(unknown))
        return NumpyArrayIterator(
            x, y, self, batch_size, shuffle, sample_weight, seed, subset=subset, ignore_class_split=ignore_class_split
        )

    def flow_from_directory(
        self,
        directory: Any,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        *,
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        **unknown: Any,
    ) -> DirectoryIterator:
        """Endless batches of the image files in the class folders of `directory`; see DirectoryIterator.

        `subset` is "training" or "validation": the first `validation_split` of each class is for validation.
        """
        refuse_beyond(self.flow_from_directory, _without_saving(unknown))
        return DirectoryIterator(
            directory, self, target_size, color_mode, classes, class_mode, batch_size, shuffle, seed,
            follow_links, subset, interpolation, keep_aspect_ratio,
        )  # fmt: skip

    def flow_from_dataframe(self, *_: Any, **__: Any) -> None:
        """Refused: tables are read by `data.read`, and trained on by `train`."""
        raise ArgumentError(
            "flow_from_dataframe is not supported",
            fix="Put the files into class folders for flow_from_directory, or sl.train on the table as a CSV file",
        )

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Random parameters for an image of `img_shape` (height, width, channels), as `apply_transform` takes them."""
        return random_parameters(self, img_shape, random_source(seed))

    def apply_transform(self, x: np.ndarray, transform_parameters: Mapping[str, Any]) -> np.ndarray:
        """The image `x` (height, width, channels) changed: theta and shear (degrees), tx and ty (pixels), zx and zy
        (factors), channel_shift_intensity, flip_horizontal, flip_vertical, brightness (a factor); others are refused."""
        return transformed(
            np.asarray(x), transform_parameters,
            fill_mode=self.fill_mode, cval=self.cval, order=self.interpolation_order,
        )  # fmt: skip

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """The image `x` (height, width, channels) changed at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """An image or a batch after `preprocessing_function`, `rescale` and the normalization, in this order.

        Changes floating x itself (but for whitening), as Keras does, and returns it. Raises ArgumentError where `fit`
        has to come before, or x holds whole numbers.
        """
        if self.preprocessing_function is not None:
            x = np.asarray(self.preprocessing_function(x))
        if (self.rescale or self.samplewise_center or self.featurewise_center) and x.dtype.kind != "f":
            fix = 'Use x.astype("float32")'
            raise ArgumentError("standardize changes its array, which must be floating", received=str(x.dtype), fix=fix)
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + 1e-6
        if self.featurewise_center:
            x -= self._fitted("mean")
        if self.featurewise_std_normalization:
            x /= self._fitted("std") + 1e-6
        if self.zca_whitening:
            matrix = self._fitted("zca_whitening_matrix")
            x = (x.reshape(-1, len(matrix)) @ matrix).reshape(x.shape)
        return x

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find `mean`, `std` and the whitening matrix in sample images `x` (n, height, width, channels).

        With `augment`, in `rounds` randomly changed versions of each. As in Keras `rescale` is applied before, and
        `preprocessing_function` is not. Raises ShapeError.
        """
        images = np.array(x, dtype="float32")
        if images.ndim != 4 or not len(images):
            raise ShapeError("Images are (n, height, width, channels)", received=f"shape {images.shape}")
        warn_of_channels(images)
        if self.rescale:
            images *= self.rescale
        if augment:
            random = random_source(seed)
            images = np.stack(
                [
                    self.apply_transform(image, random_parameters(self, image.shape, random))
                    for _ in range(rounds)
                    for image in images
                ]
            )
        if self.featurewise_center:
            self.mean = images.mean(axis=(0, 1, 2))[None, None]
            images -= self.mean
        if self.featurewise_std_normalization:
            self.std = images.std(axis=(0, 1, 2))[None, None]
        if self.zca_whitening:
            self.zca_whitening_matrix = whitening_matrix(images.reshape(len(images), -1), self.zca_epsilon)

    def prepare(self, image: np.ndarray, random: Any) -> np.ndarray:
        """What an iterator does with each image: change it as drawn from `random`, then `standardize`. Raises ShapeError."""
        changed = self.apply_transform(image, random_parameters(self, image.shape, random))
        result = self.standardize(changed)
        if np.shape(result) != image.shape:
            raise ShapeError(
                "preprocessing_function must keep an image's shape", expected=image.shape, received=np.shape(result)
            )
        return result

    def _fitted(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        if value is None:
            raise ArgumentError(
                f"This ImageDataGenerator has no {name} yet", fix="Call fit(x) with sample images before"
            )
        return value


def whitening_matrix(flat: np.ndarray, epsilon: float) -> np.ndarray:
    """The ZCA matrix (features, features) of centered samples (n, features): U diag(sqrt(n) / (s + epsilon)) U^T."""
    u, s, _ = np.linalg.svd(flat.T, full_matrices=False)
    return (u * (np.sqrt(len(flat)) / (s + epsilon))).dot(u.T)


_SAVING = {"save_to_dir": None, "save_prefix": "", "save_format": "png"}  # Keras's arguments and their defaults


def _without_saving(unknown: Mapping[str, Any]) -> dict[str, Any]:
    """`unknown` without what asks Keras for nothing; what asks it to write images is refused with what to do."""
    for name, default in _SAVING.items():
        if unknown.get(name, default) != default:
            fix = "Write those that you want to see: array_to_img(batch[0]).save(path)"
            raise ArgumentError(f"Batches are not written to disk: {name} is not supported", fix=fix)
    return {name: value for name, value in unknown.items() if name not in _SAVING}


def _require(condition: Any, what: str, received: Any) -> None:
    if not condition:
        raise ArgumentError(what, received=repr(received))


def _number(name: str, value: Any) -> Any:
    _require(isinstance(value, Real), f"{name} is a number", value)
    return value


def _two(name: str, value: Any) -> list[float]:
    numbers = isinstance(value, (tuple, list)) and all(isinstance(item, Real) for item in value)
    one = "a number or " if name == "zoom_range" else ""
    _require(numbers and len(value) == 2, f"{name} is {one}a pair of numbers", value)
    return list(value)


def _shift_range(name: str, value: Any) -> Any:
    """A number from 0, or a list of shifts to choose from."""
    numbers = np.ndim(value) < 2 and np.asarray(value).dtype.kind in "biuf"
    choosable = numbers and (np.ndim(value) == 1 or value >= 0)
    _require(choosable, f"{name} is a number from 0, or a list of shifts to choose from", value)
    return value
