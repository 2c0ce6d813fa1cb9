"""Top-1 and top-5 accuracy with many classes that look alike: how often is a wrong answer a near miss?

python experiments/top_k.py --data PHOTOS --weights MOBILENET [--ways "numbers, 500" photos ...] [--seeds 5] [--epochs 40] [--out FOLDER]

"numbers": two handwritten digits beside one another are one of 100 classes, of which 18 share a digit with a number at its place; a network
learns from so many numbers, and is tested on 2,000 of other people's digits. "photos": ten kinds of clothing (PHOTOS has train/ and test/ with a folder
for each), learned by one dense layer on the features of a MobileNetV2. Chance is a network that knows no more than that its first answer was wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sightline as sl
from real_images import Split, digits, mobilenet_features, photos
from sightline.layers import Conv2D, Dense, Flatten, MaxPooling2D
from trials import Trial, arguments, collect, hits, mean, of_way, table, text

WAYS = ("numbers, 500", "numbers, 2000", "numbers, 8000", "photos")
SIDE = 128  # pixels of a photo


def numbers(split: Split, n: int, seed: int) -> Split:
    """Two digits of a split side by side (n, 8, 16, 1), and the number that they make."""
    (x, y), rng = split, np.random.default_rng(seed)
    tens, ones = rng.integers(0, len(x), (2, n))
    return np.concatenate([x[tens], x[ones]], axis=2), 10 * y[tens] + y[ones]


def network() -> Any:
    return sl.Sequential(
        [
            sl.Input((8, 16, 1)),
            Conv2D(16, 3, padding="same", activation="relu"), MaxPooling2D(2),
            Conv2D(32, 3, padding="same", activation="relu"),
            Flatten(), Dense(64, activation="relu"), Dense(100, activation="softmax"),
        ]
    )  # fmt: skip


def ranks(model: Any, x: np.ndarray, y: np.ndarray) -> Trial:
    """For each image how many classes the network finds likelier than the true one, and its first answer."""
    said = model.predict(x, batch_size=256)
    rank = (said > said[np.arange(len(y)), y][:, None]).sum(1)
    return {"rank": rank.tolist(), "said": said.argmax(1).tolist(), "true": y.tolist(), "classes": said.shape[1]}


def main() -> None:
    about = "a folder of photos, with train/ and test/"
    options = arguments(__doc__, WAYS, seeds=5, epochs=40, data=about, weights=True)
    train, test = digits()
    kept: dict[str, Split] = {}  # features, the same for each seed

    def features(split: str) -> Split:
        if split not in kept:
            x, y = photos(options.data, split, SIDE, most=options.images or 1000)
            kept[split] = mobilenet_features(options.weights, x), y
        return kept[split]

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        if way == "photos":
            model = sl.Sequential([sl.Input((1280,)), Dense(10, activation="softmax")])
            learned, tested, epochs = features("train"), features("test"), options.epochs
        else:
            n = min(int(way.split()[1]), options.images or 8000)
            learned, tested = numbers(train, n, seed), numbers(test, 2000, 0)
            model, epochs = network(), options.epochs * 8000 // n // 4  # all see about as many pictures
        model.compile(sl.optimizers.Adam(0.001), "sparse_categorical_crossentropy", precision="float32")
        model.fit(*learned, 32, max(1, epochs), verbose=0)
        return ranks(model, *tested)

    trials = collect("top_k", options, trial)
    rows = []
    for way in options.ways:
        own = of_way(trials, way)
        rank, others = hits(own, "rank"), own[0]["classes"] - 1
        rows.append([way, *(text(mean((rank < k) * 1.0)) for k in (1, 2, 5))])
        missed = rank[rank > 0]
        rows[-1] += [f"{np.mean(missed < 5):.3f} of {len(missed)}", f"{4 / others:.3f}"]
    print(table(["learned from", "top-1", "top-2", "top-5", "of wrong answers, in the next 4", "by chance"], rows))
    for own in (of_way(trials, way) for way in options.ways if way != "photos"):
        said, true = hits(own, "said").astype(int), hits(own, "true").astype(int)
        wrong = said != true
        shared = (said // 10 == true // 10) | (said % 10 == true % 10)
        print(
            f"{own[0]['way']}: {shared[wrong].mean():.3f} of wrong answers share a digit with the number; 0.182 by chance"
        )


if __name__ == "__main__":
    main()
