"""Whether a fully convolutional network says what its classifier says of each window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ShapeError
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layout import to_channels_first
from ..rewrite import ScoreMap, score_map
from ..training.numerics import in_full_float32
from ..training.ports import flat


@dataclass(frozen=True)
class DenseDifference:
    """How far a map of scores is from the classifier's, slid over the same image.

    `largest`: the largest difference of any score; `interior`: of the windows that do not touch the image's border (None: there
    is none); `agreement`: the share of windows of which both name the same class; `windows`: how many there are.
    """

    largest: float
    interior: float | None
    agreement: float
    windows: int

    def __str__(self) -> str:
        inside = "none inside" if self.interior is None else f"{self.interior:.3g} inside"
        return f"{self.windows} windows: at most {self.largest:.3g} apart ({inside}), {100 * self.agreement:.1f} % name the same class"


def dense_difference(model: Network, dense: Network, image: Any, batch_size: int = 64) -> DenseDifference:
    """Slide `model` over `image` (height, width, channels) by the stride of `dense` and compare: see `DenseDifference`.

    `dense` is what `rewrite.to_fully_convolutional` made of `model`. Rows and columns beyond the last whole window are cut off: no score is
    of them, and paths that pad unlike meet only at a window and whole strides. Computed in the type of the weights. With "same" padding the two
    differ, for a crop ends where the image goes on. Raises ShapeError where the image is no such image, or smaller than a window.
    """
    where = score_map(dense)
    x = _as_batch(model, image)
    shape = where.shape((x.shape[2], x.shape[3]))
    height, width = where.extent(shape)
    x = x[:, :, :height, :width]
    with inference(model), inference(dense), in_full_float32():
        maps = [part[0, :, : shape[0], : shape[1]].flatten(1).T for part in flat(dense(x))]
        answers = [[part.flatten(1) for part in flat(model(crops))] for crops in _crops(x, where, shape, batch_size)]
    slid = [torch.cat(parts) for parts in zip(*answers, strict=True)]
    apart = torch.stack([(one - other).abs().amax(1) for one, other in zip(maps, slid, strict=True)]).amax(0)
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    inner = apart[inside.flatten()]
    agreement = (maps[0].argmax(1) == slid[0].argmax(1)).double().mean()
    return DenseDifference(float(apart.max()), float(inner.max()) if len(inner) else None, float(agreement), len(apart))


def _as_batch(model: Network, image: Any) -> torch.Tensor:
    array = np.asarray(image)
    channels = model.inputs[0].inner_shape[0]
    if array.ndim != 3 or array.shape[2] != channels:
        raise ShapeError(
            "The image is another", expected=f"an array (height, width, {channels})", received=tuple(array.shape)
        )
    like = next(p for p in model.parameters() if p.is_floating_point())
    return to_channels_first(torch.from_numpy(np.ascontiguousarray(array))[None]).to(like.device, like.dtype)


def _crops(x: torch.Tensor, where: ScoreMap, shape: tuple[int, int], batch_size: int) -> Iterator[torch.Tensor]:
    """The windows of one image in batches, row by row."""
    boxes = where.boxes(shape).astype(int)
    for first in range(0, len(boxes), batch_size):
        some = boxes[first : first + batch_size].tolist()
        yield torch.cat([x[:, :, top:bottom, left:right] for left, top, right, bottom in some])
