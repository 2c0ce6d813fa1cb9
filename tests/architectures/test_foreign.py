"""Networks that someone else wrote: the module itself is the oracle of what its Model computes."""

import copy
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import nn

import sightline as sl
from sightline import layers
from sightline.architectures.applied import Applied
from sightline.architectures.foreign import wrap
from sightline.architectures.timm_models import create_timm
from sightline.errors import ArgumentError, ModelFileError, ShapeError

SIZE = 64  # of the images, for networks of timm and torchvision


class Digits(nn.Module):
    """As PyTorch's own first example: view, and a dropout that is told the mode."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 10, 5), nn.Conv2d(10, 20, 5)
        self.drop = nn.Dropout2d()
        self.fc1, self.fc2 = nn.Linear(20 * 13 * 13, 50), nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.view(-1, 20 * 13 * 13)))
        x = F.dropout(x, 0.4 if self.training else 0.3, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class Noise(nn.Module):
    """Its forward reads the mode, and does other things in each."""

    def forward(self, x):
        if self.training:
            x = x + torch.randn_like(x)
        return x


class Positions(nn.Module):
    """Weights and a buffer of its own, sizes, slices between sizes, a submodule used twice."""

    def __init__(self):
        super().__init__()
        self.noise, self.conv = Noise(), nn.Conv2d(3, 3, 3, padding=1)
        self.register_buffer("scale", torch.full((3, 1, 1), 2.0))
        self.position = nn.Parameter(torch.randn(1, 3, 1, SIZE))
        self.token = nn.Parameter(torch.randn(1, 1, SIZE))

    def forward(self, x):
        b, _, h, w = x.shape
        y = self.conv(self.noise(self.conv(x))) * self.scale.view(3, 1, 1) + self.position
        y = torch.cat([self.token.expand(b, -1, -1), y.reshape(b, -1, w)], dim=1)
        left, right = y[:, :h].chunk(2, dim=1)
        return (left - right).flatten(1)


def timms(name, **arguments):
    return lambda: timm.create_model(name, num_classes=5, **arguments)


def torchvisions(name):
    return lambda: torchvision.models.get_model(name, weights=None, num_classes=5)


TRACED = {
    "digits": Digits,
    "positions": Positions,
    "resnet": timms("test_resnet"),
    "convnext": timms("test_convnext3"),
    "vit": timms("test_vit2", img_size=SIZE),
    "vit_relpos": timms("test_vit_relpos", img_size=SIZE),
    "efficientnet": timms("test_efficientnet"),
    "shufflenet": torchvisions("shufflenet_v2_x0_5"),
    "squeezenet": torchvisions("squeezenet1_1"),
}


def images(batch, seed=0):
    return torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def quietly(module, shape=(SIZE, SIZE, 3)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrap(module, shape)


def assert_same_function(module, model, x):
    """Answers in inference for one and for several images in both memory layouts; answers, gradients and moving
    statistics in training, from the same random numbers."""
    module.eval()
    model.eval()
    for images in (x[:1], x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(model(images.clone()), module(images.clone().contiguous()), rtol=1e-4, atol=1e-5)
    assert {id(p) for p in model.parameters()} <= {id(p) for p in module.parameters()}
    found = []
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for each in (module, model):
        each.train()
        each.zero_grad()
        torch.manual_seed(0)
        answer = each(x.clone())
        answer.square().sum().backward()
        found.append([answer.detach(), *(p.grad.clone() for p in module.parameters() if p.grad is not None)])
        found[-1] += [buffer.clone() for buffer in module.buffers()]
        module.load_state_dict(state)
    assert len(found[0]) == len(found[1])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module", params=TRACED, ids=TRACED)
def traced(request):
    """(module, its Model)."""
    torch.manual_seed(0)
    module = TRACED[request.param]()
    return module, wrap(module, (SIZE, SIZE, 3))


def test_a_wrapped_module_computes_what_the_module_does(traced):
    module, model = traced
    assert "not traced" not in model.metadata
    assert len(model.layers) > 8
    assert_same_function(module, model, images(3))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_answer_the_same_and_share_nothing(traced, how):
    model = traced[1].eval()
    twin = how(model)
    before = model(images(2))
    assert torch.equal(twin(images(2)), before)
    assert list(twin.state_dict()) == list(model.state_dict())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(images(2)), before)


def test_a_wrapped_module_is_seen_and_trained(traced):
    model = copy.deepcopy(traced[1])
    text = model.summary(as_text=True)
    assert all(f"{layer.name} (" in text for layer in model.layers)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.compile("sgd", "mse")
    x, y = np.random.rand(4, SIZE, SIZE, 3), np.random.rand(4, model.output_shape[-1])
    history = model.fit(x, y, batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert model.predict(x).shape == y.shape


def test_export():
    model = wrap(Positions(), (SIZE, SIZE, 3)).eval()
    exported = torch.export.export(model, (images(2),)).module()
    torch.testing.assert_close(exported(images(2)), model(images(2)))


def test_layers_are_named_by_the_paths_of_the_modules():
    module = timm.create_model("test_resnet", num_classes=0)
    model = wrap(module, (SIZE, SIZE, 3))
    conv = model.get_layer("layer2_0_conv1")
    assert isinstance(conv, layers.Torch)
    assert conv.module is module.layer2[0].conv1
    part = sl.Model(model.inputs, model.values["layer2_0_act2"]).eval()
    seen = []
    module.layer2[0].act2.register_forward_hook(lambda *call: seen.append(call[2]))
    module.eval()(images(1))
    torch.testing.assert_close(part(images(1)), seen[0])


def test_a_module_that_is_used_twice_is_one_layer():
    model = wrap(Positions(), (SIZE, SIZE, 3))
    assert [node.name for node in model.graph.nodes if "conv" in node.name] == ["conv", "conv_call2"]
    assert model.count_params() == (3 * 3 * 3 + 1) * 3 + 3 + 3 * SIZE + SIZE  # the convolution's once


def test_a_module_that_reads_its_mode_stays_whole():
    model = wrap(Positions(), (SIZE, SIZE, 3))
    assert isinstance(model.get_layer("noise").module, Noise)
    assert model.train().get_layer("noise")(torch.zeros(1, 3, 2, 2)).abs().sum() > 0
    assert model.eval().get_layer("noise")(torch.zeros(1, 3, 2, 2)).abs().sum() == 0


def test_modes_stay_as_they_were():
    module = Digits()
    module.conv1.eval()
    model = wrap(module, (SIZE, SIZE, 3))
    assert (module.training, module.conv1.training, module.drop.training) == (True, False, True)
    assert (model.training, model.get_layer("conv1").training, model.get_layer("dropout").training) == (
        True,
        False,
        True,
    )
    assert not wrap(Digits().eval(), (SIZE, SIZE, 3)).get_layer("dropout").training


def test_weights_and_buffers_are_read_when_the_network_runs():
    module = Positions().eval()
    model = wrap(module, (SIZE, SIZE, 3))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.mul_(1.5)
    torch.testing.assert_close(model(images(2)), module(images(2)))
    other = wrap(Positions(), (SIZE, SIZE, 3)).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(images(2)), module(images(2)))


def test_images_of_another_size():
    module = timm.create_model("test_convnext3", num_classes=3).eval()
    model = wrap(module, (SIZE, SIZE, 3))
    for size in ((2, 3, 96, 64), (5, 3, 32, 128)):
        x = torch.rand(size)
        torch.testing.assert_close(model(x), module(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_precision(dtype):
    module = timm.create_model("test_resnet", num_classes=3).to(dtype).eval()
    x = images(2).to(dtype)
    torch.testing.assert_close(wrap(module, (SIZE, SIZE, 3))(x), module(x))


class Pieces(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x, y=None, scale=2.0):
        a, b = self.conv(x).chunk(2, dim=1)
        return {"a": a * scale, "rest": [b, (a + b, a if y is None else a + y)]}


class PiecesByValue(Pieces):
    def forward(self, x):
        return super().forward(x) if x.mean() > -10 else None


@pytest.mark.parametrize("kind", [Pieces, PiecesByValue])
def test_answers_in_dicts_lists_and_tuples(kind):
    module = kind().eval()
    model = quietly(module, (5, 5, 3))
    x = torch.rand(3, 3, 5, 5)
    torch.testing.assert_close(model(x), module(x))
    assert model.output_shape == {"a": (None, 5, 5, 2), "rest": [(None, 5, 5, 2), ((None, 5, 5, 2), (None, 5, 5, 2))]}


def test_a_segmentation_network_of_torchvision():
    module = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    model = wrap(module.eval(), (SIZE, SIZE, 3))
    for x in (images(1), torch.rand(2, 3, 96, 32)):
        torch.testing.assert_close(model(x)["out"], module(x)["out"])
    assert model.output_shape == {"out": (None, SIZE, SIZE, 3)}


def test_several_inputs():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(7, 3)

        def forward(self, image, features):
            return image.mean((2, 3)) + self.dense(features)

    module = Sum()
    model = wrap(module, [(8, 8, 3), (7,)])
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 7)
    torch.testing.assert_close(model(x, y), module(x, y))
    assert model.input_shape == [(None, 8, 8, 3), (None, 7)]


# --- what a graph does not say ------------------------------------------------------------------------------------


class Convolving(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)


class LooksAtValues(Convolving):
    def forward(self, x):
        x = self.conv(x)
        return (x if x.sum() > 0 else -x).view(len(x), -1)


class ReadsAfterChange(Convolving):
    def forward(self, x):
        x = self.conv(x)
        y = self.act(x)
        return self.conv(x) + y


class ChangesAView(Convolving):
    def forward(self, x):
        x = self.conv(x)
        x[:, 0].mul_(3)
        return x


class DropsInPlace(Convolving):
    def forward(self, x):
        x = self.conv(x)
        y = F.dropout(x, 0.5, self.training, inplace=True)
        return y + x


class WithoutGradient(Convolving):
    def forward(self, x):
        with torch.no_grad():
            x = self.conv(x)
        return x + self.conv(x)


class Counts(Convolving):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return self.conv(x) * self.calls


class Keeps(Convolving):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.conv(x)


class Draws(Convolving):
    def forward(self, x):
        return self.conv(x) + torch.rand(3, 1, 1)


class OtherInTraining(Convolving):
    def forward(self, x):
        return self.conv(x) if self.training else self.act(self.conv(x))


HAZARDS = [LooksAtValues, ReadsAfterChange, ChangesAView, DropsInPlace, WithoutGradient, Counts, Keeps, OtherInTraining]


@pytest.mark.parametrize("kind", HAZARDS)
def test_what_a_graph_would_get_wrong_stays_whole(kind):
    torch.manual_seed(0)
    module = kind()
    with pytest.warns(UserWarning, match=f"one layer.*{kind.__name__} cannot be traced") as caught:
        model = wrap(module, (SIZE, SIZE, 3))
    assert caught[0].filename == __file__
    assert len(model.layers) == 2
    assert model.metadata["not traced"].startswith(f"{kind.__name__} cannot be traced: ")
    if kind is not Counts:  # which gives another answer at each call
        assert_same_function(module, model, images(2))
    model.compile("sgd", "mse")
    model.fit(np.random.rand(2, SIZE, SIZE, 3), np.zeros((2, *model.output_shape[1:])), verbose=0)


@pytest.mark.parametrize("kind", [*HAZARDS, Draws])
def test_a_part_that_a_graph_would_get_wrong_stays_whole_alone(kind):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, 1), kind(), nn.Flatten())
    model = wrap(module, (SIZE, SIZE, 3))
    assert [layer.name for layer in model.layers] == ["input_layer", "0", "1", "2"]
    assert [type(getattr(layer, "module", None)).__name__ for layer in model.layers][1] == "Conv2d"
    if kind is Draws:
        assert not torch.equal(model.eval()(images(1)), model(images(1)))


def test_counting_goes_on():
    module = Counts()
    model = quietly(module)
    assert module.calls == 0
    first, second = model(images(1)), model(images(1))
    assert module.calls == 2
    torch.testing.assert_close(second, 2 * first)


def test_wrapping_changes_nothing_of_the_module():
    module = Keeps()
    before, random = dict(module.__dict__), torch.get_rng_state()
    quietly(module)
    assert module.__dict__ == before
    assert torch.equal(random, torch.get_rng_state())


def test_hooks_run():
    module, seen = nn.Sequential(Digits(), nn.ReLU()), []
    module[0].register_forward_hook(lambda part, args, answer: seen.append(answer))
    model = wrap(module, (SIZE, SIZE, 3))
    seen.clear()
    answer = model.eval()(images(1))
    torch.testing.assert_close(F.relu(seen[0]), answer)


def test_a_wrapped_module_in_a_model():
    inputs = sl.Input((5, 5, 3))
    for part in (quietly(Noise(), (5, 5, 3)), quietly(LooksAtValues(), (5, 5, 3))):
        model = sl.Model(inputs, layers.Dense(2)(layers.Flatten()(part(inputs, training=False))))
        x = torch.rand(2, 3, 5, 5)
        expected = model.layers[-1](part.eval()(x).permute(0, 2, 3, 1).flatten(1) if part(x).ndim == 4 else part(x))
        torch.testing.assert_close(copy.deepcopy(model).train()(x), expected)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: wrap(sl.create("mnist_cnn"), (28, 28, 1)), ArgumentError, "a Sightline network already"),
        (lambda: wrap("resnet", (28, 28, 1)), ArgumentError, "takes a torch.nn.Module"),
        (lambda: wrap(nn.LazyLinear(3), (4,)), ArgumentError, "Call it on one batch first"),
        (lambda: wrap(nn.Linear(4, 2), (None,)), ArgumentError, "Give each size a number"),
        (lambda: wrap(nn.Linear(4, 2), (5,)), ShapeError, "Linear cannot take an input of shape .None, 5.: .*mat1"),
        (lambda: wrap(Positions(), (8, 8, 3)), ShapeError, "Positions cannot take an input of shape .None, 8, 8, 3."),
    ],
)
def test_mistakes_get_a_sentence(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_what_is_no_tensor_is_refused():
    class Says(nn.Module):
        def forward(self, x):
            return {"x": x, "text": "hello"}

    with pytest.raises(sl.SightlineError, match="Says must return tensors"):
        quietly(Says(), (4,))


def test_saving_someones_module_names_it(tmp_path):
    for model in (wrap(Positions(), (SIZE, SIZE, 3)), quietly(LooksAtValues())):
        with pytest.raises(
            ModelFileError, match=r"of (Positions|LooksAtValues)\. Build the network in code again and load its"
        ):
            model.save(tmp_path / "m.sightline")
    assert list(tmp_path.iterdir()) == []


# --- timm by name ----------------------------------------------------------------------------------------------------

TIMM = ["test_resnet", "test_vit_relpos", "test_efficientnet"]


def named(name, **arguments):
    return create_timm(f"timm:{name}", (SIZE, SIZE, 3), 5, **arguments)


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("include_top", [True, False], ids=["whole", "features"])
def test_a_network_of_timms_comes_back_from_its_file(tmp_path, name, include_top):
    model = named(name, include_top=include_top)
    if include_top:
        model.compile("sgd", "categorical_crossentropy")
        model.fit(np.random.rand(4, SIZE, SIZE, 3), np.eye(5)[:4], batch_size=2, verbose=0)
    model.get_layer("backbone").layers[1].trainable = False
    loaded = sl.load(model.save(tmp_path / "a.sightline"))
    x = np.random.rand(3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.metadata == model.metadata
    assert [layer.trainable for layer in loaded.get_layer("backbone").layers] == [
        layer.trainable for layer in model.get_layer("backbone").layers
    ]
    loaded.save(tmp_path / "b.sightline")
    assert (tmp_path / "a.sightline").read_bytes() == (tmp_path / "b.sightline").read_bytes()
    loaded.compile("sgd", "mse")
    loaded.fit(x, np.zeros((3, *loaded.output_shape[1:])), verbose=0)


def test_a_copy_and_the_backbone_alone_can_be_saved(tmp_path):
    model = pickle.loads(pickle.dumps(copy.deepcopy(named("test_resnet"))))
    x = np.random.rand(2, SIZE, SIZE, 3)
    loaded = sl.load(model.save(tmp_path / "m.sightline"))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    backbone = model.get_layer("backbone")
    np.testing.assert_array_equal(sl.load(backbone.save(tmp_path / "b.sightline")).predict(x), backbone.predict(x))


def test_other_precisions_come_back(tmp_path):
    model = named("test_vit_relpos").to(torch.bfloat16)
    loaded = sl.load(model.save(tmp_path / "m.sightline"))
    x = images(2).to(torch.bfloat16)
    assert torch.equal(loaded(x), model.eval()(x))


def test_a_file_has_timms_own_names(tmp_path):
    path = named("test_resnet").save(tmp_path / "m.sightline")
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "w.safetensors").write_bytes(archive.read("weights.safetensors"))
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "w.safetensors")
    theirs = {name.removeprefix("layers.backbone."): t for name, t in tensors.items() if "backbone" in name}
    timm.create_model("test_resnet", num_classes=0).load_state_dict(theirs)


@pytest.mark.parametrize(("name", "suffix"), list(zip(TIMM, [".safetensors", ".pth", ".pth"], strict=True)))
def test_weights_from_a_file_give_timms_own_answers(tmp_path, name, suffix):
    size = {"img_size": SIZE} if "vit" in name else {}
    theirs = timm.create_model(name, num_classes=5, **size).eval()
    path = tmp_path / f"w{suffix}"
    save_file(theirs.state_dict(), path) if suffix == ".safetensors" else torch.save(theirs.state_dict(), path)
    model = named(name, weights=path, classifier_activation=None).eval()
    torch.testing.assert_close(model(images(2)), theirs(images(2)), rtol=1e-4, atol=1e-5)
    features = named(name, weights=path, include_top=False).eval()
    torch.testing.assert_close(features(images(2)), theirs.forward_features(images(2)), rtol=1e-4, atol=1e-5)
    other = create_timm(name, (SIZE, SIZE, 3), 7, weights=path).eval()
    backbone = timm.create_model(name, num_classes=0, **size)
    backbone.load_state_dict(theirs.state_dict(), strict=False)
    torch.testing.assert_close(other.get_layer("backbone")(images(2)), backbone.eval()(images(2)), rtol=1e-4, atol=1e-5)
    assert other(images(2)).shape == (2, 7)


@pytest.mark.slow
def test_feature_maps_that_timm_has_channels_last_are_channels_first():
    model = create_timm("swin_tiny_patch4_window7_224", (SIZE, 96, 3), include_top=False)
    assert model.output_shape == (None, 2, 3, 768)


def test_weights_of_another_network_change_nothing(tmp_path):
    save_file(timm.create_model("test_convnext3").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"w.safetensors: the weight .* does not fit"):
        named("test_resnet", weights=tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"sl\.load"):
        named("test_resnet", weights="model.sightline")


def test_weights_for_imagenet_come_from_timm(monkeypatch):
    """timm itself is asked; without its hub it is made to answer."""
    make, published = timm.create_model, timm.create_model("test_resnet").eval()

    def answers(name, pretrained=False, **arguments):
        assert arguments["in_chans"] == 3
        return published if pretrained else make(name, **arguments)

    monkeypatch.setattr(timm, "create_model", answers)
    whole = create_timm("timm:test_resnet", (SIZE, SIZE, 3), weights="imagenet").eval()
    torch.testing.assert_close(whole(images(2)), published(images(2)).softmax(1))
    assert named("test_resnet", weights="imagenet").output_shape == (None, 5)

    def fails(name, **arguments):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(ModelFileError, match=r"test_resnet cannot be fetched .no route to host.*weights='weights"):
        named("test_resnet", weights="imagenet")


def test_what_a_network_of_timms_takes():
    model = create_timm("timm:test_resnet", (SIZE, SIZE, 1), 3)
    config = timm.get_pretrained_cfg("test_resnet")
    assert model.input_shape == (None, SIZE, SIZE, 1)
    assert model.metadata["backbone"] == "backbone"
    assert model.metadata["preprocessing"] == {
        "mean": [pytest.approx(np.mean(config.mean))],
        "std": [pytest.approx(np.mean(config.std))],
    }
    assert model.values["backbone"].shape == (None, timm.create_model("test_resnet").num_features)
    assert sl.rewrite.ends_in_softmax(model)
    assert create_timm("test_vit2").input_shape == (None, *config.input_size[1:], 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: create_timm("timm:resnet1"), "no network 'resnet1'. Did you mean .*resnet"),
        (lambda: create_timm("timm:hf-hub:someone/theirs"), "timm has no network"),
        (lambda: create_timm("timm:resnet18.no_such_tag"), "timm has no network"),
        (lambda: create_timm("timm:test_resnet", classes=1), "at least 2"),
        (lambda: create_timm("timm:test_resnet", (8, None, 3)), "Give each size a number"),
        (
            lambda: create_timm("timm:test_vit2", (50, 50, 3)),
            "timm:test_vit2 cannot be made for images of .50, 50, 3.: .*divisible",
        ),
    ],
)
def test_mistakes_with_timm_get_a_sentence(call, words):
    with pytest.raises(sl.SightlineError, match=words):
        call()


HOSTILE = {
    "another maker": lambda d: d.update(maker="os.system"),
    "a network of the hub": lambda d: d["arguments"].update(name="hf-hub:someone/theirs"),
    "a folder": lambda d: d["arguments"].update(name="local-dir:/tmp"),
    "no name": lambda d: d["arguments"].update(name=["test_resnet"]),
    "no network": lambda d: d["arguments"].update(name="test_resnet_of_no_one"),
    "another network": lambda d: d["arguments"].update(name="test_convnext3"),
    "further arguments": lambda d: d["arguments"].update(checkpoint_path="/tmp/theirs.pth"),
    "a huge image": lambda d: d["arguments"].update(input_shape=[2**30, 2**30, 3]),
    "huge weights": lambda d: d["arguments"].update(name="test_vit_relpos", input_shape=[2**14, 2**14, 3]),
    "no image": lambda d: d["arguments"].update(input_shape="large"),
    "no shape": lambda d: d["arguments"].update(input_shape=[64]),
    "no truth": lambda d: d["arguments"].update(include_top="yes"),
    "no arguments": lambda d: d.update(arguments=[1]),
    "a frozen layer that is not there": lambda d: d.update(frozen=["x"]),
    "an odd name": lambda d: d.update(name="a/b"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_description_gets_a_sentence(tmp_path, hostile_base, case):
    description, weights = copy.deepcopy(hostile_base[0]), hostile_base[1]
    row = next(row for row in description["network"]["layers"] if "network" in row)
    HOSTILE[case](row["network"])
    path = tmp_path / "m.sightline"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", json.dumps(description))
        archive.writestr("weights.safetensors", weights)
    with pytest.raises(ModelFileError) as caught:
        sl.load(path)
    assert str(path) in str(caught.value)


@pytest.fixture(scope="module")
def hostile_base(tmp_path_factory):
    """(description, weights) of a good file."""
    path = named("test_resnet").save(tmp_path_factory.mktemp("good") / "m.sightline")
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json")), archive.read("weights.safetensors")


def test_functions_of_a_forward_hold_the_weights_that_they_read():
    model = wrap(Positions(), (SIZE, SIZE, 3))
    held = {name for layer in model.layers if isinstance(getattr(layer, "module", None), Applied) for name, _ in layer.named_parameters()}  # fmt: skip
    assert held == {"module.position", "module.token"}
