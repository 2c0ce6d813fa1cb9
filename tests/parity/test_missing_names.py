"""Whatever Keras has and Sightline has not is refused by its name, with what to use instead."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import sightline as sl
from oracle import keras
from sightline import keras_only

MODULES = [name for name in keras_only.MODULES if name]


def public(module: Any) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_")]


@pytest.mark.parametrize("module", MODULES)
def test_names_of_modules(module: str) -> None:
    ours = getattr(sl, module)
    for name in public(getattr(keras, module)):
        if name not in dir(ours):
            with pytest.raises(sl.SightlineError, match=f"sightline.{module} has not Keras's {name}\\. "):
                getattr(ours, name)


def test_names_of_the_package() -> None:
    for name in public(keras):
        if name not in dir(sl) and name not in vars(sl):
            with pytest.raises(sl.SightlineError, match=f"sightline has not Keras's {name}\\. "):
                getattr(sl, name)


def test_no_hint_for_what_is_there() -> None:
    for module, hints in keras_only.MODULES.items():
        ours = getattr(sl, module) if module else sl
        assert not set(hints) & set(dir(ours)), module


def test_an_unknown_name_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match='Did you mean "Conv2D"'):
        _ = sl.layers.Conv2d
    assert not hasattr(sl.losses, "mean_sqared_error")


@pytest.mark.parametrize("module", ["layers", "losses", "metrics", "optimizers", "initializers", "regularizers"])
def test_arguments_of_shared_classes(module: str) -> None:
    """Each argument of Keras's that the class here has not: refused by name, but for the value that asks for nothing."""
    checked = 0
    for name, theirs in vars(getattr(keras, module)).items():
        ours = getattr(getattr(sl, module), name, None) if name in dir(getattr(sl, module)) else None
        if not (inspect.isclass(theirs) and inspect.isclass(ours)) or name in ("Layer", "Loss", "Metric", "Optimizer"):
            continue
        parameters = inspect.signature(theirs.__init__).parameters
        needed = {
            p.name: _value_for(p.name)
            for p in inspect.signature(ours.__init__).parameters.values()
            if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
        }
        known = _arguments(ours)
        for argument in parameters:
            if argument in known or argument in ("self", "args", "kwargs", "config"):
                continue
            with pytest.raises(sl.SightlineError, match=f"'{argument}'"):
                ours(**needed, **{argument: object()})
            if argument not in ("axis", "from_sorted_ids", "bounding_box_format"):  # the message itself is enough there
                assert argument in keras_only.ARGUMENTS, f"{module}.{name}: no hint for {argument}"
            checked += 1
    assert checked or module in ("initializers", "regularizers")


def _arguments(kind: type) -> list[str]:
    from sightline.configurable import argument_names

    return argument_names(kind)


def _value_for(name: str) -> Any:
    values = {"target_shape": (4,), "dims": (1,), "shape": (4, 4, 3), "activation": "relu", "target_class_ids": [0]}
    return values.get(name, 2 if name in ("filters", "units", "height", "width", "num_classes", "kernel_size") else 0.5)


@pytest.mark.parametrize("kind", ["layer", "optimizer", "loss", "metric"])
def test_names_in_texts(kind: str) -> None:
    texts = {"optimizer": "adamax", "loss": "kl_divergence", "metric": "CosineSimilarity"}
    if kind not in texts:
        return
    model = sl.Sequential([sl.Input((2,)), sl.layers.Dense(2, activation="softmax")])
    arguments = {"optimizer": "sgd", "loss": "mse"} | (
        {"metrics": [texts[kind]]} if kind == "metric" else {kind: texts[kind]}
    )
    with pytest.raises(sl.SightlineError, match=f"Keras's {kind} {texts[kind]!r} is not here"):
        model.compile(**arguments)


@pytest.mark.parametrize("method", ["compile", "fit", "evaluate", "predict"])
def test_arguments_of_methods(method: str) -> None:
    model = sl.Sequential([sl.Input((2,)), sl.layers.Dense(2)])
    ours, theirs = (inspect.signature(getattr(kind, method)).parameters for kind in (sl.Model, keras.Model))
    for argument in set(theirs) - set(ours) - {"kwargs"}:
        with pytest.raises(sl.SightlineError, match=f"'{argument}'"):
            getattr(model, method)(None, **{argument: object()})
        assert argument in keras_only.ARGUMENTS, argument


def test_what_asks_for_nothing_else_is_taken() -> None:
    layer = sl.layers.Conv2D(2, 3, data_format="channels_last", kernel_constraint=None, activity_regularizer=None)
    assert "data_format" not in layer.get_config()
    with pytest.raises(sl.SightlineError, match="channels_last"):
        sl.layers.Conv2D(2, 3, data_format="channels_first")
