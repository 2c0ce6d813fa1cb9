"""What a search finds in a time a person has, and what successive halving saves of it.

python benchmarks/tune.py answer DATA [--minutes 10] [--folds 3] [--epochs 10] [--out FOLDER] [settings of train: model=... freeze=backbone ...]
python benchmarks/tune.py halving DATA [--epochs 9] [--folds 3] [--out FOLDER] [settings]

"answer" searches the default space and writes what `sightline tune` says of the test images. "halving" tries a recorded
small space, 12 settings (6 learning rates, 2 batch sizes), once with all folds and epochs for each and once with successive halving, and
compares the score of the best found, and the time. Writes tune-answer.json or tune-halving.json into OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import optuna
import yaml

import sightline as sl
from sightline.runs.folder import environment
from sightline.tuning import study as studies
from sightline.tuning.study import completed, finished, open_study

RATES, SIZES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03), (16, 64)


def small_space(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "lr": trial.suggest_categorical("lr", RATES),
        "batch_size": trial.suggest_categorical("batch_size", SIZES),
    }


def answer(options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """The default space within the minutes."""
    began = time.monotonic()
    tuned = sl.tune(
        options.data, minutes=options.minutes, folds=options.folds, epochs=options.epochs, name="answer",
        runs=str(options.out / "runs"), **settings,
    )  # fmt: skip
    found = json.loads(tuned.folder.answer.read_text())
    return found | {"seconds with the answer": time.monotonic() - began, "minutes": options.minutes}


def halving(options: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Each way tries every setting of the small space; the seconds are of the trials alone."""
    rows: dict[str, Any] = {}
    prunes = optuna.pruners.SuccessiveHalvingPruner.prune
    for way in ("full", "halving"):
        if way == "full":
            optuna.pruners.SuccessiveHalvingPruner.prune = lambda self, study, trial: False  # type: ignore[method-assign]
        tuned = sl.tune(
            options.data, trials=1 + len(RATES) * len(SIZES), space=small_space, folds=options.folds,
            epochs=options.epochs, name=way, runs=str(options.out / "runs"), **settings,
        )  # fmt: skip
        optuna.pruners.SuccessiveHalvingPruner.prune = prunes  # type: ignore[method-assign]
        study = open_study(tuned.folder.url(None), way, options.epochs, 0)
        done = finished(study)
        rows[way] = {
            "best": tuned.score, "settings": tuned.settings, "trials": len(done), "all folds": len(completed(study)),
            "seconds": studies.seconds_searched(done), "epochs": sum(epochs_of(t, options) for t in done),
        }  # fmt: skip
    return rows | {"share of the time": rows["halving"]["seconds"] / rows["full"]["seconds"]}


def epochs_of(trial: Any, options: argparse.Namespace) -> int:
    """How many epochs, over all folds, a trial was trained for."""
    return min(trial.last_step or 0, options.folds * options.epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("answer", "halving"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("settings", nargs="*", help="settings of train, as name=value")
    options = parser.parse_intermixed_args()
    settings = {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in options.settings)}
    found = (answer if options.what == "answer" else halving)(options, settings)
    found |= {"load": os.getloadavg(), "environment": environment("cpu"), "settings of all": settings}
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, default=str)
    (options.out / f"tune-{options.what}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
