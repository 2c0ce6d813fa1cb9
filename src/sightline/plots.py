"""Pictures of a run, as PNG files, drawn without any display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import atomic_write

TRAINING, VALIDATION, MARK = "#8a94a6", "#1565c0", "#c62828"


def draw_curves(history: Mapping[str, Sequence[float]], measure: str, path: Path) -> None:
    """The loss, the `measure` that chooses the best epoch, and the learning rate, by epoch."""
    names = curve_names(history, measure)
    figure = new_figure(4.6 * len(names), 3.2)
    for i, name in enumerate(names):
        _draw_curve(figure.add_subplot(1, len(names), i + 1), history, name)
    write_figure(figure, path)


def curve_pictures(history: Mapping[str, Sequence[float]], measure: str) -> dict[str, bytes]:
    """The same, each as a PNG of its own, by name."""
    pictures = {}
    for name in curve_names(history, measure):
        figure = new_figure(4.4, 3.0)
        _draw_curve(figure.add_subplot(), history, name)
        pictures[name] = as_png(figure)
    return pictures


def curve_names(history: Mapping[str, Sequence[float]], measure: str) -> list[str]:
    """What of a history is drawn."""
    return [name for name in dict.fromkeys(("loss", measure, "learning_rate")) if name in history]


def _draw_curve(axes: Any, history: Mapping[str, Sequence[float]], name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    rows: list[tuple[str, str, str | None]] = [(name, TRAINING, "training"), (f"val_{name}", VALIDATION, "validation")]
    if f"val_{name}" not in history:
        rows = [(name, MARK, None)]
    for key, color, label in rows:
        values = history[key]
        axes.plot(range(1, len(values) + 1), values, color=color, label=label, marker="o", markersize=3)
    axes.set_xlabel("epoch")
    axes.set_title(name.replace("_", " "), loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(rows) > 1:
        axes.legend(frameon=False)


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], path: Path, *, in_percent: bool = False) -> None:
    """Rows are true classes, columns what the network said; shade is the share of the row, numbers are counts, or per cent of the row."""
    size = min(14.0, 2.6 + 0.55 * len(classes))
    figure = new_figure(size, size * 0.92)
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= 30:
        for (i, j), count in np.ndenumerate(confusion):
            if count:
                color = "white" if share[i, j] > 0.5 else "black"
                text = f"{100 * share[i, j]:.1f}" if in_percent else str(count)
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=color)
    write_figure(figure, path)


def draw_precision_recall(curves: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """Each class's precision against its recall, points (recall, precision) by name."""
    figure = new_figure(5.6, 4.2)
    axes = figure.add_subplot()
    drawn = {name: points for name, points in curves.items() if points}
    for name, points in drawn.items():
        recall, precision = zip(*points, strict=True)
        axes.plot(recall, precision, label=name, linewidth=1.5)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("recall: objects that are found")
    axes.set_ylabel("precision: detections that are right")
    axes.set_title("IoU of 0.5 and more", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if 0 < len(drawn) <= 20:
        axes.legend(frameon=False, fontsize=8)
    write_figure(figure, path)


def draw_overlaps(overlaps: np.ndarray, path: Path) -> None:
    """How many boxes overlap the true one how far."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(5.6, 3.2)
    axes = figure.add_subplot()
    axes.hist(overlaps, bins=np.linspace(0, 1, 21), color=VALIDATION)
    axes.axvline(0.5, color=MARK, linewidth=1)
    axes.set_xlabel("intersection over union with the true box")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def draw_calibration(calibration: Mapping[str, Any], path: Path) -> None:
    """The share of right answers against their confidence, before and after a temperature; on the line the two agree."""
    after = "of the network" if calibration["temperature"] is None else "with its temperature"
    rows = [(after, calibration, VALIDATION)]
    if calibration["temperature"] is not None:
        rows.insert(0, ("without", calibration["before"], TRAINING))
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=MARK, linewidth=1, linestyle="--")
    for label, part, color in rows:
        confidence, accuracy, images = (
            np.array([row[name] for row in part["bins"]]) for name in ("confidence", "accuracy", "images")
        )
        axes.plot(confidence, accuracy, color=color, linewidth=1.5, label=f"{label}: error {part['ECE']:.3f}")
        axes.scatter(confidence, accuracy, 10 + 240 * images / images.sum(), color=color, alpha=0.7)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share of answers that are right")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    write_figure(figure, path)


def draw_learning_rates(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float], path: Path
) -> None:
    """The loss against the learning rate of a sweep, as it was and smoothed; `marks` are rates to point at, by name."""
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=TRAINING, alpha=0.5, linewidth=1, label="loss of a batch")
    axes.plot(rates, smoothed, color=VALIDATION, label="smoothed")
    for (name, rate), style in zip(marks.items(), ("-", "--", ":", "-."), strict=False):
        axes.axvline(rate, color=MARK, linestyle=style, linewidth=1, label=f"{name} {rate:.2g}")
    lowest, highest = float(smoothed.min()), float(smoothed.max())
    room = 0.15 * (highest - lowest)  # losses far above, where it diverges, would press the rest flat
    axes.set_ylim(min(lowest, float(losses.min())) - room, highest + 2 * room)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_title("loss", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_figure(figure, path)


def draw_invariance(curves: Sequence[Any], title: str, path: Path) -> None:
    """Agreement, and accuracy where it is known, against the strength of each change; a line marks the strength of none."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.6 * columns, 2.6 * rows + 0.3)
    for i, curve in enumerate(curves):
        _draw_change(figure.add_subplot(rows, columns, i + 1), curve, named=i == 0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    write_figure(figure, path)


def invariance_pictures(curves: Sequence[Any]) -> dict[str, bytes]:
    """The same, each change as a PNG of its own, by its name."""
    pictures = {}
    for curve in curves:
        figure = new_figure(3.6, 2.6)
        _draw_change(figure.add_subplot(), curve, named=True)
        pictures[curve.change] = as_png(figure)
    return pictures


def _draw_change(axes: Any, curve: Any, *, named: bool) -> None:
    axes.axvline(curve.neutral, color=TRAINING, alpha=0.4, linewidth=1)
    axes.plot(curve.strengths, curve.agreement, color=VALIDATION, marker="o", markersize=3, label="agreement")
    if curve.accuracy is not None:
        axes.plot(curve.strengths, curve.accuracy, color=MARK, marker="s", markersize=3, label="accuracy")
    axes.set_title(curve.change, loc="left", fontsize=10)
    axes.set_xlabel(curve.unit, fontsize=8)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if named:
        axes.legend(frameon=False, fontsize=8)


def draw_trials(trials: Sequence[tuple[int, float | None, bool]], path: Path) -> None:
    """The score of each trial (number, score, whether it had all folds), and the best so far of those that had."""
    figure = new_figure(6.4, 3.4)
    axes = figure.add_subplot()
    known = [(number, score, whole) for number, score, whole in trials if score is not None]
    for kept, color, label in ((False, TRAINING, "given up early"), (True, VALIDATION, "all folds")):
        own = [(number, score) for number, score, whole in known if whole == kept]
        if own:
            axes.plot(*zip(*own, strict=True), "o", markersize=4, color=color, label=label)
    whole = [(number, score) for number, score, all_folds in known if all_folds]
    if whole:
        best = np.maximum.accumulate([score for _, score in whole])
        axes.step([number for number, _ in whole], best, where="post", color=MARK, linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_title("score in cross-validation", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_figure(figure, path)


def draw_bars(values: Mapping[str, float], title: str, path: Path) -> None:
    """Named shares, the first at the top."""
    names = list(values)[::-1]
    figure = new_figure(6.4, 0.8 + 0.35 * len(names))
    axes = figure.add_subplot()
    axes.barh(names, [values[name] for name in names], color=VALIDATION)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=110, layout="constrained")


def as_png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)  # savefig would draw all twice, once for the layout
    figure.savefig(file, format="png")
    return file.getvalue()


def write_figure(figure: Any, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(as_png(figure))


def shortened(name: str, most: int = 24) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
