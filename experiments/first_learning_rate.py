"""What a too high and a too low first learning rate do, and whether lowering it later makes good for them.

python experiments/first_learning_rate.py [--ways "0.001 stays" ...] [--seeds 3] [--epochs 15] [--out FOLDER]

The same network learns the same digits with Adam from six first rates; the rate stays, or `ReduceLROnPlateau` divides it by 5
whenever the loss has not improved for 2 epochs. Beside them: the rate that `lr_find` suggests, which is found anew for each seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sightline as sl
from real_images import digits
from sightline.layers import Conv2D, Dense, Flatten, MaxPooling2D
from trials import Trial, arguments, collect, hits, mean, of_way, right, table, text

RATES = ("0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "lr_find")
WAYS = tuple(f"{rate} {then}" for rate in RATES for then in ("stays", "reduced"))


def network() -> Any:
    return sl.Sequential(
        [
            sl.Input((8, 8, 1)),
            Conv2D(16, 3, padding="same", activation="relu"), MaxPooling2D(2),
            Conv2D(32, 3, padding="same", activation="relu"),
            Flatten(), Dense(64, activation="relu"), Dense(10, activation="softmax"),
        ]
    )  # fmt: skip


def main() -> None:
    options = arguments(__doc__, WAYS, seeds=3, epochs=15)
    (x, y), tested = digits()
    x, y = x[: options.images], y[: options.images]

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        rate, then = way.split()
        model = network()
        model.compile("adam", "sparse_categorical_crossentropy", precision="float32")
        first = sl.lr_find(model, x, y).suggestion if rate == "lr_find" else float(rate)
        model.optimizer.learning_rate = first
        calm = [sl.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.2, patience=2)] if then == "reduced" else []
        history = model.fit(x, y, 32, options.epochs, verbose=0, callbacks=calm).history
        said = len(set(model.predict(tested[0]).argmax(1).tolist()))
        return {"right": right(model, *tested), "losses": history["loss"], "first": first, "classes": said}

    trials = collect("first_learning_rate", options, trial)
    rows = []
    for way in options.ways:
        own = of_way(trials, way)
        losses = np.array([[each["losses"][0], each["losses"][-1]] for each in own]).mean(0)
        each_seed = ", ".join(f"{share:.2f}" for share in hits(own).mean(1))
        rows.append([way, f"{np.mean([each['first'] for each in own]):.2g}", *(f"{loss:.3g}" for loss in losses)])
        rows[-1] += [text(mean(hits(own))), each_seed, f"{np.mean([each['classes'] for each in own]):.1f}"]
    head = ["way", "first rate", "loss of the first epoch", "of the last", "test accuracy", "each seed"]
    print(table([*head, "classes it still says"], rows))


if __name__ == "__main__":
    main()
