"""Everything that the README says is run."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline as sl
from sightline.cli import main

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
    assert len(PYTHON) == 3
    assert len(SHELL) == 1
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 12


@pytest.mark.parametrize("listing", range(len(PYTHON)))
def test_python(folder, listing, capsys):
    exec(compile(PYTHON[listing], f"README listing {listing}", "exec"), {"sl": sl})
    assert capsys.readouterr().out
    if listing == 0:
        assert (folder / "digits.sightline").is_file()


def test_commands(folder, monkeypatch, capsys):
    for line in SHELL[0].strip().splitlines():
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
