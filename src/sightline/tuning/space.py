"""What a search may choose: a function of an Optuna trial that returns settings of `train`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, SightlineError
from ..runs.settings import Settings, resolve
from ..tasks import TASKS

Space = Callable[[Any], dict[str, Any]]
Rate = Callable[[Settings], float]
# Of the small networks, which are made for one size of data: what of them may be another
NETWORKS: dict[str, dict[str, list[Any]]] = {
    "mnist_cnn": {"filters": [16, 32, 64], "kernel_size": [3, 5], "padding": ["valid", "same"]},
    "intel_cnn": {"filters": [16, 32, 64], "kernel_size": [3, 5], "padding": ["valid", "same"]},
    "signs_cnn": {"filters": [16, 32, 64], "kernel_size": [3, 5], "strides": [1, 2], "padding": ["valid", "same"]},
    "small_cnn": {"filters": [16, 32, 64], "kernel_size": [3, 5], "units": [64, 128, 256]},
}
AROUND = 10.0  # times below and above the rate that the sweep suggests


def default_space(settings: Settings, given: Collection[str], rate: Rate) -> Space:
    """What matters for the task, but for what a person has `given`; `rate` is the sweep's suggestion for some settings.

    Of a small network its filters and kernels too. With a frozen backbone a trial is a head alone, so that much is tried; images are augmented only where they are trained on.
    """
    task = TASKS[settings.task]
    frozen = settings.freeze is not None and settings.unfreeze is None

    def space(trial: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def choice(name: str, suggest: Callable[..., Any], *arguments: Any, **named: Any) -> None:
            if name not in given:
                asked[name] = rounded(suggest(name, *arguments, **named))

        choice("optimizer", trial.suggest_categorical, ["adam", "sgd"])
        choice("batch_size", trial.suggest_categorical, [16, 32, 64, 128] if task.takes_labels else [8, 16, 32])
        choice("weight_decay", trial.suggest_float, 1e-5, 0.1, log=True)
        if task.takes_labels:
            choice("dropout", trial.suggest_float, 0.0, 0.6)
            choice("label_smoothing", trial.suggest_float, 0.0, 0.2)
        if settings.task == "localize":
            choice("box_loss", trial.suggest_categorical, ["mse", "huber", "giou"])
        if "network" not in given and settings.model in NETWORKS:
            network = NETWORKS[settings.model].items()
            asked["network"] = {name: trial.suggest_categorical(name, values) for name, values in network}
        if not frozen:
            choice("augment", trial.suggest_categorical, ["none", "light", "strong"])
        if "lr" not in given:
            factor = trial.suggest_float("lr_factor", 1 / AROUND, AROUND, log=True)
            asked["lr"] = rounded(factor * rate(with_choices(settings, asked)))
        return asked

    return space


def rounded(value: Any) -> Any:
    """A number to three digits: more of them mean nothing, and nobody wants to type them."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def with_choices(settings: Settings, asked: Mapping[str, Any]) -> Settings:
    """The settings with what a space has chosen. Raises ArgumentError where that is nothing that `train` takes."""
    if not isinstance(asked, Mapping) or not all(isinstance(name, str) for name in asked):
        raise ArgumentError(
            "A space returns a dictionary of settings", expected='such as {"lr": 0.01}', received=repr(asked)
        )
    fixed = {
        "data",
        "task",
        "epochs",
        "name",
        "runs",
        "seed",
        "exist_ok",
        "format",
        "group_pattern",
        "classes",
        "allow",
    }
    if wrong := fixed & {*asked}:
        raise ArgumentError(
            f"A space cannot choose {sorted(wrong)[0]}", fix="It is the search's own: give it to tune itself"
        )
    try:
        return resolve(None, {**asdict(settings), **asked})
    except SightlineError as error:
        raise type(error)(f"The space chose what cannot be trained: {error}") from error


def load_space(place: str | Space) -> Space:
    """A person's own space: a function, or where it stands as FILE.py:NAME. Raises ArgumentError where there is none."""
    if callable(place):
        return place
    file, _, name = str(place).rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ArgumentError(
            f"Cannot find the space {place!r}", expected="a file and a function of a trial, as spaces.py:mine"
        )
    if not Path(file).is_file():
        raise ArgumentError(f"There is no file {file}, from which the space {name} should come")
    spec = importlib.util.spec_from_file_location(f"sightline_space_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{file} is not Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ArgumentError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ArgumentError(f"{file} has no function {name}")

    def space(trial: Any) -> dict[str, Any]:
        import optuna

        try:
            return function(trial)
        except (SightlineError, optuna.TrialPruned):
            raise
        except Exception as error:
            raise ArgumentError(
                f"The space {place} failed: {type(error).__name__}: {error}",
                expected="a function of an Optuna trial that returns settings",
            ) from error

    return space
