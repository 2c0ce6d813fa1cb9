"""The commands that ask a run: evaluate, predict, explain, report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import printable, say
from .options import Device, Files, Format, Json, RunOrModel, Tile
from .output import as_rows, print_json, print_json_list, tell

if TYPE_CHECKING:
    from ..structures import Problem


def evaluate(
    run: RunOrModel,
    data: Annotated[
        Path | None, typer.Argument(help="Labelled images [what the run held back], or a second run.")
    ] = None,
    on: Annotated[Path | None, typer.Argument(help="Labelled images for two runs [what both held back].")] = None,
    format: Format = None,
    tile: Tile = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a run on a folder of images, or compare two runs: evaluate RUN [DATA], evaluate RUN RUN [DATA].

    On its test split, or all of it where it has no splits; without a folder, on what the training held back. Of two runs
    it says by how much one is better on the same images, and whether that may be chance.
    """
    from ..runs import Run

    if data is not None and (is_run(data) or on is not None):
        comparison = Run(run, device or "auto").compare(Run(data, device or "auto"), on, format=format, tile=tile)
        print_json(comparison.as_dict()) if as_json else say(str(comparison))
        tell(list(comparison.problems))
        return
    reader = Run(run, device or "auto")
    measures, problems = reader.evaluate(data, format=format, tile=tile)
    if as_json:
        print_json(measures.as_dict() | {"unreadable": as_rows(problems)})
        return
    for headline in measures.headlines:
        say(f"{measures.split.capitalize()} {headline}, n = {measures.n}")
    for remark in reader.task.remarks(measures):
        say(remark)
    tell(problems)


def predict(
    run: RunOrModel,
    files: Files,
    device: Device = None,
    as_json: Json = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes, or objects, to show for each image.")] = 3,
    save: Annotated[Path | None, typer.Option(help="A folder for the pictures with what is found drawn in.")] = None,
    conf: Annotated[
        float | None, typer.Option(min=0, max=1, help="The least score of a detected object [0.25].")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="The overlap from which two boxes of a class are one [0.6].")
    ] = None,
    max_det: Annotated[int | None, typer.Option(min=1, help="The most objects in an image [100].")] = None,
    nms: Annotated[
        str | None,
        typer.Option(help="hard, or soft: lower the score of a box like a better one [hard].", metavar="NAME"),
    ] = None,
    tile: Tile = None,
) -> None:
    """Say what is on each image, with probabilities, and where.

    Exit code 2 when a file could not be read; the others are answered all the same.
    """
    from ..runs import Run
    from ..structures import Problem

    problems: list[Problem] = []
    videos = _Videos()

    def answered() -> Iterator[Any]:
        reader = Run(run, device or "auto")
        for said in reader.predictions(files, save=save, tile=tile, conf=conf, iou=iou, max_det=max_det, nms=nms):
            if isinstance(said, Problem):
                problems.append(said)
            elif as_json or not videos.count(said):
                yield said

    if as_json:
        print_json_list("predictions", (p.as_dict() for p in answered()), lambda: {"unreadable": as_rows(problems)})
    else:
        table = _prediction_table(answered(), top)
        if table.row_count:
            say(table)
        for line in videos.lines():
            say(line)
    tell(problems)
    if problems:
        raise typer.Exit(2)


def explain(
    run: RunOrModel,
    files: Files,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="grad-cam, occlusion, feature-maps, filters, patches, maximization or nearest; repeat for more "
            "[grad-cam, feature-maps and filters]."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="A layer, as `sightline summary` names it [the last map].")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="The class to explain [what it says].")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the pictures [RUN/explained].")] = None,
    device: Device = None,
) -> None:
    """Draw what a run's network learned, and what it looks at in images.

    Exit code 2 when a file could not be read; the others are explained all the same.
    """
    from ..runs import Run
    from ..runs.explaining import explain_run

    folder, problems = explain_run(Run(run, device or "auto"), files, what or (), layer, class_name, out)
    tell(problems)
    say(f"Pictures {folder}")
    if problems:
        raise typer.Exit(2)


def report(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write a run's report.html, and its model card card.md, anew."""
    from ..runs import Run

    say(f"Report {Run(run, 'cpu').report(say)}")


def is_run(path: Path) -> bool:
    """Whether a path is a run's folder or a model file, not labelled images."""
    return path.suffix.lower() == ".sightline" or (path / "config.yaml").is_file()


class _Videos:
    """How many frames of each video were answered, how fast, and with how many objects."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[str, list[float]] = {}  # frames, objects, seconds

    def count(self, said: Any) -> bool:
        """Whether it is a frame's answer, which is counted."""
        if getattr(said, "frame", None) is None:
            return False
        seen = self._seen.setdefault(str(said.path), [0, 0, 0.0])
        now = time.monotonic()
        seen[0], seen[1], seen[2] = seen[0] + 1, seen[1] + len(said.detections), seen[2] + now - self._began
        self._began = now
        return True

    def lines(self) -> Iterator[str]:
        for path, (frames, objects, seconds) in self._seen.items():
            rate = frames / seconds if seconds else 0
            yield f"{printable(path)}: {frames:.0f} frames, {rate:.1f} a second, {objects:.0f} objects"


def _prediction_table(predictions: Iterable[Any], top: int) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("Image", overflow="fold")
    table.add_column("Class")
    table.add_column("Probability", justify="right")
    table.add_column("Then")
    for prediction in predictions:
        table.add_row(printable(str(prediction.path)), *prediction.row(top))
    return table
