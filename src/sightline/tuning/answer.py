"""What a search has found: the best settings beside the default ones, on images that no trial saw."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from ..console import say
from ..errors import RunError
from ..plots import draw_bars, draw_trials
from ..runs.folder import write_json
from ..runs.run import Run
from ..runs.settings import Settings
from ..runs.training import train
from ..structures import Dataset, Problem, Sample
from ..tasks import Task
from .folder import Asked, SearchFolder, begin_run
from .search import differing
from .space import with_choices
from .study import SETTINGS, completed, finished, first_rung

RESAMPLES = 10_000


def conclude(folder: SearchFolder, study: optuna.Study, settings: Settings, asked: Asked, whole: Dataset) -> None:
    """Train the default and the best settings on what the trials saw, measure both on the test images, and write the answer.

    Raises RunError where no trial came through all folds.
    """
    done = completed(study)
    if not done:
        raise RunError(
            f"No trial of {folder.path} came through all folds",
            fix=f"Give it more time: sightline tune --resume {folder.path} --minutes ...",
        )
    best = max(done, key=lambda trial: trial.value or 0.0)
    chosen = differing(best.user_attrs[SETTINGS], settings)
    with one_at_a_time(folder.path):
        default = trained(folder, "default", settings, whole)
        winner = trained(folder, f"trial-{best.number}", with_choices(settings, chosen), whole)
    samples = whole.splits["test"]
    a, b = image_scores(winner, samples), image_scores(default, samples)
    difference, interval = paired_difference(a, b, settings.seed)
    answer = {
        "settings": chosen,
        "cross-validation": best.value,
        "folds": best.user_attrs["folds"],
        "run": winner.path.name,
        "measures": {"best": _numbers(winner), "default": _numbers(default), "n": len(samples)},
        "difference": {"value": difference, "interval": interval, "what": winner.measures.headlines[0].name},
        "importances": importances(study, settings.epochs),
        "trials": {"all folds": len(done), "given up": len(finished(study)) - len(done)},
        "command": command_of(settings, chosen),
    }
    write_json(folder.answer, answer)
    draw_answer(folder, study, answer, settings)
    for line in told(answer):
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


def image_scores(run: Run, samples: Sequence[Sample]) -> np.ndarray:
    """The task's first measure of each image on its own: whether its class is right, how far its box overlaps, its AP; NaN where it has none."""
    scores = np.full(len(samples), np.nan)
    task: Task = run.task
    for number, (sample, said) in enumerate(zip(samples, _results(run, samples), strict=True)):
        if not isinstance(said, Problem):
            scores[number] = task.measure("test", [said], [sample], run.classes).headlines[0].value
    return scores


def _results(run: Run, samples: Sequence[Sample]) -> list[Any]:
    found: list[Any] = [None] * len(samples)
    for numbers, said, problems in run.results([sample.path for sample in samples]):
        for number, result in [*zip(numbers, said, strict=True), *problems.items()]:
            found[number] = result
    return found


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[float, tuple[float, float]]:
    """The mean of a - b over the images that both have, and its 95 % interval by the bootstrap of images (Efron, 1979)."""
    both = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if not len(both):
        return 0.0, (0.0, 0.0)
    drawn = np.random.default_rng(seed).multinomial(len(both), np.full(len(both), 1 / len(both)), RESAMPLES)
    low, high = np.percentile(drawn @ both / len(both), (2.5, 97.5))
    return float(both.mean()), (float(low), float(high))


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


def told(answer: dict[str, Any]) -> list[str]:
    """The answer in sentences."""
    difference, (low, high) = answer["difference"]["value"], answer["difference"]["interval"]
    what, n = answer["difference"]["what"], answer["measures"]["n"]
    best, default = (answer["measures"][who][what]["value"] for who in ("best", "default"))
    verdict = (
        "better"
        if low > 0
        else "worse"
        if high < 0
        else "no surer better or worse: the interval of the difference holds 0"
    )
    weights = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(answer["importances"].items())[:5])
    chosen = ", ".join(f"{name} {value}" for name, value in answer["settings"].items())
    return [
        f"Best settings: {chosen or 'the default ones'}",
        f"In cross-validation {answer['cross-validation']:.4f} (which chose it: optimistic)",
        f"On {n} test images that no trial saw: {what} {best:.4f}, the default {default:.4f}",
        f"Difference {difference:+.4f} (95 % interval {low:+.3f} to {high:+.3f}): {verdict}",
        *([f"What mattered: {weights}"] if weights else []),
        f"Train it: {answer['command']}",
    ]


def draw_answer(folder: SearchFolder, study: optuna.Study, answer: dict[str, Any], settings: Settings) -> None:
    """The plots and the page."""
    from ..report.search import write_search_report

    rows = trial_rows(study)
    draw_trials([(row["number"], row["score"], row["all folds"]) for row in rows], folder.history)
    if answer["importances"]:
        draw_bars(answer["importances"], "share of the differences between trials", folder.importances)
    write_search_report(Path(folder.report), settings, answer, told(answer), rows, [folder.history, folder.importances])


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """What is shown of each finished trial."""
    rows = []
    for trial in finished(study):
        values = list(trial.intermediate_values.values())
        whole = trial.state == optuna.trial.TrialState.COMPLETE
        score = trial.value if whole else values[-1] if values else None
        rows.append({"number": trial.number, "score": score, "all folds": whole, "params": trial.params})
    return rows
