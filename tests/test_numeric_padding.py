"""Padding in numbers is torch's: so many rows and columns at each side, whatever the size."""

import pytest
import torch
import torch.nn.functional as F

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, ModelFileError

SIZES = [(8, 8), (9, 12), (7, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [1, 3, (3, 1), 7])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", [1, (0, 2), 3])
@pytest.mark.parametrize("channels", [4, 16])
def test_convolutions(size, kernel, strides, padding, channels):
    x = torch.randn(2, channels, *size)
    layer = layers.Conv2D(6, kernel, strides, padding)
    answer = layer(x)
    assert torch.allclose(answer, F.conv2d(x, layer.weight, layer.bias, strides, padding), atol=1e-5)
    depthwise = layers.DepthwiseConv2D(kernel, strides, padding)
    answer = depthwise(x)
    weight = depthwise.weight.transpose(0, 1)
    assert torch.allclose(answer, F.conv2d(x, weight, depthwise.bias, strides, padding, groups=channels), atol=1e-5)
    model = sl.Sequential([sl.Input((*size, channels)), layers.Conv2D(6, kernel, strides, padding)])
    assert model.output_shape[1:3] == tuple(F.conv2d(x, layer.weight, None, strides, padding).shape[2:])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", [0, 1, (1, 0)])
def test_poolings(size, padding):
    x = torch.randn(2, 3, *size)
    assert torch.equal(layers.MaxPooling2D(3, 2, padding)(x), F.max_pool2d(x, 3, 2, padding))
    assert torch.allclose(layers.AveragePooling2D(3, 2, padding)(x), F.avg_pool2d(x, 3, 2, padding), atol=1e-6)


@pytest.mark.parametrize("padding", [-1, 1.5, (1, 2, 3), True, "full", None])
def test_what_is_no_padding_is_refused(padding):
    with pytest.raises(ArgumentError, match="padding"):
        layers.Conv2D(4, 3, padding=padding)


def test_a_pooling_pads_at_most_half_of_its_window():
    with pytest.raises(ArgumentError, match="at most half"):
        layers.MaxPooling2D(2, padding=2)


def test_a_file_of_keras_cannot_hold_it(tmp_path):
    model = sl.Sequential([sl.Input((8, 8, 3)), layers.Conv2D(4, 3, padding=2)])
    with pytest.raises(ModelFileError, match="ZeroPadding2D"):
        model.save(tmp_path / "it.keras")
    again = sl.load(model.save(tmp_path / "it.sightline"))
    assert again.output_shape == (None, 10, 10, 4)
