"""Along one axis, which places of a layer's input each place of its output is made of.

All layers of convolutional networks come to this: convolutions and pooling slide, transposed convolutions spread, resizing
samples, padding and cropping shift. A `Window` answers for every whole number, also for places beyond the borders,
as if the feature map went on there: so the field of a place near the border is known before it is cut to the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from ..layers.resizing import resize

NOWHERE = np.iinfo(np.int64).min  # fills up where one place reads fewer than another

Reads = Callable[[np.ndarray], np.ndarray]
Range = tuple[int, int]  # the first place, and the one behind the last


@dataclass(frozen=True)
class Window:
    """`reads` takes places (n,) and gives the places of the input that each reads, (n, k), NOWHERE in the gaps.

    None: every place reads all that there is. `stride` is how much further on the input is read one place further on.
    `behind`: this reads what another window made of the input, and how many places that are: resizing behind cropping.
    """

    reads: Reads | None
    stride: Fraction = Fraction(1)
    behind: tuple[Window, int] | None = None

    def reach(self, places: Range) -> Range | None:
        """From where up to where the input is read by these places; None where no place in particular is."""
        if self.reads is None:
            return None
        at = self.reads(np.arange(*places))
        at = at[at != NOWHERE]
        return (int(at.min()), int(at.max()) + 1) if at.size else None


def behind(near: Window, size: int, far: Window) -> Window:
    """What `far` reads of the `size` places that `near` makes."""
    return replace(far, behind=(near, size))


def sliding(kernel: int, stride: int = 1, before: int = 0, dilation: int = 1) -> Window:
    """Convolution and pooling: place p reads p * stride - before + dilation * (0, 1, ..., kernel - 1)."""
    steps = np.arange(kernel, dtype=np.int64) * dilation - before
    return Window(lambda places: places[:, None] * stride + steps, Fraction(stride))


def shifted(by: int) -> Window:
    """Cropping (`by` places before the first are left out) and padding (`by` is negative)."""
    return sliding(1, 1, -by)


SAME = shifted(0)  # place by place
FIRST = Window(lambda places: np.zeros((len(places), 1), np.int64), Fraction(0))  # an axis of one place, stretched
EVERYTHING = Window(None, Fraction(0))
NOTHING = Window(lambda places: np.full((len(places), 1), NOWHERE), Fraction(0))  # of an input whose size alone counts


def spread(kernel: int, stride: int, before: int, dilation: int = 1) -> Window:
    """The transposed convolution: input i adds to the places i * stride - before + dilation * (0, 1, ..., kernel - 1)."""
    steps = np.arange(kernel, dtype=np.int64) * dilation - before

    def reads(places: np.ndarray) -> np.ndarray:
        reached = places[:, None] - steps
        return np.where(reached % stride == 0, reached // stride, NOWHERE)

    return Window(reads, Fraction(1, stride))


def adaptive(old: int, new: int) -> Window:
    """torch's adaptive pooling: place p reads floor(p * old / new) up to ceil((p + 1) * old / new)."""
    steps = np.arange(-(-old // new) + 1, dtype=np.int64)

    def reads(places: np.ndarray) -> np.ndarray:
        at = (places * old // new)[:, None] + steps
        return np.where(at < -(-(places + 1) * old // new)[:, None], at, NOWHERE)

    return Window(reads, Fraction(old, new))


def looked_up(table: np.ndarray, old: int) -> Window:
    """Sampling: place p reads table[p], and so on beyond the borders, `old` places further every len(table)."""

    def reads(places: np.ndarray) -> np.ndarray:
        return (table[places % len(table)] + places // len(table) * old)[:, None]

    return Window(reads, Fraction(old, len(table)))


RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}  # of the kernels of `layers.resizing`


def resized(old: int, new: int, interpolation: str, antialias: bool = False) -> Window:
    """`layers.resizing.resize` from `old` places to `new`.

    Place p is centred on (p + 1/2) * old / new - 1/2 and reads what is nearer than the kernel's radius, but not at the other
    whole numbers, where each kernel is 0. With `antialias` distances are measured in output places where the image shrinks.
    """
    if interpolation == "nearest":
        pixels = resize(torch.arange(old).view(1, 1, old, 1), (new, 1), "nearest")
        return looked_up(pixels.flatten().numpy(), old)
    unit = 2 * max(old, new) if antialias else 2 * new  # of a distance 1, where 2 * new is from one place to the next
    reach = RADIUS[interpolation] * unit
    steps = np.arange(-(reach // (2 * new)), reach // (2 * new) + 2, dtype=np.int64)

    def reads(places: np.ndarray) -> np.ndarray:
        centres = ((2 * places + 1) * old - new)[:, None]  # times 2 * new, to stay whole
        at = centres // (2 * new) + steps
        distance = np.abs(at * 2 * new - centres)
        return np.where((distance == 0) | ((distance < reach) & (distance % unit != 0)), at, NOWHERE)

    return Window(reads, Fraction(old, new))
