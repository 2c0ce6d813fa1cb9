"""The command line with bad input: it says what, where and how to mend it, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import sightline as sl
from sightline.data.decode import decode
from sightline.structures import ImageSpec

COLORS = {"blue": (20, 30, 220), "green": (20, 220, 30), "red": (220, 30, 20)}
QUICK = ("--model", "small_cnn", "--image-size", "16", "--epochs", "1", "--workers", "2")


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch) -> Path:
    """Every test stands in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expect_refusal(run):
    """A command that must fail with code 2 and these words, and leave no run."""

    def call(*command: object, words: tuple[str, ...], runs: str = "runs"):
        before = tree(Path(runs))
        said = run(*command)
        assert said.code == 2
        for word in words:
            assert word in said.err
        assert tree(Path(runs)) == before
        return said

    return call


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and folder below, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"/" for p in folder.rglob("*")}


def write_colors(folder: Path, *, each: int = 20, classes: tuple[str, ...] = ("blue", "green", "red")) -> Path:
    """Class folders of small noisy images that differ by color."""
    draw = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = np.clip(np.array(COLORS.get(name, (128, 128, 128))) + draw.integers(-20, 21, (12, 10, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{name}{i:02d}.png")
    return folder


@pytest.fixture
def colors(work) -> Path:
    return write_colors(work / "colors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, no_report) -> Path:
    """A finished run, for tests that only read it; its data lie beside it in `colors`."""
    root = tmp_path_factory.mktemp("trained")
    data = write_colors(root / "colors")
    with no_report():
        return sl.train(
            data, model="small_cnn", image_size=16, epochs=2, workers=2, runs=str(root / "runs"), name="good"
        ).path


@pytest.fixture
def copied(trained, work) -> Path:
    """The finished run, to be spoilt."""
    return Path(shutil.copytree(trained, work / "copied"))


# --- folders ---------------------------------------------------------------------------------------------------


def test_a_good_folder_trains(run, colors):
    said = run("train", colors, *QUICK)
    assert (said.code, said.err) == (0, "")
    folder = Path("runs/classify/colors-small_cnn")
    assert f"Report {folder}/report.html" in said.out
    assert {p.name for p in folder.iterdir()} >= {"config.yaml", "data.json", "results.csv", "weights", "report.html"}


def test_empty_folder(expect_refusal, work):
    (work / "nothing").mkdir()
    expect_refusal(
        "train", "nothing", *QUICK, words=("nothing holds nothing to train on", "no image", "nothing/<class>/")
    )


def test_one_class_only(expect_refusal, work):
    write_colors(work / "colors", classes=("red",))
    expect_refusal(
        "train", "colors", *QUICK, words=("colors holds one class only", "'red'", "at least two class folders")
    )


def test_missing_folder(expect_refusal):
    expect_refusal("train", "nowhere", *QUICK, words=("nowhere", "no folder", "Check the path"))


@pytest.mark.usefixtures("without_report")
def test_runs_that_lie_in_the_data_are_no_class(run, colors, monkeypatch):
    monkeypatch.chdir(colors)
    for name in ("first", "second"):
        assert run("train", ".", *QUICK, "--name", name).code == 0
        data = json.loads(Path("runs/classify", name, "data.json").read_text())
        assert data["classes"] == ["blue", "green", "red"]


def test_no_folder_named(expect_refusal):
    expect_refusal("train", *QUICK, words=("no data", "sightline train FOLDER"))


def test_file_instead_of_folder(expect_refusal, colors):
    expect_refusal("train", "colors/red/red00.png", *QUICK, words=("colors/red/red00.png is a file", "folder"))


def test_folder_name_of_300_letters(expect_refusal):
    expect_refusal("train", "x" * 300, *QUICK, words=("x" * 300,))


# --- arguments -------------------------------------------------------------------------------------------------


def test_unknown_model_offers_the_nearest(expect_refusal, colors):
    expect_refusal("train", colors, "--model", "smal_cnn", words=("'smal_cnn'", "Did you mean", '"small_cnn"'))


def test_unknown_model_with_nothing_near_lists_all(expect_refusal, colors):
    expect_refusal("train", colors, "--model", "zzzzzzzz", words=("'zzzzzzzz'", "small_cnn", "lenet5"))


def test_unknown_flag(expect_refusal, colors):
    expect_refusal("train", colors, "--epoch", "3", words=("--epoch", "--epochs"))


def test_unknown_command(expect_refusal):
    expect_refusal("trian", words=("trian", "train"))


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--image-size", "0", ("at least 1", "0")),
        ("--image-size", "-3", ("at least 1", "-3")),
        ("--image-size", "big", ("integer",)),
        ("--lr", "nan", ("above 0", "nan")),
        ("--lr", "inf", ("above 0", "inf")),
        ("--lr", "0", ("above 0",)),
        ("--epochs", "-1", ("at least 1", "-1")),
        ("--epochs", "0", ("at least 1",)),
        ("--batch-size", "0", ("at least 1",)),
        ("--workers", "0", ("at least 1",)),
        ("--seed", "-1", ("at least 0",)),
        ("--color-mode", "rgbb", ("color mode", "Did you mean", "rgb")),
        ("--task", "classifi", ("task", "Did you mean", "classify")),
        ("--device", "cuda:7", ("cuda:7", "device", "cpu")),
        ("--device", "toaster", ("toaster", "device", "cpu")),
        ("--device", "meta", ("meta", "device", "cpu")),
        ("--name", "a/b", ("a/b", "name", "without a path")),
        ("--name", "..", ("..", "name", "without a path")),
        ("--name", "", ("name", "without a path")),
        ("--name", "x" * 300, ("x" * 300,)),
    ],
)
def test_value_out_of_range(expect_refusal, colors, flag, value, words):
    expect_refusal(
        "train",
        colors,
        *QUICK,
        flag,
        value,
        words=(flag.strip("-") if flag in ("--image-size", "--lr") else "", *words),
    )


def test_image_too_small_for_the_network(expect_refusal, colors):
    said = expect_refusal(
        "train", colors, "--model", "mnist_cnn", "--image-size", "8", words=("mnist_cnn", "8", "image")
    )
    assert "--image-size" in said.err or "larger" in said.err  # what to do


def test_runs_is_a_file(expect_refusal, colors, work):
    (work / "notes.txt").write_text("mine")
    expect_refusal("train", colors, *QUICK, "--runs", "notes.txt", words=("notes.txt",), runs="nowhere")
    assert (work / "notes.txt").read_text() == "mine"


def test_braces_in_names_are_letters(run, work):
    write_colors(work / "colors {0} {x", each=8)
    assert run("train", "colors {0} {x", *QUICK).code == 0


@pytest.mark.usefixtures("without_report")
def test_a_batch_of_one_trains(run, work):
    write_colors(work / "colors", each=5)  # 3 of each in training
    assert run("train", "colors", *QUICK, "--batch-size", "4").code == 0


# --- settings in a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("epoch: 3", ("'epoch'", "Did you mean", '"epochs"'), id="unknown key"),
        pytest.param("learning-rate: 3", ("'learning_rate'", "lr"), id="unknown key with a hyphen"),
        pytest.param("epochs: [3", ("not YAML",), id="not YAML"),
        pytest.param("\x00\x01", ("not YAML",), id="bytes"),
        pytest.param("- epochs\n- 3", ("not keys with values", "epochs: 10"), id="list"),
        pytest.param("just words", ("not keys with values", "epochs: 10"), id="words"),
    ],
)
def test_settings_file_that_is_wrong(expect_refusal, colors, work, text, words):
    (work / "my.yaml").write_text(text)
    expect_refusal("train", colors, *QUICK, "--config", "my.yaml", words=("my.yaml", *words))


@pytest.mark.parametrize(
    "text",
    [
        "epochs: ten",
        "epochs: true",
        "epochs: 1.5",
        "epochs: '1'",
        "lr: fast",
        "seed: x",
        "name: 5",
        "name: [a]",
        "model: 5",
        "model: [small_cnn]",
        "runs: 3",
        "runs: [a]",
        "device: [cpu]",
        "task: 3",
        "color_mode: [rgb]",
        "exist_ok: maybe",
    ],
)
def test_settings_file_with_a_value_of_another_kind(expect_refusal, colors, work, text):
    (work / "my.yaml").write_text(text)
    key = text.split(":")[0]
    flags = [f"--{name}={value}" for name, value in {"epochs": 1, "image-size": 16}.items() if name != key]
    expect_refusal("train", colors, "--config", "my.yaml", *flags, words=(key.split("_")[0],))


def test_data_in_a_settings_file_of_another_kind(expect_refusal, work):
    (work / "my.yaml").write_text("data: [a, b]")
    expect_refusal("train", "--config", "my.yaml", words=("data",))


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["data", "epochs", "lr", "batch_size", "seed", "device", "runs", "model", "task"])
def test_null_in_a_settings_file_is_the_default_or_refused(run, work, name):
    write_colors(work / "colors", each=6)
    settings = {"data": "colors", "epochs": 1, "image_size": 16} | {name: None}
    (work / "my.yaml").write_text(yaml.safe_dump(settings))
    said = run("train", "--config", "my.yaml")
    assert said.code in (0, 2)
    assert (said.code == 0) == Path("runs").exists()


@pytest.mark.usefixtures("without_report")
def test_scientific_numbers_in_a_settings_file(run, work):
    write_colors(work / "colors", each=6)
    (work / "my.yaml").write_text("lr: 1e-3\n")  # YAML 1.1 reads this as text
    assert run("train", "colors", *QUICK, "--config", "my.yaml").code == 0


def test_settings_file_missing_or_a_folder(expect_refusal, colors):
    expect_refusal("train", colors, "--config", "no.yaml", words=("no.yaml", "cannot be read"))
    expect_refusal("train", colors, "--config", "colors", words=("colors", "cannot be read"))


@pytest.mark.usefixtures("without_report")
def test_settings_file_works_and_flags_win(run, work):
    write_colors(work / "colors", each=6)
    (work / "my.yaml").write_text("data: colors\nepochs: 7\nimage-size: 16\nname: mine\n")
    said = run("train", "--config", "my.yaml", "--epochs", "1")
    assert said.code == 0
    assert "Epoch 1/1" in said.out
    assert yaml.safe_load(Path("runs/classify/mine/config.yaml").read_text())["epochs"] == 1


# --- runs that are there already -------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
def test_a_name_that_exists(run, expect_refusal, work):
    write_colors(work / "colors", each=6)
    command = ("train", "colors", *QUICK, "--name", "mine")
    assert run(*command).code == 0
    expect_refusal(*command, words=("runs/classify/mine", "already", "--name", "--exist-ok"))
    assert run(*command, "--exist-ok").code == 0


@pytest.mark.parametrize("flags", [(), ("--exist-ok",)])
def test_a_folder_that_is_no_run_is_left_alone(expect_refusal, colors, work, flags):
    folder = work / "runs" / "classify" / "mine"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "best.sightline").write_text("precious")
    (folder / "report.html").write_text("precious")
    expect_refusal("train", colors, *QUICK, "--name", "mine", *flags, words=("runs/classify/mine", "--name"))


@pytest.mark.usefixtures("without_report")
def test_what_is_not_the_runs_survives_exist_ok(run, work):
    write_colors(work / "colors", each=6)
    command = ("train", "colors", *QUICK, "--name", "mine")
    run(*command)
    note = work / "runs" / "classify" / "mine" / "note.txt"
    note.write_text("precious")
    assert run(*command, "--exist-ok").code == 0
    assert note.read_text() == "precious"


@pytest.mark.usefixtures("without_report")
def test_a_training_that_cannot_begin_costs_no_earlier_run(run, expect_refusal, work):
    write_colors(work / "colors", each=6)
    command = ("train", "colors", *QUICK, "--name", "mine")
    run(*command)
    for path in (work / "colors" / "red").iterdir():
        path.write_bytes(b"")
    expect_refusal(*command, "--exist-ok", words=("'red'", "colors"))


# --- networks from a file --------------------------------------------------------------------------------------

GOOD = """
import sightline as sl
from sightline import layers

def net(input_shape, classes):
    x = inputs = sl.Input(input_shape)
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    x = layers.Flatten()(x)
    return sl.Model(inputs, layers.Dense(classes, activation="softmax")(x))
"""
CASES = {
    "no file": (None, ("no file", "nets.py")),
    "no such function": ("def other(): pass\n", ("nets.py", "no function net", "other")),
    "not a function": ("net = 3\n", ("nets.py", "no function net")),
    "syntax error": ("def net(:\n", ("nets.py", "SyntaxError")),
    "not Python": ("\0\1\2", ("nets.py", "cannot be loaded")),
    "raises at import": ("import nothing_like_it\n", ("nets.py", "nothing_like_it")),
    "raises": ("def net(input_shape, classes):\n    raise KeyError('oh no')\n", ("nets.py:net", "KeyError", "oh no")),
    "other arguments": ("def net():\n    pass\n", ("nets.py:net", "TypeError", "input_shape, classes")),
    "returns a number": ("def net(input_shape, classes):\n    return 7\n", ("nets.py:net", "Model", "int")),
    "returns nothing": ("def net(input_shape, classes):\n    pass\n", ("nets.py:net", "Model", "NoneType")),
    "too many outputs": (GOOD.replace("Dense(classes", "Dense(classes + 1"), ("nets.py:net", "3 classes", "(None, 4)")),
    "an output of pixels": (GOOD.replace("    x = layers.Flatten()(x)\n", ""), ("nets.py:net", "3 classes")),
    "another image": (
        GOOD.replace("sl.Input(input_shape)", "sl.Input((40, 40, 3))"),
        ("nets.py:net", "(None, 40, 40, 3)"),
    ),
    "two outputs": (
        GOOD.replace("sl.Model(inputs, ", "sl.Model(inputs, [x, ").replace(")(x))", ")(x)])"),
        ("nets.py:net",),
    ),
    "no layers": (
        "import sightline as sl\ndef net(input_shape, classes):\n    return sl.Sequential()\n",
        ("nets.py:net",),
    ),
    "cannot be saved": (
        GOOD.replace("layers.Flatten()(x)", "layers.Torch(__import__('torch').nn.Flatten())(x)"),
        ("nets.py:net", "torch"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_network_of_a_file_that_is_wrong(expect_refusal, colors, work, case):
    text, words = CASES[case]
    if text is not None:
        (work / "nets.py").write_text(text)
    expect_refusal("train", colors, "--model", "nets.py:net", "--image-size", "16", "--epochs", "1", words=words)


def test_network_of_a_file_without_a_function(expect_refusal, colors, work):
    (work / "nets.py").write_text(GOOD)
    expect_refusal("train", colors, "--model", "nets.py", words=("nets.py", "file and a function", ":"))


@pytest.mark.usefixtures("without_report")
def test_network_of_a_file_works(run, work):
    write_colors(work / "colors", each=6)
    (work / "nets.py").write_text(GOOD)
    assert run("train", "colors", "--model", "nets.py:net", "--image-size", "16", "--epochs", "1").code == 0
    said = run("predict", "runs/classify/colors-nets-net", "colors/red/red00.png")
    assert said.code == 0
    assert "red00.png" in said.out


@pytest.mark.usefixtures("without_report")
def test_a_file_named_like_a_library_does_not_replace_it(run, work, monkeypatch):
    monkeypatch.setitem(sys.modules, "json", json)
    write_colors(work / "colors", each=6)
    (work / "json.py").write_text(GOOD)
    said = run("train", "colors", "--model", "json.py:net", "--image-size", "16", "--epochs", "1")
    assert sys.modules["json"] is json
    assert said.code == 0


def test_a_function_named_like_an_emoji(expect_refusal, colors, work):
    (work / "nets.py").write_text(GOOD.replace("def net", "def rocket").replace("Dense(classes", "Dense(-1"))
    expect_refusal("train", colors, "--model", "nets.py:rocket", "--image-size", "16", words=("nets.py:rocket:",))


# --- images that cannot be read --------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
def test_a_class_of_which_nothing_can_be_read(expect_refusal, colors):
    for path in (colors / "green").iterdir():
        path.write_text("no picture")
    expect_refusal("train", "colors", *QUICK, words=("colors", "'green'", "can be read", "not an image"))


def test_nothing_can_be_read_at_all(expect_refusal, colors):
    for path in colors.rglob("*.png"):
        path.write_bytes(b"")
    expect_refusal("train", "colors", *QUICK, words=("colors", "0 bytes"))


def test_unreadable_images_are_listed_skipped_and_counted(run, colors):
    bad = {"red/red03.png": (b"", "0 bytes"), "blue/x.jpg": (b"no picture", "not an image")}
    good = (colors / "green" / "green00.png").read_bytes()
    bad["green/green00.png"] = (good[:-100], "truncated")
    for name, (content, _) in bad.items():
        (colors / name).write_bytes(content)
    said = run("train", "colors", *QUICK)
    assert said.code == 0
    folder = Path("runs/classify/colors-small_cnn")
    data, report = json.loads((folder / "data.json").read_text()), (folder / "report.html").read_text()
    unreadable = {Path(path).name: reason for path, reason in data["unreadable"]}
    assert len(data["unreadable"]) == 3
    for name, (_, reason) in bad.items():
        assert name in said.out
        assert reason in said.out
        assert reason in unreadable[Path(name).name]
        assert name in report
    assert "left out" in said.out
    assert "3 files could not be read" in report
    used = [name for samples in data["splits"].values() for name, _ in samples]
    assert len(used) == len(set(used)) == 58
    assert not set(used) & set(bad)


@pytest.mark.usefixtures("without_report")
def test_a_name_that_is_not_unicode(run, work):
    write_colors(work / "colors", each=6)
    (work / "colors" / "red" / "red00.png").rename(work / "colors" / "red" / "rou\udce9.png")  # latin-1 on disk
    assert run("train", "colors", *QUICK).code in (0, 2)


# --- evaluate --------------------------------------------------------------------------------------------------


def test_evaluate_is_what_the_training_measured(run, trained):
    said = run("evaluate", trained, "--json")
    assert said.code == 0
    measured = json.loads(said.out)
    recorded = json.loads((trained / "evaluation.json").read_text())
    assert {key: measured[key] for key in recorded} == recorded
    assert measured["unreadable"] == []


def test_evaluate_with_an_unknown_class(expect_refusal, trained, work):
    write_colors(work / "other", classes=("red", "violet"), each=3)
    expect_refusal("evaluate", trained, "other", words=("other", "'violet'", "not trained on", "blue, green, red"))


def test_evaluate_on_some_of_the_classes(run, trained, work):
    write_colors(work / "other", classes=("green", "red"), each=3)
    assert "n = 6" in run("evaluate", trained, "other").out


def test_evaluate_without_images(expect_refusal, trained, work):
    (work / "nothing").mkdir()
    expect_refusal("evaluate", trained, "nothing", words=("nothing", "no image"))


def test_evaluate_where_nothing_can_be_read(expect_refusal, trained, work):
    for path in write_colors(work / "other", each=2).rglob("*.png"):
        path.write_bytes(b"")
    expect_refusal("evaluate", trained, "other", words=("None of the 6 images", "other", "0 bytes"))


@pytest.mark.parametrize("data", [(), ("colors",)], ids=["its own data", "a folder"])
def test_evaluate_a_run_that_does_not_exist(expect_refusal, colors, data):
    expect_refusal("evaluate", "runs/classify/none", *data, words=("no run runs/classify/none",))


def test_evaluate_a_run_without_its_weights(expect_refusal, copied):
    (copied / "weights" / "best.sightline").unlink()
    expect_refusal("evaluate", copied, words=("copied", "weights/best.sightline is missing"))


def test_evaluate_a_run_whose_data_are_gone(expect_refusal, copied, work):
    data = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps(data | {"root": str(work / "gone")}))
    expect_refusal("evaluate", copied, words=(str(work / "gone"),))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"root": 3}', '{"root": "."}', "[1]"])
def test_evaluate_a_run_whose_data_file_is_damaged(expect_refusal, copied, content):
    (copied / "data.json").write_text(content)
    expect_refusal("evaluate", copied, words=("copied",))


def test_report_of_a_run_that_is_not_whole(expect_refusal, copied):
    (copied / "results.csv").unlink()
    expect_refusal("report", copied, words=("copied", "results.csv is missing"))
    expect_refusal("report", "nowhere", words=("no run nowhere",))


# --- predict ---------------------------------------------------------------------------------------------------


def test_predict_probabilities_are_the_models(run, trained):
    files = sorted((trained.parents[2] / "colors").rglob("*[05].png"))
    said = run("predict", trained, *files, "--json")
    assert (said.code, said.err) == (0, "")
    rows = json.loads(said.out)
    model = sl.load(trained / "weights" / "best.sightline")
    spec = ImageSpec(**model.metadata["image"])
    expected = model.predict(np.stack([decode(path, spec) for path in files]))
    assert rows["unreadable"] == []
    assert [row["path"] for row in rows["predictions"]] == [str(path) for path in files]
    for row, answer in zip(rows["predictions"], expected, strict=True):
        probabilities = row["probabilities"]
        assert list(probabilities) == ["blue", "green", "red"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(list(probabilities.values()), answer, atol=1e-6)
        assert row["probability"] == max(probabilities.values()) == probabilities[row["class"]]


def test_predict_tells_the_bad_files_and_prints_the_good_ones(run, trained, colors, work):
    (work / "text.jpg").write_text("no picture")
    good = ["colors/red/red00.png", "colors/blue/blue01.png"]
    said = run("predict", trained, good[0], "text.jpg", "missing.png", good[1])
    assert said.code == 2
    assert all(name in said.out for name in good)
    assert "text.jpg" not in said.out
    for words in (("text.jpg", "not an image"), ("missing.png", "not there")):
        assert any(all(word in line for word in words) for line in said.err.splitlines())
    rows = json.loads(run("predict", trained, good[0], "text.jpg", "missing.png", "--json").out)
    assert [row["path"] for row in rows["predictions"]] == good[:1]
    assert [row["path"] for row in rows["unreadable"]] == ["text.jpg", "missing.png"]


def test_predict_only_bad_files(run, trained):
    said = run("predict", trained, "missing.png")
    assert (said.code, said.out) == (2, "")
    assert "missing.png" in said.err


def test_predict_a_folder(run, trained, colors):
    said = run("predict", trained, "colors/red", "--json")
    assert said.code == 0
    paths = [row["path"] for row in json.loads(said.out)["predictions"]]
    assert paths == sorted(map(str, Path("colors/red").iterdir()))


def test_predict_a_folder_without_images(expect_refusal, trained, work):
    (work / "nothing").mkdir()
    expect_refusal("predict", trained, "nothing", words=("nothing holds no image",))


@pytest.mark.parametrize(
    "name", ["picture [old] [b]x.png", "a :cat: here.png", "ein Äpfel 桜.png", "long " * 20 + ".png"]
)
def test_predict_prints_names_as_they_are(run, trained, colors, name):
    shutil.copy("colors/red/red00.png", name)
    said = run("predict", trained, name)
    assert said.code == 0
    assert name in said.out


def test_predict_with_a_model_file(run, trained, colors):
    said = run("predict", trained / "weights" / "last.sightline", "colors/red/red00.png")
    assert said.code == 0
    assert "red00.png" in said.out


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_that_is_not_of_a_run(expect_refusal, work, colors, command):
    sl.create("small_cnn", (16, 16, 3), 3).save(work / "plain.sightline")
    data = "colors/red/red00.png" if command == "predict" else "colors"
    expect_refusal(command, "plain.sightline", data, words=("plain.sightline", "not of a run", "classes"))


def test_predict_with_a_run_that_does_not_exist(expect_refusal, colors):
    expect_refusal("predict", "runs/none", "colors/red/red00.png", words=("no run runs/none",))


def test_predict_with_a_folder_that_is_no_run(expect_refusal, colors):
    expect_refusal("predict", "colors", "colors/red/red00.png", words=("colors is not a run", "config.yaml"))


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "beginning", "zip", "folder"])
@pytest.mark.parametrize("as_file", [True, False], ids=["file", "run"])
def test_a_damaged_model_file(expect_refusal, copied, colors, damage, as_file):
    file = copied / "weights" / "best.sightline"
    whole = file.read_bytes()
    content = {"empty": b"", "text": b"no model", "truncated": whole[:-1000], "beginning": whole[:2000]}.get(
        damage, b""
    )
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "zip":
        shutil.make_archive(str(copied / "some"), "zip", "colors")
        (copied / "some.zip").rename(file)
    else:
        file.write_bytes(content)
    expect_refusal("predict", file if as_file else copied, "colors/red/red00.png", words=("best.sightline",))


@pytest.mark.parametrize("word", ["nowhere.sightline", "smal_cnn", "nets.py:net", "nowhere/"])
def test_summary_of_what_is_not_there(expect_refusal, word):
    expect_refusal("summary", word, words=(word.split(":")[0].rstrip("/"),))
