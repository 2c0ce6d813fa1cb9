"""A network, joined to its images and to how it is trained: what a run and the learning-rate finder begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from .. import optimizers
from ..data.images import Images
from ..data.loader import ImageBatches
from ..models import Model
from ..structures import Dataset, ImageSpec
from ..tasks import TASKS, Task
from ..tasks.base import Targets
from ..training.progress import as_text
from ..training.ranks import current
from . import networks, transfer
from .features import Features, features_of
from .rates import OPTIMIZERS, learning_rate
from .run import as_metadata, resolve_device
from .settings import Settings


@dataclass(frozen=True)
class Opening:
    """What a run begins with: its task, its data as they were read, and its network on its device.

    `slow` are the weights of the backbone that are trained, at its own rate.
    """

    task: Task
    dataset: Dataset
    spec: ImageSpec
    model: Model
    slow: list[torch.Tensor] = field(default_factory=list)


def opened(settings: Settings, weights: str | None, dataset: Dataset | None = None) -> Opening:
    """Read the data, unless a run has recorded them, and make the network; nothing is written.

    `weights` are where the network's come from. Raises SightlineError for settings or data that cannot be used.
    """
    task = TASKS[settings.task]().with_options(settings.task_options)
    source = networks.find_source(settings.model, weights, settings.network)
    dataset = dataset or task.read(settings.data, settings.format, settings.group_pattern, settings.classes)
    task = task.for_data(dataset)
    device = resolve_device(settings.device)
    spec = networks.image_spec(settings, source)
    torch.manual_seed(settings.seed)
    model = networks.build_network(task, source, spec, dataset.classes, settings.dropout).to(device)
    slow = transfer.freeze(model, settings.model, settings.unfreeze) if transfers(settings) else []
    return Opening(task, dataset, spec, model, slow)


def transfers(settings: Settings) -> bool:
    """Whether the head is trained before, or without, the rest."""
    return settings.freeze is not None or settings.unfreeze is not None


@dataclass(frozen=True)
class Assembly:
    """What trains, the whole network or its head; `data` are the arguments of `fit` that say on what, in so many steps an epoch."""

    model: Model
    data: dict[str, Any]
    steps: int


def assembled(
    opening: Opening,
    dataset: Dataset,
    images: dict[str, Images],
    settings: Settings,
    say: Callable[[str], None],
    *,
    begun: bool = False,
) -> Assembly:
    """Compile the model as the settings say, and join it to its images; a classifier's head to their features, with a frozen backbone.

    `dataset` is the opening's once it has its splits. With `unfreeze` the head is trained first, unless the run has `begun`
    with the rest.
    """
    classes, mixed = len(dataset.classes), images["train"].augmentation.mixes_labels
    model, task = opening.model, opening.task.for_training(images["train"].unchanged(), classes)
    shares = task.takes_labels and (mixed or settings.label_smoothing > 0)
    targets = task.targets(classes, shares)
    model.metadata.update(as_metadata(task, dataset.classes, images["train"].spec))
    compiled = partial(_compile, task=task, settings=settings, classes=classes, shares=shares)
    if settings.learns_features:
        return _on_features(*_features(model, images, settings, targets), model, settings, compiled)
    if settings.unfreeze is not None and not begun:
        head, features = _features(model, images, settings, targets)
        alone = replace(settings, epochs=transfer.HEAD_EPOCHS, warmup=0.0)  # its rate falls along its own epochs
        compiled(head, steps=_steps(features, settings), settings=alone)
        logs = transfer.train_head_first(head, features, task, settings)
        say(f"Head trained on features of the frozen backbone: {as_text(logs)}")
    assembly = _on_images(model, images, settings, targets, compiled)
    if opening.slow:
        model.optimizer.scale_learning_rate(settings.backbone_lr, opening.slow)
    return assembly


def _features(
    model: Model, images: dict[str, Images], settings: Settings, targets: Targets
) -> tuple[Model, dict[str, Features]]:
    """The head, and what the frozen backbone makes of the images it is trained and validated on."""
    below, head = transfer.split_head(model, settings.model)
    own: dict[str, Images] = {split: images[split].unchanged() for split in ("train", "validation") if split in images}
    return head, features_of(below, own, settings, targets)


def _steps(features: dict[str, Features], settings: Settings) -> int:
    return -(-len(features["train"].values) // settings.batch_size)


def _on_features(
    head: Model,
    features: dict[str, Features],
    model: Model,
    settings: Settings,
    compiled: Callable[..., None],
) -> Assembly:
    steps = _steps(features, settings)
    compiled(model, steps=steps)  # which is what is saved
    compiled(head, steps=steps)
    return Assembly(head, _as_arguments(features, settings), steps)


def _on_images(
    model: Model, images: dict[str, Images], settings: Settings, targets: Targets, compiled: Callable[..., None]
) -> Assembly:
    size, workers = settings.batch_size, settings.thread_count
    ranks = current()
    rank = (0, 1) if ranks is None else (ranks.number, ranks.count)
    batches = ImageBatches(images["train"], size, workers, targets=targets, seed=settings.seed, rank=rank)
    held_back = images.get("validation")
    validation = None if held_back is None else ImageBatches(held_back, size, workers, targets=targets, rank=rank)
    steps = batches.steps or 1
    compiled(model, steps=steps)
    return Assembly(model, {"x": batches, "validation_data": validation}, steps)


def _as_arguments(features: dict[str, Features], settings: Settings) -> dict[str, Any]:
    held_back = features.get("validation")
    return {
        "x": features["train"].values,
        "y": features["train"].targets,
        "batch_size": settings.batch_size,
        "validation_data": None if held_back is None else (held_back.values, held_back.targets),
    }


def _compile(model: Model, task: Task, settings: Settings, classes: int, shares: bool, steps: int) -> None:
    """Compile for so many steps an epoch."""
    optimizer = _optimizer(settings, steps)
    if settings.weight_decay:  # of kernels: a bias or a scale that is small explains nothing away
        optimizer.exclude_from_weight_decay(p for p in model.parameters() if p.ndim < 2)
    goals = task.goals(model, classes, shares, settings.label_smoothing)
    model.compile(optimizer, goals.loss, goals.loss_weights, goals.metrics, precision=settings.precision)


def _optimizer(settings: Settings, steps: int) -> optimizers.Optimizer:
    """The optimizer along the schedule of the settings, for so many steps an epoch."""
    rate = learning_rate(settings.schedule, settings.lr, settings.epochs * steps, round(settings.warmup * steps))
    averaged = settings.ema is not None
    return OPTIMIZERS[settings.optimizer](
        rate,
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip,
        use_ema=averaged,
        ema_momentum=settings.ema if averaged else 0.99,
    )
