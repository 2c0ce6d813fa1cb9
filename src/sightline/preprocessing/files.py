"""Between an image file, a Pillow image and an array (height, width, channels), by Keras's names and numbers.

Other than `data.decode`, which runs use, nothing here turns an image as its EXIF says, scales 16-bit values or lays
what is transparent on white: Keras does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..data.decode import decode
from ..errors import ArgumentError, DataError, ShapeError, choose
from ..structures import COLOR_MODES, ImageSpec

CHANNELS = COLOR_MODES | {"rgba": 4}
INTERPOLATIONS = {method.name.lower(): method for method in Image.Resampling}
_PILLOW_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_GRAY_MODES = ("L", "I;16", "I")  # in grayscale, 16 and 32 bits stay what they are


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: Sequence[int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Image.Image:
    """The Pillow image of a file, in `color_mode` ("rgb", "rgba", "grayscale"), of `target_size` (height, width).

    `keep_aspect_ratio` crops the middle to the target's proportions before resizing. Raises ArgumentError for an unknown
    name and DataError, with path and reason, for a file that cannot be read.
    """
    choose("color_mode", color_mode, CHANNELS)
    choose("interpolation", interpolation, INTERPOLATIONS)
    size = None if target_size is None else height_and_width(target_size)
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = file
            if image.mode != _PILLOW_MODES[color_mode] and not (
                color_mode == "grayscale" and image.mode in _GRAY_MODES
            ):
                image = image.convert(_PILLOW_MODES[color_mode])
            if size is not None and image.size != size[::-1]:
                box = _middle(image.size, size) if keep_aspect_ratio else None
                image = image.resize(size[::-1], INTERPOLATIONS[interpolation], box=box)
            return image
    except Exception as error:  # damaged files make decoders raise almost anything
        decode(path, ImageSpec(1, 1, 3))  # raises what is wrong with the file, said in one place for all
        raise DataError(f"{path} cannot be read in the color_mode {color_mode!r} ({error})") from error


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image or an array as (height, width, channels), float32 unless `dtype` says otherwise."""
    require_channels_last(data_format)
    array = np.asarray(img, dtype="float32" if dtype is None else dtype)
    if array.ndim not in (2, 3):
        raise ShapeError("An image has two or three axes", received=f"shape {array.shape}")
    return array[..., None] if array.ndim == 2 else array


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Image.Image:
    """An array (height, width, 1, 3 or 4 channels) as a Pillow image; `scale` stretches its values to 0..255.

    Without `scale` values are cut to whole numbers, and grayscale beyond 255 becomes 32 bits a pixel. Raises ShapeError.
    """
    require_channels_last(data_format)
    pixels = np.asarray(x, dtype="float32" if dtype is None else dtype)
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS.values():
        expected = "an array of shape (height, width, 1, 3 or 4 channels)"
        raise ShapeError("This is no image", expected=expected, received=f"shape {pixels.shape}")
    if scale:
        pixels = pixels - pixels.min()
        pixels = pixels / (pixels.max() or 1) * 255
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[..., 0].astype("int32" if pixels.max() > 255 else "uint8"))
    return Image.fromarray(pixels.astype("uint8"))


def height_and_width(target_size: Sequence[int]) -> tuple[int, int]:
    """`target_size` as two whole numbers of at least one pixel. Raises ArgumentError."""
    size = tuple(target_size) if isinstance(target_size, (tuple, list)) else (target_size,)
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size):
        raise ArgumentError("target_size is (height, width) in pixels, without channels", received=repr(target_size))
    return int(size[0]), int(size[1])


def require_channels_last(data_format: str | None) -> None:
    """Raise ArgumentError unless `data_format` is None or "channels_last"."""
    if data_format not in (None, "channels_last"):
        raise ArgumentError(
            'Images that people hold are (height, width, channels): data_format is "channels_last"',
            received=repr(data_format), fix="Leave data_format out and move the channels to the last axis",
        )  # fmt: skip


def _middle(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centered box (left, top, right, bottom) in `size` (width, height) with `target`'s (height, width) proportions."""
    width, height = size
    crop_height = min(height, (width * target[0]) // target[1])
    crop_width = min(width, (height * target[1]) // target[0])
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height
