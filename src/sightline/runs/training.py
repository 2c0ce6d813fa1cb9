"""From a folder to a trained, measured network with a report: one call, which the command line is too."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import optimizers
from ..callbacks import Callback, LearningRateScheduler, ModelCheckpoint
from ..console import duration, is_terminal
from ..data.loader import ImageBatches, Images
from ..data.splits import with_splits
from ..errors import DataError
from ..files import write_text
from ..models import Model
from ..plots import draw_curves
from ..schedules import cosine
from ..structures import Dataset, ImageSpec, Problem
from ..tasks import TASKS, Task
from ..training.ports import ports_of
from ..training.progress import EpochProgress
from . import networks
from .folder import Log, ResultsFile, RunFolder, describe_data, environment, read_results, write_json
from .run import Run, as_metadata, measure, read_split, resolve_device
from .settings import Settings, resolve


def train(data: str | Path | None = None, *, config: str | Path | None = None, **settings: Any) -> Run:
    """Train a network on a folder, measure it on images that it never saw, and write the run.

    `settings` are the command line's flags (model, epochs, batch_size, image_size, color_mode, lr, device, workers, seed,
    name, exist_ok, runs, task); `config` is a YAML file of the same, which a flag overrides. Returns the `Run`.
    Raises SightlineError, before anything is written, for settings or data that cannot be used.
    """
    chosen = resolve(data, settings, config)
    task = TASKS[chosen.task]()
    source = networks.find_source(chosen.model)
    dataset = with_splits(task.read(chosen.data), chosen.seed)
    device = resolve_device(chosen.device)
    spec = networks.image_spec(chosen, source)
    torch.manual_seed(chosen.seed)
    model = networks.build_network(source, spec, dataset.classes).to(device)
    folder = RunFolder(chosen.folder)
    folder.require_free(chosen.exist_ok)
    log = Log(folder.log)
    log(f"Run {folder.path}")
    images, dataset = _read_splits(dataset, spec, chosen, log)
    folder.begin()
    log.start()
    write_text(folder.config, chosen.as_yaml())
    write_json(folder.environment, environment(str(device)))
    write_json(folder.data, describe_data(dataset))
    _fit(model, task, dataset, images, chosen, folder, log)
    run = Run(folder.path)
    _measure(run, task, images, chosen, log)
    log(f"Report {run.report()}")
    log(f"Run {folder.path}")
    return run


def _read_splits(dataset: Dataset, spec: ImageSpec, settings: Settings, log: Log) -> tuple[dict[str, Images], Dataset]:
    """Decode every image once; what cannot be read is named, left out and remembered."""
    images: dict[str, Images] = {}
    problems: list[Problem] = []
    for split, samples in dataset.splits.items():
        images[split], unread = read_split(split, samples, spec, settings.thread_count)
        problems += unread
    dataset = replace(
        dataset,
        splits=dataset.splits | {split: read.samples for split, read in images.items()},
        problems=tuple(problems),
    )
    _tell_data(dataset, log)
    missing = [dataset.classes[i] for i, count in enumerate(dataset.counts("train")) if count == 0]
    if missing or not dataset.splits["validation"]:
        what = (
            f"no image of the class {missing[0]!r} can be read"
            if missing
            else "no image held back for validation can be read"
        )
        raise DataError(f"{dataset.root}: {what}", received=str(problems[0]) if problems else None)
    return images, dataset


def _tell_data(dataset: Dataset, log: Log) -> None:
    counts = ", ".join(f"{split} {len(samples)}" for split, samples in dataset.splits.items())
    drawn = [split for split in dataset.splits if split not in dataset.given]
    how = f" ({', '.join(drawn)} drawn from it)" if dataset.given and drawn else "" if dataset.given else " (drawn)"
    log(f"Data {dataset.root}: {len(dataset.classes)} classes; {counts}{how}")
    for problem in dataset.problems[:10]:
        log(f"  left out: {problem}")
    if len(dataset.problems) > 10:
        log(f"  left out: {len(dataset.problems) - 10} more, listed in data.json")


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
    model.compile(optimizers.Adam(settings.lr), task.loss, metrics=task.metrics(classes))
    workers = settings.thread_count
    train_batches = ImageBatches(images["train"], ports_of(model), settings.batch_size, workers, seed=settings.seed)
    validation = ImageBatches(images["validation"], ports_of(model), settings.batch_size, workers)
    log(f"Model {settings.model}: {model.count_params():,} parameters, images {images['train'].spec.shape}")
    keep: list[Callback] = [
        LearningRateScheduler(cosine(settings.lr, settings.epochs)),
        ModelCheckpoint(as_literal(folder.best), monitor=task.best, save_best_only=True),
        ModelCheckpoint(as_literal(folder.last)),
        ResultsFile(folder.results),
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
