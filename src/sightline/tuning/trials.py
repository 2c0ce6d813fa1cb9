"""One trial: settings trained fold by fold, with nothing written, given up as soon as others are better."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from ..callbacks import Callback
from ..console import say, silent
from ..errors import SightlineError
from ..runs.around import adjusting, stopping
from ..runs.assembly import assembled, opened
from ..runs.preparation import open_images
from ..runs.settings import Settings
from ..structures import Dataset
from ..training.lr_finder import lr_find, sweep_steps
from .study import COPY_OF, PROCESS, SETTINGS, before, this_process

SWEEP = 100  # steps, at the most


class Copied(Exception):
    """Another process is running a trial with the same settings."""


class Unmakeable(Exception):
    """The network of a trial's settings cannot be made, as of a kernel larger than its feature map."""


class Surplus(Exception):
    """There are as many trials as were asked for."""


class TimeIsUp(Exception):
    """The search's minutes ended in the middle of a trial."""


@dataclass(frozen=True)
class Objective:
    """The mean over the folds of the best validation that a trial's settings reach; `choose` makes them of a trial."""

    choose: Callable[[Any], Settings]
    folds: Sequence[Dataset]
    deadline: float = math.inf  # of time.monotonic()
    trials: int | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        trial.set_user_attr(PROCESS, this_process())
        settings = self.choose(trial)
        own = as_told(settings)
        trial.set_user_attr(SETTINGS, own)
        earlier = before(trial.study, trial)
        if self.trials is not None and len(earlier) >= self.trials:
            raise Surplus
        for other in earlier:
            if other.user_attrs.get(SETTINGS) == own:
                return as_other(trial, other)
        return self._mean_over_folds(trial, settings)

    def _mean_over_folds(self, trial: optuna.Trial, settings: Settings) -> float:
        scores: list[float] = []
        for number, dataset in enumerate(self.folds):
            watching = Watching(trial if number == 0 else None, self.deadline)
            scores.append(best_validation(dataset, settings, watching))
            mean = sum(scores) / len(scores)
            trial.set_user_attr("folds", scores)
            if number:
                trial.report(mean, settings.epochs * (number + 1))
                if number + 1 < len(self.folds) and trial.should_prune():
                    raise optuna.TrialPruned
        return mean


def as_told(settings: Settings) -> dict[str, Any]:
    """Settings as a trial tells them, equal where two trials are the same: as JSON gives them back, without the threads."""
    return json.loads(json.dumps({name: value for name, value in asdict(settings).items() if name != "workers"}))


def as_other(trial: optuna.Trial, other: optuna.trial.FrozenTrial) -> float:
    """End a trial as an earlier one with the same settings ended."""
    if other.state == optuna.trial.TrialState.RUNNING:
        raise Copied
    trial.set_user_attr(COPY_OF, other.number)
    if other.state == optuna.trial.TrialState.PRUNED:
        for step, value in other.intermediate_values.items():
            trial.report(value, step)
        raise optuna.TrialPruned
    assert other.value is not None
    return other.value


class Watching(Callback):
    """Keeps the best validation so far; reports it to a trial after each epoch, and ends what is not worth its time."""

    def __init__(self, trial: optuna.Trial | None, deadline: float):
        self._trial, self._deadline = trial, deadline
        self.best = 0.0
        self.ended: type[Exception] | None = None
        self.monitor = ""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if time.monotonic() > self._deadline:
            self._end(TimeIsUp)

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        value = (logs or {}).get(self.monitor, math.nan)
        self.best = max(self.best, value) if math.isfinite(value) else self.best
        if self._trial is not None and self.ended is None:
            self._trial.report(self.best, epoch + 1)
            if self._trial.should_prune():
                self._end(optuna.TrialPruned)

    def _end(self, why: type[Exception]) -> None:
        self.ended = why
        self.model.stop_training = True


def best_validation(dataset: Dataset, settings: Settings, watching: Watching) -> float:
    """Train on a fold as `train` does, and give the best of what chooses the best epoch (0 to 1, more is better)."""
    try:
        opening = opened(settings, settings.weights, dataset)
    except SightlineError as error:
        say(f"  left out: {error}")
        raise Unmakeable from error
    images = open_images(dataset, opening.spec, settings, silent)
    watching.monitor = opening.task.best
    kept = images["train"].cache
    try:
        assembly = assembled(opening, dataset, images, settings, silent)
        callbacks = [*adjusting(settings), watching, *stopping(settings, opening.task)]
        assembly.model.fit(**assembly.data, epochs=settings.epochs, verbose=0, callbacks=callbacks)
        kept.seal()
    finally:
        kept.close()
    if watching.ended is not None:
        raise watching.ended
    return watching.best


def rate_of(study: optuna.Study, dataset: Dataset) -> Callable[[Settings], float]:
    """The learning rate that a sweep suggests for settings, swept once for each network and optimizer in a study.

    Where no rate makes the loss fall it is the settings' own.
    """

    def rate(settings: Settings) -> float:
        what = (settings.model, settings.image_size, settings.freeze, settings.optimizer)
        name = "rate " + " ".join(map(str, what))
        known = study.user_attrs.get(name)
        if known is None:
            try:
                known = sweep(dataset, settings)
            except SightlineError:
                known = settings.lr
            study.set_user_attr(name, known)
        return known

    return rate


def sweep(dataset: Dataset, settings: Settings) -> float:
    opening = opened(settings, settings.weights, dataset)
    images = open_images(dataset, opening.spec, settings, silent)
    try:
        assembly = assembled(opening, dataset, images, settings, silent)
        data = {name: value for name, value in assembly.data.items() if name != "validation_data"}
        return lr_find(assembly.model, **data, steps=sweep_steps(assembly.steps, SWEEP)).suggestion
    finally:
        images["train"].cache.seal()
        images["train"].cache.close()
