"""To halve a feature map: a convolution of stride 2, or pooling behind one of stride 1?

python experiments/stride_or_pooling.py [--ways "max pooling" "stride 2" ...] [--seeds 5] [--epochs 8] [--out FOLDER]

Three convolutions classify digits on textured grounds of 32x32 pixels; the feature map is halved twice. "stride 2, one more" has
a convolution of stride 2 in the place of each pooling (Springenberg, Dosovitskiy, Brox & Riedmiller, 2015).
"""

from __future__ import annotations

from typing import Any

import sightline as sl
from real_images import scenes
from sightline.layers import AveragePooling2D, BatchNormalization, Conv2D, Dense, GlobalMaxPooling2D, MaxPooling2D
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

WAYS = ("max pooling", "average pooling", "stride 2", "stride 2, one more")


def halving(way: str, filters: int) -> list[Any]:
    """A convolution and what halves its feature map."""
    shape = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    if way == "stride 2":
        return [Conv2D(filters, strides=2, **shape)]
    behind = {"max pooling": MaxPooling2D(2), "average pooling": AveragePooling2D(2)}
    return [Conv2D(filters, **shape), behind.get(way) or Conv2D(filters, strides=2, **shape)]


def network(way: str) -> Any:
    layers: list[Any] = []
    for filters in (16, 32):
        layers += [*halving(way, filters), BatchNormalization(momentum=0.9)]
    layers += [Conv2D(64, 3, padding="same", activation="relu"), BatchNormalization(momentum=0.9), GlobalMaxPooling2D()]
    head = [Dense(64, activation="relu"), Dense(10, activation="softmax")]
    return sl.Sequential([sl.Input((32, 32, 3)), *layers, *head])


def main() -> None:
    options = arguments(__doc__, WAYS, seeds=5, epochs=8)
    learned, tested = scenes(options.images or 2000, 32, "train"), scenes(500, 32, "test")

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        model = network(way)
        model.compile(sl.optimizers.Adam(0.002), "sparse_categorical_crossentropy", precision="float32")
        model.fit(*learned[:2], 64, options.epochs, verbose=0)
        cost = sl.measure.cost(model)
        told = {"macs": cost.macs, "parameters": cost.parameters, "activations": cost.activation_bytes}
        return told | {"right": right(model, *tested[:2])}

    trials = collect("stride_or_pooling", options, trial)
    rows, first = [], hits(of_way(trials, options.ways[0]))
    for way in options.ways:
        own = of_way(trials, way)
        seconds = sorted(each["seconds"] for each in own)[len(own) // 2]
        rows.append([way, text(mean(hits(own))), text(difference(hits(own), first), "+")])
        rows[-1] += [f"{own[0]['macs'] / 1e6:.2f} M", f"{own[0]['activations'] / 1000:.0f} kB", own[0]["parameters"]]
        rows[-1].append(f"{seconds:.0f}")
    head = ["halved by", "accuracy", f"beside {options.ways[0]}", "multiply-adds", "activations", "parameters"]
    print(table([*head, "seconds"], rows))


if __name__ == "__main__":
    main()
