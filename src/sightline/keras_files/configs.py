"""Keras's configurations of objects and layers <-> ours. What is made is on a list; nothing a file names is imported or run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .. import activations, initializers, regularizers
from ..configurable import Configurable, argument_names
from ..errors import ModelFileError, SightlineError
from ..graph.symbolic import describe_layer
from ..keras_only import hint_for
from ..layers import FILE_LAYERS, InputLayer, Layer
from .checks import mapping, quoted, sequence, shortened, text

FUNCTIONAL = ("Functional", "Model")
NETWORKS = (*FUNCTIONAL, "Sequential")
NOT_KERAS = ("LocalResponseNormalization", "DepthMaxPooling2D", "PlaceBoxes", "PlaceValues", "ResizeLike", "Bilinear")
LAYERS: dict[str, type[Layer]] = {
    name: kind for name, kind in FILE_LAYERS.items() if issubclass(kind, Layer) and name not in NOT_KERAS
}
OBJECTS: dict[str, type[Configurable]] = {
    kind.__name__: kind for kind in (*initializers.KINDS, *regularizers.KINDS) if kind.__name__ not in NOT_KERAS
}
FUNCTIONS: dict[str, Any] = {name: name for name in activations.ACTIVATIONS}

AS_IN_KERAS = "Change the model in Keras and save it again"
CODE = ("Lambda", "function", "__lambda__", "TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda")

# Keras 2 names of arguments, by class
RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}}
# What a class's configuration also holds, and cannot matter; or matters only beside something that is refused
DEAD = {
    "BatchNormalization": ("renorm_momentum",),
    "SeparableConv2D": ("kernel_initializer",),
    "DepthwiseConv2D": ("kernel_initializer",),
    "Resizing": ("smart_resize",),
}
# What may stand there because it is what Sightline does
HONOURED = {"data_format": "channels_last", "groups": 1, "axis": -1}
SHAPES = ("batch_input_shape", "batch_shape", "input_shape", "shape")  # of a Sequential's first layer, read apart
# Keras takes these two from its global settings where a file does not say
WITHOUT_DATA_FORMAT = (
    "Activation", "Add", "Average", "BatchNormalization", "Concatenate", "Dense", "Dropout", "ELU", "Identity",
    "InputLayer", "LayerNormalization", "LeakyReLU", "Maximum", "Minimum", "Multiply", "Normalization", "Permute", "ReLU",
    "Rescaling", "Reshape", "Softmax", "Subtract",
)  # fmt: skip


def is_code(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") in CODE


def is_custom(entry: Mapping[str, Any]) -> bool:
    """Whether a configuration is of a class that is not Keras's own."""
    module, registered = entry.get("module", "keras"), entry.get("registered_name")
    foreign = not isinstance(module, str) or module.split(".")[0] not in ("keras", "builtins")
    renamed = registered is not None and registered != entry.get("class_name")
    return foreign or renamed or ">" in str(entry.get("class_name"))


# --- reading -----------------------------------------------------------------------------------------------------


def from_keras(value: Any, what: str, kinds: Mapping[str, type[Configurable]] = OBJECTS) -> Any:
    """A value of a configuration: objects of `kinds` are made, known functions are their names, all else is plain.

    Raises ModelFileError for everything else that has a class.
    """
    if isinstance(value, list):
        return [from_keras(item, what, kinds) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value:
        return {key: from_keras(item, what, kinds) for key, item in mapping(value, what).items()}
    name, config = value["class_name"], value.get("config")
    if name == "__tuple__":
        return [from_keras(item, what, kinds) for item in sequence(value.get("items"), what)]
    if name == "__numpy__":
        return from_keras(mapping(config, what).get("value"), what, kinds)
    if name == "function" and config in FUNCTIONS:
        return config  # Keras itself takes a function of this name for its own
    if is_code(value):
        raise ModelFileError(f"{what} is code, which is never run from a file", fix=AS_IN_KERAS)
    if is_custom(value) or name not in kinds:
        raise ModelFileError(f"{what} is {quoted(name)}, which is not supported", fix=AS_IN_KERAS)
    return make(kinds[name], config or {}, what, kinds)


def make(kind: type, config: Any, what: str, kinds: Mapping[str, type[Configurable]] = OBJECTS) -> Any:
    """An object from Keras's configuration of it. Raises ModelFileError that names the argument which is not supported."""
    arguments = arguments_of(kind, mapping(config, what), what, kinds)
    try:
        return kind(**arguments)
    except SightlineError as error:
        raise ModelFileError(f"{what} cannot be made: {shortened(str(error))}") from error


def arguments_of(
    kind: type, config: Mapping[str, Any], what: str, kinds: Mapping[str, type[Configurable]]
) -> dict[str, Any]:
    """What our constructor takes of Keras's configuration; the rest must say nothing (None, False, or what we do)."""
    arguments, known = {}, argument_names(kind)
    for key, value in config.items():
        key = RENAMED.get(kind.__name__, {}).get(key, key)
        if key == "axis" and isinstance(value, list) and len(value) == 1:
            value = value[0]  # as Keras 2 writes one axis
        if key == "dtype" and key not in known:
            check_float32(value, what)
        elif key in known:
            arguments[key] = from_keras(value, f"{key} of {what}", kinds)
        elif key in DEAD.get(kind.__name__, ()) or value is None or value is False or HONOURED.get(key) == value:
            continue
        else:
            given = value.get("class_name") if isinstance(value, dict) else value
            raise ModelFileError(f"{what} has {quoted(key)}={quoted(given)}, which is not supported", fix=AS_IN_KERAS)
    return arguments


def check_float32(value: Any, what: str) -> None:
    """Keras's dtype policy: a name, or an object that has one."""
    name = mapping(value.get("config"), what).get("name") if isinstance(value, dict) else value
    if name not in (None, "float32"):
        raise ModelFileError(
            f"{what} has the dtype {quoted(name)}", expected="float32", fix="Save it from Keras in float32"
        )


def layer_from_keras(entry: Mapping[str, Any]) -> Layer:
    """A layer, without weights. Raises ModelFileError that names layer and option for whatever is not supported."""
    kind_name, config = text(entry.get("class_name"), "A layer's class"), mapping(entry.get("config"), "A layer")
    name = layer_name(entry)
    what = f"The layer {quoted(name)} ({quoted(kind_name).strip(chr(39))})"
    if kind_name in CODE or any(is_code(value) for value in config.values()):
        fix = f"Replace it by a layer that does the same: {AS_IN_KERAS[0].lower()}{AS_IN_KERAS[1:]}"
        raise ModelFileError(f"{what} holds Python code, which is never run from a file", fix=fix)
    if is_custom(entry):
        fix = "Build the network with layers of your own in code, and load its weights"
        raise ModelFileError(f"{what} is a class of someone's own, whose code is not in the file", fix=fix)
    if ".ops." in str(entry.get("module")):
        raise ModelFileError(f"{what} is a bare operation, which no layer does", fix="Use a layer, such as layers.Add")
    if kind_name not in LAYERS:
        raise ModelFileError(f"{what} is not supported", fix=hint_for("layers", kind_name) or AS_IN_KERAS)
    arguments = {key: value for key, value in config.items() if key not in SHAPES} | {"name": name}
    if LAYERS[kind_name] is InputLayer:
        raise ModelFileError(f"{what} stands where a layer is wanted")
    return make(LAYERS[kind_name], arguments, what)


def layer_name(entry: Mapping[str, Any]) -> str:
    """A layer's name; Keras 2 allows "/" in one, which Keras 3 and Sightline do not."""
    config = mapping(entry.get("config"), "A layer")
    return text(entry.get("name", config.get("name")), "A layer's name").replace("/", "_")


def input_from_keras(entry: Mapping[str, Any], given: Any) -> InputLayer:
    """The layer where a value comes in. Sizes that the file leaves open are those of `given`, (H, W, C) or None.

    The batch's size is only a hint in Keras, and is dropped.
    """
    config, name = mapping(entry.get("config"), "An InputLayer"), layer_name(entry)
    what = f"The input {quoted(name)}"
    if is_custom(entry) or entry.get("class_name") != "InputLayer":
        raise ModelFileError(f"{what} is no InputLayer", received=quoted(entry.get("class_name")))
    shape = shape_of(config)
    rest = {key: value for key, value in config.items() if key not in (*SHAPES, "dtype")}
    arguments = arguments_of(InputLayer, rest, what, {})
    dtype = config.get("dtype") or "float32"
    if not isinstance(dtype, str):
        dtype = mapping(mapping(dtype, what).get("config"), what).get("name")
    try:
        shape = filled(shape, given, what)
        return InputLayer(shape, text(dtype, f"{what}: its dtype"), **arguments | {"name": name})
    except ModelFileError:
        raise
    except SightlineError as error:
        raise ModelFileError(f"{what} cannot be made: {shortened(str(error))}") from error


def shape_of(config: Mapping[str, Any]) -> list[Any] | None:
    """The shape without the batch that a configuration gives, sizes perhaps None; None where it gives none."""
    for key in SHAPES:
        if isinstance(value := config.get(key), dict):
            value = value.get("items")
        if isinstance(value, list):
            return value[1:] if key.startswith("batch") else value
    return None


def filled(shape: list[Any] | None, given: Any, what: str) -> list[Any]:
    """`shape` with `given` where it is open. Raises ModelFileError where that does not help."""
    sizes = list(given or shape or [None])
    if shape is not None and len(shape) != len(sizes):
        raise ModelFileError(f"{what} has another number of axes", expected=tuple(shape), received=quoted(given))
    known = [have if want is None else want for want, have in zip(shape or sizes, sizes, strict=True)]
    if any(size is None for size in known):
        raise ModelFileError(
            f"{what} has no fixed size",
            received=quoted(tuple(known)),
            fix="Give it: input_shape=(height, width, channels)",
        )
    if given is not None and list(given) != known:
        raise ModelFileError(f"{what} has another shape", expected=quoted(tuple(known)), received=quoted(given))
    return known


# --- writing -----------------------------------------------------------------------------------------------------


def layer_to_keras(layer: nn.Module, name: str) -> dict[str, Any]:
    """Keras's class name and configuration of a layer. Raises ModelFileError for what Keras has not, or a file cannot hold."""
    kind = type(layer).__name__
    if not isinstance(layer, Layer) or LAYERS.get(kind) is not type(layer):
        raise ModelFileError(
            f"{describe_layer(layer)} is no layer of Keras, so no file of Keras can hold it",
            fix="Save the model as .sightline",
        )
    config = {
        key: value for key, value in layer.get_config().items() if key not in ("input_shape", "name", "trainable")
    }
    if not isinstance(config.get("padding", "same"), (str, list)) and kind != "ZeroPadding2D":
        raise ModelFileError(
            f"{describe_layer(layer)} has padding={config['padding']}, of which Keras knows names only",
            fix="Save the model as .sightline, or put a ZeroPadding2D before it",
        )
    written: dict[str, Any] = {"name": name, "dtype": "float32"}
    if kind != "SpatialDropout2D":  # Keras's takes no such argument
        written["trainable"] = layer.trainable
    for key, value in config.items():
        if key.endswith("_initializer") and isinstance(value, str):
            value = initializers.INITIALIZERS[value]()
        if key == "activation" and value is None:
            value = "linear"
        written[key] = to_keras(value, f"{key} of {describe_layer(layer)}", _module_of)
    if kind not in WITHOUT_DATA_FORMAT:
        written["data_format"] = "channels_last"
    return {"class_name": kind, "config": written}


def to_keras(value: Any, what: str, module_of: Callable[[Any], str | None]) -> Any:
    """A value as Keras's JSON has it; `module_of` says where in Keras an object's class is, None for one it has not."""
    if isinstance(value, Configurable):
        module = module_of(value)
        if module is None:
            raise ModelFileError(f"{what} is {type(value).__name__}, which Keras has not", fix="Save it as .sightline")
        inner = {key: to_keras(item, what, module_of) for key, item in value.get_config().items()}
        return {"module": module, "class_name": type(value).__name__, "config": inner, "registered_name": None}
    if isinstance(value, dict):
        return {key: to_keras(item, what, module_of) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_keras(item, what, module_of) for item in value]
    if callable(value):
        raise ModelFileError(
            f"{what} is a function, which a file cannot hold", fix="Give the name of a known one instead"
        )
    return value.tolist() if hasattr(value, "tolist") else value


def _module_of(value: Any) -> str | None:
    if OBJECTS.get(type(value).__name__) is not type(value):
        return None
    return "keras.initializers" if isinstance(value, initializers.Initializer) else "keras.regularizers"


def input_to_keras(name: str, shape: tuple[int | None, ...], dtype: torch.dtype) -> dict[str, Any]:
    """An InputLayer; `shape` with the batch."""
    config = {"batch_shape": list(shape), "dtype": str(dtype).removeprefix("torch."), "sparse": False, "name": name}
    return {"class_name": "InputLayer", "config": config}
