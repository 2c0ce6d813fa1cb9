"""report.html: everything a person asks of a run, in one file that can be mailed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..files import write_text
from ..measure.summary import Summary, summarize
from ..models import Model
from ..runs.folder import RunFolder, read_json, read_results
from ..runs.settings import SETTING_NAMES, Settings
from ..tasks import TASKS, Measures, Task

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    name: str
    settings: Settings
    measures: Measures
    history: dict[str, list[float]]
    data: dict[str, Any]
    environment: dict[str, Any]
    summary: Summary
    curves: str
    picture: str
    mistakes: str
    calibration: str

    @property
    def task(self) -> Task:
        return TASKS[self.settings.task]()

    @property
    def remarks(self) -> list[str]:
        """What a person should know of the measures besides the headlines; none of a run from before there were any."""
        return self.task.remarks(self.measures) if self.calibration else []

    @property
    def best_epoch(self) -> int:
        values = self.history[self.task.best]
        return values.index(min(values) if self.task.best.endswith("loss") else max(values)) + 1

    @property
    def columns(self) -> list[str]:
        """What is known of each class."""
        return list(self.measures.details["classes"][0])

    @property
    def splits(self) -> list[dict[str, Any]]:
        """A row for each class: its images, or its boxes, by split."""
        rows = []
        for label, name in enumerate(self.data["classes"]):
            counts = [sum(_labels(s).count(label) for s in samples) for samples in self.data["splits"].values()]
            rows.append({"class": name, "counts": counts})
        return rows if any(any(row["counts"]) for row in rows) else []  # of masks it is not known before they are read

    @property
    def majority(self) -> float | None:
        """What always saying the most frequent class of the measured split would score; None where that is no answer."""
        if not self.task.takes_labels:
            return None
        counts = [row["images"] for row in self.measures.details["classes"]]
        return max(counts) / sum(counts)


def write_report(folder: RunFolder, model: Model) -> Path:
    """Write the report of a finished run, whose model this is, from its own files; returns its path. Raises RunError for a run that is not whole."""
    folder.require(folder.config, folder.data, folder.environment, folder.results, folder.evaluation)
    settings = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    page = Page(
        name=folder.path.name,
        settings=Settings(**{key: value for key, value in settings.items() if key in SETTING_NAMES}),
        measures=Measures.from_dict(read_json(folder.evaluation)),
        history=read_results(folder.results),
        data=read_json(folder.data),
        environment=read_json(folder.environment),
        summary=summarize(model),
        curves=embedded(folder.curves),
        picture=embedded(folder.picture),
        mistakes=embedded(folder.mistakes),
        calibration=embedded(folder.calibration),
    )
    write_text(folder.report, render(page))
    return folder.report


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
    return found


def _labels(sample: list[Any]) -> list[int]:
    """The classes in a recorded sample: its own, or its boxes'."""
    _, label, *known = sample
    return known[0].get("labels", []) if known else [label]


def _shown(value: Any) -> str:
    """A number of a table: shares as per cent, counts as they are."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)


def embedded(picture: Path) -> str:
    """A PNG as a data address; empty where there is none."""
    if not picture.is_file():
        return ""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
