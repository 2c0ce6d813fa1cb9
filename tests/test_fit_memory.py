"""A run that memory will not suffice for: refused, or trained in less; in a child process whose memory is limited."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

import sightline as sl
from sightline import layers
from sightline.console import silent
from sightline.errors import ArgumentError, SightlineError
from sightline.measure import limits, memory
from sightline.measure.shortage import Shortage
from sightline.runs import fitting_memory
from sightline.runs.settings import Settings, resolve
from sightline.training import checkpoint

NETWORK = """
import sightline as sl
from sightline import layers

def make(input_shape=(96, 96, 3), classes=2):
    def conv():
        return layers.Conv2D(32, 3, padding="same", activation="relu")
    return sl.Sequential([
        sl.Input(input_shape), layers.Rescaling(1 / 255), conv(), conv(), conv(), layers.MaxPooling2D(4), layers.Dropout(0.2), conv(),
        layers.GlobalAveragePooling2D(), layers.Dense(classes, activation="softmax"),
    ])
"""

CHILD = """
import json, resource, sys
from pathlib import Path
import sightline as sl
from sightline.errors import SightlineError

folder, room = Path(sys.argv[1]), int(sys.argv[2])
arguments = dict(model=f"{folder}/net.py:make", image_size=128, batch_size=32, epochs=2, workers=1, cache=False,
                 precision="float32", runs=str(folder / "runs"))
found = {}

def train(name, **more):
    try:
        run = sl.train(folder / "photos", name=name, **arguments, **more)
        found[name] = (run.path / "results.csv").read_text()
    except SightlineError as error:
        found[name] = f"refused: {error}"

train("free")
held = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + room, resource.RLIM_INFINITY))
train("refused")
train("fitted", fit_memory="auto")
found["seen"] = Path(folder / "runs/classify/fitted/log.txt").read_text()
found["config"] = Path(folder / "runs/classify/fitted/config.yaml").read_text()
train("off", fit_memory="off")
found["off seen"] = Path(folder / "runs/classify/off/log.txt").read_text()
Path(folder / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    for kind in range(2):
        for number in range(24):
            pixels = rng.integers(0, 200, (96, 96, 3), dtype=np.uint8)
            pixels[..., kind] += 50
            path = folder / "photos" / str(kind) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (folder / "net.py").write_text(NETWORK)
    return folder


def rows(text):
    return np.array([[float(value) for value in line.split(",")] for line in text.split()[1:]])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of a process are Linux's here")
def test_in_limited_memory_a_run_is_refused_or_trains_to_the_same_curve(photos):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(photos), str(300 * 2**20)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((photos / "found.json").read_text())
    assert found["refused"].startswith("refused: More memory than there is would be needed for training")
    assert "--fit-memory auto" in found["refused"]
    assert re.search(r"free. It takes batches in \d parts, whose gradients are added up", found["seen"])
    assert re.search(r"fit_memory:\n.*\n  parts: [248]\n", found["config"])
    assert rows(found["free"]).shape == rows(found["fitted"]).shape == (2, rows(found["free"]).shape[1])
    np.testing.assert_allclose(rows(found["fitted"]), rows(found["free"]), rtol=0, atol=1e-4)
    # Without any of it the step that finds no memory begins again, and the curve is the same
    assert "is planned to peak at" in found["off seen"]
    np.testing.assert_allclose(rows(found["off"]), rows(found["free"]), rtol=0, atol=1e-4)
    assert "Memory ran out in step 1" in done.stdout


def network(norm):
    return sl.Sequential(
        [
            sl.Input((64, 64, 3)),
            *(layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(6)),
            *([layers.BatchNormalization()] if norm else []),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("norm", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_ways_begin_with_the_cheapest(norm, monkeypatch):
    monkeypatch.setattr(fitting_memory, "sixteen_bits", lambda device: "bfloat16")
    plan = memory(network(norm), 32)
    ways = list(fitting_memory.ways(plan))
    assert ways[0].peak == plan.peak
    least = 8 if norm else 1
    first = [way.parts for way in ways[: ways.index(next(way for way in ways if way.precision))]]
    assert first == [parts for parts in (1, 2, 4, 8, 16, 32) if 32 // parts >= least]
    assert ways[len(first)].precision == "bfloat16"
    assert any(way.segments and way.precision is None for way in ways)
    recomputed = next(i for i, way in enumerate(ways) if way.segments)
    assert all(not way.segments for way in ways[:recomputed])
    if norm:  # very small parts only where nothing else helps
        assert min(i for i, way in enumerate(ways) if way.parts > 4) > recomputed
    tight = sorted(way.peak for way in ways)[len(ways) // 2]
    chosen = fitting_memory.cheapest(Shortage(plan, tight - plan.library - plan.parameters))
    assert chosen == next(way for way in ways if way.peak <= tight)
    assert fitting_memory.cheapest(Shortage(plan, 1)) is None


def test_a_way_says_what_it_does():
    way = fitting_memory.Way(2**30, 4, "bfloat16", (("a", "b"), ("c",)))
    assert str(way) == (
        "batches in 4 parts, whose gradients are added up before each update and bfloat16 arithmetic and 2 parts of the network "
        "computed again in backward (planned peak 1.00 GiB)"
    )


def test_the_setting_is_checked_and_told(tmp_path):
    with pytest.raises(ArgumentError, match="fit-memory"):
        Settings(data="photos", fit_memory="sometimes")
    settings = Settings(data="photos", fit_memory={"peak": 1, "parts": 2, "precision": None, "segments": []})
    assert settings.command() == "sightline train photos --fit-memory auto"
    assert "--fit-memory" not in Settings(data="photos").command()


def small_run(photos, folder):
    return {
        "model": f"{photos}/net.py:make", "image_size": 32, "batch_size": 24, "schedule": "constant", "workers": 1,
        "runs": str(folder), "precision": "float32",
    }  # fmt: skip


def leave_room_for_four_parts(run, monkeypatch):
    """As much memory as the run's batches of 24 need in 4 parts, and no more."""
    plan = memory(sl.load(run.folder.best), 24)
    part = plan.again(batch_size=6)
    free = part.peak + part.batch * 4 - plan.library - plan.parameters
    monkeypatch.setattr(limits, "free", lambda device: free)


@pytest.mark.slow
def test_a_run_resumes_the_way_that_it_took(photos, monkeypatch, tmp_path):
    arguments = small_run(photos, tmp_path)
    whole = sl.train(photos / "photos", name="whole", epochs=3, **arguments)
    leave_room_for_four_parts(whole, monkeypatch)
    run = sl.train(photos / "photos", name="run", epochs=2, fit_memory="auto", **arguments)
    monkeypatch.setattr(limits, "free", lambda device: 2**40)
    sl.train(resume=run.path, epochs=3)
    assert checkpoint.newest(run.folder.checkpoint, silent)["step"]["parts"] == 4
    log = run.folder.log.read_text()
    assert log.count("It takes batches in") == 1
    np.testing.assert_allclose(
        rows(run.folder.results.read_text()), rows(whole.folder.results.read_text()), rtol=0, atol=1e-4
    )


@pytest.mark.usefixtures("without_report")
@pytest.mark.slow
def test_a_run_that_fitted_goes_on_where_memory_is_short(photos, monkeypatch, tmp_path):
    arguments = small_run(photos, tmp_path)
    run = sl.train(photos / "photos", name="run", epochs=1, **arguments)
    leave_room_for_four_parts(run, monkeypatch)
    with pytest.raises(SightlineError, match="--fit-memory auto"):
        sl.train(resume=run.path, epochs=2)
    sl.train(resume=run.path, epochs=2, fit_memory="auto")
    assert len(rows(run.folder.results.read_text())) == 2


def test_another_runs_way_is_no_setting_of_a_new_one(photos, tmp_path):
    way = {"peak": 1, "parts": 2, "precision": None, "segments": []}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"fit_memory": way}))
    assert resolve("photos", {}, tmp_path / "config.yaml").fit_memory == "auto"
    with pytest.raises(ArgumentError, match="no way that a run has taken"):
        Settings(data="photos", fit_memory={"foo": 1})
