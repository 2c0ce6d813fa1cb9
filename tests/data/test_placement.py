"""Where images come to lie under each resize policy, with their boxes and masks; and JPEGs decoded at a fraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.data.cache import in_memory
from sightline.data.decode import PADDING, decode, image_size, opened, shrink_while_decoding
from sightline.data.images import Images, placed_mask, row_bytes
from sightline.data.placement import place
from sightline.structures import IGNORE, Boxes, ImageSpec, Mask, MaskCoding, Sample

BILINEAR = Image.Resampling.BILINEAR


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (31, 47), (224, 224)])
def test_the_middle_is_kept_by_crop(tmp_path, height, width):
    path = saved(tmp_path / "x.png", smooth(height, width))
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    expected = smooth(height, width).resize((40, 40), BILINEAR, box=(left, top, left + side, top + side))
    assert np.array_equal(decode(path, ImageSpec(40, 40, 3, "crop")), np.asarray(expected))


@pytest.mark.parametrize(
    ("height", "width", "inner", "corner"), [(60, 100, (24, 40), (8, 0)), (100, 50, (40, 20), (0, 10))]
)
def test_letterbox_keeps_all_with_gray_beside(tmp_path, height, width, inner, corner):
    pixels = decode(saved(tmp_path / "x.png", smooth(height, width)), ImageSpec(40, 40, 3, "letterbox"))
    inside = np.zeros((40, 40), bool)
    inside[corner[0] : corner[0] + inner[0], corner[1] : corner[1] + inner[1]] = True
    assert (pixels[~inside] == PADDING).all()
    expected = np.asarray(smooth(height, width).resize(inner[::-1], BILINEAR))
    assert np.array_equal(pixels[inside].reshape(*inner, 3), expected)


sides = st.integers(1, 500)


@given(sides, sides, sides, sides, st.sampled_from(["squash", "crop", "letterbox"]))
def test_places_go_there_and_back(height, width, frame_height, frame_width, policy):
    placement = place((height, width), ImageSpec(frame_height, frame_width, 3, policy))
    boxes = np.array([[0, 0, width, height], [width / 3, height / 4, width / 2, height]], float)
    there = placement.to_frame(boxes)
    assert np.allclose(placement.to_image(there), boxes)
    left, top, right, bottom = there[0]
    if policy == "crop":
        assert left <= 1e-6
        assert top <= 1e-6
        assert right >= frame_width - 1e-6
        assert bottom >= frame_height - 1e-6
    else:
        assert min(left, top) >= 0
        assert right <= frame_width + 1e-6
        assert bottom <= frame_height + 1e-6
    assert min(placement.least_size) >= 1


@pytest.mark.parametrize("policy", ["squash", "crop", "letterbox"])
def test_box_mask_and_picture_are_placed_alike(tmp_path, policy):
    """A white box on black, larger and smaller than the frame."""
    for height, width in ((90, 140), (30, 20)):
        box = [width // 4, height // 4, width // 2, height // 2]
        classes = np.zeros((height, width), np.uint8)
        classes[box[1] : box[3], box[0] : box[2]] = 1
        mask = saved(tmp_path / "mask.png", Image.fromarray(classes))
        path = saved(tmp_path / "x.png", Image.fromarray(classes * 255).convert("RGB"))
        sample = Sample(path, boxes=Boxes([box], [0]), mask=Mask(mask, MaskCoding("index", (0, 1))))
        spec = ImageSpec(48, 64, 3, policy)
        example = Images([sample], spec, in_memory([sample], row_bytes(spec, True), 10**6)).load(0)
        rows, columns = np.nonzero(example.mask == 1)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(example.boxes.xyxy[0] - found).max() <= 0.51
        bright = example.pixels[..., 0] > 127
        if policy == "letterbox":
            assert (example.mask == IGNORE).any()
        assert (bright != (example.mask == 1)).sum() <= 2 * (found[2] - found[0] + found[3] - found[1])


def test_a_mask_of_the_frame_s_size_is_unchanged():
    classes = np.random.default_rng(0).integers(0, 5, (20, 30), dtype=np.uint8)
    assert np.array_equal(placed_mask(classes, ImageSpec(20, 30, 3)), classes)


@pytest.mark.parametrize(
    ("size", "frame", "scale"),
    [
        ((448, 448), 224, 2),
        ((447, 900), 224, 1),
        ((900, 1800), 224, 4),
        ((1792, 1792), 224, 8),
        ((4000, 4000), 224, 8),
        ((300, 200), 224, 1),
    ],
)
def test_a_large_jpeg_is_decoded_at_a_fraction_never_below_what_is_needed(tmp_path, size, frame, scale):
    path = saved(tmp_path / "x.jpg", smooth(*size), quality=95)
    spec = ImageSpec(frame, frame, 3)
    with opened(path) as image:
        shrink_while_decoding(image, place(size, spec), 3)
        assert (image.height, image.width) == tuple(-(-side // scale) for side in size)
    full = Image.open(path).convert("RGB").resize((frame, frame), BILINEAR)
    assert np.abs(decode(path, spec).astype(int) - np.asarray(full)).mean() < 1.5


@pytest.mark.parametrize("policy", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_jpeg_at_a_fraction(tmp_path, orientation, policy):
    upright = smooth(400, 900)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.rotate(180) if orientation == 3 else upright.rotate(90, expand=True)
    path = saved(tmp_path / "x.jpg", stored, quality=95, exif=exif)
    plain = saved(tmp_path / "y.jpg", upright, quality=95)
    assert image_size(path) == (400, 900)
    spec = ImageSpec(64, 80, 3, policy)
    assert np.abs(decode(path, spec).astype(int) - decode(plain, spec)).mean() < 1.5


def test_a_png_says_how_it_is_turned_wherever_that_stands(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "x.png", smooth(40, 60), exif=exif)
    assert image_size(path) == (60, 40)
    content = path.read_bytes()
    at = content.index(b"eXIf") - 4
    length = int.from_bytes(content[at : at + 4], "big") + 12
    end = content.index(b"IEND") - 4
    late = content[:at] + content[at + length : end] + content[at : at + length] + content[end:]
    path.write_bytes(late)
    assert image_size(path) == (60, 40)
    assert decode(path, ImageSpec(60, 40, 3)).shape == (60, 40, 3)
    assert np.array_equal(decode(path, ImageSpec(60, 40, 3)), np.rot90(np.asarray(smooth(40, 60)), -1))


def test_a_jpeg_in_grayscale_is_its_luma(tmp_path):
    image = smooth(64, 96)
    path = saved(tmp_path / "x.jpg", image, quality=95)
    gray = decode(path, ImageSpec(64, 96, 1))[..., 0]
    assert np.abs(gray.astype(int) - np.asarray(Image.open(path).convert("L"))).max() <= 3


def test_a_turned_tiff_is_not_turned_twice(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "x.tif", smooth(40, 60), exif=exif)
    assert image_size(path) == (60, 40)
    expected = Image.fromarray(np.rot90(np.asarray(smooth(40, 60)), -1))
    spec = ImageSpec(30, 30, 3, "letterbox")
    plain = saved(tmp_path / "y.png", expected)
    assert np.array_equal(decode(path, spec), decode(plain, spec))
