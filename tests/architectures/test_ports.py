"""With others' weights our networks are others' networks; and which weights are refused, and how."""

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import sightline as sl
from sightline.architectures import densenet
from sightline.architectures.registry import find
from sightline.architectures.weights import load, named_weights, read, take_over
from sightline.errors import ArgumentError, ModelFileError

SHARED = Path(__file__).parents[3] / "shared"
SIZES = (32, 64, 96)
MAKERS = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}


@dataclass(frozen=True)
class Theirs:
    """Someone's network that one of ours is; `epsilon`: of their BatchNorm where it must be another."""

    name: str
    whose: str
    theirs: str
    arguments: dict = field(default_factory=dict)
    sizes: tuple[int, ...] = SIZES
    epsilon: float | None = None

    def __str__(self):
        return f"{self.name}-{self.whose}"


slow = pytest.mark.slow
ODD = (71, 103)  # all poolings of Xception see odd sizes
PAIRS = [
    Theirs("resnet18", "torchvision", "resnet18"),
    Theirs("resnet18", "timm", "resnet18"),
    Theirs("resnet50", "torchvision", "resnet50"),
    Theirs("se_resnet50", "timm", "legacy_seresnet50", sizes=(32, 66, 97)),
    Theirs("xception", "timm", "legacy_xception", sizes=ODD, epsilon=0.001),
    Theirs("mobilenetv2", "torchvision", "mobilenet_v2"),
    Theirs("tf_mobilenetv2", "timm", "mobilenetv2_100", {"pad_type": "same"}, (*SIZES, 97, 160)),
    Theirs("densenet121", "torchvision", "densenet121"),
]
SLOW_PAIRS = [
    Theirs("mobilenetv2", "timm", "mobilenetv2_100"),
    Theirs("xception", "timm", "legacy_xception", sizes=(135, 263), epsilon=0.001),
    Theirs("densenet121", "timm", "densenet121"),
    Theirs("resnet34", "torchvision", "resnet34"),
    Theirs("resnet34", "timm", "resnet34"),
    Theirs("resnet50", "timm", "resnet50"),
    Theirs("resnet101", "torchvision", "resnet101"),
    Theirs("resnet101", "timm", "resnet101"),
    Theirs("resnet152", "torchvision", "resnet152"),
    Theirs("resnet152", "timm", "resnet152"),
    Theirs("se_resnet101", "timm", "legacy_seresnet101"),
    Theirs("senet154", "timm", "legacy_senet154"),
]
TABLE = [pytest.param(pair, id=str(pair)) for pair in PAIRS]
TABLE += [pytest.param(pair, id=str(pair), marks=slow) for pair in SLOW_PAIRS]


def empty(name, side, classes=10, channels=3, **arguments):
    """A network of ours whose weights are nothing yet."""
    arguments = {"classifier_activation": None} | arguments
    with torch.device("meta"):
        model = sl.create(name, (side, side, channels), classes, **arguments)
    return model.to_empty(device="cpu").eval()


def with_weights(name, weights, side, **arguments):
    model = empty(name, side, **arguments)
    take_over(model, find(name), weights, "theirs")
    return model


def used(theirs, side, epsilon=None):
    """Their network as after a training: BatchNorm has seen images, scales and shifts."""
    torch.manual_seed(1)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch
            module.eps = epsilon or module.eps
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        theirs.train()(torch.randn(8, 3, side, side))
    return theirs.eval()


@pytest.fixture(scope="module", params=TABLE)
def both(request):
    """(the pair, our network, theirs), in float64: in float32 a hundred layers make 1e-4 of a rounding, and a rounding
    decides now and then which places a pooling and a ReLU take, and so a gradient."""
    pair = request.param
    theirs = used(
        MAKERS[pair.whose](pair.theirs, num_classes=10, **pair.arguments), max(64, pair.sizes[0]), pair.epsilon
    )
    return pair, with_weights(pair.name, theirs.state_dict(), pair.sizes[0]).double(), theirs.double()


def assert_near(ours, theirs, tolerance):
    """By norm, which is not nothing."""
    assert ours.shape == theirs.shape
    assert theirs.norm() > 0
    assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_the_logits_are_theirs(both):
    pair, ours, theirs = both
    for side in pair.sizes:
        images = torch.randn(2, 3, side, side, dtype=torch.float64)
        with torch.no_grad():
            logits = theirs(images)
            assert (logits[0] - logits[1]).abs().max() > 1e-3  # they look at the image
            assert_near(ours(images), logits, 1e-9)


def gradients(network, images):
    """By the images and by each weight, the loss being a sum of logits with different signs."""
    x = images.clone().requires_grad_()
    y = network(x)
    found = torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), [x, *network.parameters()])
    return found[0], {name: g for (name, _), g in zip(network.named_parameters(), found[1:], strict=True)}


def check_gradients(pair, ours, theirs, side):
    images = torch.randn(1, 3, side, side, dtype=torch.float64)
    by_images, by_weights = gradients(ours, images)
    expected_by_images, theirs_by_weights = gradients(theirs, images)
    assert_near(by_images, expected_by_images, 1e-9)
    expected = empty(pair.name, pair.sizes[0]).double()  # whose weights shall be their gradients
    take_over(expected, find(pair.name), theirs.state_dict() | theirs_by_weights, "their gradients")
    for name, gradient in expected.named_parameters():
        assert_near(by_weights[name], gradient, 1e-9)


def test_the_gradients_are_theirs(both):
    pair, ours, theirs = both
    check_gradients(pair, ours, theirs, pair.sizes[0])


@slow
def test_the_gradients_of_larger_images_are_theirs(both):
    pair, ours, theirs = both
    for side in pair.sizes[1:]:
        check_gradients(pair, ours, theirs, side)


@slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_xception_is_kerass_own():
    """Its author's. The layers have Keras's names, but for those that Keras counts, and the weights their order."""
    oracle = pytest.importorskip("oracle")
    rng, side = np.random.default_rng(0), 96  # at 96 a pooling sees an even size
    theirs = oracle.keras.applications.Xception(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    theirs.set_weights([random_like(rng, variable) for variable in theirs.weights])
    ours = empty("xception", side)
    ours.set_weights(theirs.get_weights())
    images = rng.random((2, side, side, 3), np.float32)
    expected = theirs.predict(images, verbose=0)
    assert_near(torch.from_numpy(ours.predict(images)), torch.from_numpy(expected), 1e-5)
    counted = ("input_layer", "conv2d", "batch_normalization", "add")
    named = [layer.name for layer in theirs.layers if not layer.name.startswith(counted)]
    assert len(named) == 113
    assert [layer.name for layer in ours.layers if layer.name in named] == named


def random_like(rng, variable):
    """Values as a training could leave them."""
    kind, size = variable.path.rpartition("/")[2], variable.shape
    if kind in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, size)
    fan_in = np.prod(size[:2] if "depthwise" in kind else size[:-1])
    return rng.normal(0, np.sqrt(2 / fan_in) if "kernel" in kind else 0.1, size)


def test_real_weights_with_tensorflows_padding_give_the_logits_of_timm():
    file = SHARED / "weights" / "mobilenetv2_100.safetensors"
    if not file.is_file():
        pytest.skip("the weights are not here (a file shared/weights/mobilenetv2_100.safetensors beside the project)")
    theirs = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    theirs.load_state_dict(load_file(file))
    ours = sl.create("tf_mobilenetv2", weights=file, classifier_activation=None).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        images = torch.rand(2, 3, 224, 224) * 2 - 1
        assert_near(ours(images), theirs(images), 1e-4)


def test_the_files_of_densenet_have_torchvisions_older_names():
    """In them a layer is "denselayer1.norm.1", which torchvision's own loading renames."""
    with torch.device("meta"):
        names = list(torchvision.models.densenet121().state_dict())
    older = [re.sub(r"(denselayer\d+\.\w+?)(\d)\.", r"\1.\2.", name) for name in names]
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    assert [densenet.port(name) for name in older] == [densenet.port(name) for name in names]


# --- files and what is refused ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet18():
    """torchvision's weights for 10 classes."""
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=10).state_dict()


def loaded(path):
    """A network of ours with the weights in a file."""
    model = empty("resnet18", 32)
    load(model, find("resnet18"), "resnet18", path)
    return model


FILES = {
    "plain.pth": lambda weights, path: torch.save(weights, path),
    "old.pt": lambda weights, path: torch.save(weights, path, _use_new_zipfile_serialization=False),
    "checkpoint.pth": lambda weights, path: torch.save({"epoch": 3, "state_dict": weights}, path),
    "parallel.bin": lambda weights, path: torch.save({"model": {f"module.{k}": v for k, v in weights.items()}}, path),
    "theirs.safetensors": lambda weights, path: save_file(weights, path),
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_their_weights_is_taken(file, resnet18, tmp_path):
    FILES[file](resnet18, tmp_path / file)
    model = loaded(tmp_path / file)
    assert torch.equal(model.get_layer("layer3_0_downsample_0").weight, resnet18["layer3.0.downsample.0.weight"])
    assert torch.equal(model.get_layer("fc").bias, resnet18["fc.bias"])


@pytest.mark.parametrize("file", ["ours.sightline", "ours.keras"])
def test_a_file_of_ours_is_taken(file, tmp_path):
    before = sl.create("lenet5")
    before.save(tmp_path / file)
    after = sl.create("lenet5", weights=tmp_path / file)
    for one, other in zip(after.get_weights(), before.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("classes", [3, 1000])
def test_with_other_classes_the_last_layer_is_new(classes, resnet18):
    model = empty("resnet18", 32, classes)
    new = torch.nn.init.normal_(model.get_layer("fc").weight).clone()
    take_over(model, find("resnet18"), resnet18, "theirs")
    assert torch.equal(model.get_layer("fc").weight, new)
    assert torch.equal(model.get_layer("layer4_1_conv2").weight, resnet18["layer4.1.conv2.weight"])
    assert torch.equal(model.get_layer("bn1").running_var, resnet18["bn1.running_var"])


def test_a_backbone_takes_what_it_has(resnet18):
    model = empty("resnet18", 32, include_top=False, classifier_activation="softmax")
    take_over(model, find("resnet18"), resnet18, "theirs")
    assert torch.equal(model.get_layer("layer4_1_conv2").weight, resnet18["layer4.1.conv2.weight"])


def test_for_gray_images_the_first_kernel_is_summed(resnet18):
    colored = with_weights("resnet18", resnet18, 32)
    gray = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = colored(gray.expand(-1, 3, -1, -1))
        for weights in (resnet18, named_weights(colored)):
            assert_near(with_weights("resnet18", weights, 32, channels=1)(gray), expected, 1e-5)


def without(name):
    return lambda weights: {key: tensor for key, tensor in weights.items() if key != name}


def of(name):
    """The weights of another network of torchvision's."""

    def made(_):
        with torch.device("meta"):
            return torchvision.models.get_model(name).state_dict()

    return made


WRONG = {
    "another network": (of("densenet121"), r"holds weights of another network.*conv1\.weight.*features\.conv0\.weight"),
    "other blocks": (of("resnet50"), r"layer1_0_conv1\.weight does not fit.*\(64, 64, 3, 3\).*\(64, 64, 1, 1\)"),
    "a missing tensor": (without("layer2.1.bn2.bias"), r"no weight for layer2_1_bn2\.bias.*layer2_1_bn"),
    "a missing last layer": (without("fc.bias"), r"no weight for fc\.bias"),
    "nothing": (lambda _: {}, "0 tensors"),
}


@pytest.mark.parametrize("what", WRONG)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(what, resnet18):
    change, message = WRONG[what]
    model = empty("resnet18", 32)
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    with pytest.raises(ModelFileError, match=rf"(?s)theirs.*{message}"):
        take_over(model, find("resnet18"), change(resnet18), "theirs")
    assert all(torch.equal(tensor, torch.full_like(tensor, 7)) for tensor in model.state_dict().values())


class Harmful:
    """What runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickled_object_is_refused_and_does_not_run(resnet18, tmp_path):
    torch.save(resnet18 | {"more": Harmful(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match=r"a\.pth holds more than tensors \(.*mkdir\).*state_dict"):
        loaded(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_network_is_refused_by_its_class(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=r"a\.pt holds more than tensors \(torch\.nn\.\S+Linear\)"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(3)])
def test_a_file_without_tensors_by_name_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelFileError, match=r"a\.pth holds no state dict"):
        read(tmp_path / "a.pth")


DAMAGED = ["plain.pth", "old.pt", "theirs.safetensors"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(DAMAGED), share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(file, share, tmp_path):
    path = tmp_path / file
    FILES[file]({"a": torch.zeros(5), "b": torch.ones(2, 3)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFileError, match=re.escape(file)):
        read(path)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(file=st.sampled_from(DAMAGED), place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_wrong_byte_is_read_or_refused(file, place, byte, tmp_path):
    path = tmp_path / file
    FILES[file]({"a": torch.zeros(5), "b": torch.ones(2, 3)}, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = byte
    path.write_bytes(content)
    with contextlib.suppress(ModelFileError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read(path).values())


@pytest.mark.parametrize("name", ["weights.onnx", "weights"])
def test_a_file_of_another_kind_is_refused_by_its_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"0")
    with pytest.raises(ModelFileError, match=r"no file of weights by its name.*\.safetensors, \.pth"):
        read(tmp_path / name)


def test_a_network_without_weights_for_imagenet_says_so():
    with pytest.raises(ArgumentError, match=r"no weights for ImageNet of tf_mobilenetv2.*name a file"):
        sl.create("tf_mobilenetv2", weights="imagenet")
