"""Semantic segmentation: classes of pixels in an image's own size, tiles, and runs."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import sightline as sl
from pages import require_good_page
from sightline.data.cache import in_memory
from sightline.data.images import Images, row_bytes
from sightline.data.mask_files import read_mask, voc_palette, write_mask
from sightline.data.placement import place
from sightline.data.scene_files import write_scenes
from sightline.data.sources import read
from sightline.errors import ArgumentError, RunError, ShapeError
from sightline.runs.folder import read_json
from sightline.runs.run import Run
from sightline.segmenting import fade, tiles
from sightline.structures import IGNORE, ImageSpec, Mask, MaskCoding, Sample
from sightline.tasks import class_maps
from sightline.tasks.class_maps import ClassMap, class_map
from sightline.tasks.overlays import cases_of, shown_of
from sightline.tasks.segment import Segment, pixel_counts

sides = st.integers(1, 90)


# --- from the network's frame to the image's pixels ----------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.sampled_from(["squash", "letterbox"]), st.integers(0, 10**6))
def test_a_class_map_is_the_frame_resized_to_the_image(height, width, resize, seed):
    spec = ImageSpec(32, 48, 3, resize)
    logits = torch.randn(4, 32, 48, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    placement = place((height, width), spec)
    rows, columns = placement.inner
    inner = logits[:, placement.top : placement.top + rows, placement.left : placement.left + columns]
    expected = F.interpolate(inner[None], (height, width), mode="bilinear", align_corners=False)[0]
    best = expected.topk(2, 0).values
    clear = (best[0] - best[1] > 1e-4).numpy()  # where rounding cannot choose another class
    found = class_map(logits, placement)
    assert found.dtype == np.uint8
    assert found.shape == (height, width)
    np.testing.assert_array_equal(found[clear], expected.argmax(0).numpy()[clear])


def test_bands_are_the_whole(monkeypatch):
    logits = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
    placement = place((101, 67), ImageSpec(24, 24, 3, "letterbox"))
    whole = class_map(logits, placement)
    monkeypatch.setattr(class_maps, "BAND", 500)
    np.testing.assert_array_equal(class_map(logits, placement), whole)


def test_a_class_map_is_kept_small():
    numbers = np.zeros((300, 400), np.uint8)
    numbers[50:90, 60:200] = 7
    kept = ClassMap.of(numbers)
    np.testing.assert_array_equal(kept.numbers, numbers)
    assert len(kept.packed) < 2000


@pytest.mark.parametrize("n", [0, 1, 4, 7, 8, 40])
def test_the_cases_are_the_truly_best_and_worst(tmp_path, n):
    path = write_mask(np.zeros((4, 4), np.uint8), tmp_path / "mask.png")
    samples = [Sample(tmp_path / f"{i}.png", mask=Mask(path, MaskCoding("index", (0, 1)))) for i in range(n)]
    results = [ClassMap.of(np.zeros((4, 4), np.uint8))] * n
    scores = np.random.default_rng(n).permutation(np.linspace(0.1, 0.9, n))
    shown = shown_of(scores, results, samples)
    assert len({each["path"] for each in shown}) == len(shown) == min(n, 13)
    cases = cases_of(shown, [[0, 0, 0], [9, 9, 9]])
    by_score = [f"{i}.png" for i in np.argsort(-scores)]
    assert [case.path.name for case in cases if case.went_well] == by_score[: min(3, -(-n // 2))]
    assert [case.path.name for case in cases if not case.went_well] == by_score[::-1][: min(3, n // 2)]


# --- tiles ------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 700), st.integers(16, 200), st.floats(0, 0.5))
def test_what_tiles_count_adds_up_to_one_everywhere(side, tile, share):
    overlap = int(tile * share)
    total, ends = torch.zeros(side), []
    for span in tiles(side, tile, overlap):
        total[span[0] : span[1]] += fade(span, side, overlap)
        ends.append(span[1])
    torch.testing.assert_close(total, torch.ones(side))
    assert ends[-1] == side
    assert sorted(set(ends)) == ends


def network(size=64, classes=3):
    """A segmentation with a stride of 4 that sees 8 pixels to each side at most."""
    torch.manual_seed(0)
    inputs = sl.Input((size, size, 3))
    x = sl.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = sl.layers.MaxPooling2D(2)(x)
    x = sl.layers.UpSampling2D(4)(sl.layers.Conv2D(8, 1, activation="relu")(x))
    model = sl.Model(inputs, sl.layers.Conv2D(classes, 1)(x))
    model.metadata.update(task="segment", classes=list("abc"), image=ImageSpec(size, size, 3, "letterbox").as_dict())
    return model


@pytest.mark.parametrize("size", [(160, 200), (131, 77), (1, 1), (65, 300), (64, 64)])
def test_tiles_answer_as_the_whole_where_the_network_sees_no_further(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    model = network()
    whole = sl.TrainedSegmenter(model, tile=512).segment(image)
    tiled = sl.TrainedSegmenter(model, tile=64, overlap=32).segment(image)
    assert whole.shape == size
    np.testing.assert_array_equal(tiled, whole)
    assert len(np.unique(whole)) > 1 or size == (1, 1)


def test_one_tile_is_the_network_itself():
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    model = network()
    said = model.predict(image[None].astype(np.float32), verbose=0)
    np.testing.assert_array_equal(sl.TrainedSegmenter(model, tile=64).segment(image), said[0].argmax(-1))
    np.testing.assert_array_equal(sl.TrainedSegmenter(model).segment(image), said[0].argmax(-1))


def test_a_segmenter_refuses_what_it_cannot_look_at(monkeypatch):
    with pytest.raises(ShapeError, match="no image"):
        sl.TrainedSegmenter(network()).segment(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(ShapeError, match="no image"):
        sl.TrainedSegmenter(network()).segment(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ArgumentError, match="at most half"):
        sl.TrainedSegmenter(network(), tile=64, overlap=40)
    monkeypatch.setattr("sightline.segmenting.stride_of", lambda model: 32)
    with pytest.raises(
        ArgumentError, match=r"a whole stride of the network, 32 pixels.*more than 32 pixels.*Received: 20"
    ):
        sl.TrainedSegmenter(network(), tile=20)
    assert sl.TrainedSegmenter(network(), tile=33).overlap == 32
    with pytest.raises(RunError, match="no segmentation"):
        sl.TrainedSegmenter(sl.create("mnist_cnn"))


def test_a_gray_image_is_looked_at_in_the_networks_colors():
    gray = np.random.default_rng(2).integers(0, 256, (40, 50), np.uint8)
    expected = sl.TrainedSegmenter(network()).segment(np.stack([gray] * 3, -1))
    np.testing.assert_array_equal(sl.TrainedSegmenter(network()).segment(gray), expected)
    np.testing.assert_array_equal(sl.TrainedSegmenter(network(), tile=64).segment(gray[..., None]).shape, (40, 50))


# --- runs -------------------------------------------------------------------------------------------------------------

SETTINGS = {"task": "segment", "image_size": 64, "epochs": 1, "batch_size": 8, "workers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(
        tmp_path_factory.mktemp("scenes") / "s", "segment", {"train": 24, "validation": 8, "test": 8}, size=(64, 80)
    )


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    return sl.train(scenes, runs=str(tmp_path_factory.mktemp("runs")), name="first", **SETTINGS)


def test_a_run_measures_what_a_confusion_of_all_pixels_says(scenes, trained):
    measures, problems = trained.evaluate()
    assert not problems
    confusion = np.zeros((11, 11), np.int64)
    samples = read(scenes, "segment").splits["test"]
    predictions, _ = trained.predict([sample.path for sample in samples])
    for sample, said in zip(samples, predictions, strict=True):
        truth, _ = read_mask(sample.mask)
        np.add.at(confusion, (truth, said.numbers), 1)
    assert measures.details["confusion"] == confusion.tolist()
    both, either = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    numbers = {each.name: each.value for each in measures.headlines}
    assert numbers["mean IoU"] == pytest.approx((both / np.maximum(either, 1))[either > 0].mean())
    assert numbers["pixel accuracy"] == pytest.approx(both.sum() / confusion.sum())
    assert all(each.interval[0] <= each.value <= each.interval[1] for each in measures.headlines)
    assert measures.headlines == trained.measures.headlines


def test_a_run_has_pictures_and_a_report(trained):
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(trained.path / name) as image:
            assert min(image.size) > 100
    page = (trained.path / "report.html").read_text(encoding="utf-8")
    assert "which of 11 classes each pixel shows" in page
    shown = [each["alt"] for each in require_good_page(trained.folder.report).all("img")]
    for words in ("Mean iou by epoch", "The truth: ", "What it found: ", "What speaks for it", "rotation"):
        assert any(words in alt for alt in shown), words
    assert "mean IoU" in page


def test_a_prediction_is_written_as_picture_mask_and_run_lengths(scenes, trained, tmp_path, run):
    from pycocotools import mask as coco

    file = read(scenes, "segment").splits["test"][0].path
    code, out, _ = run("predict", trained.path, file, "--save", tmp_path / "out", "--json", "--device", "cpu")
    assert code == 0
    (said,) = json.loads(out)["predictions"]
    (prediction,), _ = trained.predict(file)
    numbers = prediction.numbers
    assert (said["height"], said["width"]) == numbers.shape == (64, 80)
    rebuilt = np.full(numbers.shape, IGNORE, np.uint8)
    for each in said["segments"]:
        there = coco.decode(each["segmentation"]).astype(bool)
        assert each["area"] == there.sum()
        assert each["bbox"] == coco.toBbox(each["segmentation"]).tolist()
        rebuilt[there] = each["category_id"]
    np.testing.assert_array_equal(rebuilt, numbers)
    with Image.open(tmp_path / "out" / f"{file.stem}-mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), numbers)
        np.testing.assert_array_equal(np.array(mask.getpalette()[:33]).reshape(11, 3), voc_palette()[:11])
    with Image.open(tmp_path / "out" / f"{file.stem}.png") as drawn:
        assert drawn.size == (80, 64)


def test_tiles_of_a_run(scenes, trained, run):
    file = read(scenes, "segment").splits["test"][0].path
    code, out, err = run("predict", trained.path, file, "--tile", 64, "--device", "cpu")
    assert code == 0, err
    assert file.name in out.replace("\n", "")


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_bits(scenes, tmp_path):
    settings = SETTINGS | {"runs": str(tmp_path), "augment": "strong", "class_weights": "median", "image_size": 32}
    half = sl.train(scenes, name="half", **settings, schedule="constant")
    again = sl.train(resume=half.path, epochs=2)
    straight = sl.train(scenes, name="straight", **(settings | {"epochs": 2}), schedule="constant")
    last = [sl.load(each.path / "weights" / "last.sightline").state_dict() for each in (again, straight)]
    assert all(torch.equal(a, b) for a, b in zip(last[0].values(), last[1].values(), strict=True))


def test_classes_in_another_order_are_measured_alike(scenes, trained, tmp_path):
    """The same masks in colours, with a legend that names the classes in another order."""
    samples = read(scenes, "segment").splits["test"]
    palette, order = voc_palette(), [3, 0, 1, 2, 10, 9, 8, 7, 6, 5, 4]
    names = read(scenes, "segment").classes
    for sub in ("images", "masks"):
        (tmp_path / sub).mkdir()
    for sample in samples:
        (tmp_path / "images" / sample.path.name).write_bytes(sample.path.read_bytes())
        write_mask(read_mask(sample.mask)[0], tmp_path / "masks" / sample.path.name, "color")
    rows = [f"{names[i]},{','.join(map(str, palette[i]))}" for i in order]
    (tmp_path / "legend.csv").write_text("name,r,g,b\n" + "\n".join(rows) + "\n")
    measures, _ = trained.evaluate(tmp_path)
    assert [h.value for h in measures.headlines] == [h.value for h in trained.measures.headlines]


@pytest.mark.usefixtures("without_report")
def test_colors_travel_with_the_model(tmp_path):
    rng = np.random.default_rng(0)
    for sub in ("images", "masks"):
        (tmp_path / "data" / sub).mkdir(parents=True)
    colors = np.array([[10, 20, 30], [250, 0, 120]], np.uint8)
    for i in range(12):
        there = rng.random((40, 40)) < 0.5
        Image.fromarray((there * 200).astype(np.uint8)).convert("RGB").save(tmp_path / "data" / "images" / f"{i}.png")
        Image.fromarray(colors[there.astype(int)]).save(tmp_path / "data" / "masks" / f"{i}.png")
    (tmp_path / "data" / "legend.csv").write_text("name,r,g,b\nground,10,20,30\nthing,250,0,120\n")
    made = sl.train(tmp_path / "data", runs=str(tmp_path / "runs"), **SETTINGS, allow=["likeness"])
    assert made.model.metadata["colors"] == colors.tolist()
    (said,), _ = Run(made.path / "weights" / "best.sightline").predict(tmp_path / "data" / "images" / "0.png")
    assert said.colors == tuple(map(tuple, colors.tolist()))


def masked(folder, masks, size=(48, 48)):
    """A data set of these masks, with images of noise."""
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True)
    (folder / "legend.csv").write_text("value,name\n0,a\n1,b\n2,c\n")
    rng = np.random.default_rng(0)
    for i, mask in enumerate(masks):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / "images" / f"{i}.png")
        if mask is not None:
            Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return folder


def some_masks(n=12, size=(48, 48), kind=np.uint8):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 3, size).astype(kind) for _ in range(n)]


@pytest.mark.usefixtures("without_report")
def test_masks_of_sixteen_bits_and_pixels_without_a_class(tmp_path):
    masks = some_masks(kind=np.uint16)
    for mask in masks:
        mask[:10] = 255
    made = sl.train(masked(tmp_path / "d", masks), runs=str(tmp_path / "r"), **SETTINGS)
    counted = np.sum(made.measures.details["confusion"])
    assert counted == made.measures.n * 38 * 48


@pytest.mark.usefixtures("without_report")
def test_a_mask_of_nothing_known_neither_teaches_nor_counts(tmp_path):
    masks = some_masks()
    masks[0][:] = IGNORE
    made = sl.train(masked(tmp_path / "d", masks), runs=str(tmp_path / "r"), **(SETTINGS | {"batch_size": 1}))
    model = sl.load(made.path / "weights" / "last.sightline")
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    ("spoil", "words", "goes_on"),
    [
        (lambda masks: masks.__setitem__(2, np.full((48, 48), 77, np.uint8)), "values 77", False),
        (lambda masks: masks.__setitem__(2, masks[2][:20]), "its image", False),
        (lambda masks: masks.__setitem__(2, None), "has no mask", True),
    ],
)
def test_damaged_masks_get_a_sentence(tmp_path, run, spoil, words, goes_on):
    masks = some_masks(40)
    spoil(masks)
    data = masked(tmp_path / "d", masks)
    code, out, err = run(
        "train",
        data,
        "--task",
        "segment",
        "--epochs",
        1,
        "--image-size",
        32,
        "--runs",
        tmp_path / "r",
        "--device",
        "cpu",
    )
    assert words in out + err
    assert code == (0 if goes_on else 2)


def test_settings_that_cannot_be_are_told(scenes, run):
    for words, told in (
        (("--head", "unett"), "unet"),
        (("--pixel-loss", "dyce"), "dice"),
        (("--resize", "crop"), "letterbox"),
        (("--box-loss", "giou"), "--task localize"),
        (("--classes", "1"), "by class"),
    ):
        code, _, err = run("train", scenes, "--task", "segment", *words)
        assert code == 2, words
        assert told in err, words
    code, _, err = run("train", scenes, "--task", "detect", "--head", "fcn8s")
    assert code == 2
    assert "--task segment" in err


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("loss", ["dice", "focal", "cross-entropy+dice"])
def test_every_loss_learns(scenes, tmp_path, loss):
    made = sl.train(scenes, runs=str(tmp_path), **SETTINGS, pixel_loss=loss, class_weights="none")
    assert np.isfinite(read_json(made.path / "evaluation.json")["headlines"]["mean IoU"]["value"])


def test_weights_of_classes_are_those_of_the_trainings_pixels(scenes):
    dataset, spec = read(scenes, "segment"), ImageSpec(64, 80, 3)
    masks = [read_mask(sample.mask)[0] for sample in dataset.splits["train"]]
    kept = in_memory(dataset.samples, row_bytes(spec, masks=True), 10**9)
    counts = pixel_counts(Images(dataset.splits["train"], spec, kept), 11)
    np.testing.assert_array_equal(counts, [np.bincount(mask.ravel(), minlength=11) for mask in masks])


def test_a_segmentation_knows_the_memory_it_needs():
    from sightline.runs.networks import build_network, find_source

    model = build_network(Segment(), find_source("unet_small"), ImageSpec(128, 128, 3), ["a", "b"])
    goals = Segment().goals(model, 2, False, 0.0)
    model.compile(sl.optimizers.Adam(), goals.loss)
    small, large = (sl.measure.memory(model, batch_size=n).peak for n in (8, 32))
    assert large - small > 24 * 3 * 128 * 128 * 8 * 4  # what each further image keeps of the finest level alone


MEMORY = """
import resource, sys
import numpy as np
from PIL import Image
import sightline as sl
from sightline.segmenting import TrainedSegmenter
run = sl.Run(sys.argv[1], "cpu")
run.predict(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(said,), problems = run.predict(sys.argv[3], **({"tile": 256} if sys.argv[4] == "tiles" else {}))
assert said.size == (6000, 8000), said.size
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "most"), [("whole", 500), ("tiles", 900)])
def test_a_picture_of_48_megapixels_within_the_stated_memory(scenes, trained, tmp_path, how, most):
    """docs/segmentation.md states these MB."""
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(picture).resize((8000, 6000)).save(tmp_path / "large.jpg")
    small = read(scenes, "segment").splits["test"][0].path
    words = [sys.executable, "-c", MEMORY, str(trained.path), str(small), str(tmp_path / "large.jpg"), how]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1000 < most


def test_a_picture_of_one_pixel(trained, tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "one.png")
    (said,), problems = trained.predict(tmp_path / "one.png")
    assert not problems
    assert said.numbers.shape == (1, 1)
