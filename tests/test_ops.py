"""Boxes: against torchvision's own functions and brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops as theirs

import sightline as sl
from sightline import ops
from sightline.errors import ArgumentError, ShapeError
from sightline.structures import Detections


def random_boxes(seed, n, degenerate=True):
    rng = np.random.default_rng(seed)
    low = rng.random((n, 2)) * 8
    boxes = np.concatenate([low, low + rng.random((n, 2)) * 6], 1)
    if degenerate:
        boxes = np.where(rng.random((n, 1)) < 0.3, np.round(boxes), boxes)  # ties, and boxes without area
    return torch.from_numpy(boxes)


@given(st.integers(0, 10**6), st.integers(0, 20), st.integers(0, 20))
def test_overlaps_are_torchvisions(seed, n, m):
    one, other = random_boxes(seed, n), random_boxes(seed + 1, m)
    expected = torch.nan_to_num(theirs.box_iou(one, other))
    torch.testing.assert_close(ops.iou(one, other), expected)
    k = min(n, m)
    one, other = random_boxes(seed, k, False), random_boxes(seed + 1, k, False)
    torch.testing.assert_close(ops.paired_iou(one, other), theirs.box_iou(one, other).diagonal())
    torch.testing.assert_close(ops.paired_giou(one, other), theirs.generalized_box_iou(one, other).diagonal())
    torch.testing.assert_close(
        ops.paired_ciou(one, other), 1 - theirs.complete_box_iou_loss(one, other), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("function", [ops.paired_iou, ops.paired_giou, ops.paired_ciou])
def test_gradients_are_finite_for_boxes_without_area(function):
    one = torch.tensor([[1.0, 1, 1, 1], [0, 0, 2, 2], [3, 3, 5, 5], [4, 4, 2, 2]], requires_grad=True)
    other = torch.tensor([[1.0, 1, 1, 1], [0, 0, 2, 2], [8, 8, 9, 9], [0, 0, 1, 1]])
    said = function(one, other)
    said.sum().backward()
    assert said.isfinite().all()
    assert one.grad.isfinite().all()
    assert said[1].item() == pytest.approx(1)


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_conversions_come_back(seed, n):
    boxes = random_boxes(seed, n)
    torch.testing.assert_close(ops.cxcywh_to_xyxy(ops.xyxy_to_cxcywh(boxes)), boxes)
    torch.testing.assert_close(ops.xywh_to_xyxy(ops.xyxy_to_xywh(boxes)), boxes)
    torch.testing.assert_close(ops.xyxy_to_cxcywh(boxes), theirs.box_convert(boxes, "xyxy", "cxcywh"))


def by_hand(boxes, scores, labels, threshold):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        overlaps = [ops.iou(boxes[i][None], boxes[j][None]).item() for j in kept if labels[i] == labels[j]]
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    return kept


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 15), st.floats(0.05, 0.95))
def test_nms_is_the_greedy_rule(seed, n, threshold):
    boxes = random_boxes(seed, n, degenerate=False)
    rng = np.random.default_rng(seed)
    scores, labels = torch.from_numpy(rng.permutation(n) / 20), torch.from_numpy(rng.integers(0, 3, n))
    assert ops.nms(boxes, scores, labels, threshold).tolist() == by_hand(boxes, scores, labels, threshold)
    same = torch.zeros(n, dtype=torch.int64)
    assert ops.nms(boxes, scores, None, threshold).tolist() == by_hand(boxes, scores, same, threshold)


def test_what_is_not_finite_goes():
    boxes = torch.tensor([[0.0, 0, 1, 1], [math.nan, 0, 1, 1], [0, 0, math.inf, 1], [5, 5, 6, 6]])
    scores = torch.tensor([0.5, 0.9, 0.9, math.nan])
    assert ops.nms(boxes, scores).tolist() == [0]
    assert ops.soft_nms(boxes, scores)[0].tolist() == [0]


def test_soft_nms_lowers_what_overlaps():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    numbers, left = ops.soft_nms(boxes, scores, method="gaussian", sigma=0.5)
    assert numbers.tolist() == [0, 2, 1]
    assert left.tolist() == pytest.approx([0.9, 0.7, 0.8 * math.exp(-(0.5**2) / 0.5)])
    numbers, left = ops.soft_nms(boxes, scores, method="linear")
    assert left.tolist() == pytest.approx([0.9, 0.7, 0.4])
    numbers, left = ops.soft_nms(boxes, scores, torch.tensor([0, 1, 0]))
    assert left.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_wrong_shapes_get_a_sentence():
    with pytest.raises(ShapeError, match=r"\(n, 4\)"):
        sl.ops.nms(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ShapeError, match="one of scores for each box"):
        sl.ops.nms(torch.zeros(3, 4), torch.zeros(2))
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        sl.ops.nms(torch.zeros(3, 4), torch.zeros(3), iou_threshold=1.5)


def test_detections_are_sorted_and_checked():
    found = Detections([[0, 0, 1, 1], [1, 1, 2, 2]], [0.2, 0.9], [0, 1])
    assert found.labels.tolist() == [1, 0]
    assert len(found[found.scores > 0.5]) == 1
    assert found == Detections([[1, 1, 2, 2], [0, 0, 1, 1]], [0.9, 0.2], [1, 0])
    assert len(Detections()) == 0
    with pytest.raises(ArgumentError, match="finite"):
        Detections([[0, 0, math.nan, 1]], [0.2], [0])
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        Detections([[0, 0, 1, 1]], [1.2], [0])
    with pytest.raises(ShapeError, match="score and a class number"):
        Detections([[0, 0, 1, 1]], [], [0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.uint8])
def test_overlaps_of_boxes_in_other_types_are_those_in_float32(dtype):
    corners = torch.tensor([[0, 0, 240, 240], [16, 32, 240, 200], [250, 250, 240, 240]]).to(dtype)
    for measure in (ops.paired_iou, ops.paired_giou, ops.paired_ciou):
        same = measure(corners.float(), corners.flip(0).float())
        torch.testing.assert_close(measure(corners, corners.flip(0)), same)
    torch.testing.assert_close(
        ops.iou(corners[:2], corners[:2]), theirs.box_iou(corners[:2].float(), corners[:2].float())
    )
    assert ops.iou(torch.tensor([[0, 0, 400, 400]]).to(torch.float16), torch.tensor([[0.0, 0, 400, 400]])).item() == 1
