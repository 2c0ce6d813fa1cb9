"""Networks that say a class of every pixel: the papers' sizes, torchvision's answers, images of any size, and dilated backbones."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.segmentation.deeplabv3 import ASPP

import sightline as sl
from sightline import layers
from sightline.architectures import SEGMENTERS
from sightline.architectures.deeplab import atrous_pyramid
from sightline.architectures.fcn import enlarged, fcn_head
from sightline.architectures.registry import find
from sightline.architectures.unet import contracting_path, normalized, unet_head
from sightline.architectures.weights import take_over
from sightline.errors import ArgumentError, ModelFileError, ShapeError, SightlineError
from sightline.rewrite import dilate

SMALL = [
    ("unet", "unet_small"),
    ("unet", "unet_medium"),
    ("unet", "resnet18"),
    ("fcn32s", "mobilenetv2"),
    ("fcn8s", "resnet18"),
    ("deeplabv3", "resnet18"),
]


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def made(name, backbone, side=64, classes=3):
    """A network whose scores are not zero, as an FCN's are when new."""
    torch.manual_seed(1)
    model = sl.segmenter(name, backbone, (side, side, 3), classes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4 and not parameter.any():
                parameter.normal_(0, 0.1)
    return model


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


# --- sizes -------------------------------------------------------------------------------------------------------


def convolution(kernel, inputs, filters, bias=True):
    return kernel * kernel * inputs * filters + bias * filters


def test_unet_has_the_papers_parameters():
    filters = [64, 128, 256, 512, 1024]
    down = sum(convolution(3, n, m) + convolution(3, m, m) for n, m in zip([1, *filters], filters, strict=False))
    up = sum(convolution(2, 2 * m, m) + convolution(3, 2 * m, m) + convolution(3, m, m) for m in filters[:-1])
    with torch.device("meta"):
        model = sl.segmenter("unet", classes=2)
    assert parameters(model) == down + up + convolution(1, 64, 2) == 31_030_658
    assert model.output_shape == (None, 572, 572, 2)


def test_fcn8s_has_the_papers_parameters():
    blocks = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
    vgg = sum(convolution(3, n, m) + (count - 1) * convolution(3, m, m) for n, m, count in blocks)
    dense = convolution(7, 512, 4096) + convolution(1, 4096, 4096)
    scores = sum(convolution(1, channels, 21) for channels in (4096, 512, 256))
    deconvolutions = 2 * convolution(4, 21, 21, bias=False) + convolution(16, 21, 21, bias=False)
    with torch.device("meta"):
        model = sl.segmenter("fcn8s")
    assert parameters(model) == vgg + dense + scores + deconvolutions == 134_489_759


def test_deeplab_has_torchvisions_parameters():
    with torch.device("meta"):
        ours, theirs = sl.segmenter("deeplabv3"), deeplabv3_resnet50(None, weights_backbone=None, aux_loss=False)
    assert parameters(ours) == parameters(theirs)


@pytest.mark.parametrize(("name", "backbone"), SMALL)
def test_an_image_of_any_size_gets_an_answer_of_its_size(name, backbone):
    model = made(name, backbone).eval()
    assert model.output_shape == (None, 64, 64, 3)
    with torch.no_grad():
        for size in ((75, 53), (40, 97)):
            answer = model(random(1, 3, *size))
            assert answer.shape == (1, 3, *size)
            assert torch.isfinite(answer).all()


# --- what every network must do ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "backbone"), SMALL)
def test_gradients_reach_every_parameter(name, backbone):
    model = made(name, backbone)
    F.cross_entropy(model(random(2, 3, 64, 64)), torch.randint(0, 3, (2, 64, 64))).backward()
    silent = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


@pytest.mark.parametrize(("name", "backbone"), [SMALL[0], SMALL[3], SMALL[4]])
def test_it_is_saved_and_measured(name, backbone, tmp_path):
    model = made(name, backbone).eval()
    x = random(1, 3, 64, 64)
    again = sl.load(model.save(tmp_path / "it.sightline")).eval()
    assert torch.equal(again(x), model(x))
    assert again.metadata == model.metadata
    assert "preprocessing" in model.metadata
    assert f"Total params: {model.count_params():,}" in model.summary(as_text=True, full=True)
    assert sl.measure.cost(model).parameters == model.count_params()
    assert sl.measure.memory(model, batch_size=2).activations > 0


def test_parts_are_computed_again():
    inputs = sl.Input((64, 64, 3))
    backbone = sl.Model(inputs, contracting_path(inputs, 8, normalized, 0.0))
    model = sl.Model(inputs, unet_head(backbone, 3))
    segments = sl.measure.memory(model, batch_size=2).checkpoints(0.9)
    again, x = sl.rewrite.recompute(model, segments), random(2, 3, 64, 64)
    assert segments
    model(x).square().mean().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    again(x).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_probabilities_and_what_is_refused():
    model = sl.segmenter("unet", "unet_small", (32, 32, 1), 2, activation="softmax").eval()
    assert torch.allclose(model(random(1, 1, 32, 32)).sum(1), torch.ones(1, 32, 32))
    with pytest.raises(ArgumentError, match="fcn8s"):
        sl.segmenter("fcn8")
    with pytest.raises(ArgumentError, match="at least 2"):
        sl.segmenter("unet", classes=1)
    with pytest.raises(ArgumentError, match="backbone is a network's name"):
        sl.segmenter("unet", model)
    with pytest.raises(ArgumentError, match=r"input_shape is \(height, width, channels\)"):
        sl.segmenter("unet", "unet_small", 32)
    with pytest.raises(ShapeError, match="unet_small"):
        SEGMENTERS["unet"](sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, 2, padding="same")]), 2)
    with pytest.raises(ArgumentError, match="8, 16 or 32"):
        fcn_head(sl.create("small_cnn", include_top=False), 2, finest=4)
    assert set(SEGMENTERS) == {"unet", "fcn32s", "fcn16s", "fcn8s", "deeplabv3"}


# --- FCN ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 8])
def test_new_enlarging_is_bilinear(factor):
    inputs = sl.Input((9, 7, 3))
    model = sl.Model(inputs, enlarged(inputs, 3, factor, "it")).double().eval()
    x = random(2, 3, 9, 7, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # around the border there are zeros
    torch.testing.assert_close(model(x)[inner], expected[inner], rtol=0, atol=1e-14)
    theirs = F.conv_transpose2d(x, model.get_layer("it").weight, stride=factor, padding=factor // 2)
    assert torch.equal(model(x), theirs)


def test_a_new_fcn_knows_nothing():
    model = sl.segmenter("fcn16s", "resnet18", (64, 64, 3), 4).eval()
    assert not model(random(1, 3, 64, 64)).any()


def test_vggs_dense_layers_become_convolutions_on_their_weights():
    vgg = sl.create("vgg11", (64, 64, 3), 5).eval()
    network = sl.Model(vgg.inputs, fcn_head(vgg, 3, finest=32)).eval()
    dense, map_ = (sl.Model(vgg.inputs, model.get_layer("fc2").output).eval() for model in (vgg, network))
    x = random(1, 3, 64, 64)
    with torch.no_grad():
        answer = map_(x)
        assert answer.shape == (1, 4096, 2, 2)
        # Of a window of 2x2 that pads ("same") at the bottom and right, the first place sees the whole map
        torch.testing.assert_close(answer[:, :, 0, 0], dense(x), rtol=1e-4, atol=1e-5)
    assert network.get_layer("fc1").weight.data_ptr() == vgg.get_layer("fc1").weight.data_ptr()


# --- DeepLab -----------------------------------------------------------------------------------------------------


def test_the_pyramid_is_torchvisions():
    inputs = sl.Input((11, 9, 8))
    ours = sl.Model(inputs, atrous_pyramid(inputs)).double().eval()
    theirs = ASPP(8, [6, 12, 18]).double()
    for norm in (module for module in theirs.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.data.normal_()
    names = ["1", "6", "12", "18", "image", "out"]
    convs = [list(each) for each in theirs.convs]
    pairs = [*(each[:2] for each in convs[:4]), convs[4][1:3], list(theirs.project)[:2]]
    for name, (conv, norm) in zip(names, pairs, strict=True):
        ours.get_layer(f"aspp_{name}").load_state_dict(conv.state_dict())
        state = {key: value for key, value in norm.state_dict().items() if key != "num_batches_tracked"}
        ours.get_layer(f"aspp_{name}_bn").load_state_dict(state)
    x = random(2, 8, 11, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-10, atol=1e-10)


def test_a_dilated_resnet_is_torchvisions():
    theirs = torchvision.models.resnet50(num_classes=5, replace_stride_with_dilation=[False, False, True]).eval()
    ours = sl.create("resnet50", (64, 64, 3), 5).eval()
    take_over(ours, find("resnet50"), theirs.state_dict(), "theirs")
    dilated = dilate(sl.rewrite.remove_head(ours)).eval()
    x = random(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.layer4(
            theirs.layer3(theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))))
        )
        answer = dilated(x)
    assert answer.shape == (1, 2048, 4, 4)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def assert_shared_places_are_equal(model, output_stride, rate):
    """At the places that both maps have the two answers are equal, in float64."""
    dilated = dilate(model, output_stride).double().eval()
    model = model.double().eval()
    x = random(1, *model.inputs[0].inner_shape, dtype=torch.float64)
    with torch.no_grad():
        expected, answer = model(x), dilated(x)
    torch.testing.assert_close(answer[:, :, ::rate, ::rate], expected, rtol=1e-9, atol=1e-12)


@st.composite
def backbones(draw):
    """A few convolutions and poolings with strides, and a residual in between."""
    paddings = st.sampled_from(["valid", "same", 1])
    inputs = x = sl.Input((draw(st.integers(33, 48)), draw(st.integers(33, 48)), 2))
    x = layers.Conv2D(3, 3, 2, draw(paddings), activation="relu")(x)
    if draw(st.booleans()):
        x = layers.MaxPooling2D(2, 2)(x)
    else:
        x = layers.DepthwiseConv2D(draw(st.integers(1, 4)), 2, draw(paddings))(
            layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
        )
    y = layers.Conv2D(3, 3, padding="same", dilation_rate=draw(st.integers(1, 2)))(layers.BatchNormalization()(x))
    x = layers.Add()([x, y])
    x = layers.SeparableConv2D(4, draw(st.integers(1, 3)), 2, "same", activation="relu")(x)
    x = layers.ZeroPadding2D(1)(layers.Cropping2D(((1, 0), (0, 1)))(x))
    scale = layers.GlobalMaxPooling2D(keepdims=True)(layers.Conv2D(1, 1, kernel_initializer="zeros")(x))
    x = layers.Concatenate()([x, layers.Multiply()([x, scale])])
    return sl.Model(inputs, layers.Conv2D(2, 2, padding=draw(st.sampled_from(["valid", "same"])))(x))


@settings(max_examples=15, deadline=None)
@given(backbones(), st.sampled_from([1, 2, 4]))
def test_the_network_stands_at_every_other_place_of_the_dilated_one(model, output_stride):
    assume(output_stride > 1 or not any(isinstance(layer, layers.MaxPooling2D) for layer in model.layers))
    assert_shared_places_are_equal(model, output_stride, rate=8 // output_stride)


@pytest.mark.parametrize(
    ("name", "output_stride"), [("resnet18", 8), ("mobilenetv2", 16), ("tf_mobilenetv2", 16), ("yolo_n", 32)]
)
def test_known_backbones_are_dilated(name, output_stride):
    assert_shared_places_are_equal(
        sl.create(name, (64, 96, 3), include_top=False), output_stride, rate=32 // output_stride
    )


def test_what_cannot_be_dilated_is_named(tmp_path):
    inputs = sl.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="first")(inputs)
    pooled = sl.Model(inputs, layers.MaxPooling2D(3, 2, name="pool")(x))
    assert dilate(pooled, 4).output_shape == pooled.output_shape
    with pytest.raises(SightlineError, match="pool"):
        dilate(pooled, 1)
    with pytest.raises(SightlineError, match="flat"):
        dilate(sl.Model(inputs, layers.Flatten(name="flat")(x)), 1)
    even = dilate(sl.Model(inputs, x), 1)
    x = random(1, 3, 32, 32)
    assert torch.equal(sl.load(even.save(tmp_path / "m.sightline"))(x), even(x))


# --- the layer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_map_at_the_size_of_another(interpolation, tmp_path):
    inputs = sl.Input((13, 10, 2))
    coarse = layers.Conv2D(3, 3, 3, name="coarse")(inputs)
    out = layers.ResizeLike(interpolation, name="out")([coarse, inputs])
    model = sl.Model(inputs, out).double().eval()
    x = random(2, 2, 13, 10, dtype=torch.float64)
    mode = {"mode": "bilinear", "align_corners": False} if interpolation == "bilinear" else {"mode": "nearest-exact"}
    assert torch.equal(model(x), F.interpolate(model.get_layer("coarse")(x), size=(13, 10), **mode))
    assert torch.equal(layers.ResizeLike(interpolation)([x, x]), x)
    with pytest.raises(ModelFileError, match="no layer of Keras"):
        model.float().save(tmp_path / "m.keras")
    with pytest.raises(ShapeError, match="two feature maps"):
        layers.ResizeLike()([inputs])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_its_receptive_field_is_what_has_a_gradient(interpolation):
    inputs = sl.Input((14, 11, 1))
    coarse = layers.Conv2D(1, 3, 3, kernel_initializer="ones")(inputs)
    one = layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    for x, is_whole in ((coarse, False), (one, True)):
        model = sl.Model(inputs, layers.ResizeLike(interpolation)([x, inputs])).double().eval()
        found = sl.measure.receptive_field(model).outputs
        (field,) = found.values()
        assert field.height.whole is is_whole
        for row, column in ((0, 0), (5, 6), (13, 10)):
            image = torch.ones(1, 1, 14, 11, dtype=torch.float64, requires_grad=True)
            model(image)[0, 0, row, column].backward()
            rows, columns = np.nonzero(image.grad[0, 0].numpy())
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert field.at(row, column) == tuple(map(int, box))
