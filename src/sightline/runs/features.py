"""What a frozen backbone makes of images, computed once and kept beside their pixels: every fold, trial and run shares it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..allocator import freed_memory_kept
from ..console import progress_bar
from ..data import cache
from ..data.augment import Example
from ..data.cache import PixelCache
from ..data.images import Images, labels_of
from ..data.loader import ImageBatches
from ..graph.io import describe
from ..graph.network import Network
from ..layers import FILE_LAYERS
from ..layout import to_channels_first, to_channels_last
from ..rewrite import fold_batchnorm
from ..structures import Sample
from ..tasks.base import Targets
from ..training import loop
from .settings import Settings

NO_PIXELS = np.empty((0, 0, 0), np.uint8)  # targets are of labels alone where a backbone is frozen


@dataclass(frozen=True)
class Features:
    """What the frozen part of a network makes of images, with their targets."""

    values: torch.Tensor
    targets: torch.Tensor


def features_of(
    below: Network, images: Mapping[str, Images], settings: Settings, targets: Targets
) -> dict[str, Features]:
    """The features of the images of each split, in their order; each is computed once, for other runs with the same backbone too."""
    rows = np.empty((sum(map(len, images.values())), *below.output_shape[1:]), np.float32)
    samples = [sample for own in images.values() for sample in own.samples]
    kept = _opened(below, images, samples, settings, rows[:1].nbytes)
    found, first = {}, 0
    for split, own in images.items():
        part = rows[first : first + len(own)]
        _fill(part, below, own, settings, kept.chosen(range(first, first + len(own))), split)
        (wanted,) = targets([Example(NO_PIXELS, labels_of(sample)) for sample in own.samples])
        found[split] = Features(to_channels_first(torch.from_numpy(part)), torch.from_numpy(wanted))
        first += len(own)
    with contextlib.suppress(OSError):  # they are not kept, then
        kept.seal()
    kept.close()
    return found


def _opened(
    below: Network, images: Mapping[str, Images], samples: Sequence[Sample], settings: Settings, size: int
) -> PixelCache:
    """Where rows of `size` bytes are kept, by what the images and the frozen weights are; nowhere without a cache."""
    if settings.cache:
        spec = next(iter(images.values())).spec
        with contextlib.suppress(OSError):
            recipe = f"{spec!r} {_digest(below)}"
            return cache.on_disk(cache.default_folder(), Path(settings.data), samples, recipe, size)
    return cache.in_memory(samples, size, 0)


def _digest(below: Network) -> str:
    """What features depend on besides the pixels: the layers and their weights."""
    digest = hashlib.blake2b(json.dumps(describe(below, FILE_LAYERS), sort_keys=True, default=str).encode())
    for name, tensor in below.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fill(rows: np.ndarray, below: Network, images: Images, settings: Settings, kept: PixelCache, what: str) -> None:
    """Put the features of images into `rows`: those that are kept, and what is computed of the others, which is kept then."""
    missing = []
    for i in range(len(images)):
        row = kept.get(i)
        if row is None:
            missing.append(i)
        else:
            rows[i] = row.view(np.float32).reshape(rows.shape[1:])
    if not missing:
        return
    ask = loop.asking(fold_batchnorm(below))
    batches = ImageBatches(images.chosen(missing), settings.batch_size, settings.thread_count)
    with freed_memory_kept(), progress_bar("Features of") as bar:
        task, waiting = bar.add_task(what, total=len(missing), note=""), iter(missing)
        for batch in batches.epoch(0):
            (answers,) = ask(batch)
            for answer, i in zip(to_channels_last(answers).numpy(), waiting, strict=False):
                rows[i] = answer
                kept.put(i, rows[i].reshape(-1).view(np.uint8))
            bar.advance(task, batch.size)
