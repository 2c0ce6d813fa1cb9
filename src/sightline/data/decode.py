"""One image file -> uint8 pixels (height, width, channels), whatever mode the file has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DataError
from ..structures import ImageSpec, Problem


def decode(path: str | Path, spec: ImageSpec) -> np.ndarray:
    """The image as uint8 of `spec.shape`: turned as its EXIF says, in RGB or grayscale, resized.

    Transparent places become white; 16-bit values are divided by 257. Raises DataError with path and reason for
    a file that is missing, empty, no image, truncated, damaged or a decompression bomb.
    """
    try:
        if os.path.getsize(path) == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS  # Pillow itself only warns up to twice as many
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError
            return fit(image, spec)
    except DataError:
        raise
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(f"{path} {_reason(error)}") from error


def decode_or_problem(path: Path, spec: ImageSpec) -> np.ndarray | Problem:
    """As `decode`, with the problem as a value where many files are read and one may fail."""
    try:
        return decode(path, spec)
    except DataError as error:
        return Problem(path, error.what.removeprefix(str(path)).strip())


def fit(image: Image.Image, spec: ImageSpec) -> np.ndarray:
    """A Pillow image as uint8 of `spec.shape`."""
    image.load()
    image = in_color(ImageOps.exif_transpose(image), spec.channels)
    if image.size != (spec.width, spec.height):
        image = image.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


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
    if "truncated" in str(error).lower():
        return "is truncated"
    return f"is damaged ({str(error).strip() or type(error).__name__})"
