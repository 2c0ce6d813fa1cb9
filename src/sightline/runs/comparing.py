"""Two runs on the same images: which is better, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, DataError
from ..structures import Problem, Sample
from ..tasks.base import Difference
from .folder import read_recorded
from .run import Run

LEARNED = ("train", "validation")  # what a run was trained on, and what chose its best epoch


@dataclass(frozen=True)
class Comparison:
    """By how much the run `first` is better than `second` on `n` images of one split; `left_out` more are unlike for the two, for one has
    learned from them. `problems` are the files that could not be read."""

    first: str
    second: str
    split: str
    n: int
    difference: Difference
    left_out: int = 0
    unknown: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "first": self.first, "second": self.second, "split": self.split, "n": self.n, **self.difference.as_dict(),
            "left out": self.left_out, "unknown": self.unknown,
            "unreadable": [{"path": str(problem.path), "reason": problem.reason} for problem in self.problems],
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join([*self._sentences()])

    def _sentences(self) -> Iterable[str]:
        found = self.difference
        if not found.is_known:
            yield f"{self.split.capitalize()} {found.measure} is not known: there is nothing to measure it on, n = {self.n}"
            return
        for name, value in zip((self.first, self.second), found.values, strict=True):
            yield f"{self.split.capitalize()} {found.measure} {value:.4f} of {name}, n = {self.n}"
        low, high = (100 * end for end in found.interval)
        yield (
            f"{self.first} {_better(100 * found.value, self.second)} (95 % interval {low:.1f} to {high:.1f}): "
            + ("the interval holds 0, so it may be chance" if low <= 0 <= high else "more than chance")
        )
        if found.alone is not None:
            one, other = found.alone
            yield f"They differ on {one + other} images, of which {self.first} is right on {one} and {self.second} on {other}; McNemar p = {found.p:.2g}"
        if self.left_out:
            yield f"{self.left_out} images were left out, for one of the runs has learned from them"
        for name in self.unknown:
            yield f"What {name} has learned from is not known: it may have seen these images"


def _better(points: float, other: str) -> str:
    if points == 0:
        return f"is as good as {other}"
    return f"is {'better' if points > 0 else 'worse'} than {other} by {abs(points):.1f} points"


def compare(
    first: Run,
    second: Run,
    data: str | Path | None,
    format: str | None,
    batch_size: int,
    workers: int,
    tile: int | None = None,
) -> Comparison:
    """See `Run.compare`."""
    _require_alike(first, second)
    split, samples, left_out, unknown = _common(first, second, data, format)
    names = _names(first.path, second.path)
    answers: list[dict[Path, Any]] = []
    problems: dict[Path, Problem] = {}
    for run in (first, second):
        results, read, unreadable = run.answered(samples, split, batch_size, workers, tile)
        answers.append(dict(zip([sample.path for sample in read], results, strict=True)))
        problems |= {problem.path: problem for problem in unreadable}
    common = [sample for sample in samples if all(sample.path in each for each in answers)]
    one, other = ([each[sample.path] for sample in common] for each in answers)
    difference = first.task.compare(one, other, common, first.classes)
    unknown_names = tuple(name for name, run in zip(names, (first, second), strict=True) if run in unknown)
    return Comparison(*names, split, len(common), difference, left_out, unknown_names, tuple(problems.values()))


def _require_alike(first: Run, second: Run) -> None:
    if first.task.name != second.task.name:
        raise ArgumentError(
            "Runs of two tasks cannot be compared",
            received=f"{first.path} is of {first.task.name}, {second.path} of {second.task.name}",
        )
    if first.classes != second.classes:
        raise ArgumentError(
            f"{first.path} and {second.path} tell other classes apart, so they cannot be compared",
            expected=", ".join(first.classes),
            received=", ".join(second.classes),
            fix="Train both on the same classes",
        )


def _common(
    first: Run, second: Run, data: str | Path | None, format: str | None
) -> tuple[str, list[Sample], int, list[Run]]:
    """The split, the samples on which both may be measured, how many others there are, and the runs that do not say what they learned."""
    (split, samples), (its, others) = (run.samples_for(data, format) for run in (first, second))
    if data is None and (split != its or _paths(samples) != _paths(others)):
        raise DataError(
            f"{first.path} and {second.path} did not hold back the same images",
            received=f"{len(samples)} of the {split} split and {len(others)} of the {its} split, {len(_paths(samples) & _paths(others))} of them the same",
            fix="Name a folder of images that neither learned from: sightline evaluate RUN_A RUN_B DATA",
        )
    chosen_by = ("train",) if split == its == "validation" else LEARNED
    learned, unknown = set[Path](), []
    for run in (first, second):
        seen = _learned(run, chosen_by)
        learned |= seen or set()
        unknown += [run] if seen is None else []
    both = _paths(samples) & _paths(others)
    fair = [sample for sample in samples if sample.path.resolve() in both - learned]
    if not fair:
        raise DataError(
            f"No image is left to compare {first.path} and {second.path} on: one or the other has learned from each",
            fix="Name a folder of images that neither learned from",
        )
    every = _paths(samples) | _paths(others)
    return split if split == its else "common", fair, len(every) - len(fair), unknown


def _learned(run: Run, splits: Iterable[str]) -> set[Path] | None:
    """The images of these splits of what a run was trained on; None where it does not say."""
    if not run.folder.data.is_file():
        return None
    recorded = read_recorded(run.folder.data)
    root = Path(recorded["root"])
    return {(root / row[0]).resolve() for split in splits for row in recorded["splits"].get(split, ())}


def _paths(samples: Iterable[Sample]) -> set[Path]:
    return {sample.path.resolve() for sample in samples}


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What to call two runs: the names of their folders or files, or their paths where those are alike."""
    return (first.name, second.name) if first.name != second.name else (str(first), str(second))
