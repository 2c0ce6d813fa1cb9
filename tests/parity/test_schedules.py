"""Learning-rate schedules step by step against Keras, and into JSON and back."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
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
OURS: list[tuple[str, dict[str, Any]]] = [
    ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 40}),
    ("WarmUp", {"schedule": 0.1, "steps": 5}),
    ("WarmUp", {"schedule": schedules.CosineDecay(0.1, 10), "steps": 5, "start": 0.01}),
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
    assert set(SCHEDULES) - {kind for kind, _ in OURS} == {kind for kind, _ in SETTINGS}
    assert {kind for kind, _ in SETTINGS} == theirs - {"LearningRateSchedule"}
    assert all(getattr(schedules, name) is kind for name, kind in SCHEDULES.items())


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in SETTINGS}))
def test_defaults_and_config(kind: str) -> None:
    arguments = next(arguments for name, arguments in SETTINGS if name == kind)
    ours, theirs = getattr(schedules, kind)(**arguments), getattr(keras.optimizers.schedules, kind)(**arguments)
    assert ours.get_config() == theirs.get_config()
    assert list(ours.get_config()) == list(theirs.get_config())
    positional = list(arguments.values())
    assert getattr(schedules, kind)(*positional).get_config() == ours.get_config()


@pytest.mark.parametrize(("kind", "arguments"), [*SETTINGS, *OURS], ids=str)
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
        ("OneCycle", {"max_learning_rate": -0.1, "total_steps": 5}, "max_learning_rate.*>= 0"),
        ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 0}, "total_steps.*>= 1.*0"),
        ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 5, "warmup_share": 1.5}, "warmup_share.*from 0 to 1"),
        ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 5, "end_factor": -1}, "end_factor"),
        ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 5, "warmup_shar": 0.1}, 'Did you mean "warmup_share"'),
        ("WarmUp", {"schedule": -0.1, "steps": 5}, "WarmUp: schedule.*>= 0 or a LearningRateSchedule.*-0.1"),
        ("WarmUp", {"schedule": lambda step: 0.1, "steps": 5}, "WarmUp: schedule.*function"),
        ("WarmUp", {"schedule": 0.1, "steps": 2.5}, "WarmUp: steps.*whole number.*2.5"),
        ("WarmUp", {"schedule": 0.1, "steps": 5, "start": -1}, "start.*>= 0"),
    ],
)
def test_what_is_refused(kind: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        getattr(schedules, kind)(**arguments)


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        schedules.LearningRateSchedule()


@given(
    rate=RATES,
    steps=st.integers(2, 60),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.99]),
    first=st.sampled_from([1.0, 2.0, 25.0]),
    end=st.sampled_from([1.0, 100.0, 1e4]),
)
@examples(30)
def test_one_cycle_is_torch_s(rate: float, steps: int, share: float, first: float, end: float) -> None:
    assume(share * steps != 1)  # where torch divides by zero
    ours = schedules.OneCycle(rate, steps, share, 1 / first, 1 / end)
    optimizer = torch.optim.SGD([torch.zeros(1)])
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, steps, pct_start=share, cycle_momentum=False, div_factor=first, final_div_factor=end
    )
    for step in range(steps):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15), step
        optimizer.step()
        if step + 1 < steps:
            theirs.step()


def test_one_cycle_by_default_and_after_its_end() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, 100)
    ours = schedules.OneCycle(0.5, 100)
    assert ours(0) == pytest.approx(theirs.get_last_lr()[0])
    assert max(ours(step) for step in range(100)) == ours(29) == 0.5
    assert ours(99) == pytest.approx(0.5 / 25 / 1e4)
    assert ours(1000) == ours(100) == ours(99)


@pytest.mark.parametrize(("steps", "share"), [(1, 0.0), (1, 0.3), (1, 1.0), (10, 0.1), (10, 1.0)])
def test_one_cycle_where_a_half_is_empty(steps: int, share: float) -> None:
    schedule = schedules.OneCycle(0.1, steps, share)
    rates = [schedule(step) for step in range(steps + 2)]
    assert all(0 < rate <= 0.1 for rate in rates)
    assert rates[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert steps == 1 or max(rates) == pytest.approx(0.1)


def test_warm_up_rises_in_a_line_and_then_follows() -> None:
    inner = schedules.CosineDecay(0.1, 10)
    schedule = schedules.WarmUp(inner, 4, start=0.02)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert [schedule(4 + step) for step in range(20)] == [inner(step) for step in range(20)]
    number = schedules.WarmUp(0.4, 2)
    assert [number(step) for step in range(4)] == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert [schedules.WarmUp(inner, 0)(step) for step in range(12)] == [inner(step) for step in range(12)]


def test_warm_up_is_that_of_keras_s_cosine_decay() -> None:
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 20, 0.1, warmup_target=0.1, warmup_steps=10)
    ours = schedules.WarmUp(schedules.CosineDecay(0.1, 20, 0.1), 10, 0.01)
    expected = np.asarray(jax.vmap(theirs)(jax.numpy.arange(35)))
    assert [ours(step) for step in range(35)] == pytest.approx(expected, rel=1e-5)


def test_cosine_of_the_epoch_is_cosine_decay() -> None:
    by_epoch, by_step = cosine(0.3, 7), schedules.CosineDecay(0.3, 7)
    assert [by_epoch(n) for n in range(7)] == pytest.approx([by_step(n) for n in range(7)])
