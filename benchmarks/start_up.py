"""How long the command line takes to answer: whole processes, interleaved with a bare interpreter.

python benchmarks/start_up.py [runs]
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import sightline": [sys.executable, "-c", "import sightline"],
    "sightline --help": [sys.executable, "-m", "sightline", "--help"],
    "sightline train --help": [sys.executable, "-m", "sightline", "train", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "sightline summary mnist_cnn": [sys.executable, "-m", "sightline", "summary", "mnist_cnn"],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(runs: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for name in [*COMMANDS, *list(COMMANDS) * runs]:  # the first round warms the file cache and is not counted
        times[name].append(seconds(COMMANDS[name]))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n = {runs}"
    )
    bare = statistics.median(times["bare interpreter"][1:])
    for name, measured in times.items():
        median = statistics.median(measured[1:])
        print(f"{name:30} {median:6.3f} s  (+{median - bare:.3f}; {min(measured[1:]):.3f} to {max(measured[1:]):.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
