"""What several tests share."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

if not os.environ.get("SIGHTLINE_TEST_GPU"):  # what the tests say of speed, memory and bits is a CPU's
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

SHARED = Path(__file__).parents[2] / "shared"


class Said(NamedTuple):
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


def beside_the_project(place: str) -> Path:
    """A folder of what lies beside the project on the machines of its developers; without it the test is skipped."""
    folder = SHARED / place
    if not folder.is_dir():
        pytest.skip(f"a folder shared/{place} beside the project is not here")
    return folder


@pytest.fixture(scope="session")
def clothing():
    """Real photos in class folders."""
    return beside_the_project("data/clothing")


@pytest.fixture(scope="session")
def shared_data():
    """Real data sets."""
    return beside_the_project("data")


@pytest.fixture(scope="session")
def shared_weights():
    """Pretrained weights."""
    return beside_the_project("weights")


os.environ["SIGHTLINE_PRECISION"] = "float32"  # a seed means the same result, whatever the machine finds faster


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test touches the caches of whoever runs it."""
    before = os.environ.get("SIGHTLINE_CACHE")
    os.environ["SIGHTLINE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("SIGHTLINE_CACHE")
    if before is not None:
        os.environ["SIGHTLINE_CACHE"] = before


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line in this process."""
    from sightline.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sightline", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = Said(int(stop.value.code or 0), *capsys.readouterr())
        assert "Traceback" not in said.out + said.err
        return said

    return call


@contextmanager
def _without_report():
    from sightline.runs import Run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "report", lambda self, say: self.folder.report)
        yield


@pytest.fixture(scope="session")
def no_report():
    """`with no_report():` no report of the trainings in this process, which takes longer than a small training.

    It has tests of its own.
    """
    return _without_report


@pytest.fixture
def without_report(no_report):
    """No report of the trainings of a whole test."""
    with no_report():
        yield
