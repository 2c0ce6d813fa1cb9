"""Metrics against Keras: several batches, with and without weights."""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import (
    OUR_OWN,
    SEEDS,
    examples,
    keras,
    normal,
    one_hot,
    to_torch,
)
from sightline.configurable import as_plain, from_plain

BATCHES = (6, 6)  # of one size, because the oracle compiles for each; test_batches_of_several_sizes has others
Batch = tuple[np.ndarray, ...]


def both(kind: str, *arguments: Any, **named: Any) -> list[Any]:
    return [getattr(module.metrics, kind)(*arguments, **named) for module in (sl, keras)]


def keras_compiled_metric(name: str) -> Any:
    """What `compile(metrics=[name])` makes: Keras resolves "accuracy" from the first batch's shapes."""
    from keras.src.trainers.compile_utils import CompileMetrics

    metrics = CompileMetrics([name], [])
    return SimpleNamespace(
        update_state=lambda y_true, y_pred, sample_weight=None: metrics.update_state(y_true, y_pred),
        result=lambda: metrics.result()[name],
    )


def check_metric(ours: Any, theirs: Any, batches: list[Batch], tolerance: float = 3e-6) -> None:
    """Batches of (y_true, y_pred) or (y_true, y_pred, sample_weight), as a person writes them."""
    for batch in batches:
        ours.update_state(*(to_torch(x) for x in batch))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's, of weights that it makes integers
            theirs.update_state(*batch)
        result, expected = ours.result(), np.asarray(theirs.result())
        assert isinstance(result, np.ndarray if expected.ndim else float)
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def check_with_and_without_weights(kind: str, arguments: dict[str, Any], make: Any, weights_like: Any) -> None:
    """`make(rng, n)` gives a batch, `weights_like` the shapes after the sample's axis that its weights may have."""
    rng = np.random.default_rng(0)
    batches = [make(rng, n) for n in BATCHES]
    check_metric(*both(kind, **arguments), batches)
    for shape in weights_like:
        weighted = [(*batch, rng.random((n, *shape), np.float32)) for n, batch in zip(BATCHES, batches, strict=True)]
        check_metric(*both(kind, **arguments), weighted)
    weighted = [(*batch, rng.integers(0, 3, n)) for n, batch in zip(BATCHES, batches, strict=True)]
    check_metric(*both(kind, **arguments), weighted)


def class_batch(rng: np.random.Generator, n: int, places: tuple[int, ...], kind: str) -> Batch:
    """Targets of the kind "one-hot", "sparse" or "axis" (sparse with an axis), and probabilities of 5 classes."""
    numbers, scores = rng.integers(0, 5, (n, *places)), rng.random((n, *places, 5), np.float32) + 0.01
    target = {"one-hot": one_hot(numbers, 5), "sparse": numbers, "axis": numbers[..., None]}[kind]
    return target, scores / scores.sum(-1, keepdims=True)


CLASS_METRICS: list[tuple[str, dict[str, Any], str]] = [
    ("CategoricalAccuracy", {}, "one-hot"),
    ("CategoricalCrossentropy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one-hot"),
    ("SparseCategoricalAccuracy", {}, "sparse"),
    ("SparseCategoricalAccuracy", {}, "axis"),
    ("SparseCategoricalCrossentropy", {}, "axis"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "sparse"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "sparse"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one-hot"),
]


@pytest.mark.parametrize("places", [(), (2, 3)])
@pytest.mark.parametrize(("kind", "arguments", "target"), CLASS_METRICS)
def test_metrics_of_classes(kind: str, arguments: dict[str, Any], target: str, places: tuple[int, ...]) -> None:
    weights_like = [(), places] if places and target != "axis" else [()]
    check_with_and_without_weights(kind, arguments, lambda rng, n: class_batch(rng, n, places, target), weights_like)


def test_classes_that_are_ignored() -> None:
    """As in Keras: they count as 0 in the mean, unless there are weights."""
    rng = np.random.default_rng(0)
    batches = [class_batch(rng, n, (2, 3), "sparse") for n in BATCHES]
    for y_true, _ in batches:
        y_true[:, 0, :2] = 255
    check_metric(*both("SparseCategoricalCrossentropy", ignore_class=255), batches)
    weighted = [(*batch, rng.random(batch[0].shape, np.float32)) for batch in batches]
    check_metric(*both("SparseCategoricalCrossentropy", ignore_class=255), weighted)
    check_metric(*both("SparseCategoricalAccuracy"), batches)


VALUE_METRICS: list[tuple[str, dict[str, Any]]] = [
    ("Accuracy", {}),
    ("BinaryAccuracy", {}),
    ("BinaryAccuracy", {"threshold": 0.3}),
    ("BinaryCrossentropy", {}),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}),
    ("MeanAbsoluteError", {}),
    ("MeanSquaredError", {}),
    ("RootMeanSquaredError", {}),
]


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
@pytest.mark.parametrize(("kind", "arguments"), VALUE_METRICS)
def test_metrics_of_values(kind: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    def make(rng: np.random.Generator, n: int) -> Batch:
        y_true = rng.integers(0, 2, (n, *shape))
        y_pred = rng.integers(0, 2, (n, *shape)) if kind == "Accuracy" else rng.random((n, *shape), np.float32)
        return y_true, y_pred

    check_with_and_without_weights(kind, arguments, make, [(), shape[:-1]])


@pytest.mark.parametrize("kind", ["Accuracy", "BinaryAccuracy", "RootMeanSquaredError", "Precision"])
@pytest.mark.parametrize(("target", "answer"), [((), (1,)), ((1,), ()), ((2, 3), (2, 3, 1))])
def test_trailing_axes_of_one(kind: str, target: tuple[int, ...], answer: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)  # some predictions equal 0 or 1
    batches = [(rng.integers(0, 2, (6, *target)), rng.random((6, *answer), np.float32).round(1)) for _ in range(2)]
    check_metric(*both(kind), batches)


ACCURACY_TARGETS = ["one-hot", "sparse", "axis"]


@pytest.mark.parametrize("kind", ACCURACY_TARGETS)
@pytest.mark.parametrize("places", [(), (2, 3)])
def test_accuracy_by_name(kind: str, places: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    batches = [class_batch(rng, n, places, kind) for n in BATCHES]
    for name in ("accuracy", "acc"):
        ours = sl.metrics.get(name)
        assert ours.name == name
        check_metric(ours, keras_compiled_metric(name), batches)
        again = from_plain(as_plain(ours), {k.__name__: k for k in sl.metrics.METRICS.values()})
        assert (type(again), again.name) == (type(ours), name)


@pytest.mark.parametrize("trailing_axis", [False, True])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_accuracy_by_name_of_one_probability(trailing_axis: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    batches = [
        (rng.integers(0, 2, (n, 1) if trailing_axis else n).astype(dtype), rng.random((n, 1)).astype(np.float32))
        for n in BATCHES
    ]
    check_metric(sl.metrics.get("accuracy"), keras_compiled_metric("accuracy"), batches)


def test_accuracy_of_ties() -> None:
    """Of equal scores the first counts."""
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 4, 50), rng.integers(0, 2, (50, 4)).astype(np.float32)) for _ in range(2)]
    check_metric(sl.metrics.get("accuracy"), keras_compiled_metric("accuracy"), batches)


@examples(15)
@given(st.integers(1, 6), st.booleans(), st.booleans(), SEEDS)
def test_top_k_accuracy(k: int, ties: bool, sparse: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = []
    for n in BATCHES:
        numbers = rng.integers(0, 6, n)
        scores = rng.integers(0, 3, (n, 6)).astype(np.float32) if ties else normal(rng, n, 6)
        batches.append((numbers if sparse else one_hot(numbers, 6), scores))
    kind = "SparseTopKCategoricalAccuracy" if sparse else "TopKCategoricalAccuracy"
    check_metric(*both(kind, k), batches)
    check_metric(sl.metrics.TopKCategoricalAccuracy(k), both(kind, k)[1], batches)


def test_top_k_of_numbers_that_are_no_class_and_of_nan() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.1, 0.9], [float("nan")] * 2, [0.1, 0.9]])
    right = sl.metrics.sparse_top_k_categorical_accuracy(torch.tensor([0, -1, 1, 255]), scores, k=2)
    assert right.tolist() == [1, 0, 0, 0]


def scored(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> Batch:
    """Targets 0 and 1 and predictions of which many lie on a threshold, outside of 0 .. 1 or equal another."""
    y_pred = np.where(rng.random((n, *shape)) < 0.5, rng.integers(-1, 6, (n, *shape)) / 4, rng.random((n, *shape)))
    return rng.integers(0, 2, (n, *shape)), y_pred.astype(np.float32)


CONFUSION_ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"thresholds": 0.3},
    {"thresholds": [0.8, 0.25, 0.5]},
    {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]},
    {"class_id": 1},
    {"top_k": 2},
    {"top_k": 2, "class_id": 2, "thresholds": [0.25, 0.5]},
]


@pytest.mark.parametrize("arguments", CONFUSION_ARGUMENTS)
@pytest.mark.parametrize("kind", ["Precision", "Recall"])
def test_precision_and_recall(kind: str, arguments: dict[str, Any]) -> None:
    check_with_and_without_weights(kind, arguments, lambda rng, n: scored(rng, n, (4,)), [()])


@pytest.mark.parametrize("arguments", [CONFUSION_ARGUMENTS[0], CONFUSION_ARGUMENTS[-1]])
def test_precision_of_maps(arguments: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    batches = [(*scored(rng, n, (2, 3, 4)), rng.random((n, 2, 3), np.float32)) for n in BATCHES]
    check_metric(*both("Precision", **arguments), batches)
    check_metric(*both("Precision", **arguments), [batch[:2] for batch in batches])


@pytest.mark.parametrize("arguments", CONFUSION_ARGUMENTS[:4])
@pytest.mark.parametrize("kind", ["TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives"])
def test_counts(kind: str, arguments: dict[str, Any]) -> None:
    check_with_and_without_weights(kind, arguments, lambda rng, n: scored(rng, n, (4,)), [(), (4,)])


@pytest.mark.parametrize("kind", ["CategoricalAccuracy", "MeanSquaredError", "Recall"])
def test_batches_of_several_sizes(kind: str) -> None:
    rng = np.random.default_rng(0)
    check_metric(*both(kind), [(*scored(rng, n, (4,)), rng.random(n, np.float32)) for n in (6, 1)])


def test_maps_of_several_sizes_count_by_sample() -> None:
    rng = np.random.default_rng(0)
    check_metric(*both("BinaryAccuracy"), [scored(rng, n, (n, 3, 1)) for n in (2, 4)])


AUC_ARGUMENTS: list[dict[str, Any]] = [
    {"curve": "ROC", "summation_method": "majoring"},
    {"curve": "pr", "summation_method": "Minoring"},
    {},
    {"num_thresholds": 2},
    {"num_thresholds": 7, "curve": "PR"},
    {"thresholds": [0.7, 0.25, 0.6]},
    {"thresholds": [0.25, 0.5, 0.75], "curve": "PR"},
    {"from_logits": True},
    {"label_weights": [0.5, 2.0, 1.0, 0.0]},
    {"label_weights": [0.5, 2.0, 1.0, 0.0], "thresholds": [0.3, 0.4]},
    {"multi_label": True, "num_labels": 4},
    {"multi_label": True, "curve": "PR", "label_weights": [0.5, 2.0, 1.0, 0.0]},
    {"multi_label": True, "thresholds": [0.3, 0.4], "summation_method": "majoring"},
]


@pytest.mark.parametrize("arguments", AUC_ARGUMENTS)
def test_auc(arguments: dict[str, Any]) -> None:
    check_with_and_without_weights("AUC", arguments, lambda rng, n: scored(rng, n, (4,)), [(4,)])


def test_auc_of_vectors_and_maps() -> None:
    rng = np.random.default_rng(0)
    for curve in ("ROC", "PR"):
        check_metric(*both("AUC", curve=curve), [scored(rng, 40, ()) for _ in range(2)])
        maps = [(*scored(rng, n, (2, 3, 4)), rng.random((n, 2, 3), np.float32)) for n in BATCHES]
        check_metric(*both("AUC", curve=curve, label_weights=[0.5, 2.0, 1.0, 3.0]), maps)


@examples(12)
@given(st.sampled_from(["ROC", "PR"]), st.sampled_from([3, 50, 200]), st.booleans(), SEEDS)
def test_auc_at_any_number_of_thresholds(curve: str, number: int, on_thresholds: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_pred = (rng.integers(0, number, 64) / (number - 1) if on_thresholds else rng.random(64)).astype(np.float32)
    check_metric(*both("AUC", number, curve), [(rng.integers(0, 2, 64), y_pred)])


IOU_ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("IoU", {"num_classes": 5, "target_class_ids": [1, 3]}),
    ("MeanIoU", {"num_classes": 5}),
    ("MeanIoU", {"num_classes": 5, "ignore_class": 2}),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 255, "sparse_y_pred": False}),
    ("MeanIoU", {"num_classes": 5, "sparse_y_true": False, "sparse_y_pred": False}),
    ("OneHotIoU", {"num_classes": 5, "target_class_ids": [0, 4]}),
    ("OneHotMeanIoU", {"num_classes": 5, "ignore_class": 1}),
    ("OneHotMeanIoU", {"num_classes": 7, "sparse_y_pred": True}),
    ("BinaryIoU", {}),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}),
]


@pytest.mark.parametrize(
    ("kind", "arguments", "places"), [(*case, (2, 3)) for case in IOU_ARGUMENTS] + [("MeanIoU", {"num_classes": 5}, ())]
)
def test_iou(kind: str, arguments: dict[str, Any], places: tuple[int, ...]) -> None:
    sparse_y_true = arguments.get("sparse_y_true", not kind.startswith("OneHot"))
    sparse_y_pred = arguments.get("sparse_y_pred", not kind.startswith("OneHot"))
    rng, batches = np.random.default_rng(0), []
    for n in BATCHES:
        numbers, scores = class_batch(rng, n, places, "sparse")
        numbers, answers = (
            (rng.integers(0, 2, numbers.shape), scores[..., 0] * 2)
            if kind == "BinaryIoU"
            else (
                numbers,
                rng.integers(0, 6, numbers.shape) if sparse_y_pred else scores,
            )
        )
        batches.append((numbers if sparse_y_true else one_hot(numbers, 5), answers))
    check_metric(*both(kind, **arguments), batches)
    whole = [(*batch, rng.integers(0, 3, (n, *places))) for n, batch in zip(BATCHES, batches, strict=True)]
    check_metric(*both(kind, **arguments), whole)
    if kind not in ("IoU", "MeanIoU"):
        return
    # Weights that are not whole: Keras makes them so, with a warning, unless it is told to count in float32
    ours, theirs = getattr(sl.metrics, kind)(**arguments), getattr(keras.metrics, kind)(**arguments, dtype="float32")
    check_metric(ours, theirs, [(y_true, y_pred, w * np.float32(0.3)) for y_true, y_pred, w in whole])


def test_iou_of_maps_with_a_channel() -> None:
    rng = np.random.default_rng(0)
    batches = [tuple(rng.integers(0, 3, (n, 2, 3, 1)) for _ in range(3)) for n in BATCHES]
    check_metric(*both("MeanIoU", 3), batches)
    check_metric(*both("MeanIoU", 3), [(y_true[..., 0], y_pred, w[..., 0]) for y_true, y_pred, w in batches])


def test_mean_is_public() -> None:
    rng = np.random.default_rng(0)
    batches = [(rng.random((n, 2, 3), np.float32),) for n in BATCHES]
    check_metric(*both("Mean"), batches)
    for shape in ((), (2,), (2, 3)):
        weighted = [(*b, rng.random((n, *shape), np.float32)) for n, b in zip(BATCHES, batches, strict=True)]
        check_metric(*both("Mean"), weighted)
    ours, theirs = both("Mean")
    for metric in (ours, theirs):
        metric.update_state(2.0, 3)
        metric.update_state(4.0)
    assert ours.result() == pytest.approx(float(theirs.result()))


def test_own_functions_take_weights() -> None:
    def error(y_true: Any, y_pred: Any) -> Any:
        return abs(y_true - y_pred)

    rng = np.random.default_rng(0)
    batches = [(normal(rng, n, 3), normal(rng, n, 3), rng.random(n, np.float32)) for n in BATCHES]
    check_metric(sl.metrics.get(error), keras.metrics.MeanMetricWrapper(error), batches)
    assert sl.metrics.get(error).name == "error"


METRICS = {name: kind for name, kind in sl.metrics.METRICS.items() if kind.__name__ not in OUR_OWN}
KINDS = {kind.__name__: kind for kind in METRICS.values()}
NEEDED: dict[str, dict[str, Any]] = {
    **{kind: {"num_classes": 3} for kind in ("MeanIoU", "OneHotMeanIoU")},
    **{kind: {"num_classes": 3, "target_class_ids": [0]} for kind in ("IoU", "OneHotIoU")},
}
SHARED = sorted(KINDS.keys() - {"ShapedAccuracy"})


@pytest.mark.parametrize("kind", SHARED)
def test_names_defaults_and_resets(kind: str) -> None:
    ours, theirs = both(kind, **NEEDED.get(kind, {}))
    config = {name: value for name, value in theirs.get_config().items() if name not in ("axis", "dtype")}
    config["name"] = config["name"].rstrip("_0123456789")  # Keras counts them
    assert ours.get_config() == {"thresholds": None, **config} if kind == "AUC" else config
    assert ours.result() == float(theirs.result()) == 0  # before any batch
    classes = re.search("Categorical|OneHot|Crossentropy|Error", kind) is not None
    sparse = kind.startswith("Sparse")
    batch = torch.randint(0, 2, (6, 3) if classes and not sparse else (6,)), torch.rand((6, 3) if classes else (6,))
    first = ours(*batch)
    ours(*batch, sample_weight=torch.rand(6))
    ours.reset_state()
    assert ours.result() == 0
    assert ours(*batch) == first


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_files(kind: str) -> None:
    written = as_plain(KINDS[kind](**NEEDED.get(kind, {}), name="mine"))
    assert as_plain(from_plain(written, KINDS)) == written


def test_files_of_other_arguments() -> None:
    for metric in (
        sl.metrics.AUC(thresholds=[0.5, 0.2], label_weights=np.ones(3), multi_label=True, curve="pr"),
        sl.metrics.Precision([0.5, 0.2], top_k=3, class_id=1),
        sl.metrics.MeanIoU(4, ignore_class=255, sparse_y_pred=False),
        sl.metrics.BinaryIoU((1,), threshold=0.2),
    ):
        assert as_plain(from_plain(as_plain(metric), KINDS)) == as_plain(metric)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_names_mean_the_same_in_keras(name: str) -> None:
    if name.lower() in ("accuracy", "acc"):
        assert isinstance(sl.metrics.get(name), sl.metrics.ShapedAccuracy)
        return
    kind = sl.metrics.METRICS[name].__name__
    if kind in NEEDED:
        with pytest.raises(sl.errors.ArgumentError, match=f"{kind} needs num_classes.*num_classes=..."):
            sl.metrics.get(name)
        return
    assert type(keras.metrics.get(name)).__name__ == kind
    assert type(sl.metrics.get(name)).__name__ == kind
    assert sl.metrics.get(name).name == name  # as in the history of Keras's fit


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_not_supported_is_refused_by_name(kind: str) -> None:
    for argument in {"dtype", "axis", "from_sorted_ids"}:
        with pytest.raises(sl.errors.ArgumentError, match=f"{kind} does not support the argument '{argument}'"):
            getattr(sl.metrics, kind)(**NEEDED.get(kind, {}), **{argument: "float16"})


def test_mistakes_get_a_sentence() -> None:
    probabilities = torch.rand(4, 3)
    for match, mistake in {
        r"there is no such class.*0 \.\. 2.*\[3\]": lambda: sl.metrics.IoU(3, [3]),
        r"thresholds are probabilities.*\[0\.5, 1\.5\]": lambda: sl.metrics.Recall([0.5, 1.5]),
        "Unknown curve 'PRGAIN'": lambda: sl.metrics.AUC(curve="PRGAIN"),
        "Unknown summation_method 'MIDDLE'|Unknown summation_method 'middle'": lambda: sl.metrics.AUC(
            summation_method="middle"
        ),
        "num_thresholds >= 2": lambda: sl.metrics.AUC(1),
        "multi_label=True": lambda: sl.metrics.AUC(num_labels=3),
        r"a score for each label.*\(N, 4\)": lambda: sl.metrics.AUC(multi_label=True, num_labels=4)(
            probabilities, probabilities
        ),
        "a weight for each label": lambda: sl.metrics.AUC(label_weights=[1])(probabilities, probabilities),
        "there is no class 3": lambda: sl.metrics.Precision(class_id=3)(probabilities, probabilities),
        "sparse_y_pred=False": lambda: sl.metrics.MeanIoU(3)(torch.zeros(4), probabilities),
        "sparse_categorical_accuracy": lambda: sl.metrics.CategoricalAccuracy()(torch.zeros(4), probabilities),
        "not class numbers": lambda: sl.metrics.SparseCategoricalAccuracy()(torch.zeros(5), probabilities),
        "one weight for each sample": lambda: sl.metrics.MeanSquaredError()(
            probabilities, probabilities, torch.rand(3)
        ),
        'Did you mean "top_k_categorical_accuracy"': lambda: sl.metrics.get("top_k_categorical_acuracy"),
    }.items():
        with pytest.raises(sl.errors.SightlineError, match=match):
            mistake()
