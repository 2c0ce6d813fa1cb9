"""Callbacks: what they do around the steps of a training, and what of them a resumed training carries over."""

import csv
import io
import struct
import sys
import time

import numpy as np
import pytest
import torch

import sightline as sl
from sightline import callbacks, layers
from sightline.errors import ArgumentError, SightlineError
from sightline.schedules import CosineDecay


def small(**compiled):
    """A network with moving statistics, quick to train."""
    torch.manual_seed(0)
    inputs = [layers.Dense(4, activation="relu", input_shape=(6,)), layers.BatchNormalization()]
    model = sl.Sequential([*inputs, layers.Dense(2, activation="softmax")])
    model.compile(**{"optimizer": sl.optimizers.SGD(0.1), "loss": "sparse_categorical_crossentropy"} | compiled)
    return model


def data(n=32):
    x = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stage:
    """What callbacks see of a model and its training, and a loop around them without a network: `values` are the logs by epoch."""

    def __init__(self, rate=0.5, **optimizer):
        self.optimizer, self.stop_training = sl.optimizers.SGD(rate, **optimizer), False
        self.number = torch.nn.Parameter(torch.zeros(1))
        self.optimizer.bind([self.number])

    def state_dict(self):
        return {"number": self.number}

    def begin(self, callback):
        callback.set_model(self)
        callback.set_training(self)
        callback.on_train_begin({})

    def epoch(self, callback, epoch, logs, losses=()):
        callback.on_epoch_begin(epoch, {})
        with torch.no_grad():
            self.number.fill_(epoch)
        self.batches(callback, losses)
        callback.on_epoch_end(epoch, logs)
        return dict(logs)

    def batches(self, callback, losses, first=0):
        for batch, loss in enumerate(losses, start=first):
            callback.on_train_batch_begin(batch, {})
            self.last_loss = torch.tensor(loss)
            callback.on_train_batch_end(batch, {"loss": loss})
            if self.stop_training:
                break


# --- state -------------------------------------------------------------------------------------------------------


def logs_of(epoch):
    return {
        "loss": [0.9, 0.5, 0.6, 0.55, 0.7, 0.4, 0.8][epoch],
        "val_loss": [0.8, 0.4, 0.5, 0.6, 0.5, 0.45, 0.5][epoch],
    }


KEEPING = {
    "History": lambda folder: callbacks.History(),
    "EarlyStopping": lambda folder: callbacks.EarlyStopping(patience=4, restore_best_weights=True),
    "ReduceLROnPlateau": lambda folder: callbacks.ReduceLROnPlateau(patience=1, cooldown=1),
    "ModelCheckpoint": lambda folder: callbacks.ModelCheckpoint(folder / "x.keras", save_freq=10**6),
    "TerminateOnNaN": lambda folder: callbacks.TerminateOnNaN(),
    "CSVLogger": lambda folder: callbacks.CSVLogger(folder / "x.csv"),
    "TensorBoard": lambda folder: callbacks.TensorBoard(folder, update_freq=2),
}


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_callback_goes_on_as_if_nothing_had_been(name, stop, tmp_path):
    """Its state goes through a file that runs no code, and another object takes it over after on_train_begin."""
    if name == "TensorBoard":
        pytest.importorskip("tensorboard")

    def run(stage, callback, epochs):
        for epoch in epochs:
            seen.append((stage.epoch(callback, epoch, logs_of(epoch), [1.0, 2.0, 3.0]), stage.optimizer.learning_rate))
            if stage.stop_training:
                break

    seen = []
    whole, stage = KEEPING[name](tmp_path), Stage()
    stage.begin(whole)
    run(stage, whole, range(7))
    expected, seen = (seen, stage.number.item(), whole.state_dict()), []

    first, stage = KEEPING[name](tmp_path), Stage()
    stage.begin(first)
    run(stage, first, range(stop))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = KEEPING[name](tmp_path)
    stage.begin(second)
    second.load_state_dict(torch.load(file, weights_only=True))
    run(stage, second, range(stop, 7))
    assert repr((seen, stage.number.item(), second.state_dict())) == repr(expected)
    assert any(second.state_dict()[kept] != KEEPING[name](tmp_path).state_dict()[kept] for kept in second.kept)
    for one in (whole, first, second):
        one.on_train_end({})


def test_a_state_is_a_copy():
    early, stage = callbacks.EarlyStopping(restore_best_weights=True), Stage()
    stage.begin(early)
    stage.epoch(early, 0, {"val_loss": 1.0})
    state = early.state_dict()
    stage.epoch(early, 1, {"val_loss": 0.5})
    early.best_weights["number"].fill_(9)
    assert (state["best"], float(state["best_weights"]["number"])) == (1.0, 0.0)
    early.load_state_dict(state)
    early.best_weights["number"].fill_(9)
    assert float(state["best_weights"]["number"]) == 0.0


def test_a_callback_of_ones_own_keeps_what_it_names():
    class Count(callbacks.Callback):
        kept = ("seen",)

        def on_train_begin(self, logs=None):
            self.seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(epoch)

    count = Count()
    with pytest.raises(ArgumentError, match=r"Count keeps 'seen', which it does not have.*on_train_begin"):
        count.state_dict()
    small().fit(*data(), epochs=2, verbose=0, callbacks=count)
    assert count.state_dict() == {"seen": [0, 1]}
    with pytest.raises(ArgumentError, match=r"another callback than this Count. Expected: seen. Received: best, wait"):
        count.load_state_dict({"best": 1, "wait": 0})
    assert callbacks.Callback().state_dict() == {}


@pytest.mark.parametrize("event", ["on_test_batch_begin", "on_test_batch_end", "on_predict_begin", "on_predict_end"])
def test_what_is_never_called_is_refused_in_bases_too(event):
    base = type("Base", (callbacks.Callback,), {event: lambda self, *arguments: None})
    with pytest.raises(ArgumentError, match=f"Tests: {event} is not called.*on_test_begin"):
        small().fit(*data(), verbose=0, callbacks=type("Tests", (base,), {})())
    type("Fine", (callbacks.Callback,), {"on_test_end": lambda self, logs=None: None})().set_model(small())


# --- functions ---------------------------------------------------------------------------------------------------


def test_functions_as_a_callback():
    told = []
    callback = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: told.append(f"epoch {epoch}"),
        on_train_batch_end=lambda batch, logs: told.append(f"batch {batch} {'loss' in logs}"),
        on_train_end=lambda logs: told.append(sorted(logs)),
        on_batch_begin=lambda batch, logs: told.append("before"),
    )
    small().fit(*data(8), batch_size=4, verbose=0, callbacks=callback)
    assert told == ["epoch 0", "before", "batch 0 True", "before", "batch 1 True", ["loss"]]


@pytest.mark.parametrize("name", ["on_predict_end", "on_test_batch_end", "on_epoch_ende"])
def test_functions_that_would_never_be_called(name):
    with pytest.raises(ArgumentError, match=f"LambdaCallback does not support the argument '{name}'"):
        callbacks.LambdaCallback(**{name: print})
    with pytest.raises(ArgumentError, match=r"on_epoch_end is a function. Received: 1"):
        callbacks.LambdaCallback(on_epoch_end=1)


# --- checkpoints -------------------------------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_and_the_last_and_the_best_model(tmp_path):
    values = iter([0.5, 0.2, 0.9])
    score = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_iou=next(values)))
    states = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(state_of(model)))
    model = small()
    keep = [
        callbacks.ModelCheckpoint(tmp_path / "{epoch}-{val_iou:.1f}.sightline"),
        callbacks.ModelCheckpoint(tmp_path / "last.sightline"),
        callbacks.ModelCheckpoint(tmp_path / "best.sightline", "val_iou", save_best_only=True),
    ]
    model.fit(*data(), epochs=3, verbose=0, callbacks=[score, watch, *keep])
    assert names(tmp_path) == [
        "1-0.5.sightline",
        "2-0.2.sightline",
        "3-0.9.sightline",
        "best.sightline",
        "last.sightline",
    ]
    for epoch, score in enumerate([0.5, 0.2, 0.9]):
        assert same(state_of(sl.load(tmp_path / f"{epoch + 1}-{score}.sightline")), states[epoch])
    assert same(state_of(sl.load(tmp_path / "last.sightline")), states[2])
    assert same(state_of(sl.load(tmp_path / "best.sightline")), states[2])
    assert keep[2].best == 0.9


def test_a_model_after_so_many_batches(tmp_path):
    """Four batches an epoch, saved each three: they are counted on over the epochs' ends."""
    keep = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.0f}.sightline", save_freq=3)
    losses = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(round(logs["loss"])))
    small().fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[keep, watch])
    assert names(tmp_path) == [f"1-3-{losses[2]}.sightline", f"2-2-{losses[5]}.sightline"]


def test_the_best_of_batches_and_of_no_epoch(tmp_path):
    keep = callbacks.ModelCheckpoint(
        tmp_path / "{batch}.sightline", "accuracy", mode="max", save_best_only=True, save_freq=1,
        initial_value_threshold=0.5,
    )  # fmt: skip
    model = small()
    keep.set_model(model)
    for batch, accuracy in enumerate([0.5, 0.6, 0.6, 0.4, 0.7]):
        keep.on_train_batch_end(batch, {"accuracy": accuracy})
    assert names(tmp_path) == ["2.sightline", "5.sightline"]


@pytest.mark.parametrize("save_freq", [0, -1, 2.5, "batch", True])
def test_what_is_no_save_freq(save_freq):
    with pytest.raises(ArgumentError, match='save_freq is "epoch" or a number of batches, which is a whole number'):
        callbacks.ModelCheckpoint("x.keras", save_freq=save_freq)


# --- what is monitored -------------------------------------------------------------------------------------------

MONITORS = [callbacks.EarlyStopping, callbacks.ReduceLROnPlateau, lambda **a: callbacks.ModelCheckpoint("x.keras", **a)]


@pytest.mark.parametrize("kind", MONITORS)
def test_what_is_monitored_must_be_there(kind):
    callback, stage = kind(**{"save_best_only": True} if kind is MONITORS[2] else {}), Stage()
    stage.begin(callback)
    with pytest.raises(ArgumentError, match=r"monitors 'val_loss', which this training has not.*validation_data"):
        callback.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(ArgumentError, match="'val_loss' has several"):
        callback.on_epoch_end(0, {"val_loss": np.array([1.0, 2.0])})
    callback.set_params({"validates": True})
    before = callback.state_dict()
    callback.on_epoch_end(0, {"loss": 1.0})  # an epoch without validation, of a training that has some
    assert callback.state_dict() == before
    with pytest.raises(ArgumentError, match=r'monitors .val_loss.*Did you mean "val_los"'):
        callback.on_epoch_end(0, {"loss": 1.0, "val_los": 1.0})


@pytest.mark.parametrize("kind", MONITORS[:2])
def test_a_direction_that_no_name_gives(kind):
    with pytest.raises(ArgumentError, match=r'cannot tell whether .val_score. is to grow or to fall.*mode="max"'):
        kind(monitor="val_score")
    with pytest.raises(ArgumentError, match="Unknown mode 'up'"):
        kind(monitor="val_score", mode="up")
    assert kind(monitor="val_score", mode="max").get_config()["mode"] == "max"


# --- stopping ----------------------------------------------------------------------------------------------------


def test_the_best_weights_and_moving_statistics_come_back_to_the_bit(capsys):
    values = iter([0.5, 0.3, 0.4, 0.35, 0.1])
    score = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=next(values)))
    states = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(state_of(model)))
    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    model = small()
    history = model.fit(*data(), epochs=5, batch_size=8, verbose=0, callbacks=[score, watch, stop])
    assert history.epoch == [0, 1, 2, 3]
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (0.3, 1, 3)
    assert same(state_of(model), states[1])
    assert not same(states[1], states[3])
    (statistics,) = [name for name in states[1] if name.endswith("running_mean")]
    assert not torch.equal(states[1][statistics], states[3][statistics])
    assert "Epoch 4: early stopping\nThe weights are those of the best epoch, 2\n" in capsys.readouterr().out


def test_without_restoring_the_last_weights_stay():
    values = iter([0.3, 0.4])
    score = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=next(values)))
    states = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(state_of(model)))
    stop, model = callbacks.EarlyStopping(), small()
    model.fit(*data(), epochs=9, verbose=0, callbacks=[score, watch, stop])
    assert len(states) == 2
    assert same(state_of(model), states[1])
    assert stop.best_weights is None


def test_the_first_step_that_is_not_finite_is_named(capsys):
    stop, stage = callbacks.TerminateOnNaN(), Stage()
    stage.begin(stop)
    stage.epoch(stop, 0, {}, [1.0] * 200)
    assert (stop.first_bad_step, stage.stop_training) == (None, False)
    stage.epoch(stop, 1, {}, [1.0] * 16 + [float("inf"), 1.0, float("nan")] + [1.0] * 31 + [float("nan")] * 150)
    assert stop.first_bad_step == 217
    assert stop.steps == 250  # found at the next look
    assert stage.stop_training
    assert capsys.readouterr().out == "Epoch 2: the loss of batch 17 (step 217) is not finite: training stops\n"


@pytest.mark.parametrize("bad", [0, 1, 48, 49, 50, 98, 99, 100, 119])
def test_each_step_is_looked_at(bad):
    stop, stage = callbacks.TerminateOnNaN(), Stage()
    stage.begin(stop)
    losses = [1.0] * 120
    losses[bad] = float("nan")
    stage.epoch(stop, 0, {}, losses)
    assert stop.first_bad_step == bad + 1
    assert stop.steps == min(120, (bad // 50 + 1) * 50)


def test_losses_are_left_on_the_device_between_looks():
    """A meta tensor has no values: whoever reads one fails."""
    stop, stage = callbacks.TerminateOnNaN(), Stage()
    stage.begin(stop)
    stop.on_epoch_begin(0)
    stage.last_loss = torch.zeros((), device="meta")
    for batch in range(49):
        stop.on_train_batch_end(batch, None)
    with pytest.raises((NotImplementedError, RuntimeError)):
        stop.on_train_batch_end(49, None)


def test_a_loss_whose_memory_is_used_again():
    stop, stage = callbacks.TerminateOnNaN(), Stage()
    stage.begin(stop)
    stage.last_loss = torch.zeros(())
    for batch, loss in enumerate([1.0, float("nan"), 1.0]):
        stage.last_loss.fill_(loss)
        stop.on_train_batch_end(batch, None)
    stop.on_epoch_end(0, {})
    assert stop.first_bad_step == 2


def test_steps_are_counted_on_in_a_training_that_goes_on_inside_an_epoch():
    first, stage = callbacks.TerminateOnNaN(), Stage()
    stage.begin(first)
    stage.batches(first, [1.0] * 29 + [float("nan")])
    second = callbacks.TerminateOnNaN()
    stage.begin(second)
    second.load_state_dict(first.state_dict())
    stage.batches(second, [1.0] * 5, first=30)
    second.on_epoch_end(0, {})
    assert (second.first_bad_step, second.steps) == (30, 35)


def test_a_loss_that_is_not_finite_as_an_error(capsys):
    stop, stage = callbacks.TerminateOnNaN(raise_error=True), Stage()
    stage.begin(stop)
    with pytest.raises(SightlineError, match=r"Epoch 1: the loss of batch 2 \(step 2\) is not finite.*learning rate"):
        stage.epoch(stop, 0, {}, [1.0, float("nan")])
    assert not stage.stop_training
    assert capsys.readouterr().out == ""


def test_a_fit_that_diverges_stops(capsys):
    x, y = data(64)
    x[24:32] = np.nan  # the fourth batch of eight
    stop = callbacks.TerminateOnNaN()
    history = small().fit(x, y, batch_size=8, shuffle=False, epochs=5, verbose=0, callbacks=stop)
    assert (stop.first_bad_step, history.epoch) == (4, [0])
    assert capsys.readouterr().out == "Epoch 1: the loss of batch 4 (step 4) is not finite: training stops\n"


def test_a_fit_whose_time_is_over_stops_inside_its_epoch(capsys):
    seen = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    budget = callbacks.TimeBudget(1e-9)
    history = small().fit(*data(64), batch_size=8, epochs=5, verbose=0, callbacks=[budget, watch])
    assert (seen, history.epoch) == ([0], [0])
    assert "Epoch 1: 0.0 s are over after batch 1: training stops" in capsys.readouterr().out


def test_a_training_that_stopped_early_keeps_its_averages():
    """The averages are in the model when it stops, and stay there: the weights beside them are gone."""
    values = iter([0.5, 0.6])
    score = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=next(values)))
    states = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(state_of(model)))
    model = small(optimizer=sl.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
    given = [callbacks.SwapEMAWeights(swap_on_epoch=True), score, watch, callbacks.EarlyStopping()]
    model.fit(*data(), batch_size=8, epochs=9, verbose=0, callbacks=given)
    assert len(states) == 2
    assert same(state_of(model), states[1])
    assert not model.optimizer.swapped


def test_a_time_budget(monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget, stage = callbacks.TimeBudget(10), Stage()
    stage.begin(budget)
    stopped = []
    for batch in range(5):
        now += 2.5
        budget.on_train_batch_end(batch, {})
        stopped.append(stage.stop_training)
    assert stopped == [False, False, False, False, True]  # after 12.5 seconds; just 10 are not more than 10
    assert capsys.readouterr().out == "Epoch 1: 10.0 s are over after batch 5: training stops\n"
    budget.on_train_batch_end(5, {})
    assert capsys.readouterr().out == ""
    stage.stop_training = False
    stage.begin(budget)  # a second training has its own
    budget.on_train_batch_end(0, {})
    assert not stage.stop_training


def test_a_time_budget_of_a_resumed_training(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first, second, stage = callbacks.TimeBudget(10), callbacks.TimeBudget(10), Stage()
    stage.begin(first)
    now += 8
    state = first.state_dict()
    assert state == {"elapsed": 8.0, "spent": False}
    now = 5.0  # another machine, whose clock began elsewhere
    stage.begin(second)
    second.load_state_dict(state)
    for seconds, over in ((1.5, False), (1.0, True)):
        now += seconds
        second.on_train_batch_end(0, {})
        assert stage.stop_training == over


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "10", None, True])
def test_what_is_no_time(seconds):
    with pytest.raises(ArgumentError, match=r"TimeBudget: seconds is out of range. Expected: a number > 0"):
        callbacks.TimeBudget(seconds)


# --- learning rates ----------------------------------------------------------------------------------------------


def test_a_schedule_counts_epochs_in_a_callback_and_updates_in_an_optimizer():
    schedule = CosineDecay(0.2, decay_steps=4)
    by_epoch = small().fit(
        *data(), batch_size=8, epochs=3, verbose=0, callbacks=callbacks.LearningRateScheduler(schedule)
    )
    assert by_epoch.history["learning_rate"] == [schedule(0), schedule(1), schedule(2)]
    rates = []
    model = small(optimizer=sl.optimizers.Adam(schedule))
    watch = callbacks.LambdaCallback(on_batch_begin=lambda *_: rates.append(model.optimizer.learning_rate))
    model.fit(*data(), batch_size=8, epochs=1, verbose=0, callbacks=watch)
    assert rates == [schedule(0), schedule(1), schedule(2), schedule(3)]


def test_a_scheduled_optimizer_refuses_a_rate_from_a_callback():
    model = small(optimizer=sl.optimizers.Adam(CosineDecay(0.2, 4)))
    with pytest.raises(ArgumentError, match="follows CosineDecay"):
        model.fit(*data(), verbose=0, callbacks=callbacks.LearningRateScheduler(lambda epoch: 0.1))


def test_a_reduced_rate_is_told_and_stays_above_the_least(capsys):
    reduce, stage = callbacks.ReduceLROnPlateau(patience=1, factor=0.1, min_lr=0.02, verbose=1), Stage(0.5)
    stage.begin(reduce)
    for epoch in range(5):
        stage.epoch(reduce, epoch, {"val_loss": 1.0})
    assert stage.optimizer.learning_rate == 0.02
    told = "Epoch 2: learning rate reduced to 0.05\nEpoch 3: learning rate reduced to 0.02\n"
    assert capsys.readouterr().out == told


# --- logs --------------------------------------------------------------------------------------------------------


def rows(path, **dialect):
    with path.open(newline="") as file:
        return list(csv.reader(file, **dialect))


def test_a_table_is_whole_after_each_epoch(tmp_path):
    path = tmp_path / "deep" / "log.csv"
    seen = []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(len(rows(path))))
    history = small().fit(*data(), epochs=3, verbose=0, callbacks=[callbacks.CSVLogger(path), watch]).history
    assert seen == [2, 3, 4]
    table = rows(path)
    assert table[0] == ["epoch", "loss", "val_loss"]
    assert [float(row[1]) for row in table[1:]] == history["loss"]
    assert [row[2] for row in table[1:]] == ["NA"] * 3


def test_a_table_of_several_trainings(tmp_path):
    path = tmp_path / "log.csv"
    for append in (False, True, True):
        small().fit(*data(), epochs=2, verbose=0, callbacks=callbacks.CSVLogger(path, append=append))
    assert [row[0] for row in rows(path)] == ["epoch", "0", "1", "0", "1", "0", "1"]
    small().fit(*data(), epochs=1, verbose=0, callbacks=callbacks.CSVLogger(path, separator=";"))
    assert [row[0] for row in rows(path, delimiter=";")] == ["epoch", "0"]


@pytest.mark.parametrize("append", [False, True])
def test_a_resumed_table_has_no_epoch_twice(tmp_path, append):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,val_loss\n0,0.1,0.2\n")
    first, stage = callbacks.CSVLogger(path, append=append), Stage()
    stage.begin(first)
    for epoch in range(2):
        stage.epoch(first, epoch, logs_of(epoch))
    state = first.state_dict()
    stage.epoch(first, 2, {"loss": "killed behind this row, before its state was saved"})
    second = callbacks.CSVLogger(path, append=append)
    stage.begin(second)
    second.load_state_dict(state)
    stage.epoch(second, 2, logs_of(2))
    before = ["epoch", "0"] if append else ["epoch"]
    assert [row[0] for row in rows(path)] == [*before, "0", "1", "2"]
    assert rows(path)[-1] == ["2", "0.6", "0.5"]
    path.unlink()  # a table that was taken away begins anew
    stage.epoch(second, 3, logs_of(3))
    assert rows(path) == [["epoch", "loss", "val_loss"], ["3", "0.55", "0.6"]]


@pytest.mark.parametrize("separator", ["", ", ", None])
def test_what_is_no_separator(separator):
    with pytest.raises(ArgumentError, match="CSVLogger: separator is one character"):
        callbacks.CSVLogger("x.csv", separator=separator)


def events(folder):
    """(tag, step, value) of all events in the files of a folder, whose checksums are looked at."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import masked_crc32c

    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length = struct.unpack("<Q", content[:8])[0]
            record = content[12 : 12 + length]
            assert struct.unpack("<I", content[8:12])[0] == masked_crc32c(content[:8])
            assert struct.unpack("<I", content[12 + length : 16 + length])[0] == masked_crc32c(record)
            event = Event.FromString(record)
            assert abs(event.wall_time - time.time()) < 600
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            content = content[16 + length :]
    return found


@pytest.mark.parametrize(("update_freq", "steps"), [("epoch", []), ("batch", [1, 2, 3, 4]), (3, [3])])
def test_what_tensorboard_gets(tmp_path, update_freq, steps):
    pytest.importorskip("tensorboard")
    board = callbacks.TensorBoard(tmp_path / "logs", update_freq=update_freq)
    x, y = data(16)
    losses = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    model = small(metrics=["accuracy"])
    before = set(sys.modules)  # another test may have loaded it
    history = model.fit(
        x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x, y), callbacks=[board, watch]
    ).history
    assert "tensorflow" not in set(sys.modules) - before
    train, measured = events(tmp_path / "logs" / "train"), events(tmp_path / "logs" / "validation")
    for tag, values in (
        ("epoch_loss", history["loss"]),
        ("epoch_accuracy", history["accuracy"]),
        ("epoch_learning_rate", [0.1, 0.1]),
    ):
        assert [(step, value) for name, step, value in train if name == tag] == [
            (step, pytest.approx(value)) for step, value in enumerate(values)
        ]
    batches = [(step, value) for name, step, value in train if name == "batch_loss"]
    assert batches == [(step, pytest.approx(losses[step - 1])) for step in steps]
    assert {name for name, *_ in measured} == {"epoch_loss", "epoch_accuracy"}
    of_batches = {"batch_loss", "batch_accuracy"} if steps else set()
    assert {name for name, *_ in train} == {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"} | of_batches
    assert [value for name, _, value in measured if name == "epoch_loss"] == pytest.approx(history["val_loss"])


def test_tensorboard_of_a_metric_with_several_values_while_it_trains(tmp_path):
    pytest.importorskip("tensorboard")
    board, stage = callbacks.TensorBoard(tmp_path), Stage()
    stage.begin(board)
    stage.epoch(board, 0, {"loss": 1.0, "iou": np.array([0.25, 0.5])})
    found = events(tmp_path / "train")  # though the file is still open
    assert ("epoch_iou/0", 0, 0.25) in found
    assert ("epoch_iou/1", 0, 0.5) in found
    assert names(tmp_path) == ["train"]
    board.on_train_end({})


def test_tensorboard_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for module in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SightlineError, match=r"cannot load the package tensorboard.*pip install 'sightline\[track\]'"):
        callbacks.TensorBoard()


@pytest.mark.parametrize(
    ("argument", "value", "hint"),
    [
        ("histogram_freq", 1, "on_epoch_end"),
        ("write_graph", True, "summary"),
        ("write_images", True, "on_epoch_end"),
        ("write_steps_per_second", True, "on_epoch_end"),
        ("profile_batch", 5, "torch.profiler"),
        ("embeddings_freq", 1, "on_epoch_end"),
        ("embeddings_metadata", "a.tsv", "on_epoch_end"),
    ],
)
def test_arguments_of_keras_s_tensorboard_that_are_not_there(argument, value, hint):
    with pytest.raises(ArgumentError, match=f"TensorBoard does not support the argument '{argument}'.*{hint}"):
        callbacks.TensorBoard(**{argument: value})


@pytest.mark.parametrize("update_freq", [0, 1.5, "epochs", None])
def test_what_is_no_update_freq(update_freq):
    with pytest.raises(ArgumentError, match='update_freq is "epoch", "batch" or a number'):
        callbacks.TensorBoard(update_freq=update_freq)


# --- averaged weights --------------------------------------------------------------------------------------------


def test_averages_are_asked_for_in_the_optimizer():
    swap, stage = callbacks.SwapEMAWeights(), Stage()
    stage.begin(swap)
    with pytest.raises(SightlineError, match=r"This SGD keeps no averages.*SGD\(use_ema=True\)"):
        swap.on_test_begin()


def test_a_training_after_one_that_was_interrupted_in_its_validation():
    swap, stage = callbacks.SwapEMAWeights(), Stage(use_ema=True)
    stage.begin(swap)
    for number in (1.0, 2.0):
        stage.number.grad = torch.tensor([number])
        stage.optimizer.step()
    weight = stage.number.detach().clone()
    swap.on_test_begin()
    assert not torch.equal(stage.number, weight)
    stage.begin(callbacks.SwapEMAWeights())
    assert torch.equal(stage.number, weight)


def test_a_model_whose_averages_are_kept(tmp_path):
    """Behind SwapEMAWeights(swap_on_epoch=True) ModelCheckpoint saves the averages; the training goes on without them."""
    model = small(optimizer=sl.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
    before = []
    watch = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: before.append(state_of(model)),
        on_epoch_begin=lambda epoch, logs: before.append(state_of(model)),
    )
    swap, keep = callbacks.SwapEMAWeights(swap_on_epoch=True), callbacks.ModelCheckpoint(tmp_path / "{epoch}.sightline")
    model.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[swap, watch, keep])
    begun, averages, begun_again, _ = before
    assert same(state_of(sl.load(tmp_path / "1.sightline")), averages)
    assert not same(averages, begun_again)
    assert not same(begun, begun_again)
