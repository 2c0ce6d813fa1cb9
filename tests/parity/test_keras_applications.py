"""The networks of keras.applications, both ways, with random weights and statistics: the same answers and parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oracle import keras, to_torch
from sightline import keras_files
from sightline.errors import ModelFileError
from sightline.models import Model, Sequential

KINDS = {"Model": Model, "Sequential": Sequential}
# With the parameter counts of Keras's documentation
NETWORKS = {
    "VGG16": 138_357_544,
    "ResNet50": 25_636_712,
    "Xception": 22_910_480,
    "InceptionV3": 23_851_784,
    "MobileNet": 4_253_864,
    "MobileNetV2": 3_538_984,
    "DenseNet121": 8_062_504,
    "EfficientNetB0": 5_330_571,
    "NASNetMobile": 5_326_716,
}


def build(name: str, **arguments: Any) -> Any:
    """With statistics that are random too, so that answers differ from place to place."""
    rng = np.random.default_rng(0)
    model = getattr(keras.applications, name)(weights=None, **arguments)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *scaling, mean, variance = layer.get_weights()
            layer.set_weights([*scaling, rng.normal(0, 0.1, mean.shape), rng.uniform(0.5, 2, variance.shape)])
    return model


def assert_near(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert expected.std() > 1e-7, "the network says nothing"
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NETWORKS)
def test_applications(name: str, tmp_path: Path) -> None:
    model = build(name)
    assert model.count_params() == NETWORKS[name]
    x = np.random.default_rng(1).uniform(0, 1, (1, *model.input_shape[1:])).astype(np.float32)
    expected = model.predict(x, verbose=0)
    for suffix in ("keras", "h5"):
        model.save(tmp_path / f"theirs.{suffix}")
        network, _ = keras_files.read_model(tmp_path / f"theirs.{suffix}", KINDS)
        assert network.count_params() == NETWORKS[name]
        with torch.no_grad():
            assert_near(network(to_torch(x)).numpy(), expected)
        keras_files.write_model(network, tmp_path / f"ours.{suffix}")
        again = keras.models.load_model(tmp_path / f"ours.{suffix}", compile=False)
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        for actual, wanted in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(actual, wanted)
        if suffix == "keras":
            assert_near(again.predict(x, verbose=0), expected)
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.slow
def test_a_backbone_of_open_size_in_a_classifier(tmp_path: Path) -> None:
    """Transfer learning as Keras's guide writes it: the backbone knows no size, is frozen, and runs in inference mode."""
    base = build("MobileNetV2", include_top=False, alpha=0.35)
    base.trainable = False
    x = keras.Input((96, 96, 3))
    y = keras.layers.RandomFlip("horizontal")(keras.layers.Rescaling(1 / 127.5, offset=-1)(x))
    y = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(base(y, training=False)))
    model = keras.Model(x, keras.layers.Dense(3)(y))
    images = np.random.default_rng(1).uniform(0, 255, (1, 96, 96, 3)).astype(np.float32)
    model.save(tmp_path / "a.keras")
    network, _ = keras_files.read_model(tmp_path / "a.keras", KINDS)
    assert len(network.trainable_weights) == len(model.trainable_weights) == 2
    with torch.no_grad():
        assert_near(network(to_torch(images)).numpy(), model.predict(images, verbose=0))
    keras_files.write_model(network, tmp_path / "b.keras")
    again = keras.models.load_model(tmp_path / "b.keras")
    assert len(again.trainable_weights) == 2
    assert_near(again.predict(images, verbose=0), model.predict(images, verbose=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"), [("ConvNeXtTiny", r"\(LayerScale\) is not supported"), ("MobileNetV3Small", "bare operation")]
)
def test_what_is_beyond_layers_is_refused_by_name(name: str, message: str, tmp_path: Path) -> None:
    getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3)).save(tmp_path / "a.keras")
    with pytest.raises(ModelFileError, match=message):
        keras_files.read_model(tmp_path / "a.keras", KINDS)
