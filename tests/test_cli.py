"""The command line as a person uses it, and what it loads."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import sightline as sl


def loaded_after(code):
    """The modules of a fresh interpreter after `code`."""
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "sklearn", "jinja2"}


def test_import_loads_nothing_heavy():
    loaded = loaded_after("import sightline; sightline.__version__; dir(sightline)")
    assert not loaded & HEAVY
    assert "rich" not in loaded


def test_help_loads_nothing_heavy():
    code = "import sightline.cli as cli\nsys.argv = ['sightline', 'train', '--help']\ntry: cli.main()\nexcept SystemExit: pass"
    assert not loaded_after(code) & HEAVY


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each module is imported in a process forked for it")
def test_each_room_can_be_imported_first():
    """No circles: every module imports in a fresh interpreter, whatever came before."""
    script = """
import importlib, os, pkgutil, sys
import sightline

modules = list(pkgutil.walk_packages(sightline.__path__, "sightline."))
for module in modules:
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in [name for name in sys.modules if name.split(".")[0] == "sightline"]:  # what others wrote stays
    del sys.modules[name]
for package in ["sightline", *(module.name for module in modules if module.ispkg)]:
    reader, writer = os.pipe()
    if not os.fork():
        importlib.import_module(package)
        os.write(writer, " ".join(sys.modules).encode())
        os._exit(0)
    os.close(writer)
    loaded = open(reader).read().split()
    assert package in loaded, f"{package} cannot be imported first"
    for module in modules:  # those that the package imports have been imported as if they had come first
        name = module.name
        if name.rpartition(".")[0] == package and name not in loaded and not name.endswith("__main__"):
            child = os.fork()
            if not child:
                importlib.import_module(name)
                os._exit(0)
            assert not os.waitpid(child, 0)[1], f"{name} cannot be imported first"
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names_are_there_and_wrong_ones_get_a_hint():
    for name in sl.__all__:
        assert getattr(sl, name) is not None
    with pytest.raises(AttributeError, match='"Sequential"'):
        sl.Sequental  # noqa: B018


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("signs_cnn", ["160", "8,389,120", "13,338"]),
        ("mnist_cnn", ["Total params: 93,322"]),
        ("intel_cnn", ["Total params: 6,456,326", "Trainable params: 6,455,302"]),
        ("lenet5", ["Total params: 61,706"]),
    ],
)
def test_summary(run, name, numbers):
    code, out, _ = run("summary", name)
    assert code == 0
    for number in numbers:
        assert number in out


def test_models(run):
    code, out, _ = run("models")
    assert code == 0
    for name in sl.list_models():
        assert name in out


def test_version(run):
    assert run("--version")[:2] == (0, sl.__version__ + "\n")


COLORS = {"blue": (30, 40, 200), "green": (40, 190, 60), "red": (210, 40, 30)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy pictures whose colour is their class."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name, color in COLORS.items():
        for i in range(30):
            pixels = np.clip(generator.normal(color, 40, (20, 24, 3)), 0, 255).astype(np.uint8)
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    return root


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return sl.train(photos, model="small_cnn", image_size=16, epochs=6, runs=str(runs), name="colors", seed=3)


def test_a_run_learns_and_has_every_file(trained):
    assert trained.measures.headlines[0].value > 0.8
    files = {
        str(p.relative_to(trained.path)) for p in trained.path.rglob("*") if p.suffix != ".checkpoint" and p.is_file()
    }
    assert len(list((trained.path / "checkpoint").iterdir())) == 2
    assert files == {
        "config.yaml", "data.json", "environment.json", "results.csv", "evaluation.json", "log.txt",
        "weights/best.sightline", "weights/last.sightline", "curves.png", "confusion.png", "calibration.png", "report.html",
        "card.md",
    }  # fmt: skip
    log = (trained.path / "log.txt").read_text().splitlines()
    assert log[0] == log[-1] == f"Run {trained.path}"
    assert len((trained.path / "results.csv").read_text().splitlines()) == 7


def test_the_report_is_one_page_that_needs_nothing(trained):
    page = (trained.path / "report.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "<script" not in page
    assert f"{100 * trained.measures.headlines[0].value:.1f} %" in page
    assert "sightline train" in page


def test_predict_says_what_the_model_says(run, trained, photos):
    """The same image gives the same probabilities from the command line, from Python, and from the model alone."""
    files = sorted((photos / "red").iterdir())[:5]
    code, out, _ = run("predict", trained.path, *files, "--json")
    assert code == 0
    rows = json.loads(out)["predictions"]
    image = trained.image
    pixels = [
        Image.open(f).convert("RGB").resize((image.width, image.height), Image.Resampling.BILINEAR) for f in files
    ]
    model = sl.load(trained.path / "weights" / "best.sightline")
    for row, answer in zip(rows, model.predict(np.stack([np.asarray(p) for p in pixels])), strict=True):
        assert [row["probabilities"][name] for name in sorted(COLORS)] == [float(p) for p in answer]
        assert row["class"] == sorted(COLORS)[answer.argmax()]
    code, table, _ = run("predict", trained.path, *files)
    assert table.count("red") >= 5


def test_evaluate_gives_what_the_training_measured(run, trained, photos):
    for words in ([trained.path], [trained.path, photos]):
        code, out, _ = run("evaluate", *words, "--json")
        assert code == 0
        measured = json.loads(out)
        assert measured["split"] == "test"
        assert measured["headlines"]["accuracy"]["value"] == trained.measures.headlines[0].value
    code, out, _ = run("evaluate", trained.path / "weights" / "best.sightline", photos)
    assert code == 0
    assert out.startswith("All accuracy ")
    assert "n = 90" in out


@pytest.mark.usefixtures("without_report")
def test_the_same_seed_gives_the_same_run(trained, photos, tmp_path):
    again = sl.train(photos, model="small_cnn", image_size=16, epochs=6, runs=str(tmp_path), name="colors", seed=3)
    weights = [run.path / "weights" / "last.sightline" for run in (trained, again)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_settings_from_a_file_and_the_command_line(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"data: {photos}\nmodel: lenet5\nepochs: 3\nbatch-size: 8\nname: mine\n")
    code, out, err = run("train", "--config", "mine.yaml", "--epochs", "1", "--color-mode", "grayscale")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == out.splitlines()[-1] == "Run runs/classify/mine"
    config = (tmp_path / "runs/classify/mine/config.yaml").read_text()
    for line in ("model: lenet5", "epochs: 1", "batch_size: 8"):
        assert line in config
    assert sl.load(tmp_path / "runs/classify/mine/weights/best.sightline").input_shape == (None, 32, 32, 1)
    code, out, _ = run("summary", "runs/classify/mine")
    assert "rescaling" in out
    assert run("report", "runs/classify/mine")[0] == 0


@pytest.mark.usefixtures("without_report")
def test_a_network_from_a_person_s_own_file(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "import sightline as sl\n"
        "def tiny(input_shape, classes):\n"
        "    return sl.Sequential([sl.layers.Conv2D(8, 3, strides=4, activation='relu', input_shape=input_shape),\n"
        "        sl.layers.GlobalAveragePooling2D(), sl.layers.Dense(classes, activation='softmax')])\n"
    )
    code, out, _ = run(
        "train", photos, "--model", "nets.py:tiny", "--image-size", "16", "--epochs", "1", "--name", "own"
    )
    assert code == 0
    assert "Model nets.py:tiny" in out
    assert run("predict", "runs/classify/own", photos / "red" / "0.jpg")[0] == 0


@pytest.mark.usefixtures("without_report")
def test_the_demo(tmp_path):
    """Real handwritten digits, as `sightline demo` trains on them, though for fewer epochs."""
    from sightline.runs.demo import demo

    run = demo(epochs=6, runs=tmp_path)
    accuracy, top_2 = (headline.value for headline in run.measures.headlines[:2])
    assert run.measures.n == 269
    assert accuracy > 0.95
    assert top_2 > accuracy


def test_summary_of_a_file_of_keras(run, tmp_path):
    sl.create("mnist_cnn").save(tmp_path / "digits.keras")
    code, out, _ = run("summary", str(tmp_path / "digits.keras"))
    assert code == 0
    assert "93,322" in out
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF and no more")
    code, _, error = run("summary", str(tmp_path / "broken.h5"))
    assert code == 2
    assert "damaged" in error
