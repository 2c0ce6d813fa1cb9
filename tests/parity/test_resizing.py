"""Resizing and UpSampling2D against Keras: answers and gradients, over shapes and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import SEEDS, assert_close, examples, jax, keras, normal, to_people, to_torch
from sightline.errors import ArgumentError, ShapeError
from sightline.layers.resizing import RESIZE_INTERPOLATIONS, Resizing, UpSampling2D, resize

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def answer_and_gradient(function: Any, x: np.ndarray, direction: np.ndarray) -> Any:
    def both(x: Any) -> Any:
        y, pull_back = jax.vjp(function, x)
        return y, pull_back(direction)[0]

    return jax.jit(both)(x)


def assert_same(ours: Any, theirs: Any, x: np.ndarray, rng: Any) -> None:
    """Symbolic shape, answer and gradient by the image."""
    assert ours(sl.Input(x.shape[1:])).shape == theirs(keras.Input(x.shape[1:])).shape
    leaf = to_torch(x).requires_grad_()
    answer = to_people(ours(leaf))
    direction = normal(rng, *answer.shape)
    (answer * torch.from_numpy(direction)).sum().backward()
    expected, gradient = answer_and_gradient(theirs, x, direction)
    assert_close(answer, expected, "answer")
    assert_close(to_people(leaf.grad), gradient, "gradient by the image")


@pytest.mark.parametrize("interpolation", RESIZE_INTERPOLATIONS)
def test_resizing(interpolation: str) -> None:
    @examples(4)
    @given(SIZES, SIZES, st.sampled_from([None, "crop", "pad"]), st.booleans(), st.floats(-2, 2), SEEDS)
    def holds(size: Any, target: Any, keep: str | None, antialias: bool, fill_value: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arguments: dict[str, Any] = {"interpolation": interpolation, "antialias": antialias, "fill_value": fill_value}
        if keep is not None:
            arguments[f"{keep}_to_aspect_ratio"] = True
        x = normal(rng, 2, *size, 3)
        assert_same(Resizing(*target, **arguments), keras.layers.Resizing(*target, **arguments), x, rng)

    holds()


@pytest.mark.parametrize("interpolation", RESIZE_INTERPOLATIONS)
def test_upsampling(interpolation: str) -> None:
    @examples(2)
    @given(SIZES, st.integers(1, 4) | st.tuples(st.integers(1, 5), st.integers(1, 5)), SEEDS)
    def holds(size: Any, factor: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        ours, theirs = UpSampling2D(factor, interpolation), keras.layers.UpSampling2D(factor, None, interpolation)
        assert ours.size == theirs.size
        assert_same(ours, theirs, normal(rng, 2, *size, 2), rng)

    holds()


def test_defaults() -> None:
    rng = np.random.default_rng(0)
    assert_same(Resizing(5, 9), keras.layers.Resizing(5, 9), normal(rng, 2, 8, 6, 3), rng)
    assert_same(UpSampling2D(), keras.layers.UpSampling2D(), normal(rng, 2, 3, 4, 3), rng)
    for ours, theirs in ((Resizing(5, 9), keras.layers.Resizing(5, 9)), (UpSampling2D(), keras.layers.UpSampling2D())):
        ignored = {"name", "trainable", "dtype", "data_format"}
        expected = {key: value for key, value in theirs.get_config().items() if key not in ignored}
        assert expected.items() <= ours.get_config().items()


def test_nearest_takes_keras_pixel_where_a_centre_falls_between_two() -> None:
    """There rounding decides; torch's own "nearest-exact" and exact arithmetic take another pixel in some of these."""
    for old, new in ((2, 41), (4, 82), (22, 61), (52, 71), (16, 94), (34, 31), (22, 55), (97, 41), (6, 10), (227, 113)):
        x = np.arange(old, dtype=np.float32).reshape(1, old, 1, 1)
        ours = to_people(resize(to_torch(x), (new, 1), "nearest"))
        np.testing.assert_array_equal(ours, keras.ops.image.resize(x, (new, 1), "nearest"))


@pytest.mark.parametrize("interpolation", RESIZE_INTERPOLATIONS)
@pytest.mark.parametrize("sizes", [((150, 200), (224, 64))])
def test_sizes_of_photos(interpolation: str, sizes: Any) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (1, *sizes[0], 3)).astype(np.float32)
    for antialias in (False, True):
        expected = keras.ops.image.resize(x, sizes[1], interpolation, antialias=antialias)
        assert_close(to_people(resize(to_torch(x), sizes[1], interpolation, antialias)), expected, "answer")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos3"])
def test_integer_images(interpolation: str) -> None:
    rng = np.random.default_rng(0)
    for arguments in ({}, {"pad_to_aspect_ratio": True, "fill_value": 3.0}, {"crop_to_aspect_ratio": True}):
        x = rng.integers(0, 2, (2, 9, 7, 3), dtype=np.uint8) * 255  # hard edges, which ring beyond the range
        expected = np.asarray(keras.layers.Resizing(12, 5, interpolation, **arguments)(x))
        answer = to_people(Resizing(12, 5, interpolation, **arguments)(to_torch(x)))
        assert answer.dtype == torch.uint8
        off = np.abs(answer.numpy().astype(int) - expected.astype(int))
        assert off.max() <= 1  # halves fall to either side
        assert off.mean() < 0.01
    whole = torch.arange(12).reshape(1, 1, 3, 4)
    assert torch.equal(UpSampling2D(2)(whole), whole.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("interpolation", RESIZE_INTERPOLATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_precisions_memory_and_meta(interpolation: str, dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    lying = x.to(dtype).contiguous(memory_format=torch.channels_last)
    both = ({"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}, {"antialias": True})
    layers = [Resizing(9, 4, interpolation, **arguments) for arguments in both] + [UpSampling2D((2, 3), interpolation)]
    for layer in layers:
        answer = layer(lying)
        assert answer.dtype == dtype
        assert answer.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(answer.float(), layer(x), atol=0.02, rtol=0.02)
        assert layer(lying.to("meta")).shape == answer.shape


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Resizing, {"height": 0, "width": 3}, "Resizing: height is a whole number of at least 1"),
        (Resizing, {"height": 3, "width": 3, "interpolation": "area"}, "Unknown interpolation 'area'"),
        (Resizing, {"height": 3, "width": 3, "fill_mode": "reflect"}, "fill_mode of Resizing 'reflect'"),
        (Resizing, {"height": 3, "width": 3, "fill_value": "0"}, "fill_value is a number"),
        (
            Resizing,
            {"height": 3, "width": 3, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True},
            "exclude each other",
        ),
        (Resizing, {"height": 3, "width": 3, "data_format": "channels_first"}, "'data_format'"),
        (UpSampling2D, {"size": (1, 2, 3)}, "UpSampling2D: size is a whole number"),
        (UpSampling2D, {"size": 2, "interpolation": "linear"}, "Unknown interpolation 'linear'"),
    ],
)
def test_refusals(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind(**arguments)


@pytest.mark.parametrize("layer", [Resizing(3, 3), UpSampling2D()])
def test_other_ranks_are_refused(layer: Any) -> None:
    with pytest.raises(ShapeError, match="takes one feature map"):
        layer(torch.rand(3, 4))
