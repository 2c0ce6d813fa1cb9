"""What augmentation brings where there is little to learn from, and what it does where it makes pictures that do not occur.

python experiments/little_data.py [--ways "5 none" "5 likely" "5 unlikely" ...] [--seeds 5] [--epochs 400] [--out FOLDER]

A network learns from 5, 20 or 100 handwritten digits of each class as they are, turned, shifted and enlarged a little ("likely"), or mirrored at random both
ways ("unlikely": no one writes so). All see as many pictures (`--epochs`: batches of 32), and each seed draws other digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sightline as sl
from real_images import digits
from sightline.layers import (
    Conv2D,
    Dense,
    Flatten,
    MaxPooling2D,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

COUNTS = (5, 20, 100)
KINDS = ("none", "likely", "unlikely")
WAYS = tuple(f"{count} {kind}" for count in COUNTS for kind in KINDS)
BATCH = 32


def network(kind: str) -> Any:
    """Augmentation is layers, which change nothing when the network is asked."""
    fill = {"fill_mode": "constant"}
    changes = {
        "none": [],
        "likely": [RandomRotation(0.05, **fill), RandomTranslation(0.1, 0.1, **fill), RandomZoom(0.1, **fill)],
        "unlikely": [RandomFlip()],
    }
    body = [Conv2D(16, 3, padding="same", activation="relu"), MaxPooling2D(2)]
    body += [Conv2D(32, 3, padding="same", activation="relu"), MaxPooling2D(2), Flatten()]
    head = [Dense(64, activation="relu"), Dense(10, activation="softmax")]
    return sl.Sequential([sl.Input((20, 20, 1)), *changes[kind], *body, *head])


def main() -> None:
    options = arguments(__doc__, WAYS, seeds=5, epochs=400)
    (x, y), tested = digits(16, 20)

    def trial(way: str, seed: int) -> Trial:
        count, kind = way.split()
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([rng.choice(np.flatnonzero(y == label), int(count), False) for label in range(10)])
        seen = rng.choice(drawn, (options.epochs, BATCH)).ravel()
        sl.utils.set_random_seed(seed)
        model = network(kind)
        model.compile(sl.optimizers.Adam(0.002), "sparse_categorical_crossentropy", precision="float32")
        model.fit(x[seen], y[seen], BATCH, verbose=0)
        return {"right": right(model, *tested)}

    trials = collect("little_data", options, trial)
    rows = []
    for way in options.ways:
        own, plain = of_way(trials, way), of_way(trials, f"{way.split()[0]} none")
        rows.append([way, text(mean(hits(own)))])
        rows[-1].append(text(difference(hits(own), hits(plain)), "+") if plain and own[0] not in plain else "")
    print(table(["digits of each class, augmentation", "test accuracy", "beside none"], rows))


if __name__ == "__main__":
    main()
