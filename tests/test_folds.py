"""Cross-validation: every image is held back once, alike in every class, and nothing that belongs together on two sides."""

import json
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import sightline as sl
from sightline.data.folds import fold_datasets, fold_numbers, folds, search_folds
from sightline.data.splits import with_copies_together
from sightline.data.survey import survey
from sightline.errors import ArgumentError, DataError, RunError
from sightline.runs.cross_validation import FoldScores
from sightline.runs.folder import RunFolder
from sightline.structures import Boxes, Dataset, Sample


def samples_of(labels, groups=None):
    groups = groups or [None] * len(labels)
    return [Sample(Path(f"{i}.png"), label, group=g) for i, (label, g) in enumerate(zip(labels, groups, strict=True))]


many_labels = st.lists(st.integers(0, 3), min_size=8, max_size=60)


@given(many_labels, st.integers(2, 6), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_folds_are_a_partition_as_even_as_sklearns(labels, count, seed):
    samples = samples_of(labels)
    made = folds(samples, count, seed)
    assert sorted(s.path for _, held in made for s in held) == sorted(s.path for s in samples)
    assert all(Counter(kept) + Counter(held) == Counter(samples) for kept, held in made)
    for label in set(labels):
        counts = [sum(s.label == label for s in held) for _, held in made]
        assert max(counts) - min(counts) <= 1  # what StratifiedKFold promises
    assert folds(samples, count, seed) == made


@given(many_labels, st.data(), st.integers(2, 4))
@settings(deadline=None, max_examples=60)
def test_groups_are_never_parted_and_lie_as_evenly_as_sklearns(labels, data, count):
    groups = [f"g{data.draw(st.integers(0, 12))}" for _ in labels]
    own = np.array(fold_numbers(samples_of(labels, groups), count, 0))
    for group in set(groups):
        assert len({own[i] for i, name in enumerate(groups) if name == group}) == 1
    theirs = np.empty(len(labels), int)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    if len(set(groups)) < count or max(Counter(labels).values()) < count:
        return
    for number, (_, held) in enumerate(splitter.split(labels, labels, groups)):
        theirs[held] = number

    def unevenness(numbers):
        return sum(
            np.std([np.sum((numbers == f) & (np.array(labels) == c)) for f in range(count)]) for c in set(labels)
        )

    assert unevenness(own) <= unevenness(theirs) + 0.35 * len(set(labels)) * max(Counter(groups).values())


def test_images_of_several_classes_are_spread_too():
    generator = np.random.default_rng(0)
    box = [0, 0, 1, 1]
    shown = [generator.choice(4, generator.integers(1, 4), replace=False, p=[0.5, 0.3, 0.15, 0.05]) for _ in range(200)]
    samples = [Sample(Path(f"{i}.png"), boxes=Boxes([box] * len(k), k)) for i, k in enumerate(shown)]
    numbers = np.array(fold_numbers(samples, 5, 0))
    for label in range(4):
        counts = [sum(label in shown[i] for i in np.flatnonzero(numbers == fold)) for fold in range(5)]
        assert max(counts) - min(counts) <= 2


def dataset_of(splits, given=()):
    return Dataset(Path("photos"), ("a", "b"), {k: tuple(v) for k, v in splits.items()}, given)


def test_a_test_split_is_in_no_fold():
    everything = samples_of([0, 1] * 30)
    dataset = dataset_of(
        {"train": everything[:40], "validation": everything[40:50], "test": everything[50:]}, ("test",)
    )
    for fold in fold_datasets(dataset, 5, 0):
        assert set(fold.splits) == {"train", "validation", "test"}
        assert Counter(fold.samples) == Counter(everything[:50])
    for fold in search_folds(dataset, 3, 0):
        assert Counter(fold.samples) == Counter(everything[:50])


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(DataError, match=r"images of the class 'b' for 4 folds.*at least 4.*Received: 3.*fewer folds"):
        fold_datasets(dataset_of({"all": samples_of([0] * 9 + [1] * 3)}), 4, 0)
    together = samples_of([0] * 9 + [1] * 6, [None] * 9 + ["x", "x", "x", "y", "y", "y"])
    with pytest.raises(DataError, match="Received: 2"):
        fold_datasets(dataset_of({"all": together}), 3, 0)
    with pytest.raises(ArgumentError, match="at least 2"):
        folds(samples_of([0, 1]), 1, 0)


def test_what_is_there_several_times_makes_a_naive_split_look_better_than_it_is(tmp_path):
    """Noise with labels drawn by lot: nothing can be learned of it, but that copies have their original's label."""
    generator = np.random.default_rng(1)
    pixels, labels = [], []
    for i in range(60):
        picture, label = generator.integers(0, 256, (16, 16)), int(generator.integers(2))
        for copy in range(4):  # each saved a little brighter or darker
            changed = np.clip(picture * 0.9 + 5 * copy, 0, 255).astype(np.uint8)
            path = tmp_path / "ab"[label] / f"{i}-{copy}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(changed).save(path)
            pixels.append(changed.reshape(-1).astype(float))
            labels.append(label)
    nearest = KNeighborsClassifier(1)
    naive = cross_val_score(nearest, np.array(pixels), labels, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    dataset = sl.data.read(tmp_path)
    together = with_copies_together(dataset, survey(dataset, 1, use_cache=False))
    shares = []
    for kept, held in folds(together.samples, 5, 0):
        x = [np.array(Image.open(s.path), float).reshape(-1) for s in (*kept, *held)]
        nearest.fit(x[: len(kept)], [s.label for s in kept])
        shares.append(nearest.score(x[len(kept) :], [s.label for s in held]))
    assert naive.mean() > 0.95
    assert abs(np.mean(shares) - 0.5) < 3 * np.sqrt(0.25 / 60)  # chance, of 60 pictures


def test_the_interval_is_nadeau_and_bengios():
    values = (0.80, 0.84, 0.79, 0.86, 0.81)
    scores = FoldScores("accuracy", values)
    variance = np.var(values, ddof=1) * (1 / 5 + 0.2 / 0.8)
    low, high = stats.t.interval(0.95, 4, np.mean(values), np.sqrt(variance))
    assert scores.interval == pytest.approx((low, high))
    assert scores.spread == pytest.approx(np.std(values, ddof=1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of two kinds of stripes: 12 of each to learn from, 3 to test."""
    root = tmp_path_factory.mktemp("data") / "photos"
    generator = np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 3)):
        for name in ("across", "down"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                stripes = np.arange(16) // 2 % 2 * 150
                pixels = generator.integers(0, 100, (16, 16)) + (stripes[:, None] if name == "across" else stripes)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


SMALL = ["--model", "small_cnn", "--image-size", 16, "--epochs", 1, "--batch-size", 8, "--workers", 1]


@pytest.mark.usefixtures("without_report")
def test_cross_validation_goes_on_after_a_kill_and_decodes_each_image_once(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    from sightline.data import images
    from sightline.runs import cross_validation

    decoded = []
    whole, trained = images.decode_row, cross_validation.train
    monkeypatch.setattr(images, "decode_row", lambda sample, spec: decoded.append(sample.path) or whole(sample, spec))

    def killed_in_the_second(resume):
        if resume.name == "fold-2" and not (resume / "log.txt").exists():
            (resume / "log.txt").write_text("")
            raise KeyError("killed")
        return trained(resume=resume)

    monkeypatch.setattr(cross_validation, "train", killed_in_the_second)
    with pytest.raises(KeyError):
        sl.cross_validate(photos, folds=2, model="small_cnn", image_size=16, epochs=1, batch_size=8, workers=1)
    folder = tmp_path / "runs" / "classify" / "photos-small_cnn"
    first = (folder / "fold-1" / "evaluation.json").read_bytes()
    code, out, _ = run("train", "--resume", folder)
    assert code == 0
    assert (folder / "fold-1" / "evaluation.json").read_bytes() == first
    assert "2 folds: accuracy" in out
    assert "spread" in out
    validation = sl.CrossValidation(folder)
    held = [json.loads((f.path / "data.json").read_text())["splits"]["test"] for f in validation.folders]
    names = [name for part in held for name, _ in part]
    assert sorted(names) == sorted(set(names))
    assert len(names) == 24
    assert not any(name.startswith("test") for name in names)
    assert len(decoded) == len(set(decoded)) == 24
    measured = [r.measures.headlines[0].value for r in validation.runs]
    assert json.loads((folder / "folds.json").read_text())["scores"]["accuracy"]["values"] == measured


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--folds", 1], ["number of folds", "at least 2"]),
        (["--folds", 20], ["too few images of the class 'across'", "20 folds"]),
    ],
)
def test_wrong_foldings_are_told(run, photos, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", photos, *flags, *SMALL)
    assert code == 2
    assert all(word in err for word in words), err
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("without_report")
def test_a_cross_validation_is_no_run_and_neither_leaves_files_to_the_other(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "classify" / "photos"
    assert run("train", photos, *SMALL, "--name", "photos")[0] == 0
    assert run("train", photos, *SMALL, "--name", "photos", "--folds", 2, "--exist-ok")[0] == 0
    for command in (["evaluate", folder], ["predict", folder, photos]):
        code, _, err = run(*command)
        assert code == 2
        assert "is a cross-validation, each fold of which is a run. Name one:" in " ".join(err.split())
        assert "fold-1" in err
    assert run("evaluate", folder / "fold-1")[0] == 0
    assert run("train", photos, *SMALL, "--name", "photos", "--exist-ok")[0] == 0
    code, out, _ = run("train", "--resume", folder, "--epochs", 2)
    assert code == 0, out
    assert "Epoch 2/2" in out


@pytest.mark.usefixtures("without_report")
def test_an_interrupted_cross_validation_says_how_all_folds_go_on(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from sightline.runs import cross_validation

    def interrupted(resume):
        raise KeyboardInterrupt

    monkeypatch.setattr(cross_validation, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sl.cross_validate(photos, folds=2, model="small_cnn", image_size=16, epochs=1, name="cut")
    assert f"All folds go on with: sightline train --resume {Path('runs/classify/cut')}" in capsys.readouterr().out


def test_a_hint_is_a_command_whatever_the_folders_name(tmp_path):
    folder = RunFolder(tmp_path / "it's a run")
    folder.path.mkdir()
    folder.config.write_text("data: photos\n")
    with pytest.raises(RunError) as told:
        folder.require(folder.evaluation)
    words = shlex.split(str(told.value).partition("Go on with it: ")[2].rstrip("."))
    assert words == ["sightline", "train", "--resume", str(folder.path)]
