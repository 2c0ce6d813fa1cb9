"""Each pooling of 2x2 drops 75 % of the values: what a classification and a segmentation lose by it.

python experiments/what_pooling_drops.py --data NUCLEI [--ways "classify 0" "segment 3" ...] [--seeds 3] [--epochs 6] [--out FOLDER]

Four convolutions classify digits on textured grounds of 24x24 pixels, four others say of each pixel of a micrograph whether
it is a nucleus's; behind the first 0 to 3 there is a max pooling. The segmentation enlarges its last map again; "with skips" it does
so step by step, beside the maps that were there before each pooling (Ronneberger, Fischer & Brox, 2015). NUCLEI has images/ID.png, masks/ID.png (0 and 1),
and the ids in train.txt and val.txt.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sightline as sl
from real_images import nuclei, scenes
from sightline.layers import (
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    GlobalMaxPooling2D,
    MaxPooling2D,
    UpSampling2D,
)
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

CLASSIFY = tuple(f"classify {poolings}" for poolings in range(4))
SEGMENT = (*(f"segment {poolings}" for poolings in range(4)), "segment 3 with skips")
SCENE, CROP = 24, 96  # pixels a side


def convolution(x: Any, filters: int) -> Any:
    return BatchNormalization(momentum=0.9)(Conv2D(filters, 3, padding="same", activation="relu")(x))


def classifier(poolings: int) -> Any:
    x = inputs = sl.Input((SCENE, SCENE, 3))
    for i, filters in enumerate((12, 16, 24, 32)):
        x = convolution(x, filters)
        x = MaxPooling2D(2)(x) if i < poolings else x
    return sl.Model(inputs, Dense(10, activation="softmax")(Dense(64, activation="relu")(GlobalMaxPooling2D()(x))))


def segmenter(poolings: int, skips: bool) -> Any:
    x = inputs = sl.Input((CROP, CROP, 1))
    before = []
    for i in range(4):
        x = convolution(x, 12)
        if i < poolings:
            before.append(x)
            x = MaxPooling2D(2)(x)
    while skips and before:
        x = Concatenate()([UpSampling2D(2, interpolation="bilinear")(x), before.pop()])
        x = convolution(x, 12)
    if before:
        x = UpSampling2D(2**poolings, interpolation="bilinear")(x)
    return sl.Model(inputs, Conv2D(2, 1, activation="softmax")(x))


def train(model: Any, data: Any, batch: int, epochs: int) -> Trial:
    model.compile(sl.optimizers.Adam(0.003), "sparse_categorical_crossentropy", precision="float32")
    model.fit(*data, batch, epochs, verbose=0)
    cost = sl.measure.cost(model)
    return {"macs": cost.macs, "activations": cost.activation_bytes}


def overlaps(model: Any, x: np.ndarray, masks: np.ndarray) -> Trial:
    """Each image's mean IoU; how well boundaries fit; and how many answers move along when the image moves by one pixel."""
    quality = sl.metrics.SegmentationQuality(2)
    for mask, answer in zip(masks, model.predict(x), strict=True):
        quality.add(mask, answer.argmax(-1))
    moved = sl.measure.equivariance(model, x, pixels=(1,))
    follows = [moved[change].agreement[0] for change in ("shift right", "shift down")]
    return {"right": quality.scores().tolist(), "boundary": quality.boundary_f1(), "follows": float(np.mean(follows))}


def main() -> None:
    options = arguments(__doc__, CLASSIFY + SEGMENT, seeds=3, epochs=6, data="the folder of nuclei")
    learned, tested = scenes(options.images or 1500, SCENE, "train"), scenes(500, SCENE, "test")
    slides, held_back = nuclei(options.data, "train", CROP), nuclei(options.data, "val", CROP)

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        task, poolings, *skips = way.split()
        if task == "classify":
            model = classifier(int(poolings))
            return train(model, learned[:2], 32, options.epochs) | {"right": right(model, *tested[:2])}
        model = segmenter(int(poolings), bool(skips))
        data = [each[: options.images] for each in slides]
        return train(model, data, 8, options.epochs) | overlaps(model, *held_back)

    trials = collect("what_pooling_drops", options, trial)
    rows = []
    for way in options.ways:
        own, without = of_way(trials, way), of_way(trials, f"{way.split()[0]} 0")
        beside = text(difference(hits(own), hits(without)), "+") if without and not way.endswith(" 0") else ""
        rows.append([way, text(mean(hits(own))), beside])
        rows[-1] += [f"{own[0]['macs'] / 1e6:.1f} M", f"{own[0]['activations'] / 1e6:.2f} MB"]
        for key in ("boundary", "follows"):
            rows[-1].append(f"{np.mean([each[key] for each in own]):.3f}" if key in own[0] else "")
    print(
        table(
            [
                "poolings",
                "accuracy, or mean IoU",
                "beside none",
                "multiply-adds",
                "activations",
                "boundary F1",
                "follows",
            ],
            rows,
        )
    )


if __name__ == "__main__":
    main()
