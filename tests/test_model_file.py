"""The model file: what was saved is what is loaded, and nothing in a file runs."""

import copy
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import sightline as sl
from sightline import layers
from sightline.configurable import as_plain
from sightline.errors import ModelFileError, SightlineError


def every_layer():
    """A network with each layer that a file may hold, and arguments that are not the defaults."""
    inputs = sl.Input((12, 12, 3), name="picture")
    x = layers.Rescaling(1 / 255, offset=-0.5)(inputs)
    x = layers.Conv2D(4, (3, 5), strides=(1, 2), padding="same", activation="relu", kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, scale=False)(x)
    left = layers.MaxPooling2D(3, strides=2, padding="same", name="left")(x)
    right = layers.AveragePooling2D((2, 2), padding="same")(x)
    x = layers.Concatenate(axis=-1)([left, right])
    x = layers.Conv2D(8, 3, groups=2, use_bias=False)(x)
    x = layers.ReLU(max_value=6, negative_slope=0.1)(x)
    x = layers.Add()([x, layers.Activation("tanh")(x)])
    x = every_new_layer(x)
    pooled = layers.GlobalAveragePooling2D()(x)
    flat = layers.Dropout(0.2, seed=5)(layers.Flatten()(x))
    x = layers.Dense(5, activation="silu")(flat)
    return sl.Model(inputs, [layers.Dense(3, activation="softmax")(x), pooled], name="everything")


def every_new_layer(x):
    """The layers that came later."""
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, depthwise_regularizer=sl.regularizers.L2(0.1))(x)
    x = layers.SeparableConv2D(4, 3, padding="same", pointwise_initializer=sl.initializers.RandomNormal(0, 0.1))(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", kernel_regularizer="l1")(x)
    x = layers.LocalResponseNormalization(depth_radius=1)(layers.LayerNormalization(axis=[1, 3], epsilon=0.1)(x))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 3.0, 4.0])(x)
    x = layers.SpatialDropout2D(0.1)(layers.LeakyReLU(0.2)(layers.ELU(0.5)(layers.Softmax(axis=1)(x))))
    a, b = layers.ZeroPadding2D((1, 2))(x), layers.ZeroPadding2D(((1, 1), (2, 2)), name="other")(x)
    x = layers.Average()([layers.Multiply()([a, b]), layers.Subtract()([a, b]), layers.Maximum()([a, b])])
    x = layers.Cropping2D(((1, 0), (0, 2)))(layers.Minimum()([x, a]))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Permute((2, 1, 3))(x))
    x = layers.Identity()(layers.Resizing(8, 10, interpolation="bicubic")(layers.ResizeLike("nearest")([x, a])))
    x = layers.RandomFlip("horizontal", seed=1)(layers.RandomTranslation(0.1, 0.2, fill_mode="nearest")(x))
    x = layers.RandomZoom(0.1)(layers.RandomRotation((-0.1, 0.2))(x))
    x = layers.RandomBrightness(0.2)(layers.RandomContrast(0.3)(layers.RandomCrop(6, 6)(x)))
    places = layers.Concatenate()([layers.PlaceBoxes(8)(x), layers.PlaceValues()(x)])
    x = layers.Concatenate()([x, layers.Reshape((6, 6, 8))(places)])
    row = layers.Dropout(0.5, noise_shape=(None, 12))(layers.GlobalMaxPooling2D()(layers.DepthMaxPooling2D(1)(x)))
    return layers.Concatenate()([x, layers.UpSampling2D((6, 6))(layers.Reshape((1, 1, -1))(row))])


def compiled():
    model = sl.create("small_cnn")
    metrics = ["accuracy", sl.metrics.TopKCategoricalAccuracy(k=2)]
    model.compile(
        sl.optimizers.SGD(0.1, momentum=0.5), sl.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=metrics
    )
    return model


def picture_of(model, seed=0):
    return np.random.default_rng(seed).random((3, *model.input_shape[1:]), dtype=np.float32) * 255


def test_every_layer_comes_back(tmp_path):
    model = every_layer().eval()
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {name for name, kind in layers.FILE_LAYERS.items() if issubclass(kind, layers.Layer)}
    model.save(tmp_path / "m.sightline")
    loaded = sl.load(tmp_path / "m.sightline")
    x = torch.from_numpy(picture_of(model)).permute(0, 3, 1, 2)
    for ours, theirs in zip(model(x), loaded(x), strict=True):
        assert torch.equal(ours, theirs)
    assert [as_plain(layer) for layer in loaded.layers] == [as_plain(layer) for layer in model.layers]
    assert loaded.name == "everything"
    assert not loaded.training


def test_a_copy_a_sequential_and_a_nested_model_come_back(tmp_path):
    part = sl.Sequential([layers.Conv2D(4, 3), layers.ReLU()], name="part")
    whole = sl.Sequential([sl.Input((6, 6, 1)), part, layers.Flatten(), layers.Dense(2, activation="softmax")])
    x = picture_of(whole)
    for model in (whole, copy.deepcopy(whole)):
        model.save(tmp_path / "m.sightline")
        loaded = sl.load(tmp_path / "m.sightline")
        assert isinstance(loaded, sl.Sequential)
        np.testing.assert_array_equal(loaded.predict(x), whole.predict(x))
        loaded.add(layers.Dense(1))
        assert loaded.output_shape == (None, 1)


def test_a_loaded_model_evaluates_and_trains_as_it_was_compiled(tmp_path):
    model = compiled()
    x, y = picture_of(model), np.eye(10)[:3]
    model.metadata["classes"] = list("abc")
    model.save(tmp_path / "m.sightline")
    loaded = sl.load(tmp_path / "m.sightline")
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.metadata == model.metadata
    assert loaded.metadata["classes"] == ["a", "b", "c"]
    assert np.isfinite(loaded.fit(x, y, verbose=0).history["loss"][0])


def test_own_functions_of_training_are_left_out_not_pickled(tmp_path):
    model = sl.create("mnist_cnn")
    model.compile("adam", lambda y_true, y_pred: (y_true - y_pred).square())
    with pytest.warns(UserWarning, match="your own code"):
        model.save(tmp_path / "m.sightline")
    with pytest.raises(sl.SightlineError, match="not compiled"):
        sl.load(tmp_path / "m.sightline").evaluate(picture_of(model), np.zeros((3, 10)))


def test_the_same_network_gives_the_same_bytes(tmp_path):
    model = compiled()
    model.save(tmp_path / "a.sightline")
    sl.load(tmp_path / "a.sightline").save(tmp_path / "b.sightline")
    assert (tmp_path / "a.sightline").read_bytes() == (tmp_path / "b.sightline").read_bytes()


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".hdf5"])
def test_a_keras_suffix_is_a_file_of_keras(tmp_path, suffix):
    """Against Keras itself: tests/parity/test_keras_files.py."""
    model = compiled()
    path = model.save(tmp_path / f"model{suffix}")
    assert path.read_bytes()[:4] == (b"PK\x03\x04" if suffix == ".keras" else b"\x89HDF")
    loaded = sl.load(path)
    x = picture_of(model)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert as_plain(loaded.optimizer) == as_plain(model.optimizer)
    path.rename(tmp_path / "model.bin")  # the content says what it is
    np.testing.assert_array_equal(sl.load(tmp_path / "model.bin").predict(x), model.predict(x))


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras", "w.h5", "w.sightline"])
def test_weights_alone(tmp_path, name):
    model, other = sl.create("mnist_cnn"), sl.create("mnist_cnn")
    path = tmp_path / name
    model.save_weights(path) if "weights" in name else model.save(path)
    other.load_weights(path)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(SightlineError):
        sl.create("signs_cnn").load_weights(path)
    with pytest.raises(SightlineError, match=r"\.weights\.h5"):
        model.save_weights(tmp_path / "w.h6")


def test_a_checkpoint_of_the_weights_alone(tmp_path):
    model = compiled()
    x, y = np.zeros((4, *model.input_shape[1:])), np.eye(model.output_shape[-1])[[0, 1, 2, 0]]
    saved = sl.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    model.fit(x, y, verbose=0, epochs=2, callbacks=[saved])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.weights.h5", "2.weights.h5"]
    twin = sl.create("small_cnn")
    twin.load_weights(tmp_path / "2.weights.h5")
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


def own_code():
    return sl.Sequential([sl.Input((4,)), layers.Torch(nn.Linear(4, 2), name="theirs")])


def own_function():
    return sl.Sequential([sl.Input((4,)), layers.Dense(2, activation=lambda x: x, name="odd")])


@pytest.mark.parametrize(("make", "words"), [(own_code, "theirs .Torch."), (own_function, "odd .Dense.*activation")])
def test_code_is_refused_at_save_and_leaves_no_file(tmp_path, make, words):
    with pytest.raises(ModelFileError, match=words):
        make().save(tmp_path / "m.sightline")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.sightline"
    sl.create("mnist_cnn").save(path)
    before = path.read_bytes()

    def fails(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        sl.create("mnist_cnn").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.sightline"]


# --- hostile and damaged files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """(description, weights) of a good file."""
    path = tmp_path_factory.mktemp("good") / "m.sightline"
    sl.create("mnist_cnn").save(path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json")), archive.read("weights.safetensors")


def zipped(entries, compression=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def changed(good, change):
    description = copy.deepcopy(good[0])
    change(description)
    return zipped({"model.json": json.dumps(description), "weights.safetensors": good[1]})


def conv(description):
    return next(row for row in description["network"]["layers"] if row.get("class") == "Conv2D")


HOSTILE = {
    "empty": lambda good: b"",
    "text": lambda good: b"hello",
    "pickle": lambda good: b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    "a zip of something else": lambda good: zipped({"data.pkl": b"\x80\x04."}),
    "a further entry that climbs out": lambda good: zipped({"model.json": "{}", "weights.safetensors": good[1], "../x": "x"}),
    "compressed": lambda good: zipped({"model.json": json.dumps(good[0]), "weights.safetensors": good[1]}, zipfile.ZIP_DEFLATED),
    "truncated": lambda good: changed(good, lambda d: None)[:5000],
    "weights cut": lambda good: zipped({"model.json": json.dumps(good[0]), "weights.safetensors": good[1][:100]}),
    "weights with a huge header": lambda good: zipped({"model.json": json.dumps(good[0]), "weights.safetensors": struct.pack("<Q", 2**60)}),
    "no JSON": lambda good: zipped({"model.json": "{", "weights.safetensors": good[1]}),
    "deep JSON": lambda good: zipped({"model.json": "[" * 200_000, "weights.safetensors": good[1]}),
    "a list": lambda good: zipped({"model.json": "[]", "weights.safetensors": good[1]}),
    "a later format": lambda good: changed(good, lambda d: d.update(format=99)),
    "an unknown layer": lambda good: changed(good, lambda d: conv(d).update({"class": "Lambda"})),
    "a layer that is a function": lambda good: changed(good, lambda d: conv(d).update({"class": "os.system"})),
    "an unknown argument": lambda good: changed(good, lambda d: conv(d)["config"].update(run="x")),
    "an unknown activation": lambda good: changed(good, lambda d: conv(d)["config"].update(activation="__import__")),
    "a huge layer": lambda good: changed(good, lambda d: conv(d)["config"].update(filters=2**31)),
    "another shape": lambda good: changed(good, lambda d: conv(d)["config"].update(filters=33)),
    "a call of what is not there": lambda good: changed(good, lambda d: d["network"]["calls"][0].update(layer="x")),
    "a value that is not there": lambda good: changed(good, lambda d: d["network"]["calls"][0].update(args=[{"value": 99}])),
    "a call that goes round": lambda good: changed(good, lambda d: d["network"]["calls"][0].update(args=[{"value": 1}])),
    "no calls": lambda good: changed(good, lambda d: d["network"].pop("calls")),
    "another kind": lambda good: changed(good, lambda d: d["network"].update(kind="object")),
    "an odd training": lambda good: changed(good, lambda d: d.update(training={"optimizer": {"class": "eval", "config": {}}})),
    "an odd metadata": lambda good: changed(good, lambda d: d.update(metadata=[1])),
    "an odd input": lambda good: changed(good, lambda d: (d["network"]["inputs"][0].update(name="y", shape="__class__"), d["network"]["layers"].pop(0))),
    "an odd dtype": lambda good: changed(good, lambda d: (d["network"]["inputs"][0].update(name="y", dtype="nn"), d["network"]["layers"].pop(0))),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_or_damaged_file_gets_a_sentence(tmp_path, good, case):
    path = tmp_path / "m.sightline"
    path.write_bytes(HOSTILE[case](good))
    with pytest.raises(ModelFileError) as caught:
        sl.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelFileError, match="no model file"):
        sl.load(tmp_path / "m.sightline")


def test_damage_anywhere_never_crashes(tmp_path, good):
    """Bytes changed at random: the file is refused, or what was loaded still computes (damage in a weight's value)."""
    whole = changed(good, lambda d: None)
    generator = np.random.default_rng(0)
    path = tmp_path / "m.sightline"
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in generator.integers(0, min(len(whole), 9000), 8):
            damaged[at] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            sl.load(path)
        except ModelFileError:
            refused += 1
    assert refused > 30
