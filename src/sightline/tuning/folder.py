"""The files of a search, and its data: the folds that trials see, and the images that none of them does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..console import silent
from ..data.folds import HELD, pooled, search_folds
from ..data.splits import with_splits
from ..errors import RunError
from ..files import write_text
from ..runs.folder import RunFolder, read_json, write_json
from ..runs.preparation import prepare_divided, tell_findings
from ..runs.run import resolve_device
from ..runs.settings import Settings
from ..runs.training import begin
from ..structures import Dataset
from ..tasks import TASKS


@dataclass(frozen=True)
class Asked:
    """What a search was asked for, beside the settings that all trials share; `given` are the ones that are not searched."""

    folds: int
    given: tuple[str, ...] = ()
    space: str | None = None
    storage: str | None = None


class SearchFolder:
    """Where a search keeps what: every name stands here once."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.asked = self.path / "search.json"
        self.database = self.path / "study.db"
        self.answer = self.path / "answer.json"
        self.report = self.path / "report.html"
        self.history = self.path / "trials.png"
        self.importances = self.path / "importances.png"

    def trained(self, name: str) -> RunFolder:
        """The run of "default", or of a trial by its number."""
        return RunFolder(self.path / name)

    def url(self, storage: str | None) -> str:
        return storage or f"sqlite:///{self.database.resolve()}"

    def begin(self, settings: Settings, asked: Asked) -> None:
        RunFolder(self.path).require_free(exist_ok=False)
        write_json(self.asked, vars(asked))
        write_text(self.config, settings.as_yaml())

    def read(self) -> tuple[Settings, Asked]:
        """The settings and the asking that it began with. Raises RunError where it is not a search."""
        if not self.asked.is_file() or not self.config.is_file():
            raise RunError(f"{self.path} is not a search", fix="sightline tune prints the path of its search")
        values = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        asked: dict[str, Any] = read_json(self.asked)
        return Settings(**values), Asked(**(asked | {"given": tuple(asked["given"])}))


@dataclass(frozen=True)
class SearchData:
    """`folds` are what trials see; `whole` has the test images too, on which the answer is measured; both follow from the seed."""

    folds: list[Dataset]
    whole: Dataset


def prepared(settings: Settings, folds: int, say: Any) -> SearchData:
    """Read, check and divide the data: the folder's test split is held back, or one that is drawn now where it has none."""

    def divide(usable: Dataset) -> list[Dataset]:
        if HELD not in usable.given:
            usable = replace(usable, splits={"all": pooled(usable)}, given=())
        whole = with_splits(usable, settings.seed)
        return [whole, *search_folds(whole, folds, settings.seed)]

    task = TASKS[settings.task]().with_options(settings.task_options)
    dataset = task.read(settings.data, settings.format, settings.group_pattern, settings.classes)
    (whole, *seen), checked = prepare_divided(dataset, settings, silent, divide)
    tell_findings(whole, checked, say)
    held = len(whole.splits[HELD])
    say(f"Data {whole.root}: {len(seen)} folds of {len(pooled(whole))} images; {held} test images that no trial sees")
    return SearchData(seen, whole)


def begin_run(folder: RunFolder, settings: Settings, whole: Dataset) -> None:
    """Write the beginning of a run on the search's data, which `train(resume=...)` trains and measures on the test images."""
    from ..data.findings import Check

    device = resolve_device(settings.device)
    begin(folder, whole, Check(whole, ()), replace(settings, name=folder.path.name), device)
