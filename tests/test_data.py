"""Folders, splits, decoding, loading and the digits, on images that Pillow writes here."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from sightline.data import images as image_store
from sightline.data import streaming
from sightline.data.cache import in_memory
from sightline.data.decode import decode
from sightline.data.digits import write_digits
from sightline.data.images import Images, row_bytes
from sightline.data.loader import ImageBatches
from sightline.data.sources import recognise
from sightline.data.sources.class_folders import read_class_folders
from sightline.data.splits import with_splits
from sightline.data.streaming import decoded
from sightline.errors import DataError
from sightline.structures import Dataset, ImageSpec, Problem, Sample
from sightline.tasks.classify import class_numbers

RGB = ImageSpec(6, 5, 3)
GRAY = ImageSpec(6, 5, 1)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, color: object = "red", size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def names(dataset: Dataset, split: str) -> dict[str, list[str]]:
    """The file names of a split by class."""
    found: dict[str, list[str]] = {name: [] for name in dataset.classes}
    for sample in dataset.splits[split]:
        found[dataset.classes[sample.label]].append(sample.path.name)
    return found


# --- folders ---------------------------------------------------------------------------------------------------


def test_class_folders_are_classes_in_alphabetical_order(tmp_path):
    for name in ("dog", "ant", "cat"):
        put(tmp_path / name / f"{name}.png")
    dataset = read_class_folders(str(tmp_path))
    assert dataset.root == tmp_path
    assert dataset.classes == ("ant", "cat", "dog")
    assert dataset.given == ()
    assert names(dataset, "all") == {"ant": ["ant.png"], "cat": ["cat.png"], "dog": ["dog.png"]}
    assert dataset.counts("all") == [1, 1, 1]


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
@pytest.mark.parametrize("test", ["test", "testing", "TEST"])
def test_split_folders_by_any_of_their_names(tmp_path, train, validation, test):
    for split in (train, validation, test):
        for name in ("a", "b"):
            put(tmp_path / split / name / f"{split}.png")
    dataset = read_class_folders(tmp_path)
    assert set(dataset.given) == set(dataset.splits) == {"train", "validation", "test"}
    assert names(dataset, "train") == {"a": [f"{train}.png"], "b": [f"{train}.png"]}
    assert names(dataset, "validation") == {"a": [f"{validation}.png"], "b": [f"{validation}.png"]}
    assert names(dataset, "test") == {"a": [f"{test}.png"], "b": [f"{test}.png"]}


def test_two_folders_for_one_split_are_not_silently_one(tmp_path):
    for split in ("train", "val", "validation"):
        for name in ("a", "b"):
            put(tmp_path / split / name / "1.png")
    with contextlib.suppress(DataError):  # to refuse them is fine, to drop one is not
        assert sum(map(len, read_class_folders(tmp_path).splits.values())) == 6


def test_a_split_may_lack_a_class_that_training_has(tmp_path):
    for path in ("train/a/1.png", "train/b/1.png", "test/b/2.png"):
        put(tmp_path / path)
    dataset = read_class_folders(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.counts("test") == [0, 1]


def test_hidden_folders_and_other_files_are_ignored(tmp_path):
    for path in ("a/1.png", "b/1.png", ".cache/1.png", "__MACOSX/1.png", "a/.hidden.png"):
        put(tmp_path / path)
    for path in ("a/notes.txt", "a/Thumbs.db", "readme.md"):
        (tmp_path / path).write_text("no image")
    dataset = read_class_folders(tmp_path)
    assert names(dataset, "all") == {"a": ["1.png"], "b": ["1.png"]}


def test_hidden_folders_inside_a_class_are_ignored(tmp_path):
    for path in ("a/1.png", "b/1.png", "a/.ipynb_checkpoints/1-checkpoint.png", "b/deep/.thumbnails/2.png"):
        put(tmp_path / path)
    assert names(read_class_folders(tmp_path), "all") == {"a": ["1.png"], "b": ["1.png"]}


def test_images_in_folders_below_a_class_belong_to_it(tmp_path):
    for path in ("a/1.png", "a/deep/er/2.png", "b/3.png"):
        put(tmp_path / path)
    assert names(read_class_folders(tmp_path), "all") == {"a": ["1.png", "2.png"], "b": ["3.png"]}


def test_unicode_spaces_and_upper_case_suffixes(tmp_path):
    for path in ("große Äpfel/ein Bild.PNG", "桜/写真 1.JPG", "a b/🐈.jpeg"):
        put(tmp_path / path)
    dataset = read_class_folders(tmp_path)
    assert dataset.classes == ("a b", "große Äpfel", "桜")
    assert names(dataset, "all") == {"a b": ["🐈.jpeg"], "große Äpfel": ["ein Bild.PNG"], "桜": ["写真 1.JPG"]}
    assert all(decode(sample.path, RGB).shape == RGB.shape for sample in dataset.splits["all"])


@pytest.mark.parametrize("others", [["exam"], ["exam", "validation"], ["validation"]])
def test_a_class_may_be_named_like_a_split(tmp_path, others):
    for name in ("test", *others):
        put(tmp_path / name / "1.png")
    dataset = read_class_folders(tmp_path)
    assert dataset.classes == tuple(sorted(["test", *others]))
    assert dataset.given == ()


def test_a_train_class_among_others_is_a_class_where_there_is_no_other_split(tmp_path):
    for name in ("train", "bus", "tram"):
        put(tmp_path / name / "1.png")
    assert read_class_folders(tmp_path).classes == ("bus", "train", "tram")


def test_splits_of_another_format_are_no_classes(tmp_path):
    for split in ("train", "valid"):
        put(tmp_path / split / "images" / f"{split}.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert recognise(tmp_path).name == "yolo"
    for split in ("train", "valid"):
        for name in ("a", "b"):
            put(tmp_path / "folders" / split / name / "1.png")
    assert recognise(tmp_path / "folders").name == "class-folders"


def test_splits_beside_classes_are_refused_with_what_was_seen(tmp_path):
    for name in ("train/a", "test/a", "extra"):
        put(tmp_path / name / "1.png")
    with pytest.raises(DataError, match="splits test, train and beside them images in extra"):
        read_class_folders(tmp_path)
    (tmp_path / "extra" / "1.png").unlink()
    put(tmp_path / "train" / "b" / "1.png")
    assert read_class_folders(tmp_path).given == ("test", "train")


def folder_with(root: Path, paths: list[str]) -> Path:
    folder = root / "my data"
    folder.mkdir()
    for path in paths:
        put(folder / path)
    return folder


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        pytest.param([], ["nothing to train on", "no image", "two class folders"], id="empty"),
        pytest.param(["cat/1.png"], ["one class only", "'cat'", "two class folders"], id="one class"),
        pytest.param(["train/cat/1.png", "test/cat/2.png"], ["one class only", "'cat'"], id="one class in splits"),
        pytest.param(["1.png", "2.png"], ["2 images without a class folder"], id="loose images"),
        pytest.param(["train/a/1.png", "test/a/2.png", "test/b/2.png"], ["no image", "'b'", "train"], id="unseen"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path, paths, words):
    folder = folder_with(tmp_path, paths)
    with pytest.raises(DataError, match=re.escape(str(folder))) as caught:
        read_class_folders(folder)
    for word in words:
        assert word in str(caught.value)


def test_class_folders_without_images(tmp_path):
    folder = folder_with(tmp_path, [])
    (folder / "cat").mkdir()
    (folder / "cat" / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=re.escape(f"{folder} holds nothing")) as caught:
        read_class_folders(folder)
    assert "no image in cat" in str(caught.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"no folder {tmp_path / 'nowhere'}")):
        read_class_folders(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path):
    path = put(tmp_path / "cat.png")
    with pytest.raises(DataError, match=re.escape(f"{path} is a file")):
        read_class_folders(path)


# --- splits ----------------------------------------------------------------------------------------------------


def dataset_of(sizes: list[int], split: str = "all", **others: list[int]) -> Dataset:
    """A data set of files that need not exist: so many of each class."""
    splits = {
        name: tuple(
            Sample(Path(f"root/{name}/{label}/{i}.png"), label) for label, n in enumerate(counts) for i in range(n)
        )
        for name, counts in {split: sizes, **others}.items()
    }
    classes = tuple(f"class {i}" for i in range(len(sizes)))
    return Dataset(Path("root"), classes, splits, tuple(name for name in splits if name != "all"))


@given(st.lists(st.integers(3, 80), min_size=2, max_size=6), st.integers(0, 2**63 - 1))
def test_drawn_splits_are_a_stratified_partition(sizes, seed):
    dataset = dataset_of(sizes)
    drawn = with_splits(dataset, seed)
    assert list(drawn.splits) == ["train", "validation", "test"]
    everything = [sample for samples in drawn.splits.values() for sample in samples]
    assert len(everything) == len(set(everything))
    assert set(everything) == set(dataset.splits["all"])
    for split in ("validation", "test"):
        for count, size in zip(drawn.counts(split), sizes, strict=True):
            assert count >= 1
            assert abs(count - 0.15 * size) <= 1
    assert min(drawn.counts("train")) >= 1
    assert with_splits(dataset, seed).splits == drawn.splits


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.integers(0, 99))
def test_every_class_can_be_learned_however_few_its_images(sizes, seed):
    dataset = dataset_of(sizes)
    if max(sizes) < 3:
        return
    drawn = with_splits(dataset, seed)
    assert min(drawn.counts("train")) >= 1
    assert sum(map(len, drawn.splits.values())) == sum(sizes)


@given(st.lists(st.integers(40, 80), min_size=2, max_size=4), st.integers(0, 1000), st.integers(1, 1000))
def test_another_seed_draws_other_splits(sizes, seed, step):
    dataset = dataset_of(sizes)
    assert with_splits(dataset, seed).splits != with_splits(dataset, seed + step).splits


def test_given_splits_are_honoured():
    dataset = dataset_of([5, 5], "train", validation=[2, 3], test=[4, 1])
    assert with_splits(dataset, 3).splits == dataset.splits


def test_validation_is_drawn_from_training_where_only_test_is_given():
    dataset = dataset_of([20, 40], "train", test=[4, 1])
    drawn = with_splits(dataset, 3)
    assert drawn.splits["test"] == dataset.splits["test"]
    assert drawn.counts("validation") == [3, 6]
    assert set(drawn.splits["train"]) | set(drawn.splits["validation"]) == set(dataset.splits["train"])
    assert len(drawn.splits["train"]) == 51


def test_only_training_is_given():
    drawn = with_splits(dataset_of([20, 40], "train"), 3)
    assert list(drawn.splits) == ["train", "validation"]
    assert drawn.counts("validation") == [3, 6]


def test_too_few_images_to_hold_any_back():
    with pytest.raises(DataError, match="root has too few images") as caught:
        with_splits(dataset_of([1, 1]), 0)
    assert "at least 2" in str(caught.value)
    assert "2 images of 2 classes" in str(caught.value)


def test_a_given_validation_folder_without_images_is_named():
    with pytest.raises(DataError, match="validation") as caught:
        with_splits(dataset_of([20, 20], "train", validation=[0, 0]), 0)
    assert "too few images" not in str(caught.value)  # there are plenty: the folder is empty


# --- decode ----------------------------------------------------------------------------------------------------


def save(tmp_path: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


def on_white(pixels: np.ndarray) -> np.ndarray:
    """RGBA over white, computed by hand."""
    color, alpha = pixels[..., :3].astype(float), pixels[..., 3:].astype(float) / 255
    return color * alpha + 255 * (1 - alpha)


def palette_image() -> Image.Image:
    image = Image.fromarray(noise(6, 5) % 4)
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    return image


def assert_decodes_to(path: Path, expected: np.ndarray, *, within: float = 0) -> None:
    pixels = decode(path, RGB)
    assert pixels.dtype == np.uint8
    assert pixels.shape == RGB.shape
    np.testing.assert_allclose(pixels.astype(float), expected, atol=within)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_rgb(tmp_path, suffix):
    pixels = noise(6, 5, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    assert_decodes_to(save(tmp_path, Image.fromarray(pixels), f"x.{suffix}", **options), pixels)


def test_jpeg_is_what_pillow_reads(tmp_path):
    path = save(tmp_path, Image.fromarray(noise(6, 5, 3)), "x.jpg")
    assert_decodes_to(path, np.asarray(Image.open(path)))


def test_grayscale_file_as_rgb_and_as_grayscale(tmp_path):
    pixels = noise(6, 5)
    path = save(tmp_path, Image.fromarray(pixels), "x.png")
    assert_decodes_to(path, np.stack([pixels] * 3, -1))
    np.testing.assert_array_equal(decode(path, GRAY), pixels[..., None])


def test_color_as_grayscale_is_the_luma(tmp_path):
    pixels = noise(6, 5, 3)
    gray = decode(save(tmp_path, Image.fromarray(pixels), "x.png"), GRAY)
    assert gray.dtype == np.uint8
    assert gray.shape == (6, 5, 1)
    np.testing.assert_allclose(gray[..., 0], pixels @ [0.299, 0.587, 0.114], atol=1)


def test_one_bit(tmp_path):
    bits = noise(6, 5) > 127
    path = save(tmp_path, Image.fromarray(bits), "x.png")
    assert Image.open(path).mode == "1"
    assert_decodes_to(path, np.stack([bits * 255] * 3, -1))


def test_palette(tmp_path):
    image = palette_image()
    path = save(tmp_path, image, "x.png")
    assert Image.open(path).mode == "P"
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]])
    assert_decodes_to(path, colors[np.asarray(image)])


@pytest.mark.parametrize("transparency", [2, bytes([255, 128, 0, 64])], ids=["one entry", "alpha by entry"])
def test_palette_with_transparency(tmp_path, transparency):
    image = palette_image()
    path = save(tmp_path, image, "x.png", transparency=transparency)
    alpha = [255, 255, 0, 255] if transparency == 2 else list(transparency)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]])
    table = np.concatenate([colors, np.array(alpha)[:, None]], 1)
    assert_decodes_to(path, on_white(table[np.asarray(image)]), within=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_rgba_lies_on_white(tmp_path, suffix):
    pixels = noise(6, 5, 4)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    assert_decodes_to(save(tmp_path, Image.fromarray(pixels), f"x.{suffix}", **options), on_white(pixels), within=1)


def test_gray_with_alpha_lies_on_white(tmp_path):
    pixels = noise(6, 5, 2)
    path = save(tmp_path, Image.fromarray(pixels), "x.png")
    assert Image.open(path).mode == "LA"
    expected = on_white(pixels[..., [0, 0, 0, 1]])
    assert_decodes_to(path, expected, within=1)
    np.testing.assert_allclose(decode(path, GRAY), expected[..., :1], atol=1)


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (1, 2, 3))])
def test_one_color_is_transparent(tmp_path, mode, key):
    image = Image.new(mode, (5, 6), 50 if mode == "L" else (50, 50, 50))
    image.putpixel((2, 3), key)
    expected = np.full((6, 5, 3), 50)
    expected[3, 2] = 255
    assert_decodes_to(save(tmp_path, image, "x.png", transparency=key), expected)


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path, Image.fromarray(noise(6, 5, 3)).convert("CMYK"), "x.jpg")
    image = Image.open(path)
    assert image.mode == "CMYK"
    inks = np.asarray(image).astype(float)
    assert_decodes_to(path, (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255, within=1.01)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grayscale(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 2**16, (6, 5), dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    path = save(tmp_path, Image.fromarray(values), f"x.{suffix}")
    expected = np.round(values / 257)
    assert_decodes_to(path, np.stack([expected] * 3, -1))
    np.testing.assert_array_equal(decode(path, GRAY)[..., 0], expected)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_tiff(tmp_path, top):
    values = np.linspace(0, top, 30, dtype=np.float32).reshape(6, 5)
    path = save(tmp_path, Image.fromarray(values), "x.tif")
    assert Image.open(path).mode == "F"
    assert_decodes_to(path, np.stack([np.round(values * (255 / top))] * 3, -1))


def test_the_first_frame_of_an_animation(tmp_path):
    first, second = Image.new("RGB", (5, 6), (255, 0, 0)), Image.new("RGB", (5, 6), (0, 0, 255))
    path = save(tmp_path, first, "x.gif", save_all=True, append_images=[second])
    assert Image.open(path).n_frames == 2
    assert_decodes_to(path, np.asarray(first))


TURNS = {  # what a camera that writes this orientation stored, of the upright picture
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_exif_orientation(tmp_path, orientation, suffix):
    upright = np.kron(noise(3, 2, 3), np.ones((16, 16, 1), np.uint8))  # 48 x 32: not square, blocks outlive JPEG
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    path = save(tmp_path, stored, f"x.{suffix}", exif=exif, **options)
    pixels = decode(path, ImageSpec(48, 32, 3))
    np.testing.assert_allclose(pixels.astype(int), upright, atol=3 if suffix == "jpg" else 0)


def test_broken_exif_does_not_cost_the_picture(tmp_path):
    pixels = noise(6, 5, 3)
    path = save(tmp_path, Image.fromarray(pixels), "x.jpg", exif=b"Exif\0\0this is no TIFF header")
    assert_decodes_to(path, np.asarray(Image.open(path)))


@pytest.mark.parametrize("size", [(3, 3), (6, 5), (20, 30), (1, 1), (64, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_pillows_bilinear(tmp_path, size, channels):
    image = Image.fromarray(noise(17, 23, 3))
    pixels = decode(save(tmp_path, image, "x.png"), ImageSpec(*size, channels))
    image = image.convert("L") if channels == 1 else image
    expected = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels)
    np.testing.assert_array_equal(pixels, expected)


def encoded(suffix: str, size: tuple[int, int] = (40, 40)) -> bytes:
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    Image.fromarray(noise(*size, 3)).save(buffer, kind)
    return buffer.getvalue()


BAD = {
    "empty.jpg": (b"", "0 bytes"),
    "text.jpg": (b"This is no picture.\n" * 9, "not an image"),
    "truncated.jpg": (encoded("jpg")[:-400], "truncated"),
    "truncated.png": (encoded("png")[:-400], "truncated"),
    "beginning.jpg": (encoded("jpg")[:12], "truncated"),
    "header.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + random.Random(0).randbytes(400), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_reason(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(path, RGB)
    message = str(caught.value)
    assert message.startswith(f"{path} is ")
    assert reason in message
    assert len(message) > len(f"{path} is .")


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path} is a folder")):
        decode(tmp_path, RGB)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'no.jpg'} is not there")):
        decode(tmp_path / "no.jpg", RGB)


@pytest.mark.parametrize("limit", [1000, 100], ids=["Pillow warns", "Pillow raises"])
def test_decompression_bomb(tmp_path, monkeypatch, limit):
    path = put(tmp_path / "bomb.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=re.escape(f"{path} is larger than {limit:,} pixels")):
        decode(path, RGB)


def test_decompression_bombs_are_refused_by_every_thread(tmp_path, monkeypatch):
    samples = [Sample(put(tmp_path / f"{i}.png", size=(40, 40)), 0) for i in range(200)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = list(warnings.filters)
        read = list(decoded([sample.path for sample in samples], RGB, 32, 16))
        after = list(warnings.filters)
    assert [len(numbers) for numbers, _, _ in read] == [0] * 7
    assert sum(len(problems) for _, _, problems in read) == 200
    assert after == before  # threads share the process's filters


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_corrupted_bytes_give_pixels_or_a_data_error(tmp_path, suffix):
    whole, draw = encoded(suffix, (24, 24)), random.Random(suffix)
    for round_ in range(100):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 3, 20])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        path = tmp_path / f"{round_}.{suffix}"
        path.write_bytes(content)
        said, pixels = "", None
        try:
            pixels = decode(path, RGB)
        except DataError as error:
            said = str(error)
        if pixels is None:
            assert said.startswith(f"{path} is ")
        else:
            assert (pixels.shape, pixels.dtype) == (RGB.shape, np.uint8)


# --- loading ---------------------------------------------------------------------------------------------------


def numbered(folder: Path, n: int, classes: int = 3) -> list[Sample]:
    """So many images, each of its own gray, which says which one it is."""
    return [Sample(put(folder / f"{i:03d}.png", (i, i, i)), i % classes) for i in range(n)]


def epoch_of(images, number: int = 0, *, batch_size: int = 8, workers: int = 2, seed: int | None = 0):
    """(pixels, targets) of an epoch's batches."""
    batches = ImageBatches(images, batch_size, workers, targets=class_numbers, seed=seed)
    return list(batches.epoch(number))


def order(batches) -> list[int]:
    """Which images came, as their gray says."""
    return [int(value) for batch in batches for value in batch.inputs[0][:, 0, 0, 0]]


def loaded(samples, spec=RGB, room=2**30):
    """The images of samples, with so much room for their pixels."""
    return Images(samples, spec, in_memory(samples, row_bytes(spec, masks=False), room))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_files_are_streamed_in_their_order_and_unreadable_ones_named(tmp_path, batch_size, workers):
    samples = numbered(tmp_path, 10)
    samples[3].path.write_bytes(b"")
    samples[7].path.write_text("no picture")
    read = list(decoded([sample.path for sample in samples], RGB, batch_size, workers))
    assert len(read) == -(-10 // batch_size)
    assert all(pixels.shape == (len(numbers), *RGB.shape) for numbers, pixels, _ in read)
    assert [n for numbers, _, _ in read for n in numbers] == [0, 1, 2, 4, 5, 6, 8, 9]
    assert [int(p) for _, pixels, _ in read for p in pixels[:, 0, 0, 0]] == [0, 1, 2, 4, 5, 6, 8, 9]
    problems = {number: problem for _, _, some in read for number, problem in some.items()}
    assert list(problems) == [3, 7]
    assert problems[3] == Problem(samples[3].path, "is empty (0 bytes)")
    assert str(problems[7]) == f"{samples[7].path}: is not an image, whatever its name says"


def test_few_files_are_read_before_they_are_asked_for(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(streaming, "decode_or_problem", lambda path, spec: read.append(path) or np.zeros(spec.shape))
    batches = streaming.decoded([tmp_path / str(n) for n in range(1000)], RGB, 4, 2)
    for _ in range(10):
        next(batches)
    time.sleep(0.2)
    assert 40 <= len(read) <= 40 + 4 * streaming.PREFETCH
    assert list(streaming.decoded([], RGB, 4, 2)) == []


def test_the_order_comes_from_seed_and_epoch(tmp_path):
    images = loaded(numbered(tmp_path, 30))
    orders = {
        (seed, number): order(epoch_of(images, number, seed=seed)) for seed in (0, 1, 2**63 - 1) for number in (0, 1)
    }
    assert len({tuple(o) for o in orders.values()}) == 6
    for (seed, number), first in orders.items():
        assert sorted(first) == list(range(30))
        assert order(epoch_of(images, number, seed=seed)) == first
    assert order(epoch_of(images, 5, seed=None)) == list(range(30))


@pytest.mark.parametrize("batch_size", [1, 7, 8, 20, 64])
def test_the_last_batch_may_be_smaller(tmp_path, batch_size):
    images = loaded(numbered(tmp_path, 20))
    batches = epoch_of(images, batch_size=batch_size)
    sizes = [batch.size for batch in batches]
    assert sum(sizes) == 20
    assert set(sizes[:-1]) <= {batch_size}
    assert len(batches) == ImageBatches(images, batch_size, 1).steps
    assert sorted(order(batches)) == list(range(20))


@pytest.mark.parametrize(("spec", "channels"), [(RGB, 3), (GRAY, 1)])
def test_batches_are_bytes_channels_last(tmp_path, spec, channels):
    pixels = noise(12, 6, 5, 3)
    samples = [Sample(save(tmp_path, Image.fromarray(p), f"{i}.png"), i % 2) for i, p in enumerate(pixels)]
    images = loaded(samples, spec)
    batches = epoch_of(images, batch_size=5, seed=None)
    for batch in batches:
        assert batch.inputs[0].dtype == torch.uint8
        assert batch.inputs[0].shape == (batch.size, channels, 6, 5)
        assert batch.inputs[0].is_contiguous(memory_format=torch.channels_last)
        assert batch.targets[0].dtype == torch.int64
    together = torch.cat([batch.inputs[0] for batch in batches]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(together, np.stack([decode(s.path, spec) for s in samples]))
    assert together.max() > 200
    assert torch.cat([batch.targets[0] for batch in batches]).tolist() == [i % 2 for i in range(12)]


def test_memory_and_workers_change_nothing(tmp_path):
    samples = numbered(tmp_path, 45)
    runs = []
    for room in (2**30, 0):
        images = loaded(samples, room=room)
        assert (len(images.cache.rows) == 0) == (room == 0)
        runs += [epoch_of(images, 3, workers=workers) for workers in (1, 2, 7)]
    batches, *others = runs
    for other_batches in others:
        assert len(other_batches) == len(batches)
        for batch, other in zip(batches, other_batches, strict=True):
            assert torch.equal(batch.inputs[0], other.inputs[0])
            assert torch.equal(batch.targets[0], other.targets[0])


def test_a_process_makes_its_rows_of_each_batch(tmp_path):
    images = loaded(numbered(tmp_path, 21))
    whole = epoch_of(images)
    ranks = [
        list(ImageBatches(images, 8, 2, targets=class_numbers, seed=0, rank=(number, 3)).epoch(0))
        for number in range(3)
    ]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert [part.of for part in parts] == [batch.size] * 3
        assert [part.first for part in parts] == np.cumsum([0, *(part.size for part in parts)])[:-1].tolist()
        assert torch.equal(torch.cat([part.inputs[0] for part in parts]), batch.inputs[0])
        assert torch.equal(torch.cat([part.targets[0] for part in parts]), batch.targets[0])


@pytest.mark.parametrize("first", [0, 1, 3, 5])
def test_an_epoch_goes_on_from_any_batch(tmp_path, first):
    images = loaded(numbered(tmp_path, 20))
    whole, rest = (
        list(ImageBatches(images, 4, 2, targets=class_numbers, seed=0).epoch(2, begin)) for begin in (0, first)
    )
    assert len(rest) == 5 - first
    assert order(rest) == order(whole)[4 * first :]


def test_an_epoch_may_be_left_in_the_middle(tmp_path):
    images = loaded(numbered(tmp_path, 20), room=0)
    batches = ImageBatches(images, 4, 2, targets=class_numbers, seed=0)
    began = batches.epoch(0)
    first = next(began)
    began.close()
    assert torch.equal(next(batches.epoch(0)).inputs[0], first.inputs[0])


def test_free_memory_is_a_number_of_bytes():
    assert 2**20 < image_store.free_memory() < 2**50


# --- digits ----------------------------------------------------------------------------------------------------


def test_the_digits(tmp_path):
    folder = write_digits(tmp_path / "digits")
    digits = load_digits()
    dataset = read_class_folders(folder)
    assert dataset.classes == tuple("0123456789")
    assert dataset.counts("all") == np.bincount(digits.target).tolist()
    files = {path.name: path for path in folder.rglob("*.png")}
    assert len(files) == 1797
    for index in range(1797):
        path = files[f"{index:04d}.png"]
        assert path.parent.name == str(digits.target[index])
        np.testing.assert_array_equal(
            decode(path, ImageSpec(8, 8, 1))[..., 0], np.round(digits.images[index] * 255 / 16)
        )


def test_digits_that_are_there_are_left_as_they_are(tmp_path):
    path = sorted(write_digits(tmp_path).rglob("*.png"))[5]
    os.utime(path, (1, 1))
    removed = sorted(tmp_path.rglob("*.png"))[6]
    removed.unlink()
    write_digits(tmp_path)
    assert path.stat().st_mtime == 1
    assert removed.is_file()
