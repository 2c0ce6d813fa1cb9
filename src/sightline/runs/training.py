"""From a folder to a trained, measured network with a report: one call, which the command line is too."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..callbacks import Callback
from ..console import duration, is_terminal
from ..data.findings import Check
from ..data.images import Images
from ..files import write_text
from ..plots import draw_curves
from ..structures import Dataset
from ..tasks import Task
from ..training.progress import EpochProgress
from ..training.ranks import first_does, is_first, joined
from .around import callbacks_of, why_ended
from .assembly import Opening, assembled, opened
from .calibration import calibrate
from .fitting_memory import fitted
from .folder import Log, RunFolder, describe_data, environment, read_results, write_json
from .preparation import CompleteCache, open_images, prepare
from .resuming import has_begun, recorded_dataset, resumed_settings, weights_to_begin_with
from .run import Run, measure, resolve_device
from .settings import Settings, resolve


def train(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    resume: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Train a network on a folder, measure it on images that it never saw, and write the run.

    `settings` are the command line's flags (model, network, epochs, batch_size, image_size, color_mode, resize, augment, format,
    group_pattern, classes, allow, cache, lr, optimizer, schedule, warmup, ema, clip, patience, time_budget, tensorboard, precision, fit_memory, device,
    workers, seed, name, exist_ok, runs, task, weights, freeze, unfreeze, backbone_lr, weight_decay, label_smoothing,
    dropout, box_loss, head, pixel_loss, class_weights, tile, recipe); `config` is a YAML file of the same, which a flag overrides.
    `resume` is the folder of a run that was killed, or that should have more epochs: it goes on where it stood, to the
    same bits as if it had never stopped, with the settings it began with (epochs, time_budget and workers may differ).
    Under `torchrun` its processes train together, each its rows of every batch; the first one writes and speaks.
    Returns the `Run`. Raises SightlineError, before anything is written, for settings or data that cannot be used.
    """
    with joined():
        return _train(data, config, resume, settings)


def _train(
    data: str | Path | None, config: str | Path | None, resume: str | Path | None, settings: dict[str, Any]
) -> Run:
    if resume is not None:
        chosen, folder = resumed_settings(resume, data, config, settings)
    else:
        chosen = resolve(data, settings, config)
        folder = RunFolder(chosen.folder)
    known = recorded_dataset(folder) if resume is not None else None
    opening = opened(chosen, chosen.weights if resume is None else weights_to_begin_with(chosen, folder), known)
    dataset, task = opening.dataset, opening.task
    if resume is None:
        first_does(lambda: folder.require_free(chosen.exist_ok))
    log = Log(folder.log if is_first() else None)
    log(f"Run {folder.path}")
    if known is None:
        dataset = first_does(lambda: _begin(folder, dataset, chosen, resolve_device(chosen.device), log))
    log.start()
    images = open_images(dataset, opening.spec, chosen, log)
    _fit(opening, dataset, images, chosen, folder, log)
    run = Run(folder.path, chosen.device)
    first_does(lambda: _finish(run, task, images, chosen, log))
    return run


def _finish(run: Run, task: Task, images: dict[str, Images], settings: Settings, log: Log) -> None:
    if task.takes_labels:
        calibrate(run, images.get("validation"), settings.batch_size, settings.thread_count, log)
    _measure(run, task, images, settings, log)
    log(f"Report {run.report(log)}")
    log(f"Run {run.path}")


def _begin(folder: RunFolder, dataset: Dataset, settings: Settings, device: torch.device, log: Log) -> Dataset:
    """Check and split the data, and write what a run is known by."""
    dataset, checked = prepare(dataset, settings, log)
    begin(folder, dataset, checked, settings, device)
    return dataset


def begin(folder: RunFolder, dataset: Dataset, checked: Check, settings: Settings, device: torch.device) -> None:
    """Write what a run is known by, its data in their splits: `train(resume=...)` does the rest."""
    folder.begin()
    write_text(folder.config, settings.as_yaml())
    write_json(folder.environment, environment(str(device)))
    write_json(folder.data, describe_data(dataset, settings.data, checked))


def _fit(
    opening: Opening,
    dataset: Dataset,
    images: dict[str, Images],
    settings: Settings,
    folder: RunFolder,
    log: Log,
) -> None:
    model = opening.model
    weights = f", weights {settings.weights}" if settings.weights is not None else ""
    log(f"Model {settings.model}: {model.count_params():,} parameters{weights}, images {images['train'].spec.shape}")
    assembly = assembled(opening, dataset, images, settings, log, begun=has_begun(folder))
    assembly, settings, fitting = fitted(assembly, settings, log)
    completing = CompleteCache(images, settings.thread_count, log)
    callbacks = [*callbacks_of(settings, opening.task, folder, log, model), *fitting, completing]
    began = time.monotonic()
    try:
        with EpochProgress(settings.epochs, assembly.steps, bar=is_terminal() and is_first(), tell=log) as bar:
            assembly.model.fit(**assembly.data, epochs=settings.epochs, verbose=0, callbacks=[*callbacks, bar])
    except KeyboardInterrupt:
        log(f"Interrupted; go on with it: sightline train --resume {folder.quoted}")
        raise
    if is_first():
        _tell_of_end(settings, callbacks, opening.task, folder, time.monotonic() - began, log)


def _tell_of_end(
    settings: Settings, callbacks: Sequence[Callback], task: Task, folder: RunFolder, seconds: float, log: Log
) -> None:
    """Say how the training ended, and draw its curves."""
    history = read_results(folder.results)
    epochs = len(history["loss"])
    log(f"Trained {epochs} {'epoch' if epochs == 1 else 'epochs'} in {duration(seconds)}")
    if epochs < settings.epochs:
        log(f"It ended before epoch {settings.epochs}: {why_ended(callbacks, settings)}")
    if not math.isfinite(history["loss"][-1]):
        log("The loss is not a number any more: the training diverged; try a smaller --lr")
    draw_curves(history, task.best.removeprefix("val_"), folder.curves)


def _measure(run: Run, task: Task, images: dict[str, Images], settings: Settings, log: Log) -> None:
    """Measure the best epoch on the images that chose nothing: the test split, or the validation's where there is none."""
    if settings.tile is not None:  # its images are tiles, a person's are whole
        measures, _ = run.evaluate(batch_size=settings.batch_size, workers=settings.thread_count)
    else:
        split = "test" if len(images.get("test", ())) else "validation"
        own, size, workers = images[split], settings.batch_size, settings.thread_count
        measures = measure(run.model, task, split, own, run.classes, size, workers)
    split = measures.split
    write_json(run.folder.evaluation, measures.as_dict())
    task.draw(measures, run.classes, run.folder.picture)
    task.draw_mistakes(measures, run.folder.mistakes)
    task.draw_calibration(measures, run.folder.calibration)
    for headline in measures.headlines:
        log(f"{split.capitalize()} {headline}, n = {measures.n}")
    if split == "validation":
        log("  (the same images chose the best epoch: there is no test split, so this is optimistic)")
    for remark in task.remarks(measures):
        log(remark)
