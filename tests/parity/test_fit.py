"""Trainings that use one thing each, three steps against Keras: the loss, the metrics and the weights afterwards."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import sightline as sl
from oracle import assert_close, copy_weights, keras, normal, one_hot

RNG = np.random.default_rng(0)
X = normal(RNG, 24, 6, 6, 2)
NUMBERS = RNG.integers(0, 3, 24)
ONE_HOT = one_hot(NUMBERS, 3)
WEIGHTS = RNG.uniform(0, 2, 24).astype(np.float32)


def classifier(module: Any, **conv: Any) -> Any:
    layers = module.layers
    inputs = module.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="conv", **conv)(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten(name="flat")(x)
    return module.Model(inputs, layers.Dense(3, activation="softmax", name="answer")(x))


def two_headed(module: Any, outputs: str = "list") -> Any:
    """Two inputs, two outputs."""
    layers = module.layers
    image, place = module.Input((6, 6, 2), name="image"), module.Input((4,), name="place")
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(image)), place])
    kind = layers.Dense(3, activation="softmax", name="kind")(x)
    box = layers.Dense(2, name="box")(x)
    return module.Model([image, place], [kind, box] if outputs == "list" else {"box": box, "kind": kind})


def assert_near(actual: Any, expected: Any) -> None:
    assert np.shape(actual) == np.shape(expected)
    assert np.allclose(actual, expected, rtol=2e-4, atol=1e-6), (actual, expected)


def check_training(
    build: Any, compile_arguments: Any, x: Any, y: Any, change: Any = None, **fit: Any
) -> dict[str, list[float]]:
    """Trains both for two epochs; the histories, the measures and the weights must be equal. Returns the history.

    `compile_arguments(module)` and `change(model)` are called for each side.
    """
    sl.utils.set_random_seed(0)
    ours, theirs = build(sl), build(keras)
    copy_weights(ours, theirs)
    histories = []
    for module, model in ((sl, ours), (keras, theirs)):
        if change is not None:
            change(model)
        model.compile(module.optimizers.SGD(0.05), **compile_arguments(module))
        given = {k: v(module) if callable(v) else v for k, v in fit.items()}
        histories.append(model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, **given).history)
    assert sorted(histories[0]) == sorted(histories[1])
    for name, values in histories[1].items():
        assert_near(histories[0][name], values)
    for actual, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_near(actual, expected)
    measured = ours.evaluate(x, y, verbose=0, return_dict=True)
    expected = theirs.evaluate(x, y, verbose=0, return_dict=True)
    assert sorted(measured) == sorted(expected)
    for name, value in expected.items():
        assert_near(measured[name], value)
    for actual, answer in zip(_listed(ours.predict(x)), _listed(theirs.predict(x, verbose=0)), strict=True):
        assert_close(actual, answer, "prediction", tolerance=1e-4)
    return histories[0]


def _listed(answers: Any) -> list[Any]:
    return list(answers.values()) if isinstance(answers, dict) else answers if isinstance(answers, list) else [answers]


def crossentropy(module: Any) -> dict[str, Any]:
    return {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}


# --- weights of samples and classes ----------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_class_weight(sparse: bool) -> None:
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    arguments = {"loss": loss, "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    y = NUMBERS if sparse else ONE_HOT
    history = check_training(classifier, lambda module: arguments, X, y, class_weight={0: 3.0, 2: 0.5})
    assert {"accuracy", "weighted_accuracy"} <= history.keys()


def test_sample_weight_weighs_loss_and_weighted_metrics_only() -> None:
    def arguments(module: Any) -> dict[str, Any]:
        return crossentropy(module) | {"weighted_metrics": [module.metrics.MeanSquaredError(name="wmse"), "mse"]}

    history = check_training(classifier, arguments, X, ONE_HOT, sample_weight=WEIGHTS)
    assert history["wmse"] != history["accuracy"]


def test_validation_data_with_weights_and_frequency() -> None:
    history = check_training(
        classifier, crossentropy, X, ONE_HOT, validation_data=(X[:8], ONE_HOT[:8], WEIGHTS[:8]), validation_freq=2
    )
    assert len(history["val_loss"]) == 1
    check_training(classifier, crossentropy, X, ONE_HOT, validation_split=0.25, sample_weight=WEIGHTS)


def test_batches_with_weights() -> None:
    batches = [(X[i : i + 8], ONE_HOT[i : i + 8], WEIGHTS[i : i + 8]) for i in (0, 8, 16)]
    ours, theirs = classifier(sl), classifier(keras)
    copy_weights(ours, theirs)
    for model in (ours, theirs):
        model.compile("sgd", "categorical_crossentropy")
    actual = ours.fit(batches, epochs=2, verbose=0).history["loss"]
    endless = (batch for _ in range(2) for batch in batches)
    assert_near(actual, theirs.fit(endless, epochs=2, steps_per_epoch=3, verbose=0).history["loss"])


# --- regularizers and freezing -----------------------------------------------------------------------------------


@functools.cache
def without_regularizers() -> float:
    """The loss of the first epoch."""
    return check_training(classifier, crossentropy, X, ONE_HOT)["loss"][0]


@pytest.mark.parametrize("name", ["l1", "l2", "L2", "L1L2"])
def test_regularizers_are_part_of_the_loss(name: str) -> None:
    """Biases begin at 0, where Keras on JAX takes 1 for the slope of |x|, and on TensorFlow 0, as here: so no L1 for them."""

    def build(module: Any) -> Any:
        given = module.regularizers.L1L2(0.05, 0.1) if name == "L1L2" else name
        return classifier(module, kernel_regularizer=given, bias_regularizer=module.regularizers.L2(0.2))

    history = check_training(build, crossentropy, X, ONE_HOT)
    assert history["loss"][0] != pytest.approx(without_regularizers(), rel=1e-3)


REGULARIZED = {
    "DepthwiseConv2D": lambda module, l2: module.layers.DepthwiseConv2D(3, depthwise_regularizer=l2),
    "SeparableConv2D": lambda module, l2: module.layers.SeparableConv2D(
        4, 3, depthwise_regularizer=l2, pointwise_regularizer="l1"
    ),
    "BatchNormalization": lambda module, l2: module.layers.BatchNormalization(
        gamma_regularizer=l2, beta_regularizer=l2
    ),
    "Conv2DTranspose": lambda module, l2: module.layers.Conv2DTranspose(2, 2, kernel_regularizer=l2),
    "LayerNormalization": lambda module, l2: module.layers.LayerNormalization(
        gamma_regularizer=l2, beta_regularizer="l2"
    ),
}


@pytest.mark.parametrize("kind", REGULARIZED)
def test_regularizers_of_other_layers(kind: str) -> None:
    def build(module: Any) -> Any:
        l2 = module.regularizers.L2(0.05)
        inputs = module.Input((6, 6, 2))
        x = module.layers.Flatten()(REGULARIZED[kind](module, l2)(inputs))
        return module.Model(inputs, module.layers.Dense(3, activation="softmax", kernel_regularizer=l2)(x))

    check_training(build, crossentropy, X, ONE_HOT)


def test_a_frozen_layer_is_not_trained_nor_regularized() -> None:
    """And a frozen BatchNormalization runs in inference mode, its statistics unchanged."""

    def freeze(model: Any) -> None:
        model.get_layer("conv").trainable = False
        model.get_layer("norm").trainable = False

    def build(module: Any) -> Any:
        return classifier(module, kernel_regularizer="l2")

    check_training(build, crossentropy, X, ONE_HOT, change=freeze)


def with_backbone(module: Any) -> Any:
    inputs, backbone_in = module.Input((6, 6, 2)), module.Input((6, 6, 2))
    x = module.layers.Conv2D(4, 3, name="conv")(backbone_in)
    x = module.layers.Dropout(0.5)(module.layers.BatchNormalization(momentum=0.5, name="norm")(x))
    backbone = module.Model(backbone_in, x, name="backbone")
    x = module.layers.GlobalAveragePooling2D()(backbone(inputs, training=False))
    return module.Model(inputs, module.layers.Dense(3, activation="softmax")(x))


def test_a_frozen_backbone_in_inference_mode() -> None:
    """With its Dropout at 0 on both sides: Keras 3.15 drops all the same, see below."""

    def freeze(model: Any) -> None:
        backbone = model.get_layer("backbone")
        backbone.trainable = False
        next(layer for layer in backbone.layers if "dropout" in layer.name).rate = 0

    check_training(with_backbone, crossentropy, X, ONE_HOT, change=freeze)


def test_training_false_holds_in_fit() -> None:
    """As Keras documents and Keras 2 did. Keras 3.15 forgets it in fit: its operation_fn sets the mode of the whole model."""
    model = with_backbone(sl)
    model.compile("sgd", "categorical_crossentropy")
    norm, conv = (model.get_layer("backbone").get_layer(name) for name in ("norm", "conv"))
    before = norm.get_weights()[2:] + conv.get_weights()
    model.fit(X, ONE_HOT, epochs=1, verbose=0)
    after = norm.get_weights()[2:] + conv.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before[:2], after[:2], strict=True))  # the statistics
    assert not np.array_equal(before[2], after[2])  # the kernel is trained all the same


# --- several inputs and outputs ----------------------------------------------------------------------------------

PLACES = normal(RNG, 24, 4)
BOXES = normal(RNG, 24, 2)


def two_losses(module: Any) -> dict[str, Any]:
    return {"loss": ["categorical_crossentropy", "mse"]}


COMPILED = {
    "lists": {
        "loss": ["categorical_crossentropy", "mse"],
        "loss_weights": [1.0, 0.3],
        "metrics": [["accuracy"], ["mae"]],
    },
    "dicts": {
        "loss": {"kind": "categorical_crossentropy", "box": "mse"},
        "loss_weights": {"kind": 2.0, "box": 0.5},
        "metrics": {"kind": ["accuracy", "mse"], "box": "mae"},
    },
    "one loss": {"loss": "mse"},
    "metrics of one output": {"loss": ["categorical_crossentropy", "mse"], "metrics": {"box": ["mae"]}},
    "weighted": {"loss": ["mse", "mae"], "metrics": [["mse"], []], "weighted_metrics": [["mse"], ["mse"]]},
}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("as_dicts", [False, True])
def test_two_inputs_and_outputs(name: str, as_dicts: bool) -> None:
    x: Any = {"image": X, "place": PLACES} if as_dicts else [X, PLACES]
    y: Any = {"kind": ONE_HOT, "box": BOXES} if as_dicts else [ONE_HOT, BOXES]
    check_training(two_headed, lambda module: COMPILED[name], x, y)


def test_outputs_in_a_dict() -> None:
    y = {"kind": ONE_HOT, "box": BOXES}
    history = check_training(
        lambda module: two_headed(module, "dict"), lambda module: COMPILED["dicts"], [X, PLACES], y
    )
    assert {"loss", "kind_loss", "box_loss", "kind_accuracy", "box_mae"} <= history.keys()


def test_sample_weights_of_each_output() -> None:
    weights = {"kind": WEIGHTS, "box": WEIGHTS[::-1].copy()}
    y = {"kind": ONE_HOT, "box": BOXES}
    arguments = COMPILED["weighted dict"]
    check_training(
        lambda module: two_headed(module, "dict"), lambda module: arguments, [X, PLACES], y, sample_weight=weights
    )


COMPILED["weighted dict"] = {
    "loss": {"kind": "mse", "box": "mae"},
    "weighted_metrics": {"kind": ["mse"], "box": ["mae"]},
}


def test_one_sample_weight_for_all_outputs() -> None:
    check_training(two_headed, two_losses, [X, PLACES], [ONE_HOT, BOXES], sample_weight=WEIGHTS)


# --- shared and nested -------------------------------------------------------------------------------------------


def test_a_shared_layer_and_a_model_in_a_model() -> None:
    def build(module: Any) -> Any:
        layers = module.layers
        eye_in = module.Input((6, 6, 2))
        eye = module.Sequential(
            [eye_in, layers.Conv2D(3, 3, activation="relu"), layers.BatchNormalization()], name="eye"
        )
        left, right = module.Input((6, 6, 2)), module.Input((6, 6, 2))
        seen = layers.Subtract()([eye(left), eye(right)])
        dense = layers.Dense(4, activation="tanh", kernel_regularizer="l2")
        both = layers.Concatenate()([dense(layers.Flatten()(seen)), dense(layers.Flatten()(eye(right)))])
        return module.Model([left, right], layers.Dense(3, activation="softmax")(both))

    check_training(build, crossentropy, [X, X[::-1].copy()], ONE_HOT)


def test_a_model_of_a_part_and_what_a_layer_gave() -> None:
    ours, theirs = classifier(sl), classifier(keras)
    copy_weights(ours, theirs)
    parts = [
        module.Model(model.input, [model.get_layer("conv").output, model.get_layer(index=2).output, model.output])
        for module, model in ((sl, ours), (keras, theirs))
    ]
    for actual, expected in zip(parts[0].predict(X), parts[1].predict(X, verbose=0), strict=True):
        assert_close(actual, expected, "feature map", tolerance=1e-4)
    assert ours.get_layer("norm").input.shape == theirs.get_layer("norm").input.shape


def test_weights_have_the_order_and_layout_of_keras() -> None:
    for build in (classifier, two_headed):
        ours, theirs = build(sl), build(keras)
        assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
        assert ours.count_params() == theirs.count_params()
        for names in ("trainable_weights", "non_trainable_weights", "weights"):
            assert len(getattr(ours, names)) == len(getattr(theirs, names))
        given = [RNG.uniform(0.5, 1, w.shape).astype(np.float32) for w in theirs.get_weights()]
        for model in (ours, theirs):
            model.set_weights(given)
        for actual, expected in zip(ours.get_weights(), given, strict=True):
            assert np.array_equal(actual, expected)
        x = X if build is classifier else [X, PLACES]
        for actual, answer in zip(_listed(ours.predict(x)), _listed(theirs.predict(x, verbose=0)), strict=True):
            assert_close(actual, answer, "prediction", tolerance=1e-4)


# --- losses that read what stands before the activation ----------------------------------------------------------


@pytest.mark.parametrize("loss", ["binary_crossentropy", "binary_focal_crossentropy"])
def test_binary_losses_of_a_sigmoid(loss: str) -> None:
    def build(module: Any) -> Any:
        layers = [module.Input((6, 6, 2)), module.layers.Flatten(), module.layers.Dense(1, activation="sigmoid")]
        return module.Sequential(layers)

    arguments = {"loss": loss, "metrics": ["accuracy", "AUC"]}
    check_training(build, lambda module: arguments, X, (NUMBERS > 0).astype(np.float32))


def test_losses_of_maps_with_a_weight_for_each_place() -> None:
    def build(module: Any) -> Any:
        return module.Sequential([module.Input((6, 6, 2)), module.layers.Conv2D(3, 1, activation="softmax")])

    places = RNG.integers(0, 3, (24, 6, 6))
    weights = RNG.uniform(0, 2, (24, 6, 6)).astype(np.float32)
    arguments = {"loss": "sparse_categorical_crossentropy", "weighted_metrics": ["accuracy"]}
    check_training(build, lambda module: arguments, X, places, sample_weight=weights)


# --- the learning rate ---------------------------------------------------------------------------------------------


def test_a_learning_rate_schedule_counts_the_steps() -> None:
    ours, theirs = classifier(sl), classifier(keras)
    copy_weights(ours, theirs)
    losses = []
    for module, model in ((sl, ours), (keras, theirs)):
        schedule = module.optimizers.schedules.ExponentialDecay(0.1, decay_steps=2, decay_rate=0.5)
        model.compile(module.optimizers.SGD(schedule, momentum=0.5), "categorical_crossentropy")
        losses.append(model.fit(X, ONE_HOT, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"])
        assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5 ** (9 / 2), rel=1e-5)
    assert_near(losses[0], losses[1])


def test_steps_of_an_epoch_go_on_through_the_arrays() -> None:
    ours, theirs = classifier(sl), classifier(keras)
    copy_weights(ours, theirs)
    losses = []
    for model in (ours, theirs):
        model.compile("sgd", "categorical_crossentropy")
        fitted = model.fit(X, ONE_HOT, batch_size=8, steps_per_epoch=1, epochs=3, shuffle=False, verbose=0)
        losses.append(fitted.history["loss"])
    assert_near(losses[0], losses[1])
