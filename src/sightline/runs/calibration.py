"""After a training: the best epoch's network learns how sure to be, on the images that chose it."""

from __future__ import annotations

import numpy as np
import torch

from ..allocator import freed_memory_kept
from ..data.images import Images
from ..data.loader import ImageBatches
from ..errors import ArgumentError
from ..graph.network import Network
from ..metrics.calibration import fit_temperature
from ..models import load_model
from ..rewrite import before_softmax, with_temperature
from ..training import loop
from .folder import Log
from .run import Run

LEAST = 50  # images: fewer say too little of one number


def calibrate(run: Run, images: Images | None, batch_size: int, workers: int, log: Log) -> None:
    """Fit the temperature of a classifier's best network on its validation images, and write the network with it.

    A network that has one already is fitted anew, as if it had none. Nothing is written where the images are fewer than 50, or
    no temperature is best.
    """
    if images is None or len(images) < LEAST:
        return
    model = load_model(run.folder.best)
    try:
        logits = Network(model.inputs, before_softmax(model), model.name).to(run.device).eval()
    except ArgumentError as error:
        log(f"No temperature was fitted: {error}")
        return
    ask = loop.asking(logits)
    with freed_memory_kept():
        said = [ask(batch)[0] for batch in ImageBatches(images, batch_size, workers).epoch(0)]
    temperature = fit_temperature(torch.cat(said).numpy(), np.array([sample.label for sample in images.samples]))
    if temperature is None:
        log("No temperature was fitted: on the validation images none is better than all others")
        return
    calibrated = with_temperature(model, temperature)
    calibrated.compile_as(model)
    calibrated.save(run.folder.best)
    log(f"Temperature {temperature:.4f}, fitted on {len(images)} validation images: the model file answers with it")
