"""From a folder to the settings that are best for it: one call, which the command line is too."""

from __future__ import annotations

import math
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import duration, say
from ..errors import ArgumentError, RunError, whole_number
from ..runs.folder import read_json
from ..runs.run import Run
from ..runs.settings import Settings, read_config, resolve
from .folder import Asked, SearchData, SearchFolder, prepared
from .space import Space, default_space, load_space, with_choices
from .study import DEFAULT, finished, open_study, requeue_killed, require_optuna, seconds_searched

if TYPE_CHECKING:
    from optuna import Study

MINUTES = 10.0  # where neither minutes nor trials are given
MOST_COPIES = 30  # trials in a row that were tried already: then there is nothing new to try
OWN = ("data", "name", "runs", "seed", "exist_ok", "task", "epochs")  # settings that say where and how long, not what


class Tuned:
    """A finished search: `path` is its folder. Raises RunError where it is none, or has no answer yet."""

    def __init__(self, path: str | Path):
        self.folder = SearchFolder(path)
        self.folder.read()
        if not self.folder.answer.is_file():
            raise RunError(
                f"{path} has no answer yet", fix=f"Go on with it: sightline tune --resume {shlex.quote(str(path))}"
            )
        self._answer: dict[str, Any] = read_json(self.folder.answer)

    def __repr__(self) -> str:
        return f"Tuned({str(self.path)!r})"

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def settings(self) -> dict[str, Any]:
        """The best settings, where they differ from those that the search began with."""
        return self._answer["settings"]

    @property
    def score(self) -> float:
        """The best trial's mean over the folds, which chose it: optimistic."""
        return self._answer["cross-validation"]

    @property
    def difference(self) -> tuple[float, float, float]:
        """How much better the best is than the default on the test images, and the 95 % interval."""
        told = self._answer["difference"]
        return told["value"], *told["interval"]

    @property
    def importances(self) -> dict[str, float]:
        """The share of the trials' variance that each choice explains, the largest first."""
        return self._answer["importances"]

    @property
    def command(self) -> str:
        """What trains the best settings."""
        return self._answer["command"]

    @property
    def run(self) -> Run:
        """The best settings, trained and measured on the test images."""
        return Run(self.path / self._answer["run"])


def tune(
    data: str | Path | None = None,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    folds: int = 3,
    space: str | Space | None = None,
    storage: str | None = None,
    processes: int = 1,
    config: str | Path | None = None,
    resume: str | Path | None = None,
    **settings: Any,
) -> Tuned:
    """Search for the settings that are best in cross-validation, and measure them on images that the search never saw.

    It ends after so many `trials` or `minutes` of trials (10 without either). `settings` are `train`'s: what is given is not
    searched. `space`: a function of an Optuna trial that returns settings, or where it stands as "FILE.py:NAME".
    `resume` is the folder of a search: it goes on where it was, and another process that is started so works on the same
    study; `processes` says how many share this machine's cores. `storage` is the URL of a database server, for several
    machines. Returns the `Tuned`. Raises SightlineError, before anything is written, for what cannot be used.
    """
    require_optuna()
    _check_budget(trials, minutes, processes)
    chosen, asked, folder, data_of = _opened(data, folds, space, storage, config, resume, settings)
    say(f"Search {folder.path}")
    share = max(1, (os.cpu_count() or 1) // processes)
    chosen = replace(chosen, workers=chosen.workers or share)
    import torch

    torch.set_num_threads(min(share, torch.get_num_threads()))
    study = open_study(folder.url(asked.storage), str(folder.path.name), chosen.epochs, chosen.seed)
    own_space = space if callable(space) else None if asked.space is None else load_space(asked.space)
    limit = minutes if minutes is not None or trials is not None else MINUTES
    _search(study, chosen, asked, own_space, data_of, trials, limit)
    from .answer import conclude

    conclude(folder, study, chosen, asked, data_of.whole)
    return Tuned(folder.path)


def _check_budget(trials: int | None, minutes: float | None, processes: int) -> None:
    if trials is not None:
        whole_number(trials, "The number of trials", least=1)
    if minutes is not None and not (isinstance(minutes, (int, float)) and math.isfinite(minutes) and minutes > 0):
        raise ArgumentError("The minutes of a search are a number above 0", received=repr(minutes))
    whole_number(processes, "The number of processes", least=1)


def _opened(
    data: Any, folds: int, space: Any, storage: str | None, config: Any, resume: Any, settings: dict[str, Any]
) -> tuple[Settings, Asked, SearchFolder, SearchData]:
    """The settings, the asking, the folder and the data of a search that begins or goes on."""
    given = {name: value for name, value in settings.items() if value is not None}
    if resume is not None:
        if given or data is not None or config is not None or storage is not None:
            raise ArgumentError(
                "A search goes on with the settings that it began with",
                expected="at most trials, minutes and processes",
                fix="Begin another search, with another --name",
            )
        folder = SearchFolder(resume)
        chosen, asked = folder.read()
        if asked.space == "" and not callable(space):
            raise ArgumentError("The search began with a space in Python", fix="Give the same function: space=...")
        return chosen, asked, folder, prepared(chosen, asked.folds, say)
    whole_number(folds, "The number of folds", least=2)
    chosen = resolve(data, given, config)
    chosen = replace(chosen, name=chosen.name or f"{chosen.run_name}-tuned", fit_memory="off")
    if space is not None:
        load_space(space)
    named = None if space is None else "" if callable(space) else str(space)
    fixed = {*given, *(read_config(config) if config is not None else {})} - {*OWN}
    asked = Asked(folds, tuple(sorted(fixed)), named, storage)
    divided = prepared(chosen, folds, say)
    folder = SearchFolder(chosen.folder)
    folder.begin(chosen, asked)
    return chosen, asked, folder, divided


def _search(
    study: Study, settings: Settings, asked: Asked, space: Space | None, data: SearchData,
    trials: int | None, minutes: float | None,
) -> None:  # fmt: skip
    """Trials, one after the other, until the budget is spent."""
    from .trials import Copied, Objective, Surplus, TimeIsUp, Unmakeable, rate_of

    own = space or default_space(settings, asked.given, rate_of(study, data.folds[0]))
    left = math.inf if minutes is None else 60 * minutes - seconds_searched(finished(study))
    deadline = time.monotonic() + left

    def choose(trial: Any) -> Settings:
        return settings if DEFAULT in trial.user_attrs else with_choices(settings, own(trial))

    objective = Objective(choose, data.folds, deadline, trials)
    copies = 0
    while time.monotonic() < deadline and copies < MOST_COPIES:
        requeue_killed(study)
        before = len(finished(study))
        if trials is not None and before >= trials:
            break
        try:
            study.optimize(objective, n_trials=1, catch=(Copied, Unmakeable))
        except Surplus:
            break
        except (TimeIsUp, KeyboardInterrupt) as ended:
            ended_in = study.trials[_last_of_mine(study)]  # it is tried when the search goes on
            attributes = {DEFAULT: True} if DEFAULT in ended_in.user_attrs else {}
            study.enqueue_trial(ended_in.params, user_attrs=attributes)
            if isinstance(ended, KeyboardInterrupt):
                raise
            break
        done = finished(study)
        copies = 0 if len(done) > before else copies + 1
        if len(done) > before:
            _tell(done[-1], done)
    if copies == MOST_COPIES:
        say("There is nothing in the space that was not tried")
    done = finished(study)
    say(f"{len(done)} trials in {duration(seconds_searched(done))}")


def _last_of_mine(study: Study) -> int:
    from .study import PROCESS, this_process

    return max(trial.number for trial in study.trials if trial.user_attrs.get(PROCESS) == this_process())


def _tell(trial: Any, done: list[Any]) -> None:
    from optuna.trial import TrialState

    best = max((t.value for t in done if t.state == TrialState.COMPLETE), default=math.nan)
    last = next(reversed(trial.intermediate_values.values()), math.nan) if trial.value is None else trial.value
    how = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else f"{last:.4f}, given up"
    shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items())
    say(f"Trial {trial.number}: {how} (best {best:.4f}); {shown or 'the default settings'}")


def differing(chosen: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What a trial's settings have that the search's own have not."""
    from .trials import as_told

    common = as_told(settings)
    return {name: value for name, value in chosen.items() if value != common[name]}
