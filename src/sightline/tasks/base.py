"""What a task must say so that a run can train, measure and predict."""

from __future__ import annotations

import abc
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.augment import Example
from ..data.images import Images
from ..data.sources import read
from ..errors import ArgumentError, refuse_unknown
from ..explain.targets import Aim, class_scores, labels_of, of_class
from ..graph.network import Network
from ..graph.symbolic import Value
from ..metrics.intervals import Interval, paired_mean_interval
from ..models import Model
from ..structures import Dataset, ImageSpec, Sample
from .cases import Case

Targets = Callable[[Sequence[Example]], tuple[np.ndarray, ...]]
Size = tuple[int, int]


@dataclass(frozen=True)
class Headline:
    """One number that a person quotes, with its 95 % interval where it has one."""

    name: str
    value: float
    interval: tuple[float, float] | None = None

    @property
    def is_known(self) -> bool:
        """Whether there was anything to measure it on."""
        return math.isfinite(self.value)

    def __str__(self) -> str:
        if not self.is_known:
            return f"{self.name} is not known: there is nothing to measure it on"
        text = f"{self.name} {self.value:.4f}"
        return text + (f" (95 % interval {self.interval[0]:.4f} to {self.interval[1]:.4f})" if self.interval else "")


@dataclass(frozen=True)
class Measures:
    """How good a network is on `n` images of one split; `details` is what the task needs to draw it, JSON-able."""

    split: str
    n: int
    headlines: tuple[Headline, ...]
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: what is not known is None."""
        numbers = {h.name: {"value": h.value, "interval": h.interval if h.is_known else None} for h in self.headlines}
        return plain({"split": self.split, "n": self.n, "headlines": numbers, "details": self.details})

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Measures:
        headlines = tuple(
            Headline(name, math.nan if h["value"] is None else h["value"], _interval(h["interval"]))
            for name, h in row["headlines"].items()
        )
        return cls(row["split"], row["n"], headlines, row["details"])


def _interval(ends: Sequence[float | None] | None) -> Interval | None:
    if ends is None or any(end is None or not math.isfinite(end) for end in ends):
        return None
    return ends[0], ends[1]  # type: ignore[return-value]


def plain(value: Any) -> Any:
    """Nested values as JSON has them: what is not a number is None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Difference:
    """By how much the first of two networks is better than the second on the same images, with the 95 % interval of the difference.

    Of answers that are right or wrong, `alone` counts the images that one alone has right, and `p` is McNemar's exact probability
    of so clear a difference between equals.
    """

    measure: str
    values: tuple[float, float]
    interval: Interval
    alone: tuple[int, int] | None = None
    p: float | None = None

    @property
    def value(self) -> float:
        return self.values[0] - self.values[1]

    @property
    def is_known(self) -> bool:
        """Whether there was anything to measure it on."""
        return math.isfinite(self.value)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: what is not known is None."""
        mcnemar = None if self.alone is None else {"alone": self.alone, "p": self.p}
        return plain({
            "measure": self.measure, "values": self.values, "difference": self.value, "interval": self.interval, "McNemar": mcnemar,
        })  # fmt: skip


@dataclass(frozen=True)
class Goals:
    """What a network of a task is compiled with: for its output, or by the names of its outputs."""

    loss: Any
    metrics: Any
    loss_weights: Any = None


@dataclass(frozen=True)
class Source:
    """Where a network comes from: `make(input_shape, classes)` makes all of it, `backbone(input_shape)` what a head of ours
    can stand on. `input_shape` (H, W, C) is the image that it is meant for."""

    make: Callable[[tuple[int, int, int], int], Any]
    backbone: Callable[[tuple[int, int, int]], Any]
    input_shape: tuple[int, int, int]
    name: str = "the model"


def on_backbone(backbone: Model, maps: Sequence[Value], outputs: Any, task: str) -> Model:
    """The network of a task's `outputs`, that are made of a backbone's `maps`; it says where the backbone ends and what images it takes."""
    model = Model(backbone.inputs, outputs, f"{backbone.name}_{task}")
    ends = [name for name, value in backbone.values.items() if any(value is each for each in maps)]
    model.metadata.update(backbone.metadata | {"backbone": ends})
    return model


class Task(abc.ABC):
    """One kind of question asked of an image.

    What a network answers for a batch is a tuple of arrays, one for each output; what that says of one image, in its own pixels,
    is a result, which is measured, shown and drawn.
    """

    name: str
    best: str  # the logged name that chooses the best epoch
    does: str  # what a network of so many ({}) classes does, in a report
    question: str  # the report's heading over the picture of `draw`
    picture: str  # what that picture shows
    wrong = ""  # what the picture of `draw_mistakes` shows
    meanings: Mapping[str, str] = {}  # what the names of headlines and of columns mean, for who does not know them
    tile: int | None = None  # the side, in pixels, of the squares in which it looks at large pictures, where it does
    takes_labels = False  # whether images are told apart by one class each
    defaults: dict[str, Any] = {}  # noqa: RUF012  # settings that differ from a run's, unless a person says otherwise

    own_settings: tuple[str, ...] = ()  # of a run's settings those that this task alone has; its constructor takes them

    def for_data(self, dataset: Dataset) -> Task:
        """The task with what the data say of it."""
        return self

    def for_training(self, images: Images, classes: int) -> Task:
        """The task with what the training's images say of it."""
        return self

    def metadata(self) -> dict[str, Any]:
        """What of the task travels in a model file, JSON-able."""
        return {}

    def with_options(self, options: dict[str, Any]) -> Task:
        """The task with other ways of saying what is found. Raises ArgumentError for one that it does not have."""
        known = inspect.signature(type(self)).parameters
        refuse_unknown(f"predict for {self.name}", {k: v for k, v in options.items() if k not in known}, known)
        if not options:
            return self
        mine = {name: value for name, value in vars(self).items() if name in known}
        return type(self)(**(mine | options))

    def read(
        self,
        data: str | Path,
        format: str | None = None,
        group_pattern: str | None = None,
        classes: Sequence[str] = (),
    ) -> Dataset:
        """The labelled images of a folder, in any format that has this task's labels; boxes of these `classes` alone, where any are named."""
        return read(data, self.name, format, classes=list(classes) or None, group_pattern=group_pattern)

    @abc.abstractmethod
    def network(self, source: Source, spec: ImageSpec, classes: Sequence[str]) -> Model:
        """A network of the source that answers this task's question. Raises SightlineError where it cannot."""

    @abc.abstractmethod
    def targets(self, classes: int, shares: bool) -> Targets:
        """What makes of pictures what the network should answer; with `shares` several classes share a picture."""

    @abc.abstractmethod
    def goals(self, model: Model, classes: int, shares: bool, label_smoothing: float) -> Goals:
        """What it learns by, and what is watched meanwhile."""

    @abc.abstractmethod
    def results(self, answers: Sequence[torch.Tensor], sizes: Iterable[Size], spec: ImageSpec) -> list[Any]:
        """What the answers for a batch say of its images; `sizes` reads their original ones (height, width), where a task asks."""

    def explained(self, said: Any, label: int | None) -> Aim:
        """What to explain of the answer for one image, given before a last softmax: this class, or the surest."""
        scores = class_scores(said)
        chosen = int(labels_of(label, scores)[0])
        return Aim(chosen, float(scores[0].softmax(0)[chosen]), of_class(chosen))

    @abc.abstractmethod
    def measure(
        self, split: str, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Measures:
        """How good results are, beside what is known of the samples."""

    def scores(
        self, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> tuple[str, np.ndarray]:
        """What each image scores (n,), and the name of the mean. Raises ArgumentError for a task in which one image has no score."""
        raise ArgumentError(f"Runs of the task {self.name} cannot be compared image by image")

    def compare(
        self, first: Sequence[Any], second: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Difference:
        """By how much the first results are better than the second for the same samples."""
        (name, one), (_, other) = (self.scores(results, samples, classes) for results in (first, second))
        return Difference(name, (float(one.mean()), float(other.mean())), paired_mean_interval(one - other))

    def for_network(self, metadata: Mapping[str, Any]) -> Task:
        """The task as it is asked of a network with this metadata, where that says more than the task knows."""
        return self

    def cases(self, measures: Measures, classes: Sequence[str]) -> list[Case]:
        """Images on which the network did best, the best first, and worst; none of measures from before they were kept."""
        return []

    def legend(self, measures: Measures, classes: Sequence[str]) -> dict[str, str]:
        """The colours ("#rrggbb") in which the cases' views have classes, by name; empty where they have none."""
        return {}

    def answering_classes(self, model: Model) -> Network | None:
        """The part of a network of this task that answers with one class, of the image or of each pixel; None where there is none."""
        return None

    def remarks(self, measures: Measures) -> list[str]:
        """What a person should know of the measures besides the headlines, in sentences."""
        return []

    @abc.abstractmethod
    def prediction(self, path: Path, result: Any, classes: Sequence[str]) -> Any:
        """A result as a person sees it: it has a `path`, `row(k)` for a table, `as_dict()` for JSON, and perhaps `draw(pixels)`."""

    @abc.abstractmethod
    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        """Draw the measures into a PNG file."""

    def draw_mistakes(self, measures: Measures, path: Path) -> bool:
        """Draw what went wrong into a PNG file; False, and no file, where the task shows no such thing."""
        return False

    def draw_calibration(self, measures: Measures, path: Path) -> bool:
        """Draw how far probabilities can be trusted into a PNG file; False, and no file, where the task shows no such thing."""
        return False
