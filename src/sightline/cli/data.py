"""The command that looks at data: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import say
from .options import Augment, Cache, Classes, Format, GroupPattern, Json
from .output import print_json


def check(
    data: Annotated[Path, typer.Argument(help="A folder of labelled images, or a CSV, COCO or data.yaml file.")],
    task: Annotated[str | None, typer.Option(help="classify, localize, detect or segment [the format's].")] = None,
    format: Format = None,
    classes: Classes = None,
    group_pattern: GroupPattern = None,
    preview: Annotated[
        Path | None, typer.Option(help="Draw samples, as they are and augmented, into this PNG file.")
    ] = None,
    augment: Augment = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images [all cores].")] = None,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Look at every file of a data set and say what is wrong with it, before it is trusted.

    Exit code 2 when there are errors: a training would stop at them.
    """
    from ..data.recipes import from_words, recipe
    from ..data.survey import check as run_check
    from ..data.tables import as_table, in_one_line

    checked = run_check(
        data, task, format, classes=classes, group_pattern=group_pattern, workers=workers, use_cache=cache is not False
    )
    changes = recipe(checked.dataset.task, from_words(augment or ["light"]))
    if preview is not None:
        from ..data.contact_sheet import preview as draw

        draw(checked.dataset, preview, changes)
    if as_json:
        print_json(checked.as_dict())
    else:
        say(in_one_line(checked))
        if checked.findings:
            say(as_table(checked))
        if preview is not None:
            say(f"Preview {preview}")
    if checked.errors:
        raise typer.Exit(2)
