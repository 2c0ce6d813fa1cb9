"""The demo: real handwritten digits through the whole path."""

from __future__ import annotations

from pathlib import Path

from ..data.digits import write_digits
from .run import Run
from .training import train


def demo(epochs: int = 20, runs: str | Path = "runs") -> Run:
    """Write the digits that scikit-learn ships to `runs`/data/digits, train `small_cnn` on them, and write the report."""
    data = write_digits(Path(runs) / "data" / "digits")
    return train(
        data,
        model="small_cnn",
        image_size=16,
        color_mode="grayscale",
        epochs=epochs,
        name="demo",
        exist_ok=True,
        runs=str(runs),
    )
