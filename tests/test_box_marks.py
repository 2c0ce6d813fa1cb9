"""What files mark of boxes, crowds, difficult objects and objects' own areas: as far as into a detector's numbers."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from sightline.data.augment import Example
from sightline.data.census import look
from sightline.data.checks import check, usable
from sightline.data.findings import Check
from sightline.data.mix import mosaic
from sightline.data.sources import read, write
from sightline.data.warp import corners_of, visible
from sightline.runs.folder import describe_data, recorded_split
from sightline.runs.networks import build_network, find_source
from sightline.runs.run import Run, as_metadata
from sightline.structures import Boxes, Dataset, Detections, ImageSpec, Sample
from sightline.tasks.detect import Detect, padded_boxes

CLASSES = ("cat", "dog")
SIDE = 128


def some_boxes(chance, count):
    corner, extent = chance.uniform(0, SIDE - 60, (count, 2)), chance.uniform(12, 60, (count, 2))
    return np.concatenate([corner, corner + extent], 1).round(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twelve pictures of one test split with marks of every kind."""
    folder, chance, samples = tmp_path_factory.mktemp("marks"), np.random.default_rng(0), []
    for number in range(12):
        path = folder / f"{number:02}.png"
        Image.fromarray(chance.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
        xyxy = some_boxes(chance, 5)
        whole = (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
        crowd, ignored = chance.random(5) < 0.25, chance.random(5) < 0.3
        boxes = Boxes(xyxy, chance.integers(0, 2, 5), crowd=crowd, ignored=ignored, area=whole * chance.random(5))
        samples.append(Sample(path, boxes=boxes, size=(SIDE, SIDE)))
    return Dataset(folder, CLASSES, {"test": tuple(samples)}, ("test",), task="detect")


def guesses(samples, seed=1):
    """Detections near the objects of each sample, and others."""
    chance, found = np.random.default_rng(seed), []
    for sample in samples:
        near = np.repeat(sample.boxes.xyxy, 2, 0) + chance.normal(0, 3, (2 * len(sample.boxes), 4))
        labels = np.concatenate([np.repeat(sample.boxes.labels, 2), chance.integers(0, 2, 3)])
        xyxy = np.concatenate([near, some_boxes(chance, 3)])
        found.append(Detections(xyxy, chance.uniform(0.05, 1, len(xyxy)), labels))
    return found


def judged_by_pycocotools(file, names, found):
    """COCO's numbers of the detections of images with these file names, in the label file's own words."""
    pytest.importorskip("pycocotools", reason="pycocotools, the judge of these numbers, is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
        rows = [
            {"image_id": ids[name], "category_id": int(label) + 1, "score": float(score),
             "bbox": [*box[:2], *(box[2:] - box[:2])]}
            for name, each in zip(names, found, strict=True)
            for box, score, label in zip(each.xyxy, each.scores, each.labels, strict=True)
        ]  # fmt: skip
        judge = COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


def assert_judged(numbers, stats):
    mine = np.array([-1.0 if value is None else value for value in numbers.values()])
    np.testing.assert_allclose(mine, stats, atol=1e-9)
    assert 0.05 < mine[0] < 0.95


def test_a_run_measures_a_coco_file_with_crowds_as_pycocotools_does(dataset, tmp_path, monkeypatch):
    folder = write(dataset, tmp_path / "coco", "coco")
    samples = read(folder, "detect").splits["test"]
    found = guesses(samples)
    (file,) = folder.rglob("instances_test.json")
    assert sum(row["iscrowd"] for row in json.loads(file.read_text())["annotations"]) > 5
    stats = judged_by_pycocotools(file, [sample.path.name for sample in samples], found)

    spec = ImageSpec(64, 64, 3)
    model = build_network(Detect(), find_source("yolo_n"), spec, CLASSES)
    model.metadata.update(as_metadata(Detect(), ("dog", "cat"), spec))  # in another order than the file's
    model.save(tmp_path / "model.sightline")
    renamed = [(Detections(each.xyxy, each.scores, 1 - each.labels), (SIDE, SIDE)) for each in found]
    monkeypatch.setattr(Detect, "results", lambda self, answers, sizes, spec: renamed)
    measures, problems = Run(tmp_path / "model.sightline").evaluate(folder)
    assert not problems
    assert_judged(measures.details["numbers"], stats)


def test_marks_stay_in_what_a_run_records(dataset, tmp_path):
    folder = write(dataset, tmp_path / "coco", "coco")
    labelled = read(folder, "detect")
    facts = [look(sample) for sample in labelled.samples]
    ready = usable(labelled, facts)
    kept = json.loads(json.dumps(describe_data(ready, str(folder), Check(ready, ()))))
    samples = recorded_split(kept, labelled.root, "test")
    assert [sample.boxes for sample in samples] == [sample.boxes for sample in labelled.samples]
    found = guesses(samples)
    (file,) = folder.rglob("instances_test.json")
    measures = Detect().measure("test", [(each, (480, 640)) for each in found], samples, CLASSES)
    stats = judged_by_pycocotools(file, [sample.path.name for sample in samples], found)
    assert_judged(measures.details["numbers"], stats)
    old = {"splits": {"test": [["a.png", None, {"xyxy": [[0, 0, 2, 2]], "labels": [0]}]]}}
    assert recorded_split(old, tmp_path, "test")[0].boxes == Boxes([[0, 0, 2, 2]], [0])


def test_a_difficult_object_of_a_voc_file_need_not_be_found(dataset, tmp_path):
    folder = write(dataset, tmp_path / "voc", "voc")
    samples = read(folder, "detect").splits["test"]
    hard = sum(sample.boxes.ignored.sum() for sample in samples)
    assert 5 < hard < 40
    easy = [sample.boxes[~sample.boxes.ignored] for sample in samples]
    perfect = [Detections(boxes.xyxy, np.ones(len(boxes)), boxes.labels) for boxes in easy]
    extra = [Detections(s.boxes.xyxy, np.where(s.boxes.ignored, 1, 0.9), s.boxes.labels) for s in samples]
    for found in (perfect, extra):  # difficult ones missed, and difficult ones found: neither is an error
        measures = Detect().measure("test", [(each, (480, 640)) for each in found], samples, CLASSES)
        assert [headline.value for headline in measures.headlines] == pytest.approx([1, 1])
    counted = sum(row["objects"] for row in measures.details["classes"])
    assert counted == sum(map(len, easy)) == sum(len(sample.boxes) for sample in samples) - hard


def test_a_crowd_is_not_learned_and_a_difficult_object_is():
    boxes = Boxes([[1, 1, 5, 5], [0, 0, 8, 8]], [0, 1], crowd=[False, True], ignored=[True, False])
    (rows,) = padded_boxes([Example(np.zeros((8, 8, 3), np.uint8), (), boxes)])
    assert rows.tolist() == [[[0, 1, 1, 5, 5]]]


def test_marks_move_with_their_boxes():
    boxes = Boxes(
        [[0, 0, 4, 4], [8, 8, 12, 12], [6, 0, 14, 4]], [0, 1, 2], crowd=[True, False, False],
        ignored=[False, False, True], area=[8, 16, 8],
    )  # fmt: skip
    seen = visible(boxes, corners_of(2 * boxes.xyxy), (16, 16), 0.25)
    assert seen == Boxes(
        [[0, 0, 8, 8], [12, 0, 16, 8]], [0, 2], crowd=[True, False], ignored=[False, True], area=[32, 8]
    )  # half of what the box covers is covered by the object, before and after
    example = Example(np.zeros((16, 16, 3), np.uint8), (), boxes)
    many = mosaic([example] * 4, np.random.default_rng(0), 0.25).boxes
    assert (many.crowd == (many.labels == 0)).all()
    assert (many.ignored == (many.labels == 2)).all()
    assert many.crowd.any()
    assert many.ignored.any()


def test_crowds_are_neither_counted_nor_named_twice(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    xyxy = [[1, 1, 40, 40]] * 3
    marked = Sample(path, boxes=Boxes(xyxy, [0, 0, 0], crowd=[False, True, True]))
    plain = Sample(path, boxes=Boxes(xyxy, [0, 0, 0]))
    for sample, twice in ((marked, 0), (plain, 2)):
        dataset = Dataset(tmp_path, ("cat",), {"all": (sample,)}, task="detect")
        found = [f for f in check(dataset, [look(sample)]).findings if f.kind == "box-twice"]
        assert sum(finding.count for finding in found) == twice
        assert dataset.counts("all") == [1 if sample is marked else 3]
