"""fit, evaluate and predict: what they take, what they give, and what they refuse."""

import math
import warnings

import numpy as np
import pytest
import torch

import sightline as sl
from sightline import callbacks, layers
from sightline.errors import ArgumentError, DataError, ModelFileError, ShapeError, SightlineError


def small(**compiled):
    """A network of 4x4 images that tells which half is brighter, quickly."""
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", padding="same", input_shape=(4, 4, 1)),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    chosen = {"optimizer": sl.optimizers.Adam(0.01), "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**chosen | compiled)
    return model


def data(n=64, seed=0):
    x = np.random.default_rng(seed).random((n, 4, 4, 1), dtype=np.float32)
    return x, (x[:, :2].mean((1, 2, 3)) > x[:, 2:].mean((1, 2, 3))).astype(np.int64)


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_learns_and_measures_what_it_has_not_seen():
    model = small()
    history = model.fit(*data(256), validation_data=data(128, seed=1), epochs=12, verbose=0)
    assert history.epoch == list(range(12))
    assert history.history["val_accuracy"][-1] > 0.9
    assert history.history["loss"][-1] < history.history["loss"][0]


def numpy_nhwc(x, y):
    return (x, y), {"batch_size": 16}


def tensors_nchw(x, y):
    return (torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)), {"batch_size": 16}


def batches_in_a_list(x, y):
    return ([(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)],), {}


def data_loader(x, y):
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))
    return (torch.utils.data.DataLoader(pairs, batch_size=16),), {}


def endless_generator(x, y):
    def batches():
        while True:
            yield from batches_in_a_list(x, y)[0][0]

    return (batches(),), {"steps_per_epoch": 4}


def without_channel_axis(x, y):
    return (x[..., 0], y), {"batch_size": 16}


def double_precision(x, y):
    return (x.astype(np.float64), y.astype(np.int32)), {"batch_size": 16}


FORMS = [
    numpy_nhwc,
    tensors_nchw,
    batches_in_a_list,
    data_loader,
    endless_generator,
    without_channel_axis,
    double_precision,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_data_trains_the_same(form):
    x, y = data()
    reference, model = small(), small()
    reference.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    arguments, options = form(x, y)
    history = model.fit(*arguments, **options, epochs=2, shuffle=False, verbose=0)
    assert len(history.history["loss"]) == 2
    assert same(weights(reference), weights(model))


def test_a_user_s_pixels_are_never_scaled():
    seen = []
    model = sl.Sequential(
        [layers.Flatten(input_shape=(4, 4, 1)), layers.Activation(lambda x: seen.append(x) or x), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    model.fit(np.full((2, 4, 4, 1), 255, np.uint8), np.zeros((2, 1)), verbose=0)
    assert seen[-1].dtype == torch.float32
    assert torch.equal(seen[-1], torch.full((2, 16), 255.0))


def test_shuffling_is_drawn_from_the_seed():
    def trained(seed):
        model = small()
        sl.utils.set_random_seed(seed)
        model.fit(*data(), epochs=2, verbose=0)
        return weights(model)

    assert same(trained(1), trained(1))
    assert not same(trained(1), trained(2))


def test_validation_split_takes_the_end_and_does_not_train_on_it():
    x, y = data(40)
    model, reference = small(), small()
    split = model.fit(x, y, validation_split=0.25, epochs=2, shuffle=False, verbose=0)
    given = reference.fit(x[:30], y[:30], validation_data=(x[30:], y[30:]), epochs=2, shuffle=False, verbose=0)
    assert split.history == given.history


def test_evaluate_is_the_mean_over_samples_not_batches():
    x, y = data(50)
    model = small(metrics=["accuracy", sl.metrics.TopKCategoricalAccuracy(k=1, name="top")])
    loss, accuracy, top = model.evaluate(x, y, batch_size=16, verbose=0)
    p = model.predict(x)
    assert accuracy == top == (p.argmax(1) == y).mean()
    assert loss == pytest.approx(-np.log(p[np.arange(50), y]).mean(), rel=1e-5)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(
        {"loss": loss, "accuracy": accuracy, "top": top}
    )
    assert small(metrics=[]).evaluate(x, y, verbose=0) == pytest.approx(loss)


def test_evaluating_and_predicting_change_nothing():
    model = small()
    model.train()
    before, rng = weights(model), torch.get_rng_state()
    model.evaluate(*data(), verbose=0)
    model.predict(data()[0])
    assert same(before, weights(model))
    assert torch.equal(rng, torch.get_rng_state())
    assert model.training


def test_predict_gives_places_as_nhwc():
    model = sl.Sequential([layers.Conv2D(5, 3, padding="same", input_shape=(4, 6, 3))])
    assert model.predict(np.zeros((2, 4, 6, 3))).shape == (2, 4, 6, 5)
    assert model.predict(torch.zeros(2, 3, 4, 6)).shape == (2, 4, 6, 5)


def test_a_sequential_learns_its_shape_from_the_data():
    model = sl.Sequential([layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*data(), verbose=0)
    assert model.input_shape == (None, 4, 4, 1)


def test_layers_added_after_training_are_trained_too():
    model = sl.Sequential([layers.Flatten(input_shape=(4, 4, 1)), layers.Dense(4, activation="relu")])
    model.add(layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*data(), verbose=0)
    model.add(layers.Dense(2, activation="softmax", name="late"))
    before = weights(model)
    model.fit(*data(), verbose=0)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


# --- numerics ----------------------------------------------------------------------------------------------------


def test_softmax_and_crossentropy_are_computed_from_logits():
    """Logits of +-1000 have a probability of 0 in float32, whose log would be clipped; from logits the loss is exact."""
    model = sl.Sequential([layers.Dense(2, activation="softmax", use_bias=False, input_shape=(1,))])
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1000.0], [-1000.0]]))
    model.compile(sl.optimizers.SGD(0.0), "categorical_crossentropy", metrics=["accuracy"])
    x, y = np.ones((3, 1)), np.array([[0.0, 1.0]] * 3)
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(2000)
    assert model.fit(x, y, verbose=0).history["loss"] == [pytest.approx(2000)]
    assert model.fit(x, y, verbose=0).history["accuracy"] == [0.0]


@pytest.mark.parametrize("head", ["dense", "activation layer", "inside"])
def test_losses_with_and_without_the_fusion_agree(head):
    """Where the softmax is not the last layer's, probabilities are used as they are, and the values are the same."""
    torch.manual_seed(0)
    inputs = sl.Input((6,))
    if head == "dense":
        outputs = layers.Dense(3, activation="softmax")(inputs)
    else:
        outputs = layers.Activation("softmax")(layers.Dense(3)(inputs))
        outputs = layers.Rescaling(1.0)(outputs) if head == "inside" else outputs
    model = sl.Model(inputs, outputs)
    model.compile("sgd", "categorical_crossentropy")
    x, y = np.random.default_rng(0).random((8, 6)), np.eye(3)[np.arange(8) % 3]
    p = model.predict(x)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(-(y * np.log(p)).sum(1).mean(), rel=1e-5)


def test_a_head_without_softmax_is_pointed_out():
    model = sl.Sequential([layers.Dense(3, input_shape=(2,))])
    model.compile("sgd", "categorical_crossentropy")
    with pytest.warns(UserWarning, match="no softmax"):
        model.evaluate(np.ones((2, 2)), np.eye(3)[:2], verbose=0)
    model.compile("sgd", sl.losses.CategoricalCrossentropy(from_logits=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(np.ones((2, 2)), np.eye(3)[:2], verbose=0)


def test_batch_normalization_of_one_sample():
    layer = layers.BatchNormalization()
    layer.train()
    y = layer(torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(y, torch.zeros(1, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.03, -0.02]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.99, 0.99]))


def test_a_person_s_own_loss_and_metric():
    def distance(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    model = sl.Sequential([layers.Dense(2, input_shape=(3,))])
    model.compile("sgd", distance, metrics=[distance])
    history = model.fit(np.ones((8, 3)), np.zeros((8, 2)), epochs=2, verbose=0).history
    assert history["loss"] == pytest.approx(history["distance"])


# --- callbacks ---------------------------------------------------------------------------------------------------


def test_checkpoint_keeps_the_best(tmp_path):
    scores = iter([0.5, 0.9, 0.7])

    class Score(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_accuracy"] = next(scores)
            kept.append(weights(self.model))

    kept = []
    path = tmp_path / "best-{epoch:02d}-{val_accuracy:.1f}.sightline"
    keep = callbacks.ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
    small().fit(*data(), epochs=3, verbose=0, callbacks=[Score(), keep])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-01-0.5.sightline", "best-02-0.9.sightline"]
    assert same(weights(sl.load(tmp_path / "best-02-0.9.sightline")), kept[1])


def test_checkpoint_without_what_it_monitors(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "x.sightline", save_best_only=True)
    with pytest.raises(ArgumentError, match="validation_data"):
        small().fit(*data(), verbose=0, callbacks=[keep])


def test_scheduled_rates_are_used_and_logged():
    model = small()
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = model.fit(*data(), epochs=3, verbose=0, callbacks=[schedule]).history
    assert history["learning_rate"] == [0.005, 0.0025, 0.00125]
    model.optimizer.learning_rate = 0.0
    before = weights(model)
    model.fit(*data(), verbose=0)
    assert same(before, weights(model))


@pytest.mark.parametrize("rate", [-1.0, math.nan, math.inf, "0.1", None])
def test_a_schedule_must_return_a_rate(rate):
    with pytest.raises(ArgumentError, match="learning rate"):
        small().fit(*data(), verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda epoch: rate)])


def test_a_callback_sees_batches_and_stops_the_training():
    seen = []

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, sorted(logs), dict(logs)["loss"] > 0))

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    history = small().fit(*data(), batch_size=32, epochs=9, verbose=0, callbacks=Watch())
    assert history.epoch == [0, 1]
    assert seen == [(batch, ["accuracy", "loss"], True) for batch in (0, 1, 0, 1)]


def test_what_is_printed_in_a_pipe(capsys):
    small().fit(*data(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Epoch 2/2  ")
    assert "accuracy 0." in lines[1]
    small().fit(*data(), verbose=0)
    assert capsys.readouterr().out == ""


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x, y: m.fit(x.transpose(0, 3, 1, 2), y), "Expected: an array of shape .None, 4, 4, 1.*another order"),
        (lambda m, x, y: m.fit(x[:, :3], y), "Received: shape .1, 3, 4, 1"),
        (lambda m, x, y: m.fit(x, y[:5]), "as many samples"),
        (lambda m, x, y: m.fit(x[:0], y[:0]), "no sample"),
        (lambda m, x, y: m.fit(x, y[:, None, None]), "class numbers"),
        (lambda m, x, y: m.fit(x, np.eye(2)[y]), "categorical_crossentropy"),
        (lambda m, x, y: m.fit(x), "no targets"),
        (lambda m, x, y: m.fit(iter([(x, y)]), epochs=2), "steps_per_epoch"),
        (lambda m, x, y: m.fit([]), "empty"),
        (lambda m, x, y: m.fit([(x, y, y, y)]), "inputs, targets"),
        (lambda m, x, y: m.fit([(x, y)], y), "Leave y out"),
        (lambda m, x, y: m.fit(None), "This is no data"),
        (lambda m, x, y: m.fit(x, y, class_weight={0: 1.0}, sample_weight=np.ones(len(x))), "not both"),
        (lambda m, x, y: m.fit(x, y, class_weight=[1, 2]), "a dict of class numbers"),
        (lambda m, x, y: m.fit(x, y, class_weight={"0": 1.0}), "by their numbers"),
        (lambda m, x, y: m.fit(x, y, sample_weight="auto"), "Samples stand in an array"),
        (lambda m, x, y: m.fit(x, y.astype(str)), "Class names become numbers"),
        (lambda m, x, y: m.fit(x.astype(complex), y), "real numbers"),
        (lambda m, x, y: m.fit(x, y, callbacks=[1]), "callbacks.Callback"),
        (lambda m, x, y: m.fit(x, y, verbose="loud"), "verbose"),
        (lambda m, x, y: m.fit(x, y, steps_per_epoch=0), "number of steps"),
        (lambda m, x, y: m.compile("sgd", torch.nn.MSELoss()), "y_pred, y_true"),
        (lambda m, x, y: (m.compile("sgd", lambda t, p: 1.0), m.fit(x, y)), "must return a tensor"),
        (lambda m, x, y: m.save("a.keras", save_format="h5"), "suffix"),
        (lambda m, x, y: m.fit(x, y, epochs=0), "epochs"),
        (lambda m, x, y: m.fit(x, y, batch_size=0), "batch_size"),
        (lambda m, x, y: m.fit(x, y, validation_split=1.5), "share"),
        (lambda m, x, y: m.fit(np.array([["a"] * 4] * 64), y), "numbers"),
        (lambda m, x, y: m.compile("adamm", "mse"), '"adam"'),
        (lambda m, x, y: m.compile("adam", "mean_square_error"), '"mean_squared_error"'),
        (lambda m, x, y: m.compile("adam", "mse", metrics=["acuracy"]), '"accuracy"'),
        (lambda m, x, y: m.compile(sl.optimizers.Adam(learning_rate=-1)), "learning_rate"),
        (lambda m, x, y: sl.optimizers.Adam(lr=0.1), "'lr'"),
        (lambda m, x, y: m.compile("adam", "mse", jit_compile=True), "jit_compile"),
        (lambda m, x, y: sl.create("mnist_cnn").fit(x, y), "not compiled"),
        (lambda m, x, y: m.predict(np.zeros((2, 5, 5, 1))), "wrong shape"),
    ],
)  # fmt: skip
def test_mistakes_get_a_sentence(call, words):
    with pytest.raises(SightlineError, match=words):
        call(small(), *data())


def test_errors_are_also_python_s_own_kinds():
    assert issubclass(ShapeError, ValueError)
    assert issubclass(ArgumentError, ValueError)
    assert not issubclass(DataError, ValueError)


# --- habits that could go wrong without a word --------------------------------------------------------------------


class Head(layers.Layer):
    """A person's own last layer: it has an activation, and does more than its name says."""

    def __init__(self, activation="softmax", **common):
        super().__init__(**common)
        self.activation = activation
        self.modes = []

    def build(self, shape):
        self.weight = self.weight_of((2, *shape), "ones")

    def forward(self, x):
        self.modes.append(self.training)
        return torch.softmax(2 * (x @ self.weight.T) + x[:, :1] * torch.tensor([0.0, 1.0]), -1)


def test_an_own_last_layer_is_run_as_it_is():
    model = sl.Sequential([layers.Flatten(input_shape=(4, 4, 1)), Head()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = data(8)
    expected = -np.log(model.predict(x)[np.arange(8), y]).mean()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    model.layers[1].modes.clear()
    model.fit(x, y, verbose=0)
    assert model.layers[1].modes == [True]


def test_a_loss_of_a_subclass_gets_probabilities():
    class Focal(sl.losses.CategoricalCrossentropy):
        def call(self, y_true, y_pred):
            sums.append(y_pred.detach().sum(1))
            return super().call(y_true, y_pred)

    sums = []
    small(loss=Focal(), metrics=[]).fit(data(8)[0], np.eye(2)[data(8)[1]], verbose=0)
    torch.testing.assert_close(sums[0], torch.ones(8))


def test_hooks_see_the_network_that_is_trained():
    model, seen = small(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().sum(1)))
    model.fit(*data(8), verbose=0)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], torch.ones(8))


@pytest.mark.parametrize("how", ["layer", "model", "requires_grad", "argument", "nested"])
def test_frozen_weights_stay(how, tmp_path):
    frozen = layers.Conv2D(4, 3, input_shape=(4, 4, 1), trainable=how != "argument")
    norm = layers.BatchNormalization(trainable=how != "argument")
    base = sl.Sequential([frozen, norm])
    head = [layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = sl.Sequential([base, *head] if how == "nested" else [frozen, norm, *head])
    for part in (frozen, norm):
        if how == "layer":
            part.trainable = False
        elif how == "requires_grad":
            part.requires_grad_(False)
    if how == "nested":
        base.trainable = False
    if how == "model":
        model.trainable = False
        model.layers[-1].trainable = True
    model.compile("adam", "sparse_categorical_crossentropy")
    before = weights(base)
    model.fit(*data(), epochs=2, verbose=0)
    assert same(before, weights(base))
    assert torch.equal(norm.running_mean, torch.zeros(4)) == (how != "requires_grad")
    assert "Trainable params: 34" in model.summary(as_text=True)
    if how == "argument":
        model.save(tmp_path / "m.sightline")
        assert "Trainable params: 34" in sl.load(tmp_path / "m.sightline").summary(as_text=True)


def test_nothing_to_train_is_said():
    model = small()
    model.trainable = False
    with pytest.raises(SightlineError, match="no weights to train"):
        model.fit(*data(), verbose=0)


def test_a_frozen_torch_module_runs_in_inference_mode_and_is_not_unfrozen():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    module[0].requires_grad_(False)
    model = sl.Sequential([sl.Input((4,)), layers.Torch(module)])
    assert not module[0].weight.requires_grad
    assert module[1].weight.requires_grad
    model.layers[0].trainable = False
    model.train()
    assert not module[1].training


def test_bounded_epochs_go_on_where_the_last_one_stopped():
    class Steps(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append(batch)

    x, y = data(7)
    used = []

    class Batches(list):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                used.append(number)
                yield item

    seen = []
    small().fit(
        Batches([(x[i : i + 1], y[i : i + 1]) for i in range(7)]),
        steps_per_epoch=3,
        epochs=3,
        verbose=0,
        callbacks=Steps(),
    )
    assert used == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert seen == [0, 1, 2] * 3


def test_an_object_that_gives_its_batches_by_number():
    class Numbered:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return data(4, seed=i)

    model, reference = small(), small()
    model.fit(Numbered(), epochs=2, verbose=0)
    reference.fit([data(4, seed=i) for i in range(3)], epochs=2, verbose=0)
    assert same(weights(model), weights(reference))


def test_a_read_only_array_is_taken_without_a_warning():
    x, y = data(8)
    x.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert small().predict(x).shape == (8, 2)
        assert small().fit(x, y, shuffle=False, verbose=0).epoch == [0]


def test_plain_lists_are_data_too():
    x, y = data(8)
    model, reference = small(), small()
    model.fit(x.tolist(), y.tolist(), shuffle=False, verbose=0)
    reference.fit(x, y, shuffle=False, verbose=0)
    assert same(weights(model), weights(reference))


def test_the_logs_of_a_batch_cannot_be_read_when_they_are_others():
    kept = []

    class Keep(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(logs)

    small().fit(*data(), verbose=0, callbacks=Keep())
    with pytest.raises(SightlineError, match=r"dict\(logs\)"):
        kept[0]["loss"]


def test_metrics_of_one_name_are_numbered():
    top = [sl.metrics.TopKCategoricalAccuracy(k=k) for k in (1, 2)]
    history = small(metrics=[*top, "accuracy"]).fit(*data(), verbose=0).history
    assert list(history) == ["loss", "top_k_categorical_accuracy", "top_k_categorical_accuracy_1", "accuracy"]
    assert history["top_k_categorical_accuracy_1"] == [1.0]


def test_own_losses_see_targets_of_the_predictions_rank():
    model = sl.Sequential([layers.Dense(1, input_shape=(3,))])
    x, y = np.random.default_rng(0).random((6, 3)), np.arange(6.0)
    model.compile("sgd", lambda y_true, y_pred: (y_true - y_pred) ** 2)
    own = model.evaluate(x, y, verbose=0)
    model.compile("sgd", "mse")
    assert own == pytest.approx(model.evaluate(x, y, verbose=0))


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [0, -100, 1, 0], [0, 0.5, 1, 0]])
def test_labels_that_are_no_classes(labels):
    with pytest.raises(ArgumentError, match=r"Expected: whole numbers 0 \.\. 1"):
        small().fit(data(4)[0], np.array(labels), verbose=0)


def test_an_interrupted_fit_leaves_inference_mode():
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = small()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), verbose=0, callbacks=Stop())
    assert not model.training


def test_stopping_in_a_batch_stops_there():
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            self.model.stop_training = True
            seen.append(batch)

    seen = []
    small().fit(*data(), batch_size=8, epochs=3, verbose=0, callbacks=Stop())
    assert seen == [0]


def test_callbacks_written_with_required_logs():
    class Strict(callbacks.Callback):
        def on_train_begin(self, logs):
            seen.append(logs)

        def on_epoch_begin(self, epoch, logs):
            seen.append(logs)

        def on_train_end(self, logs):
            seen.append(sorted(logs))

    seen = []
    small().fit(*data(), verbose=0, callbacks=Strict())
    assert seen == [{}, {}, ["accuracy", "loss"]]


def test_a_callback_that_would_never_be_called_is_refused():
    class Tests(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None): ...

    with pytest.raises(ArgumentError, match="on_test_batch_end"):
        small().fit(*data(), verbose=0, callbacks=Tests())


def test_other_precisions(tmp_path):
    x, y = data(8)
    model = small().double()
    assert model.predict(x).dtype == np.float64
    model.fit(x, y, verbose=0)
    half = small().to(torch.bfloat16)
    half.save(tmp_path / "half.sightline")
    assert sl.load(tmp_path / "half.sightline").layers[0].weight.dtype == torch.bfloat16


def test_standard_subclasses_of_losses_and_metrics():
    class Distance(sl.losses.Loss):
        def __init__(self):
            super().__init__(name="distance")

        def call(self, y_true, y_pred):
            return (y_true - y_pred).abs().mean(-1)

    class Largest(sl.metrics.Metric):
        def __init__(self):
            super().__init__(name="largest")
            self.reset_state()

        def update_state(self, y_true, y_pred):
            self.value = torch.maximum(self.value, y_pred.max())

        def result(self):
            return self.value

        def reset_state(self):
            self.value = torch.tensor(0.0)

    model = small(loss=Distance(), metrics=[Largest()])
    x, y = data(8)
    history = model.fit(x, np.eye(2)[y], verbose=0).history
    assert 0.5 <= history["largest"][0] <= 1
    assert isinstance(history["largest"][0], float)


def test_a_model_called_on_an_array_is_told_what_to_call():
    with pytest.raises(ShapeError, match="predict"):
        small()(data(2)[0])


def test_a_weight_in_two_places_is_not_saved_as_two(tmp_path):
    shared = layers.Dense(4)
    inner = sl.Sequential([sl.Input((4,)), shared])
    inputs = sl.Input((4,))
    model = sl.Model(inputs, shared(inner(inputs)))
    with pytest.raises(ModelFileError, match="both layers"):
        model.save(tmp_path / "m.sightline")


def test_fewer_steps_than_there_are_batches_go_on_where_they_stopped():
    """As in Keras: parity in tests/parity/test_fit.py."""
    model = sl.Sequential([sl.Input((1,)), sl.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(sl.optimizers.SGD(0.0), "mae")
    x = np.arange(6, dtype=np.float32)[:, None]
    history = model.fit(x, 0 * x, batch_size=2, steps_per_epoch=2, epochs=3, shuffle=False, verbose=0).history
    assert history["loss"] == [1.5, 2.5, 3.5]  # batches 1 2, 3 1, 2 3
    assert model.evaluate(x, 0 * x, batch_size=2, steps=1, verbose=0) == model.evaluate(x[:2], 0 * x[:2], verbose=0)


def test_a_generator_that_ends_early_is_told():
    model = small()
    x, y = data(16)
    with pytest.warns(UserWarning, match="ended after 1 of the 3 steps of epoch 1"):
        model.fit(iter([(x, y)]), steps_per_epoch=3, epochs=1, verbose=0)


def test_a_sequential_without_a_shape_is_built_by_what_it_predicts():
    model = sl.Sequential([sl.layers.Flatten(), sl.layers.Dense(2)])
    assert model.predict(np.zeros((3, 4, 4, 1))).shape == (3, 2)
    assert model.input_shape == (None, 4, 4, 1)


def test_class_numbers_of_any_width_and_models_in_bfloat16():
    model = small()
    x, y = data(8)
    for kind in (np.uint8, np.uint16, np.uint64, np.int8):
        model.fit(x, y.astype(kind), verbose=0)
    model.to(torch.bfloat16)
    assert {weight.dtype for weight in map(np.asarray, model.get_weights())} == {np.dtype("float32")}
