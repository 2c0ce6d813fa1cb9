"""Optimizers step by step against Keras; their state, rates and refusals."""

from __future__ import annotations

import copy
import io
import itertools
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import sightline as sl
from oracle import (
    assert_close,
    jax,
    keras,
    normal,
)
from sightline.configurable import as_plain, from_plain
from sightline.errors import ArgumentError, SightlineError
from sightline.optimizers import OPTIMIZERS
from sightline.schedules import SCHEDULES

KINDS = ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad"]
RULES = [
    *((kind, {}) for kind in KINDS),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Adam", {"amsgrad": True, "beta_2": 0.5}),
    ("AdamW", {"amsgrad": True, "beta_2": 0.5, "weight_decay": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"nesterov": True}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "epsilon": 1e-3}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 0.0, "epsilon": 0.1}),
]
# The gradients' norms are about 3.5, 2.2 and 6, their global norm about 7: each clip bites on some and not on others
COMMON: list[dict[str, Any]] = [
    {"weight_decay": 0.3},
    {"clipnorm": 3.0},
    {"clipvalue": 1.0},
    {"global_clipnorm": 6.5},
    {"clipnorm": 1.0, "weight_decay": 0.3, "learning_rate": 0.05},
]
EXTRA: dict[str, dict[str, Any]] = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5}}
SHAPES = ((4, 3), (5,), (2, 3, 3, 2))


def check_optimizer(
    kind: str, arguments: dict[str, Any], factors: list[float] | None, scale: float = 1.0, exclude: tuple[int, ...] = ()
) -> None:
    """The weights after each of ten steps with given gradients.

    `factors` are of the learning rate, one for each step; without them the rate is a schedule of each side.
    """
    rng = np.random.default_rng(0)
    starts = [0.1 * normal(rng, *shape) for shape in SHAPES]
    sides = []
    for module in (sl, keras):
        rate = {} if factors else {"learning_rate": module.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)}
        sides.append(getattr(module.optimizers, kind)(**arguments | rate))
    ours, theirs = sides
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    variables = [keras.Variable(start) for start in starts]
    ours.bind(parameters)
    theirs.build(variables)
    if exclude:
        ours.exclude_from_weight_decay([parameters[number] for number in exclude])
        theirs.exclude_from_weight_decay([variables[number] for number in exclude])
    rate = ours.learning_rate
    assert rate == pytest.approx(float(theirs.learning_rate))
    for step in range(len(factors or range(10))):
        if factors:
            ours.learning_rate = theirs.learning_rate = rate * factors[step]
        assert ours.learning_rate == pytest.approx(float(theirs.learning_rate))
        gradients = [scale * normal(rng, *start.shape) for start in starts]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        ours.step()
        theirs.apply([jax.numpy.asarray(gradient) for gradient in gradients], variables)
        assert ours.iterations == int(theirs.iterations) == step + 1
        for parameter, variable, start in zip(parameters, variables, starts, strict=True):
            expected = np.asarray(variable.value)
            assert_close(parameter, expected, f"weights after step {step + 1}", least=0)
            # The way itself is short against the weights, whose float32 rounding it carries
            moved = parameter.detach().numpy() - start
            assert_close(moved, expected - start, f"way after step {step + 1}", tolerance=2e-4, least=1e-3)


@pytest.mark.parametrize(("kind", "arguments"), RULES, ids=str)
def test_optimizer(kind: str, arguments: dict[str, Any]) -> None:
    check_optimizer(kind, arguments, [1.0] * 5 + [0.1] * 5)


@pytest.mark.parametrize(("kind", "common"), list(itertools.product(KINDS, COMMON)), ids=str)
def test_clips_and_weight_decay(kind: str, common: dict[str, Any]) -> None:
    check_optimizer(kind, {"learning_rate": 0.01} | EXTRA.get(kind, {}) | common, [1.0] * 3 + [0.1] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_as_the_rate(kind: str) -> None:
    check_optimizer(kind, {"weight_decay": 0.3} | EXTRA.get(kind, {}), None)


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_weight_decay_of_some(kind: str) -> None:
    check_optimizer(kind, {"weight_decay": 0.3}, [1.0] * 5, exclude=(1,))


@pytest.mark.parametrize("scale", [1e-6, 1e3])
@pytest.mark.parametrize("kind", ["Adam", "RMSprop", "Adagrad"])
def test_optimizer_where_epsilon_weighs(kind: str, scale: float) -> None:
    check_optimizer(kind, {}, [1.0] * 10, scale)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_survives_a_learning_rate_of_zero(nesterov: bool) -> None:
    """The velocity holds the old rate: weights coast at rate 0, and go on from there."""
    check_optimizer("SGD", {"momentum": 0.9, "nesterov": nesterov}, [0.0, 1.0, 1.0, 0.0, 0.0, 0.5, 1.0])


@pytest.mark.parametrize("gradient", [0.0, math.inf, math.nan])
@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clips_of_gradients_without_a_norm(clip: str, gradient: float) -> None:
    gradients = [np.full(2, gradient, np.float32), np.array([1.0, gradient], np.float32), np.ones(2, np.float32)]
    ours, theirs = (module.optimizers.SGD(1.0, **{clip: 1.0}) for module in (sl, keras))
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in gradients]
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in gradients]
    ours.bind(parameters)
    for parameter, array in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(array.copy())
    ours.step()
    theirs.apply([jax.numpy.asarray(array) for array in gradients], variables)
    for parameter, variable in zip(parameters, variables, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), np.asarray(variable.value), rtol=1e-6)


def test_a_small_weight_decay_is_not_rounded_away() -> None:
    """As a factor, 1 - 1e-5 * 0.004, half of it would be float32's rounding; taken from each weight it evens out."""
    weights = np.linspace(1, 2, 100_000, dtype=np.float32)
    parameter, variable = torch.nn.Parameter(torch.from_numpy(weights.copy())), keras.Variable(weights)
    ours, theirs = sl.optimizers.AdamW(1e-5), keras.optimizers.AdamW(1e-5)
    ours.bind([parameter])
    for _ in range(20):
        parameter.grad = torch.zeros_like(parameter)
        ours.step()
        theirs.apply([jax.numpy.zeros_like(weights)], [variable])
    kept = [
        np.asarray(side, np.float64).sum() / weights.sum(dtype=np.float64)
        for side in (parameter.detach(), variable.value)
    ]
    assert 1 - kept[0] == pytest.approx(20 * 1e-5 * 0.004, rel=0.1)
    assert 1 - kept[0] == pytest.approx(1 - kept[1], rel=0.1)


# --- averages ----------------------------------------------------------------------------------------------------

STARTS = [0.1 * normal(np.random.default_rng(0), *shape) for shape in SHAPES]


def averaging(kind: str = "SGD", **arguments: Any) -> tuple[Any, list[torch.nn.Parameter], Any, list[Any]]:
    """Both sides with the same parameters: (ours, its parameters, Keras's, its variables)."""
    ours, theirs = (getattr(module.optimizers, kind)(0.1, use_ema=True, **arguments) for module in (sl, keras))
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in STARTS]
    variables = [keras.Variable(start) for start in STARTS]
    ours.bind(parameters)
    theirs.build(variables)
    return ours, parameters, theirs, variables


def step_both(sides: tuple[Any, list[torch.nn.Parameter], Any, list[Any]], seed: int) -> None:
    ours, parameters, theirs, variables = sides
    gradients = [normal(np.random.default_rng(seed), *shape) for shape in SHAPES]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    ours.step()
    theirs.apply([jax.numpy.asarray(gradient) for gradient in gradients], variables)


def assert_same_averages(sides: tuple[Any, list[torch.nn.Parameter], Any, list[Any]], what: str) -> None:
    """The weights, and what stands beside them in the optimizer."""
    ours, parameters, theirs, variables = sides
    averages = ours.state_dict()["state"]["average"].values()
    for actual, expected in zip(parameters, variables, strict=True):
        assert_close(actual, np.asarray(expected.value), f"weights {what}")
    for actual, expected in zip(averages, theirs._model_variables_moving_average, strict=True):
        assert_close(actual, np.asarray(expected.value), f"averages {what}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frequency", [None, 1, 3])
def test_averages_of_the_weights(kind: str, frequency: int | None) -> None:
    sides = averaging(kind, ema_momentum=0.8, ema_overwrite_frequency=frequency)
    for seed in range(7):
        step_both(sides, seed)
        assert_same_averages(sides, f"after step {seed + 1}")
    sides[0].finalize()
    sides[2].finalize_variable_values(sides[3])
    assert_same_averages(sides, "at the end")
    step_both(sides, 7)
    assert_same_averages(sides, "of a second training")


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_averages_at_the_ends_of_momentum(momentum: float) -> None:
    """Momentum 0: the average is the weight, to the bit. Momentum 1: it stays what it was after the first update."""
    optimizer, parameters, *_ = sides = averaging(ema_momentum=momentum)
    for seed in range(3):
        step_both(sides, seed)
        if seed == 0:
            first = [parameter.detach().clone() for parameter in parameters]
    assert_same_averages(sides, "after three steps")
    averages = optimizer.state_dict()["state"]["average"].values()
    assert all(map(torch.equal, averages, first if momentum else parameters))


def test_a_parameter_without_a_gradient_is_averaged_too() -> None:
    optimizer, parameters = bound("SGD", {"use_ema": True, "ema_momentum": 0.5})
    go(optimizer, parameters, range(1, 2))
    for parameter in parameters:
        parameter.grad = None
    parameters[0].grad = torch.ones_like(parameters[0])
    before = optimizer.state_dict()["state"]["average"][1].clone()
    with torch.no_grad():
        parameters[1].add_(1.0)
    optimizer.step()
    torch.testing.assert_close(optimizer.state_dict()["state"]["average"][1], before + 0.5)


def test_swapped_twice_is_the_same_to_the_bit() -> None:
    optimizer, parameters, *_ = sides = averaging(ema_momentum=0.9)
    for seed in range(3):
        step_both(sides, seed)
    weights = [parameter.detach().clone() for parameter in parameters]
    averages = [average.clone() for average in optimizer.state_dict()["state"]["average"].values()]
    optimizer.swap_averages()
    assert optimizer.swapped
    assert all(map(torch.equal, parameters, averages))
    resumed, copies = bound("SGD", {"use_ema": True}, parameters)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((optimizer, parameters), (resumed, copies)):
        one.swap_averages()
        assert not one.swapped
        assert all(map(torch.equal, its, weights))
    optimizer.swap_averages()
    optimizer.finalize()
    assert all(map(torch.equal, parameters, averages))
    assert not optimizer.swapped


def test_averages_that_are_not_there() -> None:
    optimizer, parameters = bound("Adam", {})
    before = [parameter.detach().clone() for parameter in parameters]
    with pytest.raises(SightlineError, match=r"This Adam keeps no averages.*Adam\(use_ema=True\)"):
        optimizer.swap_averages()
    optimizer.finalize()
    fresh, others = bound("Adam", {"use_ema": True}, parameters)
    fresh.finalize()  # no update, no average
    assert all(map(torch.equal, parameters, before))
    assert all(map(torch.equal, others, before))


# --- state -------------------------------------------------------------------------------------------------------


def bound(kind: str, arguments: dict[str, Any], like: list[torch.nn.Parameter] | None = None) -> Any:
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in SHAPES] if like is None else [p.detach().clone() for p in like]
    parameters = [torch.nn.Parameter(value) for value in values]
    optimizer = getattr(sl.optimizers, kind)(**arguments)
    optimizer.bind(parameters)
    return optimizer, parameters


def go(optimizer: Any, parameters: list[torch.nn.Parameter], steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if (step + number) % 4 == 0:  # a parameter that a step does not reach
                parameter.grad = None
        optimizer.step()


STATEFUL = [
    *RULES,
    *((kind, {"weight_decay": 0.1, "clipnorm": 1.0}) for kind in KINDS),
    *((kind, {"learning_rate": sl.optimizers.schedules.CosineDecay(0.1, 10)}) for kind in KINDS),
    *((kind, {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 5}) for kind in KINDS),
]


@pytest.mark.parametrize(("kind", "arguments"), STATEFUL, ids=str)
def test_resumed_to_the_same_bits(kind: str, arguments: dict[str, Any]) -> None:
    optimizer, parameters = bound(kind, arguments)
    go(optimizer, parameters, range(3))
    if "learning_rate" not in arguments:
        optimizer.learning_rate = 0.0123
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    resumed, copies = bound(kind, arguments, parameters)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.iterations == 3
    assert resumed.learning_rate == optimizer.learning_rate
    for pair in ((optimizer, parameters), (resumed, copies)):
        go(*pair, range(3, 7))
    assert all(map(torch.equal, parameters, copies))
    fresh, others = bound(kind, arguments, copies)
    assert fresh.iterations == 0
    assert all(map(torch.equal, others, copies))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_goes_its_own_way(kind: str, copied: Any) -> None:
    optimizer, parameters = bound(kind, {"weight_decay": 0.1})
    optimizer.exclude_from_weight_decay(parameters[:1])
    go(optimizer, parameters, range(3))
    twin, copies = copied((optimizer, parameters))
    go(optimizer, parameters, range(3, 6))
    assert not any(map(torch.equal, parameters, copies))
    go(twin, copies, range(3, 6))
    assert all(map(torch.equal, parameters, copies))


def test_a_state_of_rate_zero_and_of_a_frozen_network() -> None:
    optimizer, parameters = bound("Adam", {"learning_rate": 0.0})
    resumed, _ = bound("Adam", {})
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.learning_rate == 0
    for parameter in parameters:
        parameter.requires_grad_(False)
    optimizer.bind(parameters)
    optimizer.step()
    assert (optimizer.iterations, optimizer.state_dict()["state"]) == (0, {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_order_of_a_parameter_and_its_gradient_does_not_matter(kind: str) -> None:
    """A fused kernel walks memory: a gradient or a state in another order would be another's."""
    arguments = {"learning_rate": 0.1, **EXTRA.get(kind, {})}
    (plain, expected), (mixed, parameters) = bound(kind, arguments), bound(kind, arguments)
    for step in range(4):
        go(plain, expected, range(step, step + 1))
        order = torch.channels_last if step % 2 == 0 else torch.contiguous_format
        parameters[2].data = parameters[2].data.contiguous(memory_format=order)
        go(mixed, parameters, range(step, step + 1))
        for one, other in zip(parameters, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_a_state_that_does_not_fit() -> None:
    optimizer, parameters = bound("Adam", {})
    go(optimizer, parameters, range(2))
    state = optimizer.state_dict()
    scheduled = {"learning_rate": sl.optimizers.schedules.CosineDecay(0.1, 10)}
    for (other, _), words in (
        (bound("Adam", {}, parameters[1:]), r"not the same shapes. Expected: \[\(5,\)"),
        (bound("Adam", {}, parameters[:2]), "not the same shapes"),
        (bound("AdamW", {}), r"not the same class. Expected: AdamW. Received: Adam\."),
        (bound("Adam", scheduled), r"not the same learning rate. Expected: not a number. Received: a number"),
    ):
        with pytest.raises(ArgumentError, match=words):
            other.load_state_dict(state)
        assert other.iterations == 0
    for act in (lambda o: o.step(), lambda o: o.load_state_dict(state)):
        with pytest.raises(SightlineError, match="no parameters yet"):
            act(sl.optimizers.Adam())


# --- the rate ----------------------------------------------------------------------------------------------------


def test_a_rate_that_is_scheduled_cannot_be_set_to_a_number() -> None:
    optimizer, theirs = (m.optimizers.SGD(m.optimizers.schedules.CosineDecay(0.1, 10)) for m in (sl, keras))
    with pytest.raises(TypeError, match="not settable"):
        theirs.learning_rate = 0.1
    with pytest.raises(ArgumentError, match=r"follows CosineDecay\(.*cannot be set to 0.1.*number as learning_rate"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = sl.optimizers.schedules.CosineDecay(0.3, 10)
    assert optimizer.learning_rate == pytest.approx(0.3)
    number = sl.optimizers.SGD(0.5)
    number.learning_rate = sl.optimizers.schedules.CosineDecay(0.2, 10)
    assert number.learning_rate == pytest.approx(0.2)


def test_a_function_and_a_schedule_of_ones_own_as_the_rate() -> None:
    rates = iter([0.5, 0.25, 0.125])

    class Halving(sl.optimizers.schedules.LearningRateSchedule):
        def __init__(self, initial: float):
            self.initial = initial

        def __call__(self, step: int) -> float:
            return self.initial / 2**step

    expected = torch.tensor([-0.5, -0.75, -0.875])
    for rate in (lambda: next(rates), Halving(0.5)):
        optimizer = sl.optimizers.SGD(rate)
        parameter = torch.nn.Parameter(torch.zeros(()))
        optimizer.bind([parameter])
        for value in expected:
            parameter.grad = torch.ones(())
            optimizer.step()
            assert parameter.detach() == value
    with pytest.raises(ArgumentError, match="cannot be kept in a file"):
        as_plain(sl.optimizers.SGD(lambda: 0.1))


@pytest.mark.parametrize("rate", [-1.0, math.nan, math.inf, None, "0.1"])
def test_a_function_must_return_a_rate(rate: Any) -> None:
    with pytest.raises(ArgumentError, match="gave no learning rate"):
        sl.optimizers.SGD(lambda: rate).learning_rate  # noqa: B018


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf, None, "0.1", True, sl.optimizers.schedules.CosineDecay])
def test_what_is_no_rate(rate: Any) -> None:
    optimizer = sl.optimizers.SGD()
    with pytest.raises(ArgumentError, match=r"SGD: learning_rate is not one. Expected: a number >= 0"):
        sl.optimizers.SGD(rate)
    with pytest.raises(ArgumentError, match="SGD: learning_rate"):
        optimizer.learning_rate = rate
    assert optimizer.learning_rate == 0.01


@pytest.mark.parametrize("rate", [1, 0, 0.5, np.float32(0.5), np.float64(0.25)])
def test_what_is_a_rate(rate: Any) -> None:
    optimizer = sl.optimizers.SGD(rate)
    assert type(optimizer.learning_rate) is float
    assert optimizer.learning_rate == rate


# --- arguments ---------------------------------------------------------------------------------------------------

FIXED = {"loss_scale_factor", "gradient_accumulation_steps"}


@pytest.mark.parametrize(("kind", "arguments"), RULES, ids=str)
def test_config_is_keras_s_and_comes_back(kind: str, arguments: dict[str, Any]) -> None:
    ours, theirs = (getattr(module.optimizers, kind)(**arguments) for module in (sl, keras))
    config = theirs.get_config()
    assert set(config) - set(ours.get_config()) == FIXED
    for name, value in ours.get_config().items():
        if name != "name":  # Keras counts them: adam, adam_1
            assert config[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    assert config["name"].startswith(ours.name)
    kinds = {known.__name__: known for known in OPTIMIZERS.values()} | SCHEDULES
    back = from_plain(json.loads(json.dumps(as_plain(ours))), kinds)
    assert type(back) is type(ours)
    assert back.get_config() == ours.get_config()


@pytest.mark.parametrize("name", sorted(FIXED))
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_of_keras_that_are_not_there(kind: str, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{kind} does not support the argument '{name}'"):
        getattr(sl.optimizers, kind)(**{name: 2})


@pytest.mark.parametrize("kind", KINDS)
def test_lr_is_refused_with_its_name(kind: str) -> None:
    with pytest.raises(ArgumentError, match=r"'lr'.*learning_rate"):
        getattr(sl.optimizers, kind)(lr=0.1)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        *((kind, {"weight_decay": -0.1}, "weight_decay.*>= 0.*-0.1") for kind in KINDS),
        *(
            ("SGD", {clip: value}, f"{clip}.*> 0")
            for clip in ("clipnorm", "clipvalue", "global_clipnorm")
            for value in (0, -1.0, "1")
        ),
        ("SGD", {"clipnorm": 1.0, "clipvalue": 1.0}, "one of clipnorm, clipvalue.*clipnorm and clipvalue"),
        ("Adam", {"clipvalue": 1.0, "global_clipnorm": 1.0}, "clipvalue and global_clipnorm"),
        ("AdamW", {"weight_decay": None}, "AdamW: weight_decay.*None"),
        ("Adam", {"beta_1": 1.0}, "beta_1.*below 1"),
        ("Adam", {"beta_2": 1}, "beta_2.*below 1"),
        ("AdamW", {"epsilon": -1e-7}, "epsilon"),
        ("SGD", {"momentum": 1.5}, "momentum.*from 0 to 1"),
        ("RMSprop", {"rho": -0.1}, "rho"),
        ("RMSprop", {"momentum": math.nan}, "momentum"),
        ("Adagrad", {"initial_accumulator_value": -0.1}, "initial_accumulator_value"),
        ("Adagrad", {"epsilon": True}, "epsilon"),
        ("SGD", {"use_ema": True, "ema_momentum": 1.1}, "ema_momentum.*from 0 to 1"),
        ("Adam", {"use_ema": True, "ema_overwrite_frequency": 0}, "Adam: ema_overwrite_frequency.*at least 1.*0"),
        ("Adam", {"use_ema": True, "ema_overwrite_frequency": 2.5}, "ema_overwrite_frequency.*2.5"),
    ],
)
def test_what_is_refused(kind: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        getattr(sl.optimizers, kind)(**arguments)


def test_exclusion_by_name_is_refused_with_what_to_write() -> None:
    with pytest.raises(ArgumentError, match=r"'var_names'.*var_list=\[p for name, p in model.named_parameters"):
        sl.optimizers.AdamW().exclude_from_weight_decay(var_names=["bias"])
