"""One image file -> uint8 pixels (height, width, channels), whatever mode the file has.

Same file, same spec, same pixels, wherever they are asked for: training, evaluation, prediction.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DataError, ShapeError
from ..structures import Area, ImageSpec, Problem
from .placement import Placement, place

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
TURNED = (5, 6, 7, 8)  # those that swap height and width
PADDING = 114  # the gray beside a letterboxed image, 0..255


def decode(path: str | Path, spec: ImageSpec) -> np.ndarray:
    """The image as uint8 of `spec.shape`: turned as its EXIF says, in RGB or grayscale, resized.

    Transparent places become white; 16-bit values are divided by 257. A JPEG much larger than needed is decoded at
    1/2, 1/4 or 1/8 of its size, never below what the spec asks for. Raises DataError with path and reason for a file
    that is missing, empty, no image, truncated, damaged or a decompression bomb.
    """
    with opened(path) as image:
        return fit(image, spec)


def decode_whole(path: str | Path, channels: int = 3) -> np.ndarray:
    """As `decode`, in the image's own size."""
    return decode(path, ImageSpec(*image_size(path), channels))


def decode_areas(path: str | Path, areas: Sequence[Area], spec: ImageSpec) -> list[np.ndarray]:
    """Parts of the upright image, each as `fit` makes it of a picture of its own; the file is decoded once."""
    picture = as_picture(decode_whole(path, spec.channels))
    return [fit(picture.crop(area), spec) for area in areas]


def decode_or_problem(path: Path, spec: ImageSpec) -> np.ndarray | Problem:
    """As `decode`, with the problem as a value where many files are read and one may fail."""
    try:
        return decode(path, spec)
    except DataError as error:
        return Problem(path, error.reason(path))


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the upright image, from the file's header alone; raises DataError as `decode` does."""
    with opened(path) as image:
        return upright_size(image)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """A file's image, not yet decoded; what goes wrong inside is a DataError with path and reason."""
    try:
        if os.path.getsize(path) == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS  # Pillow itself only warns up to twice as many
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            yield image
    except DataError:
        raise
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(f"{path} {_reason(error)}") from error


def fit(image: Image.Image, spec: ImageSpec) -> np.ndarray:
    """A Pillow image as uint8 of `spec.shape`."""
    turn = orientation(image)
    turned = turn in TURNED
    placement = place((image.width, image.height) if turned else (image.height, image.width), spec)
    fraction = shrink_while_decoding(image, placement, spec.channels, turned=turned)
    image.load()
    image = _resized(in_color(image, spec.channels), placement, fraction, turned=turned)
    if turn in TURNS:
        image = image.transpose(TURNS[turn])
    pixels = np.asarray(_framed(image, placement, spec), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def as_picture(image: Any) -> Image.Image:
    """An array that a person holds, uint8 (height, width) or with 1 or 3 channels, as a Pillow image. Raises ShapeError."""
    array = np.asarray(image)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (1, 3))
        or not array.size
    ):
        raise ShapeError(
            "This is no image", expected="uint8 (height, width), or with 1 or 3 channels",
            received=f"{array.shape} of {array.dtype}",
        )  # fmt: skip
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def orientation(image: Image.Image) -> int:
    """What EXIF says of how an image that is not decoded yet has to be turned, 1 for not at all. Pillow turns TIFF files itself."""
    if image.format == "TIFF" or (image.format == "PNG" and not _may_say_orientation(image.filename)):  # type: ignore[attr-defined]
        return 1
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # what EXIF says is worth nothing where it is damaged
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the EXIF turn."""
    return (image.width, image.height) if orientation(image) in TURNED else (image.height, image.width)


def shrink_while_decoding(image: Image.Image, placement: Placement, channels: int, *, turned: bool = False) -> float:
    """Let a JPEG decoder skip the detail that the resize would average away; returns the fraction (1, 1/2, 1/4 or 1/8).

    `turned` says that the image is stored on its side.
    """
    if image.format != "JPEG":
        return 1.0
    height, width = placement.least_size
    needed = (height, width) if turned else (width, height)
    stored = image.width
    done = image.draft("L" if channels == 1 and image.mode != "CMYK" else None, needed)
    return 1.0 if done is None else done[1][2] / stored


def _may_say_orientation(path: str) -> bool:
    """Whether a PNG file has a chunk, wherever it stands, that could hold an orientation: Pillow decodes all pixels to know."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(mark) >= 0 for mark in (b"eXIf", b"Raw profile type", b"com.adobe.xmp"))


def _resized(image: Image.Image, placement: Placement, fraction: float, *, turned: bool) -> Image.Image:
    """What the spec shows of an image as it is stored, decoded at a fraction of its size; it is turned afterwards.

    The last pixel of a fraction may be one in part, so places are those of the whole image times the fraction.
    """
    (height, width), (left, top, right, bottom) = placement.inner, placement.crop
    if turned:  # the crop lies in the middle, so that only the axes change
        height, width, left, top, right, bottom = width, height, top, left, bottom, right
    box = fraction * left, fraction * top, fraction * right, fraction * bottom
    if image.size == (width, height) and box == (0, 0, width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _framed(image: Image.Image, placement: Placement, spec: ImageSpec) -> Image.Image:
    """A letterboxed image with the gray beside it."""
    if image.size == (spec.width, spec.height):
        return image
    frame = Image.new(image.mode, (spec.width, spec.height), (PADDING,) * len(image.getbands()))
    frame.paste(image, (placement.left, placement.top))
    return frame


def in_color(image: Image.Image, channels: int) -> Image.Image:
    """Any Pillow mode as "RGB" (3 channels) or "L" (1)."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = float(values.max(initial=0))
        scale = (
            1.0 if image.mode in ("I", "F") and 1 < top <= 255 else 255.0 if top <= 1 and image.mode == "F" else 1 / 257
        )
        image = Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, whatever its name says"
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, Image.DecompressionBombError):
        return f"is larger than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, MemoryError):
        return "takes more memory than there is"
    if "truncated" in str(error).lower():
        return "is truncated"
    return f"is damaged ({str(error).strip() or type(error).__name__})"
