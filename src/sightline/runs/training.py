"""From a folder to a trained, measured network with a report: one call, which the command line is too."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from ..console import duration, is_terminal
from ..data.images import Images
from ..files import write_text
from ..models import Model
from ..plots import draw_curves
from ..structures import Dataset
from ..tasks import TASKS, Task
from ..training.progress import EpochProgress
from . import networks
from .around import callbacks_of, why_ended
from .assembly import compiled
from .folder import Log, RunFolder, describe_data, environment, read_results, write_json
from .preparation import CompleteCache, open_images, prepare
from .resuming import recorded_dataset, resumed_settings
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

    `settings` are the command line's flags (model, epochs, batch_size, image_size, color_mode, resize, augment, format,
    group_pattern, allow, cache, lr, schedule, warmup, ema, clip, patience, time_budget, tensorboard, precision, device,
    workers, seed, name, exist_ok, runs, task); `config` is a YAML file of the same, which a flag overrides.
    `resume` is the folder of a run that was killed, or that should have more epochs: it goes on where it stood, to the
    same bits as if it had never stopped, with the settings it began with (epochs, time_budget and workers may differ).
    Returns the `Run`. Raises SightlineError, before anything is written, for settings or data that cannot be used.
    """
    if resume is not None:
        chosen, folder = resumed_settings(resume, data, config, settings)
    else:
        chosen = resolve(data, settings, config)
        folder = RunFolder(chosen.folder)
    task = TASKS[chosen.task]()
    source = networks.find_source(chosen.model)
    known = recorded_dataset(folder) if resume is not None else None
    dataset = known or task.read(chosen.data, chosen.format, chosen.group_pattern)
    device = resolve_device(chosen.device)
    spec = networks.image_spec(chosen, source)
    torch.manual_seed(chosen.seed)
    model = networks.build_network(source, spec, dataset.classes).to(device)
    if resume is None:
        folder.require_free(chosen.exist_ok)
    log = Log(folder.log)
    log(f"Run {folder.path}")
    if known is None:
        dataset = _begin(folder, dataset, chosen, device, log)
    log.start()
    images = open_images(dataset, spec, chosen, log)
    _fit(model, task, dataset, images, chosen, folder, log)
    run = Run(folder.path)
    _measure(run, task, images, chosen, log)
    log(f"Report {run.report()}")
    log(f"Run {folder.path}")
    return run


def _begin(folder: RunFolder, dataset: Dataset, settings: Settings, device: torch.device, log: Log) -> Dataset:
    """Check and split the data, and write what a run is known by."""
    dataset, checked = prepare(dataset, settings, log)
    folder.begin()
    write_text(folder.config, settings.as_yaml())
    write_json(folder.environment, environment(str(device)))
    write_json(folder.data, describe_data(dataset, settings.data, checked))
    return dataset


def _fit(
    model: Model,
    task: Task,
    dataset: Dataset,
    images: dict[str, Images],
    settings: Settings,
    folder: RunFolder,
    log: Log,
) -> None:
    batches, validation = compiled(model, task, dataset, images, settings)
    workers = settings.thread_count
    log(f"Model {settings.model}: {model.count_params():,} parameters, images {images['train'].spec.shape}")
    callbacks = [*callbacks_of(settings, task, folder, log), CompleteCache(images, workers, log)]
    began = time.monotonic()
    try:
        with EpochProgress(settings.epochs, batches.steps, bar=is_terminal(), tell=log) as bar:
            model.fit(
                batches, validation_data=validation, epochs=settings.epochs, verbose=0, callbacks=[*callbacks, bar]
            )
    except KeyboardInterrupt:
        log(f"Interrupted; go on with it: sightline train --resume {folder.path}")
        raise
    history = read_results(folder.results)
    epochs = len(history["loss"])
    log(f"Trained {epochs} {'epoch' if epochs == 1 else 'epochs'} in {duration(time.monotonic() - began)}")
    if epochs < settings.epochs:
        log(f"It ended before epoch {settings.epochs}: {why_ended(callbacks, settings)}")
    if not math.isfinite(history["loss"][-1]):
        log("The loss is not a number any more: the training diverged; try a smaller --lr")
    draw_curves(history, folder.curves)


def _measure(run: Run, task: Task, images: dict[str, Images], settings: Settings, log: Log) -> None:
    """Measure the best epoch on the images that chose nothing: the test split, or the validation's where there is none."""
    split = "test" if len(images.get("test", ())) else "validation"
    measures = measure(run.model, task, split, images[split], run.classes, settings.batch_size, settings.thread_count)
    write_json(run.folder.evaluation, measures.as_dict())
    task.draw(measures, run.classes, run.folder.picture)
    for headline in measures.headlines:
        log(f"{split.capitalize()} {headline}, n = {measures.n}")
    if split == "validation":
        log("  (the same images chose the best epoch: there is no test split, so this is optimistic)")
