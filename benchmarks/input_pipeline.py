"""From photos in class folders to augmented float batches of 224x224: Sightline, torchvision and Keras side by side.

python benchmarks/input_pipeline.py PHOTOS [rounds]

Each contender reads every photo in a process of its own, for three epochs (Sightline's cache is emptied before, so its first
epoch decodes; before the first epoch it also looks at every file, which is told apart). All do the same to a picture:
mirror, shift by up to 10 %, turn by up to 10 degrees, zoom by up to 20 %, brightness and contrast by up to 20 %. Rounds
are interleaved; told are medians of images a second. Then a training: how much of an epoch the network waits for its input.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

SIZE, BATCH, EPOCHS, WORKERS = 224, 32, 3, os.cpu_count() or 1
CHANGES = {"flip_horizontal": 0.5, "rotate": 10, "shift": 0.1, "zoom": 0.2, "brightness": 0.2, "contrast": 0.2}


def timed(epoch: Callable[[int], Iterator[int]]) -> list[float]:
    """Images a second of each epoch; `epoch(number)` yields the sizes of its batches."""
    speeds = []
    for number in range(EPOCHS):
        began, count = time.perf_counter(), 0
        for size in epoch(number):
            count += size
        speeds.append(count / (time.perf_counter() - began))
    return speeds


def sightline(folder: str) -> dict[str, Any]:
    import torch

    from sightline.data.loader import ImageBatches
    from sightline.runs.preparation import CompleteCache, open_images, prepare
    from sightline.runs.settings import Settings
    from sightline.structures import ImageSpec
    from sightline.tasks import TASKS
    from sightline.tasks.classify import class_numbers

    torch.set_num_threads(1)
    settings = Settings(folder, image_size=SIZE, augment=dict(CHANGES))
    began = time.perf_counter()
    dataset, _ = prepare(TASKS["classify"]().read(folder), settings, lambda text: None)
    looked = time.perf_counter() - began
    dataset = type(dataset)(dataset.root, dataset.classes, {"train": dataset.splits["train"]}, ("train",))
    images = open_images(dataset, ImageSpec(SIZE, SIZE, 3), settings, print)
    batches = ImageBatches(images["train"], BATCH, WORKERS, targets=class_numbers, seed=0)
    finish = CompleteCache(images, WORKERS, print)

    def epoch(number: int) -> Iterator[int]:
        for batch in batches.epoch(number):
            batch.inputs[0].float()  # a training does so on its device; the others make floats too
            yield batch.size
        finish.on_epoch_end(number)

    return {"speeds": timed(epoch), "look": looked}


def torchvision_images(folder: str, *, tensors: bool) -> dict[str, Any]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    changes = [
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(0.2, 0.2),
    ]
    size, as_tensor = v2.Resize((SIZE, SIZE)), v2.ToImage()
    first = [as_tensor, size, *changes] if tensors else [size, *changes, as_tensor]
    images = ImageFolder(str(Path(folder, "train")), v2.Compose([*first, v2.ToDtype(torch.float32)]))
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return {"speeds": timed(lambda number: (len(x) for x, _ in loader))}


def keras(folder: str) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
    import keras as k
    import tensorflow as tf

    layers = [
        k.layers.RandomFlip("horizontal"), k.layers.RandomTranslation(0.1, 0.1), k.layers.RandomRotation(10 / 360),
        k.layers.RandomZoom(0.2), k.layers.RandomBrightness(0.2), k.layers.RandomContrast(0.2),
    ]  # fmt: skip

    def change(x: Any, y: Any) -> Any:
        for layer in layers:
            x = layer(x, training=True)
        return x, y

    images = k.utils.image_dataset_from_directory(
        str(Path(folder, "train")), image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False
    )
    images = images.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return {"speeds": timed(lambda number: (len(x) for x, _ in images))}


def training(folder: str) -> dict[str, Any]:
    """Two epochs of a small network on small pictures, which need the input soonest: seconds of each, and of them seconds in which the step waited for its batch."""
    import sightline as sl
    from sightline.data.loader import ImageBatches

    took: list[float] = []
    waited: list[float] = []
    made = ImageBatches.epoch

    def watched(self: ImageBatches, number: int) -> Iterator[Any]:
        began, total, batches = time.perf_counter(), 0.0, made(self, number)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            total += time.perf_counter() - asked
            if batch is None:
                break
            yield batch
        took.append(time.perf_counter() - began)
        waited.append(total)

    ImageBatches.epoch = watched  # type: ignore[method-assign]
    sl.train(folder, model="small_cnn", image_size=64, epochs=2, augment=dict(CHANGES), runs=tempfile.mkdtemp())
    return {"epochs": took[:4:2], "waited": waited[:4:2]}  # training, validation, training, validation, test


CONTENDERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Sightline": sightline,
    "torchvision, PIL images": lambda folder: torchvision_images(folder, tensors=False),
    "torchvision, tensors": lambda folder: torchvision_images(folder, tensors=True),
    "Keras (TensorFlow)": keras,
}


def measure(name: str, folder: str) -> dict[str, Any]:
    """One contender in a fresh process, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, __file__, folder, "--only", name], capture_output=True, text=True,
            env=os.environ | {"SIGHTLINE_CACHE": cache, "OMP_NUM_THREADS": str(WORKERS)},
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(folder: str, rounds: int) -> None:
    from sightline.runs.folder import processor  # here, for each contender imports its own libraries alone

    print(f"{processor()}, {WORKERS} cores, Python {platform.python_version()}, n = {rounds} rounds")
    print(
        ", ".join(
            f"{name} {version(name)}" for name in ("torch", "torchvision", "pillow", "numpy", "keras", "tensorflow-cpu")
        )
    )
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            found[name].append(measure(name, folder))
    medians = {
        name: [statistics.median(each["speeds"][epoch] for each in rows) for epoch in range(EPOCHS)]
        for name, rows in found.items()
    }
    print(f"{'images a second, epoch':28}" + "".join(f"{epoch + 1:9}" for epoch in range(EPOCHS)))
    for name, speeds in medians.items():
        print(f"{name:28}" + "".join(f"{speed:9.0f}" for speed in speeds))
    best = [max(speeds[epoch] for name, speeds in medians.items() if name != "Sightline") for epoch in range(EPOCHS)]
    print(
        f"{'ratio to the best other':28}"
        + "".join(f"{own / other:9.2f}" for own, other in zip(medians["Sightline"], best, strict=True))
    )
    look = statistics.median(each["look"] for each in found["Sightline"])
    print(f"Sightline's look at every file before (once, then kept): {look:.1f} s")
    told = measure("training", folder)
    for number, (whole, waited) in enumerate(zip(told["epochs"], told["waited"], strict=True)):
        print(
            f"training, epoch {number + 1}: {whole:.1f} s, of which waiting for input {waited:.1f} s ({waited / whole:.1%})"
        )


if __name__ == "__main__":
    if "--only" in sys.argv:
        chosen = sys.argv[sys.argv.index("--only") + 1]
        print(json.dumps({**CONTENDERS, "training": training}[chosen](sys.argv[1])))
    elif len(sys.argv) < 2:
        sys.exit(__doc__)
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
