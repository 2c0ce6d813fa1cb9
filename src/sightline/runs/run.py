"""A finished run: evaluate, predict and report from its folder alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..allocator import freed_memory_kept
from ..console import progress_bar, silent
from ..data.checks import usable_boxes
from ..data.decode import decode_whole, image_size
from ..data.images import Images
from ..data.listing import existing_folder, list_images
from ..data.loader import ImageBatches
from ..data.streaming import decoded
from ..data.video import is_video
from ..errors import ArgumentError, DataError, RunError, choose
from ..files import unused
from ..layout import to_channels_first
from ..models import Model, load_model
from ..structures import Dataset, ImageSpec, Problem, Sample
from ..tasks import TASKS, Measures, Task
from ..tasks.detect import Detect
from ..tasks.segmented import Segmented
from ..training import loop
from ..training.batches import Batch
from .folder import RunFolder, read_json, read_recorded, recorded_split
from .settings import read_config

if TYPE_CHECKING:
    from .comparing import Comparison

NO_VALUE = -1  # which no mask file holds


class Run:
    """A run on disk. `path` is its folder (or a model file of a run, which knows its own preprocessing).

    Its model answers on `device`: "auto" is the GPU where there is one. Raises DataError for a device that is not there.
    """

    def __init__(self, path: str | Path, device: str = "auto"):
        self.path = Path(path)
        self.folder = RunFolder(self.path)
        self.device = resolve_device(device)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def model(self) -> Model:
        """The best epoch's model. It takes raw pixels, 0..255, of the size in its metadata."""
        file = self.path if self.path.is_file() else self.folder.best
        if file == self.folder.best:
            self.folder.require(file)
        model = load_model(file)
        if not {"task", "classes", "image"} <= model.metadata.keys():
            raise RunError(f"{file} is a model, but not of a run: it does not say its task, classes and image")
        return model.to(self.device)

    @property
    def task(self) -> Task:
        return TASKS[choose("task", self.model.metadata["task"], TASKS)]().for_network(self.model.metadata)

    @property
    def classes(self) -> list[str]:
        return list(self.model.metadata["classes"])

    @property
    def _chosen_classes(self) -> list[str]:
        """The classes whose boxes the run was asked to find, where it was not all of its data's."""
        return read_config(self.folder.config).get("classes", []) if self.folder.config.is_file() else []

    @property
    def image(self) -> ImageSpec:
        return ImageSpec(**self.model.metadata["image"])

    @property
    def measures(self) -> Measures:
        """How good the run was when its training ended."""
        self.folder.require(self.folder.evaluation)
        return Measures.from_dict(read_json(self.folder.evaluation))

    def evaluate(
        self,
        data: str | Path | None = None,
        *,
        format: str | None = None,
        batch_size: int = 32,
        workers: int = 2,
        tile: int | None = None,
    ) -> tuple[Measures, list[Problem]]:
        """Measure on a folder: its test split where it has splits, what the training held back where it is the training's own
        folder, all of it otherwise. `tile` is that of `predictions`. Returns the measures and the files that could not be read.

        Raises DataError for a folder without images, or with a class that the network does not know.
        """
        split, samples = self.samples_for(data, format)
        results, read, problems = self.answered(samples, split, batch_size, workers, tile)
        return self.task.measure(split, results, read, self.classes), problems

    def compare(
        self,
        other: Run,
        data: str | Path | None = None,
        *,
        format: str | None = None,
        batch_size: int = 32,
        workers: int = 2,
        tile: int | None = None,
    ) -> Comparison:
        """How much better this run is than another, on the same images: of a folder, as `evaluate` chooses them for each, or what both
        held back. Images that either learned from are left out. `tile` is that of `predictions`, for both.

        Raises ArgumentError for runs of two tasks or of other classes, DataError where no image is left.
        """
        from .comparing import compare

        return compare(self, other, data, format, batch_size, workers, tile)

    def answered(
        self, samples: Sequence[Sample], what: str, batch_size: int = 32, workers: int = 2, tile: int | None = None
    ) -> tuple[list[Any], list[Sample], list[Problem]]:
        """What the network answers for samples, those that could be read, and what is wrong with the others; shows its progress.

        Raises DataError where none can be read.
        """
        results: list[Any] = []
        read: list[Sample] = []
        problems: list[Problem] = []
        with freed_memory_kept(), progress_bar("Measuring") as bar:
            row = bar.add_task(what, total=len(samples), note="")
            paths = [sample.path for sample in samples]
            for numbers, said, unreadable in self._results(paths, batch_size, workers, self.task, tile):
                results += said
                read += [samples[number] for number in numbers]
                problems += unreadable.values()
                bar.advance(row, len(numbers) + len(unreadable))
        if not read:
            sentence = f"None of the {len(samples)} images to measure on can be read"
            raise DataError(sentence, received=str(problems[0]) if problems else None)
        return results, read, problems

    def _results(
        self, paths: Sequence[Path], batch_size: int, workers: int, task: Task, tile: int | None = None
    ) -> Iterator[tuple[list[int], list[Any], dict[int, Problem]]]:
        """For each batch of files the numbers of the readable ones, what is found there, and what is wrong with the others.

        In tiles where some are asked for, or the network was trained on tiles.
        """
        if (asked := task.tile if tile is None else tile) is not None:
            yield from self._tiled_results(paths, asked, task)
            return
        ask, spec = loop.asking(self.model), self.image
        for numbers, pixels, problems in decoded(paths, spec, batch_size, workers):
            if not numbers:
                yield numbers, [], problems
                continue
            said = ask(Batch((to_channels_first(torch.from_numpy(pixels)),), None, None, len(numbers)))
            yield numbers, task.results(said, (image_size(paths[number]) for number in numbers), spec), problems

    def _tiled_results(
        self, paths: Sequence[Path], tile: int, task: Task
    ) -> Iterator[tuple[list[int], list[Any], dict[int, Problem]]]:
        """As `_results`, an image at a time, in tiles."""
        from .tiled import answering

        answer = answering(task, self.model, tile)
        for number, path in enumerate(paths):
            try:
                pixels = decode_whole(path, self.image.channels)
            except DataError as error:
                yield [], [], {number: Problem(path, error.reason(path))}
                continue
            yield [number], [answer(pixels)], {}

    def _frames(self, path: Path, save: str | Path | None, tile: int | None, task: Task) -> Iterator[Any]:
        """What is found in the frames of a video, or what is wrong with it."""
        from ..detectors import TrainedDetector
        from .videos import watched

        detector, folder = TrainedDetector(self.model, tile), None if save is None else Path(save)
        assert isinstance(task, Detect)
        settings = {"iou": task.iou, "max_det": task.max_det, "nms": task.nms}
        try:
            yield from watched(detector, path, tuple(self.classes), folder, conf=task.conf, **settings)  # type: ignore[arg-type]
        except DataError as error:
            yield Problem(path, error.reason(path))

    def samples_for(self, data: str | Path | None, format: str | None = None) -> tuple[str, tuple[Sample, ...]]:
        """The split to measure on, and its samples with this network's class numbers; see `evaluate`."""
        if not self.path.is_file():
            self.folder.require(self.folder.best)
        recorded = read_recorded(self.folder.data) if self.folder.data.is_file() else None
        if data is None and recorded is None:
            raise DataError(f"{self.path} does not say what it was trained on", fix="Name a folder to evaluate on")
        dataset = None if data is None else self.task.read(data, format, classes=self._chosen_classes)
        own = recorded and (data is None or str(Path(data).resolve()) in (recorded["root"], recorded.get("data")))
        if recorded and own and (dataset is None or not {"test", "validation"} & set(dataset.given)):
            root = existing_folder(recorded["root"])
            split = "test" if recorded["splits"].get("test") else "validation"
            samples = recorded_split(recorded, root, split)
            if dataset is not None:
                _require_unchanged(dataset, samples, self.classes)
            return split, samples
        assert dataset is not None  # without data there is the recorded split
        split = next(s for s in ("test", "validation", "all", "train") if dataset.splits.get(s))
        return split, self._relabelled(dataset, split)

    def _relabelled(self, dataset: Dataset, split: str) -> tuple[Sample, ...]:
        """The samples with this network's class numbers."""
        number = {name: i for i, name in enumerate(self.classes)}
        for name in dataset.classes:
            if name not in number:
                raise DataError(
                    f"{dataset.root} has a class {name!r} that the network was not trained on",
                    expected=", ".join(self.classes),
                )
        numbers = np.array([number[name] for name in dataset.classes], np.int64)

        def renamed(sample: Sample) -> Sample:
            label = None if sample.label is None else int(numbers[sample.label])
            boxes, mask = sample.boxes, sample.mask
            if boxes is not None:
                boxes = boxes.relabelled(np.where(boxes.labels < 0, -1, numbers[boxes.labels]))
            if mask is not None:
                values = [NO_VALUE] * len(number)  # of the classes that this data set has not
                for own, value in zip(numbers, mask.coding.values, strict=True):
                    values[own] = value
                mask = replace(mask, coding=replace(mask.coding, values=tuple(values)))
            return replace(sample, label=label, boxes=boxes, mask=mask)

        return tuple(map(renamed, dataset.splits[split]))

    def predict(
        self, files: str | Path | Iterable[str | Path], *, batch_size: int = 32, workers: int = 2, **options: Any
    ) -> tuple[list[Any], list[Problem]]:
        """What the network says of image files, or of all images in folders, as its task has it (`Prediction`, `Located`, `Found`);
        and the files that could not be read. `options` are those of `predictions`."""
        said = list(self.predictions(files, batch_size=batch_size, workers=workers, **options))
        return [p for p in said if not isinstance(p, Problem)], [p for p in said if isinstance(p, Problem)]

    def predictions(
        self,
        files: str | Path | Iterable[str | Path],
        *,
        batch_size: int = 32,
        workers: int = 2,
        save: str | Path | None = None,
        tile: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """The same one by one, in the files' order, as they are read: a folder may be larger than memory. Of a video, which a
        detector takes, there is one for each frame; videos come first.

        `save` is a folder for the pictures with what is found drawn in. With `tile` (pixels) a detector looks at squares of that size
        too, for small objects in large pictures (see `detectors.TrainedDetector`), and a segmentation at squares alone, as they
        are (see `TrainedSegmenter`); one that was trained on tiles looks at squares of their size unless another is said. A detector's
        `options` are `conf` (the least score), `iou` (the overlap from which two boxes of a class are one), `max_det` (the most objects
        in an image) and `nms` ("hard", or "soft": a box like a better one is not removed, its score is lowered). Raises ArgumentError for an option that the task does not have.
        """
        every = expand([files] if isinstance(files, (str, Path)) else list(files))
        paths = [path for path in every if not is_video(path)]
        classes = self.classes
        task = self.task.with_options({name: value for name, value in options.items() if value is not None})
        for path in (path for path in every if is_video(path)):
            yield from self._frames(path, save, tile, task)
        for numbers, results, problems in self._results(paths, batch_size, workers, task, tile):
            said: dict[int, Any] = {
                number: task.prediction(paths[number], result, classes)
                for number, result in zip(numbers, results, strict=True)
            }
            for _, each in sorted((said | problems).items()):
                if save is not None and not isinstance(each, Problem):
                    save_picture(each, Path(save))
                yield each

    def report(self, say: Callable[[str], None] = silent) -> Path:
        """Write report.html and card.md anew from the run's files; returns the report's path. What cannot be shown is left out, and said."""
        from ..report.page import write_report

        return write_report(self, say)


def _require_unchanged(dataset: Dataset, samples: Sequence[Sample], classes: Sequence[str]) -> None:
    """Raise DataError where the images that a training held back have other labels now, or are gone: what it held back is unknown then."""
    now = {sample.path.resolve(): sample for sample in dataset.samples}
    for sample in samples:
        its = now.get(sample.path.resolve())
        if its is None:
            found = "is not there any more, or has no label"
        elif sample.boxes is not None:
            size = image_size(sample.path)
            same = _boxes_known(its, size, dataset.classes) == _boxes_known(sample, size, classes)
            found = "" if same else "has other boxes now"
        elif sample.mask is not None:
            same = its.mask is not None and its.mask.path.resolve() == sample.mask.path.resolve()
            found = "" if same else "has another mask now"
        else:
            label = None if its.label is None else dataset.classes[its.label]
            same = sample.label is not None and label == classes[sample.label]
            found = "" if same else f"is of the class {label!r} now"
        if found:
            raise DataError(
                f"{dataset.root} has changed since the training: {sample.path.name}, which it held back, {found}",
                fix="Leave the folder out to measure on what was held back, or measure on a copy of it elsewhere",
            )


def _boxes_known(sample: Sample, size: tuple[int, int], classes: Sequence[str]) -> list[tuple[str, list[float]]]:
    """The usable boxes of an image of that size with their classes' names."""
    boxes = usable_boxes(sample, size)
    return [(classes[label], box) for label, box in zip(boxes.labels.tolist(), boxes.xyxy.tolist(), strict=True)]


def save_picture(said: Any, folder: Path) -> Path:
    """Write the picture of a prediction, with what is found drawn in, as PNG into a folder; returns its path."""
    if not hasattr(said, "draw"):
        raise ArgumentError("What this network says of an image has no place in it to draw", fix="Leave --save out")
    folder.mkdir(parents=True, exist_ok=True)
    path = unused(folder / f"{said.path.stem}.png")
    said.draw(Image.fromarray(decode_whole(said.path))).save(path)
    if isinstance(said, Segmented):
        said.write_mask(path.with_name(f"{path.stem}-mask.png"))
    return path


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """Files as they are, folders as the images below them. Raises DataError for a folder without images."""
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = list_images(path)
        if not inside:
            raise DataError(f"{path} holds no image")
        files += inside
    return files


def measure(
    model: Model, task: Task, split: str, images: Images, classes: Sequence[str], batch_size: int, workers: int
) -> Measures:
    """How good a model is on images, in inference mode."""
    ask, results = loop.asking(model), list[Any]()
    with freed_memory_kept():
        for batch in ImageBatches(images, batch_size, workers).epoch(0):
            samples = images.samples[len(results) : len(results) + batch.size]
            sizes = (sample.size or image_size(sample.path) for sample in samples)
            results += task.results(ask(batch), sizes, images.spec)
    return task.for_network(model.metadata).measure(split, results, images.samples, classes)


def resolve_device(device: str) -> torch.device:
    """ "auto" is the GPU where there is one; anything else is torch's own word, checked."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DataError(f"There is no device {device!r} here", expected='"auto", "cpu" or "cuda"') from error
    return chosen


def as_metadata(task: Task, classes: Sequence[str], image: ImageSpec) -> dict[str, Any]:
    """What travels in the model file, so that it answers the same anywhere."""
    return {"task": task.name, "classes": list(classes), "image": image.as_dict(), **task.metadata()}
