"""Keras's own files, read and written: what Keras saves answers the same here, and what is written here the same there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import sightline as sl
from oracle import assert_close, keras, one_or_list, to_people, to_torch
from sightline import keras_files
from sightline.configurable import argument_names
from sightline.errors import ModelFileError
from sightline.keras_files.configs import LAYERS
from sightline.models import Model, Sequential

KINDS = {"Model": Model, "Sequential": Sequential}
K = keras.layers
SUFFIXES = ["keras", "h5"]


def randomize(model: Any, seed: int = 0) -> Any:
    """Weights that are all different; variances are positive, and counts stay."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif "count" not in variable.path:
            variable.assign(rng.normal(0, 0.3, variable.shape))
    for layer in model.layers:
        if isinstance(layer, K.Normalization) and layer.input_mean is None:
            layer.finalize_state()
    return model


def inputs_for(model: Any, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, 1, (2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def keras_answers(model: Any, xs: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(y) for y in keras.tree.flatten(model(one_or_list(xs), training=False))]


def our_answers(network: Any, xs: list[np.ndarray]) -> list[torch.Tensor]:
    with torch.no_grad():
        answers = network(*[to_torch(x) for x in xs])
    if isinstance(answers, dict):
        answers = [answers[key] for key in sorted(answers)]
    return [to_people(y) for y in (answers if isinstance(answers, (list, tuple)) else [answers])]


def assert_same_answers(network: Any, model: Any, what: str) -> None:
    xs = inputs_for(model)
    for actual, expected in zip(our_answers(network, xs), keras_answers(model, xs), strict=True):
        assert expected.std() > 1e-6, f"{what} says nothing"
        assert_close(actual, expected, what)


def check_both_ways(model: Any, folder: Path, read: list[str] = SUFFIXES, write: list[str] = SUFFIXES) -> Any:
    """Keras saves, we read; we write, Keras reads: answers, parameters, names and flags are the same. Returns ours."""
    network, xs = None, inputs_for(model)
    expected_answers = keras_answers(model, xs)
    for suffix in read:
        model.save(folder / f"theirs.{suffix}")
        network, _ = keras_files.read_model(folder / f"theirs.{suffix}", KINDS)
        assert type(network).__name__ == ("Sequential" if isinstance(model, keras.Sequential) else "Model")
        assert network.count_params() == model.count_params()
        for actual, wanted in zip(our_answers(network, xs), expected_answers, strict=True):
            assert wanted.std() > 1e-6, "the model says nothing"
            assert_close(actual, wanted, f"read from .{suffix}")
    for suffix in write:
        written = keras_files.write_model(network, folder / f"ours.{suffix}")
        again = keras.models.load_model(written)
        assert type(again) is type(model)
        names = [[layer.name for layer in side.layers] for side in (again, model)]
        assert (again.name, names[0]) == (model.name, names[1])
        assert [v.trainable for v in again.weights] == [v.trainable for v in model.weights]
        for actual, wanted in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(actual, wanted)
        for actual, wanted in zip(keras_answers(again, xs), expected_answers, strict=True):
            assert_close(actual, wanted, f"written to .{suffix}")
        ours, _ = keras_files.read_model(written, KINDS)
        for actual, wanted in zip(our_answers(ours, xs), expected_answers, strict=True):
            assert_close(actual, wanted, f"our own .{suffix}")
    return network


def functional(build: Any, *shapes: tuple[int, ...]) -> Any:
    inputs = [keras.Input(shape) for shape in shapes or [(8, 10, 3)]]
    return randomize(keras.Model(one_or_list(inputs), build(*inputs)))


# --- every layer -------------------------------------------------------------------------------------------------

INIT, REG = keras.initializers, keras.regularizers


def convolutions(x: Any) -> Any:
    x = K.Conv2D(4, 3, strides=2, padding="same", activation="relu", kernel_initializer=INIT.HeNormal(seed=3),
                 kernel_regularizer=REG.L2(1e-3), bias_initializer=INIT.Constant(0.5), name="first")(x)  # fmt: skip
    x = K.Conv2D(6, (3, 2), dilation_rate=(1, 2), groups=2, use_bias=False, padding="same", bias_regularizer="l1")(x)
    x = K.DepthwiseConv2D(
        3, depth_multiplier=2, padding="same", depthwise_regularizer=REG.L1L2(0.1, 0.2), activation="tanh"
    )(x)
    x = K.SeparableConv2D(
        5, 3, depth_multiplier=2, padding="same", pointwise_initializer="orthogonal", activation="gelu"
    )(x)
    return K.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1, kernel_initializer="lecun_uniform")(x)


def normalizations(x: Any) -> Any:
    x = K.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
    x = K.Normalization(axis=(1, 3), invert=True)(x)
    x = K.BatchNormalization(momentum=0.9, epsilon=1e-2, center=False, moving_variance_initializer="zeros")(x)
    x = K.BatchNormalization(axis=1, scale=False)(x)
    x = K.LayerNormalization(axis=[1, 3], epsilon=1e-2, gamma_regularizer="l2")(x)
    return K.LayerNormalization(center=False)(x)


def activations(x: Any) -> Any:
    x = K.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.2)(K.Activation("swish")(x))
    x = K.LeakyReLU(negative_slope=0.05)(K.ELU(alpha=0.5)(x))
    return K.Softmax(axis=1)(K.Softmax()(x))


def moves(x: Any) -> Any:
    x = K.Cropping2D(((1, 0), (0, 2)))(K.ZeroPadding2D(((1, 2), (3, 0)))(x))
    x = K.UpSampling2D((2, 1), interpolation="bilinear")(K.Permute((2, 1, 3))(x))
    x = K.Resizing(6, 5, interpolation="bicubic", crop_to_aspect_ratio=True)(K.Rescaling(2.0, offset=-1.0)(x))
    x = K.Rescaling([0.5, 2.0, 1.0], offset=[0.0, 1.0, 2.0])(K.Identity()(x))
    return K.Dense(4, activation="sigmoid", kernel_regularizer="l2")(K.Flatten()(K.Reshape((3, -1, 2))(x)))


def poolings(x: Any) -> Any:
    y = K.MaxPooling2D(3, strides=1, padding="same")(K.AveragePooling2D((2, 1), padding="same")(x))
    globals_ = [K.GlobalAveragePooling2D()(y), K.GlobalMaxPooling2D()(y)]
    kept = [K.GlobalAveragePooling2D(keepdims=True)(y), K.GlobalMaxPooling2D(keepdims=True)(y)]
    return [*globals_, *kept]


def mergings(x: Any, y: Any) -> Any:
    merged = [kind()([x, y]) for kind in (K.Add, K.Subtract, K.Multiply, K.Average, K.Maximum, K.Minimum)]
    return K.Concatenate(axis=-1)([K.Concatenate(axis=1)(merged[:3]), K.Concatenate(axis=1)(merged[3:])])


def disturbances(x: Any) -> Any:
    x = K.Dropout(0.3, noise_shape=(None, 1, 1, None), seed=4)(K.SpatialDropout2D(0.2)(x))
    x = K.RandomTranslation(0.1, (-0.2, 0.3))(K.RandomFlip("horizontal", seed=1)(x))
    x = K.RandomRotation(0.1, fill_mode="nearest")(K.RandomZoom((-0.1, 0.2), 0.1)(x))
    return K.RandomBrightness(0.1, value_range=(0, 1))(K.RandomContrast(0.2)(x))


ZOO: dict[str, tuple[Any, ...]] = {
    "convolutions": (convolutions,),
    "normalizations": (normalizations,),
    "activations": (activations,),
    "moves": (moves,),
    "poolings": (poolings,),
    "mergings": (mergings, (8, 10, 3), (8, 10, 3)),
    "disturbances": (disturbances,),
    "random_crop": (lambda x: K.RandomCrop(8, 10)(x),),  # of the same size: Keras 3.15 crops no other in inference
}


# What Keras 3.15 cannot do itself: write an .h5 of a RandomBrightness, and read one whose layers have several axes
READ, WRITE = {"disturbances": ["keras"]}, {"normalizations": ["keras"]}


@pytest.mark.parametrize("part", ZOO)
def test_every_layer(part: str, tmp_path: Path) -> None:
    check_both_ways(functional(*ZOO[part]), tmp_path, READ.get(part, SUFFIXES), WRITE.get(part, SUFFIXES))


def test_the_zoo_has_every_layer() -> None:
    used = {type(layer).__name__ for case in ZOO.values() for layer in functional(*case).layers}
    assert set(LAYERS) <= used


@pytest.mark.parametrize("part", ZOO)
def test_arguments_survive(part: str, tmp_path: Path) -> None:
    """What Keras's layers were given is what they have after a way through Sightline."""
    model = functional(*ZOO[part])
    model.save(tmp_path / "a.keras")
    network, _ = keras_files.read_model(tmp_path / "a.keras", KINDS)
    keras_files.write_model(network, tmp_path / "b.keras")
    again = keras.models.load_model(tmp_path / "b.keras")
    for layer in model.layers:
        before, after = layer.get_config(), again.get_layer(layer.name).get_config()
        for key in before:
            if "factor" in key and isinstance(before[key], float):  # which is short for a range
                before[key] = [0.0 if isinstance(layer, K.RandomContrast) else -before[key], before[key]]
        for key in before.keys() & set(argument_names(LAYERS[type(layer).__name__])):
            assert json.dumps(before[key]) == json.dumps(after[key]), (layer.name, key)


@pytest.mark.parametrize(
    "initializer",
    [INIT.Zeros(), INIT.RandomNormal(0.1, 0.2, seed=1), INIT.RandomUniform(-1, 2), INIT.TruncatedNormal(),
     INIT.VarianceScaling(2.0, "fan_out", "untruncated_normal"), INIT.GlorotNormal(), INIT.HeUniform(), INIT.LecunNormal(),
     INIT.Orthogonal(gain=2.0), INIT.Constant(3.0), INIT.Ones()],
)  # fmt: skip
def test_initializers(initializer: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), K.Dense(3, kernel_initializer=initializer)])
    model.save(tmp_path / "a.keras")
    network, _ = keras_files.read_model(tmp_path / "a.keras", KINDS)
    keras_files.write_model(network, tmp_path / "b.keras")
    again = keras.models.load_model(tmp_path / "b.keras").layers[0].kernel_initializer
    assert type(again) is type(initializer)
    assert again.get_config() == initializer.get_config()


# --- every form of network ---------------------------------------------------------------------------------------


def lenet() -> Any:
    return keras.Sequential(
        [keras.Input((32, 32, 1)), K.Conv2D(6, 5, activation="tanh"), K.AveragePooling2D(2), K.Conv2D(16, 5, activation="tanh"),
         K.AveragePooling2D(2), K.Flatten(), K.Dense(120, "tanh"), K.Dense(84, "tanh"), K.Dense(10, "softmax")], name="lenet"
    )  # fmt: skip


def mnist_cnn() -> Any:
    return keras.Sequential(
        [K.Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)), K.MaxPooling2D(), K.Conv2D(64, 3, activation="relu"),
         K.MaxPooling2D(), K.Conv2D(64, 3, activation="relu"), K.Flatten(), K.Dense(64, "relu"), K.Dense(10, "softmax")]
    )  # fmt: skip


def intel_cnn(size: int = 16) -> Any:
    layers: list[Any] = [keras.Input((size, size, 3))]
    for filters in (64, 128, 256):
        layers += [K.Conv2D(filters, 3, activation="relu", padding="same") for _ in range(2)]
        layers += [K.MaxPooling2D(2, 2), K.BatchNormalization()]
    layers += [K.Flatten(), K.Dense(64, "relu"), K.BatchNormalization(), K.Dropout(0.3, seed=2), K.Dense(6, "softmax")]
    return keras.Sequential(layers)


def signs_cnn() -> Any:
    return keras.Sequential(
        [keras.Input((64, 64, 1)), K.Conv2D(16, 3, strides=2, padding="same", activation="relu"), K.MaxPooling2D(),
         K.Flatten(), K.Dense(512, "relu"), K.Dense(26, "softmax")]
    )  # fmt: skip


@pytest.mark.parametrize("build", [lenet, mnist_cnn, intel_cnn, signs_cnn])
def test_the_networks_of_the_chapters(build: Any, tmp_path: Path) -> None:
    check_both_ways(randomize(build()), tmp_path)


def nested_twice(x: Any) -> Any:
    inside = keras.Input((8, 10, 3))
    inner = keras.Model(inside, [K.Conv2D(3, 1)(inside), K.BatchNormalization()(inside)], name="inner")
    a, b = inner(x)
    c, d = inner(b, training=False)
    return [K.Add()([a, d]), c]


def shared_layer(x: Any) -> Any:
    conv, norm = K.Conv2D(3, 3, padding="same"), K.BatchNormalization()
    return norm(conv(K.ReLU()(norm(conv(x)))), training=False)


def towers(x: Any, y: Any) -> Any:
    side = keras.Sequential([K.Conv2D(3, 1), K.BatchNormalization(), K.Dropout(0.2)], name="side")
    two = keras.Input((8, 10, 3)), keras.Input((8, 10, 3))
    both = keras.Model(list(two), K.Subtract()([K.Conv2D(2, 1)(two[0]), K.Conv2D(2, 3, padding="same")(two[1])]))
    return {"map": both([side(x), side(y)]), "class": K.Dense(2)(K.GlobalAveragePooling2D()(both([y, x])))}


def ties(x: Any) -> Any:
    """Branches of equal and unequal depth, in an order that only Keras's own way of counting finds again."""
    long = K.Conv2D(2, 1)(K.Conv2D(3, 1)(x))
    short = K.Conv2D(2, 1)(x)
    late = K.Conv2D(2, 1)(K.Add()([long, short]))
    return K.Concatenate()([K.Conv2D(2, 1)(short), late, K.Conv2D(2, 1)(long), short])


def ends_nested(x: Any) -> Any:
    inside = keras.Input((8, 10, 3))
    return keras.Model(inside, K.Conv2D(2, 1)(inside), name="head")(K.ReLU()(x))


FORMS: dict[str, tuple[Any, ...]] = {
    "nested_twice": (nested_twice,),
    "shared_layer": (shared_layer,),
    "towers": (towers, (8, 10, 3), (8, 10, 3)),
    "ties": (ties,),
    "ends_nested": (ends_nested,),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, tmp_path: Path) -> None:
    check_both_ways(functional(*FORMS[form]), tmp_path)


def test_sequential_of_models(tmp_path: Path) -> None:
    open_size = keras.Input((None, None, 3))
    base = keras.Model(open_size, K.MaxPooling2D()(K.Conv2D(4, 3)(open_size)), name="base")
    tail = keras.Sequential([K.Conv2D(4, 1), K.Dropout(0.1)], name="tail")
    model = keras.Sequential([keras.Input((9, 8, 3)), base, tail, K.Flatten(), K.Dense(2)], name="all")
    network = check_both_ways(randomize(model), tmp_path)
    assert [type(layer).__name__ for layer in network.layers] == ["Model", "Sequential", "Flatten", "Dense"]


def test_frozen_layers_stay_frozen(tmp_path: Path) -> None:
    inside = keras.Input((8, 10, 3))
    base = keras.Model(inside, K.BatchNormalization()(K.Conv2D(3, 1)(inside)), name="base")
    base.trainable = False
    model = functional(lambda x: K.Conv2D(2, 1, trainable=False)(K.BatchNormalization()(base(x))))
    network = check_both_ways(model, tmp_path)
    assert [v.trainable for v in network.variables()] == [v.trainable for v in model.weights]


def test_a_layer_in_two_networks_is_not_written(tmp_path: Path) -> None:
    """Keras 3.15 writes such a file and cannot read it again."""
    shared = sl.layers.Conv2D(3, 3, padding="same", name="twice")
    inside, x = sl.Input((4, 4, 3)), sl.Input((4, 4, 3))
    network = Model(x, shared(Model(inside, shared(inside))(x)))
    for suffix in SUFFIXES:
        with pytest.raises(ModelFileError, match="twice \\(Conv2D\\) stands in two networks"):
            keras_files.write_model(network, tmp_path / f"a.{suffix}")


def test_several_axes_are_not_written_into_an_h5(tmp_path: Path) -> None:
    """Keras 3.15 drops them when it reads an .h5."""
    network = sl.Sequential([sl.Input((4, 4, 3)), sl.layers.LayerNormalization(axis=[1, 3], name="n")])
    with pytest.raises(ModelFileError, match="n has several axes"):
        keras_files.write_model(network, tmp_path / "a.h5")


def test_an_open_size_is_given(tmp_path: Path) -> None:
    model = functional(lambda x: K.GlobalMaxPooling2D()(K.Conv2D(2, 3)(x)), (None, None, 3))
    model.save(tmp_path / "a.keras")
    with pytest.raises(ModelFileError, match=r"no fixed size.*input_shape=\(height, width, channels\)"):
        keras_files.read_model(tmp_path / "a.keras", KINDS)
    with pytest.raises(ModelFileError, match="another shape"):
        keras_files.read_model(tmp_path / "a.keras", KINDS, (6, 7, 4))
    network, _ = keras_files.read_model(tmp_path / "a.keras", KINDS, (6, 7, 3))
    assert network.input_shape == (None, 6, 7, 3)
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
    assert_close(our_answers(network, [x])[0], keras_answers(model, [x])[0], "open size")


def test_input_types_and_batches(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 5, 5, 3), dtype="uint8", name="pixels"), K.Rescaling(1 / 255)]
    )
    model.save(tmp_path / "a.keras")
    network, _ = keras_files.read_model(tmp_path / "a.keras", KINDS)
    assert network.inputs[0].dtype == torch.uint8
    keras_files.write_model(network, tmp_path / "b.keras")
    again = keras.models.load_model(tmp_path / "b.keras")
    assert (again.inputs[0].dtype, again.input_shape, again.inputs[0].name) == ("uint8", (None, 5, 5, 3), "pixels")


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*FORMS, "normalizations"])
def test_weight_files(form: str, tmp_path: Path) -> None:
    model = functional(*(FORMS | ZOO)[form])
    model.save(tmp_path / "model.keras")
    network, _ = keras_files.read_model(tmp_path / "model.keras", KINDS)
    expected = keras_answers(model, inputs_for(model))
    model.save_weights(tmp_path / "theirs.weights.h5")
    keras_files.write_weights(network, tmp_path / "ours.weights.h5")
    randomize(model, seed=5).save(tmp_path / "other.keras")
    other, _ = keras_files.read_model(tmp_path / "other.keras", KINDS)
    assert any(
        np.abs(a.numpy() - b).max() > 0.01 for a, b in zip(our_answers(other, inputs_for(model)), expected, strict=True)
    )
    for source in ("theirs.weights.h5", "ours.weights.h5", "model.keras"):
        keras_files.read_weights(other, tmp_path / "other.keras")
        keras_files.read_weights(other, tmp_path / source)
        for actual, wanted in zip(our_answers(other, inputs_for(model)), expected, strict=True):
            assert_close(actual, wanted, source)
    model.load_weights(tmp_path / "ours.weights.h5")
    for actual, wanted in zip(keras_answers(model, inputs_for(model)), expected, strict=True):
        assert_close(actual, wanted, "read by Keras")


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), K.Dense(3), K.Dense(2)]).save_weights(tmp_path / "a.weights.h5")
    for layers, message in [
        ([sl.layers.Dense(3, name="x"), sl.layers.Dense(5, name="y")], "The weight kernel of 'y' has another shape"),
        ([sl.layers.Dense(3)], "a weight 'layers/dense_1/vars/"),
        ([sl.layers.Dense(3), sl.layers.Dense(2), sl.layers.Dense(2, name="z")], "The weight kernel of 'z' is missing"),
    ]:
        network = sl.Sequential([sl.Input((4,)), *layers])
        before = network.get_weights()
        with pytest.raises(ModelFileError, match=message):
            keras_files.read_weights(network, tmp_path / "a.weights.h5")
        for actual, expected in zip(network.get_weights(), before, strict=True):
            np.testing.assert_array_equal(actual, expected)


# --- how it was compiled -----------------------------------------------------------------------------------------

OPTIMIZERS = [
    keras.optimizers.Adam(1e-3, amsgrad=True, clipnorm=1.0),
    keras.optimizers.AdamW(2e-3, weight_decay=0.01),
    keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 10, 0.9)),
    keras.optimizers.RMSprop(1e-3, momentum=0.5, centered=True),
    keras.optimizers.Adagrad(1e-2, initial_accumulator_value=0.2),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_training_goes_on(optimizer: Any, tmp_path: Path) -> None:
    """Two steps in Keras, saved, two steps on either side: the same weights. And the same state after a way back."""
    optimizer = type(optimizer).from_config(optimizer.get_config())
    model = randomize(
        keras.Sequential([keras.Input((5,)), K.Dense(4, "tanh"), K.BatchNormalization(), K.Dense(3, "softmax")])
    )
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy", "mse"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 5)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(3, size=16)]
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "a.keras")
    network, compiled = keras_files.read_model(tmp_path / "a.keras", KINDS)
    assert compiled is not None
    assert compiled["optimizer"].iterations == 2
    keras_files.write_model(network, tmp_path / "b.keras", compiled)
    keras_files.write_model(network, tmp_path / "b.h5", compiled)
    again = keras.models.load_model(tmp_path / "b.keras")
    from_old, old_compiled = keras_files.read_model(tmp_path / "b.h5", KINDS)
    assert type(again.optimizer) is type(model.optimizer)
    for actual, expected in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        assert_close(actual.numpy(), expected.numpy(), expected.path)
    for ours, arguments in ((network, compiled), (from_old, old_compiled)):
        ours.compile(**arguments)
        ours.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for name, side in (("ours", network), ("ours from .h5", from_old)):
        for actual, expected in zip(side.get_weights(), model.get_weights(), strict=True):
            assert_close(actual, expected, name, 1e-4)


def test_unused_optimizer(tmp_path: Path) -> None:
    network = sl.Sequential([sl.Input((5,)), sl.layers.Dense(4)])
    compiled = {"optimizer": "rmsprop", "loss": "mse", "metrics": ["mae", "acc"]}
    keras_files.write_model(network, tmp_path / "a.keras", compiled)
    model = keras.models.load_model(tmp_path / "a.keras")
    assert type(model.optimizer).__name__ == "RMSprop"
    assert model.evaluate(np.ones((2, 5)), np.ones((2, 4)), verbose=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parts_of_compile(suffix: str, tmp_path: Path) -> None:
    model = functional(lambda x: [K.Dense(2, name="a")(K.Flatten()(x)), K.ReLU(name="b")(x)])
    model.compile("sgd", loss={"a": "mae", "b": keras.losses.Huber(2.0)}, loss_weights={"a": 2.0, "b": 0.5},
                  metrics={"a": [keras.metrics.TopKCategoricalAccuracy(2), "accuracy"], "b": None},
                  weighted_metrics=[[], [keras.metrics.AUC(num_thresholds=50)]])  # fmt: skip
    if suffix == "h5":  # Keras 3 cannot read what it has itself written of "mae"
        model.compile(
            "sgd", loss=[keras.losses.MeanAbsoluteError(), keras.losses.Huber(2.0)], metrics=[["accuracy"], []]
        )
    model.save(tmp_path / f"a.{suffix}")
    network, compiled = keras_files.read_model(tmp_path / f"a.{suffix}", KINDS)
    assert compiled is not None
    keras_files.write_model(network, tmp_path / f"b.{suffix}", compiled)
    again = keras.models.load_model(tmp_path / f"b.{suffix}")
    x, y = inputs_for(model)[0], [np.eye(2), np.ones((2, 8, 10, 3))]
    expected = model.evaluate(x, dict(zip("ab", y, strict=True)) if suffix == "keras" else y, verbose=0)
    actual = again.evaluate(x, dict(zip("ab", y, strict=True)) if suffix == "keras" else y, verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"optimizer": "lion", "loss": "mse"}, "optimizer.*Lion"),
        ({"optimizer": "sgd", "loss": keras.losses.Poisson()}, "Poisson"),
        ({"optimizer": "sgd", "loss": "mse", "metrics": [keras.metrics.CosineSimilarity()]}, "CosineSimilarity"),
    ],
)
def test_what_is_not_known_of_compile_is_a_warning(arguments: Any, named: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), K.Dense(3)])
    model.compile(**arguments)
    model.save(tmp_path / "a.keras")
    with pytest.warns(UserWarning, match=f"a.keras is not compiled: .*{named}.*Call model.compile"):
        network, compiled = keras_files.read_model(tmp_path / "a.keras", KINDS)
    assert compiled is None
    assert_same_answers(network, model, "uncompiled")


# --- what is refused by its name ---------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("mine")
class Own(K.Layer):
    def call(self, x: Any) -> Any:
        return x


REFUSED: dict[str, tuple[Any, str]] = {
    "lambda": (lambda x: K.Lambda(keras.ops.relu, name="l")(x), "The layer 'l' \\(Lambda\\) holds Python code"),
    "custom": (lambda x: Own(name="o")(x), "The layer 'o' \\((mine>)?Own\\) is a class of someone's own"),
    "unknown": (lambda x: K.GaussianNoise(0.1, name="g")(x), "The layer 'g' \\(GaussianNoise\\) is not supported"),
    "operation": (lambda x: x * 2, "'multiply.*' (\\(Multiply\\) is a bare operation|is called on something else)"),
    "channels_first": (
        lambda x: K.Conv2D(2, 1, data_format="channels_first", name="c")(x),
        "The layer 'c' \\(Conv2D\\) has 'data_format'='channels_first'",
    ),
    "constraint": (lambda x: K.Conv2D(2, 1, kernel_constraint="non_neg", name="c")(x), "'kernel_constraint'='NonNeg'"),
    "activity": (lambda x: K.Conv2D(2, 1, activity_regularizer="l2")(x), "'activity_regularizer'='L2'"),
    "dtype": (
        lambda x: K.Conv2D(2, 1, dtype="mixed_float16", name="c")(x),
        "'c' \\(Conv2D\\) has the dtype 'mixed_float16'",
    ),
    "renorm": (lambda x: K.BatchNormalization(renorm=True)(x), "'renorm'"),
    "lora": (lambda x: K.Dense(2, lora_rank=1)(x), "'lora_rank'=1"),
    "function": (lambda x: K.Activation(keras.ops.square)(x), "\\(Activation\\) holds Python code"),
    "initializer": (lambda x: K.Dense(3, kernel_initializer="identity")(x), "kernel_initializer of .* is 'Identity'"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, suffix: str, tmp_path: Path) -> None:
    build, message = REFUSED[case]
    x = keras.Input((4, 4, 3))
    keras.Model(x, build(x)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ModelFileError, match=f"a.{suffix}: .*{message}"):
        keras_files.read_model(tmp_path / f"a.{suffix}", KINDS)


def test_what_keras_has_not_is_not_written(tmp_path: Path) -> None:
    for layer, message in [
        (sl.layers.LocalResponseNormalization(name="lrn"), "lrn \\(LocalResponseNormalization\\) is no layer of Keras"),
        (sl.layers.Torch(torch.nn.ReLU(), name="t"), "t \\(Torch\\) is no layer of Keras"),
        (sl.layers.Activation(torch.special.erf, name="e"), "activation of e \\(Activation\\) is a function"),
    ]:
        network = sl.Sequential([sl.Input((4, 4, 3)), layer])
        with pytest.raises(ModelFileError, match=message):
            keras_files.write_model(network, tmp_path / "a.keras")
    assert not (tmp_path / "a.keras").exists()


# --- Keras 2 -----------------------------------------------------------------------------------------------------


def old_layer(kind: str, name: str, inbound: Any = None, **config: Any) -> dict[str, Any]:
    entry = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}
    return entry if inbound is None else entry | {"name": name, "inbound_nodes": inbound}


def write_keras_2(path: Path, config: Any, weights: dict[str, dict[str, np.ndarray]], training: Any = None) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.11.0", "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
        write_keras_2_weights(file.create_group("model_weights"), weights)


def write_keras_2_weights(group: Any, weights: dict[str, dict[str, np.ndarray]]) -> None:
    group.attrs["keras_version"], group.attrs["layer_names"] = b"2.11.0", [name.encode() for name in weights]
    for name, arrays in weights.items():
        layer = group.create_group(name)
        layer.attrs["weight_names"] = [key.encode() for key in arrays]
        for key, array in arrays.items():
            layer[key] = array


GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
TRAINING_2 = {
    "loss": "categorical_crossentropy",
    "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "dtype": "float32", "fn": "categorical_accuracy"}}]],
    "weighted_metrics": None,
    "loss_weights": None,
    "optimizer_config": {"class_name": "Adam", "config": {"name": "Adam", "learning_rate": 0.002, "decay": 0.0, "beta_1": 0.9,
                         "beta_2": 0.999, "epsilon": 1e-07, "amsgrad": False}},
}  # fmt: skip


def test_sequential_of_keras_2(tmp_path: Path) -> None:
    model = randomize(keras.Sequential([keras.Input((6, 6, 3)), K.Conv2D(4, 3, name="conv"), K.BatchNormalization(name="bn"),
                                        K.LeakyReLU(0.3, name="l"), K.Flatten(name="f"), K.Dense(3, "softmax", name="d")]))  # fmt: skip
    layers = [
        old_layer("Conv2D", "conv", batch_input_shape=[None, 6, 6, 3], filters=4, kernel_size=[3, 3], strides=[1, 1], padding="valid",
                  data_format="channels_last", dilation_rate=[1, 1], groups=1, activation="linear", use_bias=True,
                  kernel_initializer=GLOROT, bias_initializer={"class_name": "Zeros", "config": {}}, kernel_regularizer=None,
                  bias_regularizer=None, activity_regularizer=None, kernel_constraint=None, bias_constraint=None),
        old_layer("BatchNormalization", "bn", axis=[3], momentum=0.99, epsilon=0.001, center=True, scale=True,
                  beta_initializer={"class_name": "Zeros", "config": {}}, beta_constraint=None),
        old_layer("LeakyReLU", "l", alpha=0.3),
        old_layer("Flatten", "f", data_format="channels_last"),
        old_layer("Dense", "d", units=3, activation="softmax", use_bias=True, kernel_initializer=GLOROT),
    ]  # fmt: skip
    weights = {layer.name: {f"{layer.name}/{v.name}:0": v.numpy() for v in layer.weights} for layer in model.layers}
    for config in ({"name": "sequential", "layers": layers}, layers):  # the second is how Keras 2 began
        write_keras_2(tmp_path / "a.h5", {"class_name": "Sequential", "config": config}, weights, TRAINING_2)
        network, compiled = keras_files.read_model(tmp_path / "a.h5", KINDS)
        assert_same_answers(network, model, "Keras 2")
        assert compiled is not None
        assert compiled["optimizer"].learning_rate == 0.002
        assert (compiled["metrics"][0][0].name, type(compiled["metrics"][0][0]).__name__) == (
            "accuracy",
            "CategoricalAccuracy",
        )
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_keras_2_weights(file, weights)
    assert keras_files.kind_of_file(tmp_path / "old.h5") == "old weights"
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    keras_files.read_weights(network, tmp_path / "old.h5")
    assert_same_answers(network, model, "weights of Keras 2")


def test_functional_of_keras_2_with_a_nested_model(tmp_path: Path) -> None:
    inside = keras.Input((5, 5, 3), name="input_2")
    inner = keras.Model(inside, K.BatchNormalization(name="bn")(K.DepthwiseConv2D(3, name="dw")(inside)), name="inner")
    x = keras.Input((5, 5, 3), name="input_1")
    first = inner(x)
    model = randomize(
        keras.Model(x, K.Concatenate(name="cat")([inner(K.ReLU(name="block/relu".replace("/", "_"))(x)), first]))
    )
    inner_layers = [
        old_layer("InputLayer", "input_2", [], batch_input_shape=[None, 5, 5, 3], sparse=False, ragged=False),
        old_layer("DepthwiseConv2D", "dw", [[["input_2", 0, 0, {}]]], kernel_size=[3, 3], depth_multiplier=1, groups=1,
                  kernel_initializer=GLOROT, depthwise_initializer=GLOROT, depthwise_constraint=None),
        old_layer("BatchNormalization", "bn", [[["dw", 0, 0, {}]]], axis=[3]),
    ]  # fmt: skip
    inner_config = {
        "name": "inner",
        "layers": inner_layers,
        "input_layers": [["input_2", 0, 0]],
        "output_layers": [["bn", 0, 0]],
    }
    layers = [
        old_layer("InputLayer", "input_1", [], batch_input_shape=[None, 5, 5, 3], sparse=False, ragged=False),
        old_layer("ReLU", "block/relu", [[["input_1", 0, 0, {}]]], max_value=None, negative_slope=0.0, threshold=0.0),
        {"class_name": "Functional", "config": inner_config, "name": "inner",
         "inbound_nodes": [[["input_1", 0, 0, {}]], [["block/relu", 0, 0, {}]]]},
        old_layer("Concatenate", "cat", [[["inner", 2, 0, {}], ["inner", 1, 0, {}]]], axis=-1),
    ]  # fmt: skip
    config = {"name": "m", "layers": layers, "input_layers": [["input_1", 0, 0]], "output_layers": [["cat", 0, 0]]}
    arrays = {v.path.removeprefix("inner/").replace("dw/kernel", "dw/depthwise_kernel") + ":0": v.numpy()
              for v in (*inner.trainable_weights, *inner.non_trainable_weights)}  # fmt: skip
    weights = {"input_1": {}, "block/relu": {}, "inner": arrays, "cat": {}}
    write_keras_2(tmp_path / "a.h5", {"class_name": "Functional", "config": config}, weights)
    network, compiled = keras_files.read_model(tmp_path / "a.h5", KINDS)
    assert compiled is None
    assert_same_answers(network, model, "Keras 2, nested")


def test_long_lists_of_names_are_split(tmp_path: Path) -> None:
    names = [f"{'a-name-that-goes-on-' * 200}{number}" for number in range(20)]
    model = keras.Sequential([keras.Input((2,)), *(K.Dense(2, name=name) for name in names)])
    model.save(tmp_path / "a.h5")
    network, _ = keras_files.read_model(tmp_path / "a.h5", KINDS)
    keras_files.write_model(network, tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert "layer_names0" in file["model_weights"].attrs
    again = keras.models.load_model(tmp_path / "b.h5")
    for actual, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


# --- the file itself ---------------------------------------------------------------------------------------------


def test_kinds_of_files(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), K.Dense(3)])
    model.save(tmp_path / "a.keras")
    model.save(tmp_path / "a.h5")
    model.save_weights(tmp_path / "a.weights.h5")
    (tmp_path / "b").write_text("no model")
    kinds = {name: keras_files.kind_of_file(tmp_path / name) for name in ("a.keras", "a.h5", "a.weights.h5", "b")}
    assert kinds == {"a.keras": "keras", "a.h5": "h5", "a.weights.h5": "weights", "b": None}
    with pytest.raises(ModelFileError, match="holds weights only"):
        keras_files.read_model(tmp_path / "a.weights.h5", KINDS)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    network = sl.Sequential([sl.Input((4,)), sl.layers.Dense(3)])
    for suffix in SUFFIXES:
        first = keras_files.write_model(network, tmp_path / f"a.{suffix}").read_bytes()
        assert first == keras_files.write_model(network, tmp_path / f"b.{suffix}").read_bytes()


def test_no_shape_is_left_to_chance(tmp_path: Path) -> None:
    """The configuration that is written says all that Keras would otherwise take from its global settings."""
    keras_files.write_model(sl.create("small_cnn"), tmp_path / "a.keras")
    config = json.loads(zipfile.ZipFile(tmp_path / "a.keras").read("config.json"))
    for layer in config["config"]["layers"]:
        theirs = getattr(K, layer["class_name"])
        assert layer["config"]["dtype"] == "float32"
        if "data_format" in theirs.from_config(dict(layer["config"])).get_config():
            assert layer["config"]["data_format"] == "channels_last"
