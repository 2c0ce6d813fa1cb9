"""Detectors: what a classifier says of windows, as boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline as sl
from sightline import layers
from sightline.detectors import DenseDetector, Detector, SlidingWindowDetector
from sightline.detectors.outputs import within
from sightline.detectors.tiles import in_tiles, spans
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.rewrite import score_map, to_fully_convolutional
from sightline.structures import Detections

SIZE = (12, 10, 3)


def classifier(*, seed=0, padding="valid", last="softmax", box=False, size=SIZE):
    """A small network whose answers differ from window to window; it takes raw 0..255. Float64, so that equal scores stay in order."""
    torch.manual_seed(seed)
    x = inputs = sl.Input(size)
    x = layers.Rescaling(1 / 64, -2)(x)
    x = layers.Conv2D(6, 3, padding=padding, activation="tanh")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(8, 3, padding=padding, activation="tanh")(x)
    x = layers.Flatten()(x)
    classes = layers.Dense(4, activation=last, kernel_initializer=sl.initializers.RandomNormal(stddev=0.5))(x)
    outputs = [classes, layers.Dense(4, activation="sigmoid")(x)] if box else classes
    return sl.Model(inputs, outputs).double()


def picture(size, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return shared / (sum(areas) - shared)


def brute_force(model, image, stride, conf, threshold, max_det, background=None):
    """The same by plain loops: crop, ask, keep the best of what overlaps."""
    window, size = model.input_shape[1:3], image.shape[:2]
    rest = [max(p - w, 0) for p, w in zip(size, window, strict=True)]
    steps = [-(-r // stride) for r in rest]
    gray = np.full((window[0] + steps[0] * stride, window[1] + steps[1] * stride, image.shape[2]), 114, image.dtype)
    gray[: size[0], : size[1]] = image
    found = []
    for row in range(steps[0] + 1):
        for column in range(steps[1] + 1):
            top, left = row * stride, column * stride
            crop = gray[top : top + window[0], left : left + window[1]]
            with torch.no_grad():
                said = model(torch.from_numpy(crop.astype(np.float64)).permute(2, 0, 1)[None], training=False)
            scores = (said[0] if isinstance(said, list) else said)[0].numpy()
            box = left, top, min(left + window[1], size[1]), min(top + window[0], size[0])
            if isinstance(said, list):
                x, y, h, w = said[1][0].numpy() * [window[1], window[0], window[0], window[1]]
                ends = left + x - w / 2, top + y - h / 2, left + x + w / 2, top + y + h / 2
                box = [float(np.clip(v, 0, size[1 - i % 2])) for i, v in enumerate(ends)]
            if box[0] < box[2] and box[1] < box[3]:
                found += [(s, box, k) for k, s in enumerate(scores) if s >= conf and k != background]
    kept = []
    for score, box, k in sorted(found, key=lambda f: -f[0]):
        if all(k != other or iou(box, its) <= threshold for _, its, other in kept):
            kept.append((score, box, k))
    return kept[:max_det]


def same(found, expected, atol=1e-6):
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, [e[0] for e in expected], atol=atol)
    np.testing.assert_allclose(found.xyxy, np.reshape([e[1] for e in expected], (-1, 4)), atol=1e-4)
    np.testing.assert_array_equal(found.labels, [e[2] for e in expected])


@pytest.mark.parametrize("size", [(23, 28), (31, 21), (20, 20)])
def test_paths_that_pad_unlike_meet_at_every_size_of_a_picture(size):
    """At a stride of 2 a padded 3x3 window has one place less on odd sizes than a 1x1 window."""
    x = inputs = sl.Input((20, 20, 1))
    x = layers.Add()([layers.Conv2D(3, side, strides=2, padding="same")(x) for side in (3, 1)])
    model = sl.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))
    dense = sl.rewrite.to_fully_convolutional(model)
    image = picture(size, channels=1)
    if size != (20, 20):
        with pytest.raises(RuntimeError, match="must match"):
            dense(torch.zeros(1, 1, *size))
    expected = sl.rewrite.score_map(dense).shape(size)
    assert sl.measure.dense_difference(model, dense, image.astype(np.float32)).windows == np.prod(expected)
    for tile in (None, 26):
        found = DenseDetector(model, tile=tile).detect(image, conf=0, iou=1, max_det=10**6)
        rows, columns = (-(-(side - 20) // 2) + 1 for side in size)
        assert len(found) == 2 * rows * columns


def softened(found, conf, threshold, max_det):
    """Bodla et al. 2017, figure 2, by plain loops: the linear rule."""
    rest = [list(each) for each in zip(found.scores, found.xyxy, found.labels, strict=True)]
    kept = []
    while rest:
        best = rest.pop(max(range(len(rest)), key=lambda i: rest[i][0]))
        kept.append(tuple(best))
        for each in rest:
            overlap = iou(best[1], each[1])
            if each[2] == best[2] and overlap > threshold:
                each[0] *= 1 - overlap
        rest = [each for each in rest if each[0] >= conf]
    return kept[:max_det]


@pytest.mark.parametrize("kind", [DenseDetector, lambda model: SlidingWindowDetector(model, stride=2)])
def test_soft_suppression_is_the_brute_force(kind):
    detector, image = kind(classifier(box=True)), picture((33, 41))
    every = detector.detect(image, conf=0.3, iou=1.0, max_det=10**6)
    found = detector.detect(image, conf=0.3, iou=0.4, max_det=10**6, nms="soft")
    same(found, softened(every, 0.3, 0.4, 10**6))
    assert len(set(found.scores) & set(every.scores)) < len(found) < len(every)
    assert detector.detect(image, conf=0.3, iou=0.4, max_det=5, nms="soft") == found[:5]
    with pytest.raises(SightlineError, match=r"non-maximum suppression.*sotf"):
        detector.detect(image, nms="sotf")


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("size", [(33, 41), (12, 10), (13, 10), (5, 60)])
@pytest.mark.parametrize("background", [None, 2])
def test_both_detectors_are_the_brute_force(box, size, background):
    model, image = classifier(box=box), picture(size)
    expected = brute_force(model, image, 2, 0.4, 0.3, 12, background)
    assert expected
    for detector in (
        SlidingWindowDetector(model, stride=2, background=background, batch_size=7),
        DenseDetector(model, background=background),
    ):
        found = detector.detect(image, conf=0.4, iou=0.3, max_det=12)
        assert isinstance(found, Detections)
        assert isinstance(detector, Detector)
        same(found, expected)
        assert background is None or background not in found.labels


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.sampled_from([(1.0,), (0.6, 1.5)]), st.booleans())
def test_dense_says_what_sliding_says(height, width, thin, scales, box):
    model, image = classifier(box=box), picture((height, width), seed=height)
    sliding = SlidingWindowDetector(model, stride=2 * thin, scales=scales).detect(image, conf=0.3)
    dense = DenseDetector(model, stride=thin, scales=scales).detect(image, conf=0.3)
    np.testing.assert_allclose(dense.xyxy, sliding.xyxy, atol=1e-4)
    np.testing.assert_allclose(dense.scores, sliding.scores, atol=1e-6)
    np.testing.assert_array_equal(dense.labels, sliding.labels)
    assert (sliding.xyxy >= 0).all()
    assert (sliding.xyxy[:, 2:] <= [width, height]).all()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("tile", [30, 37, 64, 500])
def test_tiles_are_the_whole(padding, tile):
    model, image = classifier(padding=padding), picture((70, 95))
    dense = to_fully_convolutional(model)
    whole, tiled = DenseDetector(dense), DenseDetector(dense, tile=tile)
    seen = []
    ask = tiled._answers
    tiled._answers = lambda x: (seen.append(max(x.shape[2:])), ask(x))[1]
    one, other = whole._scan(image), tiled._scan(image)
    assert max(seen) <= max(tile, 95) if tile > 95 else max(seen) <= tile
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-12)
    np.testing.assert_array_equal(other.boxes, one.boxes)
    assert whole.detect(image).scores == pytest.approx(tiled.detect(image).scores, abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 20), st.integers(0, 90), st.integers(0, 200))
def test_spans_hold_each_place_once_with_its_halo(window, stride, halo, more, steps):
    around = -(-halo // stride) * stride
    pixels, tile = window + steps * stride, window + 2 * around + more
    found = list(spans(pixels, window, stride, halo, tile))
    assert [p for s in found for p in range(s.first, s.stop)] == list(range(steps + 1))
    for s in found:
        assert 0 <= s.begin < s.end <= pixels
        assert s.end - s.begin <= tile
        assert s.begin % stride == 0
        assert s.begin == 0 or s.begin <= s.first * stride - halo
        assert s.end == pixels or s.end >= (s.stop - 1) * stride + window + halo
        assert s.begin + s.skipped * stride == s.first * stride


def test_a_tile_without_room_is_refused():
    model = classifier(padding="same")
    halo = score_map(to_fully_convolutional(model)).halo[0]
    with pytest.raises(ArgumentError, match=f"at least {12 + 2 * (halo + halo % 2)} pixels"):
        DenseDetector(model, tile=12).detect(picture((50, 50)))


def test_a_box_head_in_shares_of_the_window():
    windows = np.array([[10.0, 20.0, 30.0, 60.0]])
    np.testing.assert_allclose(within(windows, np.array([[0.5, 0.5, 1.0, 1.0]])), windows)
    np.testing.assert_allclose(within(windows, np.array([[0.25, 0.5, 0.5, 0.1]])), [[14, 30, 16, 50]])
    np.testing.assert_allclose(within(windows, np.array([[0.5, 0.5, -1.0, 0.5]])), [[15, 40, 25, 40]])


def test_an_object_is_found_where_it_is():
    """A network that knows bright squares: the mean of its window, by hand."""
    x = inputs = sl.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x))
    model = sl.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.set_weights([np.array([[0.05]]), np.array([-10.0])])  # half sure at a mean of 200
    image = np.zeros((60, 80), np.uint8)
    image[20:28, 40:48] = image[40:56, 10:26] = 255
    found = DenseDetector(model).detect(image, iou=0.0)
    assert [40, 20, 48, 28] in found.xyxy.tolist()
    assert all(top >= 40 and bottom <= 56 for left, top, _, bottom in found.xyxy if left < 40)
    half = SlidingWindowDetector(model, stride=1, scales=[0.5]).detect(image, iou=0.0)
    wide = SlidingWindowDetector(model, window=16, stride=2).detect(image, iou=0.0)  # crops of twice the size
    assert half.xyxy.tolist() == wide.xyxy.tolist() == [[10, 40, 26, 56]]
    assert DenseDetector(model).detect(np.zeros((60, 80), np.uint8)) == Detections()


def test_lists_and_floats_and_gray():
    model = classifier(size=(12, 10, 1))
    images = [picture((30, 20), 1, 1), picture((9, 40), 2, 1)]
    for detector in (DenseDetector(model), SlidingWindowDetector(model)):
        several = detector.detect(images, conf=0.3)
        assert several == [detector.detect(image, conf=0.3) for image in images]
        assert detector.detect(images[0][..., 0], conf=0.3) == several[0]
        assert detector.detect(images[0].astype(np.float32), conf=0.3) == several[0]
        assert detector.detect([]) == []
        assert detector.detect(np.stack([images[0]] * 2), conf=0.3) == [several[0]] * 2
        assert detector.detect(images[0], max_det=0) == Detections()


def test_a_fully_convolutional_network_is_taken_as_it_is(tmp_path):
    model, image = classifier(), picture((40, 50))
    dense = to_fully_convolutional(model, stride=2)
    expected = DenseDetector(model, stride=2).detect(image, conf=0.3)
    assert DenseDetector(dense).detect(image, conf=0.3) == expected
    again = DenseDetector(sl.load(dense.save(tmp_path / "it.sightline"))).detect(image, conf=0.3)
    np.testing.assert_allclose(again.scores, expected.scores, atol=1e-5)
    with pytest.raises(ArgumentError, match="fully convolutional already"):
        DenseDetector(dense, stride=2)
    with pytest.raises(SightlineError, match="no window to slide"):
        SlidingWindowDetector(dense)


def dict_model():
    model = classifier(box=True)
    return sl.Model(model.input, {"box": model.output[1], "classes": model.output[0]}).double()


def test_outputs_by_name():
    image = picture((30, 30))
    assert DenseDetector(dict_model()).detect(image, conf=0.3) == DenseDetector(classifier(box=True)).detect(
        image, conf=0.3
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: d.detect(np.zeros((30, 30))), "no image"),
        (lambda d: d.detect(np.zeros((30, 30, 4))), r"\(height, width, 3\)"),
        (lambda d: d.detect("a.png"), "no image"),
        (lambda d: d.detect(np.zeros((0, 30, 3))), "no image"),
        (lambda d: d.detect(picture((30, 30)), conf=1.5), "conf is from 0 to 1"),
        (lambda d: d.detect(picture((30, 30)), iou=-1), "iou is from 0 to 1"),
        (lambda d: d.detect(picture((30, 30)), max_det=-1), "max_det"),
        (lambda d: DenseDetector(classifier(), background=4).detect(picture((30, 30))), "background"),
        (lambda d: DenseDetector(classifier(), scales=()), "scales"),
        (lambda d: DenseDetector(classifier(), scales=[0]), "scales"),
        (lambda d: DenseDetector(classifier(), tile=0), "tile"),
        (lambda d: SlidingWindowDetector(classifier(), stride=0), "stride"),
        (lambda d: SlidingWindowDetector(classifier(), batch_size=0), "batch_size"),
        (lambda d: DenseDetector(classifier(last=None)).detect(picture((30, 30))), "no probabilities.*softmax"),
        (lambda d: DenseDetector(sl.Model(d.model.input, [d.model.output] * 3)), "outputs"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises((ArgumentError, ShapeError, SightlineError), match=says):
        call(SlidingWindowDetector(classifier()))


def test_in_tiles_without_a_box_head_has_none():
    where = score_map(to_fully_convolutional(classifier()))
    scores, shares = in_tiles(lambda part: (np.zeros((1, 50, 50, 2)), None), np.zeros((30, 30, 3)), where, None)
    assert scores.shape == (10, 11, 2)
    assert shares is None
