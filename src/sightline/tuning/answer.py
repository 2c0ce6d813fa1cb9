"""What a search has found: the best settings beside the default ones, on images that no trial saw."""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from ..console import say
from ..errors import RunError
from ..plots import draw_bars, draw_trials
from ..runs.comparing import Comparison
from ..runs.folder import write_json
from ..runs.run import Run
from ..runs.settings import Settings
from ..runs.training import train
from ..structures import Dataset
from ..tasks.base import plain
from .folder import Asked, SearchFolder, begin_run
from .search import differing
from .space import with_choices
from .study import SETTINGS, completed, finished, first_rung


def conclude(folder: SearchFolder, study: optuna.Study, settings: Settings, asked: Asked, whole: Dataset) -> None:
    """Train the default and the best settings on what the trials saw, measure both on the test images, and write the answer.

    Raises RunError where no trial came through all folds.
    """
    done = completed(study)
    if not done:
        raise RunError(
            f"No trial of {folder.path} came through all folds",
            fix=f"Give it more time: sightline tune --resume {shlex.quote(str(folder.path))} --minutes ...",
        )
    best = max(done, key=lambda trial: trial.value or 0.0)
    chosen = differing(best.user_attrs[SETTINGS], settings)
    with one_at_a_time(folder.path):
        default = trained(folder, "default", settings, whole)
        winner = trained(folder, f"trial-{best.number}", with_choices(settings, chosen), whole)
    compared = winner.compare(default)
    found = compared.difference
    answer = {
        "settings": chosen,
        "cross-validation": best.value,
        "folds": best.user_attrs["folds"],
        "run": winner.path.name,
        "measures": {"best": _numbers(winner), "default": _numbers(default), "n": winner.measures.n},
        "difference": plain({"value": found.value, "interval": found.interval, "what": found.measure}),
        "importances": importances(study, settings.epochs),
        "trials": {"all folds": len(done), "given up": len(finished(study)) - len(done)},
        "command": command_of(settings, chosen),
    }
    write_json(folder.answer, answer)
    lines = told(answer, compared)
    draw_answer(folder, study, answer, lines, settings)
    for line in lines:
        say(line)
    say(f"Report {folder.report}")


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Inside, no other process of this machine is: of several that end a search together the second finds what the first made."""
    with open(folder / "answering.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def trained(folder: SearchFolder, name: str, settings: Settings, whole: Dataset) -> Run:
    """The run of that name, trained as `train` does: its best epoch is chosen on the validation images."""
    run = folder.trained(name)
    if not run.evaluation.is_file():
        if not run.data.is_file():
            begin_run(run, settings, whole)
        return train(resume=run.path)
    return Run(run.path)


def _numbers(run: Run) -> dict[str, Any]:
    return run.measures.as_dict()["headlines"]


def command_of(settings: Settings, chosen: dict[str, Any]) -> str:
    """The command that trains the best settings on the person's own folder."""
    return replace(with_choices(settings, chosen), name=f"{settings.name}-best", fit_memory="refuse").command()


def importances(study: optuna.Study, epochs: int) -> dict[str, float]:
    """How much of the differences between trials each choice explains (functional ANOVA, Hutter et al., 2014); largest first.

    Of the score at the first rung, which every trial has: those that came further are all alike. Empty for too few trials.
    """
    rung = first_rung(epochs)
    scored = optuna.create_study(direction="maximize")
    for trial in finished(study):
        value = trial.intermediate_values.get(rung)
        if value is not None and trial.params:
            scored.add_trial(optuna.create_trial(params=trial.params, distributions=trial.distributions, value=value))
    if len(scored.trials) < 4 or len({trial.value for trial in scored.trials}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(scored, evaluator=evaluator)


def told(answer: dict[str, Any], compared: Comparison) -> list[str]:
    """The answer in sentences."""
    weights = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(answer["importances"].items())[:5])
    chosen = ", ".join(f"{name} {value}" for name, value in answer["settings"].items())
    return [
        f"Best settings: {chosen or 'the default ones'}",
        f"In cross-validation {answer['cross-validation']:.4f} (which chose it: optimistic); on test images that no trial saw:",
        *str(compared).splitlines(),
        *([f"What mattered: {weights}"] if weights else []),
        f"Train it: {answer['command']}",
    ]


def draw_answer(
    folder: SearchFolder, study: optuna.Study, answer: dict[str, Any], lines: Sequence[str], settings: Settings
) -> None:
    """The plots and the page."""
    from ..report.search import write_search_report

    rows = trial_rows(study)
    draw_trials([(row["number"], row["score"], row["all folds"]) for row in rows], folder.history)
    if answer["importances"]:
        draw_bars(answer["importances"], "share of the differences between trials", folder.importances)
    write_search_report(Path(folder.report), settings, answer, lines, rows, [folder.history, folder.importances])


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """What is shown of each finished trial."""
    rows = []
    for trial in finished(study):
        values = list(trial.intermediate_values.values())
        whole = trial.state == optuna.trial.TrialState.COMPLETE
        score = trial.value if whole else values[-1] if values else None
        rows.append({"number": trial.number, "score": score, "all folds": whole, "params": trial.params})
    return rows
