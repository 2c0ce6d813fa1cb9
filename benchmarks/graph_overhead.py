"""Whether a network as a graph of ours is as fast as torchvision's and timm's modules of the same network.

python benchmarks/graph_overhead.py [--rounds 7] [--batch 8] [--size 224] [--networks NAME ...] [--json FILE]

All in one process with all cores, rounds interleaved and every other one backwards: a step of training (forward, cross-entropy,
backward, SGD) and an inference of one batch, float32, weights and images in channels_last memory for everyone. Ours trains
as `fit` does and answers by `predict`, arrays and all. Told are medians in ms, and the median and quartiles of
theirs / ours in each round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import timm
import torch
import torchvision

import sightline as sl
from sightline.allocator import freed_memory_kept
from sightline.training.batches import Batch

THEIRS: dict[str, dict[str, Callable[[], torch.nn.Module]]] = {
    "resnet50": {
        "torchvision": torchvision.models.resnet50,
        "timm": lambda: timm.create_model("resnet50"),
    },
    "vgg16": {"torchvision": torchvision.models.vgg16, "timm": lambda: timm.create_model("vgg16")},
    "mobilenetv2": {
        "torchvision": torchvision.models.mobilenet_v2,
        "timm": lambda: timm.create_model("mobilenetv2_100"),
    },
}


def ours(name: str, size: int, x: torch.Tensor, y: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    model = sl.create(name, (size, size, 3))
    model.compile(sl.optimizers.SGD(1e-4), "sparse_categorical_crossentropy", precision="float32")
    step = model._step("fit", update=True)
    batch = Batch((x,), (y,), None, len(x))

    def train() -> None:
        model.train()
        step.train(batch)

    images = x.permute(0, 2, 3, 1).numpy()

    def infer() -> None:
        model.eval()
        model.predict(images)

    return train, infer


def theirs(make: Callable[[], Any], x: torch.Tensor, y: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    model = make().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def infer() -> None:
        model.eval()
        with torch.no_grad():
            model(x)

    return train, infer


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    x = torch.randn(options.batch, 3, options.size, options.size).to(memory_format=torch.channels_last)
    y = torch.randint(0, 1000, (options.batch,))
    contenders = {"sightline": ours(name, options.size, x, y)}
    contenders |= {who: theirs(make, x, y) for who, make in THEIRS[name].items()}
    figures: dict[str, Any] = {}
    for kind, what in enumerate(("training", "inference")):
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for number in range(options.rounds + 1):
            for who in list(contenders)[:: 1 if number % 2 else -1]:
                taken = timed(contenders[who][kind])
                if number:  # the first makes what the others find
                    times[who].append(taken)
        medians = {who: statistics.median(values) for who, values in times.items()}
        figures[what] = {"ms": medians, "ratio": {who: ratios(times, who) for who in THEIRS[name]}}
    return figures


def ratios(times: dict[str, list[float]], who: str) -> list[float]:
    """Quartiles of theirs / ours, round by round: what slows the machine slows both."""
    each = [theirs / ours for theirs, ours in zip(times[who], times["sightline"], strict=True)]
    return statistics.quantiles(each, n=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--networks", nargs="+", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("sightline", "torch", "torchvision", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}; n = {options.rounds}")
    results = {}
    with freed_memory_kept():
        for name in options.networks:
            results[name] = measure(name, options)
            for what, figures in results[name].items():
                row = "  ".join(f"{who} {ms:.0f} ms" for who, ms in figures["ms"].items())
                ratio = ", ".join(
                    f"{q[1]:.2f} ({q[0]:.2f} to {q[2]:.2f}) to {who}" for who, q in figures["ratio"].items()
                )
                print(f"{name:>12} {what:>9}: {row}  (ratio {ratio})", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
