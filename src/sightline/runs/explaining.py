"""What a run's network learned, and why it answers as it does, as pictures in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from .. import explain
from ..console import printable, progress_bar
from ..data.listing import existing_folder
from ..data.streaming import decoded
from ..errors import DataError, RunError, choose
from ..explain import figures
from ..explain.maps import stages
from ..explain.neighbours import ranked
from ..explain.parts import answer_of, last_map, layer_named, looked_into
from ..explain.targets import Aim
from ..layout import channels_of
from ..measure.receptive_field import receptive_field
from ..structures import Problem, Sample
from .folder import read_recorded, recorded_split
from .run import Run, expand

DEFAULT = ("grad-cam", "feature-maps", "filters")
FILTERS, PATCHES, NEIGHBOURS, CLASSES = 8, 9, 6, 12  # at the most, in one picture
BATCH = 32


@dataclass(frozen=True)
class Question:
    """What is asked of a run: images by their names, as the network takes them, and perhaps one layer and one class."""

    run: Run
    names: Sequence[str]
    images: np.ndarray
    layer: str | None
    label: int | None
    folder: Path

    @cached_property
    def aims(self) -> list[Aim]:
        """What is explained of each image."""
        task, model = self.run.task, self.run.model
        return [task.explained(answer_of(model, image), self.label) for image in self.images]

    def title(self, number: int) -> str:
        aim = self.aims[number]
        return f"{self.names[number]}: {self.run.classes[aim.label]} {aim.probability:.2f}"

    def path(self, number: int, what: str) -> Path:
        return self.folder / f"{self.names[number]}-{what}.png"


def explain_run(
    run: Run,
    files: Sequence[str | Path],
    what: Sequence[str] = (),
    layer: str | None = None,
    class_name: str | None = None,
    out: str | Path | None = None,
) -> tuple[Path, list[Problem]]:
    """Write pictures of what a run's network sees in image files, or in all images of folders; returns their folder and what could not be read.

    `what` are names of `KINDS`, by default grad-cam, feature-maps and filters. `layer` is of grad-cam, feature-maps, patches, maximization and
    nearest; `class_name` of grad-cam, occlusion and maximization, where it is by default what the network says. `out` is by default
    the folder "explained" of the run. Raises ArgumentError for an unknown name, DataError where no image can be read.
    """
    chosen = [choose("kind of explanation", each, KINDS) for each in what] or list(DEFAULT)
    label = None if class_name is None else run.classes.index(choose("class", class_name, run.classes))
    found = None if layer is None else layer_named(looked_into(run.model), layer)
    paths, images, problems = _read(run, expand(list(files)))
    beside = run.path.with_name(f"{run.path.stem}-explained")
    folder = Path(out) if out is not None else run.folder.explained if run.path.is_dir() else beside
    question = Question(run, _names(paths), images, found, label, folder)
    with progress_bar("Explaining", "pictures") as bar:
        for kind in chosen:
            steps = KINDS[kind](question)
            row = bar.add_task(kind, total=len(steps), note="")
            for step in steps:
                step()
                bar.advance(row)
    return folder, problems


def _read(run: Run, paths: Sequence[Path]) -> tuple[list[Path], np.ndarray, list[Problem]]:
    """(the readable files, their pixels as the network takes them, what is wrong with the others)."""
    read: list[Path] = []
    parts: list[np.ndarray] = []
    problems: list[Problem] = []
    for numbers, pixels, unreadable in decoded(paths, run.image, BATCH, 2):
        read += [paths[number] for number in numbers]
        parts.append(pixels)
        problems += unreadable.values()
    if not read:
        raise DataError(f"None of the {len(paths)} images can be read", received=str(problems[0]) if problems else None)
    return read, np.concatenate(parts), problems


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's pictures: what is before its suffix, and a number where several would have the same."""
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        seen[path.stem] += 1
        names.append(printable(path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}"))
    return names


# --- each kind: what draws its pictures, one step each -------------------------------------------------------------

Steps = list[Callable[[], None]]


def _grad_cam(ask: Question) -> Steps:
    network = looked_into(ask.run.model)
    layer = ask.layer or last_map(network)

    def one(number: int) -> None:
        image = ask.images[number]
        found = explain.grad_cam(ask.run.model, image, ask.aims[number].target, layer)
        title = f"{ask.title(number)} (Grad-CAM at {layer})"
        figures.draw_heatmap(image, found, title, "what speaks for it", ask.path(number, "grad-cam"))

    return [partial(one, number) for number in range(len(ask.images))]


def _occlusion(ask: Question) -> Steps:
    def one(number: int) -> None:
        image = ask.images[number]
        found = explain.occlusion(ask.run.model, image, ask.aims[number].target)
        title = f"{ask.title(number)} (occlusion)"
        figures.draw_heatmap(image, found, title, "score lost where covered", ask.path(number, "occlusion"))

    return [partial(one, number) for number in range(len(ask.images))]


def _feature_maps(ask: Question) -> Steps:
    def one(number: int) -> None:
        image = ask.images[number]
        maps = explain.feature_maps(ask.run.model, image, ask.layer)
        figures.draw_feature_maps(
            image, maps, f"{ask.names[number]}: the maps that vary most", ask.path(number, "feature-maps")
        )

    return [partial(one, number) for number in range(len(ask.images))]


def _filters(ask: Question) -> Steps:
    def one() -> None:
        kernels = explain.filters(ask.run.model)
        numbers = [str(number) for number in range(len(kernels))]
        figures.draw_grid(
            list(kernels), numbers, "Filters of the first layer; gray is a weight of 0", ask.folder / "filters.png"
        )

    return [one]


def _patches(ask: Question) -> Steps:
    model = ask.run.model
    layer = ask.layer or _within_image(ask)

    def one() -> None:
        values = explain.feature_maps(model, ask.images, layer)[layer]
        strongest = np.argsort(-values.max((1, 2)).std(0), kind="stable")[:FILTERS]
        found = [explain.exciting_patches(model, layer, int(f), ask.images, PATCHES) for f in strongest]
        rows = {f"filter {f}": list(each.pixels) for f, each in zip(strongest, found, strict=True)}
        titles = [[f"{score:.2g}" for score in each.scores] for each in found]
        title = f"What excites filters of {layer} most"
        figures.draw_rows(rows, titles, title, ask.folder / "patches.png")

    return [one]


def _within_image(ask: Question) -> str:
    """The last stage whose places do not see all of the image yet; the first where all do."""
    network = looked_into(ask.run.model)
    fields = {name: receptive_field(network, name) for name in stages(network)}
    small = [
        name
        for name, field in fields.items()
        if all(axis.size is not None and axis.size < axis.image for axis in (field.height, field.width))
    ]
    return (small or list(fields)[:1])[-1]


def _maximization(ask: Question) -> Steps:
    model, classes = ask.run.model, ask.run.classes
    says_classes = len(model.outputs[0].inner_shape) == 1
    layer = ask.layer if ask.layer is not None or says_classes else last_map(looked_into(model))

    def one() -> None:
        if layer is None:
            wanted = range(min(len(classes), CLASSES)) if ask.label is None else [ask.label]
            title, titles = "What the network would like to see for a class", [classes[n] for n in wanted]
        else:
            wanted = range(min(FILTERS, channels_of(looked_into(model).values[layer].inner_shape)))
            title, titles = f"What filters of {layer} would like to see", [str(n) for n in wanted]
        pictures = explain.activation_maximization(model, layer, list(wanted))
        figures.draw_grid(list(pictures), titles, title, ask.folder / "maximization.png", columns=4, side=2.2)

    return [one]


def _nearest(ask: Question) -> Steps:
    model = ask.run.model
    samples = _trained_on(ask.run)
    paths, parts = [], []
    for numbers, pixels, _ in decoded([sample.path for sample in samples], ask.run.image, BATCH, 2):
        paths += [samples[number] for number in numbers]
        parts.append(explain.features(model, pixels, ask.layer))
    if not paths:
        raise DataError(f"None of the images that {ask.run.path} was trained on can be read")
    others = np.concatenate(parts)

    def one(number: int) -> None:
        found = ranked(explain.features(model, ask.images[number], ask.layer), others, NEIGHBOURS)
        near = [paths[i] for i in found.indices[0]]
        (_, pixels, _), *_ = decoded([sample.path for sample in near], ask.run.image, NEIGHBOURS, 1)
        titles = [
            f"{'' if sample.label is None else ask.run.classes[sample.label] + ' '}{cosine:.3f}"
            for sample, cosine in zip(near, found.similarities[0], strict=True)
        ]
        title = f"{ask.names[number]}, and what it was trained on that is most like it"
        path = ask.path(number, "nearest")
        figures.draw_grid([ask.images[number], *pixels], ["image", *titles], title, path, side=1.6)

    return [partial(one, number) for number in range(len(ask.images))]


def _trained_on(run: Run) -> tuple[Sample, ...]:
    """The images that a run was trained on. Raises RunError where it does not say."""
    if not run.folder.data.is_file():
        raise RunError(f"{run.path} does not say what it was trained on", fix="Give the folder of the run")
    recorded = read_recorded(run.folder.data)
    return recorded_split(recorded, existing_folder(recorded["root"]), "train")


KINDS: dict[str, Callable[[Question], Steps]] = {
    "grad-cam": _grad_cam,
    "occlusion": _occlusion,
    "feature-maps": _feature_maps,
    "filters": _filters,
    "patches": _patches,
    "maximization": _maximization,
    "nearest": _nearest,
}
