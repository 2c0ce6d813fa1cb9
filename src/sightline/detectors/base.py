"""What every detector is: images in, `Detections` out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..data.decode import PADDING
from ..errors import ArgumentError, ShapeError, choose, whole_number
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layout import to_channels_first
from ..ops import SUPPRESSIONS
from ..rewrite import ScoreMap, in_place
from ..structures import Detections
from ..training.numerics import in_full_float32
from .outputs import Windows, arranged, best, box_output, candidates

Pair = tuple[int, int]


class Detector(abc.ABC):
    """Anything that finds objects in images."""

    def detect(self, images: Any, *, conf: float = 0.5, iou: float = 0.5, max_det: int = 100, nms: str = "hard") -> Any:
        """`Detections` of an image (height, width, channels), in its pixels; a list of them for a list of images.

        What scores at least `conf` is a candidate; of candidates of one class that overlap by more than `iou` the best stays (with
        `nms` "soft" the others' scores are lowered instead: see `ops.suppressed`), and of all the best `max_det`.
        Raises ShapeError for what is no image of the network's, ArgumentError for settings out of range.
        """
        for name, value in (("conf", conf), ("iou", iou)):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
                raise ArgumentError(f"detect: {name} is from 0 to 1", received=repr(value))
        max_det = whole_number(max_det, "detect: max_det", least=0)
        choose("non-maximum suppression", nms, SUPPRESSIONS)
        if isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4:
            return [self._of_one(image, conf, iou, max_det, nms) for image in images]
        return self._of_one(images, conf, iou, max_det, nms)

    @abc.abstractmethod
    def _of_one(self, image: Any, conf: float, iou: float, max_det: int, nms: str) -> Detections:
        """What is found in one image, in its pixels."""


class WindowDetector(Detector):
    """Finds objects by what a classifier says of windows.

    `scales`: how much the image is enlarged before it is looked at; 0.5 finds objects twice as large. `background`: the class that
    stands for no object. A network with two outputs, class probabilities (None, n) and a box (None, 4), tells within
    each window where the object is: centre x, centre y, height and width in shares of it.

    Images are arrays of the numbers that the network takes, of any size; where a window does not fit, or the last ones do not reach
    the right or bottom edge, the image goes on in gray (114). Every class of a window is a candidate.
    """

    def __init__(self, model: Network, scales: Sequence[float] = (1.0,), background: int | None = None):
        require_model(model)
        if background is not None:
            background = whole_number(background, f"{type(self).__name__}: background", least=0)
        several = (
            tuple(scales) if isinstance(scales, (Sequence, np.ndarray)) and not isinstance(scales, str) else (scales,)
        )
        if not several or not all(isinstance(s, Real) and not isinstance(s, bool) and 0 < s < np.inf for s in several):
            raise ArgumentError("scales are numbers above 0", expected="such as (0.5, 1.0)", received=repr(scales))
        self.model, self.scales, self.background = model, several, background
        self.channels = model.inputs[0].inner_shape[0]
        self.box = box_output(model)
        self._faster = in_place(model)

    def _of_one(self, image: Any, conf: float, iou: float, max_det: int, nms: str) -> Detections:
        array = self._checked(image)
        size = array.shape[0], array.shape[1]
        found = []
        for scale in self.scales:
            new = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
            windows = self._scan(resized(array, new))
            boxes, scores, labels = candidates(windows, conf, self.background, self.model.name)
            back = np.array([size[1] / new[1], size[0] / new[0]] * 2)
            found.append((boxes * back, scores, labels))
        return best(found, size, conf, iou, max_det, nms)

    def _checked(self, image: Any) -> np.ndarray:
        array = np.asarray(image)
        array = array[..., None] if array.ndim == 2 and self.channels == 1 else array
        if array.ndim != 3 or array.shape[2] != self.channels or not array.size or array.dtype.kind not in "buif":
            raise ShapeError(
                "This is no image that the network takes",
                expected=f"an array (height, width, {self.channels}) of numbers",
                received=f"{type(image).__name__} {array.shape} of {array.dtype}",
                fix="Images are height, width, channels; several are a list",
            )
        return array

    @abc.abstractmethod
    def _scan(self, image: np.ndarray) -> Windows:
        """What the network says of all windows of an image (height, width, channels), in its pixels."""

    def _answers(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """(class scores, shares or None) for a batch, as arrays with the classes last."""
        with inference(self.model), in_full_float32():
            scores, shares = arranged(self._faster(x), self.box)
        return _rows_last(scores), None if shares is None else _rows_last(shares)

    def _tensor(self, images: np.ndarray) -> torch.Tensor:
        """A batch (n, height, width, channels) as the network takes it."""
        like = next((p for p in self.model.parameters() if p.is_floating_point()), torch.empty(0))
        return to_channels_first(torch.from_numpy(np.ascontiguousarray(images)).to(like.device, like.dtype))


def require_model(model: Any) -> None:
    """Raise ArgumentError for anything that is no network of ours."""
    if not isinstance(model, Network):
        fix = "Wrap a module: sl.wrap(module, input_shape)"
        raise ArgumentError("A detector is made of a model", received=type(model).__name__, fix=fix)


def _rows_last(values: torch.Tensor) -> np.ndarray:
    return (values.movedim(1, -1) if values.ndim > 2 else values).cpu().numpy()


def resized(image: np.ndarray, size: Pair) -> np.ndarray:
    """An image (height, width, channels) at another size: bilinear and antialiased, as float32; itself where it has the size."""
    if image.shape[:2] == size:
        return image
    x = to_channels_first(torch.from_numpy(image.astype(np.float32))[None])
    y = F.interpolate(x, size, mode="bilinear", antialias=True)
    return y[0].movedim(0, -1).contiguous().numpy()


def covered(image: np.ndarray, where: ScoreMap) -> np.ndarray:
    """The image, gray below and to the right so far that windows of `where` cover all of it."""
    more = []
    for pixels, window, stride in zip(image.shape, where.window, where.stride, strict=False):
        steps = -(-max(pixels - window, 0) // stride)
        more.append((0, window + steps * stride - pixels))
    if not any(after for _, after in more):
        return image
    # One value for all channels; it lies in the middle of what images hold, so no edge is strong
    return np.pad(image, [*more, (0, 0)], constant_values=PADDING if image.dtype.kind != "b" else False)
