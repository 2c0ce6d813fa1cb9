"""Losses of semantic segmentation: logits (N, C, H, W) beside class numbers (N, H, W), of which `ignore_class` says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, ShapeError, choose
from ..layout import channel_axis
from ..structures import IGNORE
from .classes import Loss
from .functions import sparse_categorical_crossentropy
from .reduction import SUM_OVER_BATCH_SIZE
from .targets import class_numbers, class_targets

BALANCES = ("inverse", "median")


def class_weights(counts: Any, balance: str = "inverse") -> np.ndarray:
    """A weight for each class, float64 (classes,), so that rare classes count: 1 in the mean of the classes that have pixels.

    `counts` are pixels of each class, (images, classes) or, for "inverse", (classes,). "inverse" is 1 / the class's share of all
    pixels; "median" is median frequency balancing (Eigen & Fergus 2015, section 4.3.2), where a class's share is of those images
    only that have it. A class without a pixel gets 0. Raises ArgumentError where there is no pixel, ShapeError for other shapes.
    """
    choose("balance of classes", balance, BALANCES)
    pixels = np.asarray(counts, np.float64)
    if pixels.ndim not in (1, 2) or (balance == "median" and pixels.ndim == 1):
        raise ShapeError(
            f"class_weights: {balance} needs the pixels of each class",
            expected="(images, classes)" if balance == "median" else "(classes,) or (images, classes)",
            received=pixels.shape,
        )
    if not (np.isfinite(pixels).all() and (pixels >= 0).all() and pixels.any()):
        raise ArgumentError("class_weights: counts are numbers of pixels, and not all 0", received=pixels.tolist())
    pixels = np.atleast_2d(pixels)
    of_class, of_image = pixels.sum(0), pixels.sum(1)
    seen_in = (pixels > 0).T @ of_image if balance == "median" else of_image.sum()
    present = of_class > 0
    weights = np.divide(seen_in, of_class, out=np.zeros(len(of_class)), where=present)
    return weights / weights[present].mean()


class _OfPixels(Loss):
    """A loss with a value for each pixel, which counts as its class weighs, and not at all where it is ignored."""

    class_weights: tuple[float, ...] | None
    ignore_class: int | None

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty((batch_size, *shape[1:]), dtype=torch.int64)

    def mask(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
        if self.class_weights is None:
            return None if self.ignore_class is None else class_targets(y_true, y_pred) != self.ignore_class
        numbers, known = _numbers(y_true, y_pred, self.ignore_class)
        classes = y_pred.shape[channel_axis(y_pred.ndim)]
        if len(self.class_weights) != classes:
            raise ArgumentError(
                f"{self.name}: one weight for each class", expected=classes, received=len(self.class_weights)
            )
        return y_pred.new_tensor(self.class_weights)[numbers] * known


class PixelCrossentropy(_OfPixels):
    """Cross-entropy of logits: sum(w * -log p) / sum(w) over the known pixels, w the weight of a pixel's class.

    As torch's cross_entropy with `weight` and `ignore_index`; a sample weight multiplies the sum only. 0 where nothing is known.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_class: int | None = IGNORE,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "pixel_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.class_weights, self.ignore_class = _checked(class_weights, self.name), ignore_class

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, True, self.ignore_class)


class PixelFocal(_OfPixels):
    """`PixelCrossentropy` in which each pixel also counts (1 - p)^gamma times (Lin et al. 2017, equation 5, of softmax).

    Class weights are the paper's alpha. The sum is divided by the class weights of the known pixels, not by these factors.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        ignore_class: int | None = IGNORE,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "pixel_focal",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.gamma = _at_least_zero(gamma, f"{self.name}: gamma")
        self.class_weights, self.ignore_class = _checked(class_weights, self.name), ignore_class

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        crossentropy = sparse_categorical_crossentropy(y_true, y_pred, True, self.ignore_class)
        wrong = -torch.expm1(-crossentropy)  # 1 - p
        # above 0, where a power below 1 has no gradient
        return wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** self.gamma * crossentropy


class PixelDice(Loss):
    """1 - soft Dice, a value for each image: 1 - mean over classes of (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth).

    p is the softmax of the logits, t 1 at the pixels of the class and 0 at others, the sums over an image's known pixels, the
    mean over the classes that the image's target has (Milletari et al. 2016, with plain sums below as in Sudre et al. 2017).
    Each image counts alike; one in which nothing is known does not count.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        ignore_class: int | None = IGNORE,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "pixel_dice",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.smooth, self.ignore_class = _at_least_zero(smooth, f"{self.name}: smooth"), ignore_class

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty((batch_size, *shape[1:]), dtype=torch.int64)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        if y_pred.ndim != 4:
            raise ShapeError(f"{self.name} is of maps", expected="(N, C, H, W)", received=tuple(y_pred.shape))
        numbers, known = (each.unsqueeze(1) for each in _numbers(y_true, y_pred, self.ignore_class))
        classes = torch.arange(y_pred.shape[1], device=y_pred.device).view(1, -1, 1, 1)
        true = (numbers == classes) & known
        p = torch.softmax(y_pred, 1) * known
        both, either = (p * true).sum((2, 3)), p.sum((2, 3)) + true.sum((2, 3))
        present = true.any(3).any(2)
        dice = (2 * both + self.smooth) / torch.where(present, either + self.smooth, 1)
        return 1 - (dice * present).sum(1) / present.sum(1).clamp(min=1)

    def mask(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
        return None if self.ignore_class is None else (class_targets(y_true, y_pred) != self.ignore_class).any(2).any(1)


def _numbers(y_true: torch.Tensor, y_pred: torch.Tensor, ignore_class: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Class numbers as int64, 0 where they are ignored, and where they are known."""
    y_true = class_targets(y_true, y_pred)
    known = torch.ones_like(y_true, dtype=torch.bool) if ignore_class is None else y_true != ignore_class
    return class_numbers(torch.where(known, y_true, 0), y_pred), known


def _checked(weights: Any, name: str) -> tuple[float, ...] | None:
    if weights is None:
        return None
    given = np.asarray(weights, np.float64)
    if given.ndim != 1 or not (np.isfinite(given).all() and (given >= 0).all() and given.any()):
        raise ArgumentError(
            f"{name}: class_weights are numbers of at least 0, one for each class, and not all 0", received=weights
        )
    return tuple(given.tolist())


def _at_least_zero(value: float, what: str) -> float:
    if not 0 <= value < float("inf"):
        raise ArgumentError(f"{what} is a number of at least 0", received=value)
    return value
