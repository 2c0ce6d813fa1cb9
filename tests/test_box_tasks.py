"""Localization and detection: what is learned, what is answered in an image's own pixels, and runs of both."""

import json
import sys

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import sightline as sl
from pages import require_good_page
from sightline import ops
from sightline.architectures.csp import SIZES, detection_head
from sightline.data.augment import Example
from sightline.data.placement import place
from sightline.data.scene_files import write_scenes
from sightline.data.sources import read
from sightline.data.video import opened_video, written_video
from sightline.detectors import TrainedDetector
from sightline.detectors.trained import tiles
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.layers.places import PlaceBoxes
from sightline.losses import BoxGIoU, DetectionLoss
from sightline.metrics import BinnedAP50, detection_quality
from sightline.runs.networks import find_source
from sightline.runs.run import Run
from sightline.structures import Boxes, ImageSpec, Sample
from sightline.tasks.detect import Detect, padded_boxes
from sightline.tasks.localize import Localize, class_and_box

SIZE = (64, 96)
PLACES = sum(-(-SIZE[0] // s) * -(-SIZE[1] // s) for s in (8, 16, 32))


def truth(seed, n=3, rows=5, classes=3):
    rng = np.random.default_rng(seed)
    y = np.full((n, rows, 5), -1.0)
    for each in y:
        for row in each[: rng.integers(0, rows + 1)]:
            left, top = rng.uniform(0, 80), rng.uniform(0, 50)
            row[:] = rng.integers(classes), left, top, left + rng.uniform(0.5, 40), top + rng.uniform(0.5, 40)
    return torch.from_numpy(y)


def answers(seed, n=3, classes=3):
    generator = torch.Generator().manual_seed(seed)
    middles = torch.cat([ops.place_middles((SIZE[0] // s, SIZE[1] // s), s) for s in (8, 16, 32)]).double()
    far = torch.rand(n, PLACES, 4, generator=generator, dtype=torch.float64) * 20
    boxes = torch.cat([middles - far[..., :2], middles + far[..., 2:]], -1)
    logits = torch.randn(n, PLACES, classes, generator=generator, dtype=torch.float64)
    return torch.cat([boxes, logits], -1).requires_grad_()


# --- the loss --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_parts_of_a_batch_add_up_to_its_loss(seed):
    loss, y, said = DetectionLoss(SIZE), truth(seed), answers(seed)
    whole = loss(y, said)
    (expected,) = torch.autograd.grad(whole, said)
    parts = [loss.values(y[i : i + 1], said[i : i + 1])[0].sum() for i in range(3)]
    total = sum(parts) / loss.divisor(y, None, parts[0][None], said[:1])
    (found,) = torch.autograd.grad(total, said)
    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(found, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_objects_and_empty_rows_change_nothing(seed):
    loss, y, said = DetectionLoss(SIZE), truth(seed), answers(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(5))
    more = torch.cat([y[:, order], torch.full((3, 2, 5), -1.0, dtype=y.dtype)], 1)
    torch.testing.assert_close(loss(more, said), loss(y, said))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_places_are_shared_out(seed):
    loss, y, said = DetectionLoss(SIZE), truth(seed), answers(seed)
    labels, truths = y[..., 0].long(), y[..., 1:]
    boxes, logits = said.detach().split([4, 3], -1)
    found = loss._assign(labels, truths, boxes, logits, loss._middles)
    for image in range(3):
        weights = torch.zeros(5, dtype=torch.float64).scatter_add(
            0, found.objects[image], found.weights[image].double()
        )
        there = labels[image] >= 0
        assert not weights[~there].any()
        # An object's places have weights that sum to 1; none only where a nearer one has taken all of them
        assert all(abs(w - 1) < 1e-6 or w == 0 for w in weights[there].tolist())
        assert not there.any() or weights[there].max() > 0.99
        assert ((found.scores[image] > 0) <= (found.weights[image] > 0)).all()
        assert found.scores.max() <= 1


def test_nothing_in_an_image_and_impossible_boxes_leave_gradients_finite():
    loss = DetectionLoss(SIZE)
    y = torch.full((4, 2, 5), -1.0)
    y[1, 0] = torch.tensor([1.0, 20, 20, 20, 20])
    y[2, 0] = torch.tensor([1.0, -50, -50, 200, 200])
    y[3, 0] = torch.tensor([2.0, 0.1, 0.1, 0.3, 0.3])
    said = answers(0, 4).float().detach().requires_grad_()
    values = loss.call(y, said)
    values.sum().backward()
    assert values.isfinite().all()
    assert said.grad.isfinite().all()
    assert said.grad[0, :, :4].abs().max() == 0
    assert loss(torch.zeros(4, 0, 5), said).isfinite()


def test_a_perfect_answer_has_next_to_no_loss():
    y = torch.full((1, 1, 5), -1.0)
    y[0, 0] = torch.tensor([1.0, 10, 12, 50, 40])
    said = torch.cat([y[:, :, 1:].expand(-1, PLACES, -1), torch.full((1, PLACES, 3), -20.0)], -1)
    found = DetectionLoss(SIZE)._assign(
        y[..., 0].long(), y[..., 1:], said[..., :4], torch.zeros(1, PLACES, 3), DetectionLoss(SIZE)._middles
    )
    said[0, found.scores[0] > 0, 5] = 20.0
    assert DetectionLoss(SIZE)(y, said) < 1e-4
    assert (found.scores[0] > 0).sum() == 10


def test_another_size_gets_a_sentence():
    with pytest.raises(ArgumentError, match="places"):
        DetectionLoss((64, 64))(truth(0), answers(0))


def test_giou_of_a_box_is_zero_where_it_fits():
    box = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    assert BoxGIoU()(box, box).item() == pytest.approx(0, abs=1e-6)


# --- heads -----------------------------------------------------------------------------------------------------------


def test_places_say_boxes():
    said = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 3, 5))).float()
    boxes = PlaceBoxes(16)(said)
    for row in range(3):
        for column in range(5):
            left, top, right, bottom = said[1, :, row, column].exp() * 16
            x, y = (column + 0.5) * 16, (row + 0.5) * 16
            expected = torch.stack([x - left, y - top, x + right, y + bottom])
            torch.testing.assert_close(boxes[1, row * 5 + column], expected)


@pytest.mark.parametrize("size", ["p", "n"])
@pytest.mark.parametrize("name", ["yolo_p", "yolo_n", "resnet18", "mobilenetv2", "vgg16"])
def test_a_detector_of_any_backbone_with_stages(name, size):
    with torch.device("meta"):
        backbone = sl.create(name, (*SIZE, 3), include_top=False)
        maps = [backbone.values[f"stride_{s}"] for s in (8, 16, 32)]
        model = sl.Model(backbone.inputs, detection_head(maps, (8, 16, 32), 3, SIZES[size]))
    assert model.output_shape == (None, PLACES, 7)


def test_the_smallest_takes_about_half_of_what_the_next_one_takes():
    spec = ImageSpec(96, 96, 3)
    with torch.device("meta"):
        p, n = (sl.measure.cost(Detect().network(find_source(f"yolo_{name}"), spec, ["a"])) for name in "pn")
    assert p.macs < 0.55 * n.macs


def test_the_published_sizes():
    """YOLOX's table 2 and 3 have 9.0 and 25.3 million parameters for s and m at 80 classes."""
    for name, millions in (("s", 9.0), ("m", 25.3)):
        with torch.device("meta"):
            backbone = sl.create(f"yolo_{name}", (64, 64, 3), include_top=False)
            maps = [backbone.values[f"stride_{s}"] for s in (8, 16, 32)]
            model = sl.Model(backbone.inputs, detection_head(maps, (8, 16, 32), 80, SIZES[name]))
        assert model.count_params() / 1e6 == pytest.approx(millions, rel=0.02)


# --- an image's own pixels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["squash", "letterbox", "crop"])
def test_boxes_come_back_to_the_images_own_pixels(resize):
    spec, size = ImageSpec(64, 96, 3, resize), (300, 200)
    own = np.array([[50.0, 100, 150, 180], [60, 110, 80, 150]])
    frame = place(size, spec).to_frame(own)
    said = torch.full((1, PLACES, 7), -20.0, dtype=torch.float64)
    said[0, 3, :4], said[0, 3, 5] = torch.from_numpy(frame[0]), 3.0
    said[0, 9, :4], said[0, 9, 6] = torch.from_numpy(frame[1]), 1.0
    ((found, known_size),) = Detect().results([said], [size], spec)
    np.testing.assert_allclose(found.xyxy, own, atol=1e-9)
    assert found.labels.tolist() == [1, 2]
    assert known_size == size

    example = Example(np.zeros(spec.shape, np.uint8), ((1, 1.0),), Boxes(frame[:1], [1]))
    labels, boxes = class_and_box([example])
    assert labels.tolist() == [1]
    ((_, box, _),) = Localize().results([torch.eye(3)[1:2], torch.from_numpy(boxes)], [size], spec)
    np.testing.assert_allclose(box, own[0], atol=1e-3)


def test_what_says_the_same_is_said_once_and_few_enough():
    said = torch.full((1, PLACES, 7), -20.0)
    said[0, :, :4], said[0, :, 4] = torch.tensor([5.0, 5, 40, 40]), torch.linspace(-2, 2, PLACES)
    ((found, _),) = Detect().results([said], [SIZE], ImageSpec(*SIZE, 3))
    assert len(found) == 1
    said[0, :, :4] = torch.rand(PLACES, 4) * 3 + torch.arange(PLACES)[:, None] % 60
    said[0, :, 2:4] += 4
    ((found, _),) = Detect(max_det=5).results([said], [SIZE], ImageSpec(*SIZE, 3))
    assert len(found) == 5


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 4), st.integers(1, 50), st.booleans())
def test_a_batch_is_decoded_image_by_image(seed, images, classes, most, tied):
    """Against torchvision's suppression of each image alone."""
    chance = torch.Generator().manual_seed(seed)
    said = torch.randn(images, PLACES, 4 + classes, generator=chance) * 3
    said = said.round() if tied else said
    middle, reach = (20 + spread * torch.rand(images, PLACES, 2, generator=chance) for spread in (40, 10))
    said[..., :2], said[..., 2:4] = middle - reach, middle + reach
    boxes, scores, labels, numbers = ops.decoded_batch(said, least=0.3, iou_threshold=0.5, max_det=most)
    assert (numbers.diff() >= 0).all()
    for image, (box, sure) in enumerate(zip(said[..., :4].double(), said[..., 4:].sigmoid(), strict=True)):
        place, label = (sure >= 0.3).nonzero().unbind(1)
        best = sure[place, label].argsort(descending=True, stable=True)
        place, label = place[best], label[best]
        kept = torchvision.ops.batched_nms(box[place], sure[place, label].double(), label, 0.5)[:most]
        expected = box[place][kept], sure[place, label][kept], label[kept]
        for one, other in zip((boxes, scores, labels), expected, strict=True):
            assert torch.equal(one[numbers == image], other)


def test_targets_leave_out_what_is_impossible():
    boxes = Boxes([[1, 1, 5, 5], [5, 5, 1, 1], [np.nan, 0, 1, 1], [2, 2, 8, 8]], [0, 1, 1, -1])
    (rows,) = padded_boxes([Example(np.zeros((8, 8, 3), np.uint8), (), boxes), Example(np.zeros((8, 8, 3), np.uint8))])
    assert rows.tolist() == [[[0, 1, 1, 5, 5]], [[-1, -1, -1, -1, -1]]]


def test_measuring_nothing_found_and_a_class_that_is_not_there():
    samples = [Sample(None, boxes=Boxes([[0, 0, 5, 5]], [0])), Sample(None, boxes=Boxes())]
    empty = Detect().results([torch.full((2, PLACES, 6), -20.0)], [SIZE, SIZE], ImageSpec(*SIZE, 3))
    measures = Detect().measure("test", empty, samples, ["a", "b"])
    assert measures.headlines[0].value == 0
    rows = measures.details["classes"]
    assert [row["AP50"] for row in rows] == [0, None]
    json.dumps(measures.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("without_report")
def test_the_memory_of_a_detector_is_planned():
    with torch.device("meta"):
        model = Detect().network(find_source("yolo_n"), ImageSpec(64, 64, 3), ["a", "b", "c"])
    model.compile("adam", Detect().goals(model, 3, False, 0.0).loss)
    plan = sl.measure.memory(model, 8, device="cpu")
    assert plan.peak > plan.library + 4 * plan.parameters
    assert plan.activations > sl.measure.memory(model, 4, device="cpu").activations


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    few = {"train": 24, "validation": 8, "test": 8}
    return {task: write_scenes(tmp_path_factory.mktemp(task) / "scenes", task, few) for task in ("detect", "localize")}


def train(scenes, task, runs, **more):
    settings = {"model": "yolo_p", "image_size": 64, "batch_size": 8, "epochs": 2, "runs": str(runs), "name": "own"}
    return sl.train(scenes[task], task=task, **settings | more)


@pytest.fixture(scope="module")
def detected(scenes, tmp_path_factory):
    return train(scenes, "detect", tmp_path_factory.mktemp("runs"), augment={"preset": "strong", "mosaic": 1.0})


def test_a_run_that_detects(detected, scenes, run, tmp_path):
    again, problems = Run(detected.path).evaluate()
    assert not problems
    assert again.as_dict()["headlines"] == detected.measures.as_dict()["headlines"]
    shown = [each["alt"] for each in require_good_page(detected.folder.report).all("img")]
    for words in ("Precision by recall", "As people marked it: ", "What it found: ", "What speaks for it"):
        assert any(words in alt for alt in shown), words
    pictures = sorted((scenes["detect"]).rglob("*.png"))[:2]
    code, out, _ = run(
        "predict", detected.path, *pictures, "--json", "--conf", "0", "--max-det", "3", "--save", tmp_path
    )
    said = json.loads(out)["predictions"]
    assert code == 0
    assert [len(each["detections"]) for each in said] == [3, 3]
    first = said[0]["detections"][0]
    assert first.keys() == {"category_id", "class", "score", "bbox"}
    assert len(list(tmp_path.glob("*.png"))) == 2
    drawn = np.asarray(Image.open(tmp_path / f"{pictures[0].stem}.png"))
    assert (drawn != np.asarray(Image.open(pictures[0]).convert("RGB"))).any()
    code, out, _ = run("predict", detected.path, pictures[0], "--conf", "1")
    assert "nothing" in out


@pytest.mark.slow
def test_a_run_that_detects_goes_on_to_the_same_bits(scenes, tmp_path):
    whole = train(scenes, "detect", tmp_path, epochs=3, name="whole", schedule="constant")
    train(scenes, "detect", tmp_path, epochs=2, name="parted", schedule="constant")
    parted = sl.train(resume=tmp_path / "detect" / "parted", epochs=3)
    weights = [sl.load(each.path / "weights" / "last.sightline").state_dict() for each in (whole, parted)]
    assert all(torch.equal(one, other) for one, other in zip(*(w.values() for w in weights), strict=True))


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("box_loss", ["mse", "huber", "giou"])
def test_a_run_that_localizes(scenes, tmp_path, run, capsys, box_loss):
    found = train(scenes, "localize", tmp_path, box_loss=box_loss, augment="none")
    assert [h.name for h in found.measures.headlines] == ["mean IoU", "IoU of 0.5 and more", "accuracy"]
    assert Run(found.path).evaluate()[0].headlines == found.measures.headlines
    picture = sorted((scenes["localize"]).rglob("*.png"))[0]
    capsys.readouterr()
    code, out, _ = run("predict", found.path, picture, "--json", "--save", tmp_path / "drawn")
    (said,) = json.loads(out)["predictions"]
    assert code == 0
    assert said["class"] in found.classes
    left, top, width, height = said["bbox"]
    assert 0 <= left <= left + width <= 128
    assert 0 <= top <= top + height <= 128


@pytest.mark.usefixtures("without_report")
def test_some_classes_alone(scenes, tmp_path):
    found = train(scenes, "detect", tmp_path, classes=("1", "7"), epochs=1)
    assert found.classes == ["1", "7"]
    own, given = Run(found.path).evaluate()[0], Run(found.path).evaluate(scenes["detect"])[0]
    assert own.headlines == given.headlines == found.measures.headlines
    with pytest.raises(SightlineError, match="classes chooses boxes"):
        sl.train("photos", classes=("1",))


OWN = """
import sightline as sl
def network(input_shape, classes):
    x = inputs = sl.Input(input_shape)
    for filters in (8, 16, 16, 32, 32):
        x = sl.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return sl.Model(inputs, sl.layers.Dense(classes, activation="softmax")(sl.layers.GlobalAveragePooling2D()(x)))
"""


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("task", [pytest.param("detect", marks=pytest.mark.slow), "localize"])
def test_a_network_of_ones_own_is_a_backbone(scenes, tmp_path, task):
    (tmp_path / "own.py").write_text(OWN)
    found = train(scenes, task, tmp_path, model=f"{tmp_path / 'own.py'}:network", epochs=1)
    assert Run(found.path).evaluate()[0].headlines == found.measures.headlines


def test_wrong_settings_get_a_sentence(scenes, tmp_path, detected, run):
    for more, words in (
        ({"image_size": 100}, "multiples of 32"),
        ({"model": "small_cnn"}, "no feature maps at strides"),
        ({"unfreeze": "all"}, "is for classification"),
        ({"box_loss": "giou"}, "is for --task localize"),
        ({"augment": {"cutmix": 1.0}}, "cutmix"),
    ):
        with pytest.raises(SightlineError, match=words):
            train(scenes, "detect", tmp_path, **more)
    with pytest.raises(ShapeError, match="multiples"):
        Detect().network(None, ImageSpec(40, 64, 3), ["a"])
    code, _, err = run("predict", detected.path, scenes["detect"], "--conf", "2")
    assert code == 2
    assert "conf" in err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolo_p", "yolo_n"])
def test_a_detector_learns_a_few_scenes_by_heart(model, tmp_path):
    data = write_scenes(tmp_path / "few", "detect", {"train": 8, "validation": 8, "test": 0})
    # All in one batch: its statistics are then those that answers are given with
    settings = {"model": model, "image_size": 96, "batch_size": 8, "epochs": 250, "lr": 0.003, "augment": "none"}
    run = sl.train(data, task="detect", runs=str(tmp_path), name="heart", **settings)
    samples = read(data, "detect").splits["train"]
    last = Run(run.path / "weights" / "last.sightline")  # the best epoch is that of other scenes
    found, _ = last.predict([sample.path for sample in samples], conf=0.01)
    quality = detection_quality([s.boxes for s in samples], [each.detections for each in found], classes=10)
    assert quality.coco()["AP50"] > 0.95


# --- tiles -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 120), st.floats(0, 0.9))
def test_tiles_cover_the_image(height, width, tile, overlap):
    areas = tiles((height, width), tile, overlap)
    if not areas:
        assert tile >= max(height, width)
        return
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in areas:
        assert right - left == min(tile, width)
        assert bottom - top == min(tile, height)
        seen[top:bottom, left:right] = True
    assert seen.all()


class Blobs(torch.nn.Module):
    """A stand-in for a network: says where the bright pixels of its input are."""

    def forward(self, x):
        bright = x[:, 0] > 200
        rows, columns = bright.any(2).int(), bright.any(1).int()
        ends = [axis.flip(1).argmax(1) for axis in (columns, rows)]
        box = [columns.argmax(1), rows.argmax(1), *(64 - end for end in ends), torch.where(rows.any(1), 4, -20)]
        said = torch.tensor([0.0, 0, 1, 1, -20]).expand(len(x), PLACES_64 - 1, 5)
        return torch.cat([torch.stack(box, 1)[:, None].float(), said], 1)


PLACES_64 = 64 + 16 + 4


def test_small_objects_are_found_in_tiles():
    """At the network's 64 pixels the whole of 640 shows a square of 6 as less than one pixel; a tile of 64 as it is."""
    inputs = sl.Input((64, 64, 3))
    model = sl.Model(inputs, sl.layers.Torch(Blobs())(inputs))
    model.metadata.update(task="detect", classes=["a"], image=ImageSpec(64, 64, 3, "letterbox").as_dict())
    image = np.zeros((640, 640, 3), np.uint8)
    for left, top in ((100, 40), (301, 297), (630, 630)):
        image[top : top + 6, left : left + 6] = 255
    assert len(TrainedDetector(model).detect(image)) == 0
    found = TrainedDetector(model, tile=64).detect(image)
    corners = sorted(map(tuple, found.xyxy.round().astype(int).tolist()))
    assert corners == [(100, 40, 106, 46), (301, 297, 307, 303), (630, 630, 636, 636)]
    assert len(TrainedDetector(model, tile=64).detect(image[..., 0])) == 3
    assert [len(each) for each in TrainedDetector(model, tile=64).detect([image, image[:50]])] == [3, 1]
    with pytest.raises(ShapeError, match="uint8"):
        TrainedDetector(model).detect(image.astype(float))
    with pytest.raises(SightlineError, match="no detector of a run"):
        TrainedDetector(sl.create("mnist_cnn"))


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_predict_and_a_detector_suppress_alike(detected, scenes, nms):
    picture = sorted(scenes["detect"].rglob("*.png"))[0]
    ((said,), _) = detected.predict(picture, conf=0.0, iou=0.2, nms=nms)
    found = TrainedDetector(detected.model).detect(np.asarray(Image.open(picture)), conf=0.0, iou=0.2, nms=nms)
    assert found == said.detections
    tiled = TrainedDetector(detected.model, tile=80).detect(np.asarray(Image.open(picture)), iou=0.2, conf=0, nms=nms)
    assert 0 < len(tiled) <= 100


def test_the_command_suppresses_softly(detected, scenes, run):
    picture = sorted(scenes["detect"].rglob("*.png"))[0]
    words = "predict", detected.path, picture, "--conf", "0", "--iou", "0.1", "--json", "--nms"
    soft = json.loads(run(*words, "soft")[1])["predictions"][0]["detections"]
    ((said,), _) = detected.predict(picture, conf=0.0, iou=0.1, nms="soft")
    assert [each["score"] for each in soft] == said.detections.scores.tolist()
    code, _, error = run(*words, "sotf")
    assert code == 2
    assert "sotf" in error
    assert "soft" in error


def test_predict_looks_at_tiles(detected, scenes, run):
    picture = sorted(scenes["detect"].rglob("*.png"))[0]
    code, out, _ = run("predict", detected.path, picture, "--tile", "64", "--conf", "0", "--json")
    assert code == 0
    assert len(json.loads(out)["predictions"][0]["detections"]) > 0


def test_mistakes_are_shown(detected):
    assert Image.open(detected.folder.mistakes).size[0] == 1016
    assert "What did it get wrong?" in (detected.path / "report.html").read_text()
    kinds = detected.measures.details["mistakes"]
    assert len(kinds["missed"]) + len(kinds["false"]) > 0


# --- videos ----------------------------------------------------------------------------------------------------------


def moving_square(path, frames=12):
    with written_video(path, 10.0) as writer:
        for number in range(frames):
            pixels = np.zeros((96, 128, 3), np.uint8)
            pixels[40:60, 4 * number : 4 * number + 20] = 255
            writer.write(pixels)
    return path


def test_a_video_comes_back_frame_by_frame(tmp_path):
    with opened_video(moving_square(tmp_path / "own" / "a.mp4")) as video:
        frames = list(video.frames)
    assert (len(frames), video.rate, video.length) == (12, 10.0, 12)
    assert frames[3].shape == (96, 128, 3)
    assert frames[3][45:55, 16:28].mean() > 200
    assert frames[3][45:55, 50:].mean() < 30
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["a.mp4"]


def test_objects_of_a_video(detected, tmp_path, run, monkeypatch):
    clip = moving_square(tmp_path / "a.mp4")
    code, out, _ = run("predict", detected.path, clip, "--conf", "0", "--max-det", "2", "--json")
    said = json.loads(out)["predictions"]
    assert code == 0
    assert [each["frame"] for each in said] == list(range(12))
    assert said[5]["seconds"] == pytest.approx(0.5)
    count = sum(len(each["detections"]) for each in said)
    assert all(len(each["detections"]) <= 2 for each in said)
    code, out, _ = run("predict", detected.path, clip, "--conf", "0", "--max-det", "2", "--save", tmp_path / "drawn")
    assert "12 frames" in out
    assert f"{count} objects" in out
    with opened_video(tmp_path / "drawn" / "a.mp4") as video:
        assert len(list(video.frames)) == 12


def test_no_video_is_written_over_another(detected, tmp_path, run):
    (tmp_path / "a.mkv").write_bytes(moving_square(tmp_path / "a.mp4", frames=2).read_bytes())
    clip = (tmp_path / "a.mp4").read_bytes()
    for _ in range(2):
        code, _, _ = run("predict", detected.path, tmp_path / "a.mkv", tmp_path / "a.mp4", "--save", tmp_path)
        assert code == 0
    names = ["a-2.mp4", "a-3.mp4", "a-4.mp4", "a-5.mp4", "a.mkv", "a.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == names
    assert (tmp_path / "a.mp4").read_bytes() == clip


def test_what_is_no_video_gets_a_sentence(detected, scenes, tmp_path, run, monkeypatch):
    (tmp_path / "a.mp4").write_text("no video")
    for path, words in ((tmp_path / "a.mp4", "cannot be read as a video"), (tmp_path / "b.mp4", "no video")):
        code, _, err = run("predict", detected.path, path)
        assert code == 2
        assert words in err
    clip = moving_square(tmp_path / "c.mp4")
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, err = run("predict", detected.path, clip)
    assert code == 2
    assert "sightline[video]" in err


# --- what is watched -------------------------------------------------------------------------------------------------


def told(seed, n=12, classes=3):
    """Targets, and predictions that are near them, far from them, or twice there."""
    rng = np.random.default_rng(seed)
    y = truth(seed, n)
    y[..., 3:] = torch.minimum(y[..., 3:], torch.tensor([SIZE[1], SIZE[0]]))  # objects end where the picture does
    said = torch.full((n, PLACES, 4 + classes), -20.0)
    said[..., :4] = torch.tensor([0.0, 0, 1, 1])
    for image in range(n):
        for k, row in enumerate(y[image][y[image, :, 0] >= 0]):
            for twice in range(int(rng.integers(0, 3))):
                near = row[1:] + torch.from_numpy(rng.normal(0, 2, 4))
                said[image, 2 * k + twice, :4] = near.clamp(min=0).minimum(torch.tensor([SIZE[1], SIZE[0]] * 2))
                said[image, 2 * k + twice, 4 + int(row[0])] = rng.normal()
    return y, said


def test_average_precision_in_training_is_nearly_the_exact_one():
    for seed in range(5):
        y, said = told(seed, n=40)
        parts = BinnedAP50(3)
        for start in range(0, 40, 7):
            parts.update_state(y[start : start + 7], said[start : start + 7])
        whole = BinnedAP50(3)
        whole.update_state(y, said)
        assert parts.result() == pytest.approx(whole.result(), abs=1e-12)
        found = [result for result, _ in Detect().results([said], [SIZE] * 40, ImageSpec(*SIZE, 3))]
        truths = [Boxes(rows[rows[:, 0] >= 0, 1:], rows[rows[:, 0] >= 0, 0]) for rows in y.numpy()]
        assert whole.result() == pytest.approx(detection_quality(truths, found, classes=3).coco()["AP50"], abs=0.03)
    assert BinnedAP50(3).result() == 0


# --- convert ---------------------------------------------------------------------------------------------------------


def test_a_model_file_becomes_fully_convolutional(tmp_path, run):
    sl.create("mnist_cnn").save(tmp_path / "model.sightline")
    code, out, _ = run("convert", tmp_path / "model.sightline", tmp_path / "dense.sightline", "--fully-convolutional")
    assert code == 0
    assert "28x28" in out
    x = np.random.default_rng(0).random((1, 28, 28, 1), dtype=np.float32)
    model, dense = sl.load(tmp_path / "model.sightline"), sl.load(tmp_path / "dense.sightline")
    np.testing.assert_allclose(dense.predict(x)[:, 0, 0], model.predict(x), atol=1e-6)
    for words, said in (
        ((tmp_path / "model.sightline", tmp_path / "dense.sightline"), "exists already"),
        ((tmp_path / "none", tmp_path / "new.sightline"), "no run or model file"),
        ((tmp_path / "model.sightline", tmp_path / "new.sightline", "--stride", "2"), "--fully-convolutional"),
        ((tmp_path / "model.sightline", tmp_path / "new.onnx"), "cannot be saved"),
    ):
        code, _, err = run("convert", *words)
        assert code == 2
        assert said in err
