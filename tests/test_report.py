"""The report and the model card: of any run, also of an old one, a damaged one, and one whose data are gone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import sightline as sl
from pages import require_good_page
from sightline.report import facts
from sightline.report.pictures import Pictures, smaller
from sightline.runs import Run
from sightline.structures import Boxes, ImageSpec, Sample
from sightline.tasks import Measures
from sightline.tasks.base import Headline
from sightline.tasks.cases import ends_of

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    for kind, level in (("dark <b>", 60), ("light | gray", 190)):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = draw.normal(level, 40, (14, 20, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{i}.png")
    return sl.train(
        folder / "photos", model="small_cnn", image_size=16, epochs=1, runs=str(folder / "runs"), name="own"
    )


@pytest.fixture
def copied(trained, tmp_path):
    return Run(shutil.copytree(trained.path, tmp_path / "copied"))


def changed(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_report_and_the_card_say_the_same(trained):
    page = trained.folder.report.read_text(encoding="utf-8")
    card = trained.folder.card.read_text(encoding="utf-8")
    for headline in trained.measures.headlines:
        assert f"{100 * headline.value:.1f} %" in page
        assert re.search(rf"\| {headline.name} \| {100 * headline.value:.1f} % \| ", card)
    for words in ("small_cnn", "sightline train", "dark", "0.1.0"):
        assert words in page
        assert words in card
    head = yaml.safe_load(card.split("---")[1])
    assert head["pipeline_tag"] == "image-classification"
    assert "dark &lt;b&gt;" in page
    assert "dark <b>" not in page


def test_the_report_is_a_good_page(trained):
    page = require_good_page(trained.folder.report)
    shown = [each["alt"] for each in page.all("img")]
    for words in (
        "Loss by epoch",
        "Accuracy by epoch",
        "Learning rate",
        "Confusion",
        "What speaks for it",
        "one place of",
        "rotation",
    ):
        assert any(words in alt for alt in shown), words
    assert "Left out" not in trained.folder.report.read_text(encoding="utf-8")


def test_a_run_whose_pictures_are_gone_has_a_report_without_them(copied):
    changed(copied.folder.data, lambda data: data.update(root=str(copied.path / "gone")))
    changed(copied.folder.evaluation, lambda said: [case.update(path="gone.png") for case in said["details"]["cases"]])
    said = []
    copied.report(said.append)
    require_good_page(copied.folder.report)
    assert any("gone" in line for line in said)
    page = copied.folder.report.read_text(encoding="utf-8")
    assert "are not where they were" in page
    assert "What speaks for it" not in page


def test_an_old_run_has_a_report(copied):
    changed(copied.folder.evaluation, lambda said: [said["details"].pop(name) for name in ("cases", "calibration")])
    changed(copied.folder.data, lambda data: data.pop("findings"))
    for file in (copied.folder.picture, copied.folder.calibration, copied.folder.curves):
        file.unlink()
    copied.report()
    require_good_page(copied.folder.report)
    assert "not checked" in copied.folder.report.read_text(encoding="utf-8")


def test_a_picture_that_is_damaged_is_left_out_with_a_sentence(copied):
    copied.folder.picture.write_bytes(b"no picture")
    said = []
    copied.report(said.append)
    require_good_page(copied.folder.report)
    assert "Left out" in copied.folder.report.read_text(encoding="utf-8")
    assert "confusion.png" in said[0]


def test_a_hundred_classes_with_long_names_fit(copied):
    names = [f"{'very ' * 12}long-name-{'x' * 60}-{i}" for i in range(100)]
    confusion = np.random.default_rng(0).integers(0, 9, (100, 100))

    def more(said):
        row = said["details"]["classes"][0]
        said["details"].update(
            classes=[row | {"class": name} for name in names], confusion=confusion.tolist(), cases=[]
        )

    changed(copied.folder.evaluation, more)
    changed(copied.folder.data, lambda data: data.update(classes=names))
    copied.model.metadata["classes"] = names
    copied.report()
    page = require_good_page(copied.folder.report)
    assert not any("Confusion" in each["alt"] for each in page.all("img"))
    assert len(page.all("details")) == 3


def test_a_measure_of_nothing_is_a_sentence_and_null():
    measures = Measures(
        "test", 1, (Headline("mAP", float("nan"), (float("nan"), float("nan"))), Headline("a", 0.5, (0.25, 0.75))), {}
    )
    text = json.dumps(measures.as_dict(), allow_nan=False)
    again = Measures.from_dict(json.loads(text))
    assert str(again.headlines[0]) == "mAP is not known: there is nothing to measure it on"
    assert str(again.headlines[1]) == "a 0.5000 (95 % interval 0.2500 to 0.7500)"
    assert again.as_dict() == measures.as_dict()


def test_best_and_worst_are_no_image_twice():
    scores = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])
    assert ends_of(scores, 2) == [(2, True), (4, True), (3, False), (5, False)]
    assert ends_of(scores[:1]) == [(0, True)]
    assert ends_of(np.array([])) == []


def test_pictures_end_where_there_is_no_room():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    pictures = Pictures(budget=9000)
    made = [pictures.photo(image, "noise") for _ in range(3)]
    assert made[0] is not None
    assert made[-1] is None
    assert pictures.left_out == made.count(None)
    assert sum(len(each.address) for each in made if each) <= 9000
    assert smaller(image.crop((0, 0, 64, 32)), 100).size == (100, 50)


@pytest.mark.parametrize(("seconds", "changes", "images"), [(1e-6, 6, 48), (0.01, 6, 33), (0.1, 2, 9), (10.0, 1, 8)])
def test_the_curves_of_invariance_take_what_time_there_is(seconds, changes, images):
    chosen, count = facts.affordable(seconds, facts.MOST)
    assert (len(chosen), count) == (changes, images)
    assert len(chosen) == 1 or seconds * facts.LEAST * (1 + sum(map(len, chosen.values()))) <= facts.SECONDS


def test_objects_are_measured_as_the_network_is_fed_them():
    samples = [
        Sample(Path("a"), boxes=Boxes([[0, 0, 50, 20], [5, 5, 5, 9]], [0, 0]), size=(100, 200)),
        Sample(Path("b"), 0),
    ]
    sides = facts.object_sides(samples, ImageSpec(100, 100, 3))
    np.testing.assert_allclose(sides, [[20, 25]])
    network = sl.Sequential(
        [sl.Input((100, 100, 3)), sl.layers.Conv2D(2, 21), sl.layers.Conv2D(2, 5, strides=2, name="last")]
    )
    (stage,) = [each for each in facts.stages_of(network, ImageSpec(100, 100, 3)) if each.name == "last"]
    assert stage.sees == "25 x 25 pixels"
    assert stage.stride == "2"
    assert facts.share_larger(sides, stage) == 0
    assert facts.share_larger(sides + 1, stage) == 1
    assert facts.share_larger(sides[:0], stage) is None


def test_what_is_mixed_up_most():
    pairs = facts.mixed_up([[5, 3, 0], [0, 9, 1], [0, 0, 0]], ["a", "b", "c"])
    assert pairs == [("a", "b", 3, 3 / 8), ("b", "c", 1, 0.1)]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_every_picture_and_no_overflow(trained, tmp_path):
    """In frames as wide as a phone, a tablet and a screen, whose sizes a page around them reads."""
    report = trained.folder.report.read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(report, encoding="utf-8")
    frames = "".join(f'<iframe src="report.html" style="width:{w}px;height:800px"></iframe>' for w in (360, 768, 1280))
    script = """onload = () => document.body.textContent = "RESULT" + JSON.stringify([...document.querySelectorAll("iframe")].map(f => {
        const d = f.contentDocument; return [d.scrollingElement.scrollWidth - f.clientWidth,
        [...d.images].filter(i => !i.naturalWidth).length, d.images.length]}))"""
    (tmp_path / "around.html").write_text(f"<body>{frames}<script>{script}</script>")
    words = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--dump-dom",
    ]
    words += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "around.html").as_uri()]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120).stdout
    for overflow, missing, pictures in json.loads(re.search(r"RESULT(\[\[.*?\]\])", said)[1]):
        assert overflow <= 0
        assert missing == 0
        assert pictures > 10
