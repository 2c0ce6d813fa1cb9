"""The real images that the experiments of docs/claims.md learn from: handwritten digits, and folders of photos and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

Split = tuple[np.ndarray, np.ndarray]  # float32 images within 0..1 (n, height, width, channels), and class numbers (n,)
TRAINING = 1287  # of scikit-learn's digits, in whole forms: the other 510 are of other people


def digits(side: int = 8, canvas: int | None = None) -> tuple[Split, Split]:
    """The real digits for training (1,287) and testing (510, of other people), `side` pixels large, in the middle of a dark canvas."""
    from sklearn.datasets import load_digits

    told = load_digits()
    drawn = [Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((side, side), 2) for image in told.images]
    x = np.stack([np.asarray(image, np.float32) for image in drawn])[..., None] / 255
    before = ((canvas or side) - side) // 2
    after = (canvas or side) - side - before
    x, y = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)]), told.target.astype(np.int64)
    return (x[:TRAINING], y[:TRAINING]), (x[TRAINING:], y[TRAINING:])


def scenes(n: int, side: int, split: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digits one by one on textured grounds, in colour: images, class numbers, and masks (n, side, side) that are 1 where a digit is."""
    from sightline.data import make_scenes

    made = list(make_scenes(n, (side, side), digits=(1, 1), seed=seed, split=split))
    labels = np.array([scene.boxes.labels[0] for scene in made])
    return (
        np.stack([scene.image for scene in made]).astype(np.float32) / 255,
        labels,
        np.stack([scene.mask > 0 for scene in made]).astype(np.int64),
    )


def photos(folder: Path, split: str, side: int, details: int | None = None, most: int | None = None) -> Split:
    """FOLDER/SPLIT/CLASS/*.jpg, squashed to `side` pixels; `most` evenly spread. With `details` shrunk to so many pixels before."""
    classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
    files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.glob("*.jpg"))]
    if most is not None:
        files = [files[i] for i in np.linspace(0, len(files) - 1, min(most, len(files))).astype(int)]
    x = np.empty((len(files), side, side, 3), np.float32)
    for i, (file, _) in enumerate(files):
        image = Image.open(file)
        image.draft("RGB", (2 * side, 2 * side))
        image = image.convert("RGB")
        for size in (details, side) if details else (side,):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        x[i] = np.asarray(image, np.float32) / 255
    return x, np.array([label for _, label in files])


def nuclei(folder: Path, split: str, side: int) -> Split:
    """The middles of FOLDER/images/*.png in gray, `side` pixels large, and of their masks (n, side, side)."""
    x, y = [], []
    for name in (folder / f"{split}.txt").read_text().split():
        for found, kind in ((x, "images"), (y, "masks")):
            image = Image.open(folder / kind / f"{name}.png").convert("L")
            left, top = ((size - side) // 2 for size in image.size)
            found.append(np.asarray(image.crop((left, top, left + side, top + side))))
    return np.stack(x)[..., None].astype(np.float32) / 255, np.stack(y).astype(np.int64)


def mobilenet_features(weights: Path, x: np.ndarray) -> np.ndarray:
    """What MobileNetV2 with its weights for ImageNet makes of images (n, side, side, 3): (n, 1280)."""
    import sightline as sl

    whole = sl.create("tf_mobilenetv2", input_shape=x.shape[1:], weights=weights)
    frozen = sl.rewrite.remove_head(whole)
    pooled = sl.Model(frozen.inputs, sl.layers.GlobalAveragePooling2D()(frozen.outputs[0]))
    return np.concatenate([pooled.predict(x[i : i + 32] * 2 - 1) for i in range(0, len(x), 32)])
