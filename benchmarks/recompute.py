"""What activation checkpointing chosen by the plan saves, and what it costs.

python benchmarks/recompute.py [--network resnet50] [--batch 16] [--size 224] [--shares 0.5 0.6] [--rounds 5]

Memory: a process of its own for the network as it is and for each share of its activations, which makes the network, trains two
batches by the public `fit` and reports the rise of its resident set's highest (VmHWM) above what it held with all libraries; less
weights, gradients and optimizer state (three times the weights and the weights), that is what activations and workspaces took.
Time: steps in one process, interleaved, medians.
"""

from __future__ import annotations

import argparse
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
import torch

import sightline as sl
from memory_plan import load_libraries, resident
from sightline.allocator import freed_memory_kept
from sightline.training.batches import Batch


def made(name: str, size: int, batch: int, share: float) -> Any:
    """The network, compiled; with a share below 1 the one that computes parts again. The plan is made on no memory."""
    model = sl.create(name, (size, size, 3), 10)
    if share < 1:
        with torch.device("meta"):
            empty = sl.create(name, (size, size, 3), 10)
        model = sl.rewrite.recompute(model, sl.measure.memory(empty, batch, device="cpu").checkpoints(share))
    model.compile("adam", "sparse_categorical_crossentropy", precision="float32")
    return model


def measure_memory(name: str, size: int, batch: int, share: float) -> dict[str, int]:
    x = np.random.default_rng(0).random((2 * batch, size, size, 3), dtype=np.float32)
    y = np.zeros(2 * batch, np.int64)
    load_libraries(name)
    if share < 1:
        made(name, 64, 1, 0.9)  # the planner's own libraries
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    model = made(name, size, batch, share)
    model.fit(x, y, batch_size=batch, verbose=0)
    weights = 4 * sum(p.numel() for p in model.parameters())
    return {"peak": resident("VmHWM") - before, "static": 4 * weights}


def measure_time(options: argparse.Namespace) -> dict[float, float]:
    x = torch.rand(options.batch, options.size, options.size, 3).permute(0, 3, 1, 2)
    batch = Batch((x,), (torch.zeros(options.batch, dtype=torch.int64),), None, options.batch)
    steps = {}
    for share in (1.0, *options.shares):
        model = made(options.network, options.size, options.batch, share)
        steps[share] = model.train()._step("fit", update=True)
    times: dict[float, list[float]] = {share: [] for share in steps}
    with freed_memory_kept():
        for number in range(options.rounds + 1):
            for share in list(steps)[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                steps[share].train(batch)
                if number:
                    times[share].append(time.perf_counter() - began)
    return {share: statistics.median(each) for share, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.6])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = options.network, options.size, options.batch
    if options.case is not None:
        print(json.dumps(measure_memory(*case, options.case)))
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("sightline", "torch"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}; n = {options.rounds}")
    held = {}
    for share in (1.0, *options.shares):
        asked = [sys.executable, __file__, *sys.argv[1:], "--case", str(share)]
        found = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        held[share] = found["peak"] - found["static"]
        print(
            f"share {share:.2f}: peak {found['peak'] / 1e6:.0f} MB, of which activations and workspaces {held[share] / 1e6:.0f} MB "
            f"({100 * (held[share] / held[1.0] - 1):+.0f} %)",
            flush=True,
        )
    times = measure_time(options)
    for share, seconds in times.items():
        print(f"share {share:.2f}: a step {1000 * seconds:.0f} ms ({100 * (seconds / times[1.0] - 1):+.0f} %)")


if __name__ == "__main__":
    main()
