"""Batches in parts are the same training; where memory runs out in a step nothing is lost and nothing is done twice."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline as sl
from sightline import layers
from sightline.callbacks import Callback
from sightline.errors import ArgumentError, SightlineError
from sightline.training.batches import as_batches
from sightline.training.faults import VARIABLE, Faults
from sightline.training.parts import bounds, in_parts
from sightline.training.ports import ports_of
from sightline.training.recovery import out_of_memory

RNG = np.random.default_rng(0)


def network(norm=False, seed=None, classes=3):
    torch.manual_seed(0)
    parts = [
        sl.Input((8, 8, 3)),
        layers.RandomFlip(seed=seed),
        layers.RandomRotation(0.1, seed=seed),
        layers.RandomContrast(0.3, value_range=(0, 1), seed=seed),
        layers.Conv2D(6, 3, padding="same", activation="relu", kernel_regularizer="l2"),
        layers.SpatialDropout2D(0.3, seed=seed),
        layers.MaxPooling2D(),
        *([layers.BatchNormalization()] if norm else []),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Dropout(0.4, seed=seed),
        layers.Flatten(),
        layers.Dropout(0.2, noise_shape=(None, 1), seed=seed),
        layers.Dense(classes, activation="softmax"),
    ]
    return sl.Sequential(parts)


def data(n=37, classes=3):
    rng = np.random.default_rng(1)
    return rng.random((n, 8, 8, 3), dtype=np.float32), rng.integers(0, classes, n)


def compiled(model, optimizer=None, **more):
    more = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "precision": "float32"} | more
    model.compile(optimizer or sl.optimizers.SGD(0.05, momentum=0.9), **more)
    return model


def fitted(model, x, y, epochs=3, **more):
    torch.manual_seed(3)
    history = model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, **more)
    return history.history, [tensor.clone() for tensor in model.state_dict().values()]


# --- parts -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(1, 12))
def test_parts_are_even_and_in_order(count, parts):
    found = bounds(count, parts)
    assert [i for start, end in found for i in range(start, end)] == list(range(count))
    sizes = [end - start for start, end in found]
    assert len(found) == parts
    assert max(sizes) - min(sizes) <= 1


LOSSES = {
    "classes": lambda: sl.losses.SparseCategoricalCrossentropy(),
    "some ignored": lambda: sl.losses.SparseCategoricalCrossentropy(ignore_class=1),
    "by weight": lambda: sl.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
    "by weight, some ignored": lambda: sl.losses.SparseCategoricalCrossentropy(
        ignore_class=1, reduction="mean_with_sample_weight"
    ),
    "summed": lambda: sl.losses.SparseCategoricalCrossentropy(reduction="sum"),
    "a function": lambda: lambda true, said: (said - true.reshape(-1, 1).to(said.dtype)).abs().mean(1),
    "one number": lambda: lambda true, said: (said - true.reshape(-1, 1).to(said.dtype)).abs().mean(),
}


def gradients(model, batch, parts):
    step = model._step("fit", update=True)
    step.parts = parts
    torch.manual_seed(5)
    for module in model.modules():
        for name in getattr(module, "counters", ()):
            setattr(module, name, 0)
    model.train()
    step.optimizer.zero_grad()
    loss = step._computed(batch, step._in_training(), step.numerics.backward)
    grads = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    return loss, grads, step.result(), torch.get_rng_state()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", [None, 4])
def test_gradients_loss_metrics_and_draws_of_parts_are_the_batchs(loss, weighted, seed):
    model = compiled(
        network(seed=seed).double(), loss=LOSSES[loss](), metrics=["accuracy"], weighted_metrics=["accuracy"]
    )
    x, y = data(7)
    weights = np.random.default_rng(2).random(7) if weighted and loss != "one number" else None
    batch = next(as_batches((x, y, weights), ports_of(model), batch_size=7).epoch(0))
    whole_loss, whole, logs, state = gradients(model, batch, 1)
    for parts in (2, 3, 7, 20):
        loss_now, grads, logs_now, state_now = gradients(model, batch, parts)
        torch.testing.assert_close(loss_now, whole_loss, rtol=1e-9, atol=1e-12, check_dtype=False)
        torch.testing.assert_close(grads, whole, rtol=1e-9, atol=1e-12)
        assert logs_now == pytest.approx(logs, rel=1e-6)
        assert torch.equal(state, state_now)


def test_maps_and_several_outputs_in_parts():
    torch.manual_seed(0)
    inputs = sl.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    places = layers.Conv2D(4, 1, activation="softmax", name="places")(x)
    number = layers.Dense(1, name="number")(layers.GlobalAveragePooling2D()(x))
    model = sl.Model(inputs, [places, number]).double()
    model.compile(
        "sgd",
        loss=[sl.losses.SparseCategoricalCrossentropy(ignore_class=3), "mse"],
        loss_weights=[1.0, 0.3],
        metrics=[["accuracy"], ["mae"]],
    )
    x = RNG.random((6, 6, 6, 2))
    y = [RNG.integers(0, 4, (6, 6, 6)), RNG.random((6, 1))]
    y[0][:3] = 3  # a part in which nothing counts
    for weights in (None, [RNG.random((6, 6, 6)), RNG.random(6)]):
        batch = next(as_batches((x, y, weights), ports_of(model), batch_size=6).epoch(0))
        whole_loss, whole, logs, _ = gradients(model, batch, 1)
        for parts in (2, 4):
            loss, grads, logs_now, _ = gradients(model, batch, parts)
            torch.testing.assert_close(loss, whole_loss, rtol=1e-9, atol=1e-12, check_dtype=False)
            torch.testing.assert_close(grads, whole, rtol=1e-9, atol=1e-12)
            assert logs_now == pytest.approx(logs, rel=1e-6)


def test_a_part_is_a_view_with_its_place():
    model = compiled(network())
    batch = next(as_batches((*data(7), None), ports_of(model), batch_size=7).epoch(0))
    first, second = in_parts(batch, 2)
    assert (first.size, first.first, first.whole) == (4, 0, 7)
    assert (second.size, second.first, second.whole) == (3, 4, 7)
    assert second.inputs[0].data_ptr() == batch.inputs[0][4:].data_ptr()
    assert [part.first for part in in_parts(second, 2)] == [4, 6]


def test_recomputed_parts_of_a_network_draw_for_their_rows():
    model = network()
    part = ("conv2d", "spatial_dropout2d", "max_pooling2d", "conv2d_1", "dropout", "flatten")
    lighter = sl.rewrite.recompute(model, [part])
    x, y = data(7)
    found = []
    for each in (model, lighter):
        compiled(each.double())
        batch = next(as_batches((x, y, None), ports_of(each), batch_size=7).epoch(0))
        found.append(gradients(each, batch, 3)[1])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


# --- out of memory, on purpose -------------------------------------------------------------------------------------


class InParts(Callback):
    """Sets the parts of a training from a step on."""

    def __init__(self, step, parts):
        self.step, self.parts = step, parts

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations >= self.step:
            self.training.step.parts = max(self.parts, self.training.step.parts)


def operations_in_a_step():
    """How many operations the steps below have."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            Count.n += 1
            return func(*args, **(kwargs or {}))

    model = compiled(network())
    model.fit(*data(8), batch_size=8, verbose=0)
    with Count():
        model.fit(*data(8), batch_size=8, verbose=0)
    return Count.n


@pytest.mark.parametrize("seed", [None, 9])
def test_memory_runs_out_at_random_places(monkeypatch, seed):
    """Twenty in all, at any operation of forward and backward; the training is the undisturbed one's, step by step."""
    x, y = data()
    undisturbed, expected = fitted(compiled(network(seed=seed)), x, y)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        where = f"oom@{rng.integers(0, 15)}.{rng.integers(0, 90)}"
        monkeypatch.setenv(VARIABLE, where)
        model = compiled(network(seed=seed))
        history, found = fitted(model, x, y)
        assert model.optimizer.iterations == 15, where
        assert model._compiled is not None
        for name, values in undisturbed.items():
            assert history[name] == pytest.approx(values, abs=1e-5), where
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_memory_runs_out_again_and_again(monkeypatch, capsys):
    x, y = data()
    _, expected = fitted(compiled(network()), x, y)
    monkeypatch.setenv(VARIABLE, "oom@2.5,oom@2.30,oom@9")
    _, found = fitted(compiled(network()), x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    said = capsys.readouterr().out
    assert said.count("begins again") == 3
    assert "in 5 parts from now on" in said.replace("\n", " ")  # step 9 has the last 5 samples of an epoch


@pytest.mark.parametrize("place", ["0", "0.170", "3", "3.4", "3.25", "3.50", "3.70"])
def test_all_is_put_back_to_the_steps_start(monkeypatch, place):
    """To the bit as if the step had been computed in two parts at once, moving statistics and metrics included.

    The first step has some 185 operations on Intel's processors, more on AMD's.
    """
    x, y = data()
    _, expected = fitted(compiled(network(norm=True, seed=2)), x, y, callbacks=[InParts(int(float(place)), 2)])
    monkeypatch.setenv(VARIABLE, f"oom@{place}")
    model = compiled(network(norm=True, seed=2))
    _, found = fitted(model, x, y)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    monkeypatch.delenv(VARIABLE)
    _, whole = fitted(compiled(network(norm=True, seed=2)), x, y)
    assert not all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))  # the check can fail


def test_the_places_above_lie_within_a_step():
    assert operations_in_a_step() > 90


class Wanders(layers.Layer):
    """Draws from NumPy and Python, and replaces its buffer."""

    def __init__(self, **common):
        super().__init__(**common)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        if self.training and not x.is_meta:
            self.steps = self.steps + 1
            x = x * float(np.random.uniform(0.9, 1.1)) * random.uniform(0.9, 1.1)
        return x


class Counted(sl.metrics.Metric):
    """Counts in an array, in place."""

    def __init__(self, name="counted"):
        super().__init__(name)
        self.reset_state()

    def reset_state(self):
        self.rows = np.zeros(1)

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.rows += len(y_true)

    def result(self):
        return float(self.rows[0])


def test_what_layers_and_metrics_of_ones_own_keep_is_put_back_too(monkeypatch):
    def trained():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        model = sl.Sequential([sl.Input((8, 8, 3)), Wanders(), layers.Flatten(), layers.Dense(3, activation="softmax")])
        # A part of one row is one as well, and the layer draws once for each: all begin with the first batch
        return fitted(compiled(model, metrics=[Counted()]), *data(8), epochs=1)

    monkeypatch.setenv(VARIABLE, "oom@0.30")
    history, found = trained()
    monkeypatch.delenv(VARIABLE)
    assert history["counted"] == [8.0]
    assert found[0] == 2  # the two parts of one step


def test_what_it_changes_for_batch_normalization_is_said(monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "oom@1.3")
    fitted(compiled(network(norm=True)), *data(), epochs=1)
    said = " ".join(capsys.readouterr().out.split())
    assert "Memory ran out in step 2" in said
    assert "its 1 layers of BatchNormalization now average over each part" in said


def test_parts_are_kept_in_a_checkpoint(monkeypatch, tmp_path):
    x, y = data()
    kept = sl.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    monkeypatch.setenv(VARIABLE, "oom@1.3")
    _, through = fitted(compiled(network(norm=True)), x, y, epochs=4)
    fitted(compiled(network(norm=True)), x, y, epochs=2, callbacks=[kept])
    monkeypatch.delenv(VARIABLE)
    _, resumed = fitted(compiled(network(norm=True)), x, y, epochs=4, callbacks=[kept])
    assert all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True))


def test_not_enough_for_one_sample(monkeypatch):
    monkeypatch.setenv(VARIABLE, ",".join(["oom@0"] * 9))
    with pytest.raises(SightlineError, match=r"ran out in step 1 for one sample.*smaller images"):
        compiled(network()).fit(*data(8), batch_size=8, verbose=0)


def test_an_update_that_is_half_done_is_not_done_again(monkeypatch):
    model = compiled(network())

    def fails(*arguments):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(model.optimizer, "_update", fails)
    with pytest.raises(SightlineError, match=r"middle of the update of step 1.*checkpoint"):
        model.fit(*data(8), batch_size=8, verbose=0)


def test_other_errors_are_not_caught(monkeypatch):
    model = compiled(network())

    def fails(*arguments):
        raise RuntimeError("something else")

    monkeypatch.setattr(model.optimizer, "_update", fails)
    with pytest.raises(RuntimeError, match="something else"):
        model.fit(*data(8), batch_size=8, verbose=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adagrad"])
def test_the_optimizer_has_its_state_before_the_first_update(optimizer):
    options = {"sgd": {"momentum": 0.9}, "adam": {"amsgrad": True}, "rmsprop": {"momentum": 0.5, "centered": True}}
    chosen = sl.optimizers.OPTIMIZERS[optimizer](0.01, **options.get(optimizer, {}))
    layer = torch.nn.Linear(3, 2)
    chosen.bind(layer.parameters())
    chosen.make_state()
    before = {name: [slot.data_ptr() for slot in slots.values()] for name, slots in chosen._state.items()}
    layer(torch.ones(1, 3)).sum().backward()
    chosen.step()
    assert before
    assert before == {name: [slot.data_ptr() for slot in slots.values()] for name, slots in chosen._state.items()}


def test_faults_are_read_from_the_environment():
    faults = Faults("oom@3,oom@3.7, oom@5")
    assert [type(faults.around(step)).__name__ for step in (0, 3, 3, 3, 5)] == [
        "nullcontext", "_OutOfMemory", "_OutOfMemory", "nullcontext", "_OutOfMemory",
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match=VARIABLE):
        Faults("oom at 3")


def test_what_counts_as_out_of_memory():
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(torchs.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("shapes do not match"))
    assert not out_of_memory(ValueError("not enough memory"))


# --- asking ----------------------------------------------------------------------------------------------------------


class AtMost(layers.Layer):
    """A layer that has memory for so many rows."""

    def __init__(self, rows, **common):
        super().__init__(**common)
        self.rows, self.seen = rows, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.rows:
            raise torch.OutOfMemoryError("too many rows")
        return x * 1


def limited(rows):
    torch.manual_seed(0)
    narrow = AtMost(1000)
    model = sl.Sequential([sl.Input((8, 8, 3)), narrow, layers.Flatten(), layers.Dense(3, activation="softmax")])
    narrow.rows, narrow.seen = rows, []
    return narrow, compiled(model, weighted_metrics=["accuracy"])


def test_prediction_goes_on_in_smaller_bites():
    x, _ = data(37)
    _, free = limited(1000)
    narrow, model = limited(3)
    np.testing.assert_allclose(model.predict(x, batch_size=16), free.predict(x, batch_size=16), rtol=1e-6)
    assert narrow.seen[:4] == [16, 8, 4, 2], narrow.seen  # halved from there on, and no more asked for
    assert max(narrow.seen[4:]) == 2
    assert sum(rows for rows in narrow.seen if rows <= 3) == 37  # each row once
    with pytest.raises(SightlineError, match="one sample at a time"):
        limited(0)[1].predict(x)


def test_evaluation_counts_every_sample_once():
    x, y = data(37)
    weights = np.random.default_rng(3).random(37).astype(np.float32)
    _, free = limited(1000)
    narrow, model = limited(3)
    for sample_weight in (None, weights):
        expected = free.evaluate(x, y, batch_size=16, sample_weight=sample_weight, verbose=0)
        assert model.evaluate(x, y, batch_size=16, sample_weight=sample_weight, verbose=0) == pytest.approx(expected)
    assert max(narrow.seen) == 16
    with pytest.raises(SightlineError, match="one sample at a time"):
        limited(0)[1].evaluate(x, y, verbose=0)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 9), st.integers(1, 20))
def test_training_with_any_limit_is_the_same_training(rows, batch_size):
    x, y = data(20)
    _, free = limited(1000)
    _, model = limited(rows)
    for each in (free, model):
        torch.manual_seed(0)
        each.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, validation_data=(x, y))
    torch.testing.assert_close(model.get_weights(), free.get_weights(), rtol=0, atol=1e-5)
