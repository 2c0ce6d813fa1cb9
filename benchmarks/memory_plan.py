"""How near the plan of memory comes to what training and inference take.

python benchmarks/memory_plan.py [--networks NAME ...] [--precisions float32 bfloat16] [--batches 8 32] [--size 224] [--steps 3]
                                 [--modes train infer] [--json FILE] [--measured FILE]

Each case is a process of its own. It loads all libraries by training and asking a tiny network, notes its resident set, makes the
network, and calls the public `fit` (Adam, `--steps` batches) or `predict` on random images. Measured is the highest resident set
(VmHWM) of that call less the one noted; the plan beside it is `peak - library`. Images and targets of all batches are there before the note.
A name with "timm:" is timm's network as `layers.Torch`.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np

NETWORKS = ("mnist_cnn", "signs_cnn", "intel_cnn", "small_cnn", "lenet5", "resnet18", "resnet50")
OWN_SIZE = ("mnist_cnn", "signs_cnn", "intel_cnn", "small_cnn", "lenet5")  # which are not of 224x224 images


def network(name: str, size: int) -> Any:
    import sightline as sl

    if name.startswith("timm:"):
        import timm

        module = timm.create_model(name.removeprefix("timm:"), num_classes=10)
        inputs = sl.Input((size, size, 3))
        return sl.Model(inputs, sl.layers.Activation("softmax")(sl.layers.Torch(module)(inputs)))
    if name in OWN_SIZE:
        return sl.create(name)
    return sl.create(name, input_shape=(size, size, 3), classes=10)


def resident(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def load_libraries(name: str) -> None:
    import sightline as sl

    if name.startswith("timm:"):
        importlib.import_module("timm")

    tiny = sl.create("small_cnn")
    tiny.compile("adam", "sparse_categorical_crossentropy", precision="float32")
    x, y = np.zeros((4, 32, 32, 3), np.float32), np.zeros(4, np.int64)
    tiny.fit(x, y, batch_size=2, verbose=0)
    tiny.predict(x)


def measure(case: dict[str, Any]) -> dict[str, int]:
    """In a fresh process: the resident set with all libraries, and how far it rises."""
    import torch

    from sightline.architectures.registry import default_shape

    own = case["network"] in OWN_SIZE
    shape = default_shape(case["network"]) if own else (case["size"], case["size"], 3)
    count = case["batch"] * case["steps"]
    x = np.random.default_rng(0).random((count, *shape), dtype=np.float32)
    y = np.zeros(count, np.int64)
    load_libraries(case["network"])
    before = resident("VmRSS")
    model = network(case["network"], case["size"])
    model = model.to(torch.bfloat16) if case["mode"] == "infer" and case["precision"] == "bfloat16" else model
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # VmHWM begins anew: at the resident set of now, with the network in it
    if case["mode"] == "train":
        model.compile("adam", "sparse_categorical_crossentropy", precision=case["precision"])
        model.fit(x, y, batch_size=case["batch"], verbose=0)
    else:
        model.predict(x, batch_size=case["batch"])
    return {"library": before - x.nbytes, "peak": resident("VmHWM") - before}


def plan(case: dict[str, Any]) -> dict[str, Any]:
    import torch

    import sightline as sl

    with torch.device("meta"):
        model = network(case["network"], case["size"])
    began = time.perf_counter()
    planned = sl.measure.memory(
        model,
        case["batch"],
        precision=case["precision"],
        training=case["mode"] == "train",
        optimizer="adam",
        device="cpu",
    )
    return {
        "planned": planned.peak - planned.library,
        "node": planned.peak_node,
        "seconds": time.perf_counter() - began,
    }


def run(case: dict[str, Any]) -> dict[str, Any]:
    asked = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--modes", nargs="+", default=["train", "infer"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--measured", metavar="FILE", help="plan the cases of an earlier --json anew, and measure none")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(json.loads(options.case))))
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("sightline", "torch", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}, {packages}")
    rows: list[dict[str, Any]] = []
    for case in cases(options):
        rows.append(told(case | ({} if options.measured else run(case)) | plan(case)))
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
    conclude(rows)


def cases(options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.measured:
        with open(options.measured, encoding="utf-8") as file:
            return [row for row in json.load(file) if "peak" in row]
    every = itertools.product(options.networks, options.precisions, options.batches, options.modes)
    names = ("network", "precision", "batch", "mode")
    return [dict(zip(names, each, strict=True)) | {"size": options.size, "steps": options.steps} for each in every]


def told(row: dict[str, Any]) -> dict[str, Any]:
    what = f"{row['network']:>28} {row['mode']:>5} {row['precision']:>8} {row['batch']:>4}"
    if "error" in row:
        print(f"{what}  not measured: {row['error']}", flush=True)
        return row
    row["share"] = row["planned"] / row["peak"] - 1
    figures = (
        f"measured {row['peak'] / 1e6:8.0f} MB, planned {row['planned'] / 1e6:8.0f} MB, {100 * row['share']:+6.1f} %"
    )
    print(
        f"{what}  {figures}  at {row['node']}, {row['seconds']:.1f} s, library {row['library'] / 1e6:.0f} MB",
        flush=True,
    )
    return row


def conclude(rows: list[dict[str, Any]]) -> None:
    for what, least in (("all", 0), ("of 500 MB and more", 500e6)):
        shares = [abs(row["share"]) for row in rows if "share" in row and row["peak"] >= least]
        if shares:
            print(
                f"{what}: n = {len(shares)}, median error {100 * statistics.median(shares):.1f} %, worst {100 * max(shares):.1f} %"
            )


if __name__ == "__main__":
    main()
