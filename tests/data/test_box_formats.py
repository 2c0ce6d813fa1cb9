"""Boxes in COCO, Pascal VOC and YOLO files: what is read, what is written, and what damage does."""

from __future__ import annotations

import copy
import json
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data import sources
from sightline.data.sources import coco, voc, yolo, yolo_config
from sightline.errors import DataError
from sightline.structures import Boxes, Dataset, Sample

SHARED = Path(__file__).parents[3] / "shared"
FORMATS = {"coco": coco.FORMAT, "voc": voc.FORMAT, "yolo": yolo.FORMAT}
each_format = pytest.mark.parametrize("name", FORMATS)


def put(path: Path, size: tuple[int, int] = (20, 10)) -> Path:
    """An image of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def say(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def read(root: Path, name: str) -> Dataset:
    dataset = FORMATS[name].read(root, "detect")
    assert (dataset.task, dataset.format) == ("detect", name)
    return dataset


def rewritten(dataset: Dataset, folder: Path, name: str) -> Dataset:
    """The data set as it is after it has been written in a format and read again."""
    folder.mkdir()
    FORMATS[name].write(dataset, folder)
    again = read(folder, name)
    assert again.problems == ()
    return again


def content(dataset: Dataset, split: str) -> dict[str, list[tuple[str, list[float]]]]:
    """The named boxes of each image of a split, by the image's stem."""
    found = {}
    for sample in dataset.splits[split]:
        labels = [dataset.classes[i] if i >= 0 else None for i in sample.boxes.labels]
        found[sample.path.stem] = list(zip(labels, sample.boxes.xyxy.tolist(), strict=True))
    return found


def assert_same(one: Dataset, other: Dataset, within: float = 0.001) -> None:
    assert (set(one.splits), one.given) == (set(other.splits), other.given)
    for split in one.splits:
        mine, theirs = content(one, split), content(other, split)
        assert mine.keys() == theirs.keys()
        for stem, boxes in mine.items():
            assert [name for name, _ in boxes] == [name for name, _ in theirs[stem]]
            both = [np.array([box for _, box in each]) for each in (boxes, theirs[stem])]
            assert np.allclose(*both, rtol=0, atol=within)


def problems(dataset: Dataset) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.path.name) for problem in dataset.problems)


def boxes_of(dataset: Dataset, stem: str) -> list[list[float]]:
    return next(s for s in dataset.samples if s.path.stem == stem).boxes.xyxy.tolist()


# --- real data -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bccd() -> Dataset:
    return real("bccd", "voc")


@pytest.fixture(scope="module")
def nuclei() -> Dataset:
    return real("nuclei", "coco")


def real(folder: str, name: str) -> Dataset:
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip(f"the images are not here (a folder shared/data/{folder} beside the project)")
    return read(SHARED / "data" / folder, name)


def test_the_blood_cells_have_the_published_numbers(bccd):
    assert {split: len(samples) for split, samples in bccd.splits.items()} == {
        "train": 205,
        "validation": 87,
        "test": 72,
    }
    counts = np.sum([bccd.counts(split) for split in bccd.splits], axis=0)
    assert dict(zip(bccd.classes, counts.tolist(), strict=True)) == {"Platelets": 361, "RBC": 4155, "WBC": 372}
    assert sum(len(sample.boxes) for sample in bccd.samples) == 4888
    assert bccd.problems == ()
    assert {sample.size for sample in bccd.samples} == {(480, 640)}


def test_the_nuclei_have_the_published_numbers(nuclei):
    assert {split: len(samples) for split, samples in nuclei.splits.items()} == {"train": 267, "validation": 67}
    assert (nuclei.classes, nuclei.given, nuclei.problems) == (("nucleus",), ("train", "validation"), ())
    assert (nuclei.counts("train"), nuclei.counts("validation")) == ([7519], [2024])


def test_boxes_without_area_are_kept(bccd):
    for stem in ("BloodImage_00343", "BloodImage_00338"):
        assert [box for box in boxes_of(bccd, stem) if box[0] == box[2] or box[1] == box[3]]


CHAINS = {
    ("bccd", 4888): ["coco", "yolo", "voc", "yolo", "coco", "voc"],  # from VOC: each of the six pairs once
    ("nuclei", 9543): ["voc", "yolo", "coco"],  # from COCO
}


@pytest.mark.parametrize(("data", "boxes"), CHAINS)
def test_real_data_keeps_every_box_from_each_format_to_each(tmp_path, data, boxes, request, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of files that need not survive a crash,
    monkeypatch.setattr("shutil.copyfile", lambda source, copy: os.symlink(os.path.realpath(source), copy) or copy)
    original = dataset = request.getfixturevalue(data)
    for step, name in enumerate(CHAINS[data, boxes]):
        dataset = rewritten(dataset, tmp_path / f"{step}-{name}", name)
        assert_same(original, dataset)
        assert sum(len(sample.boxes) for sample in dataset.samples) == boxes
        assert sources.recognise(dataset.root, "detect").name == name


# --- round trips -----------------------------------------------------------------------------------------------

coordinate = st.floats(-500, 500) | st.integers(-50, 50).map(float)
words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
class_names = words | st.sampled_from(
    ["yes", "1", "null", "a: b", "<b>&amp;", "tab le", "'", '"', "#", "- x", "*", "é ü"]
)
stems = st.sampled_from(["a", "b c", "ü&<", "x.jpg", "classes", "1 2", "A", "100%", "train", "it's", '"q"'])


@st.composite
def data_sets(draw) -> tuple[list[str], dict[str, list[tuple[str, str, list[tuple[list[float], int]]]]]]:
    """Class names, and by split the images' stems, suffixes and boxes."""
    classes = draw(st.lists(class_names, min_size=1, max_size=4, unique=True))
    splits = draw(st.sampled_from([("all",), ("train",), ("train", "validation"), ("train", "validation", "test")]))
    box = st.tuples(st.lists(coordinate, min_size=4, max_size=4), st.integers(0, len(classes) - 1))
    image = st.tuples(stems, st.sampled_from([".png", ".jpg"]), st.lists(box, max_size=4))
    return classes, {split: draw(st.lists(image, min_size=1, max_size=3)) for split in splits}


@settings(max_examples=25, deadline=None)
@given(made=data_sets(), order=st.permutations(list(FORMATS)))
def test_any_boxes_survive_all_formats_in_any_order(made, order):
    classes, splits = made
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        samples = {
            split: tuple(
                Sample(
                    put(root / f"{split}{i}" / (stem + suffix)),
                    boxes=Boxes([b for b, _ in boxes], [n for _, n in boxes]),
                )
                for i, (stem, suffix, boxes) in enumerate(images)
            )
            for split, images in splits.items()
        }
        given_splits = tuple(split for split in samples if split != "all")
        dataset = Dataset(root, tuple(classes), samples, given_splits, task="detect")
        for name in order:
            dataset = rewritten(dataset, root / name, name)
            assert dataset.classes == tuple(classes)
            assert dataset.given == given_splits
        for split, images in splits.items():  # names may have changed where they met, the boxes may not
            wanted = Counter(_rounded(boxes) for _, _, boxes in images)
            assert wanted == Counter(_rounded(_pairs(sample)) for sample in dataset.splits[split])


def _pairs(sample: Sample) -> list[tuple[list[float], int]]:
    return list(zip(sample.boxes.xyxy.tolist(), sample.boxes.labels.tolist(), strict=True))


def _rounded(boxes: list[tuple[list[float], int]]) -> tuple[tuple[int, ...], ...]:
    """Boxes to 0.01, to compare them in any order; the shift keeps round numbers off the edges of rounding."""
    return tuple((label, *(round(value * 100 + 0.123) for value in box)) for box, label in boxes)


@each_format
def test_images_of_one_name_stay_apart(tmp_path, name):
    pictures = [
        put(tmp_path / place / file) for place, file in (("1", "a.png"), ("2", "a.png"), ("3", "a.jpg"), ("4", "A.png"))
    ]
    samples = [Sample(path, boxes=Boxes([[i, 0, 9, 9]], [0])) for i, path in enumerate(pictures)]
    splits = {"train": tuple(samples[:3]), "validation": tuple(samples[3:])}
    again = rewritten(Dataset(tmp_path, ("x",), splits, ("train", "validation"), task="detect"), tmp_path / "new", name)
    assert sorted(round(sample.boxes.xyxy[0, 0], 9) for sample in again.splits["train"]) == [0, 1, 2]
    assert [round(sample.boxes.xyxy[0, 0], 9) for sample in again.splits["validation"]] == [3]


@each_format
def test_a_class_without_boxes_keeps_its_place(tmp_path, name):
    sample = Sample(put(tmp_path / "a.png"), boxes=Boxes([[0, 0, 1, 1]], [2]))
    dataset = Dataset(tmp_path, ("zebra", "unseen", "ant"), {"all": (sample,)}, task="detect")
    assert rewritten(dataset, tmp_path / "new", name).classes == ("zebra", "unseen", "ant")


@each_format
@pytest.mark.parametrize(
    ("boxes", "classes", "says"),
    [
        (Boxes([[0, 0, 1, 1]], [-1]), ("x",), "no class"),
        (Boxes([[0, 0, 1, 1]], [1]), ("x",), "no class"),
        (Boxes([[0, np.nan, 1, 1]], [0]), ("x",), "no file can hold"),
        (Boxes([[0, 0, np.inf, 1]], [0]), ("x",), "no file can hold"),
        (None, ("x",), "no boxes"),
        (Boxes([[0, 0, 1, 1]], [0]), ("x\ny",), "label files cannot hold"),
        (Boxes([[0, 0, 1, 1]], [0]), ("\ud800",), "label files cannot hold"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, boxes, classes, says):
    sample = Sample(put(tmp_path / "a.png"), boxes=boxes)
    with pytest.raises(DataError, match=says):
        FORMATS[name].write(Dataset(tmp_path, classes, {"all": (sample,)}, task="detect"), tmp_path / "new")


@each_format
def test_writing_an_image_that_is_gone_names_it(tmp_path, name):
    sample = Sample(tmp_path / "gone.png", boxes=Boxes([[0, 0, 1, 1]], [0]), size=(5, 5))
    with pytest.raises(DataError, match=r"gone\.png"):
        FORMATS[name].write(Dataset(tmp_path, ("x",), {"all": (sample,)}, task="detect"), tmp_path / "new")


# --- COCO ------------------------------------------------------------------------------------------------------


def document(*names: str, boxes: list[dict] | None = None, categories: dict[int, str] | None = None) -> dict:
    """COCO's for images with the ids 1, 2, ...; a box [1, 2, 3, 4] in each unless `boxes` says otherwise."""
    images = [{"id": i, "file_name": name, "width": 20, "height": 10} for i, name in enumerate(names, 1)]
    if boxes is None:
        boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4]} for i in range(1, len(names) + 1)]
    named = [{"id": number, "name": name} for number, name in (categories or {1: "cat"}).items()]
    return {"images": images, "annotations": boxes, "categories": named}


@pytest.mark.parametrize(
    ("label_file", "image", "file_name"),
    [
        ("labels.json", "a.png", "a.png"),
        ("labels.json", "images/a.png", "a.png"),
        ("labels.json", "images/a.png", "images/a.png"),
        ("labels.json", "images/deep/a.png", "deep/a.png"),
        ("labels.json", "images/deep/a.png", "deep\\a.png"),
        ("annotations/instances.json", "images/a.png", "a.png"),
        ("annotations/instances.json", "annotations/a.png", "a.png"),
        ("annotations/instances_train2017.json", "train2017/a.png", "a.png"),
        ("annotations/instances_train2017.json", "images/train2017/a.png", "a.png"),
        ("annotations/train.json", "train/a.png", "a.png"),
        ("annotations/train.json", "images/train/a.png", "a.png"),
        ("train.json", "train/images/a.png", "a.png"),
        ("annotations/instances_train.json", "images/a.png", "a.png"),
        ("train/_annotations.coco.json", "train/a.png", "a.png"),
        ("annotations/instances.json", "images/train/a.png", "a.png"),
    ],
)
def test_coco_finds_its_images_in_all_usual_places(tmp_path, label_file, image, file_name):
    put(tmp_path / image)
    path = say(tmp_path / label_file, document(file_name))
    assert coco.seen(tmp_path)
    dataset = read(tmp_path, "coco")
    assert dataset.given == (("train",) if "train" in label_file else ())
    assert dataset.samples == (Sample(tmp_path / image, boxes=Boxes([[1, 2, 4, 6]], [0]), size=(10, 20)),)
    assert dataset.root == tmp_path
    if "_annotations" not in label_file:
        assert read(path, "coco").samples == dataset.samples


def test_coco_splits_prefer_the_image_in_their_own_folder(tmp_path):
    for split in ("train", "val"):
        put(tmp_path / "images" / split / "a.png")
        say(tmp_path / "annotations" / f"instances_{split}.json", document("a.png"))
    dataset = read(tmp_path, "coco")
    assert {s: samples[0].path.parent.name for s, samples in dataset.splits.items()} == {
        "train": "train",
        "validation": "val",
    }


def test_coco_joins_categories_of_several_files_by_name(tmp_path):
    for name, categories in (("train", {7: "dog", 3: "cat"}), ("val", {3: "dog", 4: "cat", 5: "ant"})):
        put(tmp_path / "images" / f"{name}.png")
        box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}
        say(tmp_path / f"{name}.json", document(f"{name}.png", boxes=[box], categories=categories))
    dataset = read(tmp_path, "coco")
    assert dataset.classes == ("cat", "ant", "dog")
    assert content(dataset, "train")["train"] == [("cat", [0, 0, 1, 1])]
    assert content(dataset, "validation")["val"] == [("dog", [0, 0, 1, 1])]


def test_coco_reads_instances_and_not_captions_beside_them(tmp_path):
    put(tmp_path / "images" / "a.png")
    say(tmp_path / "annotations" / "instances_train.json", document("a.png"))
    say(tmp_path / "annotations" / "captions_train.json", {"images": [], "annotations": [{"caption": "a cat"}]})
    dataset = read(tmp_path, "coco")
    assert (len(dataset.samples), dataset.problems) == (1, ())


def test_coco_one_file_takes_its_splits_from_lists(tmp_path):
    for name in ("a", "b", "c"):
        put(tmp_path / "images" / f"{name}.png")
    say(tmp_path / "instances.json", document("a.png", "b.png", "c.png"))
    say(tmp_path / "train.txt", "a\n")
    say(tmp_path / "val.txt", "b.png\n")
    dataset = read(tmp_path, "coco")
    assert (list(content(dataset, "train")), list(content(dataset, "validation"))) == (["a"], ["b"])
    assert problems(dataset) == [("not-listed", "c.png")]


def test_coco_crowds_polygons_unknown_categories_and_empty_images(tmp_path):
    for name in "abcd":
        put(tmp_path / f"{name}.png")
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": 1, "area": 3},
        {"id": 5, "image_id": 1, "category_id": 1, "segmentation": {"counts": [], "size": [10, 20]}, "iscrowd": 1},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[5, 1, 9.5, 2, 6, 8], [4, 3, 5, 3, 5, 4]]},
        {"id": 3, "image_id": 2, "category_id": 9, "bbox": [5, 5, -2, 0]},
        {"id": 4, "image_id": 3, "category_id": 1, "bbox": [float("nan"), 0, 100, 1e300]},
    ]
    say(tmp_path / "labels.json", document("a.png", "b.png", "c.png", "d.png", boxes=boxes))
    dataset = read(tmp_path, "coco")
    assert dataset.problems == ()
    a, b, c, d = dataset.splits["all"]
    assert a.boxes == Boxes([[1, 1, 3, 3], [4, 1, 9.5, 8]], [0, 0], crowd=[True, False], area=[3, 38.5])
    assert b.boxes == Boxes([[5, 5, 3, 5]], [-1])
    assert c.boxes == Boxes([[np.nan, 0, np.nan, 1e300]], [0])
    assert d.boxes == Boxes()


def test_marks_come_back_from_the_files_that_carry_them(tmp_path):
    marked = Boxes([[1, 1, 9, 8], [2, 2, 5, 6]], [0, 1], crowd=[False, True], ignored=[True, False], area=[30.5, 12])
    dataset = Dataset(
        tmp_path, ("cat", "dog"), {"train": (Sample(put(tmp_path / "a.png"), boxes=marked),)}, ("train",), task="detect"
    )
    (said,) = rewritten(dataset, tmp_path / "coco", "coco").samples
    assert said.boxes == Boxes(marked.xyxy, marked.labels, crowd=marked.crowd, area=marked.area)
    (said,) = rewritten(dataset, tmp_path / "voc", "voc").samples
    assert said.boxes == Boxes(marked.xyxy, marked.labels, ignored=marked.ignored)
    chosen = sources.only_classes(rewritten(dataset, tmp_path / "again", "coco"), ["dog"])
    assert chosen.samples[0].boxes == Boxes([[2, 2, 5, 6]], [0], crowd=[True], area=[12])
    (alone,) = sources.one_box_each(rewritten(dataset, tmp_path / "one", "coco")).samples
    assert (alone.label, len(alone.boxes)) == (0, 1)


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "{outside}/secret.png", "..\\secret.png"])
def test_coco_never_follows_a_name_out_of_its_folder(tmp_path, name):
    put(tmp_path / "secret.png")
    put(tmp_path / "data" / "a.png")
    say(tmp_path / "data" / "labels.json", document("a.png", name.format(outside=tmp_path)))
    dataset = read(tmp_path / "data", "coco")
    assert [sample.path.name for sample in dataset.samples] == ["a.png"]
    assert problems(dataset) == [("label-damaged", "labels.json")]
    assert "outside" in dataset.problems[0].reason


def test_coco_an_absolute_name_inside_is_found(tmp_path):
    path = put(tmp_path / "pictures" / "a.png")
    say(tmp_path / "labels.json", document(str(path)))
    assert read(tmp_path, "coco").samples[0].path == path


def test_coco_names_an_image_that_is_missing_and_one_that_comes_twice(tmp_path):
    put(tmp_path / "images" / "a.png")
    say(tmp_path / "train.json", document("a.png", "gone.png", "a.png"))
    say(tmp_path / "val.json", document("a.png"))
    dataset = read(tmp_path, "coco")
    assert [s.path.name for s in dataset.samples] == ["a.png"]
    assert problems(dataset) == [
        ("image-missing", "gone.png"),
        ("label-damaged", "train.json"),
        ("label-damaged", "val.json"),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        None, [], 7, "x", {}, {"image_id": 99}, {"bbox": [1, 2, 3]}, {"bbox": [1, 2, 3, "4"]}, {"bbox": {"x": 1}},
        {"bbox": [1, 2, 3, None]}, {"bbox": [1, 2, 3, True]}, {"bbox": [1, 2, 3, 10**400]}, {"image_id": [1]},
        {"image_id": {}}, {"image_id": 1.5}, {"category_id": "x" * 10**5, "bbox": 3}, {"category_id": [1]},
        {"bbox": [], "segmentation": [[1, 2, 3]]}, {"bbox": None, "segmentation": {"counts": "abc"}},
        {"id": [[[[[[[[[1]]]]]]]]], "bbox": "x"}, {"bbox": [[[[]]]] * 4}, {"id": 10**1000, "bbox": 0},
    ],
)  # fmt: skip
def test_coco_an_annotation_that_is_damaged_is_named_and_the_others_stay(tmp_path, entry):
    put(tmp_path / "a.png")
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}
    bad = {**good, "id": 12345, **entry} if isinstance(entry, dict) and entry else entry
    say(tmp_path / "labels.json", document("a.png", boxes=[bad, good]))
    dataset = read(tmp_path, "coco")
    assert boxes_of(dataset, "a") == [[0, 0, 5, 5]]
    (problem,) = dataset.problems
    assert (problem.kind, problem.path.name) == ("label-damaged", "labels.json")
    assert len(problem.reason) < 300
    if isinstance(entry, dict) and entry and "id" not in entry:
        assert "12345" in problem.reason


@pytest.mark.parametrize(
    "image",
    [None, 3, {}, {"id": 2}, {"id": 2, "file_name": 5}, {"id": None, "file_name": "a.png"}, {"id": [], "file_name": "a.png"},
     {"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "a\0.png"}, {"id": 2, "file_name": "\ud800.png"},
     {"id": 2, "file_name": "x" * 5000 + ".png"}, {"id": 2, "file_name": ""}, {"id": 2, "file_name": "labels.json"}],
)  # fmt: skip
def test_coco_an_image_entry_that_is_damaged_is_named(tmp_path, image):
    put(tmp_path / "a.png")
    written = document("a.png")
    written["images"].append(image)
    say(tmp_path / "labels.json", written)
    dataset = read(tmp_path, "coco")
    assert len(dataset.samples) == 1
    assert problems(dataset) == [("label-damaged", "labels.json")]


@pytest.mark.parametrize(
    "category",
    [None, [], {"id": 2}, {"name": "x"}, {"id": 2, "name": 3}, {"id": 1, "name": "other"}, {"id": 2, "name": " \n"}],
)
def test_coco_a_category_that_is_damaged_is_named(tmp_path, category):
    put(tmp_path / "a.png")
    written = document("a.png")
    written["categories"].append(category)
    say(tmp_path / "labels.json", written)
    dataset = read(tmp_path, "coco")
    assert dataset.classes == ("cat",)
    assert problems(dataset) == [("label-damaged", "labels.json")]


@pytest.mark.parametrize("side", [0, -3, "20", None, [], 1e400, 10**400, True])
def test_coco_a_size_that_is_none_is_left_out(tmp_path, side):
    put(tmp_path / "a.png")
    written = document("a.png")
    written["images"][0]["width"] = side
    say(tmp_path / "labels.json", written)
    assert read(tmp_path, "coco").samples[0].size is None


def test_coco_of_many_damaged_entries_twenty_are_named_and_the_rest_counted(tmp_path):
    put(tmp_path / "a.png")
    say(tmp_path / "labels.json", document("a.png", boxes=[{"id": i, "image_id": 77} for i in range(1000)]))
    reasons = [problem.reason for problem in read(tmp_path, "coco").problems]
    assert len(reasons) == 21
    assert "980 more" in reasons[-1]


BAD_JSON = {
    "empty": "", "text": "hello", "half": '{"images": [{"id": 1, "file_name": "a.png"}, ', "list": "[]", "null": "null",
    "deep": '{"images": ' + "[" * 200_000, "deep object": '{"images": [' + '{"a":' * 200_000,
    "no categories": '{"images": [], "annotations": []}', "wrong": '{"images": {}, "annotations": 3, "categories": null}',
    "huge number": '{"images": [' + "9" * 100_000 + '], "annotations": [], "categories": []}',
    "nothing": '{"images": [], "annotations": [], "categories": []}', "zeros": "\0" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_coco_a_damaged_file_is_an_error_alone_and_a_problem_beside_others(tmp_path, text):
    path = say(tmp_path / "train.json", text)
    with pytest.raises(DataError, match=r"train\.json"):
        read(tmp_path, "coco")
    if text == BAD_JSON["nothing"]:
        return
    put(tmp_path / "a.png")
    say(tmp_path / "labels.json", document("a.png"))
    dataset = read(tmp_path, "coco")
    assert (len(dataset.samples), problems(dataset)) == (1, [("label-damaged", path.name)])


def test_coco_is_recognised_from_the_beginning_of_a_file_alone(tmp_path):
    path = say(tmp_path / "big.json", '{"images": [' + " " * 5_000_000 + "not JSON at all")
    began = time.perf_counter()
    assert "big.json" in coco.seen(tmp_path)
    assert coco.seen(path) is not None
    assert time.perf_counter() - began < 0.5


def test_coco_is_found_among_many_other_json_files(tmp_path):
    put(tmp_path / "a.png")
    for i in range(300):
        say(tmp_path / f"{i}.json", "{}")
    say(tmp_path / "my_coco.json", document("a.png"))
    assert read(tmp_path, "coco").problems == ()


@pytest.mark.parametrize("text", ['{"name": "x"}', '["images"]', '{"images": 3}', '{"shapes": []}', ""])
def test_other_json_is_not_taken_for_coco(tmp_path, text):
    say(tmp_path / "other.json", text)
    assert coco.seen(tmp_path) is None


# --- Pascal VOC ------------------------------------------------------------------------------------------------


def xml(*boxes: tuple[str, object, object, object, object], filename: str = "", size: str = "") -> str:
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>{name}</name><bndbox>{''.join(f'<{c}>{v}</{c}>' for c, v in zip(corners, box, strict=True))}</bndbox></object>"
        for name, *box in boxes
    ]
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


CAT = ("cat", 1, 2, 4, 6)


@pytest.mark.parametrize(
    ("label_file", "image", "split"),
    [
        ("Annotations/a.xml", "JPEGImages/a.png", None),
        ("annotations/a.xml", "images/a.png", None),
        ("annotations/xmls/a.xml", "images/a.png", None),
        ("a.xml", "a.png", None),
        ("train/a.xml", "train/a.png", "train"),
        ("train/Annotations/a.xml", "train/JPEGImages/a.png", "train"),
        ("Annotations/train/a.xml", "JPEGImages/train/a.png", "train"),
    ],
)
def test_voc_finds_its_images_in_all_usual_places(tmp_path, label_file, image, split):
    put(tmp_path / image)
    say(tmp_path / label_file, xml(CAT, size="<size><width>20</width><height>10</height></size>"))
    assert voc.seen(tmp_path)
    dataset = read(tmp_path, "voc")
    assert dataset.given == ((split,) if split else ())
    assert dataset.samples == (Sample(tmp_path / image, boxes=Boxes([[1, 2, 4, 6]], [0]), size=(10, 20)),)


def test_voc_takes_the_image_of_the_same_split(tmp_path):
    for split, left in (("train", 1), ("valid", 2)):
        put(tmp_path / split / "a.png")
        say(tmp_path / split / "a.xml", xml(("cat", left, 2, 4, 6)))
    put(tmp_path / "train" / "b.png")
    say(tmp_path / "valid" / "b.xml", xml(CAT))
    dataset = read(tmp_path, "voc")
    assert dataset.splits["validation"][0].boxes.xyxy[0, 0] == 2
    assert dataset.splits["validation"][0].path == tmp_path / "valid" / "a.png"
    assert problems(dataset) == [("image-missing", "b.xml"), ("label-missing", "b.png")]


def test_voc_pairs_by_stem_first_and_by_filename_then(tmp_path):
    for name in ("a", "b", "c"):
        put(tmp_path / "JPEGImages" / f"{name}.png")
    say(tmp_path / "Annotations" / "a.xml", xml(("own", 0, 0, 1, 1), filename="b.png"))
    say(tmp_path / "Annotations" / "x.xml", xml(("other", 0, 0, 1, 1), filename="C:\\pictures\\b.jpg"))
    say(tmp_path / "Annotations" / "y.xml", xml(CAT, filename="../../c"))
    say(tmp_path / "Annotations" / "z.xml", xml(CAT, filename="c.png"))
    dataset = read(tmp_path, "voc")
    found = content(dataset, "all")
    assert {stem: boxes[0][0] for stem, boxes in found.items()} == {"a": "own", "b": "other", "c": "cat"}
    assert problems(dataset) == [("label-damaged", "z.xml")]


def test_voc_masks_beside_are_no_images(tmp_path):
    put(tmp_path / "JPEGImages" / "a.jpg")
    put(tmp_path / "SegmentationClass" / "a.png")
    say(tmp_path / "Annotations" / "a.xml", xml(CAT))
    dataset = read(tmp_path, "voc")
    assert [s.path.name for s in dataset.samples] == ["a.jpg"]
    assert dataset.problems == ()


def test_voc_missing_images_missing_labels_and_images_without_objects(tmp_path):
    put(tmp_path / "images" / "empty.png")
    put(tmp_path / "images" / "alone.png")
    say(tmp_path / "annotations" / "empty.xml", xml())
    say(tmp_path / "annotations" / "gone.xml", xml(CAT))
    dataset = read(tmp_path, "voc")
    assert content(dataset, "all") == {"empty": []}
    assert problems(dataset) == [("image-missing", "gone.xml"), ("label-missing", "alone.png")]


def test_voc_classes_are_in_the_order_of_a_list_where_there_is_one(tmp_path):
    put(tmp_path / "a.png")
    say(tmp_path / "a.xml", xml(("cat", 0, 0, 1, 1), ("ant", 0, 0, 1, 1), ("bee", 0, 0, 1, 1)))
    assert read(tmp_path, "voc").classes == ("ant", "bee", "cat")
    say(tmp_path / "labels.txt", "cat\nant\n\n")
    dataset = read(tmp_path, "voc")
    assert dataset.classes == ("cat", "ant")
    assert dataset.samples[0].boxes.labels.tolist() == [0, 1, -1]


BAD_XML = {
    "empty": "", "text": "hello", "half": xml(CAT)[:-20], "other": "<annotations/>", "no box": "<annotation><object><name>x</name></object></annotation>",
    "nan": xml(("cat", "nan", 0, 1, 1)), "inf": xml(("cat", 0, "inf", 1, 1)), "word": xml(("cat", 0, 0, "one", 1)),
    "missing": xml(("cat", 0, 0, 1, "")), "underscore": xml(("cat", 0, 0, 1, "1_0")), "long": xml(("cat", 0, 0, 1, "9" * 100_000)),
    "no name": xml(("", 0, 0, 1, 1)), "one bad object": xml(CAT, ("cat", 0, 0, 1, "x")), "zero byte": xml(("c\0t", 0, 0, 1, 1)),
    "bomb": '<!DOCTYPE l [<!ENTITY a "lol">' + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]>" + xml(("&j;", 0, 0, 1, 1)),
    "file": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + xml(("&a;", 0, 0, 1, 1)),
    "deep": "<annotation>" + "<a>" * 300_000, "encoding": '<?xml version="1.0" encoding="nonsense"?>' + xml(CAT),
    "two-byte": '<?xml version="1.0" encoding="gb2312"?>' + xml(CAT), "utf-7": '<?xml version="1.0" encoding="utf-7"?>' + xml(CAT),
    "large": "<annotation>" + " " * 9_000_000 + "</annotation>",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_XML.values(), ids=BAD_XML)
def test_voc_a_damaged_file_is_a_problem_and_leaves_its_image_out(tmp_path, text):
    for name in ("bad", "good"):
        put(tmp_path / f"{name}.png")
    say(tmp_path / "bad.xml", text)
    with pytest.raises(DataError, match=r"bad\.xml"):
        read(tmp_path, "voc")
    say(tmp_path / "good.xml", xml(CAT))
    began = time.perf_counter()
    dataset = read(tmp_path, "voc")
    assert time.perf_counter() - began < 5
    assert content(dataset, "all") == {"good": [("cat", [1, 2, 4, 6])]}
    assert problems(dataset) == [("label-damaged", "bad.xml")]


def test_voc_hides_no_entity_in_another_encoding(tmp_path):
    put(tmp_path / "bad.png")
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE l [<!ENTITY a "lol">]>' + xml(("&a;", 0, 0, 1, 1))
    (tmp_path / "bad.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match=r"bad\.xml"):
        read(tmp_path, "voc")


def test_voc_reads_a_declared_latin_encoding(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "a.xml").write_bytes(
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + xml(("é", 0, 0, 1, 1))).encode("latin-1")
    )
    assert read(tmp_path, "voc").classes == ("é",)


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width>x</width><height>-1</height></size>",
    ],
)
def test_voc_a_size_that_is_none_is_left_out(tmp_path, size):
    put(tmp_path / "a.png")
    say(tmp_path / "a.xml", xml(CAT, size=size))
    assert read(tmp_path, "voc").samples[0].size is None


def test_other_xml_is_not_taken_for_voc(tmp_path):
    say(tmp_path / "a.xml", "<annotations><image/></annotations>")
    assert voc.seen(tmp_path) is None


# --- YOLO ------------------------------------------------------------------------------------------------------

ROW = "0 0.5 0.5 0.5 0.2\n"  # of an image of 20 x 10: 5, 4, 15, 6


@pytest.mark.parametrize(
    ("label_file", "image", "split"),
    [
        ("labels/a.txt", "images/a.png", None),
        ("a.txt", "a.png", None),
        ("labels/train/a.txt", "images/train/a.png", "train"),
        ("train/labels/a.txt", "train/images/a.png", "train"),
        ("labels/train2017/a.txt", "images/train2017/a.png", "train"),
        ("train/a.txt", "train/a.png", "train"),
        ("train/labels/a.txt", "train/a.png", "train"),
        ("labels/a.txt", "JPEGImages/a.png", None),
    ],
)
def test_yolo_finds_labels_in_all_usual_places(tmp_path, label_file, image, split):
    put(tmp_path / image)
    say(tmp_path / label_file, ROW)
    assert yolo.seen(tmp_path)
    dataset = read(tmp_path, "yolo")
    assert dataset.classes == ("0",)
    assert dataset.given == ((split,) if split else ())
    assert dataset.samples == (Sample(tmp_path / image, boxes=Boxes([[5, 4, 15, 6]], [0])),)


def yolo_folder(root: Path, config: str, *images: str) -> Path:
    for image in images:
        put(root / image)
        say((root / image.replace("images", "labels")).with_suffix(".txt"), ROW)
    return say(root / "data.yaml", config)


@pytest.mark.parametrize(
    "config",
    [
        "train: images/train\nval: images/val\nnames: [cat]",
        "train: ../images/train\nval: ../images/val\nnames: [cat]",
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat}",
        "path: /nowhere/at/all\ntrain: images/train\nval: images/val\nnames:\n  0: cat",
        "train: [images/train]\nvalid: [images/val]\nnames: [cat]",
        "train: images/train\nval: images/val\ntest: ''\nnames: [cat]",
        "train: images/train\nval: images/val\ntest:\nnames: ['cat']",
        "train: train.txt\nval: images/val\nnames: [cat]",
        "names: [cat]",
        "{names: [cat], train: images/train, val: images/val}",
    ],
)
def test_yolo_config_in_its_usual_forms(tmp_path, config):
    path = yolo_folder(tmp_path, config, "images/train/a.png", "images/val/b.png")
    if "train.txt" in config:
        say(tmp_path / "train.txt", "./images/train/a.png\n\n")
    for root in (tmp_path, path):
        assert yolo.seen(root)
        dataset = read(root, "yolo")
        assert (dataset.classes, dataset.given, dataset.problems) == (("cat",), ("train", "validation"), ())
        assert (list(content(dataset, "train")), list(content(dataset, "validation"))) == (["a"], ["b"])


def test_yolo_config_may_lie_elsewhere_than_the_images(tmp_path):
    yolo_folder(tmp_path / "pictures", "", "images/train/a.png")
    (tmp_path / "pictures" / "data.yaml").unlink()
    path = say(tmp_path / "configs" / "mine.yaml", "path: ../pictures\ntrain: images/train\nnames: [cat]")
    dataset = read(path, "yolo")
    assert dataset.root == tmp_path / "pictures"
    assert dataset.samples[0].path == tmp_path / "pictures" / "images" / "train" / "a.png"


def test_yolo_a_folder_that_the_config_names_and_that_is_not_there_is_a_problem(tmp_path):
    yolo_folder(tmp_path, "train: images/train\ntest: images/test\nnames: [cat]", "images/train/a.png")
    dataset = read(tmp_path, "yolo")
    assert (dataset.given, problems(dataset)) == (("train",), [("image-missing", "test")])


def test_yolo_a_config_that_names_a_folder_around_its_own_is_not_followed(tmp_path):
    yolo_folder(tmp_path, "train: images/train\nval: /\nnames: [cat]", "images/train/a.png")
    began = time.perf_counter()
    dataset = read(tmp_path, "yolo")
    assert time.perf_counter() - began < 5
    assert (dataset.given, problems(dataset)) == (("train",), [("label-damaged", "data.yaml")])


def test_yolo_the_same_images_for_two_splits_count_once(tmp_path):
    yolo_folder(tmp_path, "train: images\nval: images\nnames: [cat]", "images/a.png")
    dataset = read(tmp_path, "yolo")
    assert (dataset.given, problems(dataset)) == (("train",), [("label-damaged", "data.yaml")])


def test_yolo_polygons_unknown_classes_and_gaps_in_the_names(tmp_path):
    put(tmp_path / "images" / "a.png")
    say(tmp_path / "labels" / "a.txt", "2 0.1 0.2 0.5 0.1 0.3 0.9\n1 0.5 0.5 1 1\n-1 0.5 0.5 1 1\n0.0 .5 5e-1 1 1\n\n")
    say(tmp_path / "data.yaml", "names: {0: cat, 2: dog}")
    dataset = read(tmp_path, "yolo")
    assert dataset.classes == ("cat", "dog")
    assert dataset.samples[0].boxes.labels.tolist() == [1, -1, -1, 0]
    assert np.allclose(dataset.samples[0].boxes.xyxy[0], [2, 1, 10, 9])


@pytest.mark.parametrize("place", ["classes.txt", "obj.names", "labels/classes.txt", "labels/train/classes.txt"])
def test_yolo_names_from_a_list(tmp_path, place):
    put(tmp_path / "images" / "train" / "a.png")
    say(tmp_path / "labels" / "train" / "a.txt", "1 .5 .5 1 1")
    say(tmp_path / place, "cat\nbig dog\n")
    dataset = read(tmp_path, "yolo")
    assert dataset.classes == ("cat", "big dog")
    assert dataset.problems == ()


def test_yolo_without_names_the_classes_are_numbers_up_to_the_highest(tmp_path):
    put(tmp_path / "a.png")
    say(tmp_path / "a.txt", "3 .5 .5 1 1\n999999999 .5 .5 1 1")
    dataset = read(tmp_path, "yolo")
    assert dataset.classes == ("0", "1", "2", "3")
    assert dataset.samples[0].boxes.labels.tolist() == [3, -1]


def test_yolo_an_image_without_a_label_is_background_and_named_where_others_have_one(tmp_path):
    for image in ("images/train/a.png", "images/train/b.png", "images/val/c.png", "images/val/d.png"):
        put(tmp_path / image)
    say(tmp_path / "labels" / "train" / "a.txt", ROW)
    say(tmp_path / "labels" / "train" / "gone.txt", ROW)
    say(tmp_path / "labels" / "train" / "classes.txt", "cat")
    dataset = read(tmp_path, "yolo")
    assert content(dataset, "train")["b"] == []
    assert content(dataset, "validation") == {"c": [], "d": []}
    assert problems(dataset) == [("image-missing", "gone.txt"), ("label-missing", "b.png"), ("label-missing", "val")]


def test_yolo_shares_are_of_the_upright_image(tmp_path):
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(put(tmp_path / "a.jpg"), exif=exif)
    say(tmp_path / "a.txt", "0 0.5 0.5 1 1")
    assert boxes_of(read(tmp_path, "yolo"), "a") == [[0, 0, 10, 20]]


def test_yolo_an_image_that_cannot_be_opened_is_named(tmp_path):
    put(tmp_path / "a.png")
    say(tmp_path / "b.png", "no image")
    for name in ("a", "b"):
        say(tmp_path / f"{name}.txt", ROW)
    dataset = read(tmp_path, "yolo")
    assert [s.path.name for s in dataset.samples] == ["a.png"]
    assert problems(dataset) == [("unreadable", "b.png")]


BAD_ROWS = {
    "short": "0 0.5 0.5 0.5", "one": "0", "six": "0 .5 .5 .5 .5 .9", "word": "cat .5 .5 .5 .5", "half class": "0.5 .5 .5 .5 .5",
    "nan": "0 nan .5 .5 .5", "inf": "0 inf .5 .5 .5", "huge": "0 1e999 .5 .5 .5", "huge class": "1e300 .5 .5 .5 .5",
    "long": "0 " + "1" * 100_000 + " 1 1 1", "underscore": "0 1_0 1 1 1", "second": ROW + "x", "even": "0 1 2 3 4 5 6 7",
    "comma": "0,.5,.5,.5,.5", "zero byte": "0 .5 .5 .5 \0", "json": "{}",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_ROWS.values(), ids=BAD_ROWS)
def test_yolo_a_damaged_row_leaves_its_image_out(tmp_path, text):
    put(tmp_path / "images" / "bad.png")
    say(tmp_path / "labels" / "bad.txt", text)
    with pytest.raises(DataError, match=r"bad\.txt"):
        read(tmp_path, "yolo")
    put(tmp_path / "images" / "good.png")
    say(tmp_path / "labels" / "good.txt", ROW)
    dataset = read(tmp_path, "yolo")
    assert [s.path.stem for s in dataset.samples] == ["good"]
    assert problems(dataset) == [("label-damaged", "bad.txt")]
    assert "line" in dataset.problems[0].reason


BAD_YAML = {
    "not yaml": "names: [", "list": "- names: 3", "deep": "names: " + "[" * 400_000, "deep blocks": "names:\n" + "- " * 100_000,
    "deep mappings": "names: " + "{a: " * 100_000, "binary": "names: \0", "names a word": "names: cat",
    "names of lists": "names: [[cat]]", "names by words": "names: {a: cat}", "names beyond": "names: {999999999: cat}",
    "name empty": "names: ['']", "train a mapping": "names: [cat]\ntrain: {a: b}", "train of lists": "names: [cat]\ntrain: [[a]]",
    "loop": "names: &a [*a]", "large": "names: [" + "cat, " * 300_000 + "]",
    "bomb": "names: &a [x]\n" + "".join(f"{chr(97 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9))
    + "train: *j", "merge bomb": "names: {a: 1}\n" + "m0: &m0 {a: 1}\n"
    + "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 12)),
    "surrogate": 'names: ["\\ud800"]', "number": "names: {" + "1" * 10_000 + ": cat}",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
def test_yolo_a_damaged_config_is_an_error_that_names_it(tmp_path, text):
    yolo_folder(tmp_path, text, "images/train/a.png")
    began = time.perf_counter()
    for root in (tmp_path / "data.yaml", tmp_path):
        if root.is_file() or yolo_config._begins_as_config(tmp_path / "data.yaml"):
            with pytest.raises(DataError, match=r"data\.yaml"):
                read(root, "yolo")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "lines", ["\0", "images/gone.png", "../../../../etc/passwd", "x" * 10_000, "images", "\x85\u2028"]
)
def test_yolo_a_damaged_list_of_images_names_what_is_not_there(tmp_path, lines):
    yolo_folder(tmp_path, "train: train.txt\nnames: [cat]", "images/a.png")
    say(tmp_path / "train.txt", f"images/a.png\n{lines}\n")
    dataset = read(tmp_path, "yolo")
    assert [s.path.name for s in dataset.samples] == ["a.png"]
    assert {problem.kind for problem in dataset.problems} <= {"image-missing"}
    assert len(dataset.problems) == (0 if not lines.strip() else 1)


def test_yolo_a_config_runs_no_code(tmp_path):
    config = f"train: images\nnames: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]"
    yolo_folder(tmp_path, config, "images/a.png")
    assert read(tmp_path, "yolo").classes == (str(tmp_path / "made"),)
    assert not (tmp_path / "made").exists()


def test_yolo_names_stay_words_whatever_yaml_makes_of_them(tmp_path):
    yolo_folder(tmp_path, "train: images\nnames: [no, 1, null, 2020-01-01, ~, 1.0]", "images/a.png")
    assert read(tmp_path, "yolo").classes == ("no", "1", "null", "2020-01-01", "~", "1.0")


def test_text_that_is_no_label_is_not_taken_for_yolo(tmp_path):
    put(tmp_path / "cats" / "1.png")
    say(tmp_path / "cats" / "1.txt", "a caption")
    say(tmp_path / "train.txt", "1 2 3 4 5")
    assert yolo.seen(tmp_path) is None
    with pytest.raises(DataError, match=r"1\.txt|no YOLO label"):
        read(tmp_path, "yolo")


# --- any damage ------------------------------------------------------------------------------------------------


def small(tmp_path: Path, name: str) -> tuple[Path, list[Path]]:
    """A small data set in a format, and its label files."""
    samples = [
        Sample(put(tmp_path / f"{i}.png"), boxes=Boxes([[1, 2, 5.5, 6], [0, 0, 9, 9]], [0, 1]), size=(10, 20))
        for i in range(4)
    ]
    splits = {"train": tuple(samples[:3]), "validation": tuple(samples[3:])}
    root = tmp_path / "set"
    FORMATS[name].write(Dataset(tmp_path, ("cat", "dog"), splits, ("train", "validation"), task="detect"), root)
    return root, sorted(path for path in root.rglob("*") if path.suffix in (".json", ".xml", ".txt", ".yaml"))


def try_reading(root: Path, name: str) -> Dataset | None:
    """Seen and read within seconds; the only error is a DataError that names a file of the data set."""
    began = time.perf_counter()
    try:
        FORMATS[name].seen(root)
        dataset, said = read(root, name), str(root)
    except DataError as error:
        dataset, said = None, str(error)
    assert str(root) in said
    assert time.perf_counter() - began < 5
    for problem in dataset.problems if dataset else ():
        assert problem.reason
        f"{problem}".encode()  # it can be printed
    return dataset


@each_format
def test_flipped_bytes_are_at_most_an_error_that_is_named(tmp_path, name):
    root, files = small(tmp_path, name)
    chance = random.Random(0)
    for _ in range(100):
        file = chance.choice(files)
        whole = file.read_bytes()
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 20))):
            damaged[chance.randrange(len(whole))] = chance.randrange(256)
        file.write_bytes(damaged)
        try_reading(root, name)
        file.write_bytes(whole)
    assert try_reading(root, name).problems == ()


@each_format
def test_files_that_end_early_are_named(tmp_path, name):
    root, files = small(tmp_path, name)
    chance = random.Random(0)
    for file in files:
        whole = file.read_bytes()
        for end in [0, 1, *(chance.randrange(1, len(whole)) for _ in range(8))]:
            file.write_bytes(whole[:end])
            dataset = try_reading(root, name)
            if file.suffix in (".json", ".xml") and whole[:end].strip() != whole.strip():
                assert dataset is None or file in {problem.path for problem in dataset.problems}
        file.write_bytes(whole)


JUNK = [
    None,
    True,
    -1,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "../../x.png",
    "\ud800",
    [],
    [[]],
    {},
    {"id": 1},
]


@settings(max_examples=80, deadline=None)
@given(chance=st.randoms(use_true_random=False), junk=st.lists(st.sampled_from(JUNK), min_size=1, max_size=4))
def test_coco_with_anything_anywhere_is_at_most_an_error_that_is_named(chance, junk):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written = document("a.png", "b.png", categories={1: "cat", 2: "dog"})
        put(root / "a.png")
        for value in junk:
            holder, key = chance.choice(list(_places(written)) or [(written, "images")])
            holder[key] = copy.deepcopy(value)
        say(root / "labels.json", written)
        try_reading(root, "coco")


def _places(node: object) -> list[tuple[object, object]]:
    """Each place in a document that holds a value, as its holder and key."""
    pairs = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    return [(node, key) for key, _ in pairs] + [place for _, value in pairs for place in _places(value)]


@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@each_format
def test_any_bytes_for_a_label_file_are_at_most_an_error_that_is_named(name, data):
    suffix = {"coco": ".json", "voc": ".xml", "yolo": ".txt"}[name]
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder) / "a.png")
        (Path(folder) / f"a{suffix}").write_bytes(data)
        try_reading(Path(folder), name)


@each_format
def test_a_folder_that_is_empty_missing_or_no_folder_is_an_error(tmp_path, name):
    assert FORMATS[name].seen(tmp_path) is None
    assert FORMATS[name].seen(tmp_path / "gone") is None
    for root in (tmp_path, tmp_path / "gone", say(tmp_path / "file.bin", "x")):
        with pytest.raises(DataError, match=str(root.name)):
            read(root, name)


@each_format
def test_each_format_is_recognised_as_itself_alone(tmp_path, name):
    root, _ = small(tmp_path, name)
    assert [other for other in FORMATS if FORMATS[other].seen(root)] == [name]
