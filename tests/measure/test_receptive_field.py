"""Receptive fields: published numbers, and equality with what really changes an answer, for graphs of all layers."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.measure import advice, effective_receptive_field, receptive_field

# --- oracles ---------------------------------------------------------------------------------------------------


def positive(model):
    """All weights between 0.5 and 1.5, moving means 0: whatever is read matters, and nothing cancels."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "moving_mean")):
                tensor.zero_()
            elif tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5)
    return model


def changed_by_each_pixel(model):
    """(H', W', H, W): whether a place of the output changes when one pixel of an image of ones grows by a million."""
    channels, height, width = model.inputs[0].inner_shape
    images = torch.ones(1 + height * width, channels, height, width, dtype=torch.float64)
    pixels = torch.arange(height * width)
    images[1 + pixels, :, pixels // width, pixels % width] += 1e6
    with torch.no_grad():
        y = model(images)
    y = y if y.ndim == 4 else y.flatten(1)[:, :, None, None]
    changes = ((y[1:] - y[:1]).abs() > 1e-9 * (1 + y[:1].abs())).any(1)
    return changes.permute(1, 2, 0).unflatten(-1, (height, width)).numpy()


def box_of(mask):
    """The box `xyxy` around what is true; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return None if not len(rows) else (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def holds(outer, inner):
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def is_empty(box):
    return box[0] >= box[2] or box[1] >= box[3]


def check_every_place(model):
    """The field of every place is the box around what changes it."""
    fields = receptive_field(model)
    (found,) = fields.outputs.values()
    truth = changed_by_each_pixel(positive(model))
    assert (found.height.places, found.width.places) == truth.shape[:2]
    gaps = any((axis.spans[:, 0] >= axis.spans[:, 1]).any() for f in fields.values() for axis in (f.height, f.width))
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            box, expected = found.at(row, column), box_of(truth[row, column])
            if expected is None:
                assert gaps or is_empty(box)
            elif gaps:  # a path that reads nothing along one axis still counts along the other
                assert holds(box, expected)
            else:
                assert box == expected, (row, column)
            check_bounds(found.height, row, box[1::2])
            check_bounds(found.width, column, box[::2])


def check_bounds(axis, place, span):
    """What is read lies within the stated size."""
    if span[0] < span[1]:
        assert 0 <= span[0] < span[1] <= axis.image
        assert axis.whole or span[1] - span[0] <= axis.size


# --- random graphs ---------------------------------------------------------------------------------------------

sizes = st.integers(1, 3)
strides = st.sampled_from([1, 1, 2, 3])
paddings = st.sampled_from(["valid", "same", 1, (0, 1)])


@st.composite
def sliding_layer(draw):
    kernel = draw(sizes), draw(sizes)
    window = {"padding": draw(paddings if max(kernel) > 1 else st.sampled_from(["valid", "same"]))}
    if draw(st.booleans()):
        window["strides"] = (draw(strides), draw(strides))
    else:
        window["dilation_rate"] = (draw(sizes), draw(sizes))
    activation = draw(st.sampled_from([None, "relu"]))
    return draw(
        st.sampled_from(
            [
                lambda: layers.Conv2D(2, kernel, activation=activation, **window),
                lambda: layers.DepthwiseConv2D(kernel, activation=activation, **window),
                lambda: layers.SeparableConv2D(2, kernel, activation=activation, **window),
            ]
        )
    )


@st.composite
def pooling_layer(draw, *, kinds):
    kind, pool, stride = draw(st.sampled_from(kinds)), draw(st.integers(2, 3)), draw(strides)
    padding = draw(st.sampled_from(["valid", "same", 1]))
    return lambda: kind(pool, stride, padding)


@st.composite
def enlarging_layer(draw):
    kernel, stride = (draw(sizes), draw(sizes)), draw(st.integers(1, 3))
    padding, more = draw(st.sampled_from(["valid", "same"])), draw(st.integers(0, stride - 1))
    output_padding = more if draw(st.booleans()) else None
    how = draw(st.sampled_from(["nearest", "bilinear"]))
    size = (draw(st.integers(3, 17)), draw(st.integers(3, 17)))
    ratio = draw(st.sampled_from([{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}]))
    return draw(
        st.sampled_from(
            [
                lambda: layers.Conv2DTranspose(2, kernel, stride, padding, output_padding),
                lambda: layers.UpSampling2D((stride, 2), interpolation=how),
                lambda: layers.Resizing(*size, interpolation=how, antialias=how == "bilinear" and stride > 1, **ratio),
            ]
        )
    )


@st.composite
def other_layer(draw):
    sides = ((draw(st.integers(0, 2)), draw(st.integers(0, 2))), (draw(st.integers(0, 2)), draw(st.integers(0, 2))))
    return draw(
        st.sampled_from(
            [
                lambda: layers.ZeroPadding2D(sides),
                lambda: layers.Cropping2D(sides),
                lambda: layers.BatchNormalization(),
                lambda: layers.LocalResponseNormalization(alpha=1e-20),
                lambda: layers.Dropout(0.5),
                lambda: layers.Dense(2),
                lambda: layers.Permute((1, 2, 3)),
                lambda: sl.Sequential([layers.Conv2D(2, 3, padding="same"), layers.ReLU()]),
                lambda: layers.Torch(nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.ReLU())),
            ]
        )
    )


def any_layer(kinds):
    return st.one_of(sliding_layer(), pooling_layer(kinds=kinds), enlarging_layer(), other_layer())


@st.composite
def path(draw, x, most, kinds):
    """Some layers in a row behind x; those that do not fit are left out."""
    for make in draw(st.lists(any_layer(kinds), min_size=1, max_size=most)):
        try:
            y = make()(x)
        except (ShapeError, ArgumentError):
            continue
        if min(y.inner_shape[1:]) > 0 and max(y.inner_shape[1:]) < 40:
            x = y
    return x


@st.composite
def joined(draw, x, kinds):
    """Two ways from x that meet."""
    one, other = draw(path(x, 2, kinds)), draw(path(x, 2, kinds))
    kind = draw(st.sampled_from(["channels", "sum", "gate"]))
    if kind == "gate":
        return layers.Multiply()([one, layers.GlobalAveragePooling2D(keepdims=True)(one)])
    if other.shape[1:3] != one.shape[1:3]:
        other = layers.Resizing(*one.shape[1:3])(other)
    return (layers.Concatenate() if kind == "channels" else layers.Add())(
        [layers.Conv2D(2, 1)(one), layers.Conv2D(2, 1)(other)]
    )


@st.composite
def networks(draw, kinds=(layers.MaxPooling2D, layers.AveragePooling2D)):
    inputs = sl.Input((draw(st.integers(4, 12)), draw(st.integers(4, 12)), 2))
    x = layers.Conv2D(2, 1)(inputs)
    for _ in range(draw(st.integers(1, 2))):
        x = draw(path(x, 3, kinds))
        if draw(st.booleans()):
            x = layers.Conv2D(2, 1)(draw(joined(x, kinds)))
    if draw(st.integers(0, 5)) == 0:
        x = layers.Dense(2)(layers.Flatten()(x))
    return sl.Model(inputs, x)


unhurried = settings(
    deadline=None,
    max_examples=80,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(networks())
@unhurried
def test_what_changes_a_place_is_its_field(model):
    check_every_place(model)


@given(networks(kinds=(layers.AveragePooling2D,)), st.data())
@settings(unhurried, max_examples=40)
def test_the_gradient_of_a_place_lies_on_its_field(model, data):
    """What is below 1e-12 is the rounding of resizing's weights, where a pixel lies exactly on a kernel's border."""
    fields = receptive_field(model)
    (found,) = fields.outputs.values()
    row, column = data.draw(st.integers(0, found.height.places - 1)), data.draw(st.integers(0, found.width.places - 1))
    x = torch.ones(1, *model.inputs[0].inner_shape, dtype=torch.float64, requires_grad=True)
    y = positive(model)(x)
    (y[0, :, row, column] if y.ndim == 4 else y[0]).sum().backward()
    slopes = x.grad[0].abs().amax(0)
    expected, box = box_of((slopes > 1e-12 * slopes.max().clamp(min=1)).numpy()), found.at(row, column)
    gaps = any((axis.spans[:, 0] >= axis.spans[:, 1]).any() for f in fields.values() for axis in (f.height, f.width))
    assert box == expected or (gaps and (expected is None or holds(box, expected)))


# --- published numbers -----------------------------------------------------------------------------------------


def chain(size, *makers):
    inputs = x = sl.Input((size, size, 3))
    for layer in makers:
        x = layer(x)
    return sl.Model(inputs, x)


def vgg16():
    rows = []
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        rows += [layers.Conv2D(2, 3, padding="same", name=f"block{block}_conv{i + 1}") for i in range(count)]
        rows.append(layers.MaxPooling2D(2, name=f"block{block}_pool"))
    return chain(224, *rows)


def alexnet():
    """Krizhevsky et al., 2012: section 3.5."""
    return chain(
        227,
        layers.Conv2D(2, 11, 4),
        layers.LocalResponseNormalization(),
        layers.MaxPooling2D(3, 2),
        layers.Conv2D(2, 5, padding="same"),
        layers.MaxPooling2D(3, 2),
        *(layers.Conv2D(2, 3, padding="same") for _ in range(3)),
        layers.MaxPooling2D(3, 2, name="pool5"),
    )


def resnet50(stride_in_3x3):
    inputs = sl.Input((224, 224, 3))
    x = layers.MaxPooling2D(3, 2, padding=1)(layers.Conv2D(2, 7, 2, padding=3)(inputs))
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            one, three = (1, stride) if stride_in_3x3 else (stride, 1)
            y = layers.Conv2D(2, 3, three, padding=1)(layers.Conv2D(2, 1, one)(x))
            x = layers.Add()([layers.Conv2D(2, 1)(y), layers.Conv2D(2, 1, stride)(x)])
    return sl.Model(inputs, x)


# Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", 2019, table 1: 212, 195 and 483
@pytest.mark.parametrize(
    ("make", "size", "stride", "offset"),
    [
        (vgg16, 212, 32, 16),
        (alexnet, 195, 32, Fraction(195, 2) - 64),
        (lambda: resnet50(True), 427, 32, Fraction(1, 2)),
        (lambda: resnet50(False), 483, 32, Fraction(1, 2)),
    ],
    ids=["vgg16", "alexnet", "resnet50", "resnet50 of the paper"],
)
def test_published_sizes(make, size, stride, offset):
    (found,) = receptive_field(make()).outputs.values()
    assert found.size == (size, size)
    assert found.stride == (stride, stride)
    assert found.offset == (offset, offset)


# The last is in table 1 of Araujo et al. too
@pytest.mark.parametrize(
    ("name", "node", "size"),
    [("vgg16", "block5_pool", 212), ("alexnet", None, 195), ("resnet50", None, 427), ("inception_v3", None, 1311)],
)
def test_our_networks_by_name(name, node, size):
    if name not in sl.list_models():
        pytest.skip(f"there is no {name} yet")
    with torch.device("meta"):
        model = sl.create(name)
    found = receptive_field(model, node or model.metadata["backbone"])
    assert found.size == (size, size)


@pytest.mark.parametrize(
    ("name", "node", "size", "stride"),
    [
        ("resnet50", "layer4_2_relu_2", 427, 32),
        ("resnet18", "layer4_1_relu_1", 435, 32),
        ("vgg16", "features_30", 212, 32),
        ("alexnet", "features_12", 195, 32),
    ],
)
def test_torchvisions_networks(name, node, size, stride):
    inputs = sl.Input((224, 224, 3))
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None).eval()
    model = sl.Model(inputs, layers.Torch(module, name="net")(inputs))
    found = receptive_field(model, f"net/{node}")
    assert found.size == (size, size)
    assert found.stride == (stride, stride)
    assert receptive_field(model).outputs["net"].height.whole


# --- single layers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("old", "new"), [(7, 7), (5, 10), (5, 15), (12, 6), (12, 4), (9, 7), (7, 11), (10, 3)])
def test_resizing(interpolation, antialias, old, new):
    model = chain(old, layers.Resizing(new, new, interpolation, antialias=antialias))
    (found,) = receptive_field(model).outputs.values()
    x = torch.rand(1, 3, old, old, dtype=torch.float64, requires_grad=True)
    y = model.double()(x)
    for place in range(new):
        (gradient,) = torch.autograd.grad(y[0, 0, place, place], x, retain_graph=True)
        assert found.at(place, place) == box_of((gradient[0, 0].abs() > 1e-9).numpy())
    assert found.stride == (Fraction(old, new),) * 2


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 2, (3, 2), (1, 2), (2, 1), (2, 1)),
        nn.Conv2d(3, 2, 4, padding="same"),
        nn.ConvTranspose2d(3, 2, 3, 2, 1, 1),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AdaptiveAvgPool2d((3, 5)),
        nn.AdaptiveAvgPool2d(1),
        nn.ZeroPad2d((1, 2, 0, 3)),
        nn.Upsample(scale_factor=2.5),
        nn.Upsample((7, 13), mode="bilinear"),
        nn.Upsample((7, 13), mode="nearest-exact"),
        nn.Sequential(nn.BatchNorm2d(3), nn.GELU(), nn.LocalResponseNorm(2, 1e-20), nn.Flatten(), nn.Linear(330, 2)),
    ],
    ids=lambda module: str(module)[:60],
)
def test_torchs_modules(module):
    inputs = sl.Input((10, 11, 3))
    check_every_place(sl.Model(inputs, layers.Torch(module)(inputs)))


class Meeting(nn.Module):
    """Functions of torch's in a module of someone's own."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 5, stride=2, padding=2)

    def forward(self, x):
        low = nn.functional.avg_pool2d(torch.relu(self.other(x)), 3, 1, 1)
        low = nn.functional.interpolate(low, size=x.shape[-2:], mode="bilinear")
        return torch.cat([self.one(x) + low, x * 2], dim=1).relu()


def test_functions_in_a_torch_module():
    inputs = sl.Input((10, 12, 3))
    model = sl.Model(inputs, layers.Torch(Meeting(), name="meeting")(inputs))
    check_every_place(model)
    assert receptive_field(model, "meeting/one").size == (3, 3)


# --- what it says ----------------------------------------------------------------------------------------------


def test_the_convention_of_centres():
    """Pixel i covers i .. i + 1."""
    model = chain(8, layers.Conv2D(1, 3, padding="same", name="same"), layers.Conv2D(1, 3, 2, name="valid"))
    fields = receptive_field(model)
    assert fields["same"].offset == (Fraction(1, 2), Fraction(1, 2))
    assert fields["valid"].size == (5, 5)
    assert fields["valid"].offset == (Fraction(3, 2), Fraction(3, 2))
    assert fields["valid"].at(0, 2) == (3, 0, 8, 4)
    assert str(fields["valid"]) == "5 pixels, stride 2, the first centred on (1.5, 1.5)"
    with pytest.raises(ArgumentError, match="no such row"):
        fields["valid"].at(3, 0)


def test_enlarging_has_a_broken_stride():
    (found,) = receptive_field(
        chain(8, layers.Conv2D(1, 3, 2, padding="same"), layers.UpSampling2D(4))
    ).outputs.values()
    assert found.stride == (Fraction(1, 2), Fraction(1, 2))
    assert found.size == (3, 3)


def test_paths_of_unlike_strides_have_the_largest_field_and_the_mean_stride():
    inputs = sl.Input((9, 9, 1))
    low = layers.Resizing(9, 9, "nearest")(
        layers.MaxPooling2D(2)(inputs)
    )  # 4 places onto 9: not the pixels they came from
    model = sl.Model(inputs, layers.Add()([inputs, low]))
    found = receptive_field(model, "add")
    spans = found.height.spans
    assert found.height.size == (spans[:, 1] - spans[:, 0]).max() == 3
    assert found.stride[0] == (Fraction(int(spans[-1].sum())) - int(spans[0].sum())) / 2 / 8


def test_what_has_no_places_is_the_whole_image():
    fields = receptive_field(sl.create("mnist_cnn"))
    assert fields["flatten"].size == fields["dense_1"].size == (None, None)
    assert str(fields["dense"]) == "the whole image"
    assert fields["conv2d_2"].size == (18, 18)
    assert list(fields.outputs) == ["dense_1"]


def test_one_place_has_the_field_of_its_convolution_behind_flatten_too():
    model = sl.create("lenet5")
    assert receptive_field(model, "c5").size == receptive_field(model, "output").size == (32, 32)


def test_a_gate_lets_everything_in_and_keeps_the_stride():
    inputs = sl.Input((16, 16, 2))
    x = layers.Conv2D(4, 3, 2, padding="same")(inputs)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = sl.Model(inputs, layers.Conv2D(2, 3, 2)(layers.Multiply()([x, gate])))
    (found,) = receptive_field(model).outputs.values()
    assert found.height.whole
    assert found.stride == (4, 4)


def test_nested_networks_and_layers_called_twice_are_named():
    inputs = sl.Input((12, 12, 3))
    part = sl.Sequential([layers.Conv2D(3, 3, padding="same", name="inner"), layers.ReLU()], name="part")
    fields = receptive_field(sl.Model(inputs, part(part(inputs))))
    assert fields["part/inner"].size == (3, 3)
    assert fields["part_call2/inner"].size == (5, 5)
    assert fields["part"].size == fields["part/re_lu"].size
    assert "part/inner" in str(fields)


def test_two_images_count_as_one():
    a, b = sl.Input((8, 8, 3), name="left"), sl.Input((8, 8, 3), name="right")
    model = sl.Model([a, b], layers.Add()([layers.Conv2D(2, 3)(a), layers.Conv2D(2, 3)(b)]))
    assert receptive_field(model, "add").size == (3, 3)


class Mystery(layers.Layer):
    def forward(self, x):
        return x.flip(2)


def test_a_layer_without_a_rule_is_refused_by_name():
    model = chain(8, layers.Conv2D(2, 3, name="before"), Mystery(name="odd"), layers.Conv2D(2, 3, name="after"))
    with pytest.raises(SightlineError, match=r"How far odd \(Mystery\) looks is not known.*\"after\""):
        receptive_field(model, "after")
    with pytest.raises(SightlineError, match="odd"):
        receptive_field(model)
    assert receptive_field(model, "before").size == (3, 3)


class MyConvolution(layers.Conv2D):
    def forward(self, x):
        return super().forward(x.flip(2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Torch(nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular")),
        lambda: layers.Torch(nn.PixelShuffle(1)),
        lambda: layers.Torch(nn.Linear(8, 8)),
        lambda: layers.Activation(lambda x: x.flip(2)),
        lambda: layers.Permute((3, 1, 2)),
        lambda: layers.Permute((2, 1, 3)),
        lambda: layers.Reshape((16, 4, 3)),
        lambda: MyConvolution(2, 3),
    ],
)
def test_what_moves_places_about_is_refused(make):
    with pytest.raises(SightlineError, match="is not known"):
        receptive_field(chain(8, make()))


class Branching(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[1] > 2 else x


def test_a_module_that_does_not_trace_says_why():
    model = chain(8, layers.Torch(Branching(), name="net"))
    with pytest.raises(SightlineError, match=r"net \(Torch\).*cannot trace it: .*control flow"):
        receptive_field(model)


def test_one_above_the_other_is_refused():
    inputs = sl.Input((8, 8, 3))
    model = sl.Model(inputs, layers.Concatenate(1)([inputs, layers.ReLU()(inputs)]))
    with pytest.raises(SightlineError, match="concatenate"):
        receptive_field(model)


def test_what_has_no_image_and_no_such_node():
    dense = sl.Sequential([sl.Input((6,)), layers.Dense(2)])
    with pytest.raises(ArgumentError, match="takes no image"):
        receptive_field(dense)
    with pytest.raises(ArgumentError, match='Did you mean "conv2d"'):
        receptive_field(sl.create("mnist_cnn"), node="conv2")
    with pytest.raises(SightlineError, match="input_shape"):
        receptive_field(sl.Sequential([layers.Conv2D(2, 3)]))


# --- advice ----------------------------------------------------------------------------------------------------


def test_advice():
    pool5 = receptive_field(vgg16(), "block5_pool")
    assert advice(pool5) == []
    assert advice(pool5, 224, 100) == []
    (small,) = advice(pool5, object_size=20)
    assert "20 pixels are smaller than the stride of 32" in small
    (large,) = advice(pool5, object_size=(100, 220))
    assert "100x220 pixels are larger than the field of 212" in large
    (wide,) = advice(pool5, image_size=(224, 160))
    assert "212 pixels is larger than the image of 224x160" in wide
    whole = receptive_field(sl.create("mnist_cnn"), "dense")
    assert advice(whole, object_size=1000) == []


def test_advice_of_valid_padding():
    valid = receptive_field(chain(64, *(layers.Conv2D(1, 3) for _ in range(5))))
    (found,) = valid.outputs.values()
    (warning,) = advice(found)
    assert "end 5 pixels before the border" in warning
    same = receptive_field(chain(64, *(layers.Conv2D(1, 3, padding="same") for _ in range(5))))
    assert advice(next(iter(same.outputs.values()))) == []


# --- the effective field ---------------------------------------------------------------------------------------


def test_the_effective_field_lies_in_the_field_and_is_smaller():
    torch.manual_seed(0)
    model = chain(41, *(layers.Conv2D(8, 3, padding="same", activation="relu") for _ in range(10)))
    theory, found = next(iter(receptive_field(model).outputs.values())), effective_receptive_field(model)
    assert theory.size == (21, 21)
    assert found.place == (20, 20)
    assert found.map.shape == (41, 41)
    assert found.map.max() == 1
    left, top, right, bottom = theory.at(20, 20)
    inside = np.zeros((41, 41), bool)
    inside[top:bottom, left:right] = True
    assert not found.map[~inside].any()
    assert 5 < found.size < 18


def test_the_effective_field_of_equal_weights_is_the_binomial_one():
    """n convolutions of equal weights: each pixel's share is that of n uniform steps, near a Gaussian (Luo et al., section 2)."""
    model = chain(
        41, *(layers.Conv2D(1, 3, padding="same", kernel_initializer="ones", use_bias=False) for _ in range(8))
    )
    line = np.ones(1)
    for _ in range(8):
        line = np.convolve(line, np.ones(3))
    expected = np.zeros((41, 41))
    expected[12:29, 12:29] = np.outer(line, line) / line.max() ** 2
    found = effective_receptive_field(model)
    np.testing.assert_allclose(found.map, expected, atol=1e-5)
    assert found.size == np.sqrt((expected > 1 - 0.9545).sum())


def test_the_effective_field_leaves_the_model_as_it_was():
    model = sl.create("small_cnn")
    model.layers[0].trainable = False
    before = [p.requires_grad for p in model.parameters()], model.training, torch.get_rng_state()
    images = np.random.default_rng(0).random((3, *model.input_shape[1:]), np.float32)
    found = effective_receptive_field(model, images)
    assert found.images == 3
    assert len(model.values[found.node].inner_shape) == 3
    assert before[:2] == ([p.requires_grad for p in model.parameters()], model.training)
    assert torch.equal(before[2], torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert (effective_receptive_field(model, tensor, found.node).map == found.map).all()


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\(None, 28, 28, 1\)"):
        effective_receptive_field(sl.create("mnist_cnn"), np.zeros((2, 1, 28, 28), np.float32))
