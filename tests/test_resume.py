"""A training that is killed at any moment and resumed ends with the same bits as one that never was."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sightline as sl
from sightline.training import checkpoint

NETWORK = """
import sightline as sl

def network(input_shape, classes):
    return sl.Sequential([
        sl.Input(input_shape),
        sl.layers.Conv2D(6, 3, padding="same"), sl.layers.BatchNormalization(), sl.layers.Activation("relu"),
        sl.layers.RandomFlip("horizontal", seed=3), sl.layers.MaxPooling2D(), sl.layers.Dropout(0.2, seed=5),
        sl.layers.Flatten(), sl.layers.Dropout(0.3), sl.layers.Dense(classes, activation="softmax"),
    ])
"""

# A process that has everything loaded and forks for each training, so that a kill costs no start-up
LAUNCHER = """
import json, os, sys, traceback
import torch
import sightline.report.page, sightline.runs.training, sightline.runs.around as around
from sightline import train
from sightline.runs import Run

torch.set_num_threads(1)
if "without report" in sys.argv:
    Run.report = lambda self, say: self.folder.report
around.CHECKPOINT_SECONDS = 0.0  # after each batch, so that many kills fall into the writing of one
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        try:
            train(**json.loads(line))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Launcher:
    def __init__(self, folder: Path, *words: str):
        self.log = open(folder / "launcher.txt", "w+")  # noqa: SIM115
        command = [sys.executable, "-c", LAUNCHER, *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SIGHTLINE_CACHE": str(folder / "cache")}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def begin(self, **arguments) -> int:
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        return int(self.process.stdout.readline())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()


@pytest.fixture
def launcher(tmp_path, request):
    made = Launcher(tmp_path, *getattr(request, "param", ()))
    yield made
    made.process.stdin.close()
    made.process.wait()
    made.log.close()


@pytest.fixture
def photos(tmp_path):
    """Two classes of 40 noisy pictures, and a network with dropout, augmentation and BatchNormalization."""
    draw = np.random.default_rng(0)
    for kind, level in (("dark", 90), ("light", 150)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(40):
            pixels = (draw.normal(level, 60, (12, 12, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    (tmp_path / "networks.py").write_text(NETWORK)
    return "photos"


SETTINGS = {
    "model": "networks.py:network", "image_size": 12, "batch_size": 8, "epochs": 5, "augment": "strong",
    "schedule": "plateau", "ema": 0.9, "clip": 1.0, "patience": 50, "lr": 0.01,
}  # fmt: skip


def outcome(run: Path) -> dict[str, bytes]:
    """What must be the same to the bit."""
    files = ("weights/best.sightline", "weights/last.sightline", "results.csv", "evaluation.json")
    return {name: (run / name).read_bytes() for name in files}


def killed_and_resumed(launcher: Launcher, data: str, folder: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    launcher.begin(data=data, name="whole", **SETTINGS)
    began = time.monotonic()
    assert launcher.wait() == 0, launcher.said()
    took = time.monotonic() - began
    runs = folder / "runs" / "classify"
    expected = outcome(runs / "whole")
    done = 0
    while done < kills:
        name = f"killed-{done}"
        arguments = {"data": data, "name": name, **SETTINGS}
        while True:  # until it is through; then another run begins
            child = launcher.begin(**arguments)
            if done < kills:
                time.sleep(draw.uniform(0, 0.8 * took))
                with contextlib.suppress(ProcessLookupError):  # it was through before
                    os.kill(child, signal.SIGKILL)
            status = launcher.wait()
            if status == 0:
                break
            assert os.WIFSIGNALED(status), launcher.said()
            done += 1
            config = runs / name / "config.yaml"
            arguments = {"resume": f"runs/classify/{name}"} if config.is_file() else {**arguments, "exist_ok": True}
        assert outcome(runs / name) == expected


@pytest.mark.parametrize("launcher", [["without report"]], indirect=True, ids=["without report"])
def test_a_run_killed_three_times_ends_with_the_same_bits(launcher, photos, tmp_path):
    killed_and_resumed(launcher, photos, tmp_path, kills=3, seed=1)


@pytest.mark.slow
def test_runs_killed_at_many_random_moments_end_with_the_same_bits(launcher, photos, tmp_path):
    killed_and_resumed(launcher, photos, tmp_path, kills=40, seed=int(time.time()))


# --- what a checkpoint holds ---------------------------------------------------------------------------------------


def a_model(metrics=("accuracy",)):
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            sl.Input((6, 6, 1)),
            sl.layers.Conv2D(4, 3),
            sl.layers.BatchNormalization(),
            sl.layers.Flatten(),
            sl.layers.Dropout(0.4),
            sl.layers.Dropout(0.2, seed=1),
            sl.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=list(metrics))
    return model


def data(count=44):
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, 6, 6, 1)).astype(np.float32), np.eye(3, dtype=np.float32)[
        draw.integers(0, 3, count)
    ]


class StopAt(sl.callbacks.Callback):
    """Stands for a kill: after so many batches of this process nothing more is done."""

    def __init__(self, batches: int):
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise ZeroDivisionError


def backed_up(folder, model, stop=0, freq=1, **arguments):
    """`fit` with a plateau, and a backup before the moment that stands for a kill."""
    plateau = sl.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, factor=0.5, min_delta=10)
    backup = sl.callbacks.BackupAndRestore(folder, save_freq=freq)
    given = {"epochs": 4, "verbose": 0, "validation_split": 0.2, "batch_size": 8} | arguments
    x, y = given.pop("x", None), given.pop("y", None)
    if x is None:
        x, y = data()
    return model.fit(x, y, callbacks=[plateau, StopAt(stop), backup], **given)


def elsewhere():
    """Another process stands elsewhere in its random numbers."""
    torch.manual_seed(123)
    np.random.seed(7)
    random.seed(1)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("freq", [1, 3, "epoch"])
@pytest.mark.parametrize("at", [6, 11, 12, 17, 20])
def test_fit_goes_on_from_its_backup_to_the_same_bits(tmp_path, freq, at):
    whole = a_model()
    history = backed_up(tmp_path / "whole", whole)
    assert not (tmp_path / "whole").exists()
    with pytest.raises(ZeroDivisionError):
        backed_up(tmp_path / "backup", a_model(), at, freq)
    assert 1 <= len(list((tmp_path / "backup").glob("*.checkpoint"))) <= 2
    resumed = a_model()
    elsewhere()
    again = backed_up(tmp_path / "backup", resumed, 0, freq)
    assert same(resumed, whole)
    assert again.history == history.history
    assert len(again.history["loss"]) == 4
    assert resumed.optimizer.learning_rate == whole.optimizer.learning_rate < 1e-3
    assert not (tmp_path / "backup").exists()


METRICS = [
    ["accuracy", sl.metrics.TopKCategoricalAccuracy(k=2)],
    [sl.metrics.AUC(), sl.metrics.Precision(), sl.metrics.Recall(thresholds=[0.3, 0.6])],
    [sl.metrics.OneHotMeanIoU(num_classes=3), sl.metrics.RootMeanSquaredError(), sl.metrics.CategoricalCrossentropy()],
]


@pytest.mark.parametrize("metrics", METRICS)
def test_an_epoch_that_was_cut_has_the_same_metrics(tmp_path, metrics):
    whole = backed_up(tmp_path / "whole", a_model(metrics)).history
    with pytest.raises(ZeroDivisionError):
        backed_up(tmp_path / "backup", a_model(metrics), 8)
    assert repr(backed_up(tmp_path / "backup", a_model(metrics)).history) == repr(whole)  # of arrays, too


@pytest.mark.parametrize("steps", [2, 3])
def test_epochs_of_fewer_steps_go_on_within_a_pass(tmp_path, steps):
    resumed, whole = a_model(), a_model()
    backed_up(tmp_path / "whole", whole, steps_per_epoch=steps)
    with pytest.raises(ZeroDivisionError):
        backed_up(tmp_path / "backup", a_model(), 2 * steps + 1, steps_per_epoch=steps)
    elsewhere()
    backed_up(tmp_path / "backup", resumed, steps_per_epoch=steps)
    assert same(resumed, whole)


def loader():
    x, y = data(40)
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))
    return torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)


@pytest.mark.parametrize("at", [6, 10, 13])
def test_a_shuffling_data_loader_draws_the_same_order_again(tmp_path, at):
    def fitted(name, model, stop=0):
        return backed_up(tmp_path / name, model, stop, x=loader(), y=None, batch_size=None, validation_split=0.0)

    resumed, whole = a_model(), a_model()
    fitted("whole", whole)
    cut = a_model()
    with pytest.raises(ZeroDivisionError):
        fitted("backup", cut, at)
    elsewhere()
    fitted("backup", resumed)
    assert same(resumed, whole)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b[:-1], lambda b: b"", lambda b: b[:200] + b"x" + b[201:]]
)
def test_a_torn_checkpoint_is_told_and_the_one_before_is_used(tmp_path, capsys, damage):
    whole, resumed = a_model(), a_model()
    backed_up(tmp_path / "whole", whole)
    with pytest.raises(ZeroDivisionError):
        backed_up(tmp_path / "backup", a_model(), 9)
    newest = max((tmp_path / "backup").glob("*.checkpoint"))
    newest.write_bytes(damage(newest.read_bytes()))
    backed_up(tmp_path / "backup", resumed)
    assert newest.name in capsys.readouterr().out
    assert same(resumed, whole)


@pytest.mark.parametrize(("seconds", "epochs"), [(1e-9, 1), (100, 4)])
def test_a_training_that_its_time_budget_ended_goes_on_with_a_larger_one(tmp_path, seconds, epochs):
    def fitted(seconds):
        backup = sl.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model = a_model()
        history = model.fit(
            *data(), batch_size=8, epochs=4, verbose=0, callbacks=[sl.callbacks.TimeBudget(seconds), backup]
        )
        return len(history.history["loss"])

    assert fitted(1e-9) == 1
    assert fitted(seconds) == epochs


def test_a_training_that_stopped_by_itself_stays_stopped(tmp_path):
    def fitted(epochs):
        stopping = sl.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=100)
        backup = sl.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model = a_model()
        history = model.fit(*data(), batch_size=8, epochs=epochs, verbose=0, callbacks=[stopping, backup])
        return history.history, model

    (first, one), (second, other) = fitted(9), fitted(20)
    assert first == second
    assert same(one, other)
    assert len(first["loss"]) == 2


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    with pytest.raises(ZeroDivisionError):
        backed_up(tmp_path / "backup", a_model(), 9)
    with pytest.raises(sl.SightlineError, match="not the same batches in an epoch"):
        backed_up(tmp_path / "backup", a_model(), batch_size=16)
    with pytest.raises(sl.SightlineError, match="not the same metrics"):
        backed_up(tmp_path / "backup", a_model(metrics=()))
    with pytest.raises(sl.SightlineError, match="not the same callbacks"):
        a_model().fit(
            *data(),
            validation_split=0.2,
            batch_size=8,
            epochs=4,
            verbose=0,
            callbacks=sl.callbacks.BackupAndRestore(tmp_path / "backup"),
        )
    other = sl.Sequential([sl.Input((6, 6, 1)), sl.layers.Flatten(), sl.layers.Dense(3, activation="softmax")])
    other.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(sl.SightlineError, match="not the same network"):
        backed_up(tmp_path / "backup", other)


@pytest.mark.parametrize(
    "state",
    [
        {"a": [1, 2.5, None, True, "x"], "b": {"c": (1, 2), 3: torch.arange(4)}},
        {"nan": [float("inf"), float("-inf")], "big": 2**100, "tiny": 5e-324, "third": 1 / 3},
        {"array": np.arange(3, dtype=np.uint32), "scalar": np.float32(0.1), "flag": torch.tensor(True)},
        {"layout": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), "half": torch.rand(3).bfloat16()},
    ],
)
def test_a_state_comes_back_as_it_was(tmp_path, state):
    checkpoint.write(tmp_path / "one", state)
    back = checkpoint.read(tmp_path / "one")

    def equal(one, other):
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        if isinstance(one, (list, tuple)):
            return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
        if isinstance(one, torch.Tensor):
            return one.dtype == other.dtype and torch.equal(one, other)
        return bool(np.array_equal(one, other))

    assert equal(state, back)


def test_what_no_file_can_hold_is_named(tmp_path):
    with pytest.raises(sl.SightlineError, match=r"state.outer\[1\] cannot be kept in a checkpoint"):
        checkpoint.write(tmp_path / "one", {"outer": [1, object()]})
    assert not list(tmp_path.iterdir())


# --- signals, and the command line ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_ends_and_the_command_goes_on(tmp_path, photos, run, monkeypatch, number, code):
    flags = ["--model", "networks.py:network", "--image-size", "12", "--name", "cut", "--augment", "light"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sightline", "train", photos, *flags, "--epochs", "5000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SIGHTLINE_CACHE": str(tmp_path / "cache")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("Epoch 2/"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    assert "Interrupted; go on with it: sightline train --resume runs/classify/cut" in out
    cut = tmp_path / "runs" / "classify" / "cut"
    assert list((cut / "checkpoint").glob("*.checkpoint"))
    settings = (cut / "config.yaml").read_text()
    (cut / "config.yaml").write_text(settings.replace("epochs: 5000", "epochs: 2"))
    monkeypatch.chdir(tmp_path)
    epochs = len((cut / "results.csv").read_text().split()) + 1
    said = run("train", "--resume", "runs/classify/cut", "--epochs", epochs)
    assert said.code == 0, said
    assert "Going on after" in said.out
    assert "Report runs/classify/cut/report.html" in said.out


# --- a run's folder that is not as it was --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, no_report):
    folder = tmp_path_factory.mktemp("finished")
    draw = np.random.default_rng(0)
    for kind, level in (("dark", 60), ("light", 190)):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(draw.normal(level, 30, (8, 8, 3)).clip(0, 255).astype(np.uint8)).save(
                folder / "photos" / kind / f"{i}.png"
            )
    (folder / "networks.py").write_text(NETWORK)
    model = f"{folder / 'networks.py'}:network"
    with no_report():
        return sl.train(
            folder / "photos", model=model, image_size=8, epochs=2, runs=str(folder / "runs"), name="one"
        ).path


@pytest.fixture
def copied_run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "moved" / "one"))


@pytest.mark.usefixtures("without_report")
def test_a_finished_run_takes_more_epochs_wherever_it_lies(copied_run, run):
    code, out, _ = run("train", "--resume", copied_run, "--epochs", "3")
    assert code == 0
    assert "Going on after epoch 2" in out
    assert len((copied_run / "results.csv").read_text().splitlines()) == 4
    assert "epochs: 3" in (copied_run / "config.yaml").read_text()


def test_a_run_that_only_has_to_end_writes_the_same_files(copied_run, finished, run):
    for name in ("evaluation.json", "results.csv"):
        (copied_run / name).unlink()
    assert run("train", "--resume", copied_run)[0] == 0
    assert (copied_run / "report.html").is_file()
    for name in ("weights/last.sightline", "weights/best.sightline", "results.csv", "evaluation.json"):
        assert (copied_run / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "data.json").unlink(), "data.json is gone"),
        (lambda run: (run / "data.json").write_text("{}"), "damaged"),
        (lambda run: (run / "data.json").write_text('{"root": "/", "splits": {}}'), "damaged"),
        (lambda run: (run / "config.yaml").write_text(""), "damaged"),
        (lambda run: (run / "config.yaml").unlink(), "not a run"),
        (lambda run: [f.write_bytes(b"PK") for f in (run / "checkpoint").iterdir()], "No checkpoint"),
    ],
)
def test_what_is_missing_or_damaged_is_told_and_nothing_is_lost(copied_run, run, spoil, words):
    spoil(copied_run)
    before = {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file() and path.name != "log.txt"}
    code, _, err = run("train", "--resume", copied_run, "--epochs", "9")
    assert code == 2
    assert words in err
    after = {path: path.read_bytes() for path in copied_run.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert before == after


@pytest.mark.parametrize("flags", [("--lr", "0.1"), ("--epochs", "1"), ("--batch-size", "3"), ("--name", "other")])
def test_what_a_resumed_run_cannot_be_given_is_refused(copied_run, run, flags):
    settings = (copied_run / "config.yaml").read_text()
    code, _, err = run("train", "--resume", copied_run, *flags)
    assert code == 2
    assert flags[0].lstrip("-") in err
    assert (copied_run / "config.yaml").read_text() == settings


@pytest.mark.usefixtures("without_report")
def test_why_a_run_ended_early_is_in_its_log(finished, run):
    words = ["train", finished.parents[2] / "photos", "--model", "small_cnn", "--image-size", "8", "--epochs", "3"]
    runs = ["--runs", finished.parents[1]]
    assert run(*words, *runs, "--name", "short", "--time-budget", "1e-6")[0] == 0
    log = (finished.parents[1] / "classify" / "short" / "log.txt").read_text()
    assert "It ended before epoch 3: its 1e-06 minutes were over" in log
