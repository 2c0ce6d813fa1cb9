"""The figure of docs/claims.md, from what place.py, max_or_average.py, image_size.py and first_learning_rate.py have found.

python experiments/draw_claims.py [--out FOLDER]

Reads their results in OUT and writes claims.png beside them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from trials import Interval, Trial, hits, mean, of_way


def line(axes: Any, xs: Sequence[Any], intervals: Sequence[Interval], label: str) -> None:
    values, lows, highs = zip(*intervals, strict=True)
    below = [value - low for value, low in zip(values, lows, strict=True)]
    above = [high - value for value, high in zip(values, highs, strict=True)]
    axes.errorbar(xs, values, [below, above], marker="o", capsize=3, label=label)


def place(axes: Any, trials: list[Trial]) -> None:
    for way in dict.fromkeys(trial["way"] for trial in trials):
        line(axes, [0, 1], [mean(hits(of_way(trials, way), side)) for side in ("left", "right")], way)
    axes.set(title="a digit where it was learned, and where not", xlim=(-0.3, 1.3))
    axes.set_xticks([0, 1], ["same half", "other half"])


def margins(axes: Any, trials: list[Trial]) -> None:
    for way in ("global max", "global average"):
        own = of_way(trials, way)
        sides = [key for key in own[0] if key.isdigit()]
        line(axes, [int(side) for side in sides], [mean(hits(own, side)) for side in sides], way)
    axes.set_xticks([int(side) for side in sides])
    axes.set(title="pooling over a map with more margin", xlabel="pixels a side (learned from 16)")


def sizes(axes: Any, trials: list[Trial]) -> None:
    for label, end in (("shrunk, then 128 pixels again", " in 128"), ("shrunk", "")):
        own = [trial for trial in trials if trial["way"].endswith(" in 128") == bool(end) or trial["way"] == "128"]
        own.sort(key=lambda trial: int(trial["way"].split()[0]))
        line(axes, [int(trial["way"].split()[0]) for trial in own], [mean(hits([trial])) for trial in own], label)
    axes.set(title="photos made smaller", xlabel="pixels a side that are left", xscale="log")
    axes.set_xticks([8, 16, 32, 64, 128], ["8", "16", "32", "64", "128"])
    axes.minorticks_off()


def rates(axes: Any, trials: list[Trial]) -> None:
    for label, end in (("stays", "stays"), ("reduced on a plateau", "reduced")):
        ways = [way for way in dict.fromkeys(t["way"] for t in trials) if way.endswith(end) and way[0].isdigit()]
        line(axes, [float(way.split()[0]) for way in ways], [mean(hits(of_way(trials, way))) for way in ways], label)
    axes.set(title="the first learning rate (Adam)", xlabel="first learning rate", xscale="log")


PANELS = {"place": place, "max_or_average": margins, "image_size": sizes, "first_learning_rate": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/claims"), help="where results are kept")
    options = parser.parse_args()
    figure = Figure((10, 7), layout="constrained")
    for axes, (name, draw) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        draw(axes, json.loads((options.out / f"{name}.json").read_text()))
        axes.set(ylabel="test accuracy", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    figure.savefig(options.out / "claims.png", dpi=100)


if __name__ == "__main__":
    main()
