"""ImageDataGenerator against Keras's own: the same files, arrays, parameters and seeds give the same numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oracle import SEEDS, examples, keras
from sightline.preprocessing import image as ours

legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
# Keras's own, of the SciPy that it calls
pytestmark = pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")

# All that is random, on images that are not square
EVERYTHING: dict[str, Any] = {
    "rotation_range": 30, "width_shift_range": 0.2, "height_shift_range": 0.1, "brightness_range": (0.5, 1.5), "shear_range": 10,
    "zoom_range": 0.3, "channel_shift_range": 20.0, "horizontal_flip": True, "vertical_flip": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders (7, 4 and 2 files) with every kind of file: modes, formats, a subfolder and what is no image."""
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    modes = {"RGB": (13, 9, 3), "RGBA": (8, 11, 4), "L": (10, 10), "LA": (7, 9, 2)}
    kinds = [
        ("RGB", "jpg"),
        ("L", "png"),
        ("RGBA", "png"),
        ("RGB", "JPEG"),
        ("LA", "png"),
        ("RGB", "bmp"),
        ("L", "ppm"),
    ]
    for name, count in {"dog": 7, "cat": 4, "Emu": 2}.items():
        for number in range(count):
            mode, suffix = kinds[number]
            place = root / name / ("more" if number == 1 else "")
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, modes[mode], dtype=np.uint8)
            Image.fromarray(pixels, mode).save(place / f"{9 - number}.{suffix}")
        (root / name / "notes.txt").write_text("no image")
    (root / "loose.jpg").write_bytes(b"beside the classes")
    Image.fromarray(rng.integers(0, 2**16, (6, 6), dtype=np.uint16)).save(root / "dog" / "sixteen.png")
    Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).convert("P").save(root / "cat" / "palette.png")
    return root


@pytest.fixture(autouse=True)
def global_generator() -> Iterator[None]:
    """Keras seeds NumPy's global generator; what follows shall not see it."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def twins(**arguments: Any) -> tuple[Any, Any]:
    return ours.ImageDataGenerator(**arguments), legacy.ImageDataGenerator(**arguments)


def assert_equal(actual: Any, expected: Any, tolerance: float = 0.0) -> None:
    """The same structure, shapes, kinds of number and values."""
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other, tolerance)
        return
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def image(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def images(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    return image(seed, *shape), np.arange(shape[0]) % 3


def assert_same_folder(folder: Path, generator: dict[str, Any], arguments: dict[str, Any], seed: int = 5) -> Any:
    """Equal contents and batches of `flow_from_directory`, over two passes and a bit; returns ours."""
    mine, theirs = (g.flow_from_directory(str(folder), seed=seed, **arguments) for g in twins(**generator))
    for name in ("samples", "n", "num_classes", "class_indices", "filenames", "filepaths", "image_shape", "batch_size"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert_equal(mine.classes, theirs.classes)
    assert_equal(mine.labels, theirs.labels)
    assert len(mine) == len(theirs)
    for _ in range(2 * len(mine) + 1):
        assert_equal(next(mine), next(theirs))
    return mine


@pytest.mark.parametrize("class_mode", ["categorical", "binary", "sparse", "input", None])
@pytest.mark.parametrize("shuffle", [False, True])
def test_class_modes(folder: Path, class_mode: str | None, shuffle: bool) -> None:
    arguments = {"target_size": (8, 10), "batch_size": 4, "class_mode": class_mode, "shuffle": shuffle}
    mine = assert_same_folder(folder, {"rescale": 1 / 255}, arguments)
    assert mine.samples == 15
    assert list(mine.class_indices) == ["Emu", "cat", "dog"]


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_reading(folder: Path, color_mode: str, interpolation: str, keep_aspect_ratio: bool) -> None:
    arguments = {"color_mode": color_mode, "interpolation": interpolation, "keep_aspect_ratio": keep_aspect_ratio}
    assert_same_folder(folder, {}, dict(target_size=(8, 12), batch_size=32, shuffle=False, **arguments))


@pytest.mark.parametrize("subset", ["training", "validation"])
@pytest.mark.parametrize("validation_split", [0.3, 0.5, 0.77])
def test_subsets_of_a_folder(folder: Path, subset: str, validation_split: float) -> None:
    generator = {"validation_split": validation_split, "horizontal_flip": True}
    assert_same_folder(folder, generator, {"target_size": (5, 5), "batch_size": 3, "subset": subset})


def test_chosen_classes(folder: Path) -> None:
    mine = assert_same_folder(folder, {}, {"target_size": (5, 5), "classes": ["dog", "Emu"], "class_mode": "binary"})
    assert mine.class_indices == {"dog": 0, "Emu": 1}


def test_links_are_followed_when_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "linked").symlink_to(folder / "dog")
    (tmp_path / "b").symlink_to(folder / "cat")
    for follow_links, samples in ((False, 5), (True, 13)):
        mine = assert_same_folder(tmp_path, {}, {"target_size": (4, 4), "follow_links": follow_links})
        assert mine.samples == samples


def test_random_changes_of_files(folder: Path) -> None:
    assert_same_folder(folder, dict(rescale=1 / 255, **EVERYTHING), {"target_size": (9, 7), "batch_size": 4})


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("with_y", [False, True])
def test_flow(with_y: bool, shuffle: bool) -> None:
    x, y = images(0, 11, 6, 9, 3)
    mine, theirs = (
        g.flow(x, y if with_y else None, batch_size=4, shuffle=shuffle, seed=3) for g in twins(**EVERYTHING)
    )
    before = x.copy()
    for _ in range(7):
        assert_equal(next(mine), next(theirs))
    next(ours.ImageDataGenerator(rescale=0.5).flow(x))
    assert_equal(x, before)


def test_flow_with_weights_and_subsets() -> None:
    x, y = images(0, 12, 4, 4, 1)
    weight = np.linspace(0, 1, 12)
    mine, theirs = (g.flow(x, y, 5, True, weight, 3) for g in twins())
    assert_equal(next(mine), next(theirs))
    for subset in ("training", "validation"):
        mine, theirs = (g.flow(x, y, 5, seed=3, subset=subset) for g in twins(validation_split=0.3))
        assert mine.n == theirs.n
        assert_equal(next(mine), next(theirs))
    # Keras gives the weights of other samples here, the first of all
    weighted = ours.ImageDataGenerator(validation_split=0.25)
    batch = weighted.flow(x, y, 9, False, weight, subset="training")[0]
    assert_equal(batch[2], weight[3:])


def test_numbered_batches_and_epochs() -> None:
    """What Keras's fit does: [i] in any order, then on_epoch_end; with next and reset in between."""
    x, y = images(0, 10, 4, 4, 3)
    mine, theirs = (g.flow(x, y, batch_size=4, seed=8) for g in twins(**EVERYTHING))
    orders = []
    for _ in range(3):
        for i in (1, 0, 2):
            assert_equal(mine[i], theirs[i])
        for batches in (mine, theirs):
            next(batches)
        assert_equal(next(mine), next(theirs))
        for batches in (mine, theirs):
            batches.reset()
            batches.on_epoch_end()
        orders.append(mine.index_array.tolist())
        assert mine.total_batches_seen == theirs.total_batches_seen
    assert len({tuple(order) for order in orders}) == 3


def test_without_a_seed_the_global_generator_is_drawn_from() -> None:
    x, y = images(0, 7, 4, 5, 3)
    mine, theirs = (g.flow(x, y, batch_size=3) for g in twins(**EVERYTHING))
    batches = []
    for flow in (mine, theirs):
        np.random.seed(11)
        batches.append(tuple(next(flow)[0] for _ in range(5)))
    assert_equal(*batches)


def test_a_seed_leaves_the_global_generator_alone(folder: Path) -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    generator = ours.ImageDataGenerator(**EVERYTHING)
    next(generator.flow(image(0, 4, 5, 5, 3), seed=2))
    next(generator.flow_from_directory(folder, (5, 5), seed=2))
    generator.random_transform(image(0, 5, 5, 3), seed=2)
    generator.fit(image(0, 4, 5, 5, 3), augment=True, seed=2)
    assert np.random.random() == expected


@given(
    seed=SEEDS,
    shift=st.sampled_from([0.0, 0.3, 1.0, 2.5, 1, 4, [0.1, 0.4], [-3, 2, 5], (0, 0), []]),
    zoom=st.sampled_from([0.0, 0.4, [0.5, 1.5], (1, 1)]),
    rotation=st.sampled_from([0, 25.0]),
    shear=st.sampled_from([0.0, 12]),
    brightness=st.sampled_from([None, (0.2, 1.9)]),
    channels=st.sampled_from([0.0, 40]),
    flips=st.tuples(st.booleans(), st.booleans()),
)
@examples(60)
def test_random_parameters(
    seed: int, shift: Any, zoom: Any, rotation: float, shear: float, brightness: Any, channels: float, flips: Any
) -> None:
    mine, theirs = twins(
        rotation_range=rotation, width_shift_range=shift, height_shift_range=shift, brightness_range=brightness,
        shear_range=shear, zoom_range=zoom, channel_shift_range=channels, horizontal_flip=flips[0], vertical_flip=flips[1],
    )  # fmt: skip
    expected = theirs.get_random_transform((20, 30, 3), seed)
    assert mine.get_random_transform((20, 30, 3), seed) == expected
    assert list(expected) == list(mine.get_random_transform((20, 30, 3)))


PARAMETERS: list[dict[str, Any]] = [
    {}, {"theta": 33.0}, {"tx": 2.3}, {"ty": -1.6}, {"shear": 14.0}, {"zx": 0.7}, {"zy": 1.4}, {"flip_horizontal": True},
    {"flip_vertical": 1}, {"channel_shift_intensity": 30.5}, {"brightness": 1.3}, {"brightness": 0.0},
    {"theta": -20, "tx": 1, "ty": 2, "shear": 5, "zx": 1.1, "zy": 0.9, "flip_horizontal": True, "brightness": 0.8},
]  # fmt: skip


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_change_at_a_time(parameters: dict[str, Any], channels: int) -> None:
    x = image(1, 9, 12, channels)
    for arguments in (
        {},
        {"fill_mode": "constant", "cval": 7.0},
        {"interpolation_order": 0},
        {"interpolation_order": 3},
    ):
        mine, theirs = twins(**arguments)
        assert_equal(mine.apply_transform(x, parameters), theirs.apply_transform(x, parameters), 1e-6)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "wrap", "mirror"])
def test_fill_modes(fill_mode: str) -> None:
    x = image(2, 8, 8, 3)
    mine, theirs = twins(fill_mode=fill_mode, cval=-3.0, **EVERYTHING)
    assert_equal(mine.random_transform(x, seed=4), theirs.random_transform(x, seed=4), 1e-6)


def test_brightness_of_values_outside_0_to_255() -> None:
    mine, theirs = twins()
    for x in (image(1, 6, 6, 3) - 100, image(1, 6, 6, 1) * 3, image(1, 6, 6, 3) / 255):
        expected = theirs.apply_transform(x, {"brightness": 0.6})
        assert_equal(mine.apply_transform(x, {"brightness": 0.6}), expected, 1e-6)


NORMALIZATIONS: list[dict[str, Any]] = [
    {"rescale": 1 / 255}, {"samplewise_center": True}, {"samplewise_center": True, "samplewise_std_normalization": True},
    {"featurewise_center": True}, {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 0.1},
    {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 1e-3},
    {"preprocessing_function": lambda x: x[..., ::-1] - 1.5, "rescale": 2.0},
]  # fmt: skip


@pytest.mark.parametrize("arguments", NORMALIZATIONS)
@pytest.mark.parametrize("augment", [False, True])
def test_fit_and_standardize(arguments: dict[str, Any], augment: bool) -> None:
    x = image(3, 9, 5, 6, 3)
    mine, theirs = twins(**arguments, horizontal_flip=True, rotation_range=10)
    for generator in (mine, theirs):
        generator.fit(x, augment=augment, rounds=2, seed=6)
    for name in ("mean", "std", "zca_whitening_matrix"):
        expected = getattr(theirs, name)
        assert (getattr(mine, name) is None) == (expected is None), name
        if expected is not None:
            assert_equal(getattr(mine, name), expected, 1e-5)
    assert_equal(mine.standardize(x[0].copy()), theirs.standardize(x[0].copy()), 1e-4)
    assert_equal(mine.standardize(x.copy()), theirs.standardize(x.copy()), 1e-4)
    mine, theirs = (g.flow(x, batch_size=9, seed=1) for g in (mine, theirs))
    assert_equal(next(mine), next(theirs), 1e-4)


def test_standardize_changes_its_array_as_in_keras() -> None:
    x = image(3, 5, 6, 3)
    y = x.copy()
    mine, theirs = twins(rescale=0.5, samplewise_center=True)
    assert mine.standardize(x) is x
    theirs.standardize(y)
    assert_equal(x, y)


def test_a_deviation_implies_the_mean() -> None:
    with pytest.warns(UserWarning, match="overrides"):
        theirs = legacy.ImageDataGenerator(samplewise_std_normalization=True, featurewise_std_normalization=True)
    mine = ours.ImageDataGenerator(samplewise_std_normalization=True, featurewise_std_normalization=True)
    assert mine.samplewise_center == theirs.samplewise_center
    assert mine.featurewise_center == theirs.featurewise_center


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_and_images(channels: int, scale: bool) -> None:
    for x in (image(0, 5, 4, channels), image(0, 5, 4, channels) * 2, np.zeros((3, 3, channels))):
        mine, theirs = ours.array_to_img(x, scale=scale), keras.utils.array_to_img(x, scale=scale)
        assert mine.mode == theirs.mode
        assert_equal(ours.img_to_array(mine), keras.utils.img_to_array(theirs))


def test_load_img(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.[pj]*")):
        for arguments in ({}, {"color_mode": "grayscale"}, {"target_size": (4, 9), "keep_aspect_ratio": True}):
            mine, theirs = ours.load_img(path, **arguments), keras.utils.load_img(path, **arguments)
            assert mine.mode == theirs.mode
            assert_equal(np.asarray(mine), np.asarray(theirs))


@pytest.mark.parametrize(
    "method", ["__init__", "flow", "flow_from_directory", "fit", "get_random_transform", "standardize"]
)
def test_arguments_are_keras(method: str) -> None:
    def named(kind: type) -> dict[str, Any]:
        parameters = inspect.signature(getattr(kind, method)).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD and not p.name.startswith("save_")}

    assert named(ours.ImageDataGenerator) == named(legacy.ImageDataGenerator)
    assert list(named(ours.ImageDataGenerator)) == list(named(legacy.ImageDataGenerator))


def test_the_configuration_makes_an_equal_generator() -> None:
    first = ours.ImageDataGenerator(rescale=0.5, featurewise_std_normalization=True, **EVERYTHING)
    second = ours.ImageDataGenerator(**first.get_config())
    assert second.get_config() == first.get_config()
    assert second.get_random_transform((9, 9, 3), 1) == first.get_random_transform((9, 9, 3), 1)
