"""How well settings do on images that they were not trained on, several times over: every fold is a run."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy import stats

from ..console import say, silent
from ..errors import ArgumentError, RunError, whole_number
from ..files import write_text
from ..tasks import TASKS
from .folder import RunFolder, read_json, write_json
from .preparation import prepare_folds
from .run import Run, resolve_device
from .settings import Settings, read_config, resolve
from .training import begin, train


@dataclass(frozen=True)
class FoldScores:
    """One measure in every fold. `spread` is the standard deviation of the folds; `interval` that of the mean, 95 %.

    The folds' trainings share images, so their scores are not independent: the variance of the mean is taken as
    (1/k + 1/(k-1)) times that of the folds (Nadeau & Bengio, 2003, "Inference for the generalization error", section 3).
    """

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        return statistics.stdev(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        k = len(self.values)
        half = stats.t.ppf(0.975, k - 1) * self.spread * math.sqrt(1 / k + 1 / (k - 1))
        return self.mean - half, self.mean + half

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.name} {self.mean:.4f}, spread {self.spread:.4f} (95 % interval {low:.3f} to {high:.3f})"

    def as_dict(self) -> dict[str, Any]:
        return {"values": list(self.values), "mean": self.mean, "spread": self.spread, "interval": list(self.interval)}


class CrossValidation:
    """A cross-validation on disk: `path` is its folder, in which each fold is a run. Raises RunError for another folder."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not is_cross_validation(self.path):
            raise RunError(f"{self.path} is not a cross-validation: it holds no {RunFolder(self.path).folds.name}")

    def __repr__(self) -> str:
        return f"CrossValidation({str(self.path)!r})"

    @property
    def folders(self) -> list[RunFolder]:
        return [RunFolder(self.path / f"fold-{i + 1}") for i in range(read_json(RunFolder(self.path).folds)["folds"])]

    @property
    def runs(self) -> list[Run]:
        return [Run(folder.path) for folder in self.folders]

    @property
    def scores(self) -> dict[str, FoldScores]:
        """Each of the task's measures, on what the folds held back, by name. Raises RunError where a fold is not finished."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            for headline in run.measures.headlines:
                values.setdefault(headline.name, []).append(headline.value)
        return {name: FoldScores(name, tuple(own)) for name, own in values.items()}


def is_cross_validation(path: str | Path) -> bool:
    return RunFolder(Path(path)).folds.is_file()


def cross_validate(
    data: str | Path | None = None,
    folds: int = 5,
    *,
    config: str | Path | None = None,
    resume: str | Path | None = None,
    **settings: Any,
) -> CrossValidation:
    """Train `folds` times as `train` does, each time measured on another part of the images, of which each is held back once.

    `settings` and `config` are `train`'s. The parts are alike in every class, and copies and groups lie in one; a test split
    that the folder has is in none. A fold's best epoch is chosen on validation images that are drawn from what it is
    trained on, so nothing that is measured has chosen anything. `resume` is the folder of a cross-validation that was
    killed. Raises SightlineError, before anything is written, for settings or data that cannot be used.
    """
    if resume is not None:
        given = [name for name, value in (settings | {"data": data, "config": config}).items() if value is not None]
        if given:
            raise ArgumentError(
                f"A cross-validation goes on with the settings that it began with, so {given[0]} cannot be given"
            )
        path = CrossValidation(resume).path
        chosen = Settings(**read_config(path / "config.yaml"))
    else:
        whole_number(folds, "The number of folds", least=2)
        chosen = resolve(data, settings, config)
        path = _begun(chosen, folds)
    validation = CrossValidation(path)
    _ensure_folds(validation, chosen)
    for folder in validation.folders:
        if not folder.evaluation.is_file():
            try:
                train(resume=folder.path)
            except KeyboardInterrupt:
                say(f"All folds go on with: sightline train --resume {RunFolder(path).quoted}")
                raise
    _conclude(validation)
    return validation


def _begun(settings: Settings, folds: int) -> Path:
    """Write the folder of a cross-validation, without its folds; what cannot be used is told before."""
    folder = RunFolder(settings.folder)
    folder.require_free(settings.exist_ok)
    _divided(settings, folds, silent)
    for old in folder.path.glob("fold-*"):
        shutil.rmtree(old)
    folder.begin()
    write_json(folder.folds, {"folds": folds})
    write_text(folder.config, settings.as_yaml())
    return folder.path


def _divided(settings: Settings, folds: int, tell: Any) -> Any:
    task = TASKS[settings.task]().with_options(settings.task_options)
    dataset = task.read(settings.data, settings.format, settings.group_pattern, settings.classes)
    return prepare_folds(dataset, settings, folds, tell)


def _ensure_folds(validation: CrossValidation, settings: Settings) -> None:
    """Write the beginning of each fold's run that has none: they follow from the settings alone."""
    folders = validation.folders
    if all(folder.data.is_file() for folder in folders):
        return
    datasets, checked = _divided(settings, len(folders), say)
    device = resolve_device(settings.device)
    for folder, dataset in zip(folders, datasets, strict=True):
        if not folder.data.is_file():
            begin(folder, dataset, checked, replace(settings, name=folder.path.name), device)


def _conclude(validation: CrossValidation) -> None:
    """Write the scores beside the folds, and say them."""
    scores = validation.scores
    written = {"folds": len(validation.folders), "scores": {name: each.as_dict() for name, each in scores.items()}}
    write_json(RunFolder(validation.path).folds, written)
    for line in summary(list(scores.values())):
        say(line)
    say(f"Cross-validation {validation.path}")


def summary(scores: Sequence[FoldScores]) -> list[str]:
    """A line for each measure, and what it was in each fold."""
    return [
        f"{len(each.values)} folds: {each}; {', '.join(f'{value:.4f}' for value in each.values)}" for each in scores
    ]
