"""The embedded data: 1,797 real handwritten digits of 43 people (UCI Optical Recognition of Handwritten Digits)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_digits(folder: str | Path) -> Path:
    """Write the digits that scikit-learn ships as class folders of 8x8 grayscale PNG files; returns the folder.

    A folder that has them all is left as it is.
    """
    from sklearn.datasets import load_digits

    folder = Path(folder)
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{index:04d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(path)  # values are 0..16
    return folder
