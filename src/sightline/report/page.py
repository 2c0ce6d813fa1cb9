"""report.html: everything a person asks of a run, in one file that can be mailed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from ..data.decode import decode
from ..data.listing import existing_folder
from ..errors import SightlineError
from ..files import write_text
from ..measure import Invariance
from ..measure.summary import Summary, summarize
from ..plots import curve_pictures, invariance_pictures
from ..runs.folder import read_json, read_recorded, read_results, recorded_split
from ..runs.settings import SETTING_NAMES, Settings
from ..structures import ImageSpec, Sample
from ..tasks import Measures, Task
from .card import card
from .facts import Needs, Stage, held, mixed_up, needs, object_sides, share_larger, stages_of
from .looks import Shown, shown_cases, stage_pictures
from .pictures import Picture, Pictures
from .words import curve_caption, curve_in_words, held_in_words

if TYPE_CHECKING:
    from jinja2 import Environment

    from ..runs.run import Run

MOST_CLASSES = 40  # of a picture of a confusion that can be read
T = TypeVar("T")


class Parts:
    """Computes the parts of a page: one that fails is left out, and why is said and kept, by its name."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self.left_out: dict[str, str] = {}

    def __call__(self, name: str, part: Callable[..., T], *inputs: Any) -> T | None:
        try:
            return part(*inputs)
        except (SightlineError, OSError) as error:
            self.left_out[name] = str(error).split("\n")[0].rstrip(".")
            self._say(f"Report without {name}: {self.left_out[name]}")
            return None


@dataclass(frozen=True)
class Page:
    """What the template and the card show; of a part that could not be made, None or nothing, and why in `left_out`."""

    name: str
    settings: Settings
    task: Task
    image: ImageSpec
    measures: Measures
    history: dict[str, list[float]]
    data: dict[str, Any]
    environment: dict[str, Any]
    summary: Summary
    needs: Needs | None
    stages: list[Stage]
    objects: np.ndarray  # (n, 2) their sides in pixels of what the network is fed
    invariance: Invariance | None
    cases: list[Shown]
    curves: dict[str, Picture | None]
    pictures: dict[str, Picture | None]
    stage_pictures: dict[str, Picture | None]
    invariance_pictures: dict[str, Picture | None]
    left_out: dict[str, str] = field(default_factory=dict)
    without_room: int = 0

    @property
    def classes(self) -> list[str]:
        return self.data["classes"]

    @property
    def does(self) -> str:
        return self.task.does.format(len(self.classes))

    @property
    def data_name(self) -> str:
        return Path(self.data["root"]).name

    @property
    def remarks(self) -> list[str]:
        """What a person should know of the measures besides the headlines."""
        return self.task.remarks(self.measures)

    @property
    def best_epoch(self) -> int:
        values = self.history.get(self.task.best) or self.history["loss"]
        return values.index(min(values) if self.task.best.endswith("loss") else max(values)) + 1

    @property
    def epochs(self) -> int:
        return len(self.history["loss"])

    @property
    def columns(self) -> list[str]:
        """What is known of each class."""
        rows = self.measures.details["classes"]
        return sorted(rows[0], key=lambda name: name != "class") if rows else []

    @property
    def splits(self) -> list[dict[str, Any]]:
        """A row for each class: its images, or its boxes, by split."""
        counted = {name: _counts(samples, len(self.classes)) for name, samples in self.data["splits"].items()}
        rows = [
            {"class": name, "counts": [counts[i] for counts in counted.values()]} for i, name in enumerate(self.classes)
        ]
        return rows if any(any(row["counts"]) for row in rows) else []  # of masks it is not known before they are read

    @property
    def counted(self) -> str:
        """What `splits` counts."""
        has_boxes = any(
            known and "xyxy" in known[0] for samples in self.data["splits"].values() for _, _, *known in samples
        )
        return "objects" if has_boxes else "pictures"

    @property
    def majority(self) -> float | None:
        """What always saying the most frequent class of the measured split would score; None where that is no answer."""
        if not self.task.takes_labels:
            return None
        counts = [row["images"] for row in self.measures.details["classes"]]
        return max(counts) / sum(counts)

    @property
    def mixed_up(self) -> list[tuple[str, str, int, float]]:
        confusion = self.measures.details.get("confusion")
        return [] if confusion is None else mixed_up(confusion, self.classes)

    @property
    def legend(self) -> dict[str, str]:
        return self.task.legend(self.measures, self.classes)

    @property
    def larger(self) -> list[tuple[Stage, float]]:
        """The stages with the share of objects that are larger than what one of their places sees."""
        shares = [(stage, share_larger(self.objects, stage)) for stage in self.stages]
        return [(stage, share) for stage, share in shares if share is not None]


def write_report(run: Run, say: Callable[[str], None]) -> Path:
    """Write the report and the model card of a finished run from its own files, and from its pictures where they are still there.

    Returns the report's path. What cannot be shown is left out, and `say` is told. Raises RunError for a run that is not whole.
    """
    folder = run.folder
    folder.require(folder.config, folder.data, folder.environment, folder.results, folder.evaluation)
    page = gathered(run, say)
    write_text(folder.report, render(page))
    write_text(folder.card, card(page))
    return folder.report


def gathered(run: Run, say: Callable[[str], None]) -> Page:
    """All that the page shows."""
    folder, model, parts, pictures = run.folder, run.model, Parts(say), Pictures()
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    chosen = Settings(**{key: value for key, value in settings.items() if key in SETTING_NAMES})
    data, environment, history = read_recorded(folder.data), read_json(folder.environment), read_results(folder.results)
    task, measures = run.task, run.measures
    samples = parts("the pictures that it was measured on", _samples, data, measures.split) or ()
    stages = parts("what each stage sees", stages_of, model, run.image) or []
    curves = _curves(history, task, pictures)
    drawn = _drawn(run, task, measures, parts, pictures)
    cases = (
        parts("single pictures", shown_cases, task, model, run.image, task.cases(measures, run.classes), pictures) or []
    )
    objects = parts("the sizes of objects", object_sides, samples, run.image, task.tile)
    looks = parts("what each stage makes of a picture", _stage_pictures, run, samples, stages, pictures) or {}
    invariance = parts("how answers hold when pictures change", _held, run, task, samples)
    return Page(
        name=folder.path.resolve().name, settings=chosen, task=task, image=run.image, measures=measures, history=history, data=data, environment=environment,
        summary=summarize(model),
        needs=parts("memory and cost", needs, model, chosen, environment["hardware"]["device"]),
        stages=stages, objects=np.empty((0, 2)) if objects is None else objects,
        invariance=invariance, cases=cases, curves=curves, pictures=drawn, stage_pictures=looks,
        invariance_pictures={} if invariance is None else _changes(invariance, pictures),
        left_out=parts.left_out, without_room=pictures.left_out,
    )  # fmt: skip


def _samples(data: dict[str, Any], split: str) -> tuple[Sample, ...]:
    """The images that the run was measured on. Raises DataError where their folder is gone."""
    return recorded_split(data, existing_folder(data["root"]), split)


def _curves(history: dict[str, list[float]], task: Task, pictures: Pictures) -> dict[str, Picture | None]:
    drawn = curve_pictures(history, task.best.removeprefix("val_"))
    return {name: pictures.drawing(png, curve_in_words(history, name)) for name, png in drawn.items()}


def _drawn(run: Run, task: Task, measures: Measures, parts: Parts, pictures: Pictures) -> dict[str, Picture | None]:
    """The pictures that lie in the run's folder."""
    folder = run.folder
    words = {
        folder.calibration: "Reliability diagram: the share of right answers by their confidence",
        folder.mistakes: task.wrong,
    }
    if "confusion" not in measures.details or len(run.classes) <= MOST_CLASSES:
        words = {folder.picture: task.picture} | words
    return {file.stem: parts(file.name, pictures.file, file, text) for file, text in words.items()}


def _stage_pictures(
    run: Run, samples: Sequence[Sample], stages: Sequence[Stage], pictures: Pictures
) -> dict[str, Picture | None]:
    """Of the middle one of the pictures."""
    if not samples or not stages:
        return {}
    pixels = decode(samples[len(samples) // 2].path, run.image).copy()
    return stage_pictures(run.model, pixels, stages, pictures)


def _held(run: Run, task: Task, samples: Sequence[Sample]) -> Invariance | None:
    network = task.answering_classes(run.model)
    return None if network is None or not samples else held(network, samples, run.image)


def _changes(invariance: Invariance, pictures: Pictures) -> dict[str, Picture | None]:
    curves = invariance.curves
    drawn = invariance_pictures(list(curves.values()))
    return {name: pictures.drawing(png, held_in_words(curves[name])) for name, png in drawn.items()}


def _counts(samples: Sequence[Any], classes: int) -> list[int]:
    """How many of each class a recorded split has: images, or boxes."""
    counts = [0] * classes
    for _, label, *known in samples:
        for each in known[0].get("labels", []) if known else [label]:
            if each is not None and 0 <= each < classes:
                counts[each] += 1
    return counts


def render(page: Page) -> str:
    """The page as HTML, all text escaped."""
    return environment().get_template("page.html.j2").render(page=page)


def environment() -> Environment:
    """Where the templates are, and how they show numbers; all text is escaped."""
    from jinja2 import Environment, PackageLoader

    found = Environment(
        loader=PackageLoader("sightline.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["shown"] = _shown
    found.filters["percent"] = lambda x: "-" if x is None else f"{100 * x:.1f} %"
    found.filters["curve_caption"] = curve_caption
    found.filters["file"] = lambda path: "/".join(str(path).split("/")[-2:])
    return found


def _shown(value: Any) -> str:
    """A number of a table: shares as per cent, counts as they are."""
    if value is None:
        return "-"
    return (
        f"{100 * value:.1f} %" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
