"""The learning-rate finder: what it reads from a curve, that it leaves no trace, and that its rate is a good one."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, DataError, SightlineError
from sightline.optimizers import schedules
from sightline.training import lr_finder
from sightline.training.step import Step


def small(optimizer=None, loss="sparse_categorical_crossentropy"):
    """A network of 4x4 images with everything in it that a training changes."""
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            layers.Conv2D(8, 3, padding="same", input_shape=(4, 4, 1)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.2, seed=3),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer or sl.optimizers.Adam(0.01), loss, metrics=["accuracy"], precision="float32")
    return model


def data(n=64):
    """Noise whose upper half is brighter in every other image."""
    x, y = np.random.default_rng(0).random((n, 4, 4, 1), dtype=np.float32), np.arange(n) % 2
    x[y == 1, :2] += 1
    return x, y


def find(model, *given, **arguments):
    return sl.lr_find(model, *(given or data()), **{"verbose": 0, "steps": 60, "start": 1e-5} | arguments)


# --- what it reads from a curve ---------------------------------------------------------------------------------------


def curve(steps=100, middle=0.6, width=0.05):
    """Rates from 1e-5 to 1 and a loss that falls from 2 to 1 along a logistic curve, and rises after 0.9."""
    at = np.linspace(0, 1, steps)
    loss = 2 - 1 / (1 + np.exp(-(at - middle) / width)) + 20 * np.maximum(at - 0.9, 0) ** 2
    return np.geomspace(1e-5, 1, steps), loss


@pytest.mark.parametrize("middle", [0.3, 0.5, 0.7])
def test_the_steepest_is_where_the_curve_bends(middle):
    rates, loss = curve(101, middle)
    assert rates[lr_finder.steepest(loss)] == pytest.approx(10 ** (-5 + 5 * middle), rel=1e-6)


def test_the_valley_is_two_thirds_down_a_slope_behind_a_plateau():
    plateau, slope, rise = np.full(40, 2.0), 2 - np.arange(1, 31) / 30, np.linspace(1.1, 5, 20)
    assert lr_finder.valley(np.concatenate([plateau, slope, rise])) == 39 + 20


def test_a_bump_on_the_way_down_ends_no_valley():
    loss = 2 - np.arange(90) / 60
    smooth, loss[40:43] = lr_finder.valley(loss), 1.9
    assert abs(lr_finder.valley(loss) - smooth) <= 2


@pytest.mark.parametrize("seed", range(10))
def test_the_valley_lies_on_the_slope_of_a_curve_that_trembles(seed):
    rates, loss = curve(200)  # it falls from 1e-3 to 1e-1
    trembling = loss + np.random.default_rng(seed).normal(0, 0.05, 200)
    assert 1e-3 < rates[lr_finder.valley(lr_finder.smooth(trembling))] < 1e-1


def longest_descent(values):
    """(where it first ends, its length), by trying all pairs."""
    lengths = []
    for i, value in enumerate(values):
        lengths.append(1 + max((lengths[j] for j in range(i) if values[j] > value), default=0))
    return int(np.argmax(lengths)), max(lengths)


CURVES = st.lists(st.integers(-40, 40), min_size=3, max_size=60).map(lambda values: np.array(values, float))


@settings(max_examples=100, deadline=None)
@given(CURVES)
def test_the_longest_valley_is_found(values):
    first = len(values) // 10
    end, length = longest_descent(values[first : lr_finder.lowest(values) + 1])
    assert lr_finder.valley(values) == first + end - round((length - 1) / 3)


@settings(max_examples=100, deadline=None)
@given(CURVES, st.integers(-1000, 1000), st.sampled_from([0.25, 1.0, 8.0, 1024.0]))  # exact in floating point
def test_neither_height_nor_unit_of_the_loss_changes_what_is_found(values, shift, scale):
    rates = np.geomspace(1e-6, 1, len(values))
    before, after = (lr_finder.LearningRateSweep(rates, v, v) for v in (values, (values + shift) * scale))
    assert (before.steepest, before.valley, before.suggestion) == (after.steepest, after.valley, after.suggestion)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.01, 100))
def test_nor_does_it_for_losses_that_tremble(seed, shift, scale):
    rates, loss = curve(120)
    loss = loss + np.random.default_rng(seed).normal(0, 0.05, 120)
    sweeps = [lr_finder.LearningRateSweep(rates, v, lr_finder.smooth(v)) for v in (loss, shift + scale * loss)]
    assert sweeps[0].suggestion == pytest.approx(sweeps[1].suggestion, rel=1e-9)
    assert sweeps[0].steepest == sweeps[1].steepest
    assert lr_finder.falls(sweeps[0].losses)
    assert lr_finder.falls(sweeps[1].losses)


def test_smoothing_weighs_each_loss_by_its_age():
    losses = np.random.default_rng(0).random(30)
    ages = np.arange(30)[::-1]
    expected = np.average(losses, weights=lr_finder.MEMORY**ages)
    assert lr_finder.smooth(losses)[-1] == pytest.approx(expected)
    assert lr_finder.smooth(losses)[0] == pytest.approx(losses[0])
    assert lr_finder.smooth(np.full(9, 2.5)) == pytest.approx(np.full(9, 2.5))


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([2.0] * 20, 20),
        ([2.0] * 10 + [np.nan, 1.0], 10),
        ([2.0] * 10 + [np.inf, 1.0], 10),
        ([2.0] * 10 + [3.0] * 10, 20),  # higher, and no divergence
        ([2.0] * 10 + [1e6, 2.0], 10),
        ([np.nan, 2.0], 0),
        ([], 0),
        ([-2.0] * 10 + [-1.0] * 10, 20),
        ([-2.0] * 10 + [1e6, 2.0], 10),
        ([1.0] * 20 + [0.0] * 200 + [0.01] * 5, 225),  # its best is about 0: that is no divergence
    ],
)
def test_where_a_loss_diverges(losses, steps):
    assert lr_finder.steps_before_divergence(np.array(losses)) == steps


@pytest.mark.parametrize("n", [20, 50, 100, 200])
def test_trembling_alone_is_seldom_a_fall(n):
    generator = np.random.default_rng(0)
    rise = np.maximum(np.arange(n) / n - 0.5, 0)
    assert sum(lr_finder.falls(2 + rise + generator.normal(0, 0.1, n)) for _ in range(100)) <= 10
    assert sum(lr_finder.falls(2 - rise + generator.normal(0, 0.05, n)) for _ in range(100)) >= 98


@pytest.mark.parametrize(
    "losses", [[], [2.0], [2.0, 1.0], [2.0] * 50, [0.0] * 50, range(50), [0.1 * 3] * 40 + [0.3] * 10]
)
def test_what_does_not_fall(losses):
    assert not lr_finder.falls(np.array(losses, dtype=float))


# --- the sweep --------------------------------------------------------------------------------------------------------


def line(name="line"):
    """A linear model with a squared error, which diverges at great rates, and its data."""
    torch.manual_seed(0)
    model = sl.Sequential([layers.Flatten(input_shape=(4, 4, 1)), layers.Dense(1)], name=name)
    model.compile(sl.optimizers.SGD(0.1), "mse", precision="float32")
    x, y = data()
    return model, x, y.astype(np.float32) * 5


def test_the_rates_grow_by_one_factor_and_the_loss_diverges():
    found = find(*line(), end=1e4, steps=120)
    assert found.rates[0] == 1e-5
    assert found.rates[1:] / found.rates[:-1] == pytest.approx(np.full(len(found.rates) - 1, 1e9 ** (1 / 119)))
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 120
    assert np.isfinite(found.losses).all()
    assert 1e-5 < found.suggestion < found.rates[np.argmin(found.smoothed)]


def test_the_rates_are_those_of_the_updates():
    """One step at a rate of plain SGD moves the weights by rate * gradient: two sweeps part at the second loss."""
    x, y = data(32)
    slow = find(small(sl.optimizers.SGD(0.1)), x, y, start=1e-9, shuffle=False)
    fast = find(small(sl.optimizers.SGD(0.1)), x, y, start=0.1, end=0.3, shuffle=False)
    assert slow.losses[0] == fast.losses[0]
    assert slow.losses[5] > fast.losses[5] + 0.02


def everything(model):
    """All that may not change, as one nested value."""
    state = {f"weight {name}": tensor.clone() for name, tensor in model.state_dict().items()}
    state |= {f"mode {name}": part.training for name, part in model.named_modules()}
    state |= {f"gradient {name}": p.grad for name, p in model.named_parameters()}
    state |= {f"counter {name}": getattr(part, "draws", None) for name, part in model.named_modules()}
    optimizer = model.optimizer
    own = optimizer.state_dict()
    state |= {f"slot {kind} {n}": t.clone() for kind, slots in own["state"].items() for n, t in slots.items()}
    state |= {"rate": optimizer.get_config()["learning_rate"], "iterations": optimizer.iterations}
    state |= {"accuracy": float(model._compiled.metrics[0].result()), "torch": torch.get_rng_state()}
    return state | {"python": random.getstate(), "numpy": str(np.random.get_state())}


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, torch.Tensor) and not name.startswith("gradient"):
            assert torch.equal(value, after[name]), name
        else:
            assert value is after[name] or value == after[name], name


class Breaks(sl.losses.SparseCategoricalCrossentropy):
    """A loss that raises at a certain call."""

    left = None
    error = RuntimeError

    def call(self, y_true, y_pred):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise self.error("on purpose")
        return super().call(y_true, y_pred)


OPTIMIZERS = {
    "adam": lambda: sl.optimizers.Adam(0.01),
    "momentum": lambda: sl.optimizers.SGD(0.01, momentum=0.9),
    "schedule": lambda: sl.optimizers.Adam(schedules.ExponentialDecay(0.01, 4, 0.5)),
    "function": lambda: sl.optimizers.RMSprop(lambda: 0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_afterwards_all_is_as_before(optimizer):
    model = small(optimizer())
    model.fit(*data(), epochs=2, verbose=0)
    model.layers[1].train()  # modes are each part's own
    before = everything(model)
    found = find(model)
    assert_same(before, everything(model))
    assert len(found.losses) > 20


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", [0, 17])
def test_after_an_error_all_is_as_before(error, calls):
    loss = Breaks()
    model = small(sl.optimizers.Adam(schedules.ExponentialDecay(0.01, 4, 0.5)), loss)
    model.fit(*data(), epochs=2, verbose=0)
    before = everything(model)
    loss.left, loss.error = calls, error
    with pytest.raises(error, match="on purpose"):
        find(model)
    assert_same(before, everything(model))


@pytest.mark.parametrize("epochs_before", [0, 2])
def test_a_training_goes_on_as_if_there_had_been_no_sweep(epochs_before):
    trained = []
    for sweeps in (False, True):
        model = small()
        if epochs_before:
            model.fit(*data(), epochs=epochs_before, verbose=0)
        if sweeps:
            find(model)
        history = model.fit(*data(), epochs=3, verbose=0).history
        trained.append((history, [p.detach().clone() for p in model.parameters()], model.optimizer.iterations))
    (history, weights, iterations), (same_history, same_weights, same_iterations) = trained
    assert history == same_history
    assert iterations == same_iterations
    assert all(torch.equal(a, b) for a, b in zip(weights, same_weights, strict=True))


@pytest.mark.parametrize(("precision", "swept_in"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_the_precision_is_the_one_asked_for(monkeypatch, precision, swept_in):
    monkeypatch.delenv("SIGHTLINE_PRECISION", raising=False)
    model, x, y = line()
    model.compile(sl.optimizers.SGD(0.1), "mse", precision=precision)
    seen, train = set(), Step.train

    def watched(self, batch):
        seen.add((self.numerics.precision, model.training))
        return train(self, batch)

    monkeypatch.setattr(Step, "train", watched)
    model.eval()
    find(model, x, y)
    assert seen == {(swept_in, True)}
    assert model._compiled.precision == precision


def test_a_model_that_was_never_built_is_built():
    model = sl.Sequential([layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile(sl.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    assert len(find(model).rates) > 20
    assert model.built
    assert model.optimizer.iterations == 0


def as_arrays(x, y):
    return (x, y), {"batch_size": 16}


def as_tensors(x, y):
    return (torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)), {"batch_size": 16}


def as_list(x, y):
    return ([(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)],), {}


def as_loader(x, y):
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))
    return (torch.utils.data.DataLoader(pairs, batch_size=16),), {}


def as_endless_generator(x, y):
    def batches():
        while True:
            yield from as_list(x, y)[0][0]

    return (batches(),), {}


def as_weighted(x, y):
    return (x, y), {"batch_size": 16, "sample_weight": np.ones(len(x))}


@pytest.mark.parametrize(
    "form", [as_arrays, as_tensors, as_list, as_loader, as_endless_generator, as_weighted], ids=lambda f: f.__name__
)
def test_every_form_of_data_gives_the_same_sweep(form):
    given, arguments = form(*data())
    found = find(small(), *given, shuffle=False, **arguments)
    expected = find(small(), *data(), shuffle=False, batch_size=16)
    assert len(found.losses) > 20  # more than the four batches that there are
    assert found.losses == pytest.approx(expected.losses, rel=1e-4)


def test_class_weights_are_the_weights_of_samples():
    x, y = data()
    by_class = find(small(), x, y, class_weight={0: 1.0, 1: 5.0})
    by_sample = find(small(), x, y, sample_weight=np.where(y == 1, 5.0, 1.0))
    assert by_class.losses == pytest.approx(by_sample.losses, rel=1e-5)
    assert by_class.losses[0] != pytest.approx(find(small(), x, y).losses[0], rel=0.1)


def test_several_inputs_and_outputs():
    a, b = layers.Input((4, 4, 1), name="a"), layers.Input((3,), name="b")
    both = layers.Concatenate()([layers.Flatten()(a), b])
    model = sl.Model(
        [a, b], [layers.Dense(2, activation="softmax", name="kind")(both), layers.Dense(1, name="size")(both)]
    )
    model.compile("adam", {"kind": "sparse_categorical_crossentropy", "size": "mse"}, metrics={"kind": ["accuracy"]})
    x, y = data()
    found = find(model, {"a": x, "b": x[:, 0, :3, 0]}, {"kind": y, "size": x.mean((1, 2, 3))})
    assert found.smoothed.min() < found.losses[0]


def test_the_device_is_waited_for_seldom(monkeypatch):
    looks, cpu = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self, *given: looks.append(self.shape) or cpu(self, *given))
    for name in ("item", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, lambda self: pytest.fail("one loss alone was read"))
    found = find(small(), end=0.1, steps=95)
    assert [shape[0] for shape in looks] == [1] + [10] * 9 + [4]
    assert len(found.losses) == 95


def test_the_result_does_not_depend_on_when_it_is_looked_at(monkeypatch):
    seldom = find(*line(), end=1e4, steps=120)
    monkeypatch.setattr(lr_finder, "LOOK", 1)
    often = find(*line(), end=1e4, steps=120)
    assert seldom.losses.tolist() == often.losses.tolist()


def test_it_is_quiet_without_a_terminal(capsys):
    find(small(), verbose="auto")
    assert capsys.readouterr() == ("", "")


def test_it_is_drawn_and_told_in_a_line(tmp_path):
    found = find(small())
    path = found.draw(tmp_path / "pictures" / "rates.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(10**6)) > 20
    line = str(found)
    assert "\n" not in line
    assert line.startswith(f"Learning rate {found.suggestion:.2g} (valley {found.valley:.2g}")


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start": 1.0, "end": 0.1}, "start is below end.*start=1, end=0.1"),
        ({"start": 0.1, "end": 0.1}, "start is below end"),
        ({"start": 0.0}, "start is not a learning rate.*Received: 0.0"),
        ({"end": float("nan")}, "end is not a learning rate"),
        ({"steps": 9}, "steps is a whole number of at least 10.*Received: 9"),
        ({"steps": 20.5}, "steps is a whole number"),
        ({"verbose": "loud"}, "verbose is"),
        ({"epochs": 3}, "lr_find does not support the argument 'epochs'"),
        ({"batch_size": 0}, "batch_size is a positive whole number"),
    ],
)
def test_arguments_that_make_no_sense(arguments, says):
    with pytest.raises(ArgumentError, match=says):
        find(small(), **arguments)


def test_a_model_that_is_not_compiled():
    model = sl.Sequential([layers.Flatten(input_shape=(4, 4, 1)), layers.Dense(2)])
    with pytest.raises(SightlineError, match="is not compiled, which lr_find needs"):
        find(model)
    with pytest.raises(ArgumentError, match="lr_find takes a compiled model"):
        find(torch.nn.Linear(2, 2))


def test_frozen_weights():
    model = small()
    for layer in model.layers:
        layer.trainable = False
    with pytest.raises(SightlineError, match="no weights to train"):
        find(model)


def test_data_that_there_is_not():
    x, y = data()
    for nothing, says in [((None, None), "This is no data"), ((x[:0], y[:0]), "no sample"), (([],), "is empty")]:
        with pytest.raises(SightlineError, match=says):
            find(small(), *nothing)
    with pytest.raises(DataError, match="no targets"):
        find(small(), x)


def test_a_generator_that_ends_too_soon():
    with pytest.raises(DataError, match="The generator ended before the 60 steps of lr_find"):
        find(small(), iter(as_list(*data())[0][0]))
    batches = (batch for _ in range(15) for batch in as_list(*data())[0][0])
    assert len(find(small(), batches, end=0.1).rates) == 60


def test_a_first_loss_that_is_none():
    x, y = data()
    x[:] = np.nan
    with pytest.raises(
        SightlineError, match=r"The loss of the first batch is nan, before any update\. Its inputs hold"
    ):
        find(small(), x, y)
    model = small()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)
    with pytest.raises(SightlineError, match=r"The loss of the first batch is nan, before any update\. No rate mends"):
        find(model)


def test_a_loss_that_no_rate_lets_fall():
    model, x, y = line("flat")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(SightlineError, match="No learning rate from 1e-05 to 10 made the loss of flat fall"):
        find(model, np.zeros_like(x), np.zeros_like(y))
    with pytest.raises(SightlineError, match=r"Begin lower if it diverged at once \(start=1e-9\)"):
        find(model, x * 100, y, start=10.0, end=100.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# --- a real one -------------------------------------------------------------------------------------------------------

GRID = np.geomspace(1e-5, 1e-1, 8)


def digits(share=640, seed=0):
    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32)[..., None], bunch.target
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:share], y[:share]), (x[share:], y[share:])


def reader(optimizer, rate, seed):
    torch.manual_seed(seed)
    model = sl.Sequential(
        [
            layers.Conv2D(16, 3, activation="relu", padding="same", input_shape=(8, 8, 1)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer(rate), "sparse_categorical_crossentropy", metrics=["accuracy"], precision="float32")
    return model


@pytest.mark.parametrize(
    ("optimizer", "epochs"), [(sl.optimizers.Adam, 4), pytest.param(sl.optimizers.SGD, 6, marks=pytest.mark.slow)]
)
def test_the_suggested_rate_is_as_good_as_the_best_of_eight(optimizer, epochs):
    """Digits, 640 to learn from and 1,157 to measure on: the accuracy, the mean of two beginnings."""
    training, held_back = digits()

    def accuracy(rate, seed):
        model = reader(optimizer, rate, seed)
        model.fit(*training, epochs=epochs, verbose=0)
        return model.evaluate(*held_back, verbose=0)[1]

    suggested = [sl.lr_find(reader(optimizer, 0.01, seed), *training, verbose=0).suggestion for seed in (0, 1)]
    best = max(np.mean([accuracy(float(rate), seed) for seed in (0, 1)]) for rate in GRID)
    found = np.mean([accuracy(rate, seed) for seed, rate in enumerate(suggested)])
    assert found >= best - 0.005
    assert best > 0.85


def test_the_suggested_rate_of_one_batch_is_as_good_as_the_best_of_eight():
    """28 digits, one batch: after hundreds of passes they are known by heart, and the loss is low at any rate."""

    def accuracy(rate, seed):
        training, held_back = digits(28, seed)
        model = reader(sl.optimizers.Adam, rate, seed)
        model.fit(*training, epochs=30, verbose=0)
        return model.evaluate(*held_back, verbose=0)[1]

    suggested = [
        sl.lr_find(reader(sl.optimizers.Adam, 0.01, seed), *digits(28, seed)[0], verbose=0).suggestion
        for seed in (0, 1, 2)
    ]
    best = max(np.mean([accuracy(float(rate), seed) for seed in (0, 1, 2)]) for rate in GRID)
    found = np.mean([accuracy(rate, seed) for seed, rate in enumerate(suggested)])
    assert found >= best - 0.03


@pytest.mark.parametrize(("n", "steps"), [(16, 50), (17, 100), (48, 150), (64, 200), (640, 200)])
def test_the_data_are_gone_through_fifty_times_at_most(n, steps):
    model = small()
    found = sl.lr_find(model, *data(n), batch_size=16, start=1e-5, end=0.1, verbose=0)
    assert len(found.rates) == steps
    assert len(sl.lr_find(model, *data(n), batch_size=16, start=1e-5, end=0.1, steps=70, verbose=0).rates) == 70
