"""A run that goes on: its settings and its data are what its folder says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..console import silent
from ..data.listing import existing_folder
from ..errors import ArgumentError, DataError, RunError
from ..structures import Dataset, Problem
from ..training import checkpoint
from .folder import RunFolder, read_recorded, recorded_split
from .settings import Settings, read_config

MAY_DIFFER = ("epochs", "time_budget", "workers", "fit_memory")


def resumed_settings(
    run: str | Path, data: str | Path | None, config: str | Path | None, given: Mapping[str, Any]
) -> tuple[Settings, RunFolder]:
    """The settings that a run began with, and its folder; `given` may raise the epochs. Raises ArgumentError for another one."""
    folder = RunFolder(Path(run))
    folder.require()
    values = read_config(folder.config)
    if "data" not in values:
        raise RunError(f"{folder.config} is damaged: it does not say what the run was trained on")
    settings = Settings(**values)
    asked = {name: value for name, value in given.items() if value is not None}
    asked |= {name: value for name, value in (("data", data), ("config", config)) if value is not None}
    for name in asked:
        if name not in MAY_DIFFER:
            raise ArgumentError(
                f"A run goes on with the settings that it began with, so --{name.replace('_', '-')} cannot be given",
                expected=f"at most --{', --'.join(MAY_DIFFER)}".replace("_", "-"),
                fix="Begin another run, with another --name",
            )
    new = replace(settings, **asked)
    if new.epochs < settings.epochs:
        raise ArgumentError(
            "The epochs of a run can only be raised", expected=f"at least {settings.epochs}", received=new.epochs
        )
    return new, folder


def has_begun(folder: RunFolder) -> bool:
    """Whether the run has a checkpoint to go on from."""
    return folder.checkpoint.is_dir() and checkpoint.newest(folder.checkpoint, silent) is not None


def weights_to_begin_with(settings: Settings, folder: RunFolder) -> str | None:
    """Where a run's weights come from: those that it was given, or what it has made of them, for the given may be gone."""
    return str(folder.last) if settings.weights is not None and folder.last.is_file() else settings.weights


def recorded_dataset(folder: RunFolder) -> Dataset | None:
    """The data set as the run split it; None where the run was killed before it wrote that. Raises DataError where files are gone."""
    if not folder.data.is_file():
        if folder.results.is_file() or folder.checkpoint.is_dir():
            raise RunError(f"{folder.data} is gone, which says what the run was trained on", fix="Begin another run")
        return None
    recorded = read_recorded(folder.data)
    root = existing_folder(recorded["root"])
    splits = {split: recorded_split(recorded, root, split) for split in recorded["splits"]}
    for samples in splits.values():
        for sample in samples:
            if not sample.path.is_file():
                raise DataError(
                    f"{sample.path} is gone, which the run {folder.path} was training on", fix="Put it back to go on"
                )
    problems = tuple(Problem(Path(path), reason) for path, reason in recorded["unreadable"])
    given = tuple(recorded["given splits"])
    return Dataset(
        root, tuple(recorded["classes"]), splits, given, problems, recorded.get("task", "classify"), recorded["format"]
    )
