"""What several tests share."""

import os
import sys
from pathlib import Path

import pytest

if not os.environ.get("SIGHTLINE_TEST_GPU"):  # what the tests say of speed, memory and bits is a CPU's
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def clothing():
    """Real photos in class folders, which lie beside the project on the machines of its developers."""
    folder = SHARED / "data" / "clothing"
    if not folder.is_dir():
        pytest.skip("the clothing photos are not here (a folder shared/data/clothing beside the project)")
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """Real data sets, which lie beside the project on the machines of its developers."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not here (a folder shared/data beside the project)")
    return folder


@pytest.fixture(scope="session")
def shared_weights():
    """Pretrained weights, which lie beside the project on the machines of its developers."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("the pretrained weights are not here (a folder shared/weights beside the project)")
    return folder


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
    """The command line in this process: (exit code, output, errors)."""
    from sightline.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sightline", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code or 0, out, err

    return call
