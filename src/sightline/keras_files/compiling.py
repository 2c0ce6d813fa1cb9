"""How a model was compiled: Keras's configuration of optimizer, loss and metrics <-> the arguments of our `compile`.

A part that is not known does not keep the network from being read: the model comes uncompiled, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch

from .. import losses, metrics, optimizers
from ..configurable import Configurable
from ..errors import ModelFileError, SightlineError
from ..graph.network import Network
from ..graph.weights import Variable
from ..optimizers import Optimizer
from ..schedules import SCHEDULES
from ..training.compiled import PARTS
from .archive import check_dataset, find, has, read_dataset
from .checks import mapping, quoted, sequence, shortened, text
from .configs import is_custom, make, to_keras
from .weights import trained

# How a step is carried out, which changes no number
MANNER = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss", "sample_weight_mode")
OPTIMIZERS = {kind.__name__: kind for kind in optimizers.OPTIMIZERS.values()}
IDLE = ("jit_compile", "is_legacy_optimizer")  # of an optimizer, without effect
OURS_ALONE = ("ShapedAccuracy", "OneCycle", "WarmUp")  # the first is what compile makes of "accuracy"

# Keras's names of each parameter's state, in its order, and ours; those of one group are written parameter by parameter
SLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Adam": (("momentum", "velocity"), ("velocity_hat",)),
    "AdamW": (("momentum", "velocity"), ("velocity_hat",)),
    "SGD": (("velocity",),),
    "RMSprop": (("square",), ("velocity",), ("mean",)),
    "Adagrad": (("accumulator",),),
}


# --- reading -----------------------------------------------------------------------------------------------------


def read_compiled(config: Any, path: object) -> dict[str, Any] | None:
    """The arguments of `compile`; None, with a warning that says why, where a part of it is not known."""
    if not config:
        return None
    try:
        return _arguments(mapping(config, "How the model was compiled"))
    except (SightlineError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = shortened(error.what if isinstance(error, SightlineError) else repr(error))
        warnings.warn(f"{path} is not compiled: {reason}. Call model.compile(...) to train it", stacklevel=5)
        return None


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    for key, value in config.items():
        if key not in (*PARTS, *MANNER, "optimizer_config") and value is not None and value is not False:
            raise ModelFileError(f"compile has {quoted(key)}={quoted(value)}, which is not supported")
    given: dict[str, Any] = {"optimizer": _optimizer(config.get("optimizer_config", config.get("optimizer")))}
    given["loss"] = _parts(config.get("loss"), losses.LOSSES, losses.get, "The loss")
    given["loss_weights"] = config.get("loss_weights")
    for key in ("metrics", "weighted_metrics"):
        given[key] = _parts(config.get(key), metrics.METRICS, metrics.get, "A metric")
    return {key: value for key, value in given.items() if value is not None}


def _optimizer(config: Any) -> Optimizer:
    if isinstance(config, str):
        return optimizers.get(config)
    config = mapping(config, "The optimizer")
    kind, inner = text(config.get("class_name"), "The optimizer"), dict(mapping(config.get("config"), "The optimizer"))
    known = next((k for name, k in OPTIMIZERS.items() if name.lower() == kind.lower()), None)
    if known is None or is_custom(config | {"registered_name": None}):
        raise ModelFileError(f"the optimizer {quoted(kind)} is not supported")
    inner = {key: value for key, value in inner.items() if key not in IDLE}
    if not inner.get("decay", True):  # 0.0, as Keras 2 wrote it
        del inner["decay"]
    if "lr" in inner:
        inner["learning_rate"] = inner.pop("lr")
    return make(known, inner, f"the optimizer {kind}", SCHEDULES)


def _parts(config: Any, known: Mapping[str, type], get: Any, what: str) -> Any:
    """Losses or metrics in the structure that was given: by name, as an object, or as a function of Keras's own."""
    if config is None or isinstance(config, list):
        return None if config is None else [_parts(item, known, get, what) for item in config]
    if isinstance(config, str):
        get(config)  # raises ArgumentError where there is none of that name
        return config
    config = mapping(config, what)
    if "class_name" not in config:
        return {key: _parts(item, known, get, what) for key, item in config.items()}
    kind, inner = text(config["class_name"], what), config.get("config")
    if kind == "function" and isinstance(inner, str):
        return _parts(inner, known, get, what)
    if kind == "MeanMetricWrapper":
        inner = mapping(inner, what)
        function = inner["fn"]["config"] if isinstance(inner["fn"], dict) else inner["fn"]
        metric = get(text(function, what))
        metric.name = text(inner.get("name"), what)
        return metric
    if is_custom(config) or kind not in known or kind in OURS_ALONE:
        raise ModelFileError(f"{what} is {quoted(kind)}, which is not supported")
    return make(known[kind], inner or {}, f"{what} {kind}", {})


# --- writing -----------------------------------------------------------------------------------------------------


def compiled_to_keras(compiled: Mapping[str, Any] | None, path: object) -> dict[str, Any] | None:
    """Keras's configuration of `compile`'s arguments; None, with a warning, where a part is someone's own code.

    Names become objects: Keras 3 does not find "mse" again that it has itself written into an .h5.
    """
    if not compiled or compiled.get("optimizer") is None:
        return None
    try:
        parts = {key: _part(compiled.get(key), key) for key in PARTS}
    except SightlineError as error:
        warnings.warn(f"{path} does not hold how the model was compiled: {error.what}", stacklevel=4)
        return None
    return parts | {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": "auto"}


def old_training_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """As `compiled_to_keras`, as .h5 files have it."""
    optimizer = {key: config["optimizer"][key] for key in ("class_name", "config")}
    return {key: value for key, value in config.items() if key != "optimizer"} | {"optimizer_config": optimizer}


def _part(value: Any, what: str) -> Any:
    if isinstance(value, type):
        value = value()
    if what == "optimizer":
        value = optimizers.get(value)
    elif isinstance(value, str):
        value = (losses if what == "loss" else metrics).get(value)
    if isinstance(value, (list, tuple)):
        return [_part(item, what) for item in value]
    if isinstance(value, dict):
        return {key: _part(item, what) for key, item in value.items()}
    if type(value).__name__ in OURS_ALONE and isinstance(value, metrics.Metric):
        return "acc" if value.name.startswith("acc") and not value.name.startswith("accuracy") else "accuracy"
    return to_keras(value, what, _module_of)


def _module_of(value: Configurable) -> str | None:
    for module, kinds in (
        ("keras.losses", losses.LOSSES),
        ("keras.metrics", metrics.METRICS),
        ("keras.optimizers", OPTIMIZERS),
        ("keras.optimizers.schedules", SCHEDULES),
    ):
        if kinds.get(type(value).__name__) is type(value) and type(value).__name__ not in OURS_ALONE:
            return module
    return None


# --- the optimizer's state ---------------------------------------------------------------------------------------


def state_names(optimizer: Optimizer, variables: list[Variable]) -> list[tuple[str, Variable]]:
    """(our name of the state, the parameter's variable) in Keras's order."""
    absent = set()
    if not getattr(optimizer, "amsgrad", False):
        absent.add("velocity_hat")
    if not getattr(optimizer, "momentum", True):
        absent.add("velocity")
    if not getattr(optimizer, "centered", False):
        absent.add("mean")
    averages = [["average"]] if optimizer.use_ema else []  # Keras makes them before all else
    groups = averages + [[name for name in group if name not in absent] for group in SLOTS[type(optimizer).__name__]]
    return [(name, variable) for group in groups for variable in variables for name in group]


def state_to_keras(optimizer: Optimizer, network: Network) -> list[np.ndarray]:
    """All that Keras keeps of an optimizer: iterations, the rate where it is a number, and each parameter's state."""
    rate = optimizer.get_config()["learning_rate"]
    arrays = [np.asarray(optimizer.iterations, np.int32)]
    arrays += [np.asarray(rate, np.float32)] if isinstance(rate, float) else []
    bound = optimizer.is_bound_to(network.parameters())
    state = optimizer.state_dict()["state"] if bound else {}
    numbers = {id(p): n for n, p in enumerate(p for p in network.parameters() if p.requires_grad)}
    start = getattr(optimizer, "initial_accumulator_value", 0.0)
    for name, variable in state_names(optimizer, trained(network)):
        slot = state.get(name, {}).get(numbers[id(variable.tensor)])
        slot = torch.full_like(variable.tensor, start) if slot is None else slot
        arrays.append(variable._replace(tensor=slot).read())
    return arrays


def read_state(optimizer: Optimizer, network: Network, found: list[h5py.Dataset], path: object) -> None:
    """Let the optimizer go on from where it was: binds it to the network. Without a state in the file it begins anew.

    Warns where the state is of another optimizer or network.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer.bind(parameters)
    names = state_names(optimizer, trained(network))
    rate = isinstance(optimizer.get_config()["learning_rate"], float)
    if not found or (names and len(found) == 1 + rate):  # it was never used
        return
    try:
        if len(found) != 1 + rate + len(names):
            raise ModelFileError("it has another number of arrays", expected=1 + rate + len(names), received=len(found))
        check_dataset(found[0], (), "its iterations", whole=True)
        for (name, variable), dataset in zip(names, found[1 + rate :], strict=True):
            check_dataset(dataset, variable.keras_shape, f"its {name} of {variable.name}")
    except ModelFileError as error:
        warnings.warn(f"{path}: the optimizer's state does not fit, so it begins anew: {error}", stacklevel=5)
        return
    numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
    state: dict[str, dict[int, torch.Tensor]] = {}
    for (name, variable), dataset in zip(names, found[1 + rate :], strict=True):
        slot = variable._replace(tensor=torch.empty_like(variable.tensor))
        slot.write(read_dataset(dataset))
        state.setdefault(name, {})[numbers[id(variable.tensor)]] = slot.tensor
    iterations = int(read_dataset(found[0]))
    optimizer.load_state_dict(optimizer.state_dict() | {"iterations": iterations, "state": state})


def find_state(file: h5py.Group) -> list[h5py.Dataset]:
    """The arrays of an optimizer in Keras 3's layout, in order; whatever else stands there is nobody's."""
    found: list[h5py.Dataset] = []
    if has(file, "optimizer/vars"):
        group = find(file, "optimizer/vars")
        while has(group, str(len(found))):
            found.append(find(group, str(len(found))))
    return found


def find_old_state(file: h5py.Group, names: list[str]) -> list[h5py.Dataset]:
    """The same of an .h5; Keras 2's, whose state is kept otherwise, is left out."""
    group = find(file, "optimizer_weights")
    found = [find(group, name) for name in sequence(names, "The optimizer's weights")]
    return found if names and names[0].endswith("/iteration") else []
