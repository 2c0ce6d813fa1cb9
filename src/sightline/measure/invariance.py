"""How an answer holds when the picture changes and what it shows does not; for maps, whether the answer moves along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..console import as_plain_text
from ..errors import ArgumentError, ShapeError, choose, whole_number
from ..graph.network import Network
from ..graph.symbolic import inference
from ..layout import to_channels_first
from ..metrics import wilson_interval
from ..plots import draw_invariance
from ..rewrite import in_place
from ..training.step import answer
from .changes import CHANGES, SHIFTS, Change, Range, moved

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Curve:
    """One change: for each strength the share of answers that stay as they are without it, and the share that is right.

    `accuracy` is None where there are no labels. For maps both are shares of the places that the change leaves in sight.
    """

    change: str
    unit: str
    neutral: float
    strengths: tuple[float, ...]
    agreement: tuple[float, ...]
    accuracy: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Invariance:
    """The curves of `n` images, by their change's name."""

    n: int
    curves: Mapping[str, Curve] = field(repr=False)
    maps: bool = False

    def __getitem__(self, change: str) -> Curve:
        return self.curves[choose("change", change, self.curves)]

    def draw(self, path: str | Path) -> Path:
        """A picture (PNG) of all curves; returns its path."""
        draw_invariance(list(self.curves.values()), self._title(), Path(path))
        return Path(path)

    def _title(self) -> str:
        return f"{'Equivariance' if self.maps else 'Invariance'}, n = {self.n}"

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(title=self._title(), title_justify="left", title_style="", box=box.SIMPLE_HEAD)
        table.add_column("Change")
        table.add_column("Strength", justify="right")
        table.add_column("Agreement", justify="right")
        right = any(curve.accuracy for curve in self.curves.values())
        if right:
            table.add_column("Accuracy", justify="right")
        for curve in self.curves.values():
            for i, strength in enumerate(curve.strengths):
                name = f"{curve.change}, {curve.unit}" if i == 0 else ""
                row = [name, f"{strength:g}", self._share(curve.agreement[i])]
                table.add_row(*row, *([self._share(curve.accuracy[i])] if curve.accuracy else []))
            table.add_section()
        return table

    def _share(self, share: float) -> str:
        if self.maps:  # the places of a picture are no independent draws
            return f"{share:.3f}"
        low, high = wilson_interval(share, self.n)
        return f"{share:.3f} ({low:.3f} to {high:.3f})"

    def __str__(self) -> str:
        return as_plain_text(self)


def invariance(
    model: Network,
    images: Any,
    labels: Any = None,
    *,
    changes: Sequence[str] | Mapping[str, Sequence[float]] | None = None,
    batch_size: int = 32,
) -> Invariance:
    """How the answers of a classifier hold under changes of its images; of a segmentation, how they follow them.

    `images`: an array (N, H, W, C) or tensor (N, C, H, W) as the network takes it. `labels`: class numbers (N,), or one-hot
    rows; for maps (N, H, W) or (N, H, W, classes). `changes`: names of `measure.CHANGES` (all by default), or
    strengths by name. An answer is the class with the highest value, or for one value whether it is above 1/2. Moved pictures
    are compared with the answer moved alike, where what comes in from outside does not count; a map smaller than the
    image moves by the same share, rounded to its places.

    Raises ArgumentError for unknown changes and networks that do not map one image to one answer, ShapeError for images or labels of
    another shape.
    """
    chosen = _chosen(changes)
    colorless = () if changes is not None else ("colour",)  # which gray images have not
    return _measured(model, images, labels, chosen, batch_size, colorless)


def equivariance(
    model: Network,
    images: Any,
    labels: Any = None,
    *,
    pixels: Sequence[int] = (0, 1, 2, 4, 8, 16),
    batch_size: int = 32,
) -> Invariance:
    """How far the answers of a segmentation follow its images, moved by so many whole `pixels` to the right, and down.

    Without strides every answer follows by as many pixels, but near the edges, where other pixels come in; with strides only moves by
    multiples of their product are followed so, and this shows how much the others change. The rest is as in `invariance`: for each move
    the share of places whose class is the one that has moved there, and with `labels` the share that is right.
    """
    moves = tuple(float(whole_number(each, "equivariance: pixels", least=0)) for each in pixels)
    if not moves:
        raise ArgumentError("No moves are asked for", expected="whole pixels, such as (1, 2, 4)", received=repr(pixels))
    return _measured(model, images, labels, {name: (change, moves) for name, change in SHIFTS.items()}, batch_size)


def _measured(
    model: Network,
    images: Any,
    labels: Any,
    chosen: Mapping[str, tuple[Change, tuple[float, ...]]],
    batch_size: int,
    colorless: Sequence[str] = (),
) -> Invariance:
    x = _as_images(model, images)
    limits = float(x.min()), float(x.max())
    batch_size = whole_number(batch_size, "batch_size")
    with inference(model):
        network = in_place(model)
        plain = _answers(network, x, batch_size)
        true = None if labels is None else _as_classes(labels, plain, model.outputs[0].inner_shape[0])
        curves = {
            name: _curve(name, change, strengths, network, x, plain, true, limits, batch_size)
            for name, (change, strengths) in chosen.items()
            if name not in colorless or x.shape[1] == 3
        }
    return Invariance(len(x), curves, plain.ndim > 1)


def _curve(
    name: str,
    change: Change,
    strengths: tuple[float, ...],
    network: Network,
    x: torch.Tensor,
    plain: torch.Tensor,
    true: torch.Tensor | None,
    limits: Range,
    batch_size: int,
) -> Curve:
    agreement, accuracy = [], []
    for strength in strengths:
        said = _answers(network, change(x, strength, limits), batch_size)
        agreement.append(_share(said, plain, change, strength))
        if true is not None:
            accuracy.append(_share(said, true, change, strength))
    right = tuple(accuracy) if true is not None else None
    return Curve(name, change.unit, change.neutral, strengths, tuple(agreement), right)


def _share(said: torch.Tensor, should: torch.Tensor, change: Change, strength: float) -> float:
    """The share of answers that are what they should be; maps are compared where the change has moved them to."""
    if said.ndim == 1 or change.moves is None or strength == change.neutral:
        return float((said == should).double().mean())
    maps = should[:, None].float()
    matrix = change.matrix(strength, maps)
    followed = moved(maps, matrix, "nearest", "nearest")[:, 0].round().to(said.dtype)
    inside = moved(torch.ones_like(maps), matrix, "bilinear", "constant")[:, 0] > 0.99
    return float((said == followed)[inside].double().mean()) if inside.any() else float("nan")


def _answers(network: Network, x: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Class numbers (N,), or (N, H, W) of maps."""
    found = []
    for part in x.split(batch_size):
        said = answer(network, [part])
        if not isinstance(said, torch.Tensor) or said.ndim not in (2, 4):
            raise ArgumentError(
                f"{network.name} does not answer with classes", expected="one output: classes, or a map of classes"
            )
        said = said.float().cpu()
        found.append(said.argmax(1) if said.shape[1] > 1 else (said[:, 0] > 0.5).long())
    return torch.cat(found)


def _chosen(changes: Any) -> dict[str, tuple[Change, tuple[float, ...]]]:
    names = CHANGES if changes is None else [changes] if isinstance(changes, str) else changes
    found = {}
    for name in names:
        change = CHANGES[choose("change", name, CHANGES)]
        given = changes[name] if isinstance(changes, Mapping) else change.strengths
        low, high = change.limits
        try:
            strengths = () if isinstance(given, str) else tuple(float(strength) for strength in given)
        except (TypeError, ValueError):
            strengths = ()
        fits = all(low <= each <= high and (each.is_integer() or not change.whole) for each in strengths)
        if not strengths or not fits:
            whole = "whole numbers" if change.whole else "numbers"
            expected = f"a list of {whole} from {low:g} to {high:g} ({change.unit})"
            raise ArgumentError(f"These are no strengths of {name}", expected=expected, received=repr(given))
        found[name] = (change, strengths)
    if not found:
        raise ArgumentError("No changes are asked for", expected=", ".join(CHANGES), received=repr(changes))
    return found


def _as_images(model: Network, images: Any) -> torch.Tensor:
    if not isinstance(model, Network):
        fix = "Wrap a module: sl.wrap(module, input_shape)"
        raise ArgumentError("invariance takes a model", received=type(model).__name__, fix=fix)
    shapes = [value.inner_shape for value in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ArgumentError(f"{model.name} does not take one image, so none can be changed")
    if isinstance(images, torch.Tensor):
        x = images.detach().cpu()
    else:
        array = np.asarray(images)
        x = to_channels_first(torch.from_numpy(array)) if array.ndim == 4 else torch.empty(0)
    if x.ndim != 4 or not len(x) or tuple(x.shape[1:]) != tuple(shapes[0]):
        received = tuple(images.shape) if hasattr(images, "shape") else type(images).__name__
        expected = f"an array {(None, *model.inputs[0].shape[1:])}"
        raise ShapeError(f"These are no images of {model.name}", expected=expected, received=str(received))
    if not (x := x.float()).isfinite().all():
        raise ArgumentError("The images hold values that are no numbers")
    return x


def _as_classes(labels: Any, plain: torch.Tensor, classes: int) -> torch.Tensor:
    """Labels as class numbers of the answers' shape."""
    array = np.asarray(labels)
    if array.ndim == plain.ndim + 1 and array.shape[-1] == classes > 1:
        array = array.argmax(-1)
    elif array.ndim == plain.ndim + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.shape != tuple(plain.shape):
        raise ShapeError(
            "The labels are of another shape than the answers", received=str(np.asarray(labels).shape),
            expected=f"class numbers of shape {tuple(plain.shape)}" + (f", or one-hot of {classes} classes" if classes > 1 else ""),
        )  # fmt: skip
    numbers = array.dtype.kind in "biuf" and bool(np.all(array == np.floor(array)))
    if not numbers or array.min() < 0 or array.max() >= max(classes, 2):
        raise ArgumentError(
            "The labels are no class numbers", expected=f"whole numbers from 0 to {max(classes, 2) - 1}"
        )
    return torch.from_numpy(array.astype(np.int64))
