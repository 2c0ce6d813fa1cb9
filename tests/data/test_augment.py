"""Random changes keep picture, boxes and mask together, and depend on seed, epoch and index only."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from sightline.data.augment import Draws, Example, apply, changed, draw, generator, recolored
from sightline.data.mix import augmented, cutmix, mixup, mosaic
from sightline.data.recipes import PRESETS, Augmentation, recipe
from sightline.data.warp import corners_of, flip_matrix, moved_corners, visible, warp, warp_mask
from sightline.errors import ArgumentError
from sightline.structures import IGNORE, Boxes

H, W = 60, 80


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def bounds(inside: np.ndarray) -> list[float]:
    """The tight box (left, top, right, bottom) around what is true."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def with_box(box: tuple[int, int, int, int], label: int = 3) -> Example:
    """A picture whose only object fills its box: white on black, class 1 in the mask."""
    left, top, right, bottom = box
    pixels, mask = np.zeros((H, W, 3), np.uint8), np.zeros((H, W), np.uint8)
    pixels[top:bottom, left:right], mask[top:bottom, left:right] = 255, 1
    return Example(pixels, (), Boxes([box], [label]), mask)


boxes_in_picture = st.tuples(
    st.integers(0, W - 12), st.integers(0, H - 12), st.integers(8, 40), st.integers(8, 40)
).map(lambda b: (b[0], b[1], min(b[0] + b[2], W), min(b[1] + b[3], H)))
geometry = st.builds(
    Augmentation,
    flip_horizontal=st.sampled_from([0, 0.5, 1]), flip_vertical=st.sampled_from([0, 0.5, 1]),
    rotate=st.sampled_from([0, 0, 10, 45, 180]), shift=st.floats(0, 0.3), zoom=st.floats(0, 0.5),
    random_resized_crop=st.sampled_from([1.0, 0.3, 0.7]), min_visible=st.just(0.0),
)  # fmt: skip


@given(boxes_in_picture, geometry, st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_box_mask_and_picture_move_together(box, ranges, seed):
    """The bounds of the moved mask are the moved box, to within rounding.

    A turned box ends in a tip that may pass between the middles of pixels, so there the mask is sampled 16 times finer.
    """
    first, draws = with_box(box), draw(ranges, (H, W), generator(seed, 0, 0))
    answer = apply(first, draws, min_visible=0.0)
    inside = answer.mask == 1
    if not len(answer.boxes):
        assert inside.sum() <= 2
        return
    assume(inside.sum() > 16)
    found, expected = np.array(bounds(inside)), answer.boxes.xyxy[0]
    assert (found[:2] >= expected[:2] - 0.51).all()
    assert (found[2:] <= expected[2:] + 0.51).all()
    if not ranges.rotate:
        assert np.abs(found - expected).max() <= 0.51
    elif draws.matrix is not None:
        fine = warp_mask(first.mask, draws.matrix @ np.diag([1 / 16, 1 / 16, 1]), (16 * H, 16 * W), fill=IGNORE)
        turned = np.degrees(np.arctan2(draws.matrix[1, 0], draws.matrix[0, 0])) % 90
        tip = np.radians(max(min(turned, 90 - turned), 0.5))  # the sharpest one, where the picture's edge cuts the box
        assert np.abs(np.array(bounds(fine == 1)) / 16 - expected).max() <= 0.1 + 0.125 / np.tan(tip)
    assert answer.boxes.labels.tolist() == [3]
    white = answer.pixels[..., 0] > 127
    assert (white != inside).sum() <= 2 * (inside.shape[0] + inside.shape[1])  # half a pixel around the edge
    assert answer.pixels[inside].min() >= 62  # at least half of it white along each axis


@given(boxes_in_picture, st.booleans(), st.booleans())
def test_flipping_twice_is_the_identity(box, horizontal, vertical):
    first = with_box(box)
    first = Example(noise(H, W, 3), (), first.boxes, noise(H, W))
    flip = Draws(flip_matrix(horizontal, vertical, (H, W)))
    once = apply(first, flip)
    twice = apply(once, flip)
    assert np.array_equal(twice.pixels, first.pixels)
    assert np.array_equal(twice.mask, first.mask)
    assert twice.boxes == first.boxes
    expected = first.pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    assert np.array_equal(once.pixels, expected)


@given(boxes_in_picture)
def test_a_flipped_box_is_where_its_object_is(box):
    answer = apply(with_box(box), Draws(flip_matrix(True, True, (H, W))))
    assert answer.boxes.xyxy[0].tolist() == bounds(answer.mask == 1)


def test_warp_is_brute_force_bilinear_in_float64():
    pixels, chance = noise(13, 17, 3), np.random.default_rng(1)
    for _ in range(20):
        matrix = np.array([[1, 0, 0], [0, 1, 0]]) + chance.normal(0, 0.2, (2, 3)) * [[1, 1, 10], [1, 1, 10]]
        answer = warp(pixels, matrix, (9, 11), fill=114)
        padded = np.full((13 + 2, 17 + 2, 3), 114.0)
        padded[1:-1, 1:-1] = pixels
        expected = np.full((9, 11, 3), 114.0)
        for i in range(9):
            for j in range(11):
                x, y = matrix @ [j + 0.5, i + 0.5, 1] - 0.5
                left, top = int(np.floor(x)), int(np.floor(y))
                if -1 <= left <= 16 and -1 <= top <= 12:
                    right, down = x - left, y - top
                    around = padded[top + 1 : top + 3, left + 1 : left + 3]
                    weights = np.outer([1 - down, down], [1 - right, right])
                    expected[i, j] = (around * weights[..., None]).sum((0, 1))
        assert np.abs(answer - expected).max() < 0.02


def test_a_mask_takes_the_class_of_the_pixel_and_ignores_what_is_outside():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    moved = warp_mask(mask, np.array([[1, 0, 1], [0, 1, -1]]), (3, 4), fill=IGNORE)
    assert moved.tolist() == [[IGNORE] * 4, [1, 2, 3, IGNORE], [5, 6, 7, IGNORE]]


@pytest.mark.parametrize(
    ("change", "oracle"),
    [
        ({"brightness": 1.3}, lambda x: tv.adjust_brightness(x, 1.3)),
        ({"brightness": 0.6}, lambda x: tv.adjust_brightness(x, 0.6)),
        ({"contrast": 1.4}, lambda x: tv.adjust_contrast(x, 1.4)),
        ({"contrast": 0.5}, lambda x: tv.adjust_contrast(x, 0.5)),
        ({"saturation": 1.5}, lambda x: tv.adjust_saturation(x, 1.5)),
        ({"saturation": 0.0}, lambda x: tv.adjust_saturation(x, 0.0)),
    ],
)
def test_colors_against_torchvision(change, oracle):
    pixels = (noise(20, 30, 3) // 3 + 60).astype(np.uint8)  # in the middle, where nothing is cut
    expected = oracle(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255) * 255
    answer = recolored(pixels, Draws(**change)).astype(float)
    assert np.abs(answer - expected.permute(1, 2, 0).numpy()).max() <= 1.6  # torchvision's luma has rounded weights


def test_hue_keeps_gray_gray_and_every_pixel_as_light():
    pixels = (noise(20, 30, 3) // 4 + 90).astype(np.uint8)
    turned = recolored(pixels, Draws(hue=0.25))
    luma = [0.299, 0.587, 0.114]
    assert np.abs(turned @ luma - pixels @ luma).max() < 1
    assert np.abs(turned.astype(int) - pixels).max() > 20
    assert np.abs(recolored(pixels, Draws(hue=0.5)).astype(int) - recolored(turned, Draws(hue=0.25))).max() <= 3
    gray = np.repeat(noise(5, 5, 1), 3, 2)
    assert np.array_equal(recolored(gray, Draws(hue=0.3)), gray)


def test_light_is_added_along_the_principal_components():
    pixels = np.full((4, 4, 3), 100, np.uint8)
    draws = draw(Augmentation(lighting=0.1), (4, 4), generator(0, 0, 0))
    assert recolored(pixels, draws)[0, 0].tolist() == [int(100 + v + 0.5) for v in draws.lighting]
    many = np.array([draw(Augmentation(lighting=0.1), (4, 4), generator(0, 0, i)).lighting for i in range(2000)]) / 255
    values = np.linalg.eigvalsh(np.cov(many.T)) ** 0.5 / 0.1
    assert np.allclose(sorted(values), [0.0045, 0.0188, 0.2175], rtol=0.1)


def test_haze_takes_each_value_its_way_to_white_most_in_its_middle():
    pixels = noise(40, 60, 3)
    strength, x, y, radius = 0.4, 20.0, 10.0, 25.0
    answer = recolored(pixels, Draws(haze=(strength, x, y, radius)))
    for row in range(40):
        for column in range(60):
            distance = (row + 0.5 - y) ** 2 + (column + 0.5 - x) ** 2
            share = strength * np.exp(-distance / (2 * radius**2))
            expected = pixels[row, column] + share * (255.0 - pixels[row, column])
            assert np.abs(answer[row, column] - expected).max() <= 0.501
    drawn = [draw(Augmentation(haze=0.3), (40, 60), generator(0, 0, i)).haze for i in range(500)]
    strengths, xs, ys, radii = np.array(drawn).T
    assert 0 <= strengths.min() < 0.01
    assert 0.29 < strengths.max() <= 0.3
    for values, least, most in ((xs, -30, 90), (ys, -20, 60), (radii, 15, 60)):
        assert least <= values.min() <= least + 5
        assert most - 5 <= values.max() <= most


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["none", "light", "strong"])
@pytest.mark.parametrize("task", PRESETS)
def test_every_preset_gives_pictures_of_the_same_kind(task, name, channels):
    def load(index: int) -> Example:
        return Example(
            noise(H, W, channels, seed=index), ((index % 3, 1.0),), Boxes([[10, 10, 50, 40]], [1]), noise(H, W) % 3
        )

    for index in range(6):
        answer = augmented(load, index, 6, recipe(task, name), 0, 0)
        assert (answer.pixels.shape, answer.pixels.dtype) == ((H, W, channels), np.uint8)
        assert (answer.mask.shape, answer.mask.dtype) == ((H, W), np.uint8)
        assert set(np.unique(answer.mask)) <= {0, 1, 2, IGNORE}
        assert sum(share for _, share in answer.labels) == pytest.approx(1) or task == "detect"
        assert answer.boxes.xyxy.min(initial=0) >= 0
        assert (answer.boxes.xyxy <= [W, H, W, H]).all()
        if task == "localize":
            assert len(answer.boxes) == 1
        if name == "none":
            assert np.array_equal(answer.pixels, load(index).pixels)


def test_draws_depend_on_seed_epoch_and_index_only():
    ranges = recipe("classify", "strong")
    loads = {i: Example(noise(H, W, 3, seed=i), ((i % 4, 1.0),)) for i in range(20)}
    expected = {(e, i): augmented(loads.__getitem__, i, 20, ranges, 7, e) for e in range(2) for i in range(20)}
    order = list(expected)
    random.Random(0).shuffle(order)
    for epoch, index in order:
        again = augmented(loads.__getitem__, index, 20, ranges, 7, epoch)
        assert again.pixels.tobytes() == expected[epoch, index].pixels.tobytes()
        assert again.labels == expected[epoch, index].labels
    assert len({example.pixels.tobytes() for example in expected.values()}) == 40
    other = augmented(loads.__getitem__, 3, 20, ranges, 8, 0)
    assert other.pixels.tobytes() != expected[0, 3].pixels.tobytes()


def test_draws_stay_in_their_ranges():
    ranges = Augmentation(
        rotate=20, zoom=0.2, brightness=0.3, contrast=0.2, saturation=0.1, hue=0.1, flip_horizontal=0.5
    )
    mirrored = 0
    for index in range(500):
        draws = draw(ranges, (H, W), generator(0, 0, index))
        linear = draws.matrix[:, :2]
        mirrored += np.linalg.det(linear) < 0
        assert 1 / 1.2 - 1e-9 <= abs(np.linalg.det(linear)) ** 0.5 <= 1 / 0.8 + 1e-9
        assert abs(np.degrees(np.arctan2(linear[1, 0], abs(linear[0, 0])))) <= 20 + 45  # the sign of a mirror aside
        assert 0.7 <= draws.brightness <= 1.3
        assert 0.8 <= draws.contrast <= 1.2
        assert 0.9 <= draws.saturation <= 1.1
        assert -0.1 <= draws.hue <= 0.1
    assert 200 < mirrored < 300


@given(st.integers(0, 10**6), st.floats(0.05, 1))
@settings(max_examples=100, deadline=None)
def test_a_random_resized_crop_lies_in_the_picture(seed, least):
    draws = draw(Augmentation(random_resized_crop=least), (H, W), generator(seed, 0, 0))
    if draws.matrix is None:
        return
    corners = draws.matrix @ np.array([[0, W], [0, H], [1, 1]])
    assert corners.min() >= -1e-9
    assert (corners.max(1) <= np.array([W, H]) + 1e-9).all()
    area = abs(np.linalg.det(draws.matrix[:, :2]))
    assert least * 0.7 <= area <= 1 + 1e-9  # a window that is cut at the picture may be smaller than drawn


def test_boxes_that_leave_the_picture_are_dropped_by_visible_area():
    boxes = Boxes([[-10, 0, 10, 10], [-16, 0, 4, 10], [70, 50, 90, 70], [100, 0, 120, 10]], [0, 1, 2, 3])
    seen = visible(boxes, corners_of(boxes.xyxy), (H, W), 0.25)
    assert seen.labels.tolist() == [0, 2]
    assert seen.xyxy.tolist() == [[0, 0, 10, 10], [70, 50, 80, 60]]
    assert visible(boxes, corners_of(boxes.xyxy), (H, W), 0.2).labels.tolist() == [0, 1, 2]


def test_impossible_boxes_vanish_and_do_no_harm():
    boxes = Boxes([[5, 5, 5, 9], [9, 9, 3, 3], [np.nan, 0, 4, 4], [0, 0, 4, 4]], [0, 1, 2, 3])
    with np.errstate(invalid="ignore"):
        moved = moved_corners(boxes.xyxy, flip_matrix(True, False, (H, W)))
    assert visible(boxes, corners_of(boxes.xyxy), (H, W), 0.25).labels.tolist() == [3]
    assert visible(boxes, moved, (H, W), 0.25).xyxy.tolist() == [[W - 4, 0, W, 4]]


def test_a_localized_object_is_never_lost():
    ranges = Augmentation(shift=0.9, keep_boxes=True, min_visible=0.7)
    lost = [changed(with_box((2, 2, 12, 12)), ranges, generator(0, 0, i)) for i in range(50)]
    assert all(len(example.boxes) == 1 for example in lost)
    assert any(np.array_equal(example.mask, with_box((2, 2, 12, 12)).mask) for example in lost)


def test_mixup_blends_pictures_and_labels():
    first, second = (
        Example(np.full((4, 4, 3), 200, np.uint8), ((1, 1.0),)),
        Example(np.zeros((4, 4, 3), np.uint8), ((0, 1.0),)),
    )
    answer = mixup(first, second, 0.75)
    assert np.unique(answer.pixels).tolist() == [150]
    assert answer.labels == ((0, 0.25), (1, 0.75))
    assert mixup(first, first, 0.3).labels == ((1, pytest.approx(1.0)),)


def test_cutmix_labels_by_the_area_that_is_really_there():
    black, white = (
        Example(np.zeros((H, W, 3), np.uint8), ((0, 1.0),)),
        Example(np.full((H, W, 3), 255, np.uint8), ((1, 1.0),)),
    )
    black = Example(black.pixels, black.labels, mask=np.zeros((H, W), np.uint8))
    white = Example(white.pixels, white.labels, mask=np.ones((H, W), np.uint8))
    for i in range(20):
        answer = cutmix(black, white, 0.6, generator(0, 0, i))
        share = (answer.pixels[..., 0] == 255).mean()
        assert dict(answer.labels).get(1, 0) == pytest.approx(share)
        assert np.array_equal(answer.mask == 1, answer.pixels[..., 0] == 255)


def test_mosaic_keeps_boxes_on_their_objects():
    four = [with_box((10, 10, 40, 30), label=i) for i in range(4)]
    found = 0
    for i in range(30):
        answer = mosaic(four, generator(0, 0, i), 0.5)
        assert answer.pixels.shape == (H, W, 3)
        for box in answer.boxes.xyxy:
            left, top, right, bottom = np.round(box).astype(int)
            inside = answer.pixels[top + 1 : bottom - 1, left + 1 : right - 1, 0]
            if inside.size > 20:
                found += 1
                assert (inside == 255).mean() > 0.95
                assert (answer.mask[top + 1 : bottom - 1, left + 1 : right - 1] == 1).all()
    assert found > 30


@pytest.mark.parametrize(
    ("task", "asked", "words"),
    [
        ("classify", "ligth", "light"),
        ("classify", {"preset": "light", "rotation": 3}, "rotate"),
        ("classify", {"rotate": 200}, "0 to 180"),
        ("classify", {"rotate": "much"}, "rotate"),
        ("classify", {"flip_horizontal": True}, "flip_horizontal"),
        ("classify", {"mosaic": 0.5}, "mosaic leaves no label"),
        ("segment", {"mixup": 0.5}, "mixup leaves no label"),
        ("localize", {"cutmix": 1.0}, "cutmix leaves no label"),
        ("detect", {"zoom": float("nan")}, "zoom"),
    ],
)
def test_recipes_that_cannot_be(task, asked, words):
    with pytest.raises(ArgumentError, match=words):
        recipe(task, asked)


def test_presets_can_be_overridden():
    light = recipe("classify", "light")
    assert recipe("classify", {"preset": "light", "rotate": 20}) == Augmentation(**(light.as_dict() | {"rotate": 20}))
    assert recipe("classify", None).changes_nothing
    assert recipe("localize", None).changes_nothing
    assert not light.changes_nothing
