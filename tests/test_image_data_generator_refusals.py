"""ImageDataGenerator refuses by a sentence what it does not do and what cannot be meant; Keras has no part in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.errors import SightlineError
from sightline.preprocessing import image as ours


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        Image.new("RGB", (4, 4)).save(root / name / "a.png")
    (root / "loose.jpg").write_bytes(b"beside the classes")
    return root


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).uniform(0, 255, (count, 4, 4, 3)).astype("float32")
    return x, np.arange(count) % 3


def assert_refused(pattern: str) -> Any:
    return pytest.raises(SightlineError, match=pattern)


def test_wrong_arguments_are_refused_in_a_sentence() -> None:
    make = ours.ImageDataGenerator
    for arguments, pattern in [
        ({"rotate_range": 3}, "does not support the argument 'rotate_range'. Did you mean \"rotation_range\""),
        ({"data_format": "channels_first"}, "channels_last"),
        ({"dtype": "float16"}, "float32"),
        ({"zoom_range": (1, 2, 3)}, "zoom_range is a number or a pair of numbers"),
        ({"brightness_range": 0.3}, "brightness_range is a pair of numbers"),
        ({"rotation_range": (1, 2)}, "rotation_range is a number"),
        ({"width_shift_range": -0.2}, "width_shift_range is a number from 0"),
        ({"height_shift_range": "all"}, "height_shift_range is a number from 0"),
        ({"fill_mode": "nearst"}, "Unknown fill_mode 'nearst'. Did you mean \"nearest\""),
        ({"validation_split": 1.0}, "validation_split is a share"),
        ({"preprocessing_function": 3}, "preprocessing_function takes an image"),
        ({"interpolation_order": 6}, "interpolation_order"),
        ({"zca_whitening": True, "featurewise_std_normalization": True}, "not both"),
    ]:
        with assert_refused(pattern):
            make(**arguments)
    with assert_refused("A transform does not support the argument 'angle'"):
        make().apply_transform(images(1)[0][0], {"angle": 3})
    with assert_refused("flow_from_dataframe is not supported. Put the files into class folders"):
        make().flow_from_dataframe(None)


def test_what_cannot_flow_is_refused_in_a_sentence() -> None:
    make = ours.ImageDataGenerator
    x, y = images(6)
    with assert_refused("save_to_dir is not supported. Write those that you want to see"):
        make().flow(x, y, save_to_dir="here")
    assert len(make().flow(x, y, save_to_dir=None)) == 1
    with assert_refused("flow does not support the argument 'sede'. Did you mean \"seed\""):
        make().flow(x, y, sede=3)
    for given_x, given_y, arguments, pattern in [
        (x[0], None, {}, "n, height, width, channels"),
        ([x, x], y, {}, "one array of images"),
        (x, y[:3], {}, "x and y must have as many samples. Received: 6 and 3"),
        (x, None, {"sample_weight": y}, "there is no y"),
        (x, y, {"batch_size": 0}, "batch_size is a positive whole number"),
        (x, y, {"seed": -1}, "seed is None or a whole number"),
        (x, y, {"subset": "train"}, 'Did you mean "training"'),
        (x, y, {"subset": "validation"}, "validation_split=0.2"),
        (x[:0], None, {}, "There is no image to flow"),
    ]:
        with assert_refused(pattern):
            make().flow(given_x, given_y, **arguments)
    with assert_refused("Shuffle x and y"):
        make(validation_split=0.5).flow(x, np.sort(y), subset="training")
    with assert_refused("There is no batch of this number. Expected: 0 .. 1. Received: 2"):
        make().flow(x, batch_size=3)[2]
    with assert_refused("no mean yet. Call fit"):
        next(make(featurewise_center=True).flow(x))
    with assert_refused("keep an image's shape"):
        next(make(preprocessing_function=lambda image: image[:2]).flow(x))
    with assert_refused("must be floating. Received: uint8"):
        make(rescale=0.5).standardize(x.astype("uint8"))
    with pytest.warns(UserWarning, match="last axis"):
        make().flow(x.reshape(6, 3, 4, 4)[..., :2])


def test_folders_that_cannot_flow_are_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    flow = ours.ImageDataGenerator().flow_from_directory
    for arguments, pattern in [
        ({"directory": folder / "none"}, "There is no folder .*none"),
        ({"directory": folder / "loose.jpg"}, "is a file"),
        ({"directory": tmp_path}, "has no image to flow. Expected: class folders with images"),
        ({"class_mode": "categories"}, "Unknown class_mode 'categories'. Did you mean \"categorical\""),
        ({"color_mode": "gray"}, 'Did you mean "grayscale"'),
        ({"interpolation": "linear"}, 'Did you mean "bilinear"'),
        ({"subset": "val"}, "Unknown subset 'val'"),
        ({"subset": "validation"}, "validation_split=0.2"),
        ({"classes": ["dog", "cow"]}, "no folder for the class 'cow'"),
        ({"classes": "dog"}, "classes is a list"),
        ({"target_size": (8, 8, 3)}, "target_size is .height, width. in pixels, without channels"),
        ({"save_prefix": "a"}, "save_prefix is not supported"),
        ({"target": (8, 8)}, 'Did you mean "target_size"'),
    ]:
        with assert_refused(pattern):
            flow(**({"directory": folder} | arguments))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"words", "is not an image"), (None, "is truncated")]
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "b.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with assert_refused(f"{path} {reason}"):
        next(ours.ImageDataGenerator().flow_from_directory(tmp_path))
