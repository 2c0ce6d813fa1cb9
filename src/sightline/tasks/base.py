"""What a task must say so that a run can train, measure and predict."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sources import read
from ..losses import Loss
from ..metrics import Metric
from ..structures import Dataset, Prediction


@dataclass(frozen=True)
class Headline:
    """One number that a person quotes, with its 95 % interval where it has one."""

    name: str
    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        text = f"{self.name} {self.value:.4f}"
        return text + (f" (95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f})" if self.interval else "")


@dataclass(frozen=True)
class Measures:
    """How good a network is on `n` images of one split; `details` is what the task needs to draw it, JSON-able."""

    split: str
    n: int
    headlines: tuple[Headline, ...]
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        numbers = {h.name: {"value": h.value, "interval": h.interval} for h in self.headlines}
        return {"split": self.split, "n": self.n, "headlines": numbers, "details": self.details}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Measures:
        headlines = tuple(
            Headline(name, h["value"], tuple(h["interval"]) if h["interval"] else None)
            for name, h in row["headlines"].items()
        )
        return cls(row["split"], row["n"], headlines, row["details"])


class Task(abc.ABC):
    """One kind of question asked of an image."""

    name: str
    best: str  # the logged name that chooses the best epoch

    def read(self, data: str | Path, format: str | None = None, group_pattern: str | None = None) -> Dataset:
        """The labelled images of a folder, in any format that has this task's labels."""
        return read(data, self.name, format, group_pattern=group_pattern)

    @abc.abstractmethod
    def loss(self, shares: bool, label_smoothing: float = 0.0) -> str | Loss:
        """The loss; with `shares` targets are shares of the classes, and not class numbers, and can be smoothed."""

    @abc.abstractmethod
    def metrics(self, classes: int, shares: bool) -> list[Metric]:
        """What is watched in training."""

    @abc.abstractmethod
    def measure(self, split: str, answers: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Measures:
        """How good the network's answers are."""

    @abc.abstractmethod
    def prediction(self, path: Path, answer: np.ndarray, classes: Sequence[str]) -> Prediction:
        """What the network's answer says of one image."""

    @abc.abstractmethod
    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        """Draw the measures into a PNG file."""
