"""What of a network's answers is to be explained: functions of its outputs that give one number for each image.

They see outputs NCHW, in the structure that the network gives them, and before a last softmax or sigmoid: a probability near 1 hardly moves,
whatever is changed, and rises where another class falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..activations import logits_of
from ..errors import ArgumentError, ShapeError, choose

Target = Callable[[Any], torch.Tensor]
CORNERS = 4  # what a detector says of a place before its classes' logits


@dataclass(frozen=True)
class Aim:
    """What is explained of one image: a class, its probability, and the target that gives its score."""

    label: int
    probability: float
    target: Target


def of_class(label: Any, output: str | int | None = None) -> Target:
    """The score of a class, or of one for each image, where outputs are (N, classes); `output` names it among several [the first]."""

    def score(said: Any) -> torch.Tensor:
        scores = class_scores(said, output)
        return scores.gather(1, labels_of(label, scores)[:, None])[:, 0]

    return score


def labels_of(label: Any, scores: torch.Tensor) -> torch.Tensor:
    """The class number for each row of scores (N, classes): one for all, one for each, or with None the surest."""
    if label is None:
        return scores.argmax(1)
    labels = torch.as_tensor(np.asarray(label), device=scores.device)
    if labels.ndim > 1 or (labels.ndim == 1 and len(labels) != len(scores)):
        raise ArgumentError("A class is one number, or one for each image", received=f"shape {tuple(labels.shape)}")
    _within(labels.reshape(-1), scores.shape[1])
    return labels.long().expand(len(scores))


def of_detection(label: int, place: int | None = None) -> Target:
    """The logit of a class at a place of a detector's answer (N, places, 4 + classes); without a place, where it is largest."""

    def score(said: Any) -> torch.Tensor:
        if not isinstance(said, torch.Tensor) or said.ndim != 3:
            raise ShapeError("of_detection is of an answer (None, places, 4 + classes)", received=_shape_of(said))
        logits = said[..., CORNERS:]
        _within(torch.tensor([label]), logits.shape[2])
        if place is None:
            return logits[..., label].amax(1)
        if not 0 <= place < logits.shape[1]:
            raise ArgumentError("There is no such place", expected=f"0 to {logits.shape[1] - 1}", received=place)
        return logits[:, place, label]

    return score


def of_region(label: int, mask: Any = None) -> Target:
    """The sum of a class's logits over a region of a map (N, H, W, classes): where `mask` (H, W) or (N, H, W) is True [everywhere].

    Vinogradova, Dibrov & Myers, "Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping", 2020.
    """

    def score(said: Any) -> torch.Tensor:
        if not isinstance(said, torch.Tensor) or said.ndim != 4:
            raise ShapeError("of_region is of a map (None, height, width, classes)", received=_shape_of(said))
        _within(torch.tensor([label]), said.shape[1])
        logits = said[:, label]
        region = torch.ones(logits.shape[1:]) if mask is None else torch.as_tensor(np.asarray(mask))
        if region.shape[-2:] != logits.shape[1:]:
            raise ShapeError(
                "The mask has the size of the map", expected=tuple(logits.shape[1:]), received=tuple(region.shape)
            )
        return (logits * region.to(logits)).sum((1, 2))

    return score


def as_target(target: Any, said: Any) -> Target:
    """A class number, or one for each image, as `of_class`, None as that of each image's surest class in `said`, a function as it is."""
    if callable(target):
        return target
    labels = labels_of(target, class_scores(said)).tolist()
    return of_class(labels[0] if len(labels) == 1 else labels)


def scored(target: Target, said: Any, count: int) -> torch.Tensor:
    """What a target gives for `count` images; raises ArgumentError where that is not one number for each."""
    scores = target(said)
    if not isinstance(scores, torch.Tensor) or scores.shape != (count,):
        raise ArgumentError(
            "A target gives one number for each image",
            expected=f"a tensor of shape ({count},)",
            received=_shape_of(scores) if isinstance(scores, torch.Tensor) else repr(scores),
        )
    return scores


def class_scores(said: Any, output: str | int | None = None) -> torch.Tensor:
    """(N, classes) among a network's outputs, the first of several; raises ArgumentError where that says no classes."""
    chosen = said
    if isinstance(said, dict):
        chosen = said[choose("output", output, said) if output is not None else next(iter(said))]
    elif isinstance(said, (list, tuple)):
        chosen = said[output if isinstance(output, int) else 0]
    if not isinstance(chosen, torch.Tensor) or chosen.ndim != 2:
        raise ArgumentError(
            "The network does not answer with one score for each class, so what to explain must be said",
            received=_shape_of(chosen),
            fix="Give target=sl.explain.of_detection(...), of_region(...) or a function of the outputs",
        )
    return chosen


def before_activation(said: Any) -> Any:
    """Outputs before a last softmax or sigmoid of ours, in their structure."""
    if isinstance(said, dict):
        return {name: before_activation(part) for name, part in said.items()}
    if isinstance(said, (list, tuple)):
        return type(said)(before_activation(part) for part in said)
    for activation in ("softmax", "sigmoid"):
        logits = logits_of(said, activation)
        if logits is not None:
            return logits
    return said


def _within(labels: torch.Tensor, classes: int) -> None:
    if not ((labels >= 0) & (labels < classes)).all() or labels.is_floating_point():
        wrong = next(label for label in labels.tolist() if not (isinstance(label, int) and 0 <= label < classes))
        raise ArgumentError("There is no such class", expected=f"0 to {classes - 1}", received=wrong)


def _shape_of(said: Any) -> str:
    return f"shape {tuple(said.shape)}" if isinstance(said, torch.Tensor) else f"a {type(said).__name__}"
