"""Training on tiles of large pictures: the tiles, their boxes and pixels, and runs."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import sightline as sl
from pages import require_good_page
from sightline.data import images as images_module
from sightline.data.cache import in_memory, sample_key
from sightline.data.decode import decode_whole
from sightline.data.images import MIN_VISIBLE, Images, row_bytes
from sightline.data.scene_files import write_scenes
from sightline.data.sources import read
from sightline.data.tiles import tiled, tiles, views
from sightline.detectors import TrainedDetector
from sightline.errors import ArgumentError, SightlineError
from sightline.measure.units import bytes_text
from sightline.runs.run import Run
from sightline.structures import Boxes, ImageSpec, Sample

SPEC = ImageSpec(32, 32, 3, "letterbox")


@st.composite
def pictures(draw):
    """(size, boxes inside it in quarters of pixels, tile)."""
    height, width, tile = draw(st.integers(1, 200)), draw(st.integers(1, 200)), draw(st.integers(16, 90))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    corners = np.sort(rng.integers(0, [[4 * width + 1, 4 * height + 1]], (draw(st.integers(0, 6)), 2, 2)) / 4, axis=1)
    xyxy = corners.reshape(-1, 4)
    xyxy = xyxy[(xyxy[:, :2] < xyxy[:, 2:]).all(1)]
    return (height, width), Boxes(xyxy, np.arange(len(xyxy)), crowd=rng.random(len(xyxy)) < 0.2), tile


def shares_inside(xyxy, area):
    """The boxes cut to an area, in its pixels, and the share of each that is in it, by plain numbers."""
    left, top, right, bottom = area
    cut = [[max(a, left), max(b, top), min(c, right), min(d, bottom)] for a, b, c, d in xyxy.tolist()]
    shares = [
        max(c - a, 0) * max(d - b, 0) / ((z - x) * (w - y))
        for (a, b, c, d), (x, y, z, w) in zip(cut, xyxy.tolist(), strict=True)
    ]
    return np.array(cut).reshape(-1, 4) - [left, top] * 2, np.array(shares)


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_an_object_that_fits_is_whole_in_a_tile_and_boxes_are_cut_as_by_hand(picture):
    size, boxes, tile = picture
    found = views(Sample("a", boxes=boxes), size, tile)
    if tile >= max(size):
        assert not found
        return
    assert [view.crop for view in found][: len(tiles(size, tile))] == tiles(size, tile)
    whole = set()
    for view in found:
        left, top, right, bottom = view.crop
        assert (bottom - top, right - left) == view.size == (min(size[0], tile), min(size[1], tile))
        assert 0 <= left < right <= size[1]
        assert 0 <= top < bottom <= size[0]
        expected, shares = shares_inside(boxes.xyxy, view.crop)
        kept = shares >= MIN_VISIBLE
        np.testing.assert_array_equal(view.boxes.labels, boxes.labels[kept])
        np.testing.assert_array_equal(view.boxes.xyxy, expected[kept])
        np.testing.assert_array_equal(view.boxes.crowd, boxes.crowd[kept])
        back = view.boxes.xyxy + [left, top] * 2
        complete = shares[kept] == 1
        np.testing.assert_array_equal(back[complete], boxes.xyxy[kept][complete])
        whole |= set(view.boxes.labels[complete].tolist())
    outward = np.ceil(boxes.xyxy[:, 2:]) - np.floor(boxes.xyxy[:, :2])  # a tile begins and ends with a pixel
    fit = (outward <= [min(size[1], tile), min(size[0], tile)]).all(1)
    assert whole >= set(boxes.labels[fit].tolist())


def noise(path, size=(70, 90), **how):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(path, **how)
    return path


def test_as_many_tiles_without_objects_as_with(tmp_path):
    with_object = Sample(noise(tmp_path / "a.png", (200, 200)), boxes=Boxes([[5, 5, 15, 15]], [0]))
    without = Sample(noise(tmp_path / "b.png", (200, 200)), boxes=Boxes())
    small = Sample(noise(tmp_path / "c.png", (40, 50)), boxes=Boxes())
    every = tiled([with_object, without, small], 50)
    assert len(every) == 3 + 2 * len(tiles((200, 200), 50))
    assert every[-1] is small
    some = tiled([with_object, without, small], 50, seed=3)
    cuts = [view for view in some if view.crop is not None]
    assert [len(view.boxes) > 0 for view in cuts].count(True) == len(cuts) / 2 == 1
    assert tiled([with_object, without, small], 50, seed=3) == some
    assert [view for view in every if view in some] == [*some]
    assert {tiled([with_object, without], 50, seed=seed) for seed in range(5)} != {some}
    assert tiled([small, small], 50, seed=0) == (small, small)


@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_of_tiles_are_the_pictures_and_a_file_is_decoded_once(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = noise(tmp_path / "a.jpg", exif=exif)
    size = decode_whole(path).shape[:2]
    assert size == ((70, 90) if orientation == 1 else (90, 70))
    samples = tiled([Sample(path, boxes=Boxes([[0, 0, 30, 30]], [0]))], 32)
    counted = []
    actual = images_module.decode_areas
    monkeypatch.setattr(
        images_module,
        "decode_areas",
        lambda path, areas, spec: (counted.append(len(areas)), actual(path, areas, spec))[1],
    )
    images = Images(samples, SPEC, in_memory(samples, row_bytes(SPEC, masks=False), 2**20))
    whole = decode_whole(path)
    for number in np.random.default_rng(1).permutation(np.arange(1, len(samples))).tolist():
        left, top, right, bottom = samples[number].crop
        np.testing.assert_array_equal(images.load(number).pixels, whole[top:bottom, left:right])
    assert counted == [len(samples) - 1]
    assert not images.cache.lacks(1)
    without_room = Images(samples, SPEC, in_memory(samples, row_bytes(SPEC, masks=False), 0))
    np.testing.assert_array_equal(without_room.load(4).pixels, images.load(4).pixels)
    assert counted[1:] == [1]
    assert len({sample_key(sample) for sample in samples}) == len(samples)


# --- runs ------------------------------------------------------------------------------------------------------------


def big_pictures(folder, side, counts):
    """Six bright squares of 16 pixels on gray."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for split, count in counts.items():
        notes, shown = [], []
        for number in range(count):
            image = rng.integers(100, 140, (side, side, 3)).astype(np.uint8)
            for x, y in rng.integers(0, side - 16, (6, 2)).tolist():
                image[y : y + 16, x : x + 16] = 255
                notes.append({"id": len(notes), "image_id": number, "category_id": 0, "bbox": [x, y, 16, 16]})
            name = f"{split}-{number}.png"
            Image.fromarray(image).save(folder / "images" / name)
            shown.append({"id": number, "file_name": name, "width": side, "height": side})
        told = {"images": shown, "annotations": notes, "categories": [{"id": 0, "name": "square"}]}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return big_pictures(tmp_path_factory.mktemp("big") / "data", 160, {"train": 6, "val": 2, "test": 2})


CHOSEN = {
    "task": "detect", "model": "yolo_p", "image_size": 64, "batch_size": 16, "lr": 0.001, "schedule": "constant", "augment": "none",
    "allow": ["likeness"], "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return sl.train(data, **CHOSEN, epochs=2, tile=64, runs=str(tmp_path_factory.mktemp("runs")), name="tiled")


def test_a_run_on_tiles_is_measured_and_asked_in_tiles_of_whole_pictures(trained, data, run):
    assert trained.measures.n == 2
    assert Run(trained.path).evaluate() == (trained.measures, [])
    picture = data / "images" / "test-0.png"
    pixels, how = decode_whole(picture), {"conf": 0.0, "iou": 0.5}
    for tile in (None, 64, 160):
        ((said,), _) = Run(trained.path).predict(picture, tile=tile, **how)
        assert said.detections == TrainedDetector(trained.model, tile=tile or 64).detect(pixels, **how)
        assert len(said.detections) > 0
        assert (said.detections == TrainedDetector(trained.model).detect(pixels, **how)) == (tile != 160)
    code, out, _ = run("evaluate", trained.path, "--tile", "160", "--json")
    whole, _ = trained.evaluate(tile=160)
    assert code == 0
    assert json.loads(out)["details"] == whole.as_dict()["details"] != trained.measures.details
    require_good_page(trained.folder.report)
    assert "tiles of 64 pixels" in trained.folder.report.read_text()
    card = trained.folder.card.read_text()
    assert "tiles of 64 pixels" in card
    assert "--tile 64" in card
    answering = bytes_text(sl.measure.memory(trained.model, 16, training=False).peak)
    for told in (card, trained.folder.report.read_text()):
        assert answering in told
        assert "for one picture with 16 of its tiles at a time" in told


@pytest.mark.slow
def test_tiles_show_what_the_whole_does_not(tmp_path):
    data = big_pictures(tmp_path / "data", 320, {"train": 16, "val": 4, "test": 6})
    tiled_run = sl.train(data, **CHOSEN | {"lr": 0.02}, epochs=6, tile=64, runs=str(tmp_path), name="tiled")
    whole_run = sl.train(
        data, **CHOSEN | {"lr": 0.02}, epochs=60, runs=str(tmp_path), name="whole"
    )  # of as many steps as 2 epochs of tiles
    tiled_map, whole_map = (run.measures.headlines[0] for run in (tiled_run, whole_run))
    assert tiled_map.interval[0] > whole_map.interval[1]


def weights(run):
    return sl.load(run.path / "weights" / "last.sightline").state_dict()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


@pytest.mark.usefixtures("without_report")
def test_a_run_on_tiles_goes_on_to_the_same_bits(trained, data, tmp_path):
    sl.train(data, **CHOSEN, epochs=1, tile=64, runs=str(tmp_path), name="parted")
    parted = sl.train(resume=tmp_path / "detect" / "parted", epochs=2)
    assert same(parted, trained)
    assert parted.measures == trained.measures


@pytest.mark.usefixtures("without_report")
def test_folds_learn_from_tiles_and_are_measured_on_whole_pictures(tmp_path):
    data = big_pictures(tmp_path / "data", 160, {"train": 8})
    validation = sl.cross_validate(data, folds=2, **CHOSEN, epochs=1, tile=64, runs=str(tmp_path), name="folds")
    held = []
    for each in validation.runs:
        splits = json.loads(each.folder.data.read_text())["splits"]
        held += [entry[0] for entry in splits["test"]]
        assert each.task.tile == 64
        assert each.measures.n == len(splits["test"])
        assert each.evaluate() == (each.measures, [])
        assert f"of {len(splits['train'])} larger training pictures" in each.folder.log.read_text()
    assert len(held) == len(set(held)) == 8
    assert validation.scores["mAP50"].values == tuple(each.measures.headlines[0].value for each in validation.runs)


@pytest.mark.usefixtures("without_report")
def test_a_tile_as_large_as_every_picture_changes_nothing(data, tmp_path):
    runs = [
        sl.train(data, **CHOSEN, epochs=1, runs=str(tmp_path), name=name, **more)
        for name, more in (("whole", {}), ("tiled", {"tile": 160}))
    ]
    assert same(*runs)
    one, other = (each.measures for each in runs)
    assert one.headlines == other.headlines
    for known in ("classes", "numbers", "operating point", "curves"):  # of the mistakes, boxes are rounded otherwise
        assert one.details[known] == other.details[known], known


def test_wrong_tiles_get_a_sentence(data, trained, run, tmp_path):
    for words, says in (
        (("train", data, "--task", "detect", "--tile", "8"), "at least 16 pixels"),
        (("train", data, "--task", "localize", "--tile", "64"), "--tile is for --task detect"),
        (("train", data, "--tile", "64"), "--tile is for --task detect"),
        (("train", "--resume", trained.path, "--tile", "32"), "--tile cannot be given"),
        (("evaluate", trained.path, "--tile", "2"), "16"),
    ):
        code, _, error = run(*words)
        assert code == 2
        assert says in " ".join(error.split())
    with pytest.raises(ArgumentError, match="tile is out of range"):
        sl.train(data, task="detect", tile=64.5, runs=str(tmp_path))
    with pytest.raises(SightlineError, match="--tile is for"):
        sl.train(data, task="segment", tile=64, runs=str(tmp_path))


def test_small_digits(tmp_path):
    data = write_scenes(tmp_path / "scenes", "detect", {"train": 4}, size=(200, 240), extent=(0.1, 0.12))
    sides = np.concatenate([sample.boxes.xyxy for sample in read(data, "detect").splits["train"]])
    assert (sides[:, 2:] - sides[:, :2]).max() <= 0.12 * 200 * 1.2  # a box around a digit that is turned
    for wrong in ((0, 0.1), (0.2, 0.1), 0.1, (0.1, 2)):
        with pytest.raises(ArgumentError, match="extent"):
            write_scenes(tmp_path / "other", "detect", {"train": 1}, extent=wrong)
