"""Optuna's study as a search uses it: in a database, so that a kill loses nothing and several processes share the trials."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, RunError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 10, 60  # seconds between two signs of life of a trial, and after which it counts as killed
REDUCTION = 3  # of the trials that come to a rung a third goes on
SETTINGS, PROCESS, COPY_OF, DEFAULT = "settings", "process", "copy of", "default"  # what a trial says of itself
PATIENCE = 30.0  # seconds for an earlier trial to say what it tries


def require_optuna() -> None:
    """Raise ArgumentError, saying what to install, where Optuna is not there."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            "A search needs Optuna, which is not installed", fix='Install it: pip install "sightline[tune]"'
        ) from error


def open_study(url: str, name: str, epochs: int, seed: int) -> Study:
    """The study of that name in a database, begun with the default settings where it is not there.

    Successive halving (Li et al., 2020, ASHA): a rung at about a ninth of the epochs of the first fold, at a third, at the
    first fold's end, after 3 folds ... Raises RunError for a database that cannot be used.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    from .sampling import ByNumber

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=ByNumber(seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(first_rung(epochs), REDUCTION),
        )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise RunError(f"The study in {url} cannot be opened ({' '.join(str(error).split())[:200]})") from error
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial({}, user_attrs={DEFAULT: True})  # what is not searched stands for the first to beat
    return study


def first_rung(epochs: int) -> int:
    """The epochs that every trial gets."""
    return max(1, round(epochs / REDUCTION**2))


def this_process() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def requeue_killed(study: Study) -> None:
    """Queue again what processes of this machine that are gone have left running; of other machines the heartbeat tells."""
    import optuna

    again = optuna.storages.RetryHeartbeatStaleTrialCallback()
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if _is_gone(trial.user_attrs.get(PROCESS)):
            try:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (ValueError, RuntimeError):  # another process was faster
                continue
            again(study, trial)


def _is_gone(process: str | None) -> bool:
    host, _, number = (process or "").partition(" ")
    if host != socket.gethostname() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return False


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were run to their end or stopped early, each counted once."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [trial for trial in trials if COPY_OF not in trial.user_attrs]


def completed(study: Study) -> list[FrozenTrial]:
    """The finished trials that had all folds."""
    from optuna.trial import TrialState

    return [trial for trial in finished(study) if trial.state == TrialState.COMPLETE]


def before(study: Study, trial: Any) -> list[FrozenTrial]:
    """The trials with lower numbers that are running or finished, no copies, once each of them has said what it tries.

    Who comes later waits for who came earlier, and never the other way round: so no two run the same settings.
    """
    from optuna.trial import TrialState

    alive = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
    until = time.monotonic() + PATIENCE
    while True:
        trials = [t for t in study.get_trials(deepcopy=False, states=alive) if t.number < trial.number]
        silent = [t for t in trials if t.state == TrialState.RUNNING and SETTINGS not in t.user_attrs]
        if not silent or time.monotonic() > until:
            return [t for t in trials if COPY_OF not in t.user_attrs]
        time.sleep(0.05)


def seconds_searched(trials: Sequence[FrozenTrial]) -> float:
    """How long somebody has worked on the finished trials: the length of the union of their times."""
    spans = sorted((t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete)
    total, reached = 0.0, datetime.min
    for start, end in spans:
        total += max(0.0, (end - max(start, reached)).total_seconds())
        reached = max(reached, end)
    return total
