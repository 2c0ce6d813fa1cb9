"""Changes of pictures against SciPy's and Pillow's, and how answers hold under them."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image, ImageEnhance

import sightline as sl
from sightline import layers
from sightline.measure import CHANGES, invariance


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    smooth = scipy.ndimage.gaussian_filter(rng.random((6, 24, 20, 3)), (0, 1.5, 1.5, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def changed(images, name, strength):
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    return CHANGES[name](x, strength, (0.0, 1.0)).permute(0, 2, 3, 1).numpy()


def each_plane(images, function):
    return np.stack([np.stack([function(image[..., c]) for c in range(3)], -1) for image in images])


@pytest.mark.parametrize(
    ("name", "strength", "matrix"),
    [  # rows first: (row', column') = matrix @ (row, column)
        ("rotation", 30.0, [[math.cos(math.pi / 6), math.sin(math.pi / 6)], [-math.sin(math.pi / 6), math.cos(math.pi / 6)]]),
        ("scale", 1.5, [[1 / 1.5, 0], [0, 1 / 1.5]]),
        ("scale", 0.7, [[1 / 0.7, 0], [0, 1 / 0.7]]),
        ("skew", 20.0, [[1, 0], [math.tan(math.pi / 9), 1]]),
    ],
)  # fmt: skip
def test_moving_is_as_scipy_moves(images, name, strength, matrix):
    matrix = np.array(matrix)
    centre = (np.array(images.shape[1:3]) - 1) / 2

    def by_scipy(plane):
        return scipy.ndimage.affine_transform(plane, matrix, centre - matrix @ centre, order=1, mode="nearest")

    np.testing.assert_allclose(changed(images, name, strength), each_plane(images, by_scipy), atol=2e-5)


def test_rotation_is_counter_clockwise_and_scale_above_1_enlarges(images):
    np.testing.assert_allclose(
        changed(images[:, :20], "rotation", 90.0), np.rot90(images[:, :20], 1, (1, 2)), atol=1e-5
    )
    assert changed(images, "scale", 2.0).std((1, 2)).mean() < images.std((1, 2)).mean()


def test_translation_moves_by_whole_pixels(images):
    np.testing.assert_array_equal(changed(images, "translation right", 0.1)[:, :, 2:], images[:, :, :-2])
    np.testing.assert_array_equal(changed(images, "translation down", -0.13)[:, :-3], images[:, 3:])
    np.testing.assert_array_equal(changed(images, "translation right", 0.1)[:, :, :2], images[:, :, :1].repeat(2, 2))


def test_values_change_as_scipys_and_pillows(images):
    for pixels, function in ((2, scipy.ndimage.grey_dilation), (-1, scipy.ndimage.grey_erosion)):
        size = 2 * abs(pixels) + 1
        expected = each_plane(images, lambda plane, f=function, s=size: f(plane, (s, s), mode="nearest"))
        np.testing.assert_allclose(changed(images, "thickness", float(pixels)), expected, atol=1e-6)
    expected = each_plane(images, lambda plane: scipy.ndimage.gaussian_filter(plane, 1.0, mode="nearest", truncate=3.0))
    np.testing.assert_allclose(changed(images, "blur", 1.0), expected, atol=1e-5)
    for name, enhance in (("brightness", ImageEnhance.Brightness), ("colour", ImageEnhance.Color)):
        for factor in (0.5, 1.5):
            bytes_ = (images * 255).round().astype(np.uint8)
            by_pillow = np.stack([np.asarray(enhance(Image.fromarray(image)).enhance(factor)) for image in bytes_])
            ours = changed(bytes_.astype(np.float32) / 255, name, factor) * 255
            np.testing.assert_allclose(ours, by_pillow, atol=2.0)


def test_an_answer_that_cannot_see_places_holds_under_what_moves_nothing_out():
    x = np.zeros((8, 20, 20, 1), np.float32)
    for i in range(8):
        x[i, 7 + i % 3, 6 + i % 4] = 0.3 + i / 10
    inputs = sl.Input((20, 20, 1))
    model = sl.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(inputs)))
    found = invariance(model, x, np.zeros(8))
    assert found.n == 8
    assert "colour" not in found.curves
    for name in ("translation right", "translation down", "thickness"):
        if name != "thickness":
            assert set(found[name].agreement) == {1.0}
    answers = model.predict(x).argmax(1)
    for curve in found.curves.values():
        neutral = curve.strengths.index(curve.neutral)
        assert curve.agreement[neutral] == 1.0
        assert curve.accuracy[neutral] == np.mean(answers == 0)
    dimmer = np.mean(model.predict(np.clip(x * 0.4, 0, 1)).argmax(1) == answers)
    assert found["brightness"].agreement[0] == dimmer


def test_a_segmentation_must_move_along():
    rng = np.random.default_rng(1)
    x = (scipy.ndimage.gaussian_filter(rng.random((4, 24, 24, 1)), (0, 2, 2, 0)) > 0.5).astype(np.float32)
    inputs = sl.Input((24, 24, 1))
    one = layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="ones", use_bias=True, name="one")
    model = sl.Model(inputs, one(inputs))
    model.get_layer("one").bias.data.fill_(-0.5)
    found = invariance(model, x, x, changes=["translation right", "translation down", "rotation"])
    assert found.maps
    for name in ("translation right", "translation down"):
        assert set(found[name].agreement) == {1.0}
        assert set(found[name].accuracy) == {1.0}
    assert min(found["rotation"].agreement) > 0.9  # but for borders between pixels

    def by_place(t):
        return t * 0 + torch.linspace(0, 1, t.shape[3]).view(1, 1, 1, -1)

    stuck = sl.Model(inputs, layers.Activation(by_place)(inputs))
    held = invariance(stuck, x, changes=["translation right"])["translation right"]
    assert 0.5 < held.agreement[0] < 0.9


def test_its_table_and_picture(tmp_path, images):
    model = sl.Sequential([sl.Input((24, 20, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    found = invariance(model, images, np.arange(6) % 3, changes={"rotation": [0, 90], "blur": [0, 1]}, batch_size=4)
    assert "rotation, degrees" in str(found)
    assert "1.000 (0.610 to 1.000)" in str(found)  # Wilson's interval of 6 in 6
    with Image.open(found.draw(tmp_path / "invariance.png")) as picture:
        assert picture.format == "PNG"
        assert picture.width > 300


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"changes": ["rotatoin"]}, 'Did you mean "rotation"'),
        ({"changes": {"rotation": "12"}}, "a list of numbers from -360 to 360"),
        ({"changes": {"scale": [0]}}, "no strengths of scale"),
        ({"changes": {"blur": [-1]}}, "no strengths of blur"),
        ({"changes": {"thickness": [1.5]}}, "a list of whole numbers"),
        ({"changes": {"brightness": [math.nan]}}, "no strengths of brightness"),
        ({"changes": []}, "No changes are asked for"),
        ({"labels": [0, 1]}, "of another shape than the answers"),
        ({"labels": list("abcabc")}, "no class numbers"),
        ({"labels": [0, 1, 2, 3, 0, 1]}, "whole numbers from 0 to 2"),
        ({"labels": 3}, "of another shape"),
        ({"images": np.full((2, 24, 20, 3), np.nan, np.float32)}, "no numbers"),
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, "These are no images"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments_get_a_sentence(images, arguments, match):
    model = sl.Sequential([sl.Input((24, 20, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    with pytest.raises(sl.SightlineError, match=match):
        invariance(model, **{"images": images} | arguments)


def segmentation(strides, size=32):
    torch.manual_seed(0)
    inputs = sl.Input((size, size, 3))
    x = layers.Conv2D(8, 3, strides=strides, padding="same", activation="relu")(inputs)
    x = layers.UpSampling2D(strides)(x) if strides > 1 else x
    return sl.Model(inputs, layers.Conv2D(4, 1)(x))


def test_maps_follow_shifts_by_what_their_strides_divide():
    x = np.random.default_rng(0).random((4, 32, 32, 3)).astype(np.float32)
    pixels = (0, 1, 2, 3, 4)
    for strides, followed in ((1, (0, 1, 2, 3, 4)), (2, (0, 2, 4)), (4, (0, 4))):
        model = segmentation(strides)
        found = sl.measure.equivariance(model, x, pixels=pixels)
        answers = model.predict(x, verbose=0).argmax(-1)
        for name, axis in (("shift right", 2), ("shift down", 1)):
            curve = found[name]
            for shift, agreement in zip(curve.strengths, curve.agreement, strict=True):
                padded = np.pad(x, [(0, 0), *[(4, 0) if a == axis else (0, 0) for a in (1, 2)], (0, 0)], "edge")
                take = slice(4 - int(shift), 36 - int(shift))
                moved = padded[:, :, take] if axis == 2 else padded[:, take]
                said = model.predict(moved, verbose=0).argmax(-1)
                inside = slice(int(shift), 32), slice(0, 32 - int(shift))
                one, other = (said[:, :, inside[0]], answers[:, :, inside[1]]) if axis == 2 else (said[:, inside[0]], answers[:, inside[1]])  # fmt: skip
                assert agreement == pytest.approx((one == other).mean())
            near_all = [shift for shift, share in zip(pixels, curve.agreement, strict=True) if share > 0.93]
            assert tuple(near_all) == followed


def test_a_shift_is_a_whole_number_of_pixels():
    with pytest.raises(sl.SightlineError, match="pixels"):
        sl.measure.equivariance(segmentation(1), np.zeros((1, 32, 32, 3), np.float32), pixels=(0.5,))
