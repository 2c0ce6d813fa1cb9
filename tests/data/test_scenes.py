"""Scenes of real digits: exact boxes and masks, no leak between splits, the same bytes again, every format."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import sightline.data.scene_files as files_room
import sightline.data.scenes as room
from sightline.data.grounds import textured_ground
from sightline.data.mask_files import read_mask
from sightline.data.scene_files import TASK_FORMATS, write_scenes
from sightline.data.scenes import CLASSES, MASK_CLASSES, Scene, make_scenes, real_digits
from sightline.data.sources import FORMATS, read, recognise
from sightline.errors import ArgumentError, DataError
from sightline.structures import Dataset, Sample

SPLITS = ("train", "validation", "test")
PAIRS = [(task, format) for task, formats in TASK_FORMATS.items() for format in formats]
FEW = {"train": 12, "validation": 4, "test": 3}


def digest(found: list[Scene]) -> str:
    return sha256(b"".join(s.image.tobytes() + s.mask.tobytes() + repr(s.boxes).encode() for s in found)).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def check_exact(scene: Scene, size: tuple[int, int]) -> None:
    """Boxes are the bounds of their digits' pixels, apart from one another, and all of the mask is in them."""
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == scene.mask.dtype == np.uint8
    assert scene.mask.shape == size
    assert len(scene.boxes) >= 1
    rest = scene.mask.copy()
    for (left, top, right, bottom), label in zip(scene.boxes.xyxy.astype(int), scene.boxes.labels, strict=True):
        inside = scene.mask[top:bottom, left:right]
        assert set(np.unique(inside)) <= {0, label + 1}
        rows, columns = np.nonzero(inside == label + 1)
        assert (rows.min(), columns.min()) == (0, 0)
        assert (rows.max() + 1, columns.max() + 1) == (bottom - top, right - left)
        rest[top:bottom, left:right] = 0
    assert not rest.any()
    assert np.array_equal(scene.boxes.xyxy, np.rint(scene.boxes.xyxy))
    assert not any(overlap(one, other) for one, other in combinations(scene.boxes.xyxy, 2))


# --- what a scene is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_and_masks_are_exact(split):
    counts = set()
    for scene in make_scenes(80, split=split, seed=3):
        check_exact(scene, (128, 128))
        counts.add(len(scene.boxes))
    assert counts == {1, 2, 3, 4}


@settings(max_examples=40, deadline=None)
@given(st.integers(24, 150), st.integers(24, 150), st.integers(1, 12), st.integers(0, 12), st.integers(0, 2**40))
def test_boxes_and_masks_are_exact_at_any_size(height, width, fewest, more, seed):
    for scene in make_scenes(2, (height, width), digits=(fewest, fewest + more), seed=seed):
        check_exact(scene, (height, width))
        assert len(scene.boxes) <= fewest + more


def test_a_large_scene():
    (scene,) = make_scenes(1, (700, 1000), digits=(3, 3))
    check_exact(scene, (700, 1000))
    assert len(scene.boxes) == 3


def test_more_digits_than_find_room_are_fewer_and_end():
    (scene,) = make_scenes(1, (24, 24), digits=(1000, 1000))
    check_exact(scene, (24, 24))
    assert len(scene.boxes) < 10


@pytest.mark.parametrize("size", [(24, 24), (40, 200), (128, 128)])
def test_a_lone_digit_is_one_and_larger_than_digits_among_others(size):
    lone, among = (
        [np.ptp(scene.boxes.xyxy.reshape(-1, 2, 2), axis=1).max() for scene in make_scenes(60, size, digits=digits)]
        for digits in ((1, 1), (1, 2))
    )
    assert all(len(scene.boxes) == 1 for scene in make_scenes(60, size, digits=(1, 1)))
    assert max(lone) <= min(size)
    assert np.mean(lone) > 1.1 * np.mean(among)


def test_ten_scenes_in_a_row_show_ten_classes():
    for split in SPLITS:
        labels = [int(scene.boxes.labels[0]) for scene in make_scenes(40, (24, 24), digits=(1, 1), split=split)]
        assert [sorted(labels[i : i + 10]) for i in range(0, 40, 10)] == [list(range(10))] * 4
        assert labels[:10] != labels[10:20]


def test_digits_stand_out_from_the_ground_beside_them():
    contrasts = []
    for scene in make_scenes(100):
        light = scene.image @ np.array([0.299, 0.587, 0.114])
        for left, top, right, bottom in scene.boxes.xyxy.astype(int):
            there = scene.mask[top:bottom, left:right] > 0
            area = light[top:bottom, left:right]
            contrasts.append(abs(area[there].mean() - area[~there].mean()) if not there.all() else 255)
    assert np.min(contrasts) > 30
    assert np.median(contrasts) > 75


def test_turning_cuts_nothing_off_a_digit():
    ink = room._inks("train")[2][0]
    for angle in np.linspace(-25, 25, 21):
        straight, turned = room._draw(ink, 60.0, 0.0), room._draw(ink, 60.0, angle)
        assert turned.sum() == pytest.approx(straight.sum(), rel=0.01)


def test_grounds_vary():
    means = np.array([textured_ground(np.random.default_rng(i), (64, 64)).mean((1, 2)) for i in range(100)])
    assert (np.ptp(means, axis=0) > 0.5).all()
    assert np.array([textured_ground(np.random.default_rng(i), (64, 64)).std() for i in range(100)]).min() > 0.01


# --- no leak, and learnable ------------------------------------------------------------------------------------


def test_splits_share_no_real_digit_and_take_all_of_them():
    taken = [index for split in SPLITS for index in real_digits(split)]
    assert sorted(taken) == list(range(1797))
    for split in SPLITS:
        assert np.bincount(load_digits().target[real_digits(split)]).min() >= 22
        assert sum(map(len, room._inks(split))) == len(real_digits(split))


def test_the_scenes_of_a_split_show_its_own_digits_only(monkeypatch):
    shown: list[bytes] = []
    draw = room._draw
    monkeypatch.setattr(room, "_draw", lambda ink, *rest: shown.append(ink.tobytes()) or draw(ink, *rest))
    seen = {}
    for split in SPLITS:
        shown.clear()
        list(make_scenes(200, (32, 32), split=split))
        seen[split] = set(shown)
        own = {ink.tobytes() for inks in room._inks(split) for ink in inks}
        assert len(seen[split]) > 100
        assert seen[split] <= own
    assert not any(seen[one] & seen[other] for one, other in combinations(SPLITS, 2))


def crops(n: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What is in the boxes, 8x8 by difference from the ground, from the images alone."""
    rows, labels = [], []
    for scene in make_scenes(n, (64, 64), split=split, seed=5):
        gray = Image.fromarray(scene.image).convert("L")
        for box, label in zip(scene.boxes.xyxy.astype(int).tolist(), scene.boxes.labels, strict=True):
            values = np.asarray(gray.crop(box).resize((8, 8), Image.Resampling.BOX), np.float64)
            values = np.abs(values - np.median(np.asarray(gray)))
            rows.append((values / values.max()).ravel())
            labels.append(label)
    return np.array(rows), np.array(labels)


def test_what_is_in_the_boxes_can_be_learned():
    model = KNeighborsClassifier(3).fit(*crops(500, "train"))
    assert model.score(*crops(120, "validation")) > 0.6


# --- the same again --------------------------------------------------------------------------------------------


def test_a_scene_depends_on_its_seed_split_and_number_only():
    ten = list(make_scenes(10, (32, 32), seed=7))
    assert digest(list(make_scenes(4, (32, 32), seed=7))) == digest(ten[:4])
    assert digest(list(make_scenes(10, (32, 32), seed=7))) == digest(ten)
    others = [{"seed": 8}, {"seed": 7, "split": "test"}, {"seed": 7, "split": "validation"}]
    digests = {digest(ten), *(digest(list(make_scenes(10, (32, 32), **other))) for other in others)}
    assert len(digests) == 4
    assert len({scene.image.tobytes() for scene in ten}) == 10


def test_splits_do_not_share_their_grounds():
    for one, other in zip(make_scenes(5, split="train"), make_scenes(5, split="test"), strict=True):
        ground = (one.mask == 0) & (other.mask == 0)
        assert (one.image != other.image).any(2)[ground].mean() > 0.9


def test_another_process_draws_the_same():
    code = (
        "from sightline.data.scenes import make_scenes; from hashlib import sha256;"
        "print(sha256(b''.join(s.image.tobytes() + s.mask.tobytes() + repr(s.boxes).encode()"
        " for s in make_scenes(6, (48, 64), seed=11, split='test'))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == digest(list(make_scenes(6, (48, 64), seed=11, split="test")))


# --- files -----------------------------------------------------------------------------------------------------


def expected(task: str, split: str, n: int, size: tuple[int, int]) -> list[Scene]:
    digits = (1, 1) if task in ("classify", "localize") else (1, 4)
    return list(make_scenes(n, size, digits=digits, seed=2, split=split))


def by_number(dataset: Dataset, split: str) -> list[Sample]:
    return sorted(dataset.splits[split], key=lambda sample: sample.path.stem)


def check_sample(sample: Sample, scene: Scene, task: str) -> None:
    assert np.array_equal(np.asarray(Image.open(sample.path)), scene.image)
    if task in ("classify", "localize"):
        assert sample.label == scene.boxes.labels[0]
    if task in ("localize", "detect"):
        assert sample.boxes.labels.tolist() == scene.boxes.labels.tolist()
        assert np.abs(sample.boxes.xyxy - scene.boxes.xyxy).max() < 0.001
    if task == "segment":
        pixels, unknown = read_mask(sample.mask)
        assert unknown == ()
        assert np.array_equal(pixels, scene.mask)


@pytest.mark.parametrize(("task", "format"), PAIRS)
def test_every_format_reads_back_as_it_was_drawn(tmp_path, task, format):
    size = (48, 60)
    folder = write_scenes(tmp_path / "made", task, FEW, format=format, size=size, seed=2)
    assert folder == tmp_path / "made"
    dataset = read(folder, task, format)
    assert (dataset.format, dataset.task, dataset.problems) == (format, task, ())
    assert dataset.classes == (MASK_CLASSES if task == "segment" else CLASSES)
    assert set(dataset.given) == set(SPLITS)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == FEW
    for split, n in FEW.items():
        for sample, scene in zip(by_number(dataset, split), expected(task, split, n, size), strict=True):
            check_sample(sample, scene, task)


@pytest.mark.parametrize(("task", "format"), [pair for pair in PAIRS if pair != ("segment", "csv")])
def test_formats_are_recognised(tmp_path, task, format):
    """A table of masks lies beside images/ and masks/, which are a format of their own, so that one has to be named."""
    write_scenes(tmp_path, task, {"train": 10}, format=format, size=(24, 24))
    assert recognise(tmp_path, task).name == format


@pytest.mark.parametrize(("task", "format"), PAIRS)
def test_the_same_arguments_write_the_same_bytes(tmp_path, task, format):
    one, other = (
        files(write_scenes(tmp_path / name, task, {"train": 10}, format=format, size=(24, 24))) for name in ("a", "b/c")
    )
    assert one == other
    assert "scenes.json" in one
    assert len(one) > 10
    assert str(tmp_path).encode() not in b"".join(one.values())


@pytest.mark.parametrize("task", TASK_FORMATS)
def test_the_first_format_of_a_task_is_its_default(tmp_path, task):
    write_scenes(tmp_path / task, task, {"train": 10, "test": 0}, size=(24, 24))
    dataset = read(tmp_path / task)
    assert dataset.format == TASK_FORMATS[task][0]
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 10}


def test_scenes_that_are_there_are_left_as_they_are(tmp_path):
    folder = write_scenes(tmp_path / "made", "classify", {"train": 10}, size=(24, 24))
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = write_scenes(folder, "classify", {"train": np.int64(10), "test": 0}, size=[24, np.int64(24)], digits=(1, 1))
    assert again == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"size": (24, 25)}, {"n": {"train": 11}}, {"task": "localize"}, {"format": "csv"}]
)
def test_other_scenes_are_not_written_over(tmp_path, other):
    arguments = {"task": "classify", "n": {"train": 10}, "size": (24, 24)}
    before = files(write_scenes(tmp_path, **arguments))
    with pytest.raises(DataError, match="holds other scenes"):
        write_scenes(tmp_path, **{**arguments, **other})
    assert files(tmp_path) == before


def test_a_damaged_mark_is_no_mark(tmp_path):
    folder = write_scenes(tmp_path, "classify", {"train": 10}, size=(24, 24))
    for data in (b"", b"{", b"[" * 10_000, b'{"scenes": NaN}'):
        (folder / "scenes.json").write_bytes(data)
        with pytest.raises(DataError, match="holds other scenes"):
            write_scenes(folder, "classify", {"train": 10}, size=(24, 24))
    (folder / "scenes.json").write_bytes(b"\xff\0")
    with pytest.raises(DataError, match=r"scenes\.json is not text"):
        write_scenes(folder, "classify", {"train": 10}, size=(24, 24))


def test_something_else_is_not_written_into(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"something else.*thesis\.txt"):
        write_scenes(tmp_path, "detect", {"train": 1}, size=(24, 24))
    with pytest.raises(DataError, match="is a file"):
        write_scenes(tmp_path / "thesis.txt", "detect", {"train": 1}, size=(24, 24))
    with pytest.raises(DataError, match="cannot be written"):
        write_scenes(tmp_path / "thesis.txt" / "below", "detect", {"train": 1}, size=(24, 24))
    assert files(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("moves", range(3))
def test_writing_that_was_interrupted_never_looks_complete(tmp_path, monkeypatch, moves):
    """Killed while drawing (0), or between two of the moves to the folder."""
    made, rename = [], os.rename

    def killed(source, target):
        if len(made) == moves:
            raise KeyboardInterrupt
        made.append(target)
        rename(source, target)

    arguments = ("detect", {"train": 3, "test": 2})
    with monkeypatch.context() as patch:
        patch.setattr(files_room.os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path / "made", *arguments, size=(24, 24))
    assert len(made) == moves
    assert not (tmp_path / "made" / "scenes.json").exists()
    if moves:
        with pytest.raises(DataError, match="a part of them"):
            write_scenes(tmp_path / "made", *arguments, size=(24, 24))
    else:
        write_scenes(tmp_path / "made", *arguments, size=(24, 24))
        assert len(read(tmp_path / "made").samples) == 5


def test_a_process_that_was_killed_leaves_a_folder_that_can_be_written(tmp_path):
    code = (
        "import os, sys; import sightline.data.scene_files as room;"
        "room.write_text = lambda *_: os._exit(9);"
        "room.write_scenes(sys.argv[1], 'classify', {'train': 10}, size=(24, 24))"
    )
    folder = tmp_path / "made"
    assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == 9
    assert [path.name[:8] for path in folder.iterdir()] == [".scenes-"]
    write_scenes(folder, "classify", {"train": 10}, size=(24, 24))
    assert len(read(folder).samples) == 10


def test_a_process_that_comes_second_replaces_nothing(tmp_path, monkeypatch):
    write = FORMATS["yolo"].write

    def write_while_another_does(dataset, folder):
        write(dataset, folder)
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "theirs.png").write_bytes(b"1")

    patched = files_room.replace(FORMATS["yolo"], write=write_while_another_does)
    monkeypatch.setitem(FORMATS, "yolo", patched)
    with pytest.raises(DataError, match="cannot be written"):
        write_scenes(tmp_path, "detect", {"train": 2}, format="yolo", size=(24, 24))
    assert files(tmp_path) == {"images/theirs.png": b"1"}


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": -1}, {"n": 1.5}, {"n": True}, {"size": (23, 128)}, {"size": (128, 23)}, {"size": (128, 5000)},
        {"size": 128}, {"size": (128,)}, {"size": (128, 128, 3)}, {"size": (64.0, 64)}, {"size": "ab"}, {"size": None},
        {"digits": (0, 2)}, {"digits": (3, 2)}, {"digits": 2}, {"digits": (1, float("inf"))}, {"digits": (1, 10**9)},
        {"seed": -1}, {"seed": None}, {"seed": 0.5}, {"split": "all"}, {"split": "val"},
    ],
)  # fmt: skip
def test_scenes_refuses_what_is_out_of_range_at_once(arguments):
    with pytest.raises(ArgumentError):
        make_scenes(**{"n": 1, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"task": "detectt"}, {"task": None}, {"format": "masks"}, {"format": "zip"}, {"task": "segment", "format": "coco"},
        {"n": {}}, {"n": {"test": 3}}, {"n": {"train": 0}}, {"n": {"train": 1.5}}, {"n": {"train": 1, "val": 1}}, {"n": 5},
        {"n": {"train": 1, "test": -1}}, {"task": "classify", "digits": (1, 2)}, {"task": "localize", "digits": (2, 2)},
        {"digits": ()}, {"digits": 0}, {"size": (8, 8)}, {"seed": "a"},
    ],
)  # fmt: skip
def test_write_scenes_refuses_what_is_out_of_range_and_writes_nothing(tmp_path, arguments):
    with pytest.raises(ArgumentError):
        write_scenes(tmp_path / "made", **{"task": "detect", "n": {"train": 1}, **arguments})
    assert list(tmp_path.iterdir()) == []
