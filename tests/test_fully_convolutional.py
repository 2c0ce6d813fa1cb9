"""Fully convolutional networks: of each window what the classifier says of it."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sightline as sl
from sightline import layers
from sightline.architectures.registry import find
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.measure import dense_difference
from sightline.rewrite import on_input, score_map, to_fully_convolutional

SQUEEZED = ("se_resnet50", "se_resnet101", "senet154")
HEAVY = ("inception_v3", "resnet101", "resnet152", "densenet121", "alexnet", "vgg13", "vgg16", "vgg19", "xception")


def settled(model):
    """Weights and moving statistics as after a training: nothing is 0 or 1, and answers differ."""
    torch.manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and tensor.ndim < 2:
            tensor.data.add_(torch.randn_like(tensor) * 0.1)
    return model


def in_float64(model, **options):
    """(model, dense network), both in float64; the weights are the same numbers."""
    dense = to_fully_convolutional(settled(model), **options)
    return model.double(), dense.double()


def picture(model, size, seed=0):
    channels = model.inputs[0].inner_shape[0]
    return np.random.default_rng(seed).normal(size=(*size, channels))


def plain(size=(20, 18, 3), *, norm=True, flat=True):
    """A small network in VGG's way, without padding."""
    x = inputs = sl.Input(size)
    for filters in (6, 8):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.BatchNormalization()(x) if norm else x
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x)) if flat else layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(layers.BatchNormalization()(layers.Dense(7, activation="relu")(x)))
    return sl.Model(inputs, layers.Dense(4, activation="softmax")(x))


def residual(size=(25, 29, 2)):
    """A small network in ResNet's way, without padding: what a block leaves out at the border is cropped from its shortcut."""
    x = inputs = sl.Input(size)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(6, 3)(x)
    x = layers.Add()([layers.Cropping2D(1)(x), layers.BatchNormalization()(y)])
    y = layers.DepthwiseConv2D(3)(x)
    x = layers.Concatenate()([layers.Cropping2D(1)(x), y, layers.SeparableConv2D(3, 3)(x)])
    x = layers.LayerNormalization()(x)
    x = layers.LocalResponseNormalization()(layers.AveragePooling2D(2)(layers.Activation("tanh")(x)))
    return sl.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D(keepdims=True)(x)))


VALID = {
    "mnist_cnn": lambda: sl.create("mnist_cnn", classes=5),
    "mnist_cnn at 32": lambda: sl.create("mnist_cnn", (32, 30, 3), 5),
    "lenet5": lambda: sl.create("lenet5"),
    "lenet5 at 36": lambda: sl.create("lenet5", (36, 40, 1), 4),
    "plain": plain,
    "plain without norm": lambda: plain(norm=False),
    "plain pooled": lambda: plain(flat=False),
    "residual": residual,
    "nested": lambda: sl.Sequential([sl.Input((20, 18, 3)), plain(), layers.Dense(3, activation="sigmoid")]),
    "torch": lambda: sl.wrap(
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(8 * 7 * 8, 16),
            nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(-1),
        ).eval(),
        (16, 18, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_without_padding_each_score_is_the_classifiers_of_that_crop(name, stride):
    model, dense = in_float64(VALID[name](), stride=stride)
    height, width = model.input_shape[1:3]
    assert dense.input_shape == (None, None, None, model.input_shape[-1])
    assert dense.output_shape == (None, None, None, model.output_shape[-1])
    where = score_map(dense)
    assert where.window == (height, width)
    assert where.halo == (0, 0)
    found = dense_difference(model, dense, picture(model, (height + 17, width + 22)))
    assert found.windows == np.prod(where.shape((height + 17, width + 22)))
    assert found.largest <= 1e-10
    assert found.agreement == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 19), st.integers(0, 19), st.integers(1, 3), st.sampled_from(["plain", "mnist_cnn", "residual"]))
def test_any_size_from_the_training_size_on(below, right, stride, name):
    model, dense = in_float64(VALID[name](), stride=stride)
    size = model.input_shape[1] + below, model.input_shape[2] + right
    assert dense_difference(model, dense, picture(model, size)).largest <= 1e-10


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize(
    "make", [plain, residual, lambda: sl.create("small_cnn", (16, 16, 3), 4), lambda: plain(flat=False)]
)
def test_a_stride_thins_the_map(make, stride):
    model = settled(make())
    whole, thin = (to_fully_convolutional(model, stride=s) for s in (1, stride))
    image = picture(model, (61, 67))[None].astype(np.float32)
    np.testing.assert_allclose(thin.predict(image), whole.predict(image)[:, ::stride, ::stride], atol=1e-6)
    assert score_map(thin).stride == tuple(stride * s for s in score_map(whole).stride)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in sl.list_models() if n not in SQUEEZED],
)
def test_at_the_training_size_every_architecture_says_the_same(name):
    known = find(name)
    side = max(known.minimum, 32) + 1
    model = settled(sl.create(name, (side, side + 3, known.input_shape[2]), 5, classifier_activation=None))
    dense = to_fully_convolutional(model)
    x = picture(model, (side, side + 3))[None].astype(np.float32)
    one, other = model.predict(x), dense.predict(x)
    assert other.shape[1:3] == (1, 1)
    np.testing.assert_allclose(other[:, 0, 0], one, rtol=1e-4, atol=1e-5 * max(1, np.abs(one).max()))
    # Whole strides more: of other sizes, paths that pad unlike may not meet (xception)
    size = side + 2 * score_map(dense).stride[0], side + 3 + score_map(dense).stride[1]
    larger = dense.predict(picture(model, size)[None].astype(np.float32))
    assert larger.shape[1:3] == score_map(dense).shape(size) == (3, 2)
    assert np.isfinite(larger).all()


@pytest.mark.parametrize("name", SQUEEZED[:1])
def test_what_squeezes_the_whole_map_is_refused(name):
    with pytest.raises(
        SightlineError, match=r"layer1_0_se_module_scale.*layer1_0_se_module_squeeze.*SlidingWindowDetector"
    ):
        to_fully_convolutional(sl.create(name, (32, 32, 3), 5))


@pytest.mark.parametrize(
    ("size", "name"),
    [((32, 40, 3), "timm:resnet10t"), ((33, 47, 3), "timm:mobilenetv2_035"), ((40, 40, 3), "timm:regnetx_002")],
)
def test_networks_of_timm(size, name):
    model = settled(sl.create(name, size, 4, classifier_activation=None))
    dense = to_fully_convolutional(model)
    x = picture(model, size[:2])[None].astype(np.float32)
    np.testing.assert_allclose(dense.predict(x)[:, 0, 0], model.predict(x), rtol=1e-4, atol=1e-4)
    assert dense.predict(picture(model, (80, 90))[None].astype(np.float32)).shape[-1] == 4
    if "resnet" in name:
        assert to_fully_convolutional(model, stride=2).output_shape == dense.output_shape


def test_networks_of_torchvision():
    models = pytest.importorskip("torchvision.models")
    for module, size in (
        (models.resnet18(num_classes=4), (40, 52, 3)),
        (models.squeezenet1_1(num_classes=4), (64, 64, 3)),
    ):
        model = settled(sl.wrap(module.eval(), size))
        dense = to_fully_convolutional(model)
        x = picture(model, size[:2])[None].astype(np.float32)
        np.testing.assert_allclose(dense.predict(x)[:, 0, 0], model.predict(x), rtol=1e-4, atol=1e-4)


class Adaptive(nn.Module):
    """VGG's way of torchvision: adaptive pooling to 3x3, flattened in CHW order."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d((3, 3)), nn.Linear(36, 5)

    def forward(self, x):
        return torch.log_softmax(self.fc(torch.flatten(self.pool(torch.relu(self.conv(x))), 1)), dim=1)


@pytest.mark.parametrize("side", [5, 8, 11])  # nothing to pool, 2x2 and 3x3 windows
def test_adaptive_pooling_that_goes_evenly(side):
    model, dense = in_float64(sl.wrap(Adaptive().eval(), (side, side, 1)))
    assert score_map(dense).stride == ((side - 2) // 3,) * 2
    assert dense_difference(model, dense, picture(model, (side + 9, side + 13))).largest <= 1e-10


class Meaned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, stride=2), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(nn.functional.max_pool2d(self.conv(x), 2).mean((2, 3)))


def test_a_mean_over_the_map():
    model, dense = in_float64(sl.wrap(Meaned().eval(), (15, 15, 1)))
    assert dense_difference(model, dense, picture(model, (31, 30))).largest <= 1e-10


def two_heads(size=(20, 20, 1), *, as_dict=False, padding="valid"):
    x = inputs = sl.Input(size)
    x = layers.MaxPooling2D(2)(layers.Conv2D(5, 3, padding=padding, activation="relu")(x))
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    classes, box = layers.Dense(3, activation="softmax")(x), layers.Dense(4, activation="sigmoid")(x)
    return sl.Model(inputs, {"classes": classes, "box": box} if as_dict else [classes, box])


@pytest.mark.parametrize("as_dict", [False, True])
def test_two_heads_become_two_maps(as_dict):
    model, dense = in_float64(two_heads(as_dict=as_dict), stride=2)
    assert dense_difference(model, dense, picture(model, (41, 35))).largest <= 1e-10
    said = dense.predict(picture(model, (41, 35))[None])
    assert (sorted(said) == ["box", "classes"]) if as_dict else ([part.shape[-1] for part in said] == [3, 4])


def test_heads_in_different_places_are_refused():
    x = inputs = sl.Input((20, 20, 1))
    x = layers.Conv2D(4, 3)(x)
    early = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    late = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x)))
    with pytest.raises(SightlineError, match="pixels apart"):
        to_fully_convolutional(sl.Model(inputs, [early, late]))


@pytest.mark.parametrize("size", [(16, 16), (17, 18), (19, 21)])
@pytest.mark.parametrize("kind", [layers.MaxPooling2D, layers.Conv2D])
def test_same_padding_at_a_stride_keeps_the_pads_of_the_training_size(size, kind):
    def made(pads):
        x = inputs = sl.Input((*size, 2))
        for _ in range(2):
            x = (kind(3, strides=2, padding=pads) if kind is layers.MaxPooling2D else kind(4, 3, 2, pads))(x)
        return sl.Model(inputs, layers.Dense(3, use_bias=False)(layers.Flatten()(x)))

    model, dense = in_float64(made("same"))
    at_home = picture(model, size)
    assert dense_difference(model, dense, at_home).largest <= 1e-10  # the border is where it was
    where = score_map(dense)
    # A window far from the border sees what the classifier would see whose image went on: the whole network, shifted by its stride
    image = picture(model, (size[0] + 4 * where.stride[0], size[1] + 4 * where.stride[1]))
    shifted = image[where.stride[0] :, where.stride[1] :]
    one, other = (dense.predict(x[None].astype(np.float64)) for x in (image, shifted))
    np.testing.assert_allclose(one[:, 2:4, 2:4], other[:, 1:3, 1:3], atol=1e-6)
    assert dense_difference(model, dense, image).largest > 0  # where the crop ended, and the image goes on


def test_a_border_effect_is_measured():
    model, dense = in_float64(sl.create("small_cnn", (16, 16, 3), 4))
    found = dense_difference(model, dense, picture(model, (48, 48)))
    assert found.windows == 81
    assert found.largest > 1e-4
    assert 0 < found.interior <= found.largest
    assert "81 windows" in str(found)
    assert score_map(dense).halo == (6, 6)


def test_weights_are_shared():
    model = plain()
    dense = to_fully_convolutional(model)
    assert {p.data_ptr() for p in dense.parameters()} == {p.data_ptr() for p in model.parameters()}
    image = picture(model, (20, 18))[None].astype(np.float32)
    before = dense.predict(image)
    model.get_layer("dense").weight.data.mul_(2)
    assert not np.array_equal(dense.predict(image), before)
    np.testing.assert_allclose(dense.predict(image)[:, 0, 0], model.predict(image), atol=1e-6)
    kernel = dense.get_layer("dense").weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_the_model_itself_stays_as_it_is():
    model = VALID["torch"]()
    before = (
        model.summary(as_text=True),
        {n: t.clone() for n, t in model.state_dict().items()},
        [m.training for m in model.modules()],
    )
    to_fully_convolutional(model)
    assert model.summary(as_text=True) == before[0]
    assert all(torch.equal(t, before[1][n]) for n, t in model.state_dict().items())
    assert [m.training for m in model.modules()] == before[2]
    model.predict(picture(model, (16, 18))[None].astype(np.float32))


def test_a_dense_network_is_saved_copied_trained_and_taken_to_a_size(tmp_path):
    model = settled(sl.create("small_cnn", (16, 18, 3), 4))
    model.metadata["classes"] = list("abcd")
    dense = to_fully_convolutional(model, stride=2)
    image = picture(model, (41, 55))[None].astype(np.float32)
    said = dense.predict(image)
    for other in (
        sl.load(dense.save(tmp_path / "it.sightline")),
        copy.deepcopy(dense),
        pickle.loads(pickle.dumps(dense)),
    ):
        np.testing.assert_allclose(other.predict(image), said, atol=1e-6)
        assert score_map(other) == score_map(dense)
        assert other.metadata["classes"] == list("abcd")
    assert "(None, None, None, 4)" in dense.summary(as_text=True)
    with pytest.raises(SightlineError, match="any size"):
        sl.measure.receptive_field(dense)
    with pytest.raises(SightlineError, match="any size"):
        sl.measure.memory(dense)
    x = sl.Input((41, 55, 3))
    sized = sl.Model(x, on_input(dense, x))
    assert sized.output_shape == (None, *said.shape[1:])
    assert sl.measure.receptive_field(sized, "dense_1").stride == (8, 8)
    assert dense(sl.Input((41, 55, 3))).shape == sized.output_shape
    dense.compile("sgd", "sparse_categorical_crossentropy")
    dense.fit(image, np.zeros((1, *said.shape[1:3]), int), verbose=0)
    dense.fit(image, np.zeros((1, *said.shape[1:3]), int), verbose=2)
    assert not np.array_equal(dense.predict(image), said)


def same_average():
    x = sl.Input((9, 9, 1))
    return sl.Model(x, layers.Dense(2)(layers.Flatten()(layers.AveragePooling2D(3, 2, "same", name="halves")(x))))


def head(parts):
    return lambda: sl.Sequential([sl.Input((9, 8, 2)), layers.Conv2D(3, 3), *parts(), layers.Dense(2)])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (head(lambda: [layers.Reshape((21, 6), name="folded"), layers.Flatten()]), '"folded"'),
        (head(lambda: [layers.Permute((2, 1, 3), name="turned"), layers.Flatten()]), '"turned"'),
        (head(lambda: [layers.Flatten(), layers.BatchNormalization(name="norm")]), '"norm".*before the Flatten'),
        (head(lambda: [layers.Flatten(), layers.Activation("softmax", name="soft")]), '"soft".*before the Flatten'),
        (head(lambda: [layers.Resizing(5, 5, name="fixed"), layers.Flatten()]), '"fixed"'),
        (
            head(lambda: [layers.LayerNormalization(axis=[1, 2, 3], name="everything"), layers.Flatten()]),
            '"everything".*height',
        ),
        (same_average, '"halves".*same'),
        (lambda: sl.Sequential([sl.Input((9, 8, 2)), layers.Conv2D(3, 3, name="last")]), 'output "last".*7x6'),
        (lambda: sl.Sequential([sl.Input((9,)), layers.Dense(3)]), "one image of one size"),
        (lambda: sl.Sequential([layers.Dense(3)]), "one image of one size"),
        (lambda: to_fully_convolutional(plain()), "one image of one size"),
        (lambda: sl.wrap(Adaptive().eval(), (9, 9, 1)), '"pool".*3x3 places of 7x7'),
        (
            lambda: sl.wrap(nn.Sequential(nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(144, 2)), (9, 8, 2)),
            "GroupNorm.*each place",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(make, says):
    with pytest.raises(SightlineError, match=says):
        to_fully_convolutional(make())


def test_wrong_arguments():
    model = plain()
    with pytest.raises(ArgumentError, match="stride"):
        to_fully_convolutional(model, stride=0)
    with pytest.raises(SightlineError, match="not known to be fully convolutional"):
        score_map(model)
    dense = to_fully_convolutional(model)
    with pytest.raises(ShapeError, match="smaller than"):
        score_map(dense).shape((19, 40))
    with pytest.raises(ShapeError, match="The image is another"):
        dense_difference(model, dense, np.zeros((30, 30)))
    with pytest.raises(ShapeError, match="follows from the image's size"):
        layers.Dense(3)(layers.Flatten()(dense.output))
    with pytest.raises(ShapeError):
        dense.predict(np.zeros((1, 8, 8, 3), np.float32))


def test_rows_that_are_one_place():
    """Elementwise layers between Flatten and Dense, a last map of one place, and no Dense layer at all."""
    flat = [
        layers.Flatten(),
        layers.ReLU(),
        layers.Dropout(0.2),
        layers.Activation("tanh"),
        layers.Dense(3, activation="softmax"),
    ]
    single = [
        layers.Conv2D(5, 8),
        layers.Flatten(),
        layers.BatchNormalization(axis=1),
        layers.Dense(3),
        layers.Softmax(axis=1),
    ]
    none = [layers.Conv2D(3, 8, activation="softmax"), layers.Flatten()]
    for parts in (flat, single, none):
        for stride in (1, 2):
            made = sl.Sequential([sl.Input((10, 10, 2)), layers.Conv2D(4, 3), *map(copy.deepcopy, parts)])
            model, dense = in_float64(made, stride=stride)
            assert dense_difference(model, dense, picture(model, (19, 22))).largest <= 1e-10


def test_boxes_of_the_places():
    where = score_map(to_fully_convolutional(plain(), stride=2))
    assert where.stride == (8, 8)
    assert where.shape((20, 18)) == (1, 1)
    assert where.shape((28, 40)) == (2, 3)
    assert where.box(1, 2) == (16, 8, 34, 28)
    np.testing.assert_array_equal(where.boxes((2, 3))[5], where.box(1, 2))


def test_a_head_of_convolutions_behind_the_pooling():
    model = sl.wrap(
        nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.AdaptiveMaxPool2d(1), nn.Conv2d(6, 5, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(5, 3)
        ).eval(),
        (9, 9, 2),
    )  # fmt: skip
    model, dense = in_float64(model, stride=2)
    assert dense_difference(model, dense, picture(model, (20, 23))).largest <= 1e-10


def test_a_function_as_activation_is_asked():
    def made(function):
        parts = [layers.Conv2D(4, 3, activation=function), layers.Flatten(), layers.Dense(3, activation=function)]
        return sl.Sequential([sl.Input((9, 9, 1)), *parts])

    model, dense = in_float64(made(lambda x: x * torch.sigmoid(x)))
    assert dense_difference(model, dense, picture(model, (12, 13))).largest <= 1e-10
    with pytest.raises(SightlineError, match="activation"):
        to_fully_convolutional(made(lambda x: torch.softmax(x, -1)))


def test_a_layer_that_is_called_on_two_sizes_becomes_two():
    shared = layers.Conv2D(2, 3, 2, "same", name="shared")
    for size in (9, 10):  # which are padded by 1 and 1 both times, and by 0 and 1 first
        x = inputs = sl.Input((size, size, 2))
        flat = layers.Flatten()(shared(shared(x)))
        model, dense = in_float64(sl.Model(inputs, layers.Dense(3)(flat)))
        assert dense_difference(model, dense, picture(model, (size, size))).largest <= 1e-10
        model.float()


def test_python_of_the_page():
    page = (Path(__file__).parent.parent / "docs" / "fully_convolutional.md").read_text()
    scope = {}
    for listing in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(listing, "docs/fully_convolutional.md", "exec"), scope)
    assert scope["where"].box(0, 2) == (8, 0, 36, 28)
    assert len(scope["scanner"].scales) == 2
