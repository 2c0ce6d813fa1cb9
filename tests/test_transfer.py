"""Learning from weights that are there: what is frozen stays to the bit, what trains does so at its own rate."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import sightline as sl
from sightline.architectures.weights import named_weights
from sightline.errors import ArgumentError, SightlineError
from sightline.rewrite import split_at, with_dropout
from sightline.runs.networks import build_network, find_source
from sightline.structures import ImageSpec
from sightline.tasks.classify import Classify

pytestmark = pytest.mark.usefixtures("without_report")

SIDE = 32


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Pictures of two kinds of stripes, in class folders with splits."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for split, n in (("train", 16), ("validation", 6), ("test", 6)):
        for name in ("across", "down"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = generator.integers(0, 255, (SIDE, SIDE, 3))
                stripes = np.arange(SIDE) // 4 % 2 * 200
                pixels = pixels // 4 + (stripes[:, None, None] if name == "across" else stripes[None, :, None])
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path):
    """A file of weights of resnet18 for 5 other classes, whose BatchNormalizations have seen something."""
    torch.manual_seed(7)
    model = sl.create("resnet18", (SIDE, SIDE, 3), 5)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if "running" in name:
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(drawn + 0.5 if "var" in name else 0.2 * drawn - 0.1)
    return model.save(tmp_path / "theirs.sightline")


def train(photos, weights, **settings):
    common = {"model": "resnet18", "image_size": SIDE, "batch_size": 8, "epochs": 2, "weights": weights}
    return sl.train(photos, **common | settings)


def changed(run, weights):
    """The names of the weights in a run's last epoch that are not those of the file, but for the last layer's."""
    theirs, ours = (named_weights(sl.load(path)) for path in (weights, run.folder.last))
    return {name for name in theirs if not name.startswith("fc.") and not torch.equal(theirs[name], ours[name])}


def test_a_frozen_backbone_stays_to_the_bit_and_its_head_learns(photos, weights):
    run = train(photos, weights, freeze="backbone", epochs=8, lr=0.01)
    assert changed(run, weights) == set()
    with open(run.folder.results) as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    measures, _ = run.evaluate()
    assert measures.as_dict() == run.measures.as_dict()
    assert sl.load(run.folder.best).output_shape == (None, 2)


def test_of_a_frozen_backbone_each_image_is_decoded_once(photos, weights, monkeypatch):
    from sightline.data import images

    decoded = []
    original = images.decode_row
    monkeypatch.setattr(
        images, "decode_row", lambda sample, spec: decoded.append(sample.path) or original(sample, spec)
    )
    train(photos, weights, freeze="backbone", epochs=5, cache=False)
    assert len(decoded) == len(set(decoded)) == 56


def test_the_last_stage_is_unfrozen_without_its_batch_normalizations(photos, weights):
    run = train(photos, weights, unfreeze="last-stage")
    names = changed(run, weights)
    assert names
    assert all(name.startswith("layer4_") and ("conv" in name or "downsample_0" in name) for name in names)


@pytest.mark.slow
def test_all_is_unfrozen_without_batch_normalizations(photos, weights):
    names = changed(train(photos, weights, unfreeze="all"), weights)
    assert {"conv1.weight", "layer2_0_downsample_0.weight", "layer4_1_conv2.weight"} <= names
    assert not any("bn" in name or "downsample_1" in name for name in names)


@pytest.mark.slow
def test_without_freezing_everything_trains_from_the_weights(photos, weights):
    names = changed(train(photos, weights, epochs=1), weights)
    assert {"conv1.weight", "bn1.weight", "bn1.running_mean"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"freeze": "backbone"}, {"unfreeze": "last-stage"}])
def test_a_run_of_fewer_epochs_goes_on_to_the_same_bits(photos, weights, how):
    common = how | {"schedule": "constant"}
    whole = train(photos, weights, name="whole", epochs=3, **common)
    part = train(photos, weights, name="part", epochs=2, **common)
    weights.unlink()  # what a run needs is in its folder
    again = sl.train(resume=part.path, epochs=3)
    for file in ("last.sightline", "best.sightline"):
        assert (whole.path / "weights" / file).read_bytes() == (again.path / "weights" / file).read_bytes()


def test_the_preprocessing_of_a_network_with_a_name_is_inside(photos):
    network = build_network(Classify(), find_source("resnet18"), ImageSpec(SIDE, SIDE, 3), ["a", "b"]).eval()
    bare = sl.create("resnet18", (SIDE, SIDE, 3), 2).eval()
    bare.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if "rescaling" not in name})
    pixels = torch.randint(0, 256, (2, 3, SIDE, SIDE)).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        assert torch.allclose(network(pixels), bare((pixels / 255 - mean) / std), atol=1e-5)
    assert "preprocessing" not in network.metadata
    assert network.metadata["backbone"] in network.values


def test_split_networks_in_a_row_are_the_network():
    torch.manual_seed(0)
    model = sl.create("resnet18", (SIDE, SIDE, 3), 4).eval()
    below, above = split_at(model, "stride_16")
    x = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(above(below(x)), model(x))
    assert {id(p) for p in below.parameters()} | {id(p) for p in above.parameters()} == {
        id(p) for p in model.parameters()
    }
    with pytest.raises(ArgumentError, match="stride_16"):
        split_at(model, "stride16")
    with pytest.raises(SightlineError):
        split_at(model, "layer1_0_bn1_act")  # the way around the block needs another value


def test_dropout_stands_before_the_last_layer_once():
    model = sl.create("resnet18", (SIDE, SIDE, 3), 4)
    once = sl.Model(model.inputs, with_dropout(model, 0.3))
    twice = sl.Model(once.inputs, with_dropout(once, 0.6))
    for network, rate in ((once, 0.3), (twice, 0.6)):
        drops = [layer for layer in network.layers if isinstance(layer, sl.layers.Dropout)]
        assert [layer.rate for layer in drops] == [rate]
        assert network.outputs[0].call.args[0].call.layer is drops[0]


def test_a_scaled_rate_is_the_update_at_that_rate():
    """Of Adam with decay, where the update follows from the rate in two places."""
    start = [torch.randn(4, 3), torch.randn(5)]
    gradients = [torch.randn(4, 3), torch.randn(5)]

    def after(rate, factor=None):
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        optimizer = sl.optimizers.AdamW(rate, weight_decay=0.1)
        optimizer.bind(parameters)
        if factor is not None:
            optimizer.scale_learning_rate(factor, parameters[:1])
        for _ in range(3):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    scaled = after(0.1, 0.25)
    assert torch.allclose(scaled[0], after(0.1 * 0.25)[0], rtol=1e-6)
    assert torch.equal(scaled[1], after(0.1)[1])
    with pytest.raises(ArgumentError, match="factor"):
        sl.optimizers.Adam().scale_learning_rate(-1, [])


def test_small_data_is_a_recipe_that_what_is_said_overrides(photos):
    run = sl.train(photos, image_size=SIDE, epochs=1, recipe="small-data", dropout=0.1)
    config = run.folder.config.read_text()
    for line in ("augment: light", "weight_decay: 0.02", "label_smoothing: 0.1", "patience: 10", "dropout: 0.1"):
        assert line in config
    drops = [layer.rate for layer in run.model.modules() if isinstance(layer, sl.layers.Dropout)]
    assert drops[-1] == 0.1


def test_smoothed_labels_are_kerass(photos):
    run = sl.train(photos, image_size=SIDE, epochs=1, label_smoothing=0.2, lr=1e-12, batch_size=32, dropout=0.0)
    model = sl.load(run.folder.last)
    assert model._compiled.loss.label_smoothing == 0.2
    with open(run.folder.results) as file:
        assert float(next(csv.DictReader(file))["val_loss"]) > 0.325  # the entropy of (0.9, 0.1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freeze": "head"}, ("head", "backbone")),
        ({"unfreeze": "some"}, ("last-stage", "all")),
        ({"freeze": "backbone", "augment": "light"}, ("augment", "--unfreeze")),
        ({"weights": "nowhere.safetensors"}, ("nowhere.safetensors",)),
        ({"weights": "photos"}, ("photos",)),
        ({"backbone_lr": 0}, ("backbone-lr", "above 0")),
        ({"label_smoothing": 1.0}, ("label-smoothing",)),
        ({"recipe": "large-data"}, ("small-data",)),
        ({"model": "signs_cnn", "unfreeze": "last-stage"}, ("named stages", "all")),
    ],
)
def test_what_cannot_be_done_is_said(photos, settings, words):
    with pytest.raises(SightlineError) as error:
        sl.train(photos, **{"model": "resnet18", "image_size": SIDE} | settings)
    for word in words:
        assert word in str(error.value)
    assert not (photos.parent / "runs").exists()


def test_only_a_network_that_says_where_its_backbone_ends_is_frozen(photos):
    (photos.parent / "mine.py").write_text(
        "import sightline as sl\n"
        "def net(input_shape, classes):\n"
        "    return sl.Sequential([sl.Input(input_shape), sl.layers.Flatten(), sl.layers.Dense(classes, 'softmax')])\n"
    )
    with pytest.raises(ArgumentError, match="where its backbone ends"):
        sl.train(photos, model="mine.py:net", image_size=SIDE, freeze="backbone")
    with pytest.raises(ArgumentError, match=r"mine\.py:net"):
        sl.train(photos, model="mine.py:net", image_size=SIDE, weights="imagenet")
