"""report.html of a search: the answer, what was tried, what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from ..runs.settings import Settings
from .page import environment
from .pictures import Pictures


def write_search_report(
    path: Path,
    settings: Settings,
    answer: Mapping[str, Any],
    told: Sequence[str],
    trials: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
) -> Path:
    """Write the page; `told` are the sentences of the answer, `trials` its rows (number, score, all folds, params)."""
    names = list(dict.fromkeys(name for row in trials for name in row["params"]))
    ranked = sorted(trials, key=lambda row: (row["all folds"], row["score"] or 0.0), reverse=True)
    drawn = Pictures()
    page = environment().get_template("search.html.j2")
    text = page.render(
        settings=settings, answer=answer, told=told, trials=ranked, names=names,
        pictures=[drawn.file(picture, picture.stem) for picture in pictures if picture.is_file()],
    )  # fmt: skip
    write_text(path, text)
    return path
