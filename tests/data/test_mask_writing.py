"""Class maps as others read them: pycocotools' run lengths, polygons filled by Matplotlib, palettes read by Pillow."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools import mask as coco
from scipy import ndimage

from sightline.data.mask_files import voc_palette, write_mask
from sightline.data.mask_writing import from_rle, overlay, to_polygons, to_rle
from sightline.errors import ArgumentError, DataError, ShapeError

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays.arrays(bool, size))


def blobs(seed, size=(97, 131)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(size), 3) > 0.02


def check_rle(mask):
    ours, theirs = to_rle(mask), coco.encode(np.asfortranarray(mask, np.uint8))
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    assert json.loads(json.dumps(ours)) == ours
    for each in (ours, theirs):
        assert np.array_equal(from_rle(each), mask)
    runs = [len(run) for run in _runs(mask.ravel(order="F").tolist())]
    assert np.array_equal(from_rle({"size": list(mask.shape), "counts": runs}), mask)


def _runs(flat):
    """Runs in turn of zeros and ones, zeros first."""
    runs = [[]]
    for value in flat:
        if value != (len(runs) - 1) % 2:
            runs.append([])
        runs[-1].append(value)
    return runs


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_run_lengths_are_pycocotools(mask):
    check_rle(mask)


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_of_larger_masks(seed):
    check_rle(blobs(seed))
    check_rle(np.repeat(blobs(seed), 40, 0))  # counts of several characters


@settings(deadline=None, max_examples=60)
@given(st.text("01PQ`onml_/p\u0430", max_size=9), st.integers(0, 5), st.integers(0, 5))
def test_any_text_is_a_mask_or_an_error(text, height, width):
    with contextlib.suppress(DataError):
        assert from_rle({"size": [height, width], "counts": text}).shape == (height, width)


def filled(regions, shape):
    """By the even-odd rule, at the middles of pixels."""
    height, width = shape
    middles = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    inside = np.zeros(len(middles), bool)
    for region in regions:
        for ring in (region.outline, *region.holes):
            inside ^= Outline(np.concatenate([ring, ring[:1]])).contains_points(middles)
    return inside.reshape(shape)


def check_polygons(mask):
    regions = to_polygons(mask)
    parts, count = ndimage.label(mask)
    assert len(regions) == count
    assert np.array_equal(filled(regions, mask.shape), mask)
    for number, region in enumerate(regions, 1):
        part = parts == number
        assert np.array_equal(filled([region], mask.shape), part)
        assert np.array_equal(
            filled([region._replace(holes=())], mask.shape), ndimage.binary_fill_holes(part, np.ones((3, 3)))
        )
        for ring in (region.outline, *region.holes):  # only corners, which turn
            moved = np.roll(ring, -1, 0) - ring
            assert ((moved == 0).sum(1) == 1).all()
            assert ((moved == 0) != (np.roll(moved, 1, 0) == 0)).all()


@settings(deadline=None, max_examples=60)
@given(MASKS)
def test_polygons_give_the_mask_back(mask):
    check_polygons(mask)


def test_polygons_of_a_larger_mask_and_of_simple_ones():
    check_polygons(blobs(1, (60, 70)))
    assert to_polygons(np.zeros((3, 4), bool)) == []
    (region,) = to_polygons(np.ones((3, 4), bool))
    assert region.outline.tolist() == [[0, 0], [4, 0], [4, 3], [0, 3]]
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    (region,) = to_polygons(ring)
    assert [len(hole) for hole in region.holes] == [4]
    assert len(to_polygons(np.eye(3))) == 3  # pixels that meet at corners are apart


def test_overlay_is_its_formula():
    rng = np.random.default_rng(0)
    image, classes = rng.integers(0, 256, (5, 6, 3), np.uint8), rng.choice([0, 1, 2, 255], (5, 6)).astype(np.uint8)
    colors = rng.integers(0, 256, (3, 3), np.uint8)
    for opacity, hidden in ((0.5, (0,)), (0.3, ()), (1, ()), (0, ())):
        expected = image.astype(float)
        for label in {0, 1, 2} - set(hidden):
            at = classes == label
            expected[at] = (1 - opacity) * image[at] + opacity * colors[label]
        assert np.abs(overlay(image, classes, colors, opacity, hidden) - expected).max() <= 0.5 + 1e-4
    assert np.array_equal(overlay(image, classes, colors, 0), image)


def test_a_palette_of_ones_own(tmp_path):
    colors = np.array([[1, 2, 3], [250, 128, 0]], np.uint8)
    classes = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    image = Image.open(write_mask(classes, tmp_path / "palette.png", "palette", colors))
    assert (image.mode, np.asarray(image).tolist()) == ("P", classes.tolist())
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    assert palette[:2].tolist() == colors.tolist()
    assert palette[255].tolist() == voc_palette()[255].tolist()
    shown = np.asarray(Image.open(write_mask(classes, tmp_path / "color.png", "color", colors)))
    assert shown[0].tolist() == [*colors.tolist(), voc_palette()[255].tolist()]
    with pytest.raises(ShapeError, match=r"uint8 \(classes, 3\)"):
        write_mask(classes, tmp_path / "x.png", "palette", colors[:, :2])


def test_mistakes_get_a_sentence():
    image, classes = np.zeros((2, 3, 3), np.uint8), np.full((2, 3), 4, np.uint8)
    with pytest.raises(ShapeError, match="one size"):
        overlay(image, classes.T, voc_palette())
    with pytest.raises(ArgumentError, match="5 colors"):
        overlay(image, classes, voc_palette()[:4])
    with pytest.raises(ArgumentError, match="opacity"):
        overlay(image, classes, voc_palette(), 2)
    for function in (to_rle, to_polygons):
        with pytest.raises(ShapeError, match="mask is"):
            function(image)
    for rle in ({}, {"size": [2, -1]}, {"size": [2, 2.0]}, {"size": "22"}):
        with pytest.raises(DataError, match="no size"):
            from_rle(rle)
    with pytest.raises(DataError, match="larger than"):
        from_rle({"size": [2**20, 2**20], "counts": [2**40]})
    for counts in ("", [3], [5, -1], [True, 3], None, [4.0]):
        with pytest.raises(DataError, match="do not fill"):
            from_rle({"size": [2, 2], "counts": counts})
    with pytest.raises(DataError, match="end within"):
        from_rle({"size": [2, 2], "counts": "P"})
