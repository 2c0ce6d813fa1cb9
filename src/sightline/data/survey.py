"""The public `data.check`: read a folder, look at all of it, and say what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from ..console import progress_bar
from ..structures import Dataset
from . import cache
from .census import Facts, census
from .checks import check as check_dataset
from .findings import Check
from .sources import read


def check(
    data: str | Path | Dataset,
    task: str | None = None,
    format: str | None = None,
    *,
    classes: list[str] | None = None,
    group_pattern: str | None = None,
    workers: int | None = None,
    use_cache: bool = True,
) -> Check:
    """What is wrong with a folder of labelled images (or a data set that `data.read` gave): a `Check` with its findings.

    The arguments are `data.read`'s. What was seen of a file is kept in the cache folder until the file changes.
    Raises DataError where there is nothing that can be read at all.
    """
    dataset = (
        data if isinstance(data, Dataset) else read(data, task, format, classes=classes, group_pattern=group_pattern)
    )
    return check_dataset(dataset, survey(dataset, workers or os.cpu_count() or 1, use_cache=use_cache))


def survey(dataset: Dataset, workers: int, *, use_cache: bool = True) -> list[Facts]:
    """The facts of all samples of a data set, with progress; kept in the cache folder."""
    folder = cache.default_folder() if use_cache else None
    with progress_bar("Looking at") as bar:
        row = bar.add_task(dataset.root.name, total=len(dataset.samples), note="")
        return census(
            dataset.samples, workers, folder=folder, root=dataset.root, advance=lambda count: bar.advance(row, count)
        )
