"""AlexNet, VGG, GoogLeNet and Inception-v3: the papers' numbers, and with others' weights what others' networks answer."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import sightline as sl
from sightline.architectures import googlenet
from sightline.architectures.registry import find
from sightline.architectures.weights import take_over
from sightline.errors import ModelFileError, ShapeError
from sightline.layers import MaxPooling2D


def from_torchvision(name, **arguments):
    return getattr(torchvision.models, name)(num_classes=10, init_weights=True, **arguments)


def from_timm(name, **arguments):
    return timm.create_model(name, num_classes=10, **arguments)


def without_aux(name):
    return from_torchvision(name, aux_logits=False)


def used(theirs, images):
    """Their network as after a training: BatchNorm has seen images, and scales and shifts."""
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        theirs.train()(images)
    return theirs.eval()


def on_meta(name, **arguments):
    with torch.device("meta"):
        return sl.create(name, **arguments)


def with_their_weights(name, weights, side, **arguments):
    """Ours, whose weights are theirs or nothing at all."""
    arguments = {"classifier_activation": None} | arguments
    ours = on_meta(name, input_shape=(side, side, 3), classes=10, **arguments).to_empty(device="cpu").eval()
    take_over(ours, find(name), weights, "theirs")
    return ours


def assert_close(ours, theirs, tolerance):
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def assert_same_answers_and_gradients(ours, theirs, images, weights):
    """`weights`: the names of some of our layers, and theirs.

    In float64: in float32 a rounding decides now and then which of two places a pooling takes, and so a gradient.
    """
    ours, theirs, answers = ours.double(), theirs.double(), []
    for network in (ours, theirs):
        x = images.double().requires_grad_()
        y = network(x)
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        answers.append((y.detach(), x.grad))
    for one, other in zip(*answers, strict=True):
        assert_close(one, other, 1e-9)
    for ours_name, theirs_name in weights.items():
        gradient = ours.get_layer(ours_name).weight.grad
        assert_close(gradient, theirs.get_submodule(theirs_name).weight.grad.reshape(gradient.shape), 1e-9)


slow = pytest.mark.slow


@pytest.mark.parametrize(("name", "last"), [("vgg11", "block5_conv2"), ("vgg16", "block5_conv3")])
def test_the_backbone_of_vgg_with_torchvisions_weights_is_torchvisions(name, last):
    torch.manual_seed(1)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(init_weights=False).features
    theirs.to_empty(device="cpu")
    for parameter in theirs.parameters():
        nn.init.kaiming_normal_(parameter) if parameter.ndim == 4 else nn.init.normal_(parameter)
    weights = {f"features.{key}": tensor for key, tensor in theirs.state_dict().items()}
    ours = with_their_weights(name, weights, 64, include_top=False, classifier_activation="softmax")
    last_place = str(max(i for i, part in enumerate(theirs) if isinstance(part, nn.Conv2d)))
    assert_same_answers_and_gradients(ours, theirs, torch.randn(2, 3, 64, 64), {"block1_conv1": "0", last: last_place})


def test_vgg11_with_torchvisions_weights_answers_as_torchvisions():
    torch.manual_seed(1)
    theirs = from_torchvision("vgg11").eval()
    ours = with_their_weights("vgg11", theirs.state_dict(), 224)
    with torch.no_grad():
        images = torch.randn(1, 3, 224, 224)
        assert_close(ours(images), theirs(images), 1e-4)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19", "inception_v3"])
@pytest.mark.parametrize("make", [from_torchvision, from_timm])
def test_each_weight_of_theirs_has_a_place(name, make):
    with torch.device("meta"):
        theirs = make(name)
        ours = sl.create(name, classes=10, auxiliary=name == "inception_v3" and make is from_torchvision)
    take_over(ours, find(name), theirs.state_dict(), "theirs")
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


HEADS = {
    from_torchvision: {"fc2": "classifier.3", "predictions": "classifier.6"},
    from_timm: {"fc2": "pre_logits.fc2", "predictions": "head.fc"},
}


@slow
@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize(
    ("name", "last"), [("vgg11", {"block5_conv2": "features.18"}), ("vgg16", {"block5_conv3": "features.28"})]
)
def test_vgg_with_their_weights_is_their_network(name, last, make):
    torch.manual_seed(1)
    theirs = make(name).eval()
    ours = with_their_weights(name, theirs.state_dict(), 224)
    weights = {"block1_conv1": "features.0", **last, **HEADS[make]}
    assert_same_answers_and_gradients(ours, theirs, torch.randn(1, 3, 224, 224), weights)


INCEPTION = {
    "Conv2d_1a_3x3_conv": "Conv2d_1a_3x3.conv",
    "Mixed_5c_branch_pool_conv": "Mixed_5c.branch_pool.conv",
    "Mixed_6b_branch7x7dbl_3_bn": "Mixed_6b.branch7x7dbl_3.bn",
    "Mixed_7c_branch3x3dbl_3b_conv": "Mixed_7c.branch3x3dbl_3b.conv",
    "fc": "fc",
}


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (without_aux, 75),
        pytest.param(from_timm, 80, marks=slow),
        pytest.param(from_timm, 150, marks=slow),
        pytest.param(without_aux, 299, marks=slow),
        pytest.param(from_timm, 299, marks=slow),
    ],
)
def test_inception_v3_with_their_weights_is_their_network(make, side):
    torch.manual_seed(1)
    theirs = used(make("inception_v3"), torch.randn(4, 3, side, side))
    ours = with_their_weights("inception_v3", theirs.state_dict(), side)
    assert_same_answers_and_gradients(ours, theirs, torch.randn(2, 3, side, side), INCEPTION)


def test_the_auxiliary_classifier_of_inception_v3_is_torchvisions():
    torch.manual_seed(1)
    theirs = used(from_torchvision("inception_v3", dropout=0.0), torch.randn(2, 3, 299, 299))
    ours = with_their_weights("inception_v3", theirs.state_dict(), 299, auxiliary=True)
    images = torch.randn(1, 3, 299, 299)
    theirs.training = True  # of the network alone: its parts stay in inference mode
    with torch.no_grad():
        answers, logits = ours(images), theirs(images)
    assert list(answers) == ["predictions", "auxiliary"]
    assert_close(answers["predictions"], logits.logits, 1e-4)
    assert_close(answers["auxiliary"], torch.softmax(logits.aux_logits, 1), 1e-4)


def test_weights_without_an_auxiliary_classifier_say_what_they_lack():
    with torch.device("meta"):
        theirs = from_timm("inception_v3")
        ours = sl.create("inception_v3", classes=10, auxiliary=True)
    with pytest.raises(ModelFileError, match="AuxLogits_conv0"):
        take_over(ours, find("inception_v3"), theirs.state_dict(), "theirs")


def test_vgg_for_other_images_refuses_the_weights_of_its_dense_layers():
    with torch.device("meta"):
        theirs = torchvision.models.vgg11()
        ours = sl.create("vgg11", (64, 64, 3))
    with pytest.raises(ModelFileError, match=r"fc1.*Use images of \(224, 224, 3\)"):
        take_over(ours, find("vgg11"), theirs.state_dict(), "theirs")


def shapes(model, *names):
    return [model.get_layer(name).output.shape[1:] for name in names]


def test_the_layers_of_vgg16_have_kerass_names():
    blocks = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
    names = [n for i, k in blocks for n in (*(f"block{i}_conv{j + 1}" for j in range(k)), f"block{i}_pool")]
    theirs = [*names, "flatten", "fc1", "fc2", "predictions"]
    assert [layer.name for layer in on_meta("vgg16").layers if layer.name in theirs] == theirs


def test_alexnet_has_the_papers_neurons():
    """Section 3.5, but for the first layer, of which it says 253,440: that is no number of 55x55 maps."""
    model = on_meta("alexnet")
    assert shapes(model, "conv1", "pool1") == [(55, 55, 96), (27, 27, 96)]
    neurons = [int(np.prod(shape)) for shape in shapes(model, "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")]
    assert neurons == [186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


def test_the_halves_of_alexnet_meet_where_the_paper_says():
    """Figure 2: conv3 and the dense layers see both GPUs' maps, conv2, conv4 and conv5 their own alone."""
    model = on_meta("alexnet")
    seen = {name: model.get_layer(name).weight.shape[1] for name in ("conv2", "conv3", "conv4", "conv5")}
    assert seen == {"conv2": 48, "conv3": 256, "conv4": 192, "conv5": 192}


def test_googlenet_has_the_sizes_of_table_1():
    model = on_meta("googlenet", auxiliary=True)
    modules = [f"inception_{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    depths = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    sides = [28, 28, 14, 14, 14, 14, 14, 7, 7]
    assert shapes(model, "conv1", "pool1", "conv2", "pool2") == [
        (112, 112, 64),
        (56, 56, 64),
        (56, 56, 192),
        (28, 28, 192),
    ]
    assert shapes(model, *modules) == [(s, s, d) for s, d in zip(sides, depths, strict=True)]
    assert shapes(model, "auxiliary_1_pool", "auxiliary_2_pool") == [(4, 4, 512), (4, 4, 528)]  # section 5


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("googlenet", 13_378_280),  # the floats in the 53.5 MB of Caffe's bvlc_googlenet
        ("inception_v3", 27_161_264),  # torchvision's documentation
    ],
)
def test_auxiliary_classifiers_have_the_published_parameters(name, parameters):
    assert sum(parameter.numel() for parameter in on_meta(name, auxiliary=True).parameters()) == parameters


@pytest.mark.parametrize("side", [14, 28, 56, 112])
def test_the_poolings_and_normalizations_of_googlenet_are_caffes(side):
    torch.manual_seed(1)
    x = 30 * torch.randn(2, 16, side, side)
    caffes = F.max_pool2d(x, 3, 2, ceil_mode=True)
    assert torch.equal(MaxPooling2D(3, 2, "same")(x), caffes)
    assert torch.allclose(googlenet.normalization()(x), F.local_response_norm(x, 5, 1e-4, 0.75, 1.0))


def test_googlenet_learns_from_all_its_outputs():
    torch.manual_seed(1)
    model = sl.create("googlenet", (65, 65, 3), 3, auxiliary=True)
    weights = {"predictions": 1.0, "auxiliary_1": 0.3, "auxiliary_2": 0.3}
    before = {name: model.get_layer(name).weight.clone() for name in ("predictions", *list(weights)[1:], "conv1")}
    model.compile(sl.optimizers.SGD(0.01), "sparse_categorical_crossentropy", loss_weights=weights)
    x, y = np.random.default_rng(0).random((4, 65, 65, 3), np.float32), np.array([0, 1, 2, 0])
    model.fit(x, dict.fromkeys(weights, y), epochs=1, verbose=0)
    assert all(not torch.equal(model.get_layer(name).weight, weight) for name, weight in before.items())
    answers = model.predict(x)
    assert list(answers) == list(weights)
    assert all(np.allclose(answer.sum(1), 1, atol=1e-5) for answer in answers.values())


@pytest.mark.parametrize(("name", "side"), [("googlenet", 65), ("inception_v3", 299)])
def test_an_image_too_small_for_the_auxiliary_classifiers_is_refused(name, side):
    assert on_meta(name, input_shape=(side, side, 3), classes=2, auxiliary=True)
    with pytest.raises(ShapeError, match=f"at least {side}x{side}"):
        on_meta(name, input_shape=(side, side - 1, 3), auxiliary=True)
