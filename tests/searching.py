"""A search whose trials pretend to train, for tests of what a kill leaves and of several processes.

python searching.py FOLDER LOG SECONDS TRIALS: works on the search in FOLDER, and writes each training into LOG.
"""

import json
import os
import sys
import time
from pathlib import Path

from sightline.tuning import answer, search, trials
from sightline.tuning.study import completed


def grid(trial):
    """Six settings in all."""
    return {
        "lr": trial.suggest_categorical("lr", [0.001, 0.01, 0.1]),
        "batch_size": trial.suggest_categorical("batch_size", [8, 16]),
    }


def quality(settings, epoch):
    """What a pretended training comes to: better the nearer its rate is to 0.01."""
    return {0.001: 0.6, 0.01: 0.9, 0.1: 0.3}.get(settings.lr, 0.5) + settings.batch_size / 1000 + epoch / 10000


def pretending(log, seconds=0.0, quality=quality):
    """What stands for `best_validation`: a line in the log, and epochs that report."""

    def best_validation(dataset, settings, watching):
        with open(log, "a") as file:
            file.write(json.dumps([os.getpid(), settings.lr, settings.batch_size]) + "\n")
        watching.monitor, watching.model = "val_accuracy", type("Model", (), {"stop_training": False})()
        for epoch in range(settings.epochs):
            time.sleep(seconds / settings.epochs)
            watching.on_train_batch_end(0)
            watching.on_epoch_end(epoch, {"val_accuracy": quality(settings, epoch)})
            if watching.model.stop_training:
                break
        if watching.ended is not None:
            raise watching.ended
        return watching.best

    return best_validation


def concluding(folder, study, settings, asked, whole):
    """What stands for the answer: which trial was best."""
    best = max(completed(study), key=lambda trial: trial.value)
    folder.answer.write_text(json.dumps({"settings": best.params, "cross-validation": best.value}))


if __name__ == "__main__":
    folder, log, seconds, count = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    trials.best_validation, answer.conclude = pretending(log, seconds), concluding
    print("ready", flush=True)
    search.tune(resume=folder, space=grid, trials=count)
