"""Real data through the whole path; the long ones are run by `make test-all`."""

import json
import re

import numpy as np
import pytest

import sightline as sl
from sightline.data.decode import decode
from sightline.data.sources.class_folders import read_class_folders
from sightline.runs.demo import demo

COUNTS = {"train": 3068, "validation": 341, "test": 372}


def test_every_photo_is_found_in_its_split(clothing):
    dataset = read_class_folders(clothing)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == COUNTS
    assert len(dataset.classes) == 10
    assert sorted(dataset.given) == sorted(COUNTS)


@pytest.mark.slow
def test_a_network_learns_real_photos(clothing, tmp_path):
    run = sl.train(clothing, model="small_cnn", image_size=32, epochs=5, runs=str(tmp_path))
    lines = (run.path / "results.csv").read_text().splitlines()
    accuracy = float(lines[-1].split(",")[lines[0].split(",").index("val_accuracy")])
    validation = json.loads((run.path / "data.json").read_text())["splits"]["validation"]
    majority = np.bincount([label for _, label in validation]).max() / len(validation)
    assert accuracy > majority + 0.2
    photo = sorted((clothing / "test" / "hat").iterdir())[0]
    predictions, _ = run.predict(photo)
    model = sl.load(run.path / "weights" / "best.sightline")
    answer = model.predict(decode(photo, run.image)[None])[0]
    assert predictions[0].probabilities == tuple(float(p) for p in answer)
    assert re.search(r"372 images of the test split", (run.path / "report.html").read_text())


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(tmp_path):
    assert demo(runs=tmp_path).measures.headlines[0].value >= 0.98
