"""What a GPU does with it: the plan beside the memory that is taken, a batch that is too large, and images a second.

python benchmarks/gpu.py memory [--networks resnet50 vgg16 ...] [--batches 32 128]
python benchmarks/gpu.py too-large [--network resnet50] [--batch 2048]
python benchmarks/gpu.py speed [--networks resnet50 ...] [--batch 256] [--rounds 5]

`memory`: a process of its own for each case trains three batches by the public `fit` (or predicts them); the peak is what torch's
caching allocator had reserved at most. `too-large`: the steps' losses and peaks of a batch that does not fit, which is
computed in parts, beside the same training of a process that is given as many parts from the start. `speed`: steps of `fit` beside
a loop of plain torch (channels_last, fused optimizer) on the same batch of bytes, interleaved, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

import sightline as sl
from sightline.measure.memory_plan import CUBLAS
from sightline.training.batches import Batch

NETWORKS = ("resnet50", "vgg16", "densenet121", "mobilenetv2", "xception", "timm:convnext_tiny")
MIB = 2**20


def compiled(name: str, size: int, precision: str) -> Any:
    model = sl.create(name, (size, size, 3), 10).to("cuda")
    model.compile("adam", "sparse_categorical_crossentropy", precision=precision)
    return model


def images(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8), rng.integers(0, 10, n)


def in_a_process(function: str, **case: Any) -> dict[str, Any]:
    asked = [sys.executable, __file__, "case", "--case", json.dumps({"function": function} | case)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip()[-600:]}
    return json.loads(done.stdout.splitlines()[-1])


def measured_memory(network: str, batch: int, precision: str, training: bool, size: int) -> dict[str, Any]:
    torch.zeros(1, device="cuda")
    free, total = torch.cuda.mem_get_info()
    context = total - free
    model = compiled(network, size, precision)
    x, y = images(3 * batch, size)
    torch.cuda.reset_peak_memory_stats()
    if training:
        model.fit(x, y, batch_size=batch, verbose=0)
    else:
        model.predict(x, batch_size=batch)
    planned = sl.measure.memory(model, batch, precision=precision if training else "float32", training=training)
    free, total = torch.cuda.mem_get_info()
    return {
        "reserved": torch.cuda.max_memory_reserved(),
        "allocated": torch.cuda.max_memory_allocated(),
        "planned": planned.peak - planned.library + CUBLAS,
        "asked": planned.peak - planned.library - planned.fragmentation + CUBLAS,
        "context": context,
        "beside": total - free - torch.cuda.memory_reserved(),
        "library": planned.library,
    }


def memory(options: argparse.Namespace) -> None:
    shares = []
    for name in options.networks:
        for batch in options.batches:
            for precision, training in (("float32", True), ("bfloat16", True), ("float32", False)):
                case = {"network": name, "batch": batch, "precision": precision, "training": training}
                row = in_a_process("measured_memory", size=options.size, **case)
                what = f"{name:>20} {batch:>4} {precision:>8} {'training' if training else 'inference':>9}"
                if "error" in row:
                    print(what, row["error"], flush=True)
                    continue
                shares.append(row["planned"] / row["reserved"] - 1)
                print(
                    f"{what}  reserved {row['reserved'] / MIB:7.0f} MiB, planned {row['planned'] / MIB:7.0f} "
                    f"({100 * shares[-1]:+6.1f} %); allocated {row['allocated'] / MIB:7.0f}, asked {row['asked'] / MIB:7.0f} "
                    f"({100 * (row['asked'] / row['allocated'] - 1):+6.1f} %); context {row['context'] / MIB:.0f} "
                    f"to {row['beside'] / MIB:.0f}, library {row['library'] / MIB:.0f}",
                    flush=True,
                )
    whole = [abs(share) for share in shares]
    print(f"n = {len(whole)}, median {100 * statistics.median(whole):.1f} %, worst {100 * max(whole):.1f} %")


def trained_too_large(network: str, batch: int, size: int, fraction: float) -> dict[str, Any]:
    torch.cuda.set_per_process_memory_fraction(fraction)
    model = compiled(network, size, "float32")
    x, y = images(2 * batch, size)
    began = time.perf_counter()
    history = model.fit(x, y, batch_size=batch, epochs=2, verbose=2)
    return {
        "loss": history.history["loss"],
        "peak": torch.cuda.max_memory_reserved(),
        "seconds": time.perf_counter() - began,
    }


def too_large(options: argparse.Namespace) -> None:
    free, total = torch.cuda.mem_get_info()
    print(f"{free / MIB:.0f} of {total / MIB:.0f} MiB free; {options.network}, batch of {options.batch}")
    for fraction in (1.0, 0.5, 0.25):
        row = in_a_process(
            "trained_too_large", network=options.network, batch=options.batch, size=options.size, fraction=fraction
        )
        print(f"{fraction:.2f} of the memory: {row}", flush=True)


def plain_step(model: nn.Module, x: torch.Tensor, y: torch.Tensor, precision: str) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(x.to("cuda", non_blocking=True).to(torch.float32, memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits.float(), y.to("cuda"))
        loss.backward()
        optimizer.step()
        return loss

    return step


def our_step(model: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    take = model._step("fit", update=True)
    take.numerics.precision = model._compiled.precision
    batch = Batch((x,), (y,), None, len(x))
    return lambda: take.train(batch)


def seconds(step: Any, repeats: int) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def speed(options: argparse.Namespace) -> None:
    import torchvision

    for name in options.networks:
        for precision in ("float32", "bfloat16"):
            x, y = images(options.batch, options.size)
            inputs, targets = torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)
            plain = getattr(torchvision.models, {"mobilenetv2": "mobilenet_v2"}.get(name, name))
            theirs = plain(num_classes=10).to("cuda", memory_format=torch.channels_last).train()
            ours = compiled(name, options.size, precision)
            ours.train()
            steps = {"torch": plain_step(theirs, inputs, targets, precision), "fit": our_step(ours, inputs, targets)}
            taken: dict[str, list[float]] = {kind: [] for kind in steps}
            for step in steps.values():
                seconds(step, 5)
            for _ in range(options.rounds):
                for kind, step in steps.items():
                    taken[kind].append(seconds(step, 10))
            rates = {kind: options.batch / statistics.median(each) for kind, each in taken.items()}
            print(
                f"{name} {precision}, batch {options.batch}: ours {rates['fit']:.0f} images/s, torch "
                f"{rates['torch']:.0f}, ratio {rates['fit'] / rates['torch']:.2f} (n = {options.rounds} of 10 steps)",
                flush=True,
            )
            del steps, ours, theirs
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("memory", "too-large", "speed", "case"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "case":
        case = json.loads(options.case)
        print(json.dumps(globals()[case.pop("function")](**case)))
        return
    print(
        f"{torch.cuda.get_device_name()}, " + ", ".join(f"{n} {version(n)}" for n in ("torch", "torchvision", "timm"))
    )
    {"memory": memory, "too-large": too_large, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
