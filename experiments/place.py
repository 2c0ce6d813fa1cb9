"""Does a network know a digit in a place where it has never seen one?

python experiments/place.py [--ways dense "convolutions, Flatten" ...] [--seeds 3] [--epochs 10] [--out FOLDER]

Handwritten digits of 8x8 pixels lie somewhere in the left half of a picture of 16x32; a network that learned from these is tested on
the digits of other people there, and in the right half. Three networks: one of dense layers, convolutions with a dense head, and
convolutions whose head sees for each filter only how strongly it answered anywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sightline as sl
from real_images import Split, digits
from sightline.layers import Conv2D, Dense, Flatten, GlobalMaxPooling2D, MaxPooling2D
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

WAYS = ("dense", "convolutions, Flatten", "convolutions, global pooling")
HEIGHT, WIDTH, SIDE = 16, 32, 8
LEFT, RIGHT = (0, 8), (16, 24)  # where a digit's left edge may lie: it is within its half


def placed(split: Split, lefts: tuple[int, int], times: int = 1, seed: int = 0) -> Split:
    """Each digit at `times` random places."""
    rng = np.random.default_rng(seed)
    images, labels = np.repeat(split[0], times, 0), np.repeat(split[1], times)
    pictures = np.zeros((len(images), HEIGHT, WIDTH, 1), np.float32)
    for picture, image in zip(pictures, images, strict=True):
        top, left = rng.integers(0, HEIGHT - SIDE + 1), rng.integers(lefts[0], lefts[1] + 1)
        picture[top : top + SIDE, left : left + SIDE] = image
    return pictures, labels


def network(way: str) -> Any:
    model = sl.Sequential([sl.Input((HEIGHT, WIDTH, 1))])
    if way == "dense":
        for layer in (Flatten(), Dense(256, activation="relu")):
            model.add(layer)
    else:
        for filters in (16, 32):
            model.add(Conv2D(filters, 3, padding="same", activation="relu"))
            model.add(MaxPooling2D(2))
        model.add(Conv2D(64, 3, padding="same", activation="relu"))
        model.add(Flatten() if way.endswith("Flatten") else GlobalMaxPooling2D())
    model.add(Dense(64, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    return model


def main() -> None:
    options = arguments(__doc__, WAYS, seeds=3, epochs=10)
    train, test = digits()

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        model = network(way)
        model.compile(sl.optimizers.Adam(0.002), "sparse_categorical_crossentropy", precision="float32")
        x, y = placed(train, LEFT, times=4, seed=seed)
        model.fit(x[: options.images], y[: options.images], 64, options.epochs, verbose=0)
        sides = {name: right(model, *placed(test, lefts)) for name, lefts in (("left", LEFT), ("right", RIGHT))}
        return sides | {"parameters": sl.measure.cost(model).parameters}

    trials = collect("place", options, trial)
    rows = []
    for way in options.ways:
        own = of_way(trials, way)
        left, other = hits(own, "left"), hits(own, "right")
        rows.append([way, f"{own[0]['parameters']:,}", *(text(mean(each)) for each in (left, other))])
        rows[-1].append(text(difference(left, other)))
    print(table(["network", "parameters", "where it learned", "on the other side", "lost"], rows))


if __name__ == "__main__":
    main()
