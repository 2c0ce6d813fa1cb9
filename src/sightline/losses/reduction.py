"""From a value for each sample to the loss of a batch, with Keras's arithmetic of weights."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ShapeError
from ..layout import channel_axis, to_channels_first

SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
REDUCTIONS = (SUM_OVER_BATCH_SIZE, "mean", "mean_with_sample_weight", "sum", "none")


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """As float32 or float64: sums over a batch in half precision would lose the small parts."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def weights_of(values: torch.Tensor, sample_weight: Any) -> torch.Tensor:
    """`sample_weight` (a number or a tensor) shaped to multiply `values`: one weight a sample counts for all its places.

    A feature map (N, H, W) takes weights (), (N), (N, H), (N, H, W), or of its own rank. Raises ShapeError else.
    """
    if isinstance(sample_weight, (int, float)):
        return values.new_full((), sample_weight)  # not a copy from the host, which would wait for the device
    given = torch.as_tensor(sample_weight, dtype=values.dtype, device=values.device)
    weights = given
    if weights.ndim == values.ndim + 1 and weights.shape[channel_axis(weights.ndim)] == 1:
        weights = weights.squeeze(channel_axis(weights.ndim))
    if 0 < weights.ndim < values.ndim:  # sizes of one go behind, where a person sees the last axis
        weights = to_channels_first(weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim)))
    if weights.ndim > values.ndim or any(w not in (1, v) for w, v in zip(weights.shape, values.shape, strict=False)):
        raise ShapeError(
            "The sample weights do not fit the values that they weigh",
            expected=f"one weight for each sample, or weights of shape {tuple(values.shape)}",
            received=tuple(given.shape),
            fix=None if values.ndim else "A function whose values are weighted returns one for each sample",
        )
    return weights


def reduced(
    values: torch.Tensor,
    sample_weight: Any = None,
    reduction: str | None = SUM_OVER_BATCH_SIZE,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted values of a batch as Keras reduces them; `mask` says which count, or how much each does.

    "sum_over_batch_size" and "mean" divide the sum by the number of values (or by the sum of the mask), whatever their
    weights; "mean_with_sample_weight" by the sum of the weights; "sum" by nothing; "none" and None do not sum.
    Divided by zero is zero.
    """
    weights = None if sample_weight is None else weights_of(values, sample_weight)
    if mask is not None:
        counts = mask.to(values.dtype)
        if reduction in (SUM_OVER_BATCH_SIZE, "mean"):
            counts = counts * _quotient(counts.new_full((), counts.numel()), counts.sum())
        weights = counts if weights is None else weights * counts
    if weights is not None:
        values = values * weights
    if reduction in (None, "none") or values.ndim == 0:
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean_with_sample_weight" and weights is not None:
        return _quotient(values.sum(), weights.sum())
    return values.sum() / max(values.numel(), 1)


def divisor(
    values: torch.Tensor,
    sample_weight: Any = None,
    reduction: str | None = SUM_OVER_BATCH_SIZE,
    mask: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """What `reduced` divides the sum of a batch's weighted values by; None: by nothing. Those of parts add up to the whole's."""
    if reduction == "sum":
        return None
    counts = None if mask is None else mask.to(values.dtype)
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        weights = weights_of(values, sample_weight)
        return (weights if counts is None else weights * counts).sum()
    return values.new_full((), values.numel()) if counts is None else counts.sum()


def reduced_part(
    values: torch.Tensor,
    rows: int,
    sample_weight: Any,
    divided_by: torch.Tensor | None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The share that a part of `rows` has in the loss of a batch with this `divisor`; over all parts they add up to `reduced`'s."""
    if not values.ndim:
        values = values * rows
    if mask is not None:
        values = values * mask.to(values.dtype)
    if sample_weight is not None:
        values = values * weights_of(values, sample_weight)
    return values.sum() if divided_by is None else _quotient(values.sum(), divided_by)


def _quotient(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.where(whole == 0, 0, part / torch.where(whole == 0, 1, whole))
