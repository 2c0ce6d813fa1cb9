"""How a few hundred photos are best learned from: from scratch, with augmentation, with a frozen backbone, fine-tuned.

python benchmarks/small_data.py PHOTOS WEIGHTS [--shares 0.1 0.3 1] [--ways scratch ...] [--size 128] [--seeds 1] [--out FOLDER]

PHOTOS has train/, validation/ and test/ with a folder for each class; WEIGHTS are those of MobileNetV2 for ImageNet
(TensorFlow's padding). A share of the training photos is drawn class by class; validation and test photos are always all of
them. Every way but the frozen backbone sees as many pictures, `--pictures`, however few photos there are to draw them from.
Each training is a run as `sightline train` makes it. Writes results.json and small-data.png into OUT, and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import sightline as sl

WAYS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "augmented": {"recipe": "small-data"},
    "frozen": {"freeze": "backbone", "epochs": 30},
    "fine-tuned": {"unfreeze": "all", "augment": "light", "lr": 0.0005},
}
WITH_WEIGHTS = ("frozen", "fine-tuned")
SUFFIXES = {".jpg", ".jpeg", ".png"}


def write_table(photos: Path, share: float, seed: int, path: Path) -> int:
    """A table of the photos in which a share of each class's training photos is left; returns how many these are."""
    rows, kept = [], 0
    for split in ("train", "validation", "test"):
        for folder in sorted(p for p in (photos / split).iterdir() if p.is_dir()):
            files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
            if split == "train":
                files = random.Random(f"{seed} {folder.name}").sample(files, math.ceil(share * len(files)))
                kept += len(files)
            rows += [(file.resolve(), folder.name, split) for file in files]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label", "split"), *rows])
    return kept


def measure(way: str, photos: Path, share: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one way on a share of the photos; its test accuracy with the interval, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "photos.csv"
        count = write_table(photos, share, seed, table)
        settings = {"epochs": max(1, round(options.pictures / count))} | WAYS[way]
        if way in WITH_WEIGHTS:
            settings["weights"] = options.weights
        began = time.monotonic()
        run = sl.train(
            table, model="tf_mobilenetv2", image_size=options.size, seed=seed, runs=str(Path(folder) / "runs"),
            allow=("copies-across-splits",), **settings,
        )  # fmt: skip
        accuracy = run.measures.headlines[0]
        return {
            "way": way, "share": share, "photos": count, "seed": seed, "epochs": settings["epochs"],
            "accuracy": accuracy.value, "interval": accuracy.interval, "seconds": time.monotonic() - began,
        }  # fmt: skip


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy against the number of training photos, a line for each way, with the 95 % intervals of the measure."""
    from matplotlib.figure import Figure

    figure = Figure((7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        values = [row["accuracy"] for row in own]
        around = [[v - row["interval"][0] for v, row in zip(values, own, strict=True)],
                  [row["interval"][1] - v for v, row in zip(values, own, strict=True)]]  # fmt: skip
        axes.errorbar([row["photos"] for row in own], values, around, marker="o", capsize=3, label=way)
    axes.set(xscale="log", xlabel="training photos", ylabel="test accuracy")
    counts = sorted({row["photos"] for row in rows})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--pictures", type=int, default=25_000, help="that a training sees")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("small-data"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    for seed in range(options.seeds):
        for share in options.shares:
            for way in options.ways:
                if any((r["way"], r["share"], r["seed"]) == (way, share, seed) for r in rows):
                    continue  # measured before
                rows.append(measure(way, options.photos, share, seed, options))
                results.write_text(json.dumps(rows, indent=1))
    draw([row for row in rows if row["seed"] == 0], options.out / "small-data.png")
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['way']:>12} {row['photos']:>6} photos, {row['epochs']:>3} epochs: {row['accuracy']:.3f} "
            f"({low:.3f} to {high:.3f}), {row['seconds']:.0f} s"
        )


if __name__ == "__main__":
    main()
