"""Images read at other places than their pixels: pure functions on NCHW batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def as_float(x: torch.Tensor) -> torch.Tensor:
    """Integer (and bool) images as float32; floats of any precision as they are."""
    return x if x.is_floating_point() else x.float()


def affine(
    x: torch.Tensor,
    matrices: torch.Tensor,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
) -> torch.Tensor:
    """Each output pixel (row, column) read at (a0*column + a1*row + a2, b0*column + b1*row + b2) = (x, y) of its image.

    `x`: (N, C, H, W), floating. `matrices`: (N, 6), float32: a0, a1, a2, b0, b1, b2 in pixels, the first six of the
    eight numbers of Keras's `ops.image.affine_transform`. Fill modes and interpolations as in `sample`.
    """
    a0, a1, a2, b0, b1, b2 = (entry[:, None, None] for entry in matrices.to(x.device, torch.float32).unbind(1))
    rows = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)[:, None]
    columns = torch.arange(x.shape[3], device=x.device, dtype=torch.float32)
    at_y, at_x = b0 * columns + b1 * rows + b2, a0 * columns + a1 * rows + a2
    return sample(x, at_y, at_x, interpolation, fill_mode, fill_value)


def sample(
    x: torch.Tensor,
    at_y: torch.Tensor,
    at_x: torch.Tensor,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
) -> torch.Tensor:
    """The images `x` (N, C, H, W) read at (N, H', W') coordinates in pixels numbers being pixel centres.

    Outside, an image goes on as `fill_mode` says: "constant" with `fill_value` (k k | a b c | k k), "nearest"
    (a a | a b c | c c), "reflect" (b a | a b c | c b), "wrap" (b c | a b c | a b). A place half-way between two
    pixels is the farther from zero by "nearest" interpolation. As `jax.scipy.ndimage.map_coordinates`, which Keras uses.
    """
    if interpolation == "nearest":
        at_y, at_x = _round_half_away(at_y), _round_half_away(at_x)
    height, width = x.shape[2:]
    image = as_float(x) if x.dtype == torch.float64 else x.float()  # positions do not fit into 16 bits
    if fill_mode == "constant":  # one pixel of the constant around, which then goes on for ever
        image, at_y, at_x = F.pad(image, (1, 1, 1, 1), value=fill_value), at_y + 1, at_x + 1
    elif fill_mode == "wrap":  # after the last pixel comes the first
        image, at_y, at_x = F.pad(image, (0, 1, 0, 1), mode="circular"), at_y % height, at_x % width
    height, width = image.shape[2:]
    grid = torch.stack([(2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1], dim=-1).to(image.dtype)
    beyond = "reflection" if fill_mode == "reflect" else "border"
    answer = F.grid_sample(image, grid, mode=interpolation, padding_mode=beyond, align_corners=False)
    return like_memory(answer.to(x.dtype), x)


def like_memory(answer: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`answer` in channels_last memory where `x` has it."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return answer.contiguous(memory_format=torch.channels_last)
    return answer


def _round_half_away(at: torch.Tensor) -> torch.Tensor:
    return at.sign() * (at.abs() + 0.5).floor()
