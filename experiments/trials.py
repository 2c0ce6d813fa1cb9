"""What the experiments of docs/claims.md share: trials that are kept once they are made, and their means with 95 % intervals."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from sightline.metrics.intervals import Z, effective_interval

Trial = dict[str, Any]
Interval = tuple[float, float, float]  # a value, and where its 95 % interval begins and ends


def arguments(
    about: str, ways: Sequence[str], *, seeds: int, epochs: int, data: str = "", weights: bool = False
) -> argparse.Namespace:
    """An experiment's command line; `data` says what folder it needs."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    if data:
        parser.add_argument("--data", type=Path, required=True, help=data)
    if weights:
        parser.add_argument("--weights", type=Path, required=True, help="of MobileNetV2 for ImageNet")
    parser.add_argument("--ways", nargs="+", choices=ways, default=list(ways))
    parser.add_argument("--seeds", type=int, default=seeds, help="trainings of each way")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--images", type=int, help="to learn from at most; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"), help="where results are kept")
    return parser.parse_args()


def collect(name: str, options: argparse.Namespace, trial: Callable[[str, int], Trial]) -> list[Trial]:
    """`trial(way, seed)` of each way and seed that NAME.json in OUT does not have yet; begun again, it goes on from there."""
    settings = {"epochs": options.epochs, "images": options.images}
    file = options.out / f"{name}.json"
    trials: list[Trial] = json.loads(file.read_text()) if file.is_file() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for way in options.ways:
            row = {"way": way, "seed": seed, **settings}
            if not any(row.items() <= made.items() for made in trials):
                began = time.process_time()
                trials.append(row | trial(way, seed) | {"seconds": round(time.process_time() - began, 1)})
                file.write_text(json.dumps(trials))
                print(f"{name}: {way}, seed {seed}, {trials[-1]['seconds']} s of a processor", flush=True)
    asked = [{"way": way, "seed": seed, **settings} for way in options.ways for seed in range(options.seeds)]
    return [next(made for made in trials if row.items() <= made.items()) for row in asked]


def of_way(trials: Iterable[Trial], way: str) -> list[Trial]:
    return [trial for trial in trials if trial["way"] == way]


# --- what a network answered right --------------------------------------------------------------------------------------


def right(model: Any, x: np.ndarray, y: np.ndarray, k: int = 1) -> str:
    """For each image 1 where its class is among the k likeliest, else 0."""
    likeliest = np.argsort(-model.predict(x, batch_size=256), axis=1)[:, :k]
    return "".join("01"[int(hit)] for hit in (likeliest == y[:, None]).any(1))


def hits(trials: Sequence[Trial], key: str = "right") -> np.ndarray:
    """(seeds, images) of 0 and 1, or of whatever numbers an image has."""
    return np.array([[float(each) for each in trial[key]] for trial in trials])


def mean(values: np.ndarray) -> Interval:
    """The mean of (seeds, images) within 0..1, were other images drawn and other seeds."""
    value = float(values.mean())
    return value, *effective_interval(value, _error(values), values.shape[1])


def difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """How much higher the mean of the first is, of pairs: the same images, and the same seeds."""
    apart = first - second
    value, error = float(apart.mean()), _error(apart)
    return value, value - Z * error, value + Z * error


def _error(values: np.ndarray) -> float:
    """The standard error of the mean of (seeds, images), since images scatter and seeds do; larger where there are so few seeds
    that their scatter is hardly known, by Student's t with the degrees of freedom of Satterthwaite (1946)."""
    seeds, images = values.shape
    of_images = values.mean(0).var(ddof=1) / images
    of_seeds = values.mean(1).var(ddof=1) / seeds if seeds > 1 else 0.0
    both = of_images + of_seeds
    if both == 0:
        return 0.0
    freedom = both**2 / (of_images**2 / (images - 1) + of_seeds**2 / max(seeds - 1, 1))
    return math.sqrt(both) * float(student_t.ppf(0.975, freedom)) / Z


# --- tables ---------------------------------------------------------------------------------------------------------------


def text(interval: Interval, sign: str = "") -> str:
    value, low, high = interval
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
