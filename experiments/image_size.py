"""How far can photos be made smaller before there is too little left to tell what they show?

python experiments/image_size.py --data PHOTOS --weights MOBILENET [--ways "64 in 128" 64 ...] [--seeds 1] [--images 1000] [--out FOLDER]

PHOTOS has train/ and test/ with a folder for each class. On the features of a MobileNetV2 with its weights for ImageNet, one dense layer
learns the classes. "64 in 128": photos are shrunk to 64x64 pixels and enlarged to 128x128 again, so that only details are lost; "64": the network
is given the 64x64 pixels, which is what saves time, and things are then smaller than those that it knows.
"""

from __future__ import annotations

import sightline as sl
from real_images import Split, mobilenet_features, photos
from trials import Trial, arguments, collect, difference, hits, mean, of_way, right, table, text

DETAILS = ("8 in 128", "16 in 128", "32 in 128", "64 in 128")
SIZES = ("32", "64", "96", "128")


def macs(side: int) -> int:
    return sl.measure.cost(sl.create("tf_mobilenetv2", input_shape=(side, side, 3))).macs


def main() -> None:
    about = "a folder of photos, with train/ and test/"
    options = arguments(__doc__, DETAILS + SIZES, seeds=1, epochs=40, data=about, weights=True)

    def features(split: str, way: str) -> Split:
        details, _, side = way.rpartition(" in ")
        most = (options.images or 1000) if split == "train" else options.images
        x, y = photos(options.data, split, int(side), int(details or side), most)
        return mobilenet_features(options.weights, x), y

    def trial(way: str, seed: int) -> Trial:
        sl.utils.set_random_seed(seed)
        x, y = features("train", way)
        head = sl.Sequential([sl.Input(x.shape[1:]), sl.layers.Dense(10, activation="softmax")])
        head.compile(sl.optimizers.Adam(0.001), "sparse_categorical_crossentropy", precision="float32")
        head.fit(x, y, 64, options.epochs, verbose=0)
        return {"right": right(head, *features("test", way)), "macs": macs(int(way.split()[-1]))}

    trials = collect("image_size", options, trial)
    rows, whole = [], of_way(trials, SIZES[-1])
    for way in options.ways:
        own = of_way(trials, way)
        n = hits(own).shape[1]
        beside = text(difference(hits(own), hits(whole)), "+") if whole and way != SIZES[-1] else ""
        rows.append([way, text(mean(hits(own))), beside, n, f"{own[0]['macs'] / 1e6:.0f} M"])
    print(table(["pixels a side", "test accuracy", f"beside {SIZES[-1]}", "n", "multiply-adds a photo"], rows))


if __name__ == "__main__":
    main()
