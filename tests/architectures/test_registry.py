"""What every network with a name must do: have its published size, train, be saved and loaded, and be the same for a seed."""

import math

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.architectures.registry import ARCHITECTURES
from sightline.data import make_scenes
from sightline.errors import ArgumentError, SightlineError

LARGE = 15_000_000  # parameters: training such a network takes minutes
# Steps of Adam on all 64 scenes until the training accuracy is 0.95, at this rate and size (0.001 and the smallest where none is given)
RATES = {"alexnet": 1e-4, "googlenet": 3e-4, "inception_v3": 3e-4}
RATES |= dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), 1e-4)
MOST_STEPS = 600  # most are for intel_cnn, whose moving statistics follow by a hundredth of the way

FAST = [name for name, known in ARCHITECTURES.items() if (known.parameters or 0) < LARGE]
QUICK = ("lenet5", "mnist_cnn", "signs_cnn", "small_cnn")  # learn all scenes within seconds
LEARNERS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sl.list_models()]
LARGER = ("unet", "unet_medium", "yolo_m", "yolo_s")  # a smaller one of the family is tried each time
NETWORKS = [
    name if name in FAST and name not in LARGER else pytest.param(name, marks=pytest.mark.slow)
    for name in sl.list_models()
]


def side_of(name):
    """A small image that the network takes."""
    known = ARCHITECTURES[name]
    return max(known.minimum, 32)


def small(name, classes=10, **arguments):
    side, channels = side_of(name), ARCHITECTURES[name].input_shape[2]
    torch.manual_seed(3)
    return sl.create(name, (side, side, channels), classes, **arguments)


def scenes(name, n):
    """Scenes of one digit as the network takes them: x of 0..1, and the digits."""
    side = side_of(name)
    found = list(make_scenes(n, (max(side, 24),) * 2, digits=(1, 1)))
    x = np.stack([scene.image[:side, :side] for scene in found]).astype(np.float32) / 255
    channels = ARCHITECTURES[name].input_shape[2]
    return x.mean(-1, keepdims=True) if channels == 1 else x, np.array([int(s.boxes.labels[0]) for s in found])


@pytest.mark.parametrize("name", [name for name, known in ARCHITECTURES.items() if known.parameters])
def test_trainable_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = sl.create(name)
    known = ARCHITECTURES[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    assert model.output_shape == (None, known.classes)
    assert known.source


# From the papers' own code or the documentation of who published the weights
PUBLISHED = {
    "alexnet": 60_965_224,  # Caffe's bvlc_reference_caffenet and bvlc_alexnet
    "vgg11": 132_863_336,  # torchvision's documentation, as all of VGG, ResNet, DenseNet and MobileNetV2
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 6_998_552,  # Caffe's bvlc_googlenet without the auxiliary classifiers
    "inception_v3": 23_834_568,  # timm's results table: 23.83 M
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "se_resnet50": 28_088_024,  # timm's legacy_seresnet50, ported from the authors' Caffe
    "se_resnet101": 49_326_872,
    "senet154": 115_088_984,
    "xception": 22_855_952,  # Keras's 22,910,480 less the 54,528 moving statistics
    "mobilenetv2": 3_504_872,
    "tf_mobilenetv2": 3_504_872,
    "densenet121": 7_978_856,
    "lenet5": 61_706,
    "mnist_cnn": 93_322,  # Chollet, Deep Learning with Python, listing 5.3
}


def test_the_table_says_what_was_published():
    said = {name: known.parameters for name, known in ARCHITECTURES.items() if name in PUBLISHED}
    assert said == PUBLISHED


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_64_scenes(name):
    model = small(name)
    x, y = scenes(name, 64)
    model.compile(sl.optimizers.Adam(RATES.get(name, 0.001)), "sparse_categorical_crossentropy", metrics=["accuracy"])
    accuracy = 0.0
    while model.optimizer.iterations < MOST_STEPS and accuracy < 0.95:
        model.fit(x, y, batch_size=32, epochs=10, verbose=0)
        accuracy = model.evaluate(x, y, verbose=0)[1]
    assert accuracy >= 0.95


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_saved_loaded_and_summarised(name, tmp_path):
    model = small(name)
    x, _ = scenes(name, 2)
    again = sl.load(model.save(tmp_path / "it.sightline"))
    assert np.array_equal(again.predict(x), model.predict(x))
    assert again.metadata == model.metadata
    text = model.summary(as_text=True)
    assert f"Total params: {model.count_params():,}" in text


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_means_the_same_network_and_the_same_training(name):
    x, y = scenes(name, 8)

    def trained():
        model = small(name)
        model.compile(sl.optimizers.Adam(0.0003), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=4, epochs=1, verbose=0)
        return model.get_weights()

    for one, other in zip(trained(), trained(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", FAST)
def test_it_takes_other_sizes_channels_and_classes(name):
    known = ARCHITECTURES[name]
    least, channels = known.minimum, 4 - known.input_shape[2]  # 1 for 3, and 3 for 1
    model = sl.create(name, (least, least + 5, channels), 3).eval()
    with torch.no_grad():
        answer = model(torch.rand(2, channels, least, least + 5))
    assert answer.shape == (2, 3)
    assert torch.allclose(answer.sum(1), torch.ones(2), atol=1e-5)
    with pytest.raises(ArgumentError, match=f"at least {least}x{least}"):
        sl.create(name, (least - 1, least, channels))


@pytest.mark.parametrize("name", [name for name in FAST if ARCHITECTURES[name].classes == 1000])
def test_the_backbone_has_named_stages(name):
    side = math.ceil(side_of(name) / 32) * 32 + 32
    backbone = sl.create(name, (side, side, 3), include_top=False)
    assert backbone.output_shape[1:3] == backbone.get_layer("stride_32").output.shape[1:3]
    for stride in (4, 8, 16, 32):
        height = backbone.get_layer(f"stride_{stride}").output.shape[1]
        assert abs(height - side / stride) <= 2  # "valid" windows at a border, in Inception-v3 and Xception
    assert backbone.metadata["backbone"] in backbone.values
    features = sl.Model(backbone.input, [backbone.get_layer(f"stride_{s}").output for s in (8, 32)])
    assert len(features.outputs) == 2


def test_logits_are_what_the_softmax_is_of():
    model, logits = small("resnet18"), small("resnet18", classifier_activation=None)
    x, _ = scenes("resnet18", 4)
    assert np.allclose(torch.softmax(torch.from_numpy(logits.predict(x)), 1), model.predict(x), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "resnet51"}, ("resnet50",)),
        ({"name": "resnet18", "classes": 1}, ("at least 2",)),
        ({"name": "resnet18", "input_shape": (224, 224)}, ("height, width, channels",)),
        ({"name": "resnet18", "auxiliary": True}, ("no auxiliary", "googlenet")),
        ({"name": "resnet18", "pretrained": True}, ("pretrained", "weights")),
        ({"name": "resnet18", "weights": "nowhere.pth"}, ("nowhere.pth",)),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, words):
    with pytest.raises(SightlineError) as error:
        sl.create(**arguments)
    for word in words:
        assert word in str(error.value)
