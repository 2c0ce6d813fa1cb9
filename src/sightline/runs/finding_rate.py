"""The learning rate of a training that has not begun: the same network, images and settings, swept once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..console import say, silent
from ..training.lr_finder import LearningRateSweep, lr_find, sweep_rates
from ..training.ranks import first_does, is_first, joined
from .assembly import assembled, opened
from .preparation import open_images, prepare
from .settings import Settings, resolve


def find_learning_rate(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int | None = None,
    tell: Any = say,
    **settings: Any,
) -> LearningRateSweep:
    """Sweep the learning rate of what `train` would do with the same settings; nothing is written but the cache of images.

    Raises SightlineError for settings or data that cannot be used, and where no rate makes the loss fall.
    """
    sweep_rates(start, end, steps)  # a wrong one is told before the data are read
    with joined():
        return _find(resolve(data, settings, config), tell if is_first() else silent, start, end, steps)


def _find(chosen: Settings, tell: Any, start: float, end: float, steps: int | None) -> LearningRateSweep:
    opening = opened(chosen, chosen.weights)
    dataset, _ = first_does(lambda: prepare(opening.dataset, chosen, tell))
    images = open_images(dataset, opening.spec, chosen, tell)
    try:
        assembly = assembled(opening, dataset, images, chosen, tell)
        given = {name: value for name, value in assembly.data.items() if name != "validation_data"}
        return lr_find(assembly.model, **given, start=start, end=end, steps=steps)
    finally:
        images["train"].cache.seal()
        images["train"].cache.close()
