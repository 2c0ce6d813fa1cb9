"""How fast, and in how much memory, the same networks train: Sightline, and Keras on TensorFlow, JAX and torch.

python benchmarks/train_throughput.py [--rounds 5] [--networks NAME ...] [--contenders NAME ...] [--json FILE] [--quick]
python benchmarks/train_throughput.py --accuracy [--seeds 3] [--photos FOLDER] [--json FILE]

Every measurement is a process of its own on the CPU, with all the cores it may use (Linux: memory is read from /proc).
Rounds are interleaved, every other one backwards; told are medians. All contenders train the same network on the same
random float32 images in memory, by one `compile` (Adam, categorical_crossentropy, accuracy and top-2 accuracy) and one
`fit`. Its first epoch, in which things are compiled and precisions timed, is not counted: what `fit` took until its end
beyond a counted epoch is told as "first epoch, extra". Each other lasts from the end of the one before to its own.
Peak memory is the process's, in MB of 10^6 bytes; "of the training" is what of it lies above the memory held before the
model was made, when the framework and the images were loaded.

With `--accuracy`: what the precisions reach on images that the training did not see, seed by seed. mnist_cnn after 10
epochs on scikit-learn's 1,797 digits, enlarged to 28x28, a fifth held back; small_cnn at 64x64 on a folder of photos.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import distributions
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

COUNTED = 2  # epochs after the first
PRECISIONS = ("float32", "bfloat16")
PACKAGES = ("sightline", "torch", "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy")
# With the modules that each needs; behind the hyphen stands Keras's backend or Sightline's precision.
CONTENDERS: dict[str, tuple[str, ...]] = {
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
    "sightline": ("sightline",),
    **{f"sightline-{precision}": ("sightline",) for precision in PRECISIONS},
}


@dataclass(frozen=True)
class Case:
    """What a network is trained on: images (H, W, C), and how many of them make an epoch of seconds on two cores."""

    shape: tuple[int, int, int]
    classes: int
    batch: int
    images: int


NETWORKS = {
    "mnist_cnn": Case((28, 28, 1), 10, 64, 12_800),
    "signs_cnn": Case((128, 128, 1), 26, 32, 3_200),
    "intel_cnn": Case((150, 150, 3), 6, 32, 160),
}


# --- in a measurement's own process --------------------------------------------------------------------------------


def keras_model(keras: Any, network: str) -> Any:
    """The network of that name in Sightline's `architectures/notes.py`, of Keras's layers."""
    k, case = keras.layers, NETWORKS[network]
    conv, dense = partial(k.Conv2D, activation="relu"), partial(k.Dense, activation="relu")
    same, pool = partial(conv, padding="same"), k.MaxPooling2D
    if network == "mnist_cnn":
        layers = [conv(32, 3), pool(2), conv(64, 3), pool(2), conv(64, 3), k.Flatten(), dense(64)]
    elif network == "signs_cnn":
        layers = [same(16, 3, strides=2), pool(2), k.Flatten(), dense(512)]
    else:
        blocks = [(same(size, 3), same(size, 3), pool(2), k.BatchNormalization()) for size in (64, 128, 256)]
        layers = [*chain(*blocks), k.Flatten(), dense(64), k.BatchNormalization(), k.Dropout(0.3, seed=2)]
    return keras.Sequential([keras.Input(case.shape), *layers, k.Dense(case.classes, activation="softmax")])


def in_precision(precision: str) -> dict[str, str]:
    """The keyword that asks Sightline for a precision; none leaves the choice to it."""
    return {"precision": precision} if precision else {}


def images_of(network: str, count: int) -> tuple[Any, Any]:
    """Random float32 images (count, H, W, C) in 0..1 and one-hot labels, the same in every process."""
    import numpy as np

    case, random = NETWORKS[network], np.random.default_rng(0)
    labels = np.eye(case.classes, dtype=np.float32)[random.integers(case.classes, size=count)]
    return random.random((count, *case.shape), dtype=np.float32), labels


def throughput(contender: str, network: str, count: int) -> dict[str, Any]:
    """Images a second (by the median of the counted epochs), MB and seconds of one training on `count` images."""
    name, _, variant = contender.partition("-")
    if name == "keras":
        os.environ["KERAS_BACKEND"] = variant  # before the import, which reads it
    library: Any = importlib.import_module(name)
    create = library.create if name == "sightline" else partial(keras_model, library)
    metrics = ["accuracy", library.metrics.TopKCategoricalAccuracy(k=2)]
    ends: list[float] = []

    class Ends(library.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(time.perf_counter())

    x, y = images_of(network, count)
    create("mnist_cnn")  # loads what the library loads late, so that it does not count as the training's memory
    before = memory_mb("VmRSS")
    model = create(network)
    precision = in_precision(variant if name == "sightline" else "")
    model.compile("adam", "categorical_crossentropy", metrics=metrics, **precision)
    began = time.perf_counter()
    model.fit(x, y, batch_size=NETWORKS[network].batch, epochs=1 + COUNTED, verbose=0, callbacks=[Ends()])
    epoch, peak = statistics.median(after - end for end, after in pairwise(ends)), memory_mb("VmHWM")
    return {
        "images_a_second": count / epoch, "first_epoch_extra_s": ends[0] - began - epoch,
        "peak_mb": peak, "training_mb": peak - before, "parameters": int(model.count_params()),
        "loaded": sorted({module.partition(".")[0] for module in sys.modules} & {*PACKAGES}),
    }  # fmt: skip


def memory_mb(key: str) -> float:
    """What this process holds now ("VmRSS"), or the most that it held since it began ("VmHWM")."""
    return int(linux_entry("/proc/self/status", key).split()[0]) * 1024 / 1e6


def linux_entry(file: str, key: str) -> str:
    """What stands behind the key in a file of lines "key: value"; nothing where the key is not in it."""
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def digits_accuracy(precision: str, seed: int) -> float:
    """The share of the held-back digits that mnist_cnn gets right after 10 epochs; every seed has the same split."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    import sightline as sl

    digits = load_digits()
    small = torch.from_numpy(digits.images[:, None] / 16).float()
    x = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear").permute(0, 2, 3, 1).numpy()
    y = np.eye(10, dtype=np.float32)[digits.target]
    held_back, rest = np.split(np.random.default_rng(0).permutation(len(x)), [len(x) // 5])
    sl.utils.set_random_seed(seed)
    model = sl.create("mnist_cnn")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], **in_precision(precision))
    model.fit(x[rest], y[rest], epochs=10, verbose=0)
    return model.evaluate(x[held_back], y[held_back], verbose=0, return_dict=True)["accuracy"]


def photos_accuracy(precision: str, seed: int, folder: str) -> float:
    """The same for small_cnn on the photos in a folder: on its test split, or what was held back of it."""
    import sightline as sl

    with tempfile.TemporaryDirectory() as runs:
        settings: dict[str, Any] = {"image_size": 64, "seed": seed, "runs": runs, **in_precision(precision)}
        headlines = sl.train(folder, model="small_cnn", **settings).measures.headlines
    return next(headline.value for headline in headlines if headline.name == "accuracy")


MEASUREMENTS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (throughput, digits_accuracy, photos_accuracy)}


# --- in the parent, which loads no framework -----------------------------------------------------------------------


def measure(what: str, *arguments: Any) -> Any:
    """One measurement in a fresh process: no GPU, no settings of threads or of Keras from outside."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--measure", json.dumps([what, *arguments])]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(command, capture_output=True, text=True, env=environment | {"KERAS_HOME": home})
    if done.returncode:
        sys.exit(f"{what}{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def installed(contenders: Sequence[str]) -> list[str]:
    """Those whose modules are here; a line for each that is not."""
    missing = {name: [m for m in CONTENDERS[name] if importlib.util.find_spec(m) is None] for name in contenders}
    for name in filter(missing.get, missing):
        print(f"{name} is left out: {' and '.join(missing[name])} not installed")
    return [name for name in missing if not missing[name]]


def interleaved(network: str, contenders: Sequence[str], rounds: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """Each contender's measurements, round after round, every other one backwards."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in contenders if number % 2 == 0 else reversed(contenders):
            found[name].append(measure("throughput", name, network, count))
            print(f"  round {number + 1}, {name}: {found[name][-1]['images_a_second']:.1f} images/s", file=sys.stderr)
        sizes = {name: rows[0]["parameters"] for name, rows in found.items()}
        if len(set(sizes.values())) > 1:
            sys.exit(f"{network} is not the same network everywhere; parameters: {sizes}")
    return found


def summarized(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """By contender: medians, its slowest and fastest, and its speed over the best Keras backend's, if any."""
    speeds = {name: [row["images_a_second"] for row in rows] for name, rows in found.items()}
    best = max((statistics.median(each) for name, each in speeds.items() if name.startswith("keras-")), default=None)
    keys = ("images_a_second", "peak_mb", "training_mb", "first_epoch_extra_s")
    summary: dict[str, dict[str, Any]] = {}
    for name, rows in found.items():
        row = summary[name] = {key: statistics.median(each[key] for each in rows) for key in keys}
        row["ratio_to_best_keras"] = None if best is None else row["images_a_second"] / best
        row |= {"slowest": min(speeds[name]), "fastest": max(speeds[name]), "rounds": rows}
    return summary


def table(summary: dict[str, dict[str, Any]]) -> Iterable[str]:
    """A network's lines: a header and a row for each contender."""
    columns = f"{'to the best Keras':>19}{'peak MB':>9}{'of the training':>17}{'first epoch, extra s':>22}"
    yield f"{'contender':19}{'images/s, median (min..max)':>32}{columns}"
    for name, row in summary.items():
        speed = f"{row['images_a_second']:.1f} ({row['slowest']:.1f}..{row['fastest']:.1f})"
        ratio = "-" if row["ratio_to_best_keras"] is None else f"{row['ratio_to_best_keras']:.2f}"
        memory = f"{row['peak_mb']:9.0f}{row['training_mb']:17.0f}"
        yield f"{name:19}{speed:>32}{ratio:>19}{memory}{row['first_epoch_extra_s']:22.1f}"


def compare_speeds(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure and tell network by network; what is measured is written after each."""
    contenders, rounds = installed(options.contenders), 1 if options.quick else options.rounds
    if not contenders:
        sys.exit("No contender is installed")
    for network in options.networks:
        case = NETWORKS[network]
        batches = 2 if options.quick else max(1, round(case.images * options.scale / case.batch))
        count = batches * case.batch
        summary = summarized(interleaved(network, contenders, rounds, count))
        size = f"{'x'.join(map(str, case.shape))}, {case.classes} classes, batches of {case.batch}"
        print(f"\n{network}: {size}, {count:,} images an epoch, n = {rounds}")
        print("\n".join(table(summary)))
        told = asdict(case) | {"images": count, "rounds": rounds, "contenders": summary}
        report.setdefault("networks", {})[network] = told
        write(options.json, report)


def compare_accuracies(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Tell what each precision reaches on images held back, seed by seed."""
    tasks: dict[str, tuple[Any, ...]] = {"digits": ("digits_accuracy",)}
    if options.photos and not Path(options.photos).is_dir():
        print(f"The photos are left out: {options.photos} is no folder")
    elif options.photos:
        tasks["photos"] = ("photos_accuracy", options.photos)
    for task, (function, *more) in tasks.items():
        found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for seed in range(options.seeds):
            for precision in PRECISIONS:
                found[precision].append(measure(function, precision, seed, *more))
        for precision, shares in found.items():
            each = ", ".join(f"{share:.4f}" for share in shares)
            print(f"{task}, {precision}: accuracy on images held back {statistics.mean(shares):.4f} (by seed {each})")
        report.setdefault("accuracies", {})[task] = found
        write(options.json, report)


def write(file: str | None, report: dict[str, Any]) -> None:
    if file is not None:
        Path(file).write_text(json.dumps(report, indent=1) + "\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--scale", type=float, default=1.0, help="times the images of an epoch, for other machines")
    parser.add_argument("--quick", action="store_true", help="one round of two batches: whether it runs, not how fast")
    parser.add_argument("--accuracy", action="store_true", help="compare what the precisions reach instead of speeds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", metavar="FOLDER", help="photos in class folders, for --accuracy")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    options = parser.parse_args()
    if min(options.rounds, options.seeds, options.scale) <= 0:
        parser.error("--rounds, --seeds and --scale are above 0")
    return options


def main() -> None:
    options = read_options()
    packages = {package.name.replace("_", "-"): package.version for package in distributions()}
    versions = {name: packages[name] for name in PACKAGES if name in packages}
    processor = linux_entry("/proc/cpuinfo", "model name") or platform.machine()
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    report = {"processor": processor, "cores": cores, "python": python, "versions": versions}
    print(f"{processor}, {cores} cores, Python {python}, " + ", ".join(f"{k} {v}" for k, v in versions.items()))
    write(options.json, report)  # a path that cannot be written is told before hours of measuring
    (compare_accuracies if options.accuracy else compare_speeds)(options, report)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        function, *arguments = json.loads(sys.argv[2])
        print(json.dumps(MEASUREMENTS[function](*arguments)))
    else:
        main()
