"""The search for hyperparameters: bad trials end early, nothing is lost or counted twice, the answer is honest."""

import datetime
import html
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from PIL import Image

import sightline as sl
from searching import concluding, grid, pretending
from sightline.errors import ArgumentError, RunError
from sightline.tuning import answer, search, study, trials
from sightline.tuning.study import COPY_OF, PROCESS, finished, open_study, seconds_searched


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of two kinds of stripes, of which a few are held back."""
    root = tmp_path_factory.mktemp("data") / "photos"
    generator = np.random.default_rng(0)
    for name in ("across", "down"):
        (root / name).mkdir(parents=True)
        for i in range(16):
            stripes = np.arange(16) // 2 % 2 * 150
            pixels = generator.integers(0, 100, (16, 16)) + (stripes[:, None] if name == "across" else stripes)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Trials pretend to train; gives what was trained: (process, rate, batch size), once for each fold."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "trained.jsonl"
    log.touch()
    monkeypatch.setattr(trials, "best_validation", pretending(log))
    monkeypatch.setattr(answer, "conclude", concluding)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def study_of(tuned):
    return open_study(tuned.folder.url(None), tuned.path.name, 9, 0)


def test_bad_trials_end_early_and_good_ones_have_all_folds(photos, pretended, monkeypatch):
    def space(trial):
        return {"lr": trial.suggest_float("lr", 0.0001, 1.0, log=True)}

    def near_a_hundredth(settings, epoch):
        return 1 / (1 + abs(np.log10(settings.lr) + 2)) - 0.1 / (1 + epoch)

    monkeypatch.setattr(trials, "best_validation", pretending("trained.jsonl", quality=near_a_hundredth))
    tuned = sl.tune(photos, space=space, trials=27, folds=3, epochs=9, workers=1)
    done = finished(study_of(tuned))
    assert len(done) == 27
    whole = [t for t in done if t.state == optuna.trial.TrialState.COMPLETE]
    given_up = [t for t in done if t.state == optuna.trial.TrialState.PRUNED]
    assert len(given_up) > 13
    assert all(len(t.user_attrs["folds"]) == 3 for t in whole)
    assert max(t.value for t in whole) > max(max(t.intermediate_values.values()) for t in given_up) - 0.05
    epochs = sum(min(t.last_step, 27) for t in done)
    assert epochs < 27 * 27 / 3  # a third of what all of them would take
    assert abs(np.log10(tuned.settings["lr"]) + 2) < 0.3


def test_the_same_settings_are_trained_once_and_a_space_can_be_exhausted(photos, pretended):
    tuned = sl.tune(photos, space=grid, trials=100, folds=2, epochs=2, workers=1)
    done = finished(study_of(tuned))
    assert len(done) == 7  # the default and all of the grid, though a hundred were asked for
    trained = Counter((rate, size) for _, rate, size in pretended())
    assert len(trained) == 7
    assert max(trained.values()) <= 2  # folds
    copies = [t for t in study_of(tuned).trials if COPY_OF in t.user_attrs]
    assert copies
    assert tuned.settings == {"lr": 0.01, "batch_size": 16}


def test_a_search_goes_on_as_if_it_had_never_stopped(photos, pretended):
    def space(trial):
        return {"lr": trial.suggest_float("lr", 0.0001, 1.0, log=True)}

    once = sl.tune(photos, space=space, trials=13, folds=2, epochs=2, workers=1, name="once")
    sl.tune(photos, space=space, trials=5, folds=2, epochs=2, workers=1, name="twice")
    twice = sl.tune(resume="runs/classify/twice", space=space, trials=13)
    assert [t.params for t in study_of(once).trials] == [t.params for t in study_of(twice).trials]


def test_what_a_killed_process_was_trying_is_tried_again_and_counted_once(photos, pretended):
    tuned = sl.tune(photos, space=grid, trials=2, folds=2, epochs=9, workers=1)
    own = study_of(tuned)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")
    gone = subprocess.Popen(["true"])
    gone.wait()
    lost = own.ask({"lr": optuna.distributions.CategoricalDistribution([0.001, 0.01, 0.1])})
    lost.set_user_attr(PROCESS, f"{os.uname().nodename} {gone.pid}")
    other = own.ask()  # of this process, which lives
    other.set_user_attr(PROCESS, study.this_process())
    study.requeue_killed(own)
    study.requeue_killed(own)
    waiting = [t for t in own.trials if t.state == optuna.trial.TrialState.WAITING]
    assert [t.system_attrs.get("fixed_params", t.params) for t in waiting] == [{"lr": lost.params["lr"]}]
    assert own.trials[lost.number].state == optuna.trial.TrialState.FAIL
    assert own.trials[other.number].state == optuna.trial.TrialState.RUNNING


def test_a_search_ends_with_its_time_in_the_middle_of_a_trial_which_goes_first_later(photos, pretended, monkeypatch):
    tuned = sl.tune(photos, space=grid, trials=1, folds=2, epochs=9, workers=1)
    monkeypatch.setattr(trials, "best_validation", pretending("late.jsonl", seconds=30.0))
    monkeypatch.setattr(search, "seconds_searched", lambda done: 0.0)
    sl.tune(resume=tuned.path, space=grid, minutes=0.02)
    *_, cut, waiting = study_of(tuned).trials
    assert (cut.state, waiting.state) == (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.WAITING)
    assert waiting.system_attrs["fixed_params"] == cut.params
    assert len(finished(study_of(tuned))) == 1


def test_times_that_overlap_count_once():
    at = [datetime.datetime(2020, 1, 1, 0, minute) for minute in range(10)]
    spans = [(0, 2), (1, 3), (5, 6), (5, 8)]
    some = [SimpleNamespace(datetime_start=at[a], datetime_complete=at[b]) for a, b in spans]
    assert seconds_searched(some) == 60 * (3 + 3)


@pytest.fixture(scope="module")
def tuned(photos, tmp_path_factory):
    """A whole search with its answer."""
    folder = tmp_path_factory.mktemp("tuned")
    before = Path.cwd()
    os.chdir(folder)
    try:
        return sl.tune(
            photos, trials=4, folds=2, model="small_cnn", image_size=16, epochs=1, lr=0.01, batch_size=8, workers=1,
            optimizer="adam", augment="none", runs=str(folder / "runs"),
        )  # fmt: skip
    finally:
        os.chdir(before)


def test_no_trial_sees_the_test_images(tuned, photos):
    from sightline.tuning.folder import prepared

    settings, asked = tuned.folder.read()
    data = prepared(settings, asked.folds, lambda text: None)
    held = {sample.path for sample in data.whole.splits["test"]}
    assert len(held) >= 4
    for fold in data.folds:
        assert not held & {sample.path for sample in fold.samples}
        assert len(fold.samples) + len(held) == 32
    recorded = json.loads((tuned.run.path / "data.json").read_text())["splits"]["test"]
    assert {photos / name for name, _ in recorded} == held


def test_the_answer_can_be_trusted(tuned):
    assert tuned.run.measures.split == "test"
    told = json.loads(tuned.folder.answer.read_text())
    best, default = (told["measures"][who]["accuracy"]["value"] for who in ("best", "default"))
    value, low, high = tuned.difference
    assert value == pytest.approx(best - default)
    compared = tuned.run.compare(sl.Run(tuned.path / "default"))
    assert (value, (low, high)) == (compared.difference.value, compared.difference.interval)
    assert 0 <= tuned.score <= 1
    page = tuned.folder.report.read_text()
    assert "that no trial saw" in page
    assert all(html.escape(line, quote=False) in page for line in str(compared).splitlines())
    assert page.count("data:image/png") >= 1
    assert "http" not in page.replace("http://www.w3.org", "")
    assert tuned.command.startswith("sightline train ")
    assert all(f"--{name.replace('_', '-')} " in tuned.command for name in tuned.settings)


def test_what_was_given_is_not_searched(tuned):
    tried = {name for t in study_of(tuned).trials for name in t.params}
    assert tried == {"weight_decay", "dropout", "label_smoothing", "filters", "kernel_size", "units"}


def test_the_arguments_of_a_network_are_settings_too(tmp_path):
    from sightline.runs.networks import find_source
    from sightline.runs.settings import resolve
    from sightline.tuning.space import NETWORKS, default_space, with_choices

    for name, choices in NETWORKS.items():
        begun = resolve("photos", {"model": name, "lr": 0.01})
        drawn = optuna.trial.FixedTrial(
            {key: values[-1] for key, values in choices.items()}
            | {"optimizer": "sgd", "batch_size": 16, "weight_decay": 0.01234, "dropout": 0.1, "label_smoothing": 0.0}
            | {"augment": "none"}
        )
        chosen = with_choices(begun, default_space(begun, ["lr"], lambda settings: 1.0)(drawn))
        assert chosen.weight_decay == 0.0123
        made = find_source(name, network=chosen.network).make((64, 64, 1), 3)
        assert made.layers[1 if made.layers[0].name.startswith("input") else 0].filters == 64
        assert f"--network filters={choices['filters'][-1]}" in chosen.command()
        with pytest.raises(ArgumentError, match=r"filtres.*Did you mean \"filters\""):
            find_source(name, network={"filtres": 3}).make((64, 64, 1), 3)
    with pytest.raises(ArgumentError, match="'filters'"):
        sl.create("lenet5", (32, 32, 1), 10, network={"filters": 3})


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["number of trials", "at least 1"], ["--trials", 0]),
        (["minutes", "above 0"], ["--minutes", 0]),
        (["number of folds", "at least 2"], ["--folds", 1]),
        (["too few images of the class", "20 folds"], ["--folds", 20]),
        (["no file", "nowhere.py"], ["--space", "nowhere.py:mine"]),
        (["a file and a function"], ["--space", "mine"]),
        (["has no function other"], ["--space", "mine.py:other"]),
        (["cannot be loaded", "SyntaxError"], ["--space", "broken.py:mine"]),
        (["space", "ZeroDivisionError"], ["--space", "mine.py:fails"]),
        (["returns a dictionary", "Received: 3"], ["--space", "mine.py:three"]),
        (["space chose", "lernrate", "lr"], ["--space", "mine.py:unknown"]),
        (["cannot choose data"], ["--space", "mine.py:elsewhere"]),
        (["not a search"], ["--resume", "."]),
    ],
)
def test_wrong_input_is_told(run, photos, tmp_path, monkeypatch, words, flags):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trials, "best_validation", pretending(tmp_path / "log"))
    (tmp_path / "broken.py").write_text("def mine(:")
    (tmp_path / "mine.py").write_text(
        "def fails(trial): return 1 / 0\ndef three(trial): return 3\n"
        "def unknown(trial): return {'lernrate': 1}\ndef elsewhere(trial): return {'data': 'x'}\n"
    )
    data = [] if "--resume" in flags else [photos]
    budget = [] if flags[0] in ("--trials", "--minutes", "--resume") else ["--trials", 2]
    code, out, err = run("tune", *data, *flags, *budget)
    assert code == 2, out
    assert all(word in err for word in words), err


def test_without_optuna_it_says_what_to_install(run, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = run("tune", photos)
    assert code == 2
    assert 'pip install "sightline[tune]"' in err


def test_an_answer_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RunError, match="not a search"):
        sl.Tuned(tmp_path)
    with pytest.raises(ArgumentError, match="goes on with the settings"):
        sl.tune("photos", resume=tmp_path)


@pytest.mark.slow
def test_two_processes_share_a_study_and_one_may_be_killed(photos, pretended, tmp_path):
    tuned = sl.tune(photos, space=grid, trials=1, folds=2, epochs=9, workers=1)
    log = tmp_path / "both.jsonl"
    words = [sys.executable, Path(__file__).with_name("searching.py"), tuned.path, log, "1.0", "100"]
    workers = [subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    while not log.exists() or len({json.loads(line)[0] for line in log.read_text().splitlines()}) < 2:
        time.sleep(0.1)
    before = {t.number: t.value for t in finished(study_of(tuned))}
    os.kill(workers[0].pid, signal.SIGKILL)
    assert workers[1].wait(timeout=250) == 0
    done = finished(study_of(tuned))
    assert before.items() <= {t.number: t.value for t in done}.items()  # none is lost
    keys = [(t.user_attrs["settings"]["lr"], t.user_attrs["settings"]["batch_size"]) for t in done]
    assert len(keys) == len(set(keys)) >= 6  # none is counted twice
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    theirs = [[tuple(row[1:]) for row in rows if row[0] == worker.pid] for worker in workers]
    assert theirs[0][-1] in keys  # what was cut was tried again
    assert set(theirs[0]) & set(theirs[1]) <= {theirs[0][-1]}  # and nothing else was tried by both
