"""Which numbers a training computes in: what is tried, what is taken, and that trying leaves no trace."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.allocator import freed_memory_kept
from sightline.errors import ArgumentError
from sightline.training import numerics
from sightline.training.batches import as_batches
from sightline.training.numerics import Choice, Numerics, Trial, fastest
from sightline.training.ports import ports_of


def a_model(precision="auto", optimizer="adam"):
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            sl.Input((8, 8, 1)),
            sl.layers.Conv2D(8, 3, activation="relu"),
            sl.layers.BatchNormalization(),
            sl.layers.Dropout(0.2, seed=1),
            sl.layers.Flatten(),
            sl.layers.Dropout(0.2),
            sl.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], precision=precision)
    return model


def data(count=64):
    """Three kinds of bright places."""
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 3, count)
    x = draw.normal(0, 0.3, (count, 8, 8, 1)).astype(np.float32)
    for image, kind in zip(x, kinds, strict=True):
        image[2 * kind : 2 * kind + 3] += 1
    return x, np.eye(3, dtype=np.float32)[kinds]


@pytest.fixture
def auto(monkeypatch):
    """What a user has, who set nothing, on a device that computes in bfloat16."""
    monkeypatch.delenv(numerics.VARIABLE)
    monkeypatch.setattr(numerics, "sixteen_bits", lambda device: "bfloat16")


@pytest.fixture
def seconds(monkeypatch):
    """Trials that take as long as a test says."""
    said = {"float32": 2.0, "bfloat16": 1.0}
    really = numerics._try

    def timed(step, batch, precision):
        trial = really(step, batch, precision)
        return Trial(precision, said[precision], trial.losses)

    monkeypatch.setattr(numerics, "_try", timed)
    return said


def fitted(model, epochs=25, **arguments):
    return model.fit(*data(), batch_size=16, epochs=epochs, verbose=0, **arguments)


@pytest.mark.parametrize(("bfloat16", "taken"), [(1.0, "bfloat16"), (3.0, "float32")])
def test_the_faster_precision_is_taken_and_trying_leaves_no_trace(auto, seconds, bfloat16, taken):
    seconds["bfloat16"] = bfloat16
    chosen, asked_for = a_model(), a_model(taken)
    torch.manual_seed(5)
    first = fitted(chosen)
    torch.manual_seed(5)
    second = fitted(asked_for)
    assert chosen.numerics_choice.precision == taken
    assert [trial.precision for trial in chosen.numerics_choice.trials] == ["float32", "bfloat16"]
    assert first.history == second.history
    for one, other in zip(chosen.get_weights(), asked_for.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_choice_is_told_and_kept(auto, seconds, capsys):
    model = a_model()
    model.fit(*data(), batch_size=16, epochs=25, verbose=2)
    assert "Precision bfloat16 (a step took float32 2e+03 ms, bfloat16 1e+03 ms)" in capsys.readouterr().out
    seconds["bfloat16"] = 9.0
    model.fit(*data(), batch_size=16, epochs=25, verbose=2)
    assert "Precision" not in capsys.readouterr().out
    assert model.numerics_choice.precision == "bfloat16"


def test_a_short_training_tries_nothing(auto, seconds):
    model = a_model()
    fitted(model, epochs=24)  # 96 steps
    assert model.numerics_choice is None
    fitted(model, epochs=25)
    assert model.numerics_choice is not None


def test_the_variable_says_what_auto_means(monkeypatch, seconds):
    monkeypatch.setattr(numerics, "sixteen_bits", lambda device: "bfloat16")
    model = a_model()  # the tests' variable says float32
    fitted(model)
    assert model.numerics_choice is None
    monkeypatch.setenv(numerics.VARIABLE, "bfloat17")
    with pytest.raises(ArgumentError, match=r"SIGHTLINE_PRECISION.*bfloat17.*bfloat16"):
        a_model()


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(ArgumentError, match=r"bfloat16"):
        a_model("bf16")


def test_losses_that_differ_are_not_taken_for_speed(auto, seconds, monkeypatch):
    really = numerics._try

    def wrong(step, batch, precision):
        trial = really(step, batch, precision)
        factor = 1.2 if precision == "bfloat16" else 1.0
        return Trial(precision, trial.seconds, tuple(loss * factor for loss in trial.losses))

    monkeypatch.setattr(numerics, "_try", wrong)
    model = a_model()
    fitted(model)
    assert model.numerics_choice.precision == "float32"
    assert "bfloat16 did not give the same losses" in str(model.numerics_choice)


def test_a_device_without_16_bits_is_not_tried(monkeypatch):
    monkeypatch.delenv(numerics.VARIABLE)
    monkeypatch.setattr(numerics, "sixteen_bits", lambda device: None)
    model = a_model()
    fitted(model)
    assert model.numerics_choice == Choice("float32", ())


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits_learn_the_same(precision, optimizer):
    losses = {}
    for each in ("float32", precision):
        model = a_model(
            each, {"adam": sl.optimizers.Adam(0.01), "sgd": sl.optimizers.SGD(0.1)}.get(optimizer, optimizer)
        )
        torch.manual_seed(1)
        losses[each] = fitted(model, epochs=20).history["loss"]
        assert all(p.dtype == torch.float32 for p in model.parameters())
        assert model.predict(data()[0]).dtype == np.float32
    assert losses[precision] != losses["float32"]
    if precision == "bfloat16":  # float16 leaves out the first updates, until its factor fits
        assert losses[precision][0] == pytest.approx(losses["float32"][0], rel=0.05)
    assert losses[precision][-1] < 0.6 * losses[precision][0]
    assert losses[precision][-1] == pytest.approx(losses["float32"][-1], abs=0.1)


def test_an_update_too_large_for_float16_is_left_out_and_the_factor_halved():
    model = a_model("float16")
    step = model._step("fit", update=True)
    step.numerics = Numerics("float16")
    step.numerics._scale = 2.0**40  # gradients of the scaled loss are infinite in 16 bits
    batch = next(as_batches((*data(), None), ports_of(model), batch_size=16).epoch(0))
    before = [parameter.clone() for parameter in model.parameters()]
    model.train()
    step.train(batch)
    assert step.numerics.state_dict()["scale"] == 2.0**39
    assert model.optimizer.iterations == 0
    assert all(map(torch.equal, before, model.parameters()))
    step.numerics._scale = 1.0
    step.train(batch)
    assert model.optimizer.iterations == 1
    assert not any(map(torch.equal, before, model.parameters()))


@pytest.mark.usefixtures("without_report")
def test_a_16_bit_training_that_is_resumed_stays_in_it(auto, seconds, tmp_path):
    class Stop(sl.callbacks.Callback):
        left = -1

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if self.left == 0:
                raise ZeroDivisionError

    def backed_up(name, left=-1):
        stop, model = Stop(), a_model()
        stop.left = left
        fitted(model, callbacks=[stop, sl.callbacks.BackupAndRestore(tmp_path / name, save_freq=1)])
        return model

    torch.manual_seed(9)
    whole = backed_up("whole")
    with pytest.raises(ZeroDivisionError):
        backed_up("cut", 50)
    seconds["bfloat16"] = 5.0  # on another day it measures slower
    resumed = backed_up("cut")
    assert resumed.numerics_choice is None  # nothing was tried again
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fastest_really_times_and_restores():
    model = a_model()
    step = model._step("fit", update=True)
    batch = next(as_batches((*data(), None), ports_of(model), batch_size=16).epoch(0))
    model.train()
    state, before = torch.get_rng_state(), {name: t.clone() for name, t in model.state_dict().items()}
    choice = fastest(step, model, batch, ("float32", "bfloat16"))
    assert choice.precision in ("float32", "bfloat16")
    assert all(trial.seconds > 0 and len(trial.losses) == 1 + numerics.TIMED for trial in choice.trials)
    assert choice.trials[0].losses[0] == pytest.approx(choice.trials[1].losses[0], rel=0.02)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.optimizer.iterations == 0
    assert model.optimizer.state_dict()["state"] == {}
    assert step.numerics.precision == "float32"


ALLOCATIONS = """
import resource
import torch
from sightline.allocator import ask_for_huge_pages, freed_memory_kept

def faults(megabytes, times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        step = [torch.ones(megabytes * 2**20 // 4) for _ in range(20)]
        del step
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if ask:
    ask_for_huge_pages()
faults(1, 2)
print(faults(1, 20))
with freed_memory_kept() as kept:
    faults(1, 2)
    print(faults(1, 20), faults(16, 2))
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1])
with freed_memory_kept():
    parts = [torch.ones(2**18) for _ in range(200)]
    del parts
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) - before)
"""


@pytest.mark.usefixtures("without_report")
@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_freed_memory_is_kept_within_and_given_back_after():
    """In a process of its own, whose first tensor torch has yet to make."""
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"} | {"OMP_NUM_THREADS": "1"}
    # Left to itself, whether glibc gives freed blocks back depends on what happens to lie at its heap's end.
    environment |= {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

    def run(ask):
        command = [sys.executable, "-c", f"ask = {ask}\n{ALLOCATIONS}"]
        return [
            int(word)
            for word in subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout.split()
        ]

    without, kept, large, left = run(False)
    assert kept < without / 50  # a block that lands elsewhere once is 256 of 102,800
    assert left < 20 * 2**20 // resource.getpagesize()  # of 200 MB
    huge = run(True)[2]
    if "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        assert huge < large / 2


def test_an_error_in_training_gives_memory_back_too():
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        raise ZeroDivisionError
    with freed_memory_kept() as kept:
        assert kept is (platform.libc_ver()[0] == "glibc")
