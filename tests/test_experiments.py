"""The experiments: what the page names is there, every command line parses, the cheapest one runs, and intervals hold."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
SCRIPTS = sorted(path for path in EXPERIMENTS.glob("*.py") if "__main__" in path.read_text())


@pytest.fixture
def run(monkeypatch):
    """Runs a script in this process, as a command line would."""

    def run(script, *arguments):
        monkeypatch.syspath_prepend(EXPERIMENTS)
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")

    return run


def test_pages_name_the_experiments_and_only_these():
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert set(re.findall(r"experiments/(\w+)\.py", pages)) == {path.stem for path in SCRIPTS}


def test_the_page_of_claims_says_how_each_of_its_experiments_is_run():
    named = re.findall(r"^python experiments/(\w+)\.py", (ROOT / "docs" / "claims.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == [path.stem for path in SCRIPTS if "collect(" in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help(script, run, capsys):
    with pytest.raises(SystemExit) as ended:
        run(script, "--help")
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_a_trial_is_made_once_and_kept(run, tmp_path, capsys):
    asked = ["--ways", "0.001 stays", "1 stays", "--epochs", "1", "--images", "64", "--out", tmp_path]
    script, kept = EXPERIMENTS / "first_learning_rate.py", tmp_path / "first_learning_rate.json"
    run(script, *asked, "--seeds", "1")
    assert capsys.readouterr().out.count("seed 0") == 2
    before = json.loads(kept.read_text())
    assert [(trial["way"], len(trial["right"])) for trial in before] == [("0.001 stays", 510), ("1 stays", 510)]
    run(script, *asked, "--seeds", "2")
    printed = capsys.readouterr().out
    assert "seed 0," not in printed
    assert printed.count("seed 1,") == 2
    assert json.loads(kept.read_text())[:2] == before
    shares = [np.mean([int(hit) for hit in trial["right"]]) for trial in json.loads(kept.read_text())]
    assert f"| {np.mean(shares[::2]):.3f} (" in printed


def test_intervals_hold_what_other_images_and_other_seeds_would_give(monkeypatch):
    """Networks of 3 seeds on 300 images, each of which is as hard as chance has it, drawn 300 times; the truth is of many of both."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
    from trials import difference, mean

    rng = np.random.default_rng(0)

    def chances(seeds, images):
        return 1 / (1 + np.exp(-2 - 2 * images - 0.2 * seeds))

    truth = chances(rng.normal(size=(500, 1)), rng.normal(size=(1, 5000))).mean()
    held = np.zeros(2)
    for _ in range(300):
        images = rng.normal(size=(1, 300))
        first, second = (rng.random((3, 300)) < chances(rng.normal(size=(3, 1)), images) for _ in range(2))
        _, low, high = mean(first * 1.0)
        _, below, above = difference(first * 1.0, second * 1.0)
        held += [low <= truth <= high, below <= 0 <= above]
    assert (held / 300 > 0.92).all()
