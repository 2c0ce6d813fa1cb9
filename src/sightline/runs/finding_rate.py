"""The learning rate of a training that has not begun: the same network, images and settings, swept once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..console import say
from ..tasks import TASKS
from ..training.lr_finder import LearningRateSweep, lr_find, sweep_rates
from . import networks
from .assembly import compiled
from .preparation import open_images, prepare
from .run import resolve_device
from .settings import resolve


def find_learning_rate(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 200,
    tell: Any = say,
    **settings: Any,
) -> LearningRateSweep:
    """Sweep the learning rate of what `train` would do with the same settings; nothing is written but the cache of images.

    Raises SightlineError for settings or data that cannot be used, and where no rate makes the loss fall.
    """
    sweep_rates(start, end, steps)  # a wrong one is told before the data are read
    chosen = resolve(data, settings, config)
    task = TASKS[chosen.task]()
    source = networks.find_source(chosen.model)
    dataset = task.read(chosen.data, chosen.format, chosen.group_pattern)
    spec = networks.image_spec(chosen, source)
    torch.manual_seed(chosen.seed)
    model = networks.build_network(source, spec, dataset.classes).to(resolve_device(chosen.device))
    dataset, _ = prepare(dataset, chosen, tell)
    images = open_images(dataset, spec, chosen, tell)
    try:
        batches, _ = compiled(model, task, dataset, images, chosen)
        return lr_find(model, batches, start=start, end=end, steps=steps)
    finally:
        images["train"].cache.seal()
        images["train"].cache.close()
