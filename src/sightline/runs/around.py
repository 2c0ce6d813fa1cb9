"""What happens around the steps of a run's training: what is kept, what is written, what ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..callbacks import (
    BackupAndRestore,
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SwapEMAWeights,
    TensorBoard,
    TerminateOnNaN,
    TimeBudget,
)
from ..files import write_text
from ..models import Model
from ..tasks import Task
from .folder import Log, ResultsFile, RunFolder
from .settings import Settings

UNLIMITED = 1e9  # seconds: a resumed run may be given a budget, so all have one
CHECKPOINT_SECONDS = 60.0  # between two checkpoints within an epoch


def callbacks_of(settings: Settings, task: Task, folder: RunFolder, log: Log, whole: Model) -> list[Callback]:
    """The callbacks that the settings ask for, in the order in which they act; what is saved is the `whole` network."""
    callbacks: list[Callback] = [
        Decisions(settings, folder, log, whole),
        *adjusting(settings),
        ResultsFile(folder.results),
        WholeCheckpoint(whole, as_literal(folder.best), monitor=task.best, save_best_only=True),
        WholeCheckpoint(whole, as_literal(folder.last)),
        *stopping(settings, task),
    ]
    callbacks.append(TimeBudget(UNLIMITED if settings.time_budget is None else 60 * settings.time_budget))
    if settings.tensorboard:
        callbacks.append(TensorBoard(str(folder.tensorboard)))
    backup = BackupAndRestore(folder.checkpoint, delete_checkpoint=False, every_seconds=CHECKPOINT_SECONDS)
    return [*callbacks, backup]


def adjusting(settings: Settings) -> list[Callback]:
    """What watches and changes a training's steps and rate."""
    callbacks: list[Callback] = [TerminateOnNaN()]
    if settings.ema is not None:
        callbacks.append(SwapEMAWeights(swap_on_epoch=True))
    if settings.schedule == "plateau":
        callbacks.append(ReduceLROnPlateau(monitor="val_loss", factor=0.3, patience=3))
    return callbacks


def stopping(settings: Settings, task: Task) -> list[Callback]:
    """What ends a training that is no better for the epochs of the patience."""
    return [] if settings.patience is None else [EarlyStopping(monitor=task.best, patience=settings.patience)]


class WholeCheckpoint(ModelCheckpoint):
    """Saves the whole network, of which perhaps the head alone trains."""

    def __init__(self, whole: Model, filepath: str, **arguments: Any):
        super().__init__(filepath, **arguments)
        self._whole = whole

    def set_model(self, model: Model) -> None:
        super().set_model(self._whole)


class Decisions(Callback):
    """Writes down what is known once a step was made or a checkpoint loaded: config.yaml, with the precision that was taken."""

    writes = True

    def __init__(self, settings: Settings, folder: RunFolder, log: Log, whole: Model):
        self.settings, self.folder, self.log, self._whole = settings, folder, log, whole
        self._known = False

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._known = False

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        epoch, batch = self.training.epoch, self.training.batch
        self.log(f"Going on after {batch} batches of epoch {epoch + 1}" if batch else f"Going on after epoch {epoch}")
        self._write()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if not self._known:
            self._write()

    def _write(self) -> None:
        self._known = True
        precision = self.training.step.numerics.precision
        self._whole.metadata["precision"] = {"training": precision, "inference": "float32"}
        if (choice := self.model.numerics_choice) is not None and choice.trials:
            self.log(str(choice))
        write_text(self.folder.config, replace(self.settings, precision=precision).as_yaml())


def why_ended(callbacks: Sequence[Callback], settings: Settings) -> str:
    """Why a training had fewer epochs than it was asked for."""
    for callback in callbacks:
        if isinstance(callback, TerminateOnNaN) and callback.first_bad_step is not None:
            return f"the loss of step {callback.first_bad_step} was not finite"
        if isinstance(callback, TimeBudget) and callback.spent:
            return f"its {settings.time_budget:g} minutes were over"
    if settings.patience is None:
        return "another of its processes ended it"
    return f"no better validation for {settings.patience} epochs"


def as_literal(path: Path) -> str:
    """A path for ModelCheckpoint, which fills in names between braces, though a folder's name may hold some."""
    return str(path).replace("{", "{{").replace("}", "}}")
