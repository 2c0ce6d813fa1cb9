"""Boxes on backbones that someone else has trained: what is frozen stays to the bit, and whose feature maps serve."""

import pytest
import torch

import sightline as sl
from sightline.data.scene_files import write_scenes
from sightline.errors import SightlineError
from sightline.runs.networks import build_network, find_source
from sightline.structures import ImageSpec
from sightline.tasks.detect import Detect
from sightline.tasks.localize import Localize

TASKS = {"detect": Detect, "localize": Localize}
SPEC = ImageSpec(64, 64, 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of yolo_n for 5 other classes, whose BatchNormalizations have seen something."""
    torch.manual_seed(7)
    model = sl.create("yolo_n", SPEC.shape, 5)
    for name, tensor in model.state_dict().items():
        if "running" in name:
            tensor.copy_(torch.rand(tensor.shape) + (0.5 if "var" in name else -0.5))
    return model.save(tmp_path_factory.mktemp("weights") / "theirs.sightline")


def frozen_and_other(run, fresh):
    """The names of the last epoch's weights that are bit-equal to those of the network as it began, and of the others."""
    last, began = sl.load(run.folder.last).state_dict(), fresh.state_dict()
    assert last.keys() == began.keys()
    same = {name for name in last if torch.equal(last[name], began[name])}
    return same, last.keys() - same


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_backbone_stays_to_the_bit_and_the_heads_learn(task, weights, tmp_path):
    photos = write_scenes(tmp_path / "scenes", task, {"train": 8, "validation": 4})
    settings = {"model": "yolo_n", "weights": str(weights), "image_size": 64, "batch_size": 4, "epochs": 1}
    run = sl.train(photos, task=task, freeze="backbone", runs=str(tmp_path / "runs"), **settings)
    torch.manual_seed(0)
    spec = ImageSpec(64, 64, 3, "letterbox" if task == "detect" else "squash")
    fresh = build_network(TASKS[task](), find_source("yolo_n", str(weights)), spec, run.classes)
    same, other = frozen_and_other(run, fresh)
    theirs = set(sl.load(weights).state_dict())
    assert {name for name in fresh.state_dict() if name in theirs} <= same
    heads = {name for name in fresh.state_dict() if name not in theirs and "num_batches" not in name}
    assert len(heads) > 10
    assert {name for name in heads if name.endswith("running_mean")} <= other
    # Where no place of a stride has answered for an object yet, its boxes have learned nothing
    assert {name for name in heads if name.endswith("weight") and "_box" not in name} <= other


def test_what_takes_a_classifier_to_unfreeze_is_refused(tmp_path):
    with pytest.raises(SightlineError, match="--unfreeze is for classification"):
        sl.train(tmp_path, task="detect", unfreeze="all")
