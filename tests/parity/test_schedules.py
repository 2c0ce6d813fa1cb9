"""Learning-rate schedules step by step against Keras, and into JSON and back."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from oracle import examples, jax, keras
from sightline.configurable import as_plain, from_plain
from sightline.errors import ArgumentError
from sightline.schedules import SCHEDULES, cosine

schedules = sl.optimizers.schedules
STEPS = (*range(45), 99, 100, 101, 1000)
# decay_steps is 10, so that the boundaries are 0, 10, 20, 30 and, of periods that double, 10, 30, 70
SETTINGS = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.96}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5, "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [10], "values": [1.0, 0.5]}),
    ("PiecewiseConstantDecay", {"boundaries": [10, 20.0, 100], "values": [1.0, 0.5, 0.2, 0.1]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "end_learning_rate": 0.0, "power": 0.5}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "power": 2.0, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 10}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "alpha": 0.2}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.01, "decay_steps": 20, "alpha": 0.1, "warmup_target": 0.1, "warmup_steps": 10},
    ),
    ("CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 20, "warmup_target": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 10}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 10, "t_mul": 1.0, "m_mul": 0.9}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 10, "m_mul": 0.5, "alpha": 0.1}),
]


def check(kind: str, arguments: dict[str, Any], steps: Any) -> None:
    ours, theirs = getattr(schedules, kind)(**arguments), getattr(keras.optimizers.schedules, kind)(**arguments)
    rates = [ours(step) for step in steps]
    assert all(type(rate) is float for rate in rates)
    expected = jax.vmap(theirs)(jax.numpy.asarray(steps))
    # Keras computes in float32, where 1 - 2^-24 is next to 1: half a cosine's end and a root's carry that
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize(("kind", "arguments"), SETTINGS, ids=str)
def test_schedule(kind: str, arguments: dict[str, Any]) -> None:
    check(kind, arguments, STEPS)


RATES = st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)


@st.composite
def settings_of_a_schedule(draw: Any) -> tuple[str, dict[str, Any]]:
    """Away from restarts, where float32 may put a step on the other side: those are in SETTINGS."""
    kind = draw(st.sampled_from(["ExponentialDecay", "InverseTimeDecay", "PolynomialDecay", "CosineDecay"]))
    arguments: dict[str, Any] = {"initial_learning_rate": draw(RATES), "decay_steps": draw(st.integers(1, 50))}
    if kind == "PolynomialDecay":
        arguments |= {"end_learning_rate": draw(RATES), "power": draw(st.sampled_from([1.0, 2.0, 3.0]))}
        arguments |= {"cycle": draw(st.booleans())}
    elif kind == "CosineDecay":
        arguments |= {"alpha": draw(st.floats(0, 1, width=32))}
        if draw(st.booleans()):
            arguments |= {"warmup_target": draw(RATES), "warmup_steps": draw(st.integers(0, 20))}
    else:
        arguments |= {"decay_rate": draw(st.floats(0.5, 1.5, width=32)), "staircase": draw(st.booleans())}
    return kind, arguments


@given(chosen=settings_of_a_schedule(), steps=st.lists(st.integers(0, 200), min_size=3, max_size=3))
@examples(40)
def test_drawn_schedules(chosen: tuple[str, dict[str, Any]], steps: list[int]) -> None:
    check(*chosen, steps)


def test_every_schedule_of_keras_is_here_and_tried() -> None:
    theirs = {name for name, kind in vars(keras.optimizers.schedules).items() if isinstance(kind, type)}
    assert set(SCHEDULES) == {kind for kind, _ in SETTINGS} == theirs - {"LearningRateSchedule"}
    assert all(getattr(schedules, name) is kind for name, kind in SCHEDULES.items())


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_defaults_and_config(kind: str) -> None:
    arguments = next(arguments for name, arguments in SETTINGS if name == kind)
    ours, theirs = getattr(schedules, kind)(**arguments), getattr(keras.optimizers.schedules, kind)(**arguments)
    assert ours.get_config() == theirs.get_config()
    assert list(ours.get_config()) == list(theirs.get_config())
    positional = list(arguments.values())
    assert getattr(schedules, kind)(*positional).get_config() == ours.get_config()


@pytest.mark.parametrize(("kind", "arguments"), SETTINGS, ids=str)
def test_into_json_and_back(kind: str, arguments: dict[str, Any]) -> None:
    schedule = getattr(schedules, kind)(**arguments)
    optimizer = from_plain(
        json.loads(json.dumps(as_plain(sl.optimizers.SGD(schedule)))), SCHEDULES | {"SGD": sl.optimizers.SGD}
    )
    back = optimizer.get_config()["learning_rate"]
    assert type(back) is type(schedule)
    assert [back(step) for step in STEPS] == [schedule(step) for step in STEPS]


@pytest.mark.parametrize("t_mul", [1, 1.5, 2, 3, 10])
def test_restarts_begin_on_their_very_step(t_mul: float) -> None:
    """Where a logarithm is rounded down the rate would still be at the end of the period before."""
    schedule = schedules.CosineDecayRestarts(0.1, 1024, t_mul)
    ends = itertools.accumulate(1024 * t_mul**period for period in range(8))
    for end in ends:
        assert schedule(end) == pytest.approx(0.1)
        assert schedule(end - 1) < 0.001


BASE = {"initial_learning_rate": 0.1, "decay_steps": 10}


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("ExponentialDecay", BASE | {"decay_steps": 0, "decay_rate": 0.5}, "decay_steps.*> 0.*Received: 0"),
        ("ExponentialDecay", BASE | {"decay_rate": -0.5}, "decay_rate"),
        ("ExponentialDecay", BASE | {"decay_rate": math.nan}, "decay_rate.*Received: nan"),
        ("ExponentialDecay", BASE | {"decay_rate": 0.5, "stair": True}, 'Did you mean "staircase"'),
        ("InverseTimeDecay", BASE | {"initial_learning_rate": -1, "decay_rate": 1}, "initial_learning_rate"),
        ("InverseTimeDecay", BASE | {"decay_steps": "10", "decay_rate": 1}, "decay_steps.*'10'"),
        ("PiecewiseConstantDecay", {"boundaries": [1, 2], "values": [1.0, 0.5]}, "1 boundaries for 2 values"),
        ("PiecewiseConstantDecay", {"boundaries": [2, 1], "values": [1.0, 0.5, 0.1]}, "must rise"),
        ("PiecewiseConstantDecay", {"boundaries": [1, 1], "values": [1.0, 0.5, 0.1]}, "must rise"),
        ("PiecewiseConstantDecay", {"boundaries": ["1"], "values": [1.0, 0.5]}, "must rise"),
        ("PiecewiseConstantDecay", {"boundaries": [1], "values": [1.0, -0.5]}, ">= 0"),
        ("PolynomialDecay", BASE | {"power": -1.0}, "power"),
        ("PolynomialDecay", BASE | {"end_learning_rate": -1.0}, "end_learning_rate"),
        ("CosineDecay", BASE | {"alpha": -0.1}, "alpha"),
        ("CosineDecay", BASE | {"decay_steps": True}, "decay_steps.*True"),
        ("CosineDecay", BASE | {"warmup_target": -0.1, "warmup_steps": 5}, "warmup_target"),
        ("CosineDecay", BASE | {"warmup_steps": 5}, "Give warmup_target"),
        ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 0}, "first_decay_steps"),
        ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 0.5}, "t_mul.*>= 1"),
    ],
)
def test_what_is_refused(kind: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        getattr(schedules, kind)(**arguments)


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        schedules.LearningRateSchedule()


def test_cosine_of_the_epoch_is_cosine_decay() -> None:
    by_epoch, by_step = cosine(0.3, 7), schedules.CosineDecay(0.3, 7)
    assert [by_epoch(n) for n in range(7)] == pytest.approx([by_step(n) for n in range(7)])
