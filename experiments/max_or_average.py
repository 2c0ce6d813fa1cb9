"""Maximum or average: which pooling a network learns more from, and what a window does to a pattern that fills little of it.

python experiments/max_or_average.py [--ways "max 2x2" "average 2x2" ...] [--seeds 5] [--epochs 8] [--out FOLDER]

Small windows: three convolutions with two poolings between them classify digits on textured grounds; only the kind and the size of the
windows differ. The whole map: a network with global pooling learns digits in the middle of 16x16 pixels, and is tested on
other people's with a dark margin around them. An average is of all places, and of the digit less where there is more margin.
"""

from __future__ import annotations

from typing import Any

import sightline as sl
from real_images import digits, scenes
from sightline.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

WINDOWS = ("max 2x2", "average 2x2", "max 4x4", "average 4x4")
GLOBAL = ("global max", "global average", "global max, normalized", "global average, normalized")
CANVASES = (16, 24, 32, 48)  # pixels; the first is what a network with global pooling learns from
POOLINGS = {"max": MaxPooling2D, "average": AveragePooling2D}


def with_windows(way: str) -> Any:
    kind, window = way.split()
    pooling, size = POOLINGS[kind], int(window[0])
    layers: list[Any] = []
    for filters in (16, 32, 64):
        layers += [
            Conv2D(filters, 3, padding="same", activation="relu"),
            pooling(size),
            BatchNormalization(momentum=0.9),
        ]
    del layers[-2]  # what follows the last convolution is the maximum of the whole map
    head = [GlobalMaxPooling2D(), Dense(64, activation="relu"), Dense(10, activation="softmax")]
    return sl.Sequential([sl.Input((32, 32, 3)), *layers, *head])


def with_global_pooling(way: str) -> list[Any]:
    """Networks for each canvas that share their layers."""
    layers: list[Any] = []
    for filters in (16, 32, 64):
        layers.append(Conv2D(filters, 3, padding="same", activation="relu"))
        layers += [BatchNormalization(momentum=0.9)] if way.endswith("normalized") else []
        layers += [MaxPooling2D(2)] if filters < 64 else []
    layers.append(GlobalMaxPooling2D() if "max" in way else GlobalAveragePooling2D())
    layers += [Dense(64, activation="relu"), Dense(10, activation="softmax")]
    models = []
    for canvas in CANVASES:
        x = inputs = sl.Input((canvas, canvas, 1))
        for layer in layers:
            x = layer(x)
        models.append(sl.Model(inputs, x))
    return models


def train(model: Any, x: Any, y: Any, epochs: int) -> Any:
    model.compile(sl.optimizers.Adam(0.002), "sparse_categorical_crossentropy", precision="float32")
    return model.fit(x, y, 64, epochs, verbose=0)


def main() -> None:
    options = arguments(__doc__, WINDOWS + GLOBAL, seeds=5, epochs=8)
    learned, tested = scenes(options.images or 2000, 32, "train"), scenes(500, 32, "test")

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        if way in WINDOWS:
            model = with_windows(way)
            train(model, *learned[:2], options.epochs)
            return {"right": right(model, *tested[:2])}
        models = with_global_pooling(way)
        x, y = digits(canvas=CANVASES[0])[0]
        train(models[0], x[: options.images], y[: options.images], 3 * options.epochs)
        pairs = zip(CANVASES, models, strict=True)
        return {str(canvas): right(model, *digits(canvas=canvas)[1]) for canvas, model in pairs}

    trials = collect("max_or_average", options, trial)
    rows = [[way, text(mean(hits(of_way(trials, way))))] for way in options.ways if way in WINDOWS]
    print(table(["pooling", "accuracy"], rows))
    for size in ("2x2", "4x4"):
        pair = [of_way(trials, f"{kind} {size}") for kind in POOLINGS]
        if all(pair):
            print(f"max over average, {size}: {text(difference(*map(hits, pair)), '+')}")
    rows = [[way, *(text(mean(hits(of_way(trials, way), str(canvas)))) for canvas in CANVASES)]
            for way in options.ways if way in GLOBAL]  # fmt: skip
    print(table(["pooling", *(f"{canvas}x{canvas}" for canvas in CANVASES)], rows))


if __name__ == "__main__":
    main()
