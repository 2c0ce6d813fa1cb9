"""From a folder to images that can be trusted: read, looked at, checked, split, and with a place for their pixels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ..callbacks import Callback
from ..data import cache
from ..data.cache import PixelCache, in_memory, on_disk
from ..data.checks import check, stop_on_errors, usable
from ..data.findings import KINDS, Check
from ..data.folds import fold_datasets
from ..data.images import MEMORY_SHARE, Images, free_memory, row_bytes
from ..data.recipes import Augmentation, recipe
from ..data.splits import with_copies_together, with_splits
from ..data.survey import survey
from ..data.tiles import tiled
from ..errors import DataError
from ..structures import Dataset, ImageSpec
from .settings import Settings

Say = Callable[[str], None]
CALM = 0.15  # of a detector's epochs, at their end, in which no pictures are mixed


Divide = Callable[[Dataset], list[Dataset]]


def prepare(dataset: Dataset, settings: Settings, say: Say) -> tuple[Dataset, Check]:
    """The data set of a run, checked and split, without what cannot be used; and what the check found.

    Raises DataError for findings that stop a run, and where too little is left.
    """
    (split,), checked = prepare_divided(dataset, settings, say, lambda usable: [with_splits(usable, settings.seed)])
    _tell(split, checked, say)
    return split, checked


def prepare_folds(dataset: Dataset, settings: Settings, count: int, say: Say) -> tuple[list[Dataset], Check]:
    """As `prepare`, a data set for each fold of a cross-validation (see `data.folds.fold_datasets`)."""
    divided, checked = prepare_divided(
        dataset, settings, say, lambda usable: fold_datasets(usable, count, settings.seed)
    )
    held = [len(each.splits["test"]) for each in divided]
    sizes = f"{min(held)} to {max(held)}" if min(held) < max(held) else str(held[0])
    say(f"Data {dataset.root}: {dataset.format}, {len(dataset.classes)} classes; {count} folds of {sizes} images")
    tell_findings(divided[0], checked, say)
    return divided, checked


def prepare_divided(dataset: Dataset, settings: Settings, say: Say, divide: Divide) -> tuple[list[Dataset], Check]:
    """What `divide` makes of the usable images, copies in one group; and what the check found.

    Near copies part where nothing could be held back otherwise, as of a fixed camera.
    """
    facts = survey(dataset, settings.thread_count, use_cache=settings.cache)
    checked = check(dataset, facts)
    stop_on_errors(checked, settings.allow)
    left_out = tuple(p for f in checked.findings if KINDS[f.kind].left_out == "the image" for p in f.problems)
    _require_enough(replace(usable(dataset, facts), problems=left_out))

    def divided(*, near: bool) -> list[Dataset]:
        whole = usable(with_copies_together(dataset, facts, near=near), facts)
        return [replace(each, problems=left_out) for each in divide(whole)]

    if "likeness" in settings.allow:
        return divided(near=False), checked
    try:
        return divided(near=True), checked
    except DataError:
        made = divided(near=False)
        say("  warning: nearly all pictures look alike from afar, so near copies may lie in two splits")
        return made, checked


def _require_enough(dataset: Dataset) -> None:
    """Raise DataError where a class, or a split that the folder has, is there but cannot be read."""
    reason = str(dataset.problems[0]) if dataset.problems else None
    if dataset.task == "classify":
        training = dataset.counts("train" if "train" in dataset.splits else "all")
        for name, count in zip(dataset.classes, training, strict=True):
            if count == 0:
                raise DataError(f"{dataset.root}: no image of the class {name!r} can be read", received=reason)
    if dataset.problems and "validation" in dataset.given and not dataset.splits["validation"]:
        raise DataError(f"{dataset.root}: no image held back for validation can be read", received=reason)


def _tell(dataset: Dataset, checked: Check, say: Say) -> None:
    counts = ", ".join(f"{split} {len(samples)}" for split, samples in dataset.splits.items())
    drawn = [split for split in dataset.splits if split not in dataset.given]
    how = f" ({', '.join(drawn)} drawn from it)" if dataset.given and drawn else "" if dataset.given else " (drawn)"
    say(f"Data {dataset.root}: {dataset.format}, {len(dataset.classes)} classes; {counts}{how}")
    tell_findings(dataset, checked, say)


def tell_findings(dataset: Dataset, checked: Check, say: Say) -> None:
    """Say what was left out, and what the check warns of."""
    for problem in dataset.problems[:10]:
        say(f"  left out: {problem}")
    if len(dataset.problems) > 10:
        say(f"  left out: {len(dataset.problems) - 10} more, listed in data.json")
    for finding in checked.findings:
        if finding.severity != "info" and KINDS[finding.kind].left_out != "the image":
            more = f" and {finding.count - 1} more" if finding.count > 1 else ""
            say(f"  {finding.severity}: {finding.kind}, {finding.problems[0]}{more}")


def open_images(dataset: Dataset, spec: ImageSpec, settings: Settings, say: Say) -> dict[str, Images]:
    """The images of each split, on one cache; the training's are augmented as the settings say.

    Of a training on tiles they are those tiles, and there are none of the test split, whose pictures are measured as a whole.
    """
    if settings.tile is not None:
        dataset = _in_tiles(dataset, settings.tile, settings.seed, say)
    kept = _open_cache(dataset, spec, settings, say)
    images, first = {}, 0
    for split, samples in dataset.splits.items():
        changes = augmentation(settings) if split == "train" else None
        images[split] = Images(
            samples, spec, kept, first, augmentation=changes, seed=settings.seed, calm_from=_calm_from(settings)
        )
        first += len(samples)
    return images


def _in_tiles(dataset: Dataset, tile: int, seed: int, say: Say) -> Dataset:
    """The data set as a training on tiles sees it (see `data.tiles.tiled`), its epochs measured on all tiles of the validation."""
    splits = {
        split: tiled(samples, tile, seed if split == "train" else None)
        for split, samples in dataset.splits.items()
        if split != "test"
    }
    cuts = [sample for sample in splits["train"] if sample.crop is not None]
    pictures = len({sample.path for sample in cuts})
    holding = sum(bool(sample.boxes) for sample in cuts)
    say(f"Tiles of {tile} pixels: {len(cuts)} of {pictures} larger training pictures, {holding} with objects")
    return replace(dataset, splits=splits)


def _calm_from(settings: Settings) -> int | None:
    """The epoch from which a detector sees pictures as they are: mosaics show objects as no photo does (Ge et al. 2021, section 2.1)."""
    return round((1 - CALM) * settings.epochs) if settings.task == "detect" else None


def augmentation(settings: Settings) -> Augmentation:
    return recipe(settings.task, settings.augment)


def _open_cache(dataset: Dataset, spec: ImageSpec, settings: Settings, say: Say) -> PixelCache:
    samples = dataset.samples
    size = row_bytes(spec, masks=any(sample.mask is not None for sample in samples))
    recipe_of_pixels = repr(spec) if settings.tile is None else f"{spec} tile {settings.tile}"
    if settings.cache:
        try:
            return on_disk(cache.default_folder(), dataset.root, samples, recipe_of_pixels, size)
        except OSError as error:
            say(f"  no cache on disk: {cache.default_folder()} cannot be written ({error.strerror or error})")
    return in_memory(samples, size, int(MEMORY_SHARE * free_memory()))


class CompleteCache(Callback):
    """After its first epoch decodes what no batch has asked for (the test images), and makes the cache whole meanwhile."""

    def __init__(self, images: dict[str, Images], workers: int, say: Say):
        self.images, self.workers, self.say = images, workers, say
        self._cache = next(iter(images.values())).cache
        self._pool = ThreadPoolExecutor(1)  # to wait for the disk is no work for the training
        self._completing: Future[None] | None = None

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self._completing is None and self.training.is_first:
            self._completing = self._pool.submit(self._complete)

    def _complete(self) -> None:
        missing = set(self._cache.missing)
        asked = [(own, i) for own in self.images.values() for i in range(len(own)) if own.first + i in missing]
        try:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(lambda each: each[0].load(each[1]), asked))
            self._cache.seal()
        except (DataError, OSError) as error:
            self.say(f"  the cache is not kept: {error}")

    def on_train_end(self, logs: object = None) -> None:
        self._pool.shutdown()
        self._cache.close()
        if self._completing is not None:
            self._completing.result()  # raises what nobody expected
