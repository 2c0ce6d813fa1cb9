"""A finished run: evaluate, predict and report from its folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..allocator import freed_memory_kept
from ..console import progress_bar
from ..data.images import Images
from ..data.listing import existing_folder, list_images
from ..data.loader import ImageBatches
from ..data.streaming import decoded
from ..errors import DataError, RunError, choose
from ..layout import to_channels_first
from ..models import Model, load_model
from ..structures import Dataset, ImageSpec, Prediction, Problem, Sample
from ..tasks import TASKS, Measures, Task
from ..training import loop
from ..training.batches import Batch
from .folder import RunFolder, read_json, read_recorded, recorded_split


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
        return TASKS[choose("task", self.model.metadata["task"], TASKS)]()

    @property
    def classes(self) -> list[str]:
        return list(self.model.metadata["classes"])

    @property
    def image(self) -> ImageSpec:
        return ImageSpec(**self.model.metadata["image"])

    @property
    def measures(self) -> Measures:
        """How good the run was when its training ended."""
        self.folder.require(self.folder.evaluation)
        return Measures.from_dict(read_json(self.folder.evaluation))

    def evaluate(
        self, data: str | Path | None = None, *, format: str | None = None, batch_size: int = 32, workers: int = 2
    ) -> tuple[Measures, list[Problem]]:
        """Measure on a folder: its test split where it has splits, what the training held back where it is the training's own
        folder, all of it otherwise. Returns the measures and the files that could not be read.

        Raises DataError for a folder without images, or with a class that the network does not know.
        """
        split, samples = self._samples_for(data, format)
        answers: list[torch.Tensor] = []
        read: list[Sample] = []
        problems: list[Problem] = []
        with freed_memory_kept(), progress_bar("Measuring") as bar:
            row = bar.add_task(split, total=len(samples), note="")
            for numbers, said, unreadable in self._answers([s.path for s in samples], batch_size, workers):
                answers.append(said)
                read += [samples[number] for number in numbers]
                problems += unreadable.values()
                bar.advance(row, len(numbers) + len(unreadable))
        if not read:
            what = f"None of the {len(samples)} images to measure on can be read"
            raise DataError(what, received=str(problems[0]) if problems else None)
        labels = np.array([sample.label for sample in read], np.int64)
        return self.task.measure(split, torch.cat(answers).numpy(), labels, self.classes), problems

    def _answers(
        self, paths: Sequence[Path], batch_size: int, workers: int
    ) -> Iterator[tuple[list[int], torch.Tensor, dict[int, Problem]]]:
        """For each batch of files the numbers of the readable ones, the network's answers, and what is wrong with the others."""
        ask = loop.asking(self.model)
        for numbers, pixels, problems in decoded(paths, self.image, batch_size, workers):
            inputs = to_channels_first(torch.from_numpy(pixels))
            said = ask(Batch((inputs,), None, None, len(numbers))) if numbers else torch.empty(0, len(self.classes))
            yield numbers, said, problems

    def _samples_for(self, data: str | Path | None, format: str | None) -> tuple[str, tuple[Sample, ...]]:
        if not self.path.is_file():
            self.folder.require(self.folder.best)
        recorded = read_recorded(self.folder.data) if self.folder.data.is_file() else None
        if data is None and recorded is None:
            raise DataError(f"{self.path} does not say what it was trained on", fix="Name a folder to evaluate on")
        dataset = None if data is None else self.task.read(data, format)
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
        return tuple(
            s if s.label is None else replace(s, label=number[dataset.classes[s.label]]) for s in dataset.splits[split]
        )

    def predict(
        self, files: str | Path | Iterable[str | Path], *, batch_size: int = 32, workers: int = 2
    ) -> tuple[list[Prediction], list[Problem]]:
        """What the network says of image files, or of all images in folders; and the files that could not be read."""
        said = list(self.predictions(files, batch_size=batch_size, workers=workers))
        return [p for p in said if isinstance(p, Prediction)], [p for p in said if isinstance(p, Problem)]

    def predictions(
        self, files: str | Path | Iterable[str | Path], *, batch_size: int = 32, workers: int = 2
    ) -> Iterator[Prediction | Problem]:
        """The same one by one, in the files' order, as they are read: a folder may be larger than memory."""
        paths = expand([files] if isinstance(files, (str, Path)) else list(files))
        task, classes = self.task, self.classes
        for numbers, answers, problems in self._answers(paths, batch_size, workers):
            said: dict[int, Prediction | Problem] = {
                number: task.prediction(paths[number], answer, classes)
                for number, answer in zip(numbers, answers.numpy(), strict=True)
            }
            for _, each in sorted((said | problems).items()):
                yield each

    def report(self) -> Path:
        """Write report.html anew from the run's files; returns its path."""
        from ..report.page import write_report

        return write_report(self.folder, self.model)


def _require_unchanged(dataset: Dataset, samples: Sequence[Sample], classes: Sequence[str]) -> None:
    """Raise DataError where the images that a training held back have other labels now, or are gone: what it held back is unknown then."""
    now = {s.path.resolve(): dataset.classes[s.label] for s in dataset.samples if s.label is not None}
    for sample in samples:
        label = now.get(sample.path.resolve())
        if sample.label is None or label != classes[sample.label]:
            found = "is not there any more" if label is None else f"is of the class {label!r} now"
            raise DataError(
                f"{dataset.root} has changed since the training: {sample.path.name}, which it held back, {found}",
                fix="Leave the folder out to measure on what was held back, or measure on a copy of it elsewhere",
            )


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
    with freed_memory_kept():
        answers, targets = loop.answers_and_targets(model, ImageBatches(images, batch_size, workers).epoch(0))
    return task.measure(split, answers.numpy(), targets.numpy(), classes)


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
    return {"task": task.name, "classes": list(classes), "image": image.as_dict()}
