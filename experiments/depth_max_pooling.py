"""Does the maximum over filters make an answer hold when a digit is turned, thicker, skewed or of another colour?

python experiments/depth_max_pooling.py [--ways "plain, as they are" ...] [--seeds 3] [--epochs 12] [--out FOLDER]

"depth max" takes the largest of each four feature maps (`DepthMaxPooling2D`) behind each convolution, "plain" has about as many
multiplications without. Both learn white digits as they are, or turned by up to 45 degrees and in random colours. "turned copies" learns them as they
are, but its filters come in fours by construction, each a quarter of a turn from the last, and the maximum is taken of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sightline as sl
from real_images import digits
from sightline.layers import Conv2D, Dense, DepthMaxPooling2D, GlobalMaxPooling2D, Maximum, MaxPooling2D, Torch
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

WAYS = ("plain, as they are", "depth max, as they are", "plain, changed", "depth max, changed", "turned copies")
SIDE, CANVAS = 14, 20
ASKED = {"rotation": (-90, -45, -20, 20, 45, 90, 180), "thickness": (-1, 1), "skew": (-25, 25), "brightness": (0.4,)}
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Turned(torch.nn.Module):
    """A feature map turned by `quarters` of a turn."""

    def __init__(self, quarters: int):
        super().__init__()
        self.quarters = quarters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rot90(x, self.quarters, (2, 3))


def body(of_each: int, filters: tuple[int, ...]) -> list[Any]:
    """Convolutions and poolings; where `of_each` is above 1 a feature map is the largest of so many."""
    layers: list[Any] = []
    for i, count in enumerate(filters):
        layers.append(Conv2D(count * of_each, 3, padding="same", activation="relu"))
        layers += [DepthMaxPooling2D(of_each)] if of_each > 1 else []
        layers += [MaxPooling2D(2)] if i < 2 else []
    return [*layers, GlobalMaxPooling2D()]


def network(way: str) -> Any:
    """A filter on a turned picture is the filter turned back on the picture, so "turned copies" turns the picture."""
    inputs = sl.Input((CANVAS, CANVAS, 3))
    plain = way.startswith("plain")
    layers = body(4 if way.startswith("depth") else 1, (32, 64, 64) if plain else (16, 32, 64))
    answers = []
    for quarters in range(4 if way == "turned copies" else 1):
        x = Torch(Turned(quarters))(inputs) if quarters else inputs
        for layer in layers:
            x = layer(x)
        answers.append(x)
    x = Maximum()(answers) if len(answers) > 1 else answers[0]
    return sl.Model(inputs, Dense(10, activation="softmax")(Dense(64, activation="relu")(x)))


def changed(x: np.ndarray, seed: int) -> np.ndarray:
    """Each image turned by up to 45 degrees and in a random colour."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    turned = [Image.fromarray(image[..., 0]).rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR) for image in x]
    return np.stack(turned)[..., None] * rng.random((len(x), 1, 1, 3), np.float32)


def main() -> None:
    options = arguments(__doc__, WAYS, seeds=3, epochs=12)
    train, (x, y) = digits(SIDE, CANVAS)
    x = np.repeat(x, 3, axis=3)

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        model = network(way)
        model.compile(sl.optimizers.Adam(0.002), "sparse_categorical_crossentropy", precision="float32")
        pictures, labels = (each[: options.images] for each in train)
        white = np.repeat(pictures, 3, axis=3)
        learned = [changed(pictures, 4 * seed + i) for i in range(4)] if way.endswith("changed") else [white]
        for epoch in range(options.epochs):
            model.fit(learned[epoch % len(learned)], labels, 64, verbose=0)
        held = sl.measure.invariance(model, x, y, changes=ASKED)
        told = {f"{name} {strength:g}": [agrees, is_right] for name, curve in held.curves.items()
                for strength, agrees, is_right in zip(curve.strengths, curve.agreement, curve.accuracy, strict=True)}  # fmt: skip
        said = model.predict(x).argmax(1)
        for name, colour in COLOURS.items():
            told[name] = [float(np.mean(each == model.predict(x * np.float32(colour)).argmax(1))) for each in (said, y)]
        return {"right": right(model, x, y), "changes": told, "macs": sl.measure.cost(model).macs}

    trials = collect("depth_max_pooling", options, trial)
    names = list(trials[0]["changes"])
    print(table(["", "multiply-adds", "unchanged"], [
        [way, f"{own[0]['macs'] / 1e6:.1f} M", text(mean(hits(own)))]
        for way in options.ways for own in [of_way(trials, way)]]))  # fmt: skip
    for which, what in enumerate(("agreement with the answer for the unchanged image", "accuracy")):
        columns = [np.array([[each["changes"][name][which] for name in names] for each in of_way(trials, way)])
                   for way in options.ways]  # fmt: skip
        rows = [[name, *(f"{column[:, i].mean():.3f} ({column[:, i].min():.3f} to {column[:, i].max():.3f})"
                         for column in columns)] for i, name in enumerate(names)]  # fmt: skip
        print(f"\n{what}: mean, and the least and most of the seeds (n = {len(x)})\n")
        print(table(["change", *options.ways], rows))
    for data in ("as they are", "changed"):
        pair = [of_way(trials, f"{kind}, {data}") for kind in ("depth max", "plain")]
        if all(pair):
            print(f"depth max over plain, {data}: {text(difference(*map(hits, pair)), '+')}")


if __name__ == "__main__":
    main()
