"""A network, joined to its images and to how it is trained: what a run and the learning-rate finder begin with."""

from __future__ import annotations

from .. import optimizers
from ..data.images import Images
from ..data.loader import ImageBatches
from ..models import Model
from ..structures import Dataset
from ..tasks import Task
from .rates import learning_rate
from .run import as_metadata
from .settings import Settings


def compiled(
    model: Model, task: Task, dataset: Dataset, images: dict[str, Images], settings: Settings
) -> tuple[ImageBatches, ImageBatches | None]:
    """Compile the model as the settings say; returns the batches of its training, and of its validation where there is one."""
    classes, mixed = len(dataset.classes), images["train"].augmentation.mixes_labels
    shares = classes if mixed else None
    size, workers = settings.batch_size, settings.thread_count
    batches = ImageBatches(images["train"], size, workers, seed=settings.seed, shares_of=shares)
    held_back = images.get("validation")
    validation = None if held_back is None else ImageBatches(held_back, size, workers, shares_of=shares)
    model.metadata.update(as_metadata(task, dataset.classes, images["train"].spec))
    model.compile(
        _optimizer(settings, batches.steps or 1),
        task.loss(mixed),
        metrics=task.metrics(classes, mixed),
        precision=settings.precision,
    )
    return batches, validation


def _optimizer(settings: Settings, steps: int) -> optimizers.Optimizer:
    """Adam along the schedule of the settings, for so many steps an epoch."""
    rate = learning_rate(settings.schedule, settings.lr, settings.epochs * steps, round(settings.warmup * steps))
    averaged = settings.ema is not None
    return optimizers.Adam(
        rate, global_clipnorm=settings.clip, use_ema=averaged, ema_momentum=settings.ema if averaged else 0.99
    )
