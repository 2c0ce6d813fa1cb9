"""What is said of a network's quality: intervals that hold the truth, probabilities that can be trusted, fair comparisons."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, bootstrap
from sklearn import metrics as oracle

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, DataError
from sightline.metrics import balanced_accuracy, macro_f1
from sightline.metrics.by_class import balanced_accuracy_interval, macro_f1_interval
from sightline.metrics.calibration import error_by_chance, fit_temperature, log_loss, reliability, tempered
from sightline.metrics.intervals import (
    draws,
    ends,
    mcnemar,
    mean_interval,
    paired_mean_interval,
    paired_share_interval,
    wilson_interval,
)
from sightline.rewrite import before_softmax, score_map, to_fully_convolutional, with_temperature
from sightline.runs import Run
from sightline.runs.comparing import Comparison
from sightline.structures import Boxes, Detections, Sample
from sightline.tasks import TASKS

# --- intervals ---------------------------------------------------------------------------------------------------


def mixed_up(classes, right, seed=0):
    """The shares (classes, classes) of true and said classes of an imbalanced problem."""
    numbers = np.random.default_rng(seed)
    prior = np.maximum(numbers.dirichlet(np.full(classes, 3.0)), 0.03)
    said = np.zeros((classes, classes))
    for label in range(classes):
        share = np.clip(right + numbers.normal(0, 0.08), 0.3, 0.99)
        said[label] = np.insert(numbers.dirichlet(np.full(classes - 1, 0.5)) * (1 - share), label, share)
    return prior[:, None] / prior.sum() * said


def classified(classes, right):
    """For each headline of a classifier: its truth, and what gives its interval from a confusion."""
    shares = mixed_up(classes, right)
    truth = {
        "accuracy": np.trace(shares),
        "macro F1": np.mean(2 * np.diag(shares) / (shares.sum(0) + shares.sum(1))),
        "balanced accuracy": np.mean(np.diag(shares) / shares.sum(1)),
    }
    intervals = {
        "accuracy": lambda confusion: wilson_interval(np.trace(confusion) / confusion.sum(), confusion.sum()),
        "macro F1": macro_f1_interval,
        "balanced accuracy": balanced_accuracy_interval,
    }

    def drawn(numbers, n):
        return numbers.multinomial(n, shares.ravel()).reshape(shares.shape)

    return truth, intervals, drawn


def overlaps(numbers, n):
    """IoUs of boxes of which one in 12 is mostly missed."""
    return np.where(numbers.random(n) < 1 / 12, numbers.beta(1, 4, n), numbers.beta(12, 3, n))


def coverage(truth, intervals, drawn, n, times):
    numbers, hits = np.random.default_rng(n), dict.fromkeys(truth, 0)
    for _ in range(times):
        data = drawn(numbers, n)
        for name, value in truth.items():
            low, high = intervals[name](data)
            hits[name] += low <= value <= high
    return {name: count / times for name, count in hits.items()}


PROBLEMS = [(10, 0.8), (3, 0.85), (6, 0.93), (2, 0.9)]


@pytest.mark.parametrize("n", [70, 400])
def test_intervals_hold_the_truth(n):
    of_mean = {"mean IoU": 0.2 / 12 + 0.8 * 11 / 12}, {"mean IoU": mean_interval}, overlaps
    found = coverage(*classified(10, 0.8), n, 300) | coverage(*of_mean, n, 300)
    assert all(0.91 <= share <= 0.99 for share in found.values()), found  # 300 draws scatter by 2.5 points


@pytest.mark.slow
@pytest.mark.parametrize("n", [70, 400])
def test_intervals_hold_the_truth_in_thousands_of_draws(n):
    of_mean = {"mean IoU": 0.2 / 12 + 0.8 * 11 / 12}, {"mean IoU": mean_interval}, overlaps
    every = {problem: coverage(*classified(*problem), n, 2000) for problem in PROBLEMS}
    every["boxes"] = coverage(*of_mean, n, 2000)
    print(every)
    shares = [share for found in every.values() for share in found.values()]
    assert all(0.92 <= share <= 0.975 for share in shares)
    assert 0.94 <= np.mean(shares) <= 0.96


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.1), (0.1, 0.04), (0.03, 0.01)])
def test_intervals_of_differences_hold_the_truth(one, other):
    numbers, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        first, second, _ = numbers.multinomial(70, [one, other, 1 - one - other])
        low, high = paired_share_interval(first, second, 70)
        hits += low <= one - other <= high
    assert hits >= 930


def test_intervals_of_perfect_and_of_few_answers():
    for interval in (macro_f1_interval, balanced_accuracy_interval):
        assert interval(np.diag([20, 15])) == wilson_interval(1.0, 35)
        assert interval(np.array([[0, 1], [0, 0]])) == wilson_interval(0.0, 1)
    assert mean_interval(np.array([0.7])) == wilson_interval(0.7, 1)
    assert mean_interval(np.ones(9)) == wilson_interval(1.0, 9)


def test_mean_interval_of_yes_and_no_is_wilsons():
    """But for the n - 1 of the variance."""
    values = np.array([1.0] * 90 + [0.0] * 10)
    np.testing.assert_allclose(mean_interval(values), wilson_interval(0.9, 99), rtol=1e-12)


def test_ends_of_draws():
    drawn = np.append(np.linspace(0, 1, 1001), np.nan)
    np.testing.assert_allclose(ends(drawn, 0.6, method="percentile"), (0.025, 0.975))
    np.testing.assert_allclose(ends(drawn, 0.6), (0.225, 1.175))
    assert all(math.isnan(end) for end in ends(np.full(3, np.nan), 0.5))
    assert (draws(7, 5, 0).sum(1) == 7).all()


answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(answers)
@example([(0, 1)] * 11)  # of a share of 0 rounding alone put the interval's end above it
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_measures_of_the_confusion_are_scikit_learn_s(pairs):
    true, said = np.array(pairs).T
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (true, said), 1)
    assert macro_f1(confusion) == pytest.approx(oracle.f1_score(true, said, average="macro"))
    assert balanced_accuracy(confusion) == pytest.approx(oracle.balanced_accuracy_score(true, said))
    for value, (low, high) in (
        (macro_f1(confusion), macro_f1_interval(confusion)),
        (balanced_accuracy(confusion), balanced_accuracy_interval(confusion)),
    ):
        assert 0 <= low <= value <= high <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


# --- calibration -------------------------------------------------------------------------------------------------


def confident(n=400, classes=5, factor=3.0, seed=0):
    """Logits that are `factor` times too large for their labels, which are drawn as the logits themselves would have them."""
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(0, 2, (n, classes))
    labels = np.array([numbers.choice(classes, p=row) for row in tempered(logits, 1.0)])
    return logits * factor, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0, 40.0])
def test_the_temperature_is_the_one_of_a_general_optimiser(factor):
    logits, labels = confident(factor=factor)

    def loss(logarithm):
        scaled = torch.from_numpy(logits) / math.exp(logarithm)
        return float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(labels)))

    best = minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(best), rel=1e-5)
    assert fit_temperature(logits, labels) == pytest.approx(factor, rel=0.15)


def test_no_temperature_where_none_is_best():
    logits, _ = confident()
    assert fit_temperature(logits, logits.argmax(1)) is None
    assert fit_temperature(logits, logits.argmin(1)) is None


def test_reliability_by_brute_force():
    numbers = np.random.default_rng(1)
    confidence = np.append(numbers.uniform(0.2, 1, 300), [1.0, 2 / 15, 0.0])
    right = numbers.random(303) < 0.6
    found, error = reliability(confidence, right), 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15) if i else confidence <= 1 / 15
        assert found.n[i] == inside.sum()
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            error += inside.sum() / 303 * gap
    assert found.error == pytest.approx(error)


def test_a_calibrated_network_stays_within_what_chance_gives():
    numbers = np.random.default_rng(2)
    within = 0
    for _ in range(100):
        confidence = 1 - 0.7 * numbers.beta(0.5, 2, 80)
        within += reliability(confidence, numbers.random(80) < confidence).error <= error_by_chance(confidence)
    assert 0.9 <= within / 100 <= 0.99


def test_log_loss_is_scikit_learn_s():
    logits, labels = confident()
    said = tempered(logits, 2.0)
    assert log_loss(said, labels).mean() == pytest.approx(oracle.log_loss(labels, said))


# --- a network with a temperature --------------------------------------------------------------------------------


def network(ending="dense"):
    torch.manual_seed(0)
    inputs = sl.Input((12, 10, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    if ending == "dense":
        return sl.Model(inputs, layers.Dense(3, activation="softmax", name="temperature")(x))
    x = layers.Dense(3)(x)
    return sl.Model(inputs, (layers.Activation("softmax") if ending == "activation" else layers.Softmax())(x))


@pytest.mark.parametrize("ending", ["dense", "activation", "softmax"])
def test_a_temperature_divides_the_logits(ending, tmp_path):
    model = network(ending).eval()
    model.metadata["task"] = "classify"
    x = torch.randn(20, 3, 12, 10) * 5
    logits = sl.Model(model.inputs, before_softmax(model)).eval()(x)
    warm = with_temperature(model, 2.5)
    expected = torch.softmax(logits / 2.5, 1)
    torch.testing.assert_close(warm(x), expected)
    assert torch.equal(warm(x).argmax(1), model(x).argmax(1))
    assert warm.metadata == {"task": "classify", "temperature": 2.5}
    assert "temperature" not in model.metadata
    assert warm.count_params() == model.count_params()
    again = with_temperature(sl.load(warm.save(tmp_path / "warm.sightline")), 2.5)  # in place of the one that it has
    assert torch.equal(again(x), warm(x))
    assert len(again.layers) == len(warm.layers)
    torch.testing.assert_close(with_temperature(again, 1.0)(x), model(x))
    assert torch.equal(sl.load(warm.save(tmp_path / "warm.keras"))(x), warm(x))


def test_a_plain_network_takes_the_weights_of_one_with_a_temperature(tmp_path):
    path = with_temperature(sl.create("small_cnn", (16, 16, 3), 4), 3.0).save(tmp_path / "warm.sightline")
    plain = sl.create("small_cnn", (16, 16, 3), 4, weights=path)
    other = sl.create("small_cnn", (16, 16, 3), 4)
    other.load_weights(path)
    x = torch.randn(4, 3, 16, 16)
    warm = sl.load(path)
    torch.testing.assert_close(with_temperature(plain.eval(), 3.0)(x), warm(x))
    assert torch.equal(other.eval()(x), plain(x))


def test_a_fully_convolutional_network_keeps_the_temperature():
    warm = with_temperature(network(), 2.0).eval()
    dense = to_fully_convolutional(warm).eval()
    x = torch.randn(2, 3, 14, 11)
    torch.testing.assert_close(dense(x)[:, :, 2, 1], warm(x[:, :, 2:, 1:]))
    assert score_map(dense).window == (12, 10)


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan")])
def test_impossible_temperatures(temperature):
    with pytest.raises(ArgumentError, match="above 0"):
        with_temperature(network(), temperature)


def test_a_network_without_a_softmax_has_no_temperature():
    with pytest.raises(ArgumentError, match="does not end in a softmax"):
        with_temperature(sl.Sequential([sl.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)]), 2.0)


# --- runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of two classes that overlap, so that no network can be sure."""
    root, numbers = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, n in (("train", 40), ("validation", 30), ("test", 30)):
        for name, brightness in (("bright", 150), ("dark", 110)):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(numbers.normal(numbers.normal(brightness, 30), 10, (12, 12, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


CHOSEN = {"model": "small_cnn", "image_size": 12, "workers": 1, "augment": "none", "lr": 0.01, "schedule": "constant"}


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory):
    """Two runs on the same images."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        sl.train(photos, epochs=e, name=name, runs=str(folder), **CHOSEN) for e, name in ((3, "long"), (1, "short"))
    ]


def test_the_model_file_of_a_run_has_a_temperature(runs, photos):
    first, _ = runs
    temperature = first.model.metadata["temperature"]
    last = sl.load(first.folder.last)
    assert "temperature" not in last.metadata
    assert first.model._compiled is not None
    files = sorted((photos / "validation").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    plain = with_temperature(first.model, 1.0)
    labels = np.array([file.parent.name == "dark" for file in files], int)
    assert fit_temperature(np.log(plain.predict(pixels)), labels) == pytest.approx(temperature, rel=1e-3)
    said, _ = first.predict(files)
    assert np.array_equal([p.probabilities for p in said], first.model.predict(pixels))
    assert np.array_equal(first.model.predict(pixels).argmax(1), plain.predict(pixels).argmax(1))


def test_a_run_says_how_far_its_probabilities_can_be_trusted(runs, run):
    first, _ = runs
    calibration = first.measures.details["calibration"]
    assert calibration["temperature"] == first.model.metadata["temperature"]
    assert sum(row["images"] for row in calibration["bins"]) == 60
    assert sum(row["images"] for row in calibration["before"]["bins"]) == 60
    assert not calibration["fitted here"]
    assert first.evaluate()[0] == first.measures
    assert first.folder.calibration.read_bytes().startswith(b"\x89PNG")
    assert "Can its probabilities be trusted?" in first.folder.report.read_text()
    code, out, _ = run("evaluate", first.path)
    assert code == 0
    assert "macro F1" in out
    assert "Calibration error (ECE)" in out


def test_what_a_temperature_gains_where_it_was_fitted_is_called_optimistic():
    said = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    samples = [Sample(Path("a"), 0), Sample(Path("b"), 1), Sample(Path("c"), 1)]
    task = TASKS["classify"]().for_network({"temperature": 2.0})
    for split, words in (("validation", True), ("test", False)):
        remarks = task.remarks(task.measure(split, list(said), samples, ["x", "y"]))
        assert ("optimistic" in " ".join(remarks)) == words


@pytest.mark.slow
def test_a_resumed_run_is_fitted_anew(runs, photos, tmp_path):
    """To the same bits as a run that was never stopped."""
    sl.train(photos, epochs=1, name="cut", runs=str(tmp_path), **CHOSEN)
    cut = sl.train(resume=tmp_path / "classify" / "cut", epochs=3)
    for file in ("best", "last"):
        assert getattr(runs[0].folder, file).read_bytes() == getattr(cut.folder, file).read_bytes()
    assert "temperature" in cut.model.metadata


def test_a_run_compares_itself_with_another(runs, run):
    first, second = runs
    found = first.compare(second)
    samples = first.samples_for(None)[1]
    right = [
        np.array([said.argmax() == s.label for said, s in zip(r.answered(samples, "test")[0], samples, strict=True)])
        for r in runs
    ]
    assert found.difference.values == tuple(float(each.mean()) for each in right)
    assert found.difference.alone == (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
    assert found.n == 60
    back = second.compare(first).difference
    assert back.value == -found.difference.value
    np.testing.assert_allclose(back.interval, [-end for end in found.difference.interval[::-1]])
    code, out, _ = run("evaluate", first.path, second.path)
    assert code == 0
    assert f"Test accuracy {found.difference.values[0]:.4f} of long, n = 60" in out
    assert "McNemar p = " in out
    code, out, _ = run("evaluate", first.path, second.path, "--json")
    assert json.loads(out)["n"] == 60
    same = first.compare(first)
    assert same.difference.value == 0
    assert same.difference.p == 1


def test_no_run_is_compared_on_what_the_other_has_learned_from(runs, photos, tmp_path):
    """The second run's training images are the first's test images."""
    first, second = runs
    copied = tmp_path / "other"
    for file in second.path.rglob("*"):
        if file.is_file():
            (copied / file.relative_to(second.path)).parent.mkdir(parents=True, exist_ok=True)
            (copied / file.relative_to(second.path)).write_bytes(file.read_bytes())
    description = json.loads((copied / "data.json").read_text())
    splits = description["splits"]
    splits["train"], splits["test"] = splits["test"], splits["train"]
    (copied / "data.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="did not hold back the same images"):
        first.compare(Run(copied))
    with pytest.raises(DataError, match="No image is left"):
        first.compare(Run(copied), photos / "test")
    splits["train"], splits["test"] = splits["test"] + splits["train"][:7], splits["train"][7:]
    (copied / "data.json").write_text(json.dumps(description))
    found = first.compare(Run(copied), photos / "test")
    assert (found.n, found.left_out) == (53, 7)
    assert "7 images were left out" in str(found)
    alone = first.compare(Run(second.folder.best), photos / "test")
    assert alone.n == 60
    assert "What best.sightline has learned from is not known" in str(alone)


def test_runs_that_cannot_be_compared(runs, tmp_path):
    first, _ = runs
    for key, value, words in (("classes", ["bright", "dim"], "other classes"), ("task", "localize", "two tasks")):
        model = sl.load(first.folder.best)
        model.metadata[key] = value
        other = Run(model.save(tmp_path / f"{key}.sightline"))
        with pytest.raises(ArgumentError, match=words):
            first.compare(other)


def test_the_interval_of_a_mean_of_differences_is_scipys_bootstrap():
    numbers = np.random.default_rng(0)
    differences = numbers.random(200) - numbers.random(200) ** 2
    theirs = bootstrap((differences,), np.mean, n_resamples=1000, method="percentile", rng=1).confidence_interval
    assert paired_mean_interval(differences) == pytest.approx(tuple(theirs), abs=0.006)


def test_two_locators_and_two_detectors_are_compared():
    """Against bootstraps of their own means."""
    numbers = np.random.default_rng(0)
    boxes = [Boxes(np.array([[10, 10, 50, 50]]), np.array([0])) for _ in range(40)]
    samples = [Sample("a.png", 0, box) for box in boxes]

    def found(shift):
        return [box.xyxy[0] + numbers.normal(0, shift, 4) for box in boxes]

    near, far = found(1), found(6)
    localize, detect = TASKS["localize"](), TASKS["detect"]()
    size = (100, 100)
    one, other = ([(np.array([1.0]), box, size) for box in each] for each in (near, far))
    difference = localize.compare(one, other, samples, ["x"])
    overlap = [localize.scores(each, samples, ["x"])[1] for each in (one, other)]
    assert difference.value == pytest.approx(overlap[0].mean() - overlap[1].mean())
    assert difference.interval == paired_mean_interval(overlap[0] - overlap[1])
    assert difference.interval[0] > 0
    one, other = (
        [(Detections(box[None], numbers.random(1), np.array([0])), size) for box in each] for each in (near, far)
    )
    difference = detect.compare(one, other, samples, ["x"])
    assert difference.measure == "mAP50"
    assert difference.interval[0] <= difference.value <= difference.interval[1]
    same = detect.compare(one, one, samples, ["x"])
    assert (same.value, same.interval) == (0, (0, 0))


def test_a_difference_of_which_nothing_is_known_is_said_so():
    said = [(Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)), (9, 9))]
    difference = TASKS["detect"]().compare(said, said, [Sample("a.png", 0, Boxes())], ["x"])
    found = Comparison("one", "other", "test", 1, difference)
    assert str(found) == "Test mAP50 is not known: there is nothing to measure it on, n = 1"
    assert (found.as_dict()["difference"], found.as_dict()["interval"]) == (None, [None, None])
