"""What several tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def clothing():
    """Real photos in class folders, which lie beside the project on the machines of its developers."""
    folder = SHARED / "data" / "clothing"
    if not folder.is_dir():
        pytest.skip("the clothing photos are not here (a folder shared/data/clothing beside the project)")
    return folder
