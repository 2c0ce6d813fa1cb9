"""How good detections are: against pycocotools, VOC's definition and brute force."""

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline as sl
from sightline.errors import ArgumentError, ShapeError
from sightline.metrics import detection_quality
from sightline.metrics.intervals import draws
from sightline.structures import Boxes, Detections

COCO_NAMES = [
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
]  # fmt: skip


def evaluated_by_pycocotools(truths, found, classes):
    """The evaluator of the COCO challenge after all its steps; an ignored object is one whose area is outside every range."""
    pytest.importorskip("pycocotools", reason="pycocotools, the judge of these numbers, is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = [{"id": i + 1} for i in range(len(truths))]
    categories = [{"id": label + 1} for label in range(classes)]

    def annotations(each, extra):
        rows = [
            {"image_id": i + 1, "category_id": int(one.labels[j]) + 1, "bbox": xywh(one.xyxy[j]), **extra(one, j)}
            for i, one in enumerate(each)
            for j in range(len(one))
        ]
        return [{"id": number + 1, **row} for number, row in enumerate(rows)]

    def of_object(one, j):
        return {"area": 2e10 if one.ignored[j] else float(one.area[j]), "iscrowd": int(one.crowd[j])}

    def of_detection(one, j):
        width, height = xywh(one.xyxy[j])[2:]
        return {"area": width * height, "iscrowd": 0, "score": float(one.scores[j])}

    def made(rows):
        coco = COCO()
        coco.dataset = {"images": images, "categories": categories, "annotations": rows}
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(made(annotations(truths, of_object)), made(annotations(found, of_detection)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def xywh(box):
    left, top, right, bottom = box.tolist()
    return [left, top, right - left, bottom - top]


def same_as_pycocotools(truths, found, classes):
    quality = detection_quality(truths, found, classes=classes)
    judge = evaluated_by_pycocotools(truths, found, classes)
    said = quality.coco()
    assert list(said) == COCO_NAMES
    expected = np.where(judge.stats == -1, np.nan, judge.stats)
    np.testing.assert_allclose(list(said.values()), expected, rtol=0, atol=1e-9)
    precision, recall = judge.eval["precision"][..., 0, 2], judge.eval["recall"][..., 0, 2]
    rows = quality.per_class()
    for name, theirs in (
        ("AP", precision.mean((0, 1))), ("AP50", precision[0].mean(0)), ("AP75", precision[5].mean(0)), ("AR", recall.mean(0)),
    ):  # fmt: skip
        np.testing.assert_allclose(
            [row[name] for row in rows], np.where(theirs == -1, np.nan, theirs), rtol=0, atol=1e-9
        )
    return quality


def random_set(seed, images, classes, most, *, size=64, grid=True, crowds=0.1, ignored=0.0, areas=False):
    """Objects, and detections of which most are near one. On a grid, overlaps and scores are often equal."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        n = int(rng.integers(0, most + 1))
        boxes, labels = some_boxes(rng, n, size), rng.integers(0, classes, n)
        boxes = np.round(boxes) if grid else boxes
        crowd, left_out = rng.random(n) < crowds, rng.random(n) < ignored
        area = rng.random(n) * 12000 if areas else None
        truths.append(Boxes(boxes, labels, crowd=crowd, ignored=left_out, area=area))
        near = rng.integers(0, n, int(rng.integers(0, 2 * n))) if n else np.zeros(0, int)
        far = int(rng.integers(0, 4))
        shifted = boxes[near] + rng.normal(0, size / 20, (len(near), 4))
        seen = np.concatenate([shifted, some_boxes(rng, far, size)])
        seen = np.round(seen) if grid else seen
        seen = np.concatenate([np.minimum(seen[:, :2], seen[:, 2:]), np.maximum(seen[:, :2], seen[:, 2:])], 1)
        said = np.where(rng.random(len(seen)) < 0.9, np.append(labels[near], [0] * far), 0)
        scores = rng.integers(0, 11, len(seen)) / 10 if grid else rng.random(len(seen))
        found.append(Detections(seen, scores, said))
    return truths, found


def some_boxes(rng, n, size):
    low = rng.random((n, 2)) * size
    return np.concatenate([low, low + rng.random((n, 2)) ** 2 * size], 1)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 10**6), images=st.integers(0, 8), classes=st.sampled_from([1, 1, 2, 5, 300]), most=st.integers(0, 25),
    size=st.sampled_from([3, 20, 200, 1e4]), grid=st.booleans(), crowds=st.sampled_from([0, 0.2, 1.0]),
    ignored=st.sampled_from([0, 0.3]), areas=st.booleans(),
)  # fmt: skip
def test_numbers_are_pycocotools(seed, images, classes, most, **options):
    same_as_pycocotools(*random_set(seed, images, classes, most, **options), classes)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_crowded_images_are_pycocotools(seed):
    """More detections than are counted, on few objects of one class."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(3):
        boxes = np.round(some_boxes(rng, 12, 20))
        seen = boxes[rng.integers(0, 12, 130)] + rng.integers(-1, 2, (130, 4))
        seen[:, 2:] = np.maximum(seen[:, :2], seen[:, 2:])
        truths.append(Boxes(boxes, [0] * 12, crowd=rng.random(12) < 0.2))
        found.append(Detections(seen, rng.integers(0, 30, 130) / 30, [0] * 130))
    same_as_pycocotools(truths, found, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_edges_of_the_sizes_are_pycocotools(seed):
    """Squares of 32 and 96 pixels, which lie in two sizes, and their neighbours; many overlaps are equal."""
    rng = np.random.default_rng(seed)

    def squares(n):
        low, side = rng.integers(0, 4, (n, 2)) * 16, rng.choice([31, 32, 33, 95, 96, 97], (n, 1))
        return np.concatenate([low, low + side], 1)

    truths = [Boxes(squares(5), rng.integers(0, 2, 5), crowd=rng.random(5) < 0.1) for _ in range(5)]
    found = [Detections(squares(8), rng.integers(0, 4, 8) / 4, rng.integers(0, 2, 8)) for _ in range(5)]
    same_as_pycocotools(truths, found, 2)


def test_of_equal_overlaps_the_last_is_taken():
    """The first detection overlaps both objects by 0.8, the second only the upper one enough."""
    objects = [[0, 0, 10, 8], [0, 2, 10, 10]]
    found = [Detections([[0, 0, 10, 10], [0, 0, 10, 6]], [0.9, 0.8], [0, 0])]
    assert same_as_pycocotools([Boxes(objects, [0, 0])], found, 1).coco()["AR_100"] == 0.65
    assert same_as_pycocotools([Boxes(objects[::-1], [0, 0])], found, 1).coco()["AR_100"] == 0.35


def test_real_cells_are_pycocotools(shared_data):
    from sightline.data.sources import read

    dataset = read(shared_data / "bccd", "detect")
    truths = [sample.boxes for sample in dataset.samples]
    rng, found = np.random.default_rng(0), []
    for each in truths:
        seen = np.repeat(each.xyxy, 2, 0) + rng.normal(0, 8, (2 * len(each), 4))
        seen[:, 2:] = np.maximum(seen[:, :2], seen[:, 2:])
        labels = np.where(rng.random(len(seen)) < 0.9, np.repeat(each.labels, 2), 0)
        found.append(Detections(seen, rng.random(len(seen)), labels))
    quality = same_as_pycocotools(truths, found, len(dataset.classes))
    assert 0.1 < quality.coco()["AP50"] < 1
    low, high = quality.interval("AP50", samples=50)
    assert low < quality.coco()["AP50"] < high
    assert high - low < 0.2


def overlap(one, other):
    width, height = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def voc_by_definition(truths, found, label, iou, points):
    """The challenge's rule, detection by detection."""
    rows = [
        (-each.scores[j], i, each.xyxy[j].tolist())
        for i, each in enumerate(found)
        for j in range(len(each))
        if each.labels[j] == label
    ]
    objects = [
        [(b.tolist(), d) for b, n, d in zip(t.xyxy, t.labels, t.ignored, strict=True) if n == label] for t in truths
    ]
    positives = sum(not difficult for each in objects for _, difficult in each)
    taken, hits, curve, counted = set(), 0, [], 0
    for _, image, box in sorted(rows, key=lambda row: row[0]):
        overlaps = [overlap(box, other) for other, _ in objects[image]]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= iou and objects[image][best][1]:
            continue
        counted += 1
        if best is not None and overlaps[best] >= iou and (image, best) not in taken:
            taken.add((image, best))
            hits += 1
        curve.append((hits / positives if positives else math.nan, hits / counted))
    if not positives:
        return math.nan
    if points == 11:
        return sum(max((p for r, p in curve if r >= k / 10), default=0.0) for k in range(11)) / 11
    total, before = 0.0, 0.0
    for recall in sorted({r for r, _ in curve}):
        total += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return total


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 10**6), images=st.integers(0, 6), classes=st.integers(1, 3), most=st.integers(0, 12), grid=st.booleans(),
    ignored=st.sampled_from([0, 0.3]), iou=st.sampled_from([0.3, 0.5, 0.75]), points=st.sampled_from(["all", 11]),
)  # fmt: skip
def test_voc_is_its_definition(seed, images, classes, most, grid, ignored, iou, points):
    truths, found = random_set(seed, images, classes, most, grid=grid, crowds=0, ignored=ignored)
    said = detection_quality(truths, found, classes=classes).voc(iou, points)
    expected = [voc_by_definition(truths, found, label, iou, points) for label in range(classes)]
    np.testing.assert_allclose(said["per_class"], expected, rtol=0, atol=1e-9)
    real = [each for each in expected if not math.isnan(each)]
    assert said["AP"] == pytest.approx(np.mean(real) if real else math.nan, nan_ok=True, abs=1e-9)


def test_voc_takes_no_second_best():
    """Two detections that overlap the same object most: COCO gives the second one the other object, VOC does not."""
    truths = [Boxes([[0, 0, 10, 10], [0, 2, 10, 12]], [0, 0])]
    found = [Detections([[0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8], [0, 0])]
    quality = detection_quality(truths, found, classes=1)
    assert quality.coco()["AP50"] == 1
    assert quality.voc()["AP"] == 0.5


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(COCO_NAMES))
def test_interval_is_that_of_sets_evaluated_again(seed, name):
    truths, found = random_set(seed, 6, 2, 6, grid=False, size=150, crowds=0.1)
    values = []
    for times in draws(6, 20, seed):
        chosen = np.repeat(np.arange(6), times)
        again = detection_quality([truths[i] for i in chosen], [found[i] for i in chosen], classes=2)
        values.append(again.coco()[name])
    values = [value for value in values if not math.isnan(value)]
    expected = np.quantile(values, [0.1, 0.9]) if values else [math.nan] * 2
    said = detection_quality(truths, found, classes=2).interval(
        name, samples=20, seed=seed, level=0.8, method="percentile"
    )
    np.testing.assert_allclose(said, expected, rtol=0, atol=1e-12)


def test_basic_interval_mirrors_the_other():
    truths, found = random_set(3, 8, 2, 8, grid=False)
    quality = detection_quality(truths, found, classes=2)
    value, (low, high) = quality.coco()["AP50"], quality.interval("AP50", method="percentile")
    assert quality.interval("AP50", method="basic") == pytest.approx(
        (max(2 * value - high, 0), min(2 * value - low, 1))
    )
    with pytest.raises(ArgumentError, match="Unknown method"):
        quality.interval(method="student")


def test_interval_in_portions(monkeypatch):
    truths, found = random_set(3, 8, 2, 8, grid=False)
    quality = detection_quality(truths, found, classes=2)
    whole = quality.interval("AP", samples=15)
    monkeypatch.setattr("sightline.metrics.detection._AT_ONCE", 1)
    assert quality.interval("AP", samples=15) == whole


def test_pairs_in_portions(monkeypatch):
    truths, found = random_set(3, 8, 2, 8)
    whole = detection_quality(truths, found, classes=2).coco()
    monkeypatch.setattr("sightline.metrics.matching._PAIRS", 3)
    assert detection_quality(truths, found, classes=2).coco() == pytest.approx(whole, nan_ok=True, abs=0)


def three_images():
    truths = [
        Boxes([[0, 0, 10, 10], [20, 20, 60, 60]], [0, 1]),
        Boxes(),
        Boxes([[0, 0, 50, 50], [70, 70, 80, 80]], [1, 0], crowd=[True, False]),
    ]
    found = [
        Detections([[0, 0, 10, 9], [40, 0, 50, 9], [20, 20, 60, 58]], [0.9, 0.7, 0.7], [0, 0, 1]),
        Detections([[5, 5, 9, 9]], [0.95], [1]),
        Detections([[0, 0, 9, 9], [9, 9, 30, 30], [70, 70, 80, 80]], [0.99, 0.98, 0.2], [1, 1, 0]),
    ]
    return truths, found


def test_curve_operating_point_and_mistakes_by_hand():
    quality = detection_quality(*three_images(), classes=3)
    curve = quality.curve()
    assert curve.score.tolist() == [0.95, 0.9, 0.7, 0.2]  # what lies in the crowd is not there
    assert curve.precision.tolist() == [0, 1 / 2, 2 / 4, 3 / 5]
    assert curve.recall.tolist() == [0, 1 / 3, 2 / 3, 3 / 3]
    assert quality.operating_point() == (0.2, 3 / 5, 1, 2 * 3 / (5 + 3))
    assert quality.curve(label=0).score.tolist() == [0.9, 0.7, 0.2]
    assert quality.curve(label=2).score.tolist() == []
    assert quality.mistakes() == ([(1, 0, 0.95), (0, 1, 0.7)], [])
    assert quality.mistakes(k=1).false == [(1, 0, 0.95)]
    assert quality.mistakes(iou=0.93) == ([(1, 0, 0.95), (0, 0, 0.9), (0, 1, 0.7)], [(0, 0)])
    assert [(row["objects"], row["found"]) for row in quality.per_class()] == [(2, 3), (1, 4), (0, 0)]
    assert "3 images, 4 objects, 7 detections" in repr(quality)


def test_ignored_objects_are_neither_missed_nor_false():
    truths = [Boxes([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0], ignored=[True, False])]
    found = [Detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8], [0, 0])]
    quality = detection_quality(truths, found, classes=1)
    assert quality.coco()["AP"] == 1
    assert quality.voc()["AP"] == 1
    assert quality.mistakes() == ([], [])
    assert detection_quality(truths, [Detections()], classes=1).mistakes().missed == [(0, 1)]


def test_nothing_at_all():
    for truths, found in (([], []), ([Boxes()], [Detections()]), ([Boxes()], [Detections([[0, 0, 1, 1]], [0.5], [0])])):
        quality = detection_quality(truths, found, classes=2)
        assert all(math.isnan(value) for value in quality.coco().values())
        assert math.isnan(quality.voc()["AP"])
        assert all(math.isnan(value) for value in quality.operating_point())
        assert all(math.isnan(value) for value in quality.interval(samples=3))
        assert np.isnan(quality.curve().recall).all()
    missed = detection_quality([Boxes([[0, 0, 5, 5]], [1])], [Detections()], classes=2)
    assert missed.coco()["AP"] == 0
    assert missed.interval(samples=3) == (0, 0)
    assert missed.mistakes() == ([], [(0, 0)])


def test_boxes_that_are_none():
    good, seen = [0, 0, 10, 10], [Detections([[0, 0, 10, 10]], [0.9], [0])]
    for bad in ([0, math.nan, 5, 5], [0, 0, math.inf, 5]):
        quality = detection_quality([Boxes([bad, good], [0, 0])], seen, classes=1)
        assert (quality.coco()["AP"], quality.mistakes().missed) == (1, [])
    for bad in ([3, 3, 3, 9], [9, 9, 3, 3], [9, 0, 3, 9]):
        quality = detection_quality([Boxes([bad, good], [0, 0])], seen, classes=1)
        assert quality.coco()["AR_100"] == 0.5
        assert quality.mistakes().missed == [(0, 0)]
    huge = detection_quality(
        [Boxes([[0, 0, 1e300, 1e300]], [0])], [Detections([[0, 0, 1e300, 1e300]], [1], [0])], classes=1
    )
    assert math.isnan(huge.coco()["AP"])  # larger than all that COCO measures


def test_another_limit():
    truths = [Boxes([[i * 20, 0, i * 20 + 10, 10] for i in range(4)], [0] * 4)]
    found = [Detections(truths[0].xyxy, [0.9, 0.8, 0.7, 0.6], [0] * 4)]
    said = detection_quality(truths, found, classes=1, max_detections=2).coco()
    assert (said["AR_1"], said["AR_10"], said["AR_2"]) == (0.25, 0.5, 0.5)
    assert detection_quality(truths, found, classes=1, max_detections=2).voc()["AP"] == 1


def test_wrong_arguments_get_a_sentence():
    one, none = [Boxes([[0, 0, 1, 1]], [2])], [Detections()]
    with pytest.raises(
        ArgumentError, match=r"Image 0 has an object of no class. Expected: class numbers from 0 to 1. Received: 2"
    ):
        detection_quality(one, none, classes=2)
    with pytest.raises(ArgumentError, match="Image 0 has a detection of no class"):
        detection_quality([Boxes()], [Detections([[0, 0, 1, 1]], [0.5], [-1])], classes=2)
    with pytest.raises(ShapeError, match="1 and 2"):
        detection_quality(one, none * 2, classes=3)
    with pytest.raises(ArgumentError, match=r"Image 0 needs Detections. Received: list"):
        detection_quality(one, [[]], classes=3)
    with pytest.raises(ArgumentError, match="whole number of at least 1"):
        detection_quality(one, none, classes=0)
    quality = sl.metrics.detection_quality(one, none, classes=3)
    with pytest.raises(ArgumentError, match=r'Unknown measure .AP55.*"AP50"'):
        quality.interval("AP55")
    with pytest.raises(ArgumentError, match="level"):
        quality.interval(level=1)
    with pytest.raises(ArgumentError, match='points="all" or 11'):
        quality.voc(points=12)
    with pytest.raises(ArgumentError, match="iou is above 0"):
        quality.curve(iou=0)
    with pytest.raises(ArgumentError, match="No such class"):
        quality.curve(label=3)


def test_boxes_carry_what_measuring_needs():
    boxes = Boxes([[0, 0, 2, 3], [4, 4, 2, 9]], [0, 1], crowd=[True, False])
    assert boxes.area.tolist() == [6, 0]
    assert boxes[[0]] == Boxes([[0, 0, 2, 3]], [0], crowd=[True])
    assert boxes != Boxes(boxes.xyxy, boxes.labels)
    assert boxes != Boxes(boxes.xyxy, boxes.labels, crowd=[True, False], area=[5, 0])
    assert hash(boxes) == hash(Boxes(boxes.xyxy, boxes.labels, crowd=[True, False]))
    for each in (boxes, Boxes([[0, 0, 2, 3]], [0], ignored=[True], area=[4]), Boxes([[0, 0, 2, 3]], [0])):
        assert eval(repr(each)) == each
    assert repr(Boxes([[0, 0, 2, 3]], [0])) == "Boxes([[0.0, 0.0, 2.0, 3.0]], [0])"
    with pytest.raises(ValueError):
        boxes.crowd[0] = False
    with pytest.raises(ShapeError, match="crowd has one value for each box"):
        Boxes([[0, 0, 1, 1]], [0], crowd=[True, False])


def test_boxes_of_one_image_are_no_list_of_images():
    boxes, found = (
        Boxes([[0, 0, 10, 10], [20, 20, 60, 60]], [0, 0]),
        Detections([[0, 0, 10, 10]] * 2, [0.9, 0.8], [0, 0]),
    )
    for truths, said in ((boxes, found), ([boxes], found), (boxes, [found])):
        with pytest.raises((ArgumentError, ShapeError)):
            sl.metrics.detection_quality(truths, said, classes=1)
