"""Boxes on backbones that someone else has trained: what is frozen stays to the bit, and whose feature maps serve."""

import pytest
import timm
import torch
from safetensors.torch import load_file

import sightline as sl
from sightline.data.scene_files import write_scenes
from sightline.errors import SightlineError
from sightline.runs.networks import build_network, find_source
from sightline.structures import ImageSpec
from sightline.tasks.detect import Detect
from sightline.tasks.localize import Localize

pytestmark = pytest.mark.usefixtures("without_report")

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


# --- networks of timm ------------------------------------------------------------------------------------------------

SMALL = (
    "resnet10t", "mobilenetv2_035", "mobilenetv3_small_050", "regnetx_002", "efficientnet_lite0", "mnasnet_small",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("hardcorenas_a", "convnext_atto")),
)  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_detector_on_the_stages_of_a_network_of_timm(name):
    source = find_source(f"timm:{name}")
    model = Detect().network(source, SPEC, ["a", "b"])
    assert model.output_shape == (None, 8 * 8 + 4 * 4 + 2 * 2, 4 + 2)
    assert model.metadata["backbone"] == ["stride_8", "stride_16", "stride_32"]
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)]
)
def test_a_network_of_timm_without_such_maps_gets_a_sentence(name):
    with pytest.raises(SightlineError, match="no feature maps at strides"):
        Detect().network(find_source(f"timm:{name}"), ImageSpec(224, 224, 3), ["a"])


@pytest.mark.parametrize("name", ["resnet10t", "regnetx_002"])
def test_the_maps_are_those_of_timms_own_features(name):
    model = find_source(f"timm:{name}").backbone(SPEC.shape).eval()
    module = timm.create_model(name, features_only=True).eval()
    network = model.get_layer("backbone")
    ours = {theirs: network.state_dict()[key] for key, theirs in network.recipe.names.items()}
    missing, _ = module.load_state_dict(ours, strict=False)
    assert not missing
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = [each for each in module(x) if each.shape[2] <= 16]
        for found, its in zip(model(x), expected, strict=True):
            torch.testing.assert_close(found, its)


def test_pretrained_weights_of_timm_come_along(shared_weights, tmp_path):
    file = shared_weights / "mobilenetv2_100.safetensors"
    model = build_network(Detect(), find_source("timm:mobilenetv2_100", str(file)), SPEC, ["a", "b"])
    assert_pretrained(model, file)
    again = sl.load(model.save(tmp_path / "it.sightline"))
    assert_pretrained(again, file)
    x = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x), model.eval()(x))


def assert_pretrained(model, file):
    """Each weight of the backbone is the file's, to the bit."""
    network, theirs = model.get_layer("backbone"), load_file(file)
    state = network.state_dict()
    assert len(network.recipe.names) > 200
    for key, name in network.recipe.names.items():
        assert name.endswith("num_batches_tracked") or torch.equal(state[key], theirs[name])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("freeze", [None, "backbone"])
def test_a_run_on_pretrained_weights_of_timm(shared_weights, tmp_path, task, freeze):
    file = shared_weights / "mobilenetv2_100.safetensors"
    photos = write_scenes(tmp_path / "scenes", task, {"train": 8, "validation": 4})
    run = sl.train(
        photos, task=task, model="timm:mobilenetv2_100", weights=str(file), freeze=freeze, image_size=64, batch_size=4,
        epochs=1, runs=str(tmp_path / "runs"),
    )  # fmt: skip
    if freeze is not None:
        assert_pretrained(sl.load(run.folder.last), file)
    else:
        with pytest.raises(AssertionError):
            assert_pretrained(sl.load(run.folder.last), file)
