"""Everything that the README says is run."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sightline as sl
from sightline.cli import main
from sightline.data.recipes import PRESETS
from sightline.data.scene_files import write_scenes
from sightline.data.sources import FORMATS
from sightline.runs.demo import SCENES, SETTINGS
from sightline.runs.rates import SCHEDULES
from sightline.runs.settings import FIT_MEMORY
from sightline.structures import RESIZES

README = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHELL = re.findall(r"```\n(sightline .*?)```", README, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the README's reader has it: photos, more photos, and two loose pictures."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for place, n in (("photos", 20), ("more-photos", 5)):
        for name, level in (("cat", 60), ("dog", 190)):
            (tmp_path / place / name).mkdir(parents=True)
            for i in range(n):
                pixels = np.clip(generator.normal(level, 30, (70, 70, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / place / name / f"{i}.jpg")
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.full((70, 70, 3), 60, np.uint8)).save(tmp_path / name)
    return tmp_path


def test_there_is_what_this_file_runs():
    assert len(PYTHON) == 5
    assert len(SHELL) == 6
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 12


@pytest.mark.usefixtures("without_report")
def test_python(folder, capsys):
    """The listings in order, in one scope, as a reader types them."""
    scope = {}
    for number, listing in enumerate(PYTHON):
        exec(compile(listing, f"README listing {number}", "exec"), scope)
    printed = capsys.readouterr().out
    for words in ("accuracy", "max_pooling2d", "torch.Size([2, 16, 32, 32])"):
        assert words in printed
    for name in ("digits.sightline", "signs.keras", "signs.weights.h5"):
        assert (folder / name).is_file()
    assert scope["kernel"].shape == (3, 3, 1, 16)


def page(name):
    return (Path(__file__).parent.parent / "docs" / f"{name}.md").read_text()


def run_listings(name, **scope):
    """The Python of a page in order, in one scope; returns how many listings there were."""
    listings = re.findall(r"```python\n(.*?)```", page(name), flags=re.DOTALL)
    for number, listing in enumerate(listings):
        exec(compile(listing, f"docs/{name}.md listing {number}", "exec"), scope)
    return len(listings)


def test_python_of_the_page_on_data(folder, capsys):
    assert run_listings("data") == 1
    assert "detect yolo {'train': 40, 'validation': 10}" in capsys.readouterr().out
    assert (folder / "sheet.png").is_file()
    assert sl.data.read(folder / "as-coco").counts("train") == sl.data.read(folder / "scenes").counts("train")


def test_the_page_on_data_names_every_format_and_preset():
    for word in (*FORMATS, *PRESETS["classify"], *RESIZES):
        assert f"{word}" in page("data"), word


def test_python_of_the_page_on_networks(folder, capsys):
    assert run_listings("networks") == 4
    assert "(None, 2, 2, 512) (None, 8, 8, 128)" in capsys.readouterr().out
    for name in sl.list_models():
        assert f"`{name}`" in page("networks")


def test_python_of_the_page_on_memory(folder, capsys):
    assert run_listings("memory") == 2
    assert "activation checkpointing: sl.rewrite.recompute(model, plan.checkpoints(" in capsys.readouterr().out


def test_python_of_the_page_on_measures(folder, capsys):
    assert run_listings("measure") == 6
    printed = capsys.readouterr().out
    for words in (
        "18 pixels, stride 4, the first centred on (9, 9)",
        "(0, 8, 18, 26)",
        "larger than the field",
        "2230272",
    ):
        assert words in printed
    assert (folder / "invariance.png").is_file()


@pytest.mark.usefixtures("without_report")
def test_python_of_the_page_on_devices(folder, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    run = sl.train("photos", epochs=1, image_size=16)
    model = sl.create("small_cnn", input_shape=(16, 16, 3), classes=2)
    model.compile("adam", "sparse_categorical_crossentropy")
    try:
        assert run_listings("devices", model=model, x=np.zeros((4, 16, 16, 3)), y=np.zeros(4), run=run) == 2
    finally:
        torch.distributed.destroy_process_group()
    assert "more-photos/dog/4.jpg" in capsys.readouterr().out


def test_the_page_on_devices_names_every_way_to_fit():
    for way in FIT_MEMORY:
        assert f"| `{way}` |" in page("devices")


def test_python_of_the_page_on_training(folder, capsys):
    assert run_listings("training") == 3
    assert "Learning rate 0.0" in capsys.readouterr().out
    assert (folder / "rates.png").is_file()


def test_the_page_on_training_names_every_callback_and_schedule():
    for name in [*SCHEDULES, *(name for name in sl.callbacks.__all__ if name[0].isupper() and name != "Callback")]:
        assert f"`{name}" in page("training"), name


def test_python_of_the_page_on_keras(capsys):
    assert run_listings("keras", sl=sl) == 1
    assert "'kernel_constraint'" in capsys.readouterr().out


def test_the_page_on_keras_names_every_layer():
    for name in sl.layers.FILE_LAYERS:
        kind = getattr(sl.layers, name, None)
        assert kind is None or name == "InputLayer" or name in page("keras"), name


def test_python_of_the_page_on_detection(folder, capsys):
    assert run_listings("detection") == 1


@pytest.mark.usefixtures("without_report")
def test_python_of_the_page_on_segmentation(folder, capsys):
    scenes = write_scenes("masked", "segment", {"train": 12, "validation": 4}, size=(64, 64))
    run = sl.train(scenes, task="segment", epochs=1, image_size=32, name="photos-unet_small")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save("photo.jpg")
    assert run_listings("segmentation", sl=sl, run=run) == 1


@pytest.mark.parametrize("blocks", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_commands(folder, monkeypatch, capsys, blocks):
    """The first ones, and (in minutes) all, for they build on one another."""
    for task in ("detect", "segment"):
        monkeypatch.setitem(SETTINGS, task, SETTINGS[task] | {"epochs": 1, "image_size": 64})
        monkeypatch.setitem(SCENES, task, {"n": {"train": 16, "validation": 8, "test": 8}})
    for line in "".join(SHELL[:blocks]).strip().splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, line
    assert "cat" in capsys.readouterr().out


def test_files_and_targets_that_it_names():
    root = Path(__file__).parent.parent
    for name in re.findall(r"\]\(([^)]+)\)", README):
        assert (root / name).is_file(), name
    targets = re.findall(r"^make ([\w-]+)", README, flags=re.MULTILINE)
    makefile = (root / "Makefile").read_text()
    assert targets == ["demo", "test"]
    for target in targets:
        assert f"\n{target}:" in makefile
