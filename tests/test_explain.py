"""What a network learned: on every architecture, and against plain torch, brute force and objects whose place is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import sightline as sl
from sightline import explain, layers
from sightline.architectures.registry import ARCHITECTURES, find
from sightline.data import make_scenes
from sightline.data.grounds import textured_ground
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.explain.neighbours import penultimate
from sightline.explain.parts import last_map, looked_into
from sightline.rewrite import split_around
from sightline.structures import ImageSpec
from sightline.tasks.base import Source
from sightline.tasks.detect import Detect
from sightline.tasks.localize import Localize

LARGE = 4_000_000  # parameters: such a network takes seconds
SMALL = {name for name, known in ARCHITECTURES.items() if (known.parameters or 0) < LARGE} - {"yolo_m"}
TIMM = (
    "resnet10t", "mobilenetv3_small_050", "mobilenetv2_035", "lcnet_050", "tinynet_e", "regnetx_002", "regnety_002",
    "ghostnet_050", "efficientnet_lite0", "semnasnet_075", "mnasnet_small", "convnext_atto",
)  # fmt: skip
QUICK = ("resnet10t",)


def pictures(n, side, channels=3, seed=0):
    return np.random.default_rng(seed).random((n, side, side, channels)).astype(np.float32)


def small(classes=4, side=20, channels=3):
    """Convolutions, global average pooling and a softmax, with all weights drawn at random."""
    torch.manual_seed(1)
    x = inputs = sl.Input((side, side, channels))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="one")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    around = x
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="two")(x))
    x = layers.Add(name="join")([layers.ReLU(name="relu")(x), around])
    x = layers.Conv2D(8, 3, 2, activation="relu", name="three")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return sl.Model(inputs, layers.Dense(classes, activation="softmax", name="says")(x)).eval()


# --- every architecture ----------------------------------------------------------------------------------------------


def check_contract(model, x):
    """Each function answers with what it promises; no weight, mode or gradient is left changed."""
    before = [(p.requires_grad, p.grad, p._version) for p in model.parameters()]
    modes = [part.training for part in model.modules()]
    size = x.shape[1:3]
    for found in (explain.grad_cam(model, x), explain.occlusion(model, x, 1, size=size[0] // 2, stride=size[0] // 2)):
        assert found.map.shape == (len(x), *size)
        assert found.map.dtype == np.float32
        assert found.map.min() >= 0
        assert found.map.max() <= 1
        assert np.isfinite(found.raw).all()
        assert found.score.shape == (len(x),)
    maps = explain.feature_maps(model, x)
    assert maps
    alone = explain.feature_maps(model, x[0])
    for name, values in maps.items():
        assert values.ndim == 4
        assert len(values) == len(x)
        np.testing.assert_allclose(alone[name], values[0], rtol=1e-3, atol=1e-4 * max(1, np.abs(values).max()))
    kernels = explain.filters(model)
    assert kernels.shape[-1] == x.shape[-1]
    assert 0 <= kernels.min() <= kernels.max() <= 1
    assert [(p.requires_grad, p.grad, p._version) for p in model.parameters()] == before
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in sl.list_models()]
)
def test_every_architecture(name):
    known = find(name)
    side = max(known.minimum, 32)
    torch.manual_seed(0)
    model = sl.create(name, (side, side, known.input_shape[2]), 5)
    if (
        name == "senet154"
    ):  # with new weights its gates make a rounding error of one batch size and another as large as the maps
        model.double()
    check_contract(model, pictures(2, side, known.input_shape[2]))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TIMM])
def test_backbones_of_timm(name):
    torch.manual_seed(0)
    model = sl.create(f"timm:{name}", (64, 64, 3), 5)
    x = pictures(2, 64)
    check_contract(model, x)
    if name == "resnet10t":  # in whose modules activations write over what they read
        alone = explain.feature_maps(model, x, "backbone/bn1")["backbone/bn1"]
        together = explain.feature_maps(model, x, ["backbone/bn1", "backbone/act1"])
        np.testing.assert_array_equal(together["backbone/bn1"], alone)
        assert alone.min() < 0
        np.testing.assert_allclose(together["backbone/act1"], np.maximum(alone, 0), rtol=1e-6)


# --- class activation ------------------------------------------------------------------------------------------------


def plain_grad_cam(module, layer, x, label):
    """Selvaraju et al. with hooks, as it is usually written, on any torch module that gives logits."""
    kept = {}

    def keep(_, __, output):
        kept["maps"] = output
        output.register_hook(lambda gradient: kept.update(gradient=gradient))

    handle = layer.register_forward_hook(keep)
    module(x)[:, label].sum().backward()
    handle.remove()
    alpha = kept["gradient"].mean(dim=(2, 3))
    raw = torch.einsum("nc,nchw->nhw", alpha, kept["maps"])
    enlarged = F.interpolate(F.relu(raw)[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return raw.detach(), (enlarged / enlarged.amax((1, 2), keepdim=True)).detach()


def as_plain_torch(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, 2), nn.Tanh(),
        nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(), nn.Linear(12, 5),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize(("layer", "index"), [("_3", 3), ("_1", 1), ("_4", 4)])
def test_grad_cam_is_that_of_plain_torch(layer, index):
    module = as_plain_torch(2)
    model = sl.wrap(module, (20, 20, 3))
    name = next(n for n in looked_into(model).values if n.endswith(layer))
    x = torch.randn(3, 3, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    raw, shares = plain_grad_cam(module, module[index], x, 2)
    found = explain.grad_cam(model, x, 2, name)
    np.testing.assert_allclose(found.raw, raw, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.map, shares, atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(found.score, module(x)[:, 2], rtol=1e-10)


@pytest.mark.parametrize("make", [small, lambda: sl.create("timm:resnet10t", (64, 64, 3), 4)])
def test_cam_is_grad_cam_up_to_a_factor(make):
    model = make().double().eval()
    x = pictures(2, model.input_shape[1])
    layer = last_map(looked_into(model))
    for label in (None, 1, [2, 0]):
        one, other = explain.cam(model, x, label), explain.grad_cam(model, x, label, layer)
        places = one.raw[0].size
        np.testing.assert_allclose(other.raw * places, one.raw, rtol=1e-9, atol=1e-9 * np.abs(one.raw).max())
        np.testing.assert_allclose(other.map, one.map, atol=1e-5)
        np.testing.assert_allclose(one.score, other.score)


def test_the_mean_of_a_cam_is_the_score_without_its_bias():
    model = small().double()
    x = pictures(3, 20)
    found = explain.cam(model, x, 2)
    probabilities = model.predict(x).astype(np.float64)
    scores = np.stack([explain.cam(model, x, k).raw.mean((1, 2)) for k in range(4)], 1)
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)  # new biases are 0
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    np.testing.assert_allclose(found.raw.mean((1, 2)), found.score, rtol=1e-9)


def test_an_image_alone_is_explained_as_in_a_batch():
    model = small()
    x = pictures(3, 20)
    for explained in (explain.cam, explain.grad_cam, explain.occlusion):
        batch, one = explained(model, x), explained(model, x[1])
        assert one.map.shape == (20, 20)
        assert isinstance(one.score, float)
        np.testing.assert_allclose(one.map, batch.map[1], atol=1e-4)
        np.testing.assert_allclose(one.raw, batch.raw[1], atol=1e-4)


def test_a_network_can_be_cut_around_any_node():
    model = small().double()
    x = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
        for name in model.values:
            below, above = split_around(model, name)
            np.testing.assert_allclose(above(*below(x)), expected, rtol=1e-12)
    below, _ = split_around(model, "two")
    assert len(below.outputs) == 2  # the way around it too


def test_a_layer_that_the_score_does_not_need_is_refused():
    x = inputs = sl.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="shared")(x)
    aside = layers.Conv2D(2, 3, name="aside")(x)
    says = layers.Dense(3, name="says")(layers.GlobalAveragePooling2D()(x))
    model = sl.Model(inputs, {"says": says, "other": layers.Flatten()(aside)})
    with pytest.raises(ArgumentError, match='does not depend on the layer "aside"'):
        explain.grad_cam(model, pictures(1, 16), 0, "aside")
    assert explain.grad_cam(model, pictures(1, 16), 0, "shared").map.shape == (1, 16, 16)


# --- targets of the tasks ----------------------------------------------------------------------------------------------


def source():
    return Source(
        lambda shape, classes: sl.create("yolo_n", shape, classes),
        lambda shape: sl.create("yolo_n", shape, None, include_top=False),
        (64, 64, 3),
        "yolo_n",
    )


def test_targets_of_localize_and_detect():
    spec, classes = ImageSpec(64, 64, 3), ["a", "b", "c"]
    torch.manual_seed(0)
    x = pictures(1, 64)[0]
    for task in (Localize(), Detect()):
        model = task.network(source(), spec, classes).eval()
        said = explain.parts.answer_of(model, x)
        aim = task.explained(said, None)
        assert 0 <= aim.label < 3
        assert 0 < aim.probability < 1
        found = explain.grad_cam(model, x, aim.target)
        assert found.map.shape == (64, 64)
        assert found.score == pytest.approx(float(aim.target(said)), abs=1e-4)
        assert task.explained(said, 1).label == 1
        if task.name == "detect":
            logits = said[0, :, 4:]
            assert found.score == pytest.approx(float(logits.max()), abs=1e-4)
            with pytest.raises(ArgumentError, match="what to explain must be said"):
                explain.grad_cam(model, x)


def test_the_target_of_a_region_sees_what_its_places_see():
    x = inputs = sl.Input((16, 16, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="maps")(x)
    model = sl.Model(inputs, layers.Conv2D(3, 1, activation="softmax", name="classes")(x))
    image = pictures(1, 16)[0]
    mask = np.zeros((16, 16), bool)
    mask[2:5, 3:9] = True
    found = explain.grad_cam(model, image, explain.of_region(1, mask), "maps")
    logits = sl.Model(inputs, model.values["maps"])
    weight, bias = model.get_layer("classes").get_weights()
    expected = (logits.predict(image[None])[0] @ weight[0, 0, :, 1] + bias[1])[mask].sum()
    assert found.score == pytest.approx(expected, rel=1e-4)
    covered = explain.occlusion(model, image, explain.of_region(1, mask), size=2, stride=2)
    assert np.abs(covered.raw[4:, 6:]).max() < 1e-5 < np.abs(covered.raw[1:3, 1:5]).max()


# --- occlusion ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_occlusion_is_that_of_one_window_after_another(high, wide, down, right, fill):
    model = small(side=13).double()
    image = pictures(1, 13)[0].astype(np.float64)
    found = explain.occlusion(model, image, 1, (high, wide), (down, right), fill, batch_size=7)

    def logit(pixels):
        with torch.no_grad():
            return float(explain.parts.answer_of(model, pixels)[0, 1])

    rows, columns = ([*range(0, 13 - size, step), 13 - size] for size, step in ((high, down), (wide, right)))
    total, count, raw = np.zeros((13, 13)), np.zeros((13, 13)), np.zeros((len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            covered = image.copy()
            covered[top : top + high, left : left + wide] = fill
            raw[i, j] = logit(image) - logit(covered)
            total[top : top + high, left : left + wide] += raw[i, j]
            count[top : top + high, left : left + wide] += 1
    np.testing.assert_allclose(found.raw, raw, atol=1e-9)
    mean = np.maximum(total / np.maximum(count, 1), 0)
    np.testing.assert_allclose(found.map, mean / (mean.max() or 1), atol=1e-5)


# --- filters, patches, maps ----------------------------------------------------------------------------------------------


def test_filters_are_the_first_kernels():
    model = small()
    weight = model.get_layer("one").get_weights()[0]  # height, width, channels, filters
    found = explain.filters(model)
    np.testing.assert_allclose(found[3] - 0.5, weight[..., 3] / (2 * np.abs(weight[..., 3]).max()), atol=1e-6)
    with pytest.raises(SightlineError, match=r"kernels of 6 channels.*exciting_patches"):
        explain.filters(model, "two")


@pytest.mark.parametrize("layer", ["one", "pool", "join", "three"])
def test_nothing_outside_a_patch_changes_what_it_excites(layer):
    model = small(side=32).double()
    images = pictures(6, 32, seed=3).astype(np.float64)
    found = explain.exciting_patches(model, layer, 1, images, k=4)
    maps = explain.feature_maps(model, images, layer)[layer][..., 1]
    np.testing.assert_allclose(found.scores, np.sort(maps.max((1, 2)))[::-1][:4], rtol=1e-12)
    height, width = found.pixels.shape[1:3]
    for patch, score, number, (left, top, right, bottom) in zip(
        found.pixels, found.scores, found.images, found.boxes, strict=True
    ):
        other = np.random.default_rng(9).random((32, 32, 3)) * 50
        inside = images[number, top:bottom, left:right]
        other[top:bottom, left:right] = inside
        row, column = np.unravel_index(maps[number].argmax(), maps[number].shape)
        changed = explain.feature_maps(model, other, layer)[layer][row, column, 1]
        assert changed == pytest.approx(score, rel=1e-12)
        kept = np.zeros((32, 32), bool)
        kept[top:bottom, left:right] = True
        y, x = (0 if top == 0 else None), (0 if left == 0 else None)
        at_y = height - (bottom - top) if y == 0 else 0
        at_x = width - (right - left) if x == 0 else 0
        np.testing.assert_array_equal(patch[at_y : at_y + bottom - top, at_x : at_x + right - left], inside)
        gray = np.ones((height, width), bool)
        gray[at_y : at_y + bottom - top, at_x : at_x + right - left] = False
        assert (np.abs(patch[gray] - 114 / 255) < 1e-12).all()


def test_feature_maps_are_what_the_layers_give():
    model = small()
    x = pictures(2, 20)
    found = explain.feature_maps(model, x, ["one", "join"])
    for name in ("one", "join"):
        expected = sl.Model(model.inputs, model.values[name]).predict(x)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    assert list(explain.feature_maps(model, x)) == ["one", "join", "three"]


# --- maximization, neighbours --------------------------------------------------------------------------------------------


def test_maximization_excites_and_a_seed_means_the_same_picture():
    model = small()
    one, again = (explain.activation_maximization(model, "join", [0, 2], steps=30, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (2, 20, 20, 3)
    assert 0 <= one.min() <= one.max() <= 1
    assert (one != explain.activation_maximization(model, "join", [0, 2], steps=30, seed=5)).any()
    begun = explain.activation_maximization(model, "join", [0, 2], steps=1, seed=4)
    excited, before = (explain.feature_maps(model, each, "join")["join"].mean((1, 2)) for each in (one, begun))
    for i, channel in enumerate((0, 2)):
        assert excited[i, channel] > 1.2 * before[i, channel]
        assert excited[i, channel] > excited[1 - i, channel]
    pair = [explain.activation_maximization(model, None, 3, steps=steps) for steps in (1, 30)]
    start, end = explain.parts.answer_of(model, np.stack(pair))[:, 3].tolist()
    assert end > start + 0.1 * abs(start)


def test_nearest_is_by_the_cosine_of_the_last_features():
    model = small()
    x, others = pictures(3, 20), pictures(9, 20, seed=1)
    others[4] = x[1]
    found = explain.nearest(model, x, others, k=3)
    part = sl.Model(model.inputs, model.values["mean"])
    one, other = part.predict(x).astype(np.float64), part.predict(others).astype(np.float64)
    cosines = one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)
    np.testing.assert_array_equal(found.indices, np.argsort(-cosines, 1)[:, :3])
    np.testing.assert_allclose(found.similarities, -np.sort(-cosines, 1)[:, :3], atol=1e-6)
    assert found.indices[1, 0] == 4
    assert penultimate(model) == "mean"


# --- wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m, x: explain.grad_cam(m, x, layer="thre"), ArgumentError, 'Did you mean "three"'),
        (lambda m, x: explain.grad_cam(m, x, layer="mean"), ArgumentError, '"mean" is no feature map'),
        (lambda m, x: explain.grad_cam(m, x, 7), ArgumentError, "no such class.*0 to 3"),
        (lambda m, x: explain.grad_cam(m, x, [0, 1, 2]), ArgumentError, "one for each image"),
        (lambda m, x: explain.grad_cam(m, x, lambda said: said.sum()), ArgumentError, "one number for each image"),
        (lambda m, x: explain.grad_cam(m, x[:, :5]), ShapeError, "do not fit"),
        (lambda m, x: explain.grad_cam(m, np.array(["a"])), ArgumentError, "arrays of numbers"),
        (lambda m, x: explain.feature_maps(m, x, "says"), ArgumentError, "no feature map"),
        (lambda m, x: explain.occlusion(m, x, size=21), ArgumentError, "no larger than the image"),
        (lambda m, x: explain.occlusion(m, x, fill=[1, 2]), ArgumentError, "one for each channel"),
        (lambda m, x: explain.exciting_patches(m, "one", 6, x), ArgumentError, "no filter 6.*0 to 5"),
        (lambda m, x: explain.activation_maximization(m, None, 4), ArgumentError, "no filter 4"),
        (lambda m, x: explain.activation_maximization(m, "on", 4), ArgumentError, "Unknown layer"),
        (lambda m, x: explain.cam(sl.create("small_cnn", (20, 20, 3), 3), x), SightlineError, "grad_cam explains any"),
    ],
)
def test_wrong_input_gets_a_sentence(call, kind, words):
    x = pictures(2, 20)
    with pytest.raises(kind, match=words):
        call(small(), x)


# --- a network that has learned ------------------------------------------------------------------------------------------


SIDE, EPOCHS = 32, 3


def scenes(n, split):
    """Pictures 0..1, first n of one digit and then n of the ground alone, which is which (1: a digit), and the digits' boxes."""
    found = list(make_scenes(n, (SIDE, SIDE), digits=(1, 1), split=split))
    rng = np.random.default_rng(len(split))
    grounds = [textured_ground(rng, (SIDE, SIDE)).transpose(1, 2, 0) for _ in range(n)]
    x = np.stack([*(scene.image / 255 for scene in found), *grounds]).astype(np.float32)
    return x, np.repeat([1, 0], n), np.stack([scene.boxes.xyxy[0] for scene in found]).astype(int)


def untrained():
    torch.manual_seed(0)
    x = inputs = sl.Input((SIDE, SIDE, 3))
    for filters, strides in ((16, 2), (32, 1), (32, 1)):
        x = layers.Conv2D(filters, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return sl.Model(inputs, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def learned():
    """A classifier that tells whether there is a digit, and digits that it never saw, with their boxes."""
    x, y, _ = scenes(200, "train")
    model = untrained()
    model.compile(sl.optimizers.Adam(0.01), "sparse_categorical_crossentropy", precision="float32")
    model.fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0)
    xv, yv, boxes = scenes(60, "test")
    accuracy = float((model.predict(xv).argmax(1) == yv).mean())
    return model, xv[:60], boxes, accuracy


def inside(boxes):
    """(n, side, side): whether a pixel lies in the box."""
    y, x = np.mgrid[:SIDE, :SIDE]
    left, top, right, bottom = (boxes[:, i, None, None] for i in range(4))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def concentration(model, x, boxes):
    """The share of Grad-CAM's mass for "a digit" inside the box, by the share of its area: the mean over images."""
    found, within = explain.grad_cam(model, x, 1).map, inside(boxes)
    mass = (found * within).sum((1, 2)) / np.maximum(found.sum((1, 2)), 1e-9)
    return float((mass / within.mean((1, 2))).mean())


def test_grad_cam_finds_the_object_and_only_of_a_network_that_learned(learned):
    model, x, boxes, accuracy = learned
    assert accuracy > 0.8
    trained, random = concentration(model, x, boxes), concentration(untrained(), x, boxes)
    assert trained >= 2
    assert random < 1.4


def test_covering_the_object_costs_more_than_covering_the_ground(learned):
    model, x, boxes, _ = learned
    within = inside(boxes)
    falls = explain.occlusion(model, x, 1, size=8, stride=4)
    raw = torch.from_numpy(falls.raw)[:, None]
    centres = F.avg_pool2d(torch.from_numpy(within).float()[:, None], 8, 4)  # the share of each window in the box
    on, off = raw[centres > 0.5].mean(), raw[centres == 0].mean()
    assert on > 4 * max(off, 0.05)
    in_box = (falls.map * within).sum((1, 2)) / np.maximum(falls.map.sum((1, 2)), 1e-9)
    assert (in_box / within.mean((1, 2))).mean() >= 2


# --- runs and the command line ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_run(tmp_path_factory, no_report):
    """A run of two epochs on pictures of two colours, and the folder of its images."""
    root = tmp_path_factory.mktemp("explained")
    rng = np.random.default_rng(0)
    for name, color in (("blue", (30, 40, 200)), ("red", (210, 40, 30))):
        (root / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(color, 40, (18, 22, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{i}.png")
    with no_report():
        return sl.train(
            root / "photos", model="small_cnn", image_size=16, epochs=2, runs=str(root / "runs"), name="colors"
        )


def photo(a_run, name="blue/3.png"):
    return a_run.path.parents[2] / "photos" / name


def test_a_run_is_explained_in_pictures(run, a_run, tmp_path):
    kinds = ("grad-cam", "occlusion", "feature-maps", "filters", "patches", "maximization", "nearest")
    words = [word for kind in kinds for word in ("--what", kind)]
    code, out, err = run("explain", a_run.path, photo(a_run), *words, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Pictures {tmp_path}"
    each = {f"3-{kind}.png" for kind in ("grad-cam", "occlusion", "feature-maps", "nearest")}
    assert {path.name for path in tmp_path.iterdir()} == each | {"filters.png", "patches.png", "maximization.png"}
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_what_is_explained_can_be_chosen(run, a_run):
    files = photo(a_run), photo(a_run, "red/3.png")
    code, out, _ = run("explain", a_run.path, *files, "--what", "grad-cam", "--class", "red", "--layer", "conv2d_2")
    assert code == 0
    assert out.splitlines()[-1] == f"Pictures {a_run.path / 'explained'}"
    names = {path.name for path in (a_run.path / "explained").iterdir()}
    assert names == {"3-grad-cam.png", "3-2-grad-cam.png"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--layer", "conv2d_99"], "Unknown layer 'conv2d_99'. Did you mean \"conv2d"),
        (["--class", "rad"], "Unknown class 'rad'. Did you mean \"red\""),
        (["--what", "gradcam"], 'Did you mean "grad-cam"'),
        (["--what", "grad-cam", "--layer", "dense"], '"dense" is no feature map'),
    ],
)
def test_wrong_words_of_explain(run, a_run, words, complaint):
    code, _, err = run("explain", a_run.path, photo(a_run), *words)
    assert code == 2
    assert complaint in err


def test_what_cannot_be_read_is_named(run, a_run, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    (tmp_path / "nothing").mkdir()
    code, out, err = run(
        "explain", a_run.path, tmp_path / "bad.jpg", photo(a_run), "--what", "filters", "--out", tmp_path
    )
    assert code == 2
    assert "bad.jpg: is not an image" in err
    assert out.splitlines()[-1] == f"Pictures {tmp_path}"
    code, _, err = run("explain", a_run.path, tmp_path / "bad.jpg")
    assert code == 2
    assert "None of the 1 images can be read" in err
    code, _, err = run("explain", a_run.path, tmp_path / "nothing")
    assert code == 2
    assert "holds no image" in err
