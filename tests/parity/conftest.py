"""Marks all tests of this folder."""

from types import SimpleNamespace

import numpy as np
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "parity" in item.path.parts:  # Keras's own, for each array that crosses over
            item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"))


@pytest.fixture(autouse=True)
def _initial_weights_of_numpy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras compiles a program for each shape of initial weights that it draws: half the time of most tests.

    They are overwritten all the same, but in the tests of the initial weights themselves.
    """
    if request.module.__name__ == "test_initial_weights":
        return
    from keras.src.initializers import random_initializers as drawing

    rng = np.random.default_rng(0)
    draws = SimpleNamespace(
        make_default_seed=drawing.random.make_default_seed,
        SeedGenerator=drawing.random.SeedGenerator,
        uniform=lambda shape, minval=0.0, maxval=1.0, dtype=None, seed=None: rng.uniform(minval, maxval, shape),
        normal=lambda shape, mean=0.0, stddev=1.0, dtype=None, seed=None: rng.normal(mean, stddev, shape),
        truncated_normal=lambda shape, mean=0.0, stddev=1.0, dtype=None, seed=None: rng.normal(mean, stddev, shape),
    )
    monkeypatch.setattr(drawing, "random", draws)
