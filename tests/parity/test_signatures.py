"""Names, arguments, defaults and their order against Keras."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import sightline as sl
from oracle import (
    OUR_OWN,
    keras,
)


def is_ours(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").startswith("sightline")


def shared(classes: bool) -> list[str]:
    """The public classes, or functions, that both sides have, as "layers.Conv2D"."""
    wanted = inspect.isclass if classes else inspect.isfunction
    names = []
    for module in ("layers", "losses", "metrics", "optimizers", "callbacks", "utils"):
        for name, thing in vars(getattr(sl, module)).items():
            theirs = getattr(getattr(keras, module), name, None)
            if not name.startswith("_") and wanted(thing) and is_ours(thing) and theirs is not None:
                names.append(f"{module}.{name}")
    return names


METHODS = ["Model.compile", "Model.fit", "Model.evaluate", "Model.predict", "Sequential.__init__", "Sequential.build"]
SHARED_LAYERS = [name.removeprefix("layers.") for name in shared(classes=True) if name.startswith("layers.")]


def found(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def named_parameters(function: Any) -> dict[str, Any]:
    """Named parameters with their defaults; `inspect.Parameter.empty` where there is none."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind not in kinds]
    return {p.name: p.default for p in parameters if p.name != "self"}


def arguments_of(thing: Any) -> dict[str, Any]:
    """A function's named arguments, or a constructor's with those that it hands on to its bases."""
    if not inspect.isclass(thing):
        return named_parameters(thing)
    arguments: dict[str, Any] = {}
    for base in thing.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        arguments = named_parameters(vars(base)["__init__"]) | arguments
        kinds = [p.kind for p in inspect.signature(vars(base)["__init__"]).parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return arguments


def plain(default: Any) -> Any:
    """(1, 1), [1, 1] and 1 are the same size."""
    if isinstance(default, (list, tuple)):
        return plain(default[0]) if len(set(default)) == 1 else tuple(default)
    return default


# Where an argument is not in Keras's signature, or has another default there, and why that is right
EXCEPTIONS = {
    "input_shape": "Keras's Layer takes it out of **kwargs",
    "layers.InputLayer.dtype": "Keras's None means keras.config.floatx(), which is float32",
    "layers.Input.dtype": "Keras's None means keras.config.floatx(), which is float32",
    "layers.InputLayer.shape": "Keras's None is for batch_shape, which is not there",
    "layers.AveragePooling2D.pool_size": "Keras has no default; the default is MaxPooling2D's",
    "layers.SpatialDropout2D.trainable": "Keras's layer takes no base argument but name and dtype; ours are those of every layer",
    "layers.AvgPool2D.pool_size": "Keras has no default; the default is MaxPooling2D's",
    "losses.get.loss": "Keras calls it identifier; it is given by position",
    "metrics.get.metric": "Keras calls it identifier; it is given by position",
    "optimizers.get.optimizer": "Keras calls it identifier; it is given by position",
    "Model.predict.verbose": "predict is quiet unless asked",
    "Model.compile.precision": "what Keras's dtype policies do for every layer is said here once",
    "callbacks.BackupAndRestore.every_seconds": "by time too, which Keras has not",
}


@pytest.mark.parametrize("path", [*shared(classes=True), *shared(classes=False), *METHODS])
def test_arguments_and_defaults(path: str) -> None:
    theirs = arguments_of(found(keras, path))
    for name, default in arguments_of(found(sl, path)).items():
        if name in EXCEPTIONS or f"{path}.{name}" in EXCEPTIONS:
            continue
        assert name in theirs, f"{path} takes {name}, which Keras does not"
        assert plain(default) == plain(theirs[name]), f"{path}: the default of {name}"


@pytest.mark.parametrize("path", [*shared(classes=True), *shared(classes=False), *METHODS])
def test_order_of_arguments(path: str) -> None:
    """Keras's order, with gaps: what is positional there is so here."""

    def order(thing: Any) -> list[str]:
        return list(named_parameters(thing.__init__ if inspect.isclass(thing) else thing))

    ours, theirs = order(found(sl, path)), order(found(keras, path))
    assert [name for name in ours if name in theirs] == [name for name in theirs if name in ours]


def test_exceptions_are_needed() -> None:
    for path, name in (key.rsplit(".", 1) for key in EXCEPTIONS if "." in key):
        ours, theirs = arguments_of(found(sl, path)), arguments_of(found(keras, path))
        assert name not in theirs or plain(ours[name]) != plain(theirs[name])


def test_what_is_shared_was_found() -> None:
    assert len(SHARED_LAYERS) >= 14
    assert {"optimizers.Adam", "losses.MeanSquaredError", "callbacks.ReduceLROnPlateau"} <= set(shared(classes=True))


LAYER_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Activation": ("relu",),
    "Conv2DTranspose": (4, 3),
    "DepthwiseConv2D": (3,),
    "Permute": ((1, 2, 3),),
    "RandomBrightness": (0.1,),
    "RandomContrast": (0.1,),
    "RandomCrop": (4, 4),
    "RandomRotation": (0.1,),
    "RandomTranslation": (0.1, 0.1),
    "RandomZoom": (0.1,),
    "Reshape": ((-1,),),
    "Resizing": (4, 4),
    "SeparableConv2D": (4, 3),
    "SpatialDropout2D": (0.5,),
    "AveragePooling2D": (2,),
    "AvgPool2D": (2,),
    "Conv2D": (4, 3),
    "Dense": (4,),
    "Dropout": (0.5,),
    "Rescaling": (2.0,),
}


MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")


@pytest.fixture(scope="module")
def keras_counts_from_zero() -> None:
    keras.backend.clear_session()  # takes a third of a second, so once for all kinds


def is_alias(kind: str) -> bool:
    return getattr(sl.layers, kind).__name__ != kind


@pytest.mark.parametrize("kind", [kind for kind in SHARED_LAYERS if kind not in ("Layer", "InputLayer")])
def test_counted_names(kind: str, keras_counts_from_zero: None) -> None:
    if is_alias(kind):
        assert getattr(keras.layers, kind) is getattr(keras.layers, getattr(sl.layers, kind).__name__)
        return
    makers = [getattr(module.layers, kind) for module in (sl, keras)]
    ours, theirs = ([maker(*LAYER_ARGUMENTS.get(kind, ())) for _ in range(3)] for maker in makers)
    value = sl.Input((8, 8, 3))
    outputs = [layer([value, value] if kind in MERGING else value) for layer in ours]
    model = sl.Model(value, outputs)
    assert [layer.name for layer in model.layers][1:] == [layer.name for layer in theirs]


@pytest.mark.parametrize("kind", ["Sequential", "Model"])
def test_names_of_inputs_and_models(kind: str) -> None:
    def names(module: Any) -> list[str]:
        value = module.Input((4,))
        layer = module.layers.Dense(2)
        model = module.Sequential([value, layer]) if kind == "Sequential" else module.Model(value, layer(value))
        return [re.sub(r"_\d+$", "", part.name) for part in (model, *model.layers)]

    assert names(sl) == names(keras)


@pytest.mark.parametrize("module", ["optimizers", "losses", "metrics"])
def test_short_names(module: str) -> None:
    """Every name that `compile` takes means the same class in Keras."""
    ours = getattr(getattr(sl, module), module.upper())
    for name, kind in ours.items():
        if name in ("accuracy", "acc"):  # resolved by shape, see test_accuracy_of_classes
            continue
        if kind.__name__ in OUR_OWN:
            continue
        try:
            theirs = getattr(keras, module).get(name)
        except TypeError:  # the class is found, and needs arguments
            with pytest.raises(TypeError):
                kind()
            continue
        theirs_name = getattr(theirs, "__name__", type(theirs).__name__)
        assert theirs_name.lower().replace("_", "") == kind.__name__.lower()
