"""From a folder to a trained, measured network with a report: one call, which the command line is too."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import optimizers
from ..callbacks import Callback, LearningRateScheduler, ModelCheckpoint
from ..console import duration, is_terminal
from ..data.images import Images
from ..data.loader import ImageBatches
from ..files import write_text
from ..models import Model
from ..plots import draw_curves
from ..schedules import cosine
from ..structures import Dataset
from ..tasks import TASKS, Task
from ..training.ports import ports_of
from ..training.progress import EpochProgress
from . import networks
from .folder import Log, ResultsFile, RunFolder, describe_data, environment, read_results, write_json
from .preparation import CompleteCache, open_images, prepare
from .run import Run, as_metadata, measure, resolve_device
from .settings import Settings, resolve


def train(data: str | Path | None = None, *, config: str | Path | None = None, **settings: Any) -> Run:
    """Train a network on a folder, measure it on images that it never saw, and write the run.

    `settings` are the command line's flags (model, epochs, batch_size, image_size, color_mode, resize, augment, format,
    group_pattern, allow, cache, lr, device, workers, seed, name, exist_ok, runs, task); `config` is a YAML file of the
    same, which a flag overrides. Returns the `Run`.
    Raises SightlineError, before anything is written, for settings or data that cannot be used.
    """
    chosen = resolve(data, settings, config)
    task = TASKS[chosen.task]()
    source = networks.find_source(chosen.model)
    dataset = task.read(chosen.data, chosen.format, chosen.group_pattern)
    device = resolve_device(chosen.device)
    spec = networks.image_spec(chosen, source)
    torch.manual_seed(chosen.seed)
    model = networks.build_network(source, spec, dataset.classes).to(device)
    folder = RunFolder(chosen.folder)
    folder.require_free(chosen.exist_ok)
    log = Log(folder.log)
    log(f"Run {folder.path}")
    dataset, checked = prepare(dataset, chosen, log)
    folder.begin()
    log.start()
    write_text(folder.config, chosen.as_yaml())
    write_json(folder.environment, environment(str(device)))
    write_json(folder.data, describe_data(dataset, chosen.data, checked))
    images = open_images(dataset, spec, chosen, log)
    _fit(model, task, dataset, images, chosen, folder, log)
    run = Run(folder.path)
    _measure(run, task, images, chosen, log)
    log(f"Report {run.report()}")
    log(f"Run {folder.path}")
    return run


def _fit(
    model: Model,
    task: Task,
    dataset: Dataset,
    images: dict[str, Images],
    settings: Settings,
    folder: RunFolder,
    log: Log,
) -> None:
    classes = len(dataset.classes)
    model.metadata.update(as_metadata(task, dataset.classes, images["train"].spec))
    shares = images["train"].augmentation.mixes_labels
    model.compile(optimizers.Adam(settings.lr), task.loss(shares), metrics=task.metrics(classes, shares))
    workers = settings.thread_count
    batches = partial(
        ImageBatches, ports=ports_of(model), batch_size=settings.batch_size, workers=workers,
        shares_of=classes if shares else None,
    )  # fmt: skip
    train_batches, validation = batches(images["train"], seed=settings.seed), batches(images["validation"])
    log(f"Model {settings.model}: {model.count_params():,} parameters, images {images['train'].spec.shape}")
    keep: list[Callback] = [
        LearningRateScheduler(cosine(settings.lr, settings.epochs)),
        ModelCheckpoint(as_literal(folder.best), monitor=task.best, save_best_only=True),
        ModelCheckpoint(as_literal(folder.last)),
        ResultsFile(folder.results),
        CompleteCache(images, workers, log),
    ]
    began = time.monotonic()
    steps = train_batches.steps
    try:
        with EpochProgress(settings.epochs, steps, bar=is_terminal(), tell=log) as bar:
            callbacks = [*keep, bar]
            model.fit(train_batches, validation_data=validation, epochs=settings.epochs, verbose=0, callbacks=callbacks)
    except KeyboardInterrupt:
        kept = f"the last whole epoch is in {folder.last}" if folder.last.is_file() else "no epoch was finished"
        log(f"Interrupted: {kept}")
        raise
    log(
        f"Trained {settings.epochs} {'epoch' if settings.epochs == 1 else 'epochs'} in {duration(time.monotonic() - began)}"
    )
    history = read_results(folder.results)
    if not math.isfinite(history["loss"][-1]):
        log("The loss is not a number any more: the training diverged; try a smaller --lr")
    draw_curves(history, folder.curves)


def as_literal(path: Path) -> str:
    """A path for ModelCheckpoint, which fills in names between braces, though a folder's name may hold some."""
    return str(path).replace("{", "{{").replace("}", "}}")


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
