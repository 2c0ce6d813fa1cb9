"""The network of a run: by name, or from a function in someone's file; its preprocessing is part of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..architectures.registry import create, create_backbone, default_classes, default_shape
from ..errors import ArgumentError, ShapeError, SightlineError, choose
from ..graph.io import describe
from ..layers import FILE_LAYERS, Input, Rescaling
from ..models import KERAS_SUFFIXES, SUFFIX, Model, load_model
from ..rewrite import on_input, remove_head, with_dropout
from ..structures import COLOR_MODES, ImageSpec
from ..tasks import TASKS, Task
from ..tasks.base import Source
from .settings import Settings

DEFAULT_SIZE = 224  # where a model does not say


def image_spec(settings: Settings, source: Source) -> ImageSpec:
    """The image that the run feeds its network: the model's, unless the settings say otherwise."""
    height, width, channels = source.input_shape
    if settings.image_size is not None:
        height = width = settings.image_size
    if settings.color_mode is not None:
        channels = COLOR_MODES[settings.color_mode]
    return ImageSpec(height, width, channels, settings.resize)


def find_source(model: str, weights: str | None = None, network: Mapping[str, Any] | None = None) -> Source:
    """`NAME` of a known network, or `file.py:function`; raises ArgumentError where there is neither.

    `weights`: "imagenet" or a file, for a network that has a name. `network`: further arguments of the function, or of the
    small networks that take some.
    """
    if ".py" not in model:
        return Source(
            lambda input_shape, classes: create(model, input_shape, classes, weights, network=network),
            lambda input_shape: create_backbone(model, input_shape, weights, network),
            default_shape(model),
            model,
        )
    if weights is not None:
        raise ArgumentError(
            f"--weights are for a network that has a name, not for {model}", fix="Load them in the function"
        )
    function = partial(_load_function(model), **(network or {}))

    def make(input_shape: tuple[int, int, int], classes: int) -> Model:
        return _checked(function(input_shape=input_shape, classes=classes), input_shape, model)

    return Source(make, lambda input_shape: remove_head(make(input_shape, 2)), (DEFAULT_SIZE, DEFAULT_SIZE, 3), model)


def _checked(network: Any, input_shape: tuple[int, int, int], who: str) -> Model:
    """What a person's function returned: a model on that image."""
    if not isinstance(network, Model):
        raise ArgumentError(f"{who} must return a sightline Model", received=type(network).__name__)
    if not network.built:
        network.build((None, *input_shape))  # type: ignore[operator]
    if network.input_shape != (None, *input_shape):
        raise ShapeError(f"{who} takes another image", expected=(None, *input_shape), received=network.input_shape)
    return network


def build_network(
    task: Task, source: Source, spec: ImageSpec, classes: Sequence[str], dropout: float | None = None
) -> Model:
    """The task's network on raw pixels 0..255: its preprocessing is its first node, unless it brings a Rescaling of its own.

    With `dropout` it has Dropout of that rate before its last layer.
    """
    who = source.name
    network = task.network(source, spec, classes)
    metadata = network.metadata
    if dropout is not None:
        network = Model(network.inputs, with_dropout(network, dropout), network.name)
    if not any(isinstance(layer, Rescaling) for layer in network.modules()):
        inputs = Input(spec.shape, name="pixels")
        network = Model(inputs, on_input(network, _scaling(metadata)(inputs)), network.name)
    network.metadata.update({key: value for key, value in metadata.items() if key != "preprocessing"})  # it is inside
    try:
        describe(network, FILE_LAYERS)
    except SightlineError as error:
        raise type(error)(f"{who} cannot be saved, which a run needs: {error}") from error
    return network


def _scaling(metadata: dict[str, Any]) -> Rescaling:
    """(x / 255 - mean) / std, as the network's metadata say; to 0..1 where they say nothing."""
    preprocessing = metadata.get("preprocessing", {"mean": [0.0], "std": [1.0]})
    mean, std = preprocessing["mean"], preprocessing["std"]
    if not any(mean) and set(std) == {1.0}:
        return Rescaling(1 / 255)
    return Rescaling([1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)])


def _load_function(model: str) -> Any:
    file, _, name = model.rpartition(":")
    if not file or not name.isidentifier():
        raise ArgumentError(f"Cannot find the model {model!r}", expected="a file and a function, as networks.py:my_cnn")
    path = Path(file)
    if not path.is_file():
        raise ArgumentError(f"There is no file {path}, from which the model {name} should come")
    spec = importlib.util.spec_from_file_location(f"sightline_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{path} is not Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as an import does, so that its classes can be pickled
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ArgumentError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == spec.name)
        raise ArgumentError(f"{path} has no function {name}", fix=f"It has: {', '.join(known) or 'none'}")

    def make(input_shape: tuple[int, int, int], classes: int, **network: Any) -> Any:
        try:
            return function(input_shape=input_shape, classes=classes, **network)
        except SightlineError as error:
            raise type(error)(f"{model}: {error}") from error
        except Exception as error:
            raise ArgumentError(
                f"{model} failed: {type(error).__name__}: {error}",
                expected="a function of (input_shape, classes) that returns a model",
            ) from error

    return make


def network_for_summary(
    model: str,
    classes: int | None = None,
    image_size: int | None = None,
    task: str | None = None,
    head: str | None = None,
) -> Model:
    """The network behind a name, `file.py:function`, a run's folder or a model file, Keras's too.

    `image_size` is for a Keras file whose input has no fixed size. With a `task` it is the network that a run makes of a name or a
    function for it, under the task's losses; `head` is what stands on the backbone of a segmentation.
    """
    path = Path(model)
    is_file = path.is_dir() or path.suffix.lower() in (SUFFIX, *KERAS_SUFFIXES)
    if task is None and head is not None:
        raise ArgumentError("--head is a segmentation's", fix="Say --task segment too")
    if task is not None and is_file:
        raise ArgumentError(f"{model} is what it is: --task is for a network that has a name, or a function's")
    if path.is_dir():
        return load_model(path / "weights" / "best.sightline")
    if is_file:
        return load_model(path, input_shape=None if image_size is None else (image_size, image_size, 3))
    source = find_source(model)
    height, width, channels = source.input_shape
    shape = (image_size or height, image_size or width, channels)
    count = classes or (10 if ".py" in model else default_classes(model))
    return source.make(shape, count) if task is None else _for_task(task, head, source, shape, count)


def _for_task(task: str, head: str | None, source: Source, shape: tuple[int, int, int], classes: int) -> Model:
    kind = TASKS[choose("task", task, TASKS)]
    if head is not None and "head" not in kind.own_settings:
        raise ArgumentError(f"--head is a segmentation's, not for --task {task}")
    its = kind(**({} if head is None else {"head": head}))
    spec = ImageSpec(*shape, its.defaults.get("resize", "letterbox"))
    network = build_network(its, source, spec, [str(number) for number in range(classes)])
    goals = its.goals(network, classes, False, 0.0)
    network.compile("adam", goals.loss, goals.loss_weights)
    return network
