"""`torchrun -m sightline train`: the run of one process, by two; and on with it by one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

NETWORK = """
import sightline as sl
from sightline import layers

def make(input_shape=(32, 32, 3), classes=2):
    return sl.Sequential([
        sl.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(4),
        layers.Dropout(0.2), layers.Flatten(), layers.Dense(classes, activation="softmax"),
    ])
"""
# A small rate: Adam makes a whole step of the last digits, where a gradient is 0 but for them
SETTINGS = (
    "--model net.py:make --image-size 32 --batch-size 7 --augment light --schedule constant --lr 0.0003 --workers 1"
)
SETTINGS = [*SETTINGS.split(), "--precision", "float32", "--ema", "0.9", "--clip", "1.0", "--no-cache"]


def sightline(folder, *words, processes=1):
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    return subprocess.run(
        [*start, "sightline", *words], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for kind in range(2):
        for number in range(20):
            path = tmp_path / "photos" / str(kind) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 200 + 50 * kind, (32, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path


def results(folder):
    text = (folder / "results.csv").read_text().split()
    return np.array([[float(value) for value in line.split(",")] for line in text[1:]])


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(photos):
    alone = sightline(photos, "train", "photos", "--name", "alone", "--epochs", "3", *SETTINGS)
    assert alone.returncode == 0, alone.stderr
    together = sightline(photos, "train", "photos", "--name", "together", "--epochs", "2", *SETTINGS, processes=2)
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("Epoch 1/2") == 1  # one process speaks
    assert together.stdout.count("Report runs") == 1
    runs = photos / "runs" / "classify"
    assert {path.name for path in (runs / "alone").iterdir()} == {path.name for path in (runs / "together").iterdir()}
    on = sightline(photos, "train", "--resume", str(runs / "together"), "--epochs", "3")
    assert on.returncode == 0, on.stderr
    assert "Going on after epoch 2" in on.stdout
    np.testing.assert_allclose(results(runs / "together"), results(runs / "alone"), rtol=0, atol=1e-3)
    found = [json.loads((runs / name / "evaluation.json").read_text()) for name in ("alone", "together")]
    assert found[0]["n"] == found[1]["n"]


@pytest.mark.slow
def test_wrong_words_are_told_and_nothing_hangs(photos):
    taken = sightline(photos, "train", "photos", "--name", "taken", "--epochs", "1", *SETTINGS)
    assert taken.returncode == 0
    again = sightline(photos, "train", "photos", "--name", "taken", "--epochs", "1", *SETTINGS, processes=2)
    assert again.returncode != 0
    said = [line for line in again.stderr.splitlines() if line.startswith("error")]
    assert len(said) == 1
    assert "taken" in said[0]
