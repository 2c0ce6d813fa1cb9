"""What `data.check` finds, and what a training then goes on without; copies stay on one side of a split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

import sightline as sl
from sightline.data.census import THUMBNAIL, Facts, census, look, read_facts
from sightline.data.checks import check, stop_on_errors, usable
from sightline.data.duplicates import clusters, exact_copies, near_copies
from sightline.data.findings import KINDS
from sightline.data.recipes import recipe
from sightline.data.splits import stratified_split, with_copies_together, with_splits
from sightline.errors import ArgumentError, DataError
from sightline.structures import Boxes, Dataset, Mask, MaskCoding, Sample


def picture(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """A smooth picture with structure, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def photos(root: Path, n: int = 20, first: int = 0) -> Path:
    for name in ("cat", "dog"):
        for i in range(n):
            saved(root / name / f"{name}{i}.png", picture(first + i + (1000 if name == "dog" else 0)))
    return root


def kinds(checked) -> dict[str, int]:
    return {finding.kind: finding.count for finding in checked.findings}


def boxed(root: Path, boxes: list, labels: list[int], size=None, task: str = "detect") -> Dataset:
    sample = Sample(saved(root / "a.png", picture(0, (100, 200))), boxes=Boxes(boxes, labels), size=size)
    others = [
        Sample(saved(root / f"{i}.png", picture(i + 1, (100, 200))), boxes=Boxes([[10, 10, 50, 50]] * 0))
        for i in range(3)
    ]
    return Dataset(root, ("x",), {"all": (sample, *others)}, task=task, format="coco")


# --- findings ----------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_good_photos(tmp_path):
    assert kinds(sl.data.check(photos(tmp_path))) == {}


def test_files_that_cannot_be_read(tmp_path):
    photos(tmp_path)
    (tmp_path / "cat" / "cat3.png").write_bytes(b"")
    whole = (tmp_path / "dog" / "dog5.png").read_bytes()
    (tmp_path / "dog" / "dog5.png").write_bytes(whole[: len(whole) // 2])
    checked = sl.data.check(tmp_path)
    assert kinds(checked) == {"unreadable": 2}
    assert sorted(str(p) for p in checked.findings[0].problems) == [
        f"{tmp_path}/cat/cat3.png: is empty (0 bytes)", f"{tmp_path}/dog/dog5.png: is truncated",
    ]  # fmt: skip


def test_the_same_picture_twice(tmp_path):
    photos(tmp_path)
    copy = (tmp_path / "cat" / "cat0.png").read_bytes()
    (tmp_path / "cat" / "again.png").write_bytes(copy)
    (tmp_path / "dog" / "wrong.png").write_bytes(copy)
    saved(tmp_path / "dog" / "smaller.jpg", Image.open(tmp_path / "dog" / "dog1.png").resize((52, 39)), quality=80)
    found = kinds(sl.data.check(tmp_path))
    assert found == {"copies": 2, "conflicting-labels": 1, "likeness": 1}


@pytest.mark.parametrize(("copy", "kind"), [("bytes", "copies-across-splits"), ("jpeg", "likeness-across-splits")])
def test_a_picture_in_two_given_splits(tmp_path, copy, kind):
    photos(tmp_path / "train")
    photos(tmp_path / "test", 12, first=5000)
    source = tmp_path / "train" / "cat" / "cat0.png"
    if copy == "bytes":
        (tmp_path / "test" / "cat" / "c.png").write_bytes(source.read_bytes())
    else:
        saved(tmp_path / "test" / "cat" / "c.jpg", Image.open(source), quality=70)
    checked = sl.data.check(tmp_path)
    assert kinds(checked) == {kind: 1}
    assert "(" in checked.findings[0].problems[0].reason
    assert "cat/cat0.png" in checked.findings[0].problems[0].reason + str(checked.findings[0].problems[0].path)
    assert bool(checked.errors) == (copy == "bytes")


def test_sizes_and_proportions(tmp_path, monkeypatch):
    photos(tmp_path)
    saved(tmp_path / "cat" / "tiny.png", picture(77, (20, 48)))
    saved(tmp_path / "cat" / "long.png", picture(78, (40, 400)))
    monkeypatch.setattr("sightline.data.checks.HUGE", 10_000)
    assert kinds(sl.data.check(tmp_path)) == {"tiny-image": 1, "odd-proportions": 1, "huge-image": 1}


def test_classes_that_are_few_or_far_fewer_or_absent(tmp_path):
    for i in range(60):
        saved(tmp_path / "train" / "many" / f"{i}.png", picture(i))
    for i in range(11):
        saved(tmp_path / "train" / "some" / f"{i}.png", picture(100 + i))
    for i in range(4):
        saved(tmp_path / "train" / "few" / f"{i}.png", picture(200 + i))
    saved(tmp_path / "test" / "many" / "t.png", picture(300))
    checked = sl.data.check(tmp_path)
    assert kinds(checked) == {"imbalance": 1, "few": 1, "class-absent": 2}
    reasons = {f.kind: f.problems[0].reason for f in checked.findings}
    assert reasons["imbalance"] == "some has 11 images, many 60"
    assert reasons["few"] == "few has 4 images"


@pytest.mark.parametrize(
    ("box", "kind", "kept"),
    [
        ([10, 10, 40, 40], None, [10, 10, 40, 40]),
        ([0, 0, 200.5, 100.9], None, [0, 0, 200, 100]),
        ([10, np.nan, 40, 40], "box-not-a-number", None),
        ([10, 10, np.inf, 40], "box-not-a-number", None),
        ([40, 10, 10, 40], "box-inverted", None),
        ([10, 10, 10, 40], "box-empty", None),
        ([200, 10, 240, 40], "box-outside", None),
        ([-30, 10, 0, 40], "box-outside", None),
        ([-5, 10, 40, 40], "box-over-edge", [0, 10, 40, 40]),
        ([10, 10, 13, 40], "tiny-box", [10, 10, 13, 40]),
    ],
)
def test_boxes(tmp_path, box, kind, kept):
    dataset = boxed(tmp_path, [box], [0])
    facts = census(dataset.samples, 1)
    found = kinds(check(dataset, facts))
    found.pop("few", None)
    assert found == ({} if kind is None else {kind: 1})
    (first, *_) = usable(dataset, facts).splits["all"]
    assert first.boxes.xyxy.tolist() == ([] if kept is None else [kept])
    assert first.size == (100, 200)


def test_boxes_twice_and_without_a_class(tmp_path):
    dataset = boxed(tmp_path, [[10, 10, 40, 40], [10, 10, 40, 40], [50, 10, 90, 40]], [0, 0, -1])
    facts = census(dataset.samples, 1)
    assert {"box-twice", "class-unknown"} <= kinds(check(dataset, facts)).keys()
    assert usable(dataset, facts).splits["all"][0].boxes == Boxes([[10, 10, 40, 40]], [0])


def test_a_label_of_another_size_is_an_error(tmp_path):
    """As when boxes were drawn on a photo that was shown lying on its side."""
    dataset = boxed(tmp_path, [[10, 10, 40, 40]], [0], size=(200, 100))
    checked = check(dataset, census(dataset.samples, 1))
    assert [finding.kind for finding in checked.errors] == ["size-differs"]
    assert "200x100 pixels, its label says 100x200" in checked.errors[0].problems[0].reason


def test_masks(tmp_path):
    coding = MaskCoding("index", (0, 1), (255,))
    good = np.random.default_rng(0).integers(0, 2, (48, 64), dtype=np.uint8)
    masks = {"good": good, "small": good[:40], "unknown": np.where(good == 0, 7, good).astype(np.uint8)}
    samples = []
    for i, (name, values) in enumerate(masks.items()):
        path = saved(tmp_path / "masks" / f"{name}.png", Image.fromarray(values))
        samples.append(Sample(saved(tmp_path / "images" / f"{name}.png", picture(i)), mask=Mask(path, coding)))
    broken = tmp_path / "masks" / "broken.png"
    broken.write_text("no picture")
    samples.append(Sample(saved(tmp_path / "images" / "broken.png", picture(9)), mask=Mask(broken, coding)))
    dataset = Dataset(tmp_path, ("background", "thing"), {"all": tuple(samples)}, task="segment", format="masks")
    facts = census(samples, 2)
    checked = check(dataset, facts)
    assert kinds(checked) == {"mask-unreadable": 1, "mask-size": 1, "mask-values": 1}
    assert str(checked.findings[2].problems[0]) == f"{tmp_path}/masks/unknown.png: has the values 7"
    assert [s.path.stem for s in usable(dataset, facts).splits["all"]] == ["good", "unknown"]


def test_groups_in_two_splits(tmp_path):
    photos(tmp_path / "train")
    photos(tmp_path / "test", 12, first=5000)
    checked = sl.data.check(tmp_path, group_pattern=r"(\d+)\.png")
    assert [finding.kind for finding in checked.errors] == ["group-across-splits"]
    assert checked.errors[0].count == 12


def test_errors_stop_and_may_be_allowed(tmp_path):
    dataset = boxed(tmp_path, [[40, 10, 10, 40], [300, 10, 340, 40]], [0, 0])
    checked = check(dataset, census(dataset.samples, 1))
    with pytest.raises(DataError, match="box-inverted") as caught:
        stop_on_errors(checked, ["box-outside"])
    assert "--allow box-inverted goes on without the box" in str(caught.value)
    assert "box-outside" not in str(caught.value)
    stop_on_errors(checked, ["box-outside", "box-inverted"])
    with pytest.raises(ArgumentError, match="box-inverted"):
        stop_on_errors(checked, ["box-inverte"])


def test_every_kind_has_what_to_do():
    for name, kind in KINDS.items():
        assert kind.severity in ("error", "warning", "info"), name
        assert kind.meaning
        assert kind.fix


# --- the census --------------------------------------------------------------------------------------------------


def test_facts_are_kept_until_a_file_changes(tmp_path, monkeypatch):
    photos(tmp_path / "data")
    (tmp_path / "data" / "cat" / "cat1.png").write_bytes(b"")
    dataset = sl.data.read(tmp_path / "data")
    looked: list[Path] = []
    monkeypatch.setattr("sightline.data.census.look", lambda sample: looked.append(sample.path) or look(sample))

    def facts() -> list[Facts]:
        looked.clear()
        return census(dataset.samples, 2, folder=tmp_path / "cache", root=dataset.root)

    first = facts()
    assert len(looked) == 40
    again = facts()
    assert looked == []
    for one, other in zip(first, again, strict=True):
        assert (one.size, one.digest, one.problem) == (other.size, other.digest, other.problem)
        assert one.thumbnail is None or np.array_equal(one.thumbnail, other.thumbnail)
    saved(tmp_path / "data" / "cat" / "cat1.png", picture(5))
    assert facts()[1].problem is None
    assert looked == [tmp_path / "data" / "cat" / "cat1.png"] or len(looked) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert read_facts(kept) == {}
    facts()
    assert len(looked) == 40


def test_a_cache_folder_that_cannot_be_written_costs_nothing_else(tmp_path):
    photos(tmp_path / "data")
    (tmp_path / "blocked").write_text("a file where the folder should be")
    dataset = sl.data.read(tmp_path / "data")
    assert len(census(dataset.samples, 1, folder=tmp_path / "blocked", root=dataset.root)) == 40


# --- copies ------------------------------------------------------------------------------------------------------


def test_likeness_survives_saving_resizing_and_brightness_and_nothing_else(tmp_path):
    original = picture(0, (200, 300))
    changed = {
        "jpeg": original, "small": original.resize((120, 80)), "bright": ImageEnhance.Brightness(original).enhance(1.2),
        "gray": original.convert("L"),
    }  # fmt: skip
    paths = [saved(tmp_path / "original.png", original)]
    paths += [saved(tmp_path / f"{name}.jpg", image, quality=60) for name, image in changed.items()]
    paths += [
        saved(tmp_path / "mirrored.png", original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        saved(tmp_path / "squeezed.png", original.resize((200, 200))),
        *(saved(tmp_path / f"other{i}.png", picture(i, (200, 300))) for i in range(1, 40)),
    ]
    pairs = near_copies([look(Sample(path)) for path in paths])
    assert set(pairs) == {(i, j) for j in range(5) for i in range(j)}


def test_flat_pictures_are_only_alike_to_the_byte(tmp_path):
    paths = [saved(tmp_path / f"{i}.png", Image.new("RGB", (40, 40), (i, i, i))) for i in (0, 1, 200)]
    paths.append(tmp_path / "copy.png")
    paths[-1].write_bytes(paths[0].read_bytes())
    facts = [look(Sample(path)) for path in paths]
    assert near_copies(facts) == []
    assert exact_copies(facts) == [[0, 3]]


def test_near_copies_are_those_of_brute_force():
    """Pairs over several blocks of the comparison, against correlations in float64."""
    chance = np.random.default_rng(0)
    grays = chance.integers(0, 256, (5000, THUMBNAIL, THUMBNAIL)).astype(np.uint8)
    originals = chance.permutation(5000)[:300]
    for i in originals:
        copy = int(chance.integers(5000))
        grays[copy] = np.clip(grays[i] + chance.normal(0, chance.uniform(0, 20), grays[i].shape), 0, 255)
    facts = [Facts((10, 10), bytes(16), gray) for gray in grays]
    found = near_copies(facts)
    values = grays.reshape(5000, -1).astype(float)
    values -= values.mean(1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    correlation = np.triu(values @ values.T, 1)
    sure, maybe = np.argwhere(correlation >= 0.99 + 1e-5), np.argwhere(correlation >= 0.99 - 1e-5)
    assert len(sure) > 50
    assert {tuple(pair) for pair in sure} <= set(found) <= {tuple(pair) for pair in maybe}


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.lists(st.integers(0, n - 1), min_size=1, max_size=4)))
    )
)
def test_clusters_are_connected_components(case):
    count, groups = case
    found = clusters(count, groups)
    reachable = {i: {i} for i in range(count)}
    for _ in range(count):
        for group in groups:
            together = set().union(*(reachable[i] for i in group))
            for i in together:
                reachable[i] = together
    for i in range(count):
        assert {j for j in range(count) if found[j] == found[i]} == reachable[i]


# --- splits ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=10, max_size=150), st.integers(0, 1000))
@settings(max_examples=80)
def test_a_group_is_never_parted(rows, seed):
    samples = [
        Sample(Path(f"{i}.png"), label, group=None if group > 6 else f"g{group}")
        for i, (label, group) in enumerate(rows)
    ]
    kept, held = stratified_split(samples, 0.2, seed)
    assert sorted([*kept, *held], key=lambda s: s.path) == sorted(samples, key=lambda s: s.path)
    assert not {s.group for s in kept} & {s.group for s in held} - {None}
    for label in {s.label for s in samples}:
        assert any(s.label == label for s in kept)
    assert (kept, held) == stratified_split(samples, 0.2, seed)


def test_a_share_is_met_where_groups_are_small():
    chance = np.random.default_rng(0)
    samples = [Sample(Path(f"{i}.png"), i % 4, group=f"patient {chance.integers(250)}") for i in range(1000)]
    _, held = stratified_split(samples, 0.2, 3)
    counts = np.bincount([s.label for s in held])
    assert np.abs(counts - 50).max() <= 8


def test_boxes_are_stratified_by_the_classes_that_an_image_shows():
    chance = np.random.default_rng(0)
    samples = []
    for i in range(600):
        labels = [c for c, p in enumerate((0.9, 0.3, 0.05)) if chance.random() < p]
        samples.append(Sample(Path(f"{i}.png"), boxes=Boxes([[0, 0, 5, 5]] * len(labels), labels)))
    _, held = stratified_split(samples, 0.2, 1)
    for label in range(3):
        total = sum(label in s.boxes.labels for s in samples)
        assert abs(sum(label in s.boxes.labels for s in held) - 0.2 * total) <= max(3, 0.03 * total)


def test_copies_are_on_one_side(tmp_path):
    """Planted copies and re-savings never part, whatever the seed; without the facts they do."""
    root = photos(tmp_path, 30)
    for i in range(10):
        (root / "cat" / f"copy{i}.png").write_bytes((root / "cat" / f"cat{i}.png").read_bytes())
        saved(root / "dog" / f"again{i}.jpg", Image.open(root / "dog" / f"dog{i}.png"), quality=75)
    dataset = sl.data.read(root)
    together = with_copies_together(dataset, census(dataset.samples, 2))
    parted = 0
    for seed in range(5):
        for data, naive in ((together, False), (dataset, True)):
            where = {s.path.stem: split for split, own in with_splits(data, seed).splits.items() for s in own}
            for i in range(10):
                pairs = [(f"copy{i}", f"cat{i}"), (f"again{i}", f"dog{i}")]
                parted += naive and sum(where[a] != where[b] for a, b in pairs)
                assert naive or all(where[a] == where[b] for a, b in pairs)
    assert parted > 10


@pytest.mark.usefixtures("without_report")
def test_pictures_of_one_fixed_camera_can_be_trained_on(tmp_path, capsys):
    """All are alike from afar, so near copies have to part; they are said to."""
    draw = np.random.default_rng(0)
    for name in ("good", "bad"):
        for i in range(20):
            pixels = np.asarray(picture(0)).copy()
            pixels[draw.integers(40) :][:3, draw.integers(50) :][:, :3] = draw.integers(256)
            saved(tmp_path / "data" / name / f"{i}.png", Image.fromarray(pixels))
    for words, warned in (({}, True), ({"allow": ["likeness"]}, False)):
        run = sl.train(
            tmp_path / "data", model="small_cnn", image_size=16, epochs=1, runs=str(tmp_path / "runs"), exist_ok=True,
            **words,
        )  # fmt: skip
        splits = json.loads((run.path / "data.json").read_text())["splits"]
        assert [len(rows) for rows in splits.values()] == [28, 6, 6]
        assert ("look alike from afar" in capsys.readouterr().out) == warned


@pytest.mark.usefixtures("without_report")
def test_evaluate_reads_what_the_data_are_now(run, tmp_path):
    """The data that a run was trained on, changed since: given splits are read anew, drawn ones refused where they differ."""
    root = photos(tmp_path / "data", 12)
    rows = [f"data/{n}/{n}{i}.png,{n},{'test' if i > 8 else 'train'}" for n in ("cat", "dog") for i in range(12)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    given_run = sl.train(table, image_size=16, epochs=1, runs=str(tmp_path / "runs"), name="table")
    before = given_run.evaluate(table)[0].headlines[0].value
    swapped = [
        row.replace(",cat,", ",x,").replace(",dog,", ",cat,").replace(",x,", ",dog,") if "test" in row else row
        for row in rows
    ]
    table.write_text("\n".join(["path,label,split", *swapped]))
    assert given_run.evaluate(table)[0].headlines[0].value == pytest.approx(1 - before)
    assert run("evaluate", given_run.path, table, "--format", "bogus")[0] == 2
    drawn = sl.train(root, image_size=16, epochs=1, runs=str(tmp_path / "runs"), name="drawn")
    assert drawn.evaluate(root)[0].split == "test"
    held = json.loads((drawn.path / "data.json").read_text())["splits"]["test"][0][0]
    (root / held).unlink()
    code, _, err = run("evaluate", drawn.path, root)
    assert code == 2
    assert "has changed since the training" in err


def test_augment_names_that_are_no_text_are_refused():
    with pytest.raises(ArgumentError, match="'1'"):
        recipe("classify", {1: 2})


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command(run, tmp_path):
    photos(tmp_path / "data" / "train")
    photos(tmp_path / "data" / "test", 12, first=5000)
    code, out, _ = run("check", tmp_path / "data")
    assert code == 0
    assert "class-folders, classify, 2 classes; test 24, train 40; nothing wrong" in out
    (tmp_path / "data" / "test" / "cat" / "c.png").write_bytes(
        (tmp_path / "data" / "train" / "cat" / "cat0.png").read_bytes()
    )
    code, out, _ = run("check", tmp_path / "data", "--preview", tmp_path / "sheet.png")
    assert code == 2
    assert "error     copies-across-splits      1" in out
    assert Image.open(tmp_path / "sheet.png").size[0] > 500
    code, out, _ = run("check", tmp_path / "data", "--json")
    assert code == 2
    told = json.loads(out)
    assert told["splits"] == {"test": 25, "train": 40}
    assert [f["kind"] for f in told["findings"]] == ["copies-across-splits"]
    code, _, err = run("train", tmp_path / "data", "--image-size", "16", "--epochs", "1", "--runs", tmp_path / "runs")
    assert code == 2
    assert "copies-across-splits" in err
    assert not (tmp_path / "runs").exists()
    words = ("--allow", "copies-across-splits", "--augment", "light", "--augment", "rotate=20", "--resize", "letterbox")
    code, out, err = run(
        "train", tmp_path / "data", "--image-size", "16", "--epochs", "1", "--runs", tmp_path / "runs", *words
    )
    assert (code, err) == (0, "")
    page = (tmp_path / "runs/classify/data-small_cnn/report.html").read_text()
    assert "the same picture in two splits" in page
    for word in ("--augment light", "--augment rotate=20", "--resize letterbox", "--allow copies-across-splits"):
        assert word in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no folder nowhere"),
        (["data", "--task", "detekt"], "detect"),
        (["data", "--task", "detect"], "no labels for the task detect"),
        (["data", "--format", "coc"], "coco"),
        (["data", "--format", "voc"], "data"),
        (["data", "--group-pattern", "("], "no regular expression"),
        (["data", "--group-pattern", "zzz"], "matches no path"),
        (["data", "--classes", "cat"], "Only boxes"),
        (["data", "--preview", "x.png", "--augment", "lihgt"], "light"),
        (["data", "--preview", "x.png", "--augment", "rotate=wild"], "rotate"),
        (["data", "--augment", "strog"], "strong"),
    ],
)
def test_the_command_with_wrong_words(run, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "data")
    code, _, err = run("check", *words)
    assert code == 2
    assert said in err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--augment", "mosaic=0.5"], "mosaic leaves no label"),
        (["--augment", "flip=1"], "flip_horizontal"),
        (["--resize", "crops"], "crop"),
        (["--image-size", "1000000"], "at most 16384"),
        (["--allow", "everything"], "kind of finding"),
        (["--format", "vok"], "voc"),
    ],
)
def test_a_training_with_wrong_words(run, tmp_path, flags, said):
    photos(tmp_path / "data", 4)
    code, _, err = run("train", tmp_path / "data", *flags, "--runs", tmp_path / "runs")
    assert code == 2
    assert said in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("without_report")
@pytest.mark.slow
def test_a_training_with_shares_of_classes_and_a_warm_cache(tmp_path, monkeypatch):
    """Mixup trains on shares; and the pixels' way, cold, warm or not kept, changes nothing."""
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    photos(tmp_path / "data", 12)
    weights = []
    for name, kept in (("cold", True), ("warm", True), ("none", False)):
        run = sl.train(
            tmp_path / "data",
            image_size=16,
            epochs=2,
            augment="strong",
            name=name,
            cache=kept,
            runs=str(tmp_path / "runs"),
        )
        weights.append((run.path / "weights" / "last.sightline").read_bytes())
    assert weights[0] == weights[1] == weights[2]
    assert [p.name.split("-")[0] for p in (tmp_path / "cache").iterdir() if p.suffix != ".npz"] == ["pixels"]
