"""Changes of one image: arrays (height, width, channels) in and out, with the arithmetic of Keras's ImageDataGenerator.

Its parameters are a dictionary, as Keras has it: `random_parameters` draws one, `transformed` applies one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import ImageEnhance
from scipy import ndimage

from ..errors import ShapeError, refuse_unknown
from .files import array_to_img, img_to_array

FILL_MODES = ("constant", "nearest", "reflect", "wrap", "mirror", "grid-constant", "grid-mirror", "grid-wrap")
PARAMETERS = (
    "theta", "tx", "ty", "shear", "zx", "zy",
    "flip_horizontal", "flip_vertical", "channel_shift_intensity", "brightness",
)  # fmt: skip
_STILL = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}  # moves nothing


def random_source(seed: int | None) -> Any:
    """A generator of its own for a seed; without one NumPy's global one, which `utils.set_random_seed` seeds.

    Both draw the numbers that Keras draws, which seeds the global one instead.
    """
    return np.random if seed is None else np.random.RandomState(seed)


def random_parameters(ranges: Any, shape: tuple[int, ...], random: Any) -> dict[str, Any]:
    """Parameters for an image of `shape`, drawn from `random` within `ranges` (an ImageDataGenerator), in Keras's order."""
    height, width = shape[:2]
    theta = random.uniform(-ranges.rotation_range, ranges.rotation_range) if ranges.rotation_range else 0
    tx = random_shift(ranges.height_shift_range, height, random)
    ty = random_shift(ranges.width_shift_range, width, random)
    shear = random.uniform(-ranges.shear_range, ranges.shear_range) if ranges.shear_range else 0
    zx, zy = (1, 1) if list(ranges.zoom_range) == [1, 1] else random.uniform(*ranges.zoom_range, 2)
    flip_horizontal = random.random() < 0.5 and bool(ranges.horizontal_flip)
    flip_vertical = random.random() < 0.5 and bool(ranges.vertical_flip)
    channels = ranges.channel_shift_range
    channel_shift_intensity = random.uniform(-channels, channels) if channels else None
    brightness = None if ranges.brightness_range is None else random.uniform(*ranges.brightness_range)
    values = (theta, tx, ty, shear, zx, zy, flip_horizontal, flip_vertical, channel_shift_intensity, brightness)
    return dict(zip(PARAMETERS, values, strict=True))


def random_shift(shift_range: Any, size: int, random: Any) -> Any:
    """A shift in pixels: within +-`shift_range`, below 1 as a share of `size`.

    A list is what to choose from, and a whole number n is 0 .. n - 1; what is chosen has either sign.
    """
    if np.size(shift_range) == 0 or (np.ndim(shift_range) == 0 and not shift_range):
        return 0
    if np.ndim(shift_range) or isinstance(shift_range, (int, np.integer)):
        shift = random.choice(shift_range) * random.choice([-1, 1])
    else:
        shift = random.uniform(-shift_range, shift_range)
    return shift * size if np.max(shift_range) < 1 else shift


def transformed(
    x: np.ndarray, parameters: Mapping[str, Any], *, fill_mode: str = "nearest", cval: float = 0.0, order: int = 1
) -> np.ndarray:
    """The image (height, width, channels) moved, shifted in its channels, flipped and brightened, in this order.

    What `parameters` lacks is not done; what it has besides `PARAMETERS` is refused (ArgumentError). Raises ShapeError.
    """
    if x.ndim != 3:
        raise ShapeError("A transform takes one image (height, width, channels)", received=f"shape {x.shape}")
    refuse_unknown("A transform", {k: v for k, v in parameters.items() if k not in PARAMETERS}, PARAMETERS)
    matrix = affine_matrix(*(parameters.get(name, default) for name, default in _STILL.items()))
    if matrix is not None:
        x = affine(x, matrix, fill_mode, cval, order)
    if parameters.get("channel_shift_intensity") is not None:
        x = np.clip(x + parameters["channel_shift_intensity"], x.min(), x.max())
    if parameters.get("flip_horizontal"):
        x = x[:, ::-1]
    if parameters.get("flip_vertical"):
        x = x[::-1]
    if parameters.get("brightness") is not None:
        x = brightened(x, parameters["brightness"])
    return x


def affine_matrix(theta: float, tx: float, ty: float, shear: float, zx: float, zy: float) -> np.ndarray | None:
    """Rotation @ shift @ shear @ zoom (3, 3), angles in degrees: from a place in the answer to one in the image, None for itself."""
    if (theta, tx, ty, shear, zx, zy) == tuple(_STILL.values()):
        return None
    theta, shear = np.deg2rad(theta), np.deg2rad(shear)
    rotation = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    shift = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    shearing = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoom = np.array([[zx, 0, 0], [0, zy, 0], [0, 0, 1]])
    return rotation @ shift @ shearing @ zoom


def affine(x: np.ndarray, matrix: np.ndarray, fill_mode: str, cval: float, order: int) -> np.ndarray:
    """Each channel of (height, width, channels) by `matrix` about the middle, interpolated by splines of `order`."""
    height, width = x.shape[:2]
    middle_x, middle_y = height / 2 - 0.5, width / 2 - 0.5
    there = np.array([[1, 0, middle_x], [0, 1, middle_y], [0, 0, 1]])
    back = np.array([[1, 0, -middle_x], [0, 1, -middle_y], [0, 0, 1]])
    matrix = there @ matrix @ back
    # Keras swaps the axes only now, so that its middle is exact for squares alone, and tx moves along the width
    matrix = matrix[[1, 0, 2]][:, [1, 0, 2]]
    channels = [
        ndimage.affine_transform(x[..., c], matrix[:2, :2], matrix[:2, 2], order=order, mode=fill_mode, cval=cval)
        for c in range(x.shape[2])
    ]
    return np.stack(channels, axis=-1)


def brightened(x: np.ndarray, brightness: float) -> np.ndarray:
    """`x` times `brightness`, rounded to 8 bits by Pillow; values outside 0..255 are stretched into it and back."""
    least, most = x.min(), x.max()
    outside = bool(least < 0 or most > 255)
    image = ImageEnhance.Brightness(array_to_img(x, scale=outside)).enhance(brightness)
    pixels = img_to_array(image)
    return pixels / 255 * (most - least) + least if outside else pixels
