"""Ways of finding objects beside one another: a classifier slid over the picture, the same fully convolutional, and detectors.

python experiments/finding_objects.py [--methods sliding dense yolo_p ...] [--scenes 3200] [--epochs 3] [--test 200] [--seed 0]
                                      [--out FOLDER]

All learn from the same scenes with one to four handwritten digits (`data.write_scenes`), and are measured on the same test scenes, whose
digits others wrote. The classifier sees crops of the training scenes and says of each which digit it shows, or none, and where in
it; `sliding` and `dense` look through it at the same windows. Each training and each measurement is a process of its own with one thread,
and what it found is in results.json in OUT as soon as it ends: begun again, the script goes on from there. Seconds are
a processor's (user and system), so that other work on the machine matters less. Writes choosing-a-detector.png into OUT too, and prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 96  # pixels of a scene
CLASSES = 10
BACKGROUND = CLASSES  # the classifier's class of windows that show no digit
WINDOW, STRIDE = 32, 4  # pixels; windows overlap by seven eighths
SCALES = (1.33, 0.94, 0.67, 0.5)  # windows of 24 to 64 pixels of the scene, each 1.4 times the one before
SIDES = (20.0, 72.0)  # pixels of the scene, of windows that the classifier learns from
LONGER = (0.5, 0.95)  # a digit's longer side by the window's: what is larger or smaller is left to another scale
BATCH, WINDOW_BATCH = 16, 64
# The demo's rate for p; for the others less by the root of their width, 0.01 / sqrt(0.25, 0.5, 0.75); no other was tried
RATES = {"yolo_p": 0.025, "yolo_n": 0.02, "yolo_s": 0.014, "yolo_m": 0.0115}
WINDOWS = ("sliding", "dense")
METHODS = (*WINDOWS, *RATES)
IOU = 0.5  # from which two boxes of a class are one; digits never overlap
TIMED = 50  # test scenes, one by one
LEAST, CONF = 0.01, 0.25  # the least score of what is measured, and of what is found against the clock


def scenes(options: argparse.Namespace) -> Path:
    from sightline.data import write_scenes

    counts = {"train": options.scenes, "validation": 100, "test": options.test}
    return write_scenes(options.out / "scenes", "detect", counts, size=(SIDE, SIDE), seed=options.seed, digits=(1, 4))


def pictures(options: argparse.Namespace, split: str) -> tuple[list[np.ndarray], list[Any]]:
    """The scenes of a split as arrays, and their boxes."""
    from PIL import Image

    import sightline as sl

    samples = sl.data.read(scenes(options), "detect").splits[split]
    return [np.asarray(Image.open(sample.path)) for sample in samples], [sample.boxes for sample in samples]


# --- what the classifier learns from --------------------------------------------------------------------------------


def crops(images: list[np.ndarray], truths: list[Any], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 windows (n, 32, 32, 3); their class numbers (n,); where the digit is (n, 4): centre x and y, height, width in shares."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    shown, labels, places = [], [], []
    for image, boxes in zip(images, truths, strict=True):
        ground = Image.fromarray(np.pad(image, [(0, SIDE), (0, SIDE), (0, 0)], constant_values=114))
        for left, top, side in windows(rng, boxes.xyxy):
            said = seen(boxes, left, top, side)
            if said is not None:
                area = (left, top, left + side, top + side)
                shown.append(np.asarray(ground.resize((WINDOW, WINDOW), Image.Resampling.BILINEAR, area)))
                labels.append(said[0])
                places.append(said[1])
    return np.stack(shown), np.array(labels), np.stack(places).astype(np.float32)


def windows(rng: np.random.Generator, xyxy: np.ndarray) -> list[tuple[float, float, float]]:
    """Windows (left, top, side) in a scene: of each digit 3 that hold it and 3 around it, and 8 anywhere."""
    chosen = []
    for x1, y1, x2, y2 in xyxy:
        for _ in range(3):
            side = np.clip(max(x2 - x1, y2 - y1) / rng.uniform(*LONGER), *SIDES)
            chosen.append((rng.uniform(x2 - side, x1), rng.uniform(y2 - side, y1), side))
        for _ in range(3):
            side = math.exp(rng.uniform(*np.log(SIDES)))
            x, y = rng.uniform(-0.8, 0.8, 2) * side
            chosen.append(((x1 + x2 - side) / 2 + x, (y1 + y2 - side) / 2 + y, side))
    for _ in range(8):
        chosen.append((*rng.uniform(0, SIDE, 2), math.exp(rng.uniform(*np.log(SIDES)))))
    beyond = STRIDE / WINDOW  # so far the last window may reach over the right and lower edge
    last = [max(SIDE - side + beyond * side, 0) for _, _, side in chosen]
    return [(min(max(x, 0), end), min(max(y, 0), end), side) for (x, y, side), end in zip(chosen, last, strict=True)]


def seen(boxes: Any, left: float, top: float, side: float) -> tuple[int, np.ndarray] | None:
    """The class of the digit that is whole in a window, the one nearest its middle, and its place; None where it is hard to say."""
    xyxy = (boxes.xyxy - [left, top, left, top]) / side
    size, inner = xyxy[:, 2:] - xyxy[:, :2], xyxy.clip(0, 1)
    share = (inner[:, 2:] - inner[:, :2]).prod(1) / size.prod(1)
    longer, centre = size.max(1), (xyxy[:, 2:] + xyxy[:, :2]) / 2
    whole = (share >= 0.95) & (longer >= LONGER[0])
    if whole.any():
        nearest = np.where(whole, np.abs(centre - 0.5).sum(1), np.inf).argmin()
        return int(boxes.labels[nearest]), np.array([*centre[nearest], *size[nearest, ::-1]])
    if ((share > 0.75) & (longer > 0.8 * LONGER[0])).any():
        return None
    return BACKGROUND, np.zeros(4)


# --- training -------------------------------------------------------------------------------------------------------


def window_network() -> Any:
    """A classifier without "same" padding, so that it is the same at each place of a picture, with a box head."""
    import sightline as sl
    from sightline.layers import BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D, Rescaling

    inputs = sl.Input((WINDOW, WINDOW, 3))
    x = Rescaling(1 / 127.5, offset=-1)(inputs)
    for filters, pooled in ((32, True), (64, True), (64, False)):
        x = Conv2D(filters, 3, activation="relu")(x)
        x = BatchNormalization(momentum=0.9)(MaxPooling2D(2)(x) if pooled else x)
    x = Dense(128, activation="relu")(Flatten()(x))
    outputs = [Dense(CLASSES + 1, activation="softmax", name="digit")(x), Dense(4, name="box")(x)]
    return sl.Model(inputs, outputs, name="window_cnn")


def compiled(model: Any, steps: int = 1) -> Any:
    import sightline as sl

    rate = sl.optimizers.schedules.CosineDecay(0.002, steps)
    losses = ["sparse_categorical_crossentropy", "mae"]
    model.compile(sl.optimizers.Adam(rate), losses, loss_weights=[1, 5], precision="float32")
    return model


def train_windows(options: argparse.Namespace) -> dict[str, Any]:
    import sightline as sl

    x, labels, places = crops(*pictures(options, "train"), options.seed)
    sl.utils.set_random_seed(options.seed)
    model = compiled(window_network(), options.window_epochs * math.ceil(len(x) / WINDOW_BATCH))
    there = (labels != BACKGROUND).astype(np.float32)  # elsewhere the box head may say what it likes
    history = model.fit(
        x, [labels, places], WINDOW_BATCH, options.window_epochs, verbose=2, sample_weight=[np.ones_like(there), there]
    )
    model.save(options.out / "window_cnn.sightline")
    return {
        "crops": len(x),
        "digits": int(there.sum()),
        "epochs": options.window_epochs,
        "loss": history.history["loss"][-1],
    }


def train_detector(name: str, options: argparse.Namespace) -> dict[str, Any]:
    import sightline as sl

    run = sl.train(
        scenes(options), task="detect", model=name, name=name, runs=str(options.out / "runs"), exist_ok=True,
        image_size=SIDE, batch_size=BATCH, epochs=options.epochs, lr=RATES[name], warmup=0.5, augment="none",
        precision="float32", device="cpu", workers=1, seed=options.seed,
    )  # fmt: skip
    return {"scenes": options.scenes * options.epochs, "epochs": options.epochs, "lr": RATES[name]} | {
        "said": str(run.measures.headlines[0])
    }


def train(method: str, options: argparse.Namespace) -> dict[str, Any]:
    scenes(options)  # written before the clock runs
    began = time.process_time()
    told = train_windows(options) if method in WINDOWS else train_detector(method, options)
    return told | {"seconds": time.process_time() - began, "memory": high_water()}


# --- asking ---------------------------------------------------------------------------------------------------------


def detector(method: str, options: argparse.Namespace) -> Any:
    import sightline as sl
    from sightline.detectors import DenseDetector, SlidingWindowDetector, TrainedDetector

    if method in RATES:
        return TrainedDetector(sl.load(options.out / "runs" / "detect" / method / "weights" / "best.sightline"))
    model = sl.load(options.out / "window_cnn.sightline")
    if method == "dense":
        return DenseDetector(model, scales=SCALES, background=BACKGROUND)
    return SlidingWindowDetector(model, stride=STRIDE, scales=SCALES, background=BACKGROUND)


def ask(method: str, options: argparse.Namespace) -> dict[str, Any]:
    """How good a detector is on the test scenes, and what one of them takes."""
    import sightline as sl

    images, truths = pictures(options, "test")
    finds = detector(method, options)
    finds.detect(images[:3])  # what is made at the first call is not an image's
    seconds = [clocked(lambda image=image: finds.detect(image, conf=CONF, iou=IOU)) for image in images[:TIMED]]
    memory = high_water()
    found = finds.detect(images, conf=LEAST, iou=IOU)
    quality = sl.metrics.detection_quality(truths, found, classes=CLASSES)
    numbers = quality.coco()
    told = {name: [numbers[key], *quality.interval(key)] for name, key in (("mAP50", "AP50"), ("mAP", "AP"))}
    point = quality.operating_point()._asdict()
    rows = [[each.xyxy.tolist(), each.scores.tolist(), each.labels.tolist()] for each in found]
    (options.out / f"found-{method}.json").write_text(json.dumps(rows))
    return told | {
        "n": len(images), "timed": len(seconds), "operating point": point, "milliseconds": 1000 * statistics.median(seconds),
        "quartiles": [1000 * each for each in statistics.quantiles(seconds, n=4)], "memory": memory, **size(method, options),
    } | (agreement(options) if method == "dense" else {})  # fmt: skip


def clocked(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def size(method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Parameters, multiply-adds for a scene, and the plan of memory (libraries included) for training and asking."""
    import sightline as sl

    model = detector("sliding" if method in WINDOWS else method, options).model
    if method in WINDOWS:
        compiled(model)
    else:
        model.compile("adam", sl.losses.DetectionLoss(model.input_shape[1:3]), precision="float32")
    asked = networks(method, model)
    return {
        "parameters": sl.measure.cost(model).parameters,
        "multiply-adds": sum(sl.measure.cost(network).macs * times for network, times, _ in asked),
        "planned training": sl.measure.memory(model, WINDOW_BATCH if method in WINDOWS else BATCH).peak,
        "planned asking": max(sl.measure.memory(network, batch, training=False).peak for network, _, batch in asked),
    }


def networks(method: str, model: Any) -> list[tuple[Any, int, int]]:
    """What is asked about a scene: networks, how many times each, and in batches of how many."""
    import sightline as sl

    if method in RATES:
        return [(model, 1, 1)]
    steps = [math.ceil(max(round(SIDE * scale) - WINDOW, 0) / STRIDE) for scale in SCALES]
    if method == "sliding":
        return [(model, sum((each + 1) ** 2 for each in steps), 64)]
    dense = sl.rewrite.to_fully_convolutional(model)
    inputs = [sl.Input((WINDOW + STRIDE * each, WINDOW + STRIDE * each, 3)) for each in steps]
    return [(sl.Model(x, sl.rewrite.on_input(dense, x)), 1, 1) for x in inputs]


def agreement(options: argparse.Namespace) -> dict[str, Any]:
    """How far what `dense` found in the same scenes is from what `sliding` did."""
    slid, dense = (json.loads((options.out / f"found-{method}.json").read_text()) for method in WINDOWS)
    alike = [(a, b) for a, b in zip(slid, dense, strict=True) if a[2] == b[2]]
    apart = [max(np.abs(np.subtract(a[i], b[i])).max(initial=0) for a, b in alike) for i in range(2)]
    return {"same classes in the same order": len(alike), "boxes apart": apart[0], "scores apart": apart[1]}


def high_water() -> int:
    """The most bytes that this process had resident. (getrusage would count its parent's too.)"""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


# --- the whole ------------------------------------------------------------------------------------------------------


def run(step: str, method: str) -> dict[str, Any]:
    """A step in a process of its own, with this one's arguments."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    asked = [sys.executable, __file__, *sys.argv[1:], "--step", step, method]
    print(f"{step} {method}", flush=True)
    load = os.getloadavg()[0]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout) | {"load": [load, os.getloadavg()[0]]}


def draw(rows: dict[str, Any], path: Path) -> None:
    """mAP50 against what a scene takes, and against what training took, with the intervals of the measure."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, row in rows.items():
        value, low, high = row["ask"]["mAP50"]
        for axes, x in ((left, row["ask"]["milliseconds"]), (right, row["train"]["seconds"])):
            marker = "s" if name in WINDOWS else "o"
            axes.errorbar(x, value, [[value - low], [high - value]], marker=marker, capsize=3)
            axes.annotate(name, (x, value), (6, 6), textcoords="offset points")
    left.set(xscale="log", xlabel="milliseconds of a processor for a scene", ylabel="mAP50 of the test scenes")
    right.set(xscale="log", xlabel="seconds of a processor for the training")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.margins(x=0.2)
    figure.savefig(path, dpi=130)


def table(rows: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = [
        "| | mAP50 | mAP | ms a scene | training, s | memory of training | of asking | parameters | multiply-adds |"
    ]
    lines.append("|" + "---|" * 9)
    for name, row in rows.items():
        asked, trained = row["ask"], row["train"]
        quality = " | ".join(
            f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in (asked["mAP50"], asked["mAP"])
        )
        memory = " | ".join(
            f"{measured / 1e6:.0f} MB ({planned / 1e6:.0f} planned)"
            for measured, planned in (
                (trained["memory"], asked["planned training"]),
                (asked["memory"], asked["planned asking"]),
            )
        )
        lines.append(
            f"| {name} | {quality} | {asked['milliseconds']:.1f} | {trained['seconds']:.0f} | {memory} "
            f"| {asked['parameters'] / 1e6:.2f} M | {asked['multiply-adds'] / 1e6:.0f} M |"
        )
    return "\n".join(lines)


def about(options: argparse.Namespace) -> dict[str, Any]:
    names = ("sightline", "torch", "numpy", "pillow")
    return {
        "seed": options.seed, "scenes": options.scenes, "epochs": options.epochs, "window epochs": options.window_epochs, "test": options.test,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(),
    } | {name: version(name) for name in names}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scenes", type=int, default=3200, help="that there are to learn from")
    parser.add_argument("--epochs", type=int, default=3, help="in which a detector sees them all")
    parser.add_argument("--window-epochs", type=int, default=6, help="in which the classifier sees their crops")
    parser.add_argument("--test", type=int, default=200, help="scenes to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/finding-objects"))
    parser.add_argument("--step", nargs=2, metavar=("STEP", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, method = options.step
        with contextlib.redirect_stdout(sys.stderr):
            told = {"train": train, "ask": ask}[step](method, options)
        print(json.dumps(told))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {"about": about(options), "rows": {}}
    if results["about"] != about(options):
        sys.exit(f"{file} is of another experiment: {results['about']}. Give the name of a new folder (--out)")
    rows = results["rows"]
    for method in options.methods:
        row = rows.setdefault(method, {})
        for step in ("train", "ask"):
            if step not in row:
                shared = step == "train" and method == "dense" and "sliding" in rows
                row[step] = rows["sliding"]["train"] if shared else run(step, method)
                file.write_text(json.dumps(results, indent=1))
    draw(rows, options.out / "choosing-a-detector.png")
    print(table(rows))


if __name__ == "__main__":
    main()
