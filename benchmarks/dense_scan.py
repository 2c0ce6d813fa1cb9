"""A classifier scanned over a large picture: as a fully convolutional network, and crop by crop in batches.

python benchmarks/dense_scan.py [--networks mnist_cnn lenet5] [--size 1024] [--batches 64 256] [--rounds 3] [--threads 2] [--tile 512]

Both say the same of every window, at the network's own stride (4 pixels for these two, which have no "same" padding): the largest
difference is printed first. Times are medians of interleaved rounds in one process, after one round that does not count, of scores
alone, without boxes; crops are views of the picture that are put together batch by batch, and the time includes that. Crops
are tried with each of `--batches`, and the ratio is to the fastest of them. `--tile` is the dense network by tiles of that side.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

import sightline as sl
from sightline.detectors import DenseDetector, SlidingWindowDetector


def ways(name: str, options: argparse.Namespace) -> tuple[dict[str, Callable[[], np.ndarray]], str]:
    """What is timed, each giving the scores (windows, classes), and what the windows are."""
    torch.manual_seed(0)
    model = sl.create(name, classes=10)
    image = np.random.default_rng(0).integers(0, 256, (options.size, options.size, model.input_shape[-1]), np.uint8)
    image = (image / np.float32(255)).astype(np.float32)
    dense, tiled = DenseDetector(model), DenseDetector(model, tile=options.tile)
    stride = dense.where.stride
    found: dict[str, Callable[[], np.ndarray]] = {
        "dense": lambda: dense._scan(image).scores,
        f"dense, tiles of {options.tile}": lambda: tiled._scan(image).scores,
    }
    for batch in options.batches:
        slid = SlidingWindowDetector(model, stride=stride, batch_size=batch)
        found[f"crops, batches of {batch}"] = lambda slid=slid: slid._scan(image).scores  # type: ignore[misc]
    return found, f"{dense.where.window[0]}x{dense.where.window[1]} windows every {stride[0]} pixels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn", "lenet5"])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tile", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    packages = ", ".join(f"{name} {version(name)}" for name in ("sightline", "torch"))
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads} threads"
    print(f"{machine}, {packages}; a picture of {options.size}x{options.size}, n = {options.rounds}")
    for name in options.networks:
        found, windows = ways(name, options)
        first, *others = (run() for run in found.values())  # warm, and compared
        apart = max(float(np.abs(first - other).max()) for other in others)
        print(f"{name}: {len(first):,} {windows}; scores at most {apart:.1e} apart")
        times: dict[str, list[float]] = {way: [] for way in found}
        for number in range(options.rounds):
            for way in list(found)[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                found[way]()
                times[way].append(time.perf_counter() - began)
        medians = {way: statistics.median(each) for way, each in times.items()}
        crops = min(seconds for way, seconds in medians.items() if way.startswith("crops"))
        for way, seconds in medians.items():
            low, high = min(times[way]), max(times[way])
            print(
                f"  {way}: {seconds:.3f} s ({low:.3f} to {high:.3f}), {crops / seconds:.1f} times as fast as crops",
                flush=True,
            )


if __name__ == "__main__":
    main()
