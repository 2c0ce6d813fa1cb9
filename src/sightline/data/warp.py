"""One affine map of a picture, its mask and its boxes.

A matrix (2, 3) takes a place (x, y, 1) of the new picture to a place of the old one. Places are continuous: pixel i covers
i .. i + 1, as in boxes.
"""

from __future__ import annotations

import numpy as np

from ..structures import Boxes


def is_flip(matrix: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the map mirrors a picture of `size` (height, width), or leaves it, so that pixels only change places."""
    return np.array_equal(matrix, flip_matrix(matrix[0, 0] < 0, matrix[1, 1] < 0, size))


def flip_matrix(horizontal: bool, vertical: bool, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    across, down = (-1.0, float(width)) if horizontal else (1.0, 0.0), (-1.0, float(height)) if vertical else (1.0, 0.0)
    return np.array([[across[0], 0.0, across[1]], [0.0, down[0], down[1]]])


def flipped(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixels or a mask under a map that `is_flip`; a view."""
    return pixels[:: int(matrix[1, 1]), :: int(matrix[0, 0])]


def places(matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the middle of each new pixel lies in the old picture: x and y, float32 (height, width)."""
    height, width = size
    across, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    x = (matrix[0, 0] * across).astype(np.float32) + (matrix[0, 1] * down + matrix[0, 2]).astype(np.float32)
    y = (matrix[1, 0] * across).astype(np.float32) + (matrix[1, 1] * down + matrix[1, 2]).astype(np.float32)
    return x, y


def warp(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, fill: float) -> np.ndarray:
    """Pixels (height, width, channels) sampled bilinearly to float32 of `size`, `fill` where there is no picture."""
    import torch  # here, so that what only reads data starts without it

    height, width = pixels.shape[:2]
    grid = np.empty((1, *size, 2), np.float32)
    scaled = matrix * [[2 / width], [2 / height]]
    scaled[:, 2] -= 1  # grid_sample's places are -1 at the left or top edge and 1 at the right or bottom
    grid[0, ..., 0], grid[0, ..., 1] = places(scaled, size)
    values = pixels.astype(np.float32)
    values -= np.float32(fill)
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(values).movedim(2, 0)[None], torch.from_numpy(grid), align_corners=False
    )
    answer = sampled[0].movedim(0, 2).numpy()
    answer += np.float32(fill)  # NumPy's: torch would set threads of its own to it
    return answer


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 (height, width, channels), which are changed, as uint8 rounded and limited to 0..255, in the order of the axes."""
    np.clip(values, 0, 255, out=values)
    values += np.float32(0.5)
    pixels = np.empty(values.shape, np.uint8)
    # A warp's values lie channel by channel: to copy them at once takes three times as long
    for channel in range(values.shape[2]):
        pixels[..., channel] = values[..., channel]
    return pixels


def warp_mask(mask: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, fill: int) -> np.ndarray:
    """A mask (height, width) of `size` by nearest neighbour: the class of the pixel in which a place lies."""
    x, y = (np.floor(place).astype(np.int32) for place in places(matrix, size))
    height, width = mask.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside, mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], mask.dtype.type(fill))


def corners_of(xyxy: np.ndarray) -> np.ndarray:
    """The corners of boxes (n, 4), around each: (n, 4, 2)."""
    return xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def moved_corners(xyxy: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Where the corners of boxes of the old picture lie in the new one: (n, 4, 2)."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    return corners_of(xyxy) @ back[:, :2].T + back[:, 2]


def visible(boxes: Boxes, corners: np.ndarray, size: tuple[int, int], least: float) -> Boxes:
    """`boxes` whose corners have come to lie at (n, 4, 2): the upright bounds of what of each lies in a picture of `size`.

    Those whose bounds keep less than `least` of their area are dropped, and inverted ones and those without area.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # of impossible boxes, which are dropped
        inside = _bounds_inside(corners, size)
        whole = _area(np.concatenate([corners.min(1), corners.max(1)], axis=1))
        left = _area(inside)
        upright = (boxes.xyxy[:, :2] < boxes.xyxy[:, 2:]).all(1)
        keep = upright & (left > 0) & (left >= least * whole * (1 - 1e-9))
    return boxes[keep].moved(inside[keep])


def _bounds_inside(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The bounds (n, 4) of the parts of convex quadrilaterals (n, 4, 2) in a picture; not finite where there is none.

    Such a part has its corners among the quadrilateral's corners, the picture's corners, and where their edges cross.
    """
    limit = np.array([size[1], size[0]], float)
    along = np.roll(corners, -1, axis=1) - corners
    points, valid = [corners], [((corners >= 0) & (corners <= limit)).all(-1)]
    for axis, edge in ((0, 0.0), (0, limit[0]), (1, 0.0), (1, limit[1])):
        share = (edge - corners[..., axis]) / along[..., axis]
        crossing = corners + share[..., None] * along
        crossing[..., axis] = edge
        other = crossing[..., 1 - axis]
        points.append(crossing)
        valid.append((share >= 0) & (share <= 1) & (other >= 0) & (other <= limit[1 - axis]))
    frame = np.array([[0, 0], [limit[0], 0], limit, [0, limit[1]]], float)
    to_frame = frame[None, :, None] - corners[:, None]  # (n, corner of the picture, corner of the box, 2)
    side = along[:, None, :, 0] * to_frame[..., 1] - along[:, None, :, 1] * to_frame[..., 0]
    points.append(np.broadcast_to(frame, (len(corners), 4, 2)))
    valid.append((side >= 0).all(-1) | (side <= 0).all(-1))
    every, there = np.concatenate(points, 1), np.concatenate(valid, 1)[..., None]
    return np.concatenate([np.where(there, every, np.inf).min(1), np.where(there, every, -np.inf).max(1)], axis=1)


def _area(xyxy: np.ndarray) -> np.ndarray:
    """(n,); 0 for an inverted box, nan for one that is not a number."""
    return np.maximum(xyxy[:, 2] - xyxy[:, 0], 0) * np.maximum(xyxy[:, 3] - xyxy[:, 1], 0)
