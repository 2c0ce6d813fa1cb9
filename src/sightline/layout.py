"""Where the two layouts meet: people hold HWC images and NHWC batches, tensors inside a network are NCHW.

This is the only file that permutes. With `channels_last` memory each step below is a view and copies nothing.
Only rank-4 tensors (batch, height, width, channels) have two layouts; others are the same on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Shape = tuple[int, ...]


def to_channels_first(batch: torch.Tensor) -> torch.Tensor:
    """NHWC -> NCHW as a view in channels_last memory; other ranks are returned as they are."""
    return batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch


def to_channels_last(batch: torch.Tensor) -> torch.Tensor:
    """NCHW -> NHWC; a view when the memory is channels_last; other ranks are returned as they are."""
    return batch.permute(0, 2, 3, 1) if batch.ndim == 4 else batch


def flatten(batch: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) -> (N, H*W*C) in HWC order, as Keras flattens and as channels_last memory lies."""
    return to_channels_last(batch).flatten(1)


def inner_shape(shape: Sequence[int]) -> Shape:
    """A person's shape without batch, (H, W, C), as the tensor's, (C, H, W); other ranks unchanged."""
    h_w_c = tuple(shape)
    return (h_w_c[2], h_w_c[0], h_w_c[1]) if len(h_w_c) == 3 else h_w_c


def person_shape(shape: Sequence[int]) -> Shape:
    """A tensor's shape without batch, (C, H, W), as a person's, (H, W, C); other ranks unchanged."""
    c_h_w = tuple(shape)
    return (c_h_w[1], c_h_w[2], c_h_w[0]) if len(c_h_w) == 3 else c_h_w


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a shape is the one that is wanted, in which None is any size."""
    return len(shape) == len(wanted) and all(w is None or size == w for size, w in zip(shape, wanted, strict=True))


def inner_axis(axis: int, rank: int) -> int:
    """The dimension of the tensor that a person means by `axis` (batch included, negative from the end).

    Raises IndexError when the axis does not exist.
    """
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} of a tensor of rank {rank}")
    axis %= rank
    return (0, 2, 3, 1)[axis] if rank == 4 else axis


def channel_axis(rank: int) -> int:
    """The dimension that holds channels (features): Keras's last axis."""
    return inner_axis(-1, rank)


def channels_of(inner: Sequence[int]) -> int:
    """The channels (features) of a tensor's shape without the batch."""
    return inner[channel_axis(len(inner) + 1) - 1]


def kernel_to_keras(weight: torch.Tensor) -> torch.Tensor:
    """A weight in Keras's layout, as a view: (out, in, height, width) -> (height, width, in, out), (out, in) -> (in, out)."""
    if weight.ndim == 4:
        return weight.permute(2, 3, 1, 0)
    return weight.mT if weight.ndim == 2 else weight


def kernel_from_keras(weight: torch.Tensor) -> torch.Tensor:
    """The inverse of `kernel_to_keras`."""
    if weight.ndim == 4:
        return weight.permute(3, 2, 0, 1)
    return weight.mT if weight.ndim == 2 else weight


def broadcast_to_inner(vector: torch.Tensor, axes: Sequence[int], rank: int) -> torch.Tensor:
    """A tensor that has the sizes of a person's `axes` (sorted), shaped to meet an inner tensor of `rank`."""
    sizes = dict(zip(axes, vector.shape, strict=True))
    return to_channels_first(vector.reshape([sizes.get(axis, 1) for axis in range(rank)]))


def depthwise_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(depth_multiplier, C, height, width) as torch's grouped convolution takes it: (C * depth_multiplier, 1, height, width)."""
    return weight.transpose(0, 1).flatten(0, 1).unsqueeze(1)


def reorder(batch: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """A tensor with a person's axes in another order; `axes` name the old ones, the batch (0) first."""
    return to_channels_first(to_channels_last(batch).permute(*axes))
