"""What flows between rooms: validated, immutable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import ArgumentError

COLOR_MODES = {"grayscale": 1, "rgb": 3}


@dataclass(frozen=True)
class ImageSpec:
    """What an image must become for a network: uint8 (height, width, channels), resized by `resize`.

    "squash" resizes each side on its own (bilinear, antialiased); it is the only policy so far.
    """

    height: int
    width: int
    channels: int
    resize: str = "squash"

    def __post_init__(self) -> None:
        if self.channels not in COLOR_MODES.values():
            raise ArgumentError("An image has 1 channel (grayscale) or 3 (rgb)", received=self.channels)
        if self.height < 1 or self.width < 1:
            raise ArgumentError("An image has at least one pixel", received=f"{self.height}x{self.width}")
        if self.resize != "squash":
            raise ArgumentError("Unknown resize policy", expected='"squash"', received=repr(self.resize))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """One image file and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, and why, as a sentence's end: "is truncated"."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """Samples by split ("train", "validation", "test"), and the names of the classes in the order of their numbers.

    `given` names the splits that the folder itself had; the others were drawn.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    given: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def counts(self, split: str) -> list[int]:
        """Images of each class in a split."""
        counts = [0] * len(self.classes)
        for sample in self.splits.get(split, ()):
            counts[sample.label] += 1
        return counts


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image: every class's probability, in the order of the classes."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, the first first."""
        order = sorted(range(len(self.classes)), key=lambda i: -self.probabilities[i])
        return [(self.classes[i], self.probabilities[i]) for i in order[:k]]

    def as_dict(self) -> dict[str, Any]:
        name, probability = self.top(1)[0]
        everything = dict(zip(self.classes, self.probabilities, strict=True))
        return {"path": str(self.path), "class": name, "probability": probability, "probabilities": everything}
