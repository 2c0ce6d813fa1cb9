"""CSV tables and folders of masks, read and written, sound and damaged."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data import sources
from sightline.data.decode import image_size
from sightline.data.listing import SPLITS
from sightline.data.mask_codings import find_coding
from sightline.data.mask_files import CODINGS, as_colors, read_mask, voc_palette, write_mask
from sightline.data.mask_legends import READERS, read_legend, write_legend
from sightline.data.sources import masks, table
from sightline.errors import ArgumentError, DataError, ShapeError
from sightline.structures import IGNORE, Boxes, Dataset, Mask, MaskCoding, Sample

SHARED = Path(__file__).parents[3] / "shared"
NUCLEI = SHARED / "data" / "nuclei"
needs_nuclei = pytest.mark.skipif(not NUCLEI.is_dir(), reason=f"the real masks of {NUCLEI} are not here")


def put(path: Path, values: object = 0, **options: object) -> Path:
    """An image file with these values: a number for 4x3 pixels of it, or an array."""
    pixels = np.full((3, 4), values, np.uint8) if isinstance(values, int) else np.asarray(values)
    return save(path, Image.fromarray(pixels), **options)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def row(*values: int) -> np.ndarray:
    """A mask of one row."""
    return np.array([values], np.uint8)


def write_csv(path: Path, *lines: object, delimiter: str = ",") -> Path:
    """A table of lines, each a text as it stands or a list of cells."""
    text = io.StringIO(newline="")
    for line in lines:
        if isinstance(line, str):
            text.write(line + "\n")
        else:
            csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def reasons(dataset: Dataset, kind: str) -> list[str]:
    return [str(problem) for problem in dataset.problems if problem.kind == kind]


def outcome(call: Callable[..., object], *arguments: object) -> object:
    """What a call gives, or the text of its DataError."""
    try:
        return call(*arguments)
    except DataError as error:
        return str(error)


def pairs(dataset: Dataset, split: str = "all") -> list[tuple[str, str]]:
    """The file names of a split's images and their masks."""
    return [(sample.path.name, sample.mask.path.name) for sample in dataset.splits[split]]


# --- mask files ------------------------------------------------------------------------------------------------


class_maps = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([0, 1, 2, 3, 17, 254, IGNORE]), min_size=width, max_size=width), min_size=1, max_size=5
    ).map(lambda rows: np.array(rows, np.uint8))
)


def coding_of(name: str) -> MaskCoding:
    """How a reader has to read what `write_mask` wrote for 255 classes (2 for "binary")."""
    if name == "binary":
        return MaskCoding("index", (0, 255))
    if name == "color":
        colors = as_colors(voc_palette()).tolist()
        return MaskCoding("color", tuple(colors[:IGNORE]), (colors[IGNORE],))
    return MaskCoding("index", tuple(range(IGNORE)), (IGNORE,))


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=40, deadline=None)
@given(classes=class_maps)
def test_a_written_mask_is_read_as_it_was(coding, classes):
    if coding == "binary":
        classes = (classes > 1).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = write_mask(classes, Path(folder) / "deep" / "x.png", coding)
        read, unknown = read_mask(Mask(path, coding_of(coding)))
        assert [file.name for file in path.parent.iterdir()] == ["x.png"]
    np.testing.assert_array_equal(read, classes)
    assert read.dtype == np.uint8
    assert unknown == ()


def test_the_files_of_the_codings_are_what_other_programs_expect(tmp_path):
    classes = row(0, 1, 2, IGNORE)
    for coding, mode in (("index", "L"), ("palette", "P"), ("color", "RGB")):
        image = Image.open(write_mask(classes, tmp_path / f"{coding}.png", coding))
        assert (image.format, image.mode) == ("PNG", mode)
        if coding == "color":
            assert np.asarray(image).tolist() == [[[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]]
        else:
            np.testing.assert_array_equal(np.asarray(image), classes)
    assert Image.open(tmp_path / "palette.png").convert("RGB").getpixel((1, 0)) == (128, 0, 0)
    binary = Image.open(write_mask(row(0, 1), tmp_path / "binary.png", "binary"))
    assert (binary.mode, np.asarray(binary).tolist()) == ("L", [[0, 255]])


def test_a_mask_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    for classes in (row(0, 1, 2), row(0, IGNORE)):
        with pytest.raises(DataError, match=re.escape(str(tmp_path / "x.png"))):
            write_mask(classes, tmp_path / "x.png", "binary")
    with pytest.raises(ShapeError):
        write_mask(np.zeros((2, 2), np.int64), tmp_path / "x.png")
    with pytest.raises(ArgumentError):
        write_mask(row(0), tmp_path / "x.png", "rainbow")
    assert list(tmp_path.iterdir()) == []


def test_the_palette_is_pascal_vocs_and_has_no_color_twice():
    palette = voc_palette()
    assert palette[[1, 2, 3, 4, 8, 15, 20, 255]].tolist() == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [64, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
    assert len(set(map(tuple, palette.tolist()))) == 256


def palette_file(numbers: np.ndarray) -> Image.Image:
    image = Image.fromarray(numbers)
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [7] * 12)  # 8 colors
    return image


NUMBERS = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
FILES = {
    "L": ("png", Image.fromarray(NUMBERS)),
    "P, whose colors say nothing": ("png", palette_file(NUMBERS)),
    "P in a GIF": ("gif", palette_file(NUMBERS)),
    "I;16": ("png", Image.fromarray(NUMBERS.astype(np.uint16))),
    "I;16 in a TIFF": ("tif", Image.fromarray(NUMBERS.astype(np.uint16))),
    "I": ("tif", Image.fromarray(NUMBERS.astype(np.int32))),
    "F": ("tif", Image.fromarray(NUMBERS.astype(np.float32))),
    "LA": ("png", Image.fromarray(np.stack([NUMBERS, NUMBERS * 50], -1))),
    "RGB": ("png", Image.fromarray(np.stack([NUMBERS] * 3, -1))),
    "RGBA": ("png", Image.fromarray(np.stack([NUMBERS] * 3 + [NUMBERS * 80], -1))),
    "BMP": ("bmp", Image.fromarray(NUMBERS)),
}


@pytest.mark.parametrize("mode", FILES)
def test_numbers_of_any_mode(tmp_path, mode):
    suffix, image = FILES[mode]
    path = save(tmp_path / f"x.{suffix}", image)
    assert Image.open(path).mode == mode.split(",")[0].split(" ")[0] or mode == "BMP"
    classes, unknown = read_mask(Mask(path, MaskCoding("index", (0, 1, 2), (3,))))
    assert classes.tolist() == [[0, 1, 2], [IGNORE, 2, 1]]
    assert unknown == ()


def test_one_bit_is_black_and_white(tmp_path):
    path = save(tmp_path / "x.png", Image.fromarray(NUMBERS > 1))
    assert Image.open(path).mode == "1"
    assert read_mask(Mask(path, MaskCoding("index", (0, 255))))[0].tolist() == [[0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_unknown_values_are_ignored_and_named(tmp_path, dtype):
    path = put(tmp_path / "x.tif", np.array([[7, 0, 90, 30, 200, 90]], dtype))
    classes, unknown = read_mask(Mask(path, MaskCoding("index", (30, 0), (200,))))
    assert classes.tolist() == [[IGNORE, 1, IGNORE, 0, IGNORE, IGNORE]]
    assert unknown == (7, 90)


def test_large_and_negative_values_are_unknown(tmp_path):
    path = put(tmp_path / "x.tif", np.array([[-5, 0, 70_000, 2_000_000_000]], np.int32))
    classes, unknown = read_mask(Mask(path, MaskCoding("index", (0, 70_000))))
    assert classes.tolist() == [[IGNORE, 0, 1, IGNORE]]
    assert unknown == (-5, 2_000_000_000)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=12, unique=True), st.data())
def test_colors_are_looked_up_exactly(colors, data):
    known = data.draw(st.integers(1, len(colors)))
    numbers = np.array(data.draw(st.lists(st.integers(0, len(colors) - 1), min_size=4, max_size=12)))
    codes = np.array(colors)[numbers][None]
    pixels = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / "x.png", pixels)
        classes, unknown = read_mask(Mask(path, MaskCoding("color", tuple(colors[:known]))))
    np.testing.assert_array_equal(classes[0], np.where(numbers < known, numbers, IGNORE))
    assert unknown == tuple(sorted({colors[i] for i in numbers if i >= known}))


def test_colors_of_gray_and_palette_files(tmp_path):
    coding = MaskCoding("color", (0x090909, 0xC80000))
    assert read_mask(Mask(save(tmp_path / "p.png", palette_file(NUMBERS)), coding))[0][0].tolist() == [0, 1, IGNORE]
    assert read_mask(Mask(put(tmp_path / "l.png", row(9, 8)), coding)) == (pytest.approx(row(0, IGNORE)), (0x080808,))


def test_a_photo_in_a_masks_place_is_not_a_million_values(tmp_path):
    path = put(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    classes, unknown = read_mask(Mask(path, MaskCoding("color", (0, 1))))
    assert len(unknown) == 1000
    assert (classes == IGNORE).all()
    with pytest.raises(DataError, match=re.escape(f"{path} is in color")):
        read_mask(Mask(path, MaskCoding("index", (0, 1))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_turns_as_its_image_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    numbers = np.arange(6, dtype=np.uint8).reshape(2, 3)
    upright = {
        1: numbers, 2: numbers[:, ::-1], 3: numbers[::-1, ::-1], 4: numbers[::-1], 5: numbers.T,
        6: np.rot90(numbers, -1), 7: numbers[::-1, ::-1].T, 8: np.rot90(numbers),
    }[orientation]  # fmt: skip
    for image in (Image.fromarray(numbers), palette_file(numbers), Image.fromarray(numbers.astype(np.uint16))):
        path = save(tmp_path / f"{image.mode}.png".replace(";", ""), image, exif=exif)
        classes, _ = read_mask(Mask(path, MaskCoding("index", tuple(range(6)))))
        np.testing.assert_array_equal(classes, upright)
        assert image_size(path) == classes.shape


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_the_first_of_several_frames_is_the_mask(tmp_path, suffix):
    frames = [palette_file(numbers) for numbers in (NUMBERS, NUMBERS[::-1])]
    path = save(tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2
    assert read_mask(Mask(path, MaskCoding("index", (0, 1, 2, 3))))[0].tolist() == NUMBERS.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_mask_files_are_named(tmp_path):
    whole = put(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 3, (40, 40), dtype=np.uint8)).read_bytes()
    contents = {f"cut{n}.png": whole[:n] for n in (0, 1, 8, 30, 60, len(whole) // 2, len(whole) - 30)}
    contents |= {"text.png": b"no image", "half.tif": put(tmp_path / "x.tif", row(1, 2)).read_bytes()[:20]}
    fractions = put(tmp_path / "fractions.tif", np.array([[0.5, np.nan]], np.float32))
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for path in (*(tmp_path / name for name in contents), fractions, tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_mask(Mask(path, MaskCoding("index", (0, 1, 2))))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(deadline=None)
@given(st.binary(min_size=0, max_size=20), st.integers(0, 100), st.sampled_from(["png", "tif", "gif", "bmp"]))
def test_a_mask_with_other_bytes_is_read_or_named(noise, at, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / f"x.{suffix}", NUMBERS)
        whole = bytearray(path.read_bytes())
        whole[at : at + len(noise)] = noise
        path.write_bytes(whole)
        found = outcome(read_mask, Mask(path, MaskCoding("index", (0, 1, 2, 3))))
        if isinstance(found, str):
            assert str(path) in found
        else:
            assert (found[0].ndim, found[0].dtype) == (2, np.uint8)


# --- folders of masks ------------------------------------------------------------------------------------------


@needs_nuclei
def test_the_nuclei_are_read_pixel_for_pixel():
    dataset = sources.read(NUCLEI, "segment")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 267, "validation": 67}
    assert (dataset.classes, dataset.format, dataset.problems) == (("background", "foreground"), "masks", ())
    foreground = 0
    for sample in dataset.samples:
        assert sample.path.stem == sample.mask.path.stem
        classes, unknown = read_mask(sample.mask)
        np.testing.assert_array_equal(classes, np.asarray(Image.open(sample.mask.path)))
        assert (classes.shape, unknown) == (image_size(sample.path), ())
        foreground += int(classes.sum())
    assert foreground / (334 * 256 * 256) == pytest.approx(0.077, abs=0.0005)


def lay(root: Path, *files: tuple[str, object]) -> Path:
    for name, values in files:
        put(root / name, values)
    return root


@pytest.mark.parametrize("images", ["images", "image", "imgs", "Img", "JPEGImages"])
@pytest.mark.parametrize(
    "folder", ["masks", "Mask", "labels", "annotations", "SegmentationClass", "gt", "ground_truth"]
)
def test_folders_by_any_of_their_names(tmp_path, images, folder):
    lay(tmp_path, (f"{images}/1.jpg", 5), (f"{folder}/1.png", row(0, 1)))
    assert masks.seen(tmp_path) is not None
    assert pairs(sources.read(tmp_path, "segment", "masks")) == [("1.jpg", "1.png")]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("1", "1"), ("1", "1_mask"), ("1", "1-mask"), ("1", "1_gt"), ("1", "1_Seg"), ("1", "1_label"), ("1", "1_labelIds"),
        ("1_image", "1"), ("1_img", "1_mask"), ("1_img", "1_img_mask"), ("a_leftImg8bit", "a_gtFine_labelIds"),
        ("x_mask", "x_mask"), ("großes Bild", "großes Bild_mask"),
    ],
)  # fmt: skip
def test_masks_are_found_by_stem_with_the_usual_endings(tmp_path, image, mask):
    lay(tmp_path, (f"images/{image}.JPG", 5), (f"masks/{mask}.png", row(0, 1)))
    assert pairs(masks.read(tmp_path, "segment")) == [(f"{image}.JPG", f"{mask}.png")]


def test_the_same_stem_comes_before_an_ending(tmp_path):
    lay(
        tmp_path,
        ("images/a.png", 5),
        ("images/a-mask.png", 5),
        ("masks/a.png", row(0, 1)),
        ("masks/a-mask.png", row(0, 1)),
    )
    assert pairs(masks.read(tmp_path, "segment")) == [("a-mask.png", "a-mask.png"), ("a.png", "a.png")]


@pytest.mark.parametrize(
    "layout", ["{split}/images/{n}.png {split}/masks/{n}.png", "images/{split}/{n}.png masks/{split}/{n}.png"]
)
def test_splits_as_folders(tmp_path, layout):
    for n, split in enumerate(("train", "valid", "Test")):
        image, mask = layout.format(split=split, n=n).split()
        lay(tmp_path, (image, 5), (mask, row(0, 1)))
    dataset = sources.read(tmp_path, "segment")
    assert {split: pairs(dataset, split) for split in dataset.given} == {
        "train": [("0.png", "0.png")], "validation": [("1.png", "1.png")], "test": [("2.png", "2.png")],
    }  # fmt: skip


def test_one_stem_in_two_splits_is_two_images(tmp_path):
    lay(tmp_path, *((f"{kind}/{split}/1.png", row(0, 1)) for kind in ("images", "masks") for split in ("train", "val")))
    (tmp_path / "masks" / "train" / "1.png").unlink()
    lay(tmp_path, ("images/train/2.png", 0), ("masks/train/2.png", row(0, 1)))
    dataset = masks.read(tmp_path, "segment")
    assert {split: pairs(dataset, split) for split in dataset.given} == {
        "train": [("2.png", "2.png")], "validation": [("1.png", "1.png")],
    }  # fmt: skip
    assert len(reasons(dataset, "label-missing")) == 1  # and not another split's mask


@pytest.mark.parametrize("place", [".", "ImageSets/Segmentation"])
def test_splits_as_lists(tmp_path, place):
    for n in range(4):
        lay(tmp_path, (f"JPEGImages/{n}.png", 5), (f"SegmentationClass/{n}.png", row(0, 1)))
    lay(tmp_path, ("JPEGImages/another task's.png", 5))
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "train.txt").write_text("0\n1\n")
    (tmp_path / place / "val.txt").write_text("2\n")
    dataset = masks.read(tmp_path, "segment")
    assert {split: [image for image, _ in pairs(dataset, split)] for split in dataset.splits} == {
        "train": ["0.png", "1.png"], "validation": ["2.png"],
    }  # fmt: skip
    assert [(problem.path.name, problem.kind) for problem in dataset.problems] == [("3.png", "not-listed")]


def test_masks_in_a_folder_below_are_found_where_they_are_the_only_ones(tmp_path):
    lay(tmp_path, ("images/1.jpg", 5), ("annotations/trimaps/1.png", row(1, 2, 3)))
    dataset = masks.read(tmp_path, "segment")
    assert pairs(dataset) == [("1.jpg", "1.png")]
    assert dataset.classes == ("background", "class 1", "class 2", "class 3")


def test_what_lies_alone_is_a_problem(tmp_path):
    lay(tmp_path, ("images/1.png", 5), ("masks/1.png", row(0, 1)), ("images/2.png", 5), ("masks/3.png", row(0, 1)))
    dataset = masks.read(tmp_path, "segment")
    assert pairs(dataset) == [("1.png", "1.png")]
    assert sorted((problem.kind, problem.path.name) for problem in dataset.problems) == [
        ("image-missing", "3.png"), ("label-missing", "2.png"),
    ]  # fmt: skip


def test_other_folders_hold_no_masks(tmp_path):
    lay(tmp_path, ("images/1.png", 5))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 .5 .5 .1 .1")
    assert masks.seen(tmp_path) is None
    lay(tmp_path, ("masks/of something else.png", 5))
    assert masks.seen(tmp_path) is None
    assert masks.seen(tmp_path / "images" / "1.png") is None
    with pytest.raises(DataError, match=re.escape(f"{tmp_path} has no image with a mask")):
        masks.read(tmp_path, "segment")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'images'} has no folders of images and masks")):
        masks.read(tmp_path / "images", "segment")


def test_damaged_masks_do_not_stop_a_data_set(tmp_path):
    for n in range(4):
        lay(tmp_path, (f"images/{n}.png", 5), (f"masks/{n}.png", row(0, 255)))
    (tmp_path / "masks" / "1.png").write_bytes(b"damaged")
    assert len(masks.read(tmp_path, "segment").samples) == 4  # the damaged one is named when it is read
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'masks' / '0.png'} is empty")):
        masks.read(tmp_path, "segment")


# --- codings ---------------------------------------------------------------------------------------------------


def coded(folder: Path, *values: object) -> tuple[MaskCoding, tuple[str, ...]]:
    """The coding found for mask files with these values, and what legend lies in the folder."""
    paths = [put(folder / "masks" / f"{n}.png", each) for n, each in enumerate(values)]
    return find_coding(paths, read_legend(folder), folder)


TWO = ("background", "foreground")


@pytest.mark.parametrize(
    ("values", "coding", "names"),
    [
        pytest.param([row(0, 255)], MaskCoding("index", (0, 255)), TWO, id="black and white"),
        pytest.param([row(0, 0), row(255, 255)], MaskCoding("index", (0, 255)), TWO, id="in two files"),
        pytest.param([row(0, 255) > 0], MaskCoding("index", (0, 255)), TWO, id="one bit"),
        pytest.param([np.array([[0, 65535]], np.uint16)], MaskCoding("index", (0, 65535)), TWO, id="16 bits"),
        pytest.param([np.stack([row(0, 255)] * 3, -1)], MaskCoding("index", (0, 255)), TWO, id="in an RGB file"),
        pytest.param([row(0, 1)], MaskCoding("index", (0, 1), (255,)), TWO, id="0 and 1"),
        pytest.param([row(0, 1), row(255, 0)], MaskCoding("index", (0, 1), (255,)), TWO, id="0, 1 and ignored"),
        pytest.param(
            [row(0, 3)], MaskCoding("index", (0, 1, 2, 3), (255,)),
            ("background", "class 1", "class 2", "class 3"), id="small numbers",
        ),
        pytest.param(
            [row(*range(151))], MaskCoding("index", tuple(range(151)), (255,)),
            ("background", *(f"class {n}" for n in range(1, 151))), id="many numbers",
        ),
    ],
)  # fmt: skip
def test_masks_that_speak_for_themselves(tmp_path, values, coding, names):
    assert coded(tmp_path, *values) == (coding, names)


def test_a_rare_class_is_found_among_many_masks(tmp_path):
    coding, _ = coded(tmp_path, *[row(0, 1)] * 150, row(0, 2), *[row(0, 1)] * 10)
    assert coding.values == (0, 1, 2)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([row(0, 127, 255)], "0, 127, 255"),
        ([row(0, 100), row(200)], "0, 100, 200"),
        ([row(0)], "value 0 in 1 masks"),
        ([row(255)], "value 255"),
        ([row(*range(256))], "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 244 more"),
        ([np.array([[0, 1, 300]], np.uint16)], "0, 1, 300"),
    ],
)
def test_values_that_could_be_anything_are_listed(tmp_path, values, seen):
    with pytest.raises(DataError, match=re.escape(seen)) as caught:
        coded(tmp_path, *values)
    assert str(tmp_path / "masks") in str(caught.value)
    assert f"Write {tmp_path / 'legend.csv'} with the header value,name" in str(caught.value)


COLORED = np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)


def test_colors_without_a_legend_are_listed(tmp_path):
    with pytest.raises(DataError, match=re.escape("0,0,0; 0,0,255; 255,0,0")) as caught:
        coded(tmp_path, COLORED, row(0, 0, 0))
    assert f"Write {tmp_path / 'legend.csv'} with the header name,r,g,b" in str(caught.value)


def test_lossy_masks_are_told_from_others(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 2, (16, 16), dtype=np.uint8) * 255
    path = put(tmp_path / "x.jpg", noisy)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2
    with pytest.raises(DataError, match="save masks as PNG"):
        find_coding([path], None, tmp_path)
    with pytest.raises(DataError, match="save masks as PNG"):
        find_coding([put(tmp_path / "y.jpg", np.tile(COLORED, (16, 6, 1)))], None, tmp_path)


COLOR_LEGENDS = {
    "class_dict.csv": "name,r,g,b\nsky, 0, 0, 255\nroad,255,0,0\nignore,0,0,0\n",
    "legend.csv": "\ufeffClass,Red,Green,Blue\r\nsky,0,0,255\r\nroad,255,0,0\r\n,0,0,0\r\n",
    "colors.csv": "b,g,r,name\n255,0,0,sky\n0,0,255,road\n0,0,0,Ignore\n",
    "legend.json": '{"sky": [0, 0, 255], "road": [255, 0, 0], "ignore": [0, 0, 0]}',
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,255::\nroad:255,0,0:wheel:run\nignore:0,0,0::\n",
}


@pytest.mark.parametrize("name", COLOR_LEGENDS)
def test_legends_of_colors(tmp_path, name):
    (tmp_path / name).write_text(COLOR_LEGENDS[name], encoding="utf-8")
    coding, names = coded(tmp_path, COLORED, row(0, 0, 0))
    assert (names, coding) == (("sky", "road"), MaskCoding("color", (0x0000FF, 0xFF0000), (0,)))
    classes, unknown = read_mask(Mask(tmp_path / "masks" / "0.png", coding))
    assert (classes.tolist(), unknown) == ([[IGNORE, 1, 0]], ())


def test_a_legend_of_colors_serves_palette_files_of_these_colors(tmp_path):
    (tmp_path / "labelmap.txt").write_text("sky:9,9,9::\nroad:200,0,0::\n")
    path = save(tmp_path / "x.png", palette_file(row(1, 0)))
    coding, _ = find_coding([path], read_legend(tmp_path), tmp_path)
    assert read_mask(Mask(path, coding))[0].tolist() == [[1, 0]]


def test_a_legend_of_colors_gives_the_order_of_numbers_where_the_files_are_gray(tmp_path):
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nroad:200,0,0::\ncar:0,0,200::\n")
    assert coded(tmp_path, row(0, 1, 2))[0] == MaskCoding("index", (0, 1, 2), (255,))


@pytest.mark.parametrize(
    ("name", "text", "values", "coding"),
    [
        ("classes.txt", "a\nb\nc\n\n", row(0, 2, 255), MaskCoding("index", (0, 1, 2), (255,))),
        ("labels.txt", "a\r\nb\r\n", row(0, 255), MaskCoding("index", (0, 255), (255,))),
        ("classes.txt", "a\nb", row(0, 1, 255), MaskCoding("index", (0, 1), (255,))),
        ("legend.csv", "value,name\n7,a\n0,b\n9,ignore", row(0, 7, 9), MaskCoding("index", (7, 0), (9, 255))),
        ("legend.csv", "name,id\na,0\nb,255\n", row(0, 255), MaskCoding("index", (0, 255))),
    ],
)
def test_legends_of_numbers(tmp_path, name, text, values, coding):
    (tmp_path / name).write_bytes(text.encode())
    found, names = coded(tmp_path, values)
    assert names == tuple("abc"[: len(coding.values)])
    assert (found.kind, found.values) == (coding.kind, coding.values)
    assert set(found.ignored) - set(found.values) == set(coding.ignored) - set(coding.values)


def test_values_of_a_few_masks_that_no_class_has_are_left_to_the_check(tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert coded(tmp_path, row(0, 1), row(0, 1), row(9))[0].values == (0, 1)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'classes.txt'} does not name")) as caught:
        coded(tmp_path, row(0, 1), row(0, 2), row(9))
    assert "0, 1, 2, 9" in str(caught.value)


def test_a_legend_that_lacks_colors_is_named_with_them(tmp_path):
    (tmp_path / "legend.csv").write_text("name,r,g,b\nsky,0,0,255\nroad,0,0,0\n")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'legend.csv'} lacks colors")) as caught:
        coded(tmp_path, COLORED)
    assert "Received: 255,0,0." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("legend.csv", ""), ("legend.csv", "\n\n"), ("legend.csv", "name,r,g\na,1,2\n"), ("legend.csv", "name,r,g,b\n"),
        ("legend.csv", "name,r,g,b\na,1,2\n"), ("legend.csv", "name,r,g,b\na,1,2,256\n"), ("legend.csv", "value,name\nx,a\n"),
        ("legend.csv", "value,name\n1,a\n1,b\n"), ("legend.csv", "value,name\n1,a\n2,a\n"), ("legend.csv", 'value,name\n1,"a'),
        ("legend.csv", "value,name\n-1,a"), ("legend.csv", f"value,name\n{'9' * 5000},a"), ("legend.csv", "value,name\n²,a"),
        ("class_dict.csv", "name,r,g,b\n" + "".join(f"c{n},{n},0,0\n" for n in range(256))),
        ("labelmap.txt", "a"), ("labelmap.txt", "a:::"), ("labelmap.txt", "a:1,2::"), ("labelmap.txt", "a:1,2,nan::"),
        ("legend.json", "{"), ("legend.json", "[]"), ("legend.json", '{"a": 1}'), ("legend.json", '{"a": [1, 2, true]}'),
        ("legend.json", '{"a": [1, 2, NaN]}'), ("legend.json", '{"a": [1, 2, 1e400]}'), ("legend.json", "{}"),
        ("legend.json", "[" * 100_000), ("legend.json", '{"a": [1, 2, ' + "9" * 10_000 + "]}"),
        ("classes.txt", ""), ("classes.txt", "a\n\nb"), ("classes.txt", "a\na"), ("classes.txt", "\n".join(map(str, range(256)))),
    ],
)  # fmt: skip
def test_a_damaged_legend_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(tmp_path / name))) as caught:
        read_legend(tmp_path)
    assert len(str(caught.value)) < 600


@settings(deadline=None)
@given(st.sampled_from(list(READERS)), st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_bytes_are_a_legend_or_named(name, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        found = outcome(read_legend, Path(folder))
        assert str(path) in found if isinstance(found, str) else 1 <= len(found.names) <= 255


class_names = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip).filter(
        lambda name: name not in ("", "ignore") and name.lower() not in ("", "ignore")
    ),
    min_size=2, max_size=5, unique=True,
)  # fmt: skip


def segmented(root: Path, names: list[str], maps: list[np.ndarray], splits: list[str]) -> Dataset:
    """A data set of images with these class maps, in files that lie anywhere."""
    by_split: dict[str, tuple[Sample, ...]] = {}
    coding = MaskCoding("index", tuple(range(len(names))), (IGNORE,))
    for n, (classes, split) in enumerate(zip(maps, splits, strict=True)):
        image = put(root / str(n) / "one, name.png", np.full(classes.shape, n, np.uint8))
        mask = Mask(write_mask(classes, root / str(n) / "mask.png"), coding)
        by_split[split] = (*by_split.get(split, ()), Sample(image, mask=mask))
    return Dataset(
        root, tuple(names), by_split, tuple(s for s in SPLITS if s in by_split), task="segment", format="masks"
    )


def pixel_names(dataset: Dataset) -> list[tuple[str, int, list[str | None]]]:
    """Of each sample its split, the number in its image's pixels, and the name of each pixel's class."""
    found = []
    for split, samples in dataset.splits.items():
        for sample in samples:
            classes, unknown = read_mask(sample.mask)
            assert unknown == ()
            number = int(np.asarray(Image.open(sample.path))[0, 0])
            names = [None if c == IGNORE else dataset.classes[c] for c in classes.flat]
            found.append((split, number, names))
    return sorted(found, key=lambda each: each[1])


@pytest.mark.parametrize("coding", [*CODINGS, "csv"])
@settings(max_examples=15, deadline=None)
@given(names=class_names, data=st.data())
def test_segmentation_data_sets_are_read_as_they_were_written(coding, names, data):
    names = names[:2] if coding == "binary" else names
    values = st.sampled_from([*range(len(names)), *([] if coding == "binary" else [IGNORE])])
    maps = data.draw(
        st.lists(st.lists(values, min_size=1, max_size=6).map(lambda each: row(*each)), min_size=1, max_size=4)
    )
    others = st.sampled_from(SPLITS)
    splits = data.draw(
        st.one_of(st.just(["all"] * len(maps)), st.tuples(*[others] * (len(maps) - 1)).map(lambda s: ["train", *s]))
    )
    with tempfile.TemporaryDirectory() as folder:
        dataset = segmented(Path(folder) / "from", names, maps, splits)
        target = Path(folder) / "to"
        if coding == "csv":
            sources.write(dataset, target, "csv")
        else:
            masks.write_masks(dataset, target, coding)
        read = sources.read(target, "segment")
        assert (read.classes, read.given, read.problems) == (dataset.classes, dataset.given, ())
        assert pixel_names(read) == pixel_names(dataset)
        assert all(sample.path.is_relative_to(target) for sample in read.samples)


def test_a_class_that_is_called_like_no_class_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="Ignore"):
        write_legend(tmp_path, ("background", "Ignore"), "index")


def test_only_two_classes_are_black_and_white(tmp_path):
    dataset = segmented(tmp_path / "from", ["a", "b", "c"], [row(0, 1)], ["all"])
    with pytest.raises(DataError, match="3 classes"):
        masks.write_masks(dataset, tmp_path / "to", "binary")
    plain = replace(dataset, splits={"all": (Sample(dataset.samples[0].path, 0),)})
    with pytest.raises(DataError, match="has no mask"):
        masks.write(plain, tmp_path / "to")


# --- tables ----------------------------------------------------------------------------------------------------


def test_images_with_classes(tmp_path):
    for name in ("a.png", "b.png", "images/c.png", "deep/d.png", "not in the table.png"):
        put(tmp_path / name)
    path = write_csv(
        tmp_path / "labels.csv", "path,label", "a.png,cat", "b.png, dog ", "c.png,cat", "./deep/../deep/d.png,ant"
    )
    for root in (tmp_path, path):
        dataset = sources.read(root)
        assert (dataset.task, dataset.format, dataset.root, dataset.problems) == ("classify", "csv", tmp_path, ())
        assert dataset.classes == ("ant", "cat", "dog")
        assert [(s.path.name, s.label) for s in dataset.splits["all"]] == [
            ("a.png", 1),
            ("b.png", 2),
            ("c.png", 1),
            ("d.png", 0),
        ]
        assert all(sample.path.is_file() for sample in dataset.samples)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("path", ["path", "Image", "image_path", "FILENAME", "file name", "file", "img"])
@pytest.mark.parametrize("label", ["label", "Class", "class_name", "category", "name"])
def test_columns_by_their_usual_names(tmp_path, delimiter, path, label):
    put(tmp_path / "a;b,c.png")
    write_csv(
        tmp_path / "x.tsv", ["", label, "note, text", path], ["0", "cat", "a;b", "a;b,c.png"], delimiter=delimiter
    )
    assert table.seen(tmp_path) == f"x.tsv with the columns {path}, {label}"
    dataset = table.read(tmp_path, "classify")
    assert (dataset.classes, dataset.samples) == (("cat",), (Sample(tmp_path / "a;b,c.png", 0),))


@pytest.mark.parametrize(
    ("columns", "cells", "size"),
    [
        ("xmin,ymin,xmax,ymax", "1,2,4.5,6", None),
        ("x_min,y_min,x_max,y_max", "1,2,4.5,6", None),
        ("X1,Y1,X2,Y2", "1,2,4.5,6", None),
        ("left,top,right,bottom", "1,2,4.5,6", None),
        ("ymax,xmax,ymin,xmin", "6,4.5,2,1", None),
        ("x,y,width,height", "1,2,3.5,4", None),
        ("x,y,w,h", "1,2,3.5,4", None),
        ("x,y,w,h,width,height", "1,2,3.5,4,640,480", (480, 640)),
        ("width,height,xmin,ymin,xmax,ymax", "640,480,1,2,4.5,6", (480, 640)),
        ("image_width,image_height,x,y,width,height", "640,480.0,1,2,3.5,4", (480, 640)),
        ("width,height,xmin,ymin,xmax,ymax", ",,1,2,4.5,6", None),
    ],
)
def test_boxes_by_their_usual_columns(tmp_path, columns, cells, size):
    put(tmp_path / "a.png")
    write_csv(tmp_path / "boxes.csv", f"path,{columns},label", f"a.png,{cells},cell")
    (sample,) = sources.read(tmp_path, "detect").samples
    assert (sample.boxes, sample.size) == (Boxes([[1, 2, 4.5, 6]], [0]), size)


def test_an_image_has_as_many_boxes_as_lines(tmp_path):
    for name in "abc":
        put(tmp_path / f"{name}.png")
    write_csv(
        tmp_path / "boxes.csv", "path,xmin,ymin,xmax,ymax,label", "a.png,0,0,1,1,10", "b.png,5,5,1,nan,9", "c.png,,,,,",
        "a.png,-3,0,1e9,inf,9",
    )  # fmt: skip
    dataset = sources.read(tmp_path, "detect")
    assert dataset.classes == ("9", "10")
    assert {sample.path.stem: sample.boxes for sample in dataset.samples} == {
        "a": Boxes([[0, 0, 1, 1], [-3, 0, 1e9, np.inf]], [1, 0]), "b": Boxes([[5, 5, 1, np.nan]], [0]), "c": Boxes(),
    }  # fmt: skip
    assert dataset.problems == ()


def test_boxes_without_a_column_for_the_class_are_objects(tmp_path):
    put(tmp_path / "a.png")
    write_csv(tmp_path / "boxes.csv", "path;x1;y1;x2;y2", "a.png;0;0;1,5;1")
    dataset = sources.read(tmp_path, "detect")
    assert (dataset.classes, dataset.samples[0].boxes) == (("object",), Boxes([[0, 0, 1.5, 1]], [0]))


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["²", "10", "9"], ("10", "9", "²")),
    ],
)
def test_classes_are_in_order_as_numbers_where_all_are(names, order):
    assert table.in_order(names) == order
    assert table.in_order(["9" * 9000, "1"]) == ("1", "9" * 9000)


def test_splits_and_groups_by_column(tmp_path):
    for n in range(5):
        put(tmp_path / f"{n}.png")
    write_csv(
        tmp_path / "x.csv", "path,label,Split,patient", "0.png,a,train,p 1", "1.png,b,VAL,", "2.png,a,testing,p 2",
        "3.png,a,,p 1", "4.png,a,holdout,p 1",
    )  # fmt: skip
    dataset = sources.read(tmp_path)
    assert {split: [(s.path.name, s.group) for s in samples] for split, samples in dataset.splits.items()} == {
        "train": [("0.png", "p 1")], "validation": [("1.png", None)], "test": [("2.png", "p 2")],
    }  # fmt: skip
    assert [problem.kind for problem in dataset.problems] == ["label-damaged", "not-listed"]
    assert "line 6: 'holdout' is no split" in str(dataset.problems[0])


def test_numbers_of_folds_are_no_splits(tmp_path):
    lines = [f"{put(tmp_path / f'{n}.png').name},{'ab'[n % 2]},{n}" for n in range(4)]
    write_csv(tmp_path / "x.csv", "path,label,fold", *lines)
    dataset = sources.read(tmp_path)
    assert (list(dataset.splits), dataset.problems) == (["all"], ())


def test_a_table_for_each_split(tmp_path):
    for n in range(4):
        put(tmp_path / f"{n}.png")
    write_csv(tmp_path / "train.csv", "path,label", "0.png,b")
    write_csv(tmp_path / "valid.csv", "path,label", "1.png,a", "0.png,b")
    write_csv(tmp_path / "test.csv", "path", "2.png")  # nothing to learn from
    write_csv(tmp_path / "notes.csv", "who,what", "me,this")
    dataset = sources.read(tmp_path)
    assert dataset.classes == ("a", "b")
    assert {split: [s.path.name for s in each] for split, each in dataset.splits.items()} == {
        "train": ["0.png"], "validation": ["1.png"],
    }  # fmt: skip
    assert [str(problem) for problem in dataset.problems] == [
        f"{tmp_path / 'valid.csv'}: is damaged in line 3: says another split of 0.png than line 2 of train.csv"
    ]
    assert list(sources.read(tmp_path / "valid.csv").splits) == ["all"]  # asked for by itself, to evaluate on it


def test_several_tables_are_not_silently_one(tmp_path):
    put(tmp_path / "a.png")
    for name in ("one.csv", "two.csv"):
        write_csv(tmp_path / name, "path,label", "a.png,x")
    with pytest.raises(DataError, match=re.escape("one.csv, two.csv")):
        sources.read(tmp_path)
    write_csv(tmp_path / "two.csv", "path,x1,y1,x2,y2", "a.png,0,0,1,1")
    assert sources.read(tmp_path, "classify").samples[0].label == 0
    assert len(sources.read(tmp_path, "detect").samples[0].boxes) == 1


@pytest.mark.parametrize(
    ("header", "task"),
    [("path", "classify"), ("label,score", "classify"), ("path,label", "detect"), ("path,xmin,ymin,xmax", "detect"),
     ("path,label", "segment"), ("mask", "segment"), ("", "classify"), ("a.png,cat", "classify")],
)  # fmt: skip
def test_a_table_without_the_columns_of_a_task_is_shown(tmp_path, header, task):
    write_csv(tmp_path / "x.csv", header, "a.png,cat")
    for root in (tmp_path, tmp_path / "x.csv"):
        with pytest.raises(DataError, match=re.escape(f"{root} has no table for the task {task}")):
            table.read(root, task)


def test_what_is_no_table_is_not_seen(tmp_path):
    assert table.seen(tmp_path) is None
    write_csv(tmp_path / "legend.csv", "name,r,g,b", "sky,1,2,3")
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "notes.txt").write_text("path,label\n")
    assert table.seen(tmp_path) is None
    assert table.seen(tmp_path / "notes.txt") is None


def test_seeing_a_table_reads_no_more_than_its_header(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"path,label\n" + b"a.png,cat\n" * 3_000_000)
    start = time.perf_counter()
    assert table.seen(tmp_path) is not None
    assert time.perf_counter() - start < 0.1


def test_images_lie_anywhere_that_the_table_says(tmp_path):
    outside, data = put(tmp_path / "outside" / "a.png"), tmp_path / "data"
    put(data / "sub" / "b.png")
    (data / "images").mkdir()
    write_csv(
        data / "x.csv",
        "path,label",
        f"{outside},u",
        "../outside/a.png,u",
        "sub\\b.png,v",
        "images,u",
        "no.png,w",
        "no.png,w",
    )
    dataset = sources.read(data / "x.csv")
    assert [sample.path.name for sample in dataset.samples] == ["a.png", "b.png"]
    assert dataset.classes == ("u", "v")  # a class of nothing that is there is none
    assert reasons(dataset, "image-missing") == [
        f"{data / name}: is not there, but x.csv names it in line {line}"
        for name, line in (("images", 5), ("no.png", 6))
    ]


def test_an_image_twice_with_one_class_is_one_sample_and_with_two_is_named(tmp_path):
    put(tmp_path / "a.png")
    path = write_csv(tmp_path / "x.csv", "path,label", "a.png,cat", "", "./a.png,cat", "a.png,dog")
    dataset = sources.read(path)
    assert (dataset.classes, [s.label for s in dataset.samples]) == (("cat",), [0])
    assert reasons(dataset, "label-damaged") == [
        f"{path}: is damaged in line 5: says another label of a.png than line 2"
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.png", "has 1 cells, where the header has 6"),
        ("a.png,0,0,1,1,cat,more", "has 7 cells"),
        (",0,0,1,1,cat", "names no image"),
        ("a.png,0,0,one,1,cat", "xmax is 'one', no number"),
        ("a.png,0,0,,1,cat", "xmax is '', no number"),
        ("a.png,0,0,1,1,", "names no class"),
        ("a\0.png,0,0,1,1,cat", "is no path"),
        (f"{'a' * 5000},0,0,1,1,cat", "is no path"),
        (f"a.png,{'9' * 50}x,0,1,1,cat", "..."),
    ],
)
def test_a_damaged_line_is_named_and_left_out(tmp_path, line, reason):
    put(tmp_path / "a.png")
    path = write_csv(
        tmp_path / "x.csv", "path,xmin,ymin,xmax,ymax,label", "a.png,0,0,1,1,cat", '"a.png",0,0,2,2,"two\nlines"', line
    )
    dataset = sources.read(path, "detect")
    assert [len(sample.boxes) for sample in dataset.samples] == [2]
    (problem,) = dataset.problems
    assert (problem.path, problem.kind) == (path, "label-damaged")
    assert problem.reason.startswith("is damaged in line 5: ")
    assert reason in problem.reason
    assert len(problem.reason) < 200


@pytest.mark.parametrize("size", ["0,5", "5,-5", "5,0.5", "x,5", "1e300,5", "nan,5", "inf,5"])
def test_a_size_that_no_image_has_is_named(tmp_path, size):
    put(tmp_path / "a.png"), put(tmp_path / "b.png")
    path = write_csv(tmp_path / "x.csv", "path,label,width,height", f"a.png,cat,{size}", "b.png,cat,4,3,")
    dataset = sources.read(path)
    assert [sample.size for sample in dataset.samples] == [(3, 4)]
    assert len(reasons(dataset, "label-damaged")) == 1


def test_of_many_damaged_lines_twenty_are_named_and_the_rest_counted(tmp_path):
    put(tmp_path / "a.png")
    path = write_csv(tmp_path / "x.csv", "path,label", "a.png,cat", *[",dog"] * 5000)
    problems = sources.read(path).problems
    assert len(problems) == 21
    assert str(problems[-1]) == f"{path}: has 4,980 more such lines"


UNREADABLE = {
    "UTF-16": "path,label\na.png,cat\n".encode("utf-16"),
    "Latin-1": "path,label\na.png,Käse\n".encode("latin-1"),
    "a huge cell": b"path,label\na.png," + b"x" * 200_000,
    "an open quote": b'path,label\na.png,"cat\nb.png,dog\n',
    "a broken quote": b'path,label\na.png,"cat"s\n',
    "nothing": b"",
    "a header only": b"path,label\n",
    "damaged lines only": b"path,label\n,\n,x\n",
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_table_that_cannot_be_read_is_named(tmp_path, what):
    put(tmp_path / "a.png")
    path = tmp_path / "x.csv"
    path.write_bytes(UNREADABLE[what])
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        table.read(path, "classify")
    assert len(str(caught.value)) < 600


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([b",", b"\n", b'"', b"\r", b";", b"\t", b"\0", b"a.png", b"..", b"/", b"1", b"nan", b"-"]), st.binary(max_size=3)), max_size=30),
    st.sampled_from(["classify", "detect", "segment"]),
)  # fmt: skip
def test_any_bytes_are_a_data_set_or_named(parts, task):
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder) / "a.png")
        path = Path(folder) / "x.csv"
        path.write_bytes(
            b"path,label,x1,y1,x2,y2,mask,split,width,height\na.png,b,1,1,2,2,a.png,,,\n" + b"".join(parts)
        )
        found = outcome(table.read, path, task)
        if isinstance(found, str):
            assert str(path) in found or (task == "segment" and folder in found)
        else:
            assert {sample.path.name for sample in found.samples} <= {"a.png"}
            assert all(problem.path == path or problem.kind.endswith("missing") for problem in found.problems)


def test_masks_by_column(tmp_path):
    for name in ("1.png", "2.png", "3.png"):
        put(tmp_path / name)
    put(tmp_path / "gt" / "a.png", row(0, 255)), put(tmp_path / "gt" / "b.png", row(0, 0))
    write_csv(tmp_path / "x.csv", "image,mask", "1.png,gt/a.png", "2.png,gt/b.png", "3.png,gt/no.png")
    dataset = sources.read(tmp_path, "segment")
    assert dataset.classes == TWO
    assert pairs(dataset) == [("1.png", "a.png"), ("2.png", "b.png")]
    assert read_mask(dataset.samples[0].mask)[0].tolist() == [[0, 1]]
    assert [(problem.path.name, problem.kind) for problem in dataset.problems] == [("3.png", "label-missing")]


texts = st.text(
    st.one_of(st.sampled_from(",;\t\"' \n"), st.characters(exclude_categories=("Cs", "Cc"))), min_size=1, max_size=8
)
labels = texts.map(str.strip).filter(bool)
file_names = texts.map(lambda text: "".join(c for c in text if c not in "/\n")[:20]).map(lambda text: f"x{text}.png")
splits_of = st.sampled_from([("all",), ("train", "validation"), ("train", "test"), ("train", "validation", "test")])


def described(dataset: Dataset) -> Counter[str]:
    """What each sample says, whatever its file is called now; boxes and their classes by name."""
    found: Counter[str] = Counter()
    for split, samples in dataset.splits.items():
        for sample in samples:
            label = None if sample.label is None else dataset.classes[sample.label]
            boxes = (
                None
                if sample.boxes is None
                else [
                    (box, dataset.classes[n])
                    for box, n in zip(sample.boxes.xyxy.tolist(), sample.boxes.labels, strict=True)
                ]
            )
            image = np.asarray(Image.open(sample.path)).tolist()
            found[json.dumps([split, label, boxes, sample.group, sample.size, image])] += 1
    return found


def written_and_read(dataset: Dataset, target: Path) -> Dataset:
    sources.write(dataset, target, "csv")
    read = sources.read(target, dataset.task)
    assert (read.given, read.problems, read.task) == (dataset.given, (), dataset.task)
    assert all(sample.path.is_relative_to(target) for sample in read.samples)
    return read


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(file_names, labels, st.one_of(st.none(), labels)), min_size=1, max_size=5), splits_of, st.data()
)
def test_classified_images_are_read_as_they_were_written(rows, splits, data):
    classes = sorted({label for _, label, _ in rows})
    with tempfile.TemporaryDirectory() as folder:
        by_split: dict[str, tuple[Sample, ...]] = {}
        for n, (name, label, group) in enumerate(rows):
            split = splits[0] if n == 0 else data.draw(st.sampled_from(splits))
            size = data.draw(st.one_of(st.none(), st.tuples(st.integers(1, 9999), st.integers(1, 9999))))
            sample = Sample(put(Path(folder) / "from" / str(n) / name, n), classes.index(label), group=group, size=size)
            by_split[split] = (*by_split.get(split, ()), sample)
        dataset = Dataset(Path(folder) / "from", tuple(classes), by_split, tuple(s for s in SPLITS if s in by_split))
        read = written_and_read(dataset, Path(folder) / "to")
        assert set(read.classes) == set(classes)
        assert described(read) == described(dataset)


numbers = st.one_of(st.floats(-1e6, 1e6), st.floats(allow_nan=False), st.integers(0, 5000).map(float))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(numbers, numbers, numbers, numbers, labels), max_size=4), min_size=1, max_size=4),
    splits_of,
)
def test_boxes_are_read_as_they_were_written(images, splits):
    classes = sorted({box[4] for boxes in images for box in boxes})
    with tempfile.TemporaryDirectory() as folder:
        by_split: dict[str, tuple[Sample, ...]] = {}
        for n, boxes in enumerate(images):
            target = Boxes([box[:4] for box in boxes], [classes.index(box[4]) for box in boxes])
            split = splits[n % len(splits)]
            sample = Sample(put(Path(folder) / "from" / str(n) / "a.png", n), boxes=target)
            by_split[split] = (*by_split.get(split, ()), sample)
        given_splits = tuple(s for s in SPLITS if s in by_split)
        dataset = Dataset(Path(folder) / "from", tuple(classes), by_split, given_splits, task="detect")
        assert described(written_and_read(dataset, Path(folder) / "to")) == described(dataset)


def test_what_has_no_class_is_not_written(tmp_path):
    image = put(tmp_path / "a.png")
    for task, sample in (
        ("classify", Sample(image)),
        ("detect", Sample(image)),
        ("detect", Sample(image, boxes=Boxes([[0, 0, 1, 1]], [-1]))),
        ("segment", Sample(image)),
    ):
        (tmp_path / "to").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=re.escape(str(image))):
            table.write(Dataset(tmp_path, ("a",), {"all": (sample,)}, task=task), tmp_path / "to")
