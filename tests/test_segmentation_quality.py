"""The quality of class maps against scikit-learn and brute force, image by image and of bootstrapped images."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

import sightline as sl
from sightline.errors import ArgumentError, ShapeError
from sightline.metrics import MeanIoU, PixelAccuracy, SegmentationQuality
from sightline.metrics.boundaries import boundary_counts
from sightline.metrics.intervals import draws

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 7))


def pair(size, true=(0, 1, 2, 255), said=(0, 1, 2)):
    return st.tuples(*(arrays.arrays(np.uint8, size, elements=st.sampled_from(each)) for each in (true, said)))


def some_images(seed, n=6, classes=4):
    """Maps of several sizes; class 3 only where truth has it, and in part ignored."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        size = tuple(rng.integers(3, 12, 2))
        true = rng.integers(0, classes, size).astype(np.uint8)
        said = np.where(rng.random(size) < 0.6, true, rng.integers(0, classes - 1, size)).astype(np.uint8)
        true[rng.random(size) < 0.2] = 255
        images.append((true, said))
    return images


def quality(images, classes=4, **options):
    found = SegmentationQuality(classes, **options)
    for true, said in images:
        found.add(true, said)
    return found


def test_overlap_and_accuracy_are_scikit_learns():
    images = some_images(0)
    found = quality(images, classes=5)
    true, said = (np.concatenate([each[i][each[0] != 255] for each in images]) for i in (0, 1))
    seen = [0, 1, 2, 3]
    assert np.array_equal(found.confusion, confusion_matrix(true, said, labels=range(5)))
    assert found.mean_iou() == pytest.approx(jaccard_score(true, said, labels=seen, average="macro"), rel=1e-12)
    assert found.dice() == pytest.approx(f1_score(true, said, labels=seen, average="macro"), rel=1e-12)
    assert found.pixel_accuracy() == pytest.approx(accuracy_score(true, said), rel=1e-12)
    rows = found.per_class()
    for name, score in (
        ("IoU", jaccard_score),
        ("Dice", f1_score),
        ("precision", precision_score),
        ("recall", recall_score),
    ):
        theirs = score(true, said, labels=seen, average=None, zero_division=0)
        assert [row[name] for row in rows[:4]] == pytest.approx(theirs.tolist(), rel=1e-12)
        assert rows[4][name] is None  # neither side has it
    assert [row["pixels"] for row in rows] == np.bincount(true, minlength=5).tolist()
    by_image = [jaccard_score(t[t != 255], s[t != 255], average="macro") for t, s in images]
    assert found.scores().tolist() == pytest.approx(by_image, rel=1e-12)


def f1_by_definition(true, said, label, distance):
    """Csurka's, pixel by pixel; None where neither side has a boundary of the class."""

    def edge(classes):
        height, width = classes.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if classes[y, x] == label
            and any(
                0 <= y + dy < height and 0 <= x + dx < width and classes[y + dy, x + dx] != label
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]

    def near(points, others):
        return sum(any(math.dist(one, other) <= distance for other in others) for one in points)

    said = np.where(true == 255, 255, said)
    one, other = edge(true), edge(said)
    if not one and not other:
        return None
    recall, precision = (near(a, b) / len(a) if a else 0 for a, b in ((one, other), (other, one)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(deadline=None, max_examples=60)
@given(st.lists(SIZES.flatmap(pair), min_size=1, max_size=3), st.sampled_from([0, 0.1, 0.25, 0.4]))
def test_boundaries_are_their_definition(images, share):
    found = quality(images, classes=3, boundary=share)
    each = []
    for label in range(3):
        scores = [f1_by_definition(t, s, label, share * math.hypot(*t.shape)) for t, s in images]
        scores = [score for score in scores if score is not None]
        each.append(float(np.mean(scores)) if scores else None)
        assert found.per_class()[label]["boundary F1"] == (pytest.approx(each[-1]) if scores else None)
    known = [score for score in each if score is not None]
    assert found.boundary_f1() == pytest.approx(np.mean(known) if known else math.nan, nan_ok=True)


def test_a_shifted_edge_is_within_its_distance_or_not():
    true, said = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)  # a diagonal of 100
    true[:, 40:], said[:, 43:] = 1, 1
    assert quality([(true, said)], classes=2, boundary=0.03).boundary_f1() == 1
    assert quality([(true, said)], classes=2, boundary=0.029).boundary_f1() == 0
    assert boundary_counts(true, said, 2, 3).tolist() == [[60, 60]] * 4


@pytest.mark.parametrize("name", ["mean_iou", "dice", "pixel_accuracy", "boundary_f1"])
def test_interval_is_that_of_images_added_again(name):
    images = some_images(3)
    times = draws(len(images), 20, 0)
    drawn = [getattr(quality([images[i] for i in np.repeat(np.arange(6), row)]), name)() for row in times]
    expected = np.quantile(drawn, [0.025, 0.975])
    assert quality(images).interval(name, samples=20) == pytest.approx(expected.tolist(), rel=1e-12)
    low, high = quality(images).interval(name)
    assert low < getattr(quality(images), name)() < high


def test_nothing_known_and_nothing_added():
    for found in (SegmentationQuality(2), quality([(np.full((3, 3), 255), np.full((3, 3), 7))], classes=2)):
        assert all(math.isnan(x) for x in (found.mean_iou(), found.dice(), found.pixel_accuracy(), found.boundary_f1()))
        assert all(math.isnan(x) for x in found.interval("mean_iou"))
        assert set(found.per_class()[1].values()) == {1, None, 0}
        assert np.isnan(found.scores()).all()
        assert not found.confusion.any()
    assert math.isnan(quality(some_images(0), boundary=None).boundary_f1())


def test_mistakes_get_a_sentence():
    found = SegmentationQuality(2)
    blank = np.zeros((2, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"one size.*\(2, 3\).*\(3, 2\)"):
        found.add(blank, blank.T)
    with pytest.raises(ArgumentError, match=r"predicted class map.*0 \.\. 1.*Received: 0 \.\. 255"):
        found.add(blank, np.where(np.eye(2, 3), 255, 0))
    with pytest.raises(ArgumentError, match="true class map"):
        found.add(blank + 2, blank)
    with pytest.raises(ArgumentError, match="float64"):
        found.add(blank, blank / 2)
    with pytest.raises(ArgumentError, match='Did you mean "mean_iou"'):
        found.interval("mean_io")
    with pytest.raises(ArgumentError, match="share of the diagonal"):
        SegmentationQuality(2, boundary=-1)
    assert len(found) == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([torch.uint8, torch.int64]), st.booleans(), st.booleans())
def test_running_metrics_are_those_of_all_pixels(seed, dtype, channels_last, weighted):
    rng = np.random.default_rng(seed)
    mean_iou, accuracy = MeanIoU(3, ignore_class=255, sparse_y_pred=False), PixelAccuracy()
    all_true, all_said, all_weights = [], [], []
    for n in (2, 1):
        true = rng.choice([0, 1, 2, 255], (n, 3, 4))
        scores = torch.from_numpy(rng.integers(0, 3, (n, 3, 3, 4)).astype(np.float32))  # with many that are equal
        weights = rng.random((n, 3, 4)).astype(np.float32) if weighted else None
        memory = torch.channels_last if channels_last else torch.contiguous_format
        batch = torch.from_numpy(true).to(dtype), scores.to(memory_format=memory), weights
        mean_iou.update_state(*batch)
        accuracy.update_state(*batch)
        all_true.append(true.ravel())
        all_said.append(scores.numpy().argmax(1).ravel())
        all_weights.append(np.ones(true.size) if weights is None else weights.ravel())
    true, said, weights = map(np.concatenate, (all_true, all_said, all_weights))
    known = true != 255
    true, said, weights = true[known], said[known], weights[known]
    if len(true):
        matrix = confusion_matrix(true, said, labels=range(3), sample_weight=weights)
        both, either = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        assert mean_iou.result() == pytest.approx((both[either > 0] / either[either > 0]).mean(), abs=1e-6)
        assert accuracy.result() == pytest.approx(accuracy_score(true, said, sample_weight=weights), abs=1e-6)
    else:
        assert mean_iou.result() == accuracy.result() == 0


def test_pixel_accuracy_by_name():
    assert isinstance(sl.metrics.get("pixel_accuracy"), PixelAccuracy)
    assert PixelAccuracy(7).get_config() == {"ignore_class": 7, "name": "pixel_accuracy"}
