"""Augmentation against Keras: the same draws must give the same images and gradients; draws are equal in distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp

import sightline as sl
from oracle import SEEDS, assert_close, examples, jax, keras, normal, to_people, to_torch
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.layers import augmentation
from sightline.layers.draws import generator

MOVEMENTS = {"RandomTranslation": (0.4, 0.3), "RandomRotation": (0.5,), "RandomZoom": (0.6, 0.5)}
LAYERS: dict[str, tuple[Any, ...]] = MOVEMENTS | {
    "RandomFlip": (),
    "RandomCrop": (3, 2),
    "RandomContrast": ((0.5, 0.8),),
    "RandomBrightness": (0.5,),
}
FILL_MODES = ["constant", "reflect", "wrap", "nearest"]
SIZES = st.sampled_from([(1, 1), (6, 5)])  # few, since JAX compiles for each anew
TARGETS = st.sampled_from([(3, 2), (8, 8), (5, 2)])


def our(kind: str, *arguments: Any, **keywords: Any) -> Any:
    return getattr(augmentation, kind)(*arguments, **keywords)


def their(kind: str, *arguments: Any, **keywords: Any) -> Any:
    return getattr(keras.layers, kind)(*arguments, **keywords)


def as_draws(transformation: Any) -> dict[str, torch.Tensor]:
    """Keras's transformation as our draws; what it holds besides (shapes, matrices) we compute."""
    if isinstance(transformation, tuple):
        transformation = dict(zip(("h_start", "w_start"), transformation, strict=True))
    known = {"flips", "translations", "angle", "height_zoom", "width_zoom", "contrast_factor", "rgb_delta"}
    known |= {"h_start", "w_start"}
    return {key: torch.tensor(np.asarray(value)) for key, value in transformation.items() if key in known}


def assert_same_change(ours: Any, theirs: Any, x: np.ndarray, rng: Any, transformation: Any = None) -> None:
    """One draw of Keras's, applied by both; and the gradient by the image."""
    transformation = transformation or theirs.get_random_transformation(x, training=True)
    leaf = to_torch(x).requires_grad_()
    answer = to_people(ours.transform(leaf, as_draws(transformation)))
    expected, pull_back = jax.vjp(lambda x: theirs.transform_images(x, transformation, training=True), x)
    assert_close(answer, expected, "answer")
    direction = normal(rng, *answer.shape)
    (answer * torch.from_numpy(direction)).sum().backward()
    assert_close(to_people(leaf.grad), pull_back(direction)[0], "gradient by the image")


@pytest.mark.parametrize("kind", MOVEMENTS)
def test_movements(kind: str) -> None:
    @examples(8)
    @given(SIZES, st.sampled_from(FILL_MODES), st.sampled_from(["bilinear", "nearest"]), st.floats(-2, 2), SEEDS)
    def holds(size: Any, fill_mode: str, interpolation: str, fill_value: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arguments = {"fill_mode": fill_mode, "interpolation": interpolation, "fill_value": fill_value}
        ours, theirs = (make(kind, *LAYERS[kind], seed=seed, **arguments) for make in (our, their))
        assert_same_change(ours, theirs, normal(rng, 2, *size, 3), rng)

    holds()


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_movements_by_halves_and_far_beyond_the_border(fill_mode: str, interpolation: str) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (make("RandomTranslation", 1, 1, fill_mode, interpolation, fill_value=0.7) for make in (our, their))
    moves = np.array([[0, 0], [0.5, -0.5], [-1.5, 2.5], [13, -17.25], [-29.5, 30]], np.float32)
    assert_same_change(ours, theirs, normal(rng, 5, 4, 5, 2), rng, {"translations": moves})


@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_flip(mode: str) -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        ours, theirs = our("RandomFlip", mode), their("RandomFlip", mode, seed=seed)
        assert_same_change(ours, theirs, normal(rng, 6, 4, 5, 3), rng)


@examples(7)
@given(SIZES, TARGETS, SEEDS)
def test_crop_in_training(size: Any, target: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, 2, *size, 3)
    ours, theirs = our("RandomCrop", *target), their("RandomCrop", *target, seed=seed)
    assert_same_change(ours, theirs, x, rng)
    if size[0] <= target[0] or size[1] <= target[1]:  # nothing is left to chance
        assert_close(to_people(ours(to_torch(x))), theirs(x, training=True), "whole call")


@examples(5)
@given(SIZES, TARGETS, SEEDS)
def test_crop_in_inference_is_what_keras_documents(size: Any, target: Any, seed: int) -> None:
    x = normal(np.random.default_rng(seed), 2, *size, 3)
    ours, documented = our("RandomCrop", *target).eval(), their("Resizing", *target, crop_to_aspect_ratio=True)
    assert_close(to_people(ours(to_torch(x))), documented(x), "answer")
    assert ours(sl.Input((*size, 3))).shape == their("RandomCrop", *target)(keras.Input((*size, 3))).shape


@pytest.mark.parametrize("kind", ["RandomContrast", "RandomBrightness"])
def test_colours(kind: str) -> None:
    factors = st.floats(0, 1) | st.tuples(st.floats(0, 1), st.floats(0, 3))
    ranges = st.sampled_from([(0, 255), (0, 1), [-1.0, 1.0]])

    @examples(7)
    @given(factors, ranges, SIZES, SEEDS)
    def holds(factor: Any, value_range: Any, size: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        ours, theirs = our(kind, factor, value_range), their(kind, factor, value_range, seed=seed)
        x = rng.uniform(*value_range, (3, *size, 2)).astype(np.float32)
        assert tuple(ours.factor) == pytest.approx(tuple(theirs.factor))
        assert_same_change(ours, theirs, x, rng)

    holds()


DISTRIBUTIONS = [
    ("RandomFlip", {}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": (-0.1, 0.4)}),
    ("RandomRotation", {"factor": 0.1}),
    ("RandomRotation", {"factor": (0.3, -0.2)}),
    ("RandomZoom", {"height_factor": (-0.5, 0.2)}),
    ("RandomZoom", {"height_factor": 0.3, "width_factor": -0.6}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomContrast", {"factor": (0.5, 0.2)}),
    ("RandomBrightness", {"factor": (-0.3, 0.1), "value_range": (1, -1)}),
]


@pytest.mark.parametrize(("kind", "arguments"), DISTRIBUTIONS)
def test_distribution_of_draws(kind: str, arguments: dict[str, Any]) -> None:
    count = 4000
    expected = as_draws(their(kind, seed=1, **arguments).get_random_transformation(np.zeros((count, 4, 10, 1))))
    draws = our(kind, **arguments).draw((count, 1, 4, 10), generator(1, 0))
    assert {key: value.shape for key, value in draws.items()} == {key: v.shape for key, v in expected.items()}
    for key, value in draws.items():
        assert value.dtype == expected[key].dtype
        for a, b in zip(value.reshape(count, -1).T.double(), expected[key].reshape(count, -1).T.double(), strict=True):
            assert ks_2samp(a, b).pvalue > 1e-3, key
            assert len(a.unique()) == 2 or len(a.unique()) > count / 2
    for first, second in ((a, b) for a in draws for b in draws if a < b):
        assert torch.equal(draws[first], draws[second]) == torch.equal(expected[first], expected[second])


def test_places_of_crops_are_equally_likely() -> None:
    layer, theirs = our("RandomCrop", 3, 5), their("RandomCrop", 3, 5, seed=0)
    draws = [layer.draw((2, 1, 7, 8), generator(0, call)) for call in range(2000)]
    counts = torch.zeros(5, 4)
    for draw in draws:
        counts[draw["h_start"], draw["w_start"]] += 1
    assert chisquare(counts.flatten()).pvalue > 1e-3
    starts = [theirs.get_random_transformation(np.zeros((1, 7, 8, 1))) for _ in range(100)]
    assert {int(h) for h, _ in starts} == set(range(5))
    assert {int(w) for _, w in starts} == set(range(4))


@pytest.mark.parametrize("kind", LAYERS)
def test_seeded_calls_draw_the_same_again(kind: str) -> None:
    x = torch.rand(4, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    one, other = our(kind, *LAYERS[kind], seed=3), our(kind, *LAYERS[kind], seed=3)
    first = [one(x) for _ in range(4)]
    assert all(torch.equal(a, other(x)) for a in first)
    assert not all(torch.equal(first[0], a) for a in first[1:])
    assert not all(torch.equal(a, b) for a, b in zip(first, [our(kind, *LAYERS[kind], seed=4)(x)] * 4, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    free = our(kind, *LAYERS[kind])
    torch.manual_seed(5)
    again = [free(x) for _ in range(4)]
    torch.manual_seed(5)
    assert all(torch.equal(a, free(x)) for a in again)
    assert not all(torch.equal(again[0], a) for a in again[1:])


@pytest.mark.parametrize("kind", LAYERS)
def test_inference_shapes_and_integers(kind: str) -> None:
    layer, theirs = our(kind, *LAYERS[kind]), their(kind, *LAYERS[kind])
    assert layer(sl.Input((6, 5, 3))).shape == theirs(keras.Input((6, 5, 3))).shape
    whole = torch.randint(256, (2, 3, 6, 5), dtype=torch.uint8)
    assert layer(whole).dtype == torch.float32
    layer.eval()
    if kind != "RandomCrop":
        assert torch.equal(layer(whole), whole.float())
    assert layer(torch.empty(2, 3, 6, 5, device="meta")).shape == layer(whole).shape
    layer.train()
    assert layer(torch.empty(2, 3, 6, 5, device="meta")).shape == layer(whole).shape


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions_and_memory(kind: str, dtype: torch.dtype) -> None:
    x = torch.rand(3, 4, 8, 7, generator=torch.Generator().manual_seed(1))
    draws = our(kind, *LAYERS[kind]).draw(x.shape, generator(2, 0))
    for fill_mode in FILL_MODES if kind in MOVEMENTS else [None]:
        layer = our(kind, *LAYERS[kind], **({"fill_mode": fill_mode} if fill_mode else {}))
        answer = layer.transform(x.to(dtype).contiguous(memory_format=torch.channels_last), draws)
        assert answer.dtype == dtype
        assert answer.stride()[1] == 1  # channels lie together
        torch.testing.assert_close(answer.float(), layer.transform(x, draws), atol=0.02, rtol=0.02)


@examples(60)
@given(st.sampled_from([k for k in LAYERS if k not in ("RandomFlip", "RandomCrop")]), st.data())
def test_factors_that_keras_refuses_are_refused(kind: str, data: Any) -> None:
    numbers = st.sampled_from([-2, -1, -0.5, 0, 0.3, 1, 1.5])
    factor = data.draw(numbers | st.lists(numbers, min_size=1, max_size=3).map(tuple))
    arguments = (factor, 0.1) if kind == "RandomTranslation" else (factor,)

    def accepted(make: Any) -> bool:
        try:
            make(kind, *arguments)
        except ValueError:
            return False
        return True

    assert accepted(our) == accepted(their)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("RandomFlip", {"mode": "diagonal"}, "mode of RandomFlip 'diagonal'"),
        ("RandomFlip", {"data_format": "channels_first"}, "RandomFlip does not support the argument 'data_format'"),
        ("RandomFlip", {"seed": 0.5}, "seed is a whole number or None"),
        ("RandomRotation", {"factor": "0.1"}, "RandomRotation: factor is a number"),
        ("RandomRotation", {"factor": 0.1, "fill_mode": "mirror"}, "Unknown fill_mode 'mirror'"),
        ("RandomRotation", {"factor": 0.1, "interpolation": "bicubic"}, "Unknown interpolation 'bicubic'"),
        ("RandomRotation", {"factor": 0.1, "bounding_box_format": "xyxy"}, "does not support the argument 'bounding_"),
        ("RandomZoom", {"height_factor": -1}, "height_factor is above -1"),
        ("RandomTranslation", {"height_factor": 0.1, "width_factor": 2}, r"width_factor is out of range.*\[-1, 1\]"),
        ("RandomCrop", {"height": 0, "width": 3}, "RandomCrop: height is a whole number"),
        ("RandomContrast", {"factor": 0.1, "value_range": 3}, "value_range is two numbers"),
        ("RandomBrightness", {"factor": 0.1, "value_range": (1, 2, 3)}, "value_range is two numbers"),
    ],
)
def test_refusals(kind: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        our(kind, **arguments)


@pytest.mark.parametrize("kind", LAYERS)
def test_configuration_and_rank(kind: str) -> None:
    layer = our(kind, *LAYERS[kind], seed=7)
    config = layer.get_config()
    assert type(layer)(**config).get_config() == config
    theirs = their(kind, *LAYERS[kind], seed=7).get_config()
    ignored = {"dtype", "data_format", "name", "trainable"}
    plain = {key: list(v) if isinstance(v, (tuple, list)) else v for key, v in config.items()}
    for key in theirs.keys() - ignored:
        expected = list(theirs[key]) if isinstance(theirs[key], (tuple, list)) else theirs[key]
        if key in ("height_factor", "width_factor"):  # kept as the range that it means
            expected = [-expected, expected]
        assert plain[key] == expected, key
    with pytest.raises((ShapeError, SightlineError), match="takes one feature map"):
        our(kind, *LAYERS[kind])(torch.rand(3, 4, 5))
