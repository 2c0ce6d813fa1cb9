"""The demo: real handwritten digits through the whole path, for each task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.digits import write_digits
from ..data.scene_files import write_scenes
from ..errors import choose
from .run import Run
from .training import train

# What each task's scenes are written with
SCENES: dict[str, dict[str, Any]] = {
    "localize": {"n": {"train": 1600, "validation": 100, "test": 200}},
    "detect": {"n": {"train": 3200, "validation": 200, "test": 200}, "size": (96, 96)},
    # More digits in a scene teach more in the same time
    "segment": {"n": {"train": 3200, "validation": 100, "test": 200}, "size": (96, 96), "digits": (3, 6)},
}
# What each task's demo trains, chosen so that it takes minutes on two cores; a digit that is mirrored is none
SETTINGS: dict[str, dict[str, Any]] = {
    "classify": {"model": "small_cnn", "image_size": 16, "color_mode": "grayscale", "epochs": 20},
    "localize": {
        "model": "yolo_n",
        "image_size": 96,
        "batch_size": 16,
        "lr": 0.003,
        "epochs": 14,
        "augment": "none",
        "box_loss": "giou",
    },
    "detect": {
        "model": "yolo_p",
        "image_size": 96,
        "batch_size": 16,
        "lr": 0.025,
        "warmup": 0.5,
        "epochs": 6,
        "augment": "none",
    },
    "segment": {
        "model": "unet_small",
        "image_size": 96,
        "batch_size": 8,
        "lr": 0.015,
        "warmup": 0.5,
        "epochs": 3,
        "augment": {"preset": "none", "random_resized_crop": 0.8},
        "pixel_loss": "cross-entropy+dice",
    },
}


def demo(task: str = "classify", epochs: int | None = None, runs: str | Path = "runs") -> Run:
    """Write the digits that scikit-learn ships to `runs`/data, train a small network on them, and write the report.

    For "classify" each picture is a digit, for "localize" a scene with one, for "detect" and "segment" one with several.
    """
    settings = SETTINGS[choose("task of the demo", task, SETTINGS)]
    folder = Path(runs) / "data"
    if task == "classify":
        data = write_digits(folder / "digits")
    else:
        data = write_scenes(folder / f"scenes-{task}", task, **SCENES[task])
    chosen = settings | ({} if epochs is None else {"epochs": epochs})
    return train(data, task=task, name="demo", exist_ok=True, runs=str(runs), **chosen)
