"""Values that do not exist yet, and the chain of calls that will make them.

Calling a layer on a `Value` computes the output's shape without allocating anything and returns a new `Value` that
remembers the call. Values and calls are immutable: a layer may be called many times, a chain may be shared by many
models, and `graph.build` turns any part of a chain into a fresh `torch.fx.Graph`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..errors import ShapeError, SightlineError
from ..layout import Shape, person_shape
from . import nested

# A batch of two: one would make BatchNormalization on a 1x1 feature map fail in torch, and tells batch from unit axes.
PROBE_BATCH = 2
# What stands for a size that is not known (None): a result that both give is known. Larger than any window; no memory is used.
STAND_INS = (509, 641)


@dataclass(frozen=True, eq=False)
class Call:
    """One use of one layer; where its arguments are tensors they are `Value`s."""

    layer: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Value:
    """A tensor of a network that has not been computed.

    `inner_shape` is the tensor's without the batch (C, H, W); `shape` is a person's, `(None, H, W, C)`. A height or width that is
    another for each batch is None, as in a network for images of any size.
    `item` says which of several outputs of the call this is (None when it has one).
    """

    call: Call
    inner_shape: Shape
    dtype: torch.dtype = torch.float32
    item: int | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None, *person_shape(self.inner_shape))

    def __repr__(self) -> str:
        return f"<Value {self.shape} {str(self.dtype).removeprefix('torch.')} of {describe_layer(self.call.layer)}>"

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", str(function))
        raise SightlineError(
            f"torch's {name} was called on a symbolic value",
            expected="a Sightline layer",
            fix="Use the layer of that name, or wrap a torch module: layers.Torch(module)(value)",
        )

    def _no_arithmetic(self, other: object) -> Any:
        raise SightlineError(
            "Arithmetic on symbolic values is not supported", fix="Use a merging layer: layers.Add()([a, b])"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _no_arithmetic


def map_values(function: Callable[[Value], Any], structure: Any) -> Any:
    """Apply `function` to every `Value` in nested lists, tuples and dicts; all else stays."""
    return nested.mapped(Value, function, structure)


def values_in(structure: Any) -> Iterator[Value]:
    """Every `Value` in nested lists, tuples and dicts, in order."""
    return nested.each(Value, structure)


def describe_layer(layer: nn.Module) -> str:
    """A layer as messages name it: `conv2d_1 (Conv2D)`, or the class alone before it has a name."""
    name = getattr(layer, "name", None)
    kind = type(layer).__name__
    return f"{name} ({kind})" if isinstance(name, str) else kind


def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None = None) -> Any:
    """Call `layer` on symbolic values: returns a `Value`, or a tuple of them where the layer has several outputs.

    Raises ShapeError, naming the layer and its input's shape, when the layer cannot take such an input.
    """
    mode = {} if training is None else {"training": bool(training)}
    call = Call(layer, args, tuple((kwargs | mode).items()))
    if all(None not in value.inner_shape for value in values_in([args, kwargs])):
        return remember(layer, args, _values_of(call, _meta_outputs(layer, args, kwargs)))
    first, second = (_values_of(call, _meta_outputs(layer, args, kwargs, size)) for size in STAND_INS)
    return remember(layer, args, _where_equal(first, second))


def _where_equal(first: Any, second: Any) -> Any:
    """The values of `first`, with None for each size in which those of `second` differ."""
    if not isinstance(first, Value):
        return tuple(_where_equal(one, other) for one, other in zip(first, second, strict=True))
    shape = tuple(a if a == b else None for a, b in zip(first.inner_shape, second.inner_shape, strict=True))
    return replace(first, inner_shape=shape)  # type: ignore[arg-type]


def _values_of(call: Call, outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return Value(call, tuple(outputs.shape[1:]), outputs.dtype)
    if isinstance(outputs, (list, tuple)) and all(isinstance(o, torch.Tensor) for o in outputs):
        return tuple(Value(call, tuple(o.shape[1:]), o.dtype, index) for index, o in enumerate(outputs))
    raise ShapeError(
        f"{describe_layer(call.layer)} must return tensors",
        expected="a tensor, or a list or tuple of tensors",
        received=type(outputs).__name__,
    )


FIRST_CALL = "_first_call"  # kept out of a module's state: copies and pickles would take the whole chain along


def remember(layer: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Keep a layer's first call for its `input` and `output`; returns the outputs."""
    only = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
    layer.__dict__.setdefault(FIRST_CALL, (only, outputs))
    return outputs


def first_call(layer: nn.Module) -> tuple[Any, Any]:
    """(inputs, outputs) of a layer's first symbolic call, as Keras's `layer.input` and `layer.output`."""
    if FIRST_CALL not in layer.__dict__:
        raise SightlineError(
            f"{describe_layer(layer)} has no input and output yet",
            fix="Call it on a symbolic value, or put it in a model",
        )
    return layer.__dict__[FIRST_CALL]


def _meta_outputs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], unknown: int | None = None) -> Any:
    """Run the layer's own forward on tensors that have a shape, `unknown` where a size is not known, and no memory."""
    try:
        with shape_mode(getattr(layer, "foreign", False)) as device, inference(layer):

            def probe(value: Value) -> torch.Tensor:
                sizes = [unknown if size is None else size for size in value.inner_shape]
                return torch.empty((PROBE_BATCH, *sizes), dtype=value.dtype, device=device)

            return call_on(device, layer, map_values(probe, args), map_values(probe, kwargs))
    except SightlineError as error:
        own = error.what.startswith(type(layer).__name__)
        what = f"{describe_layer(layer)}: {error.what if own else error.what[0].lower() + error.what[1:]}"
        raise type(error)(what, expected=error.expected, received=error.received, fix=error.fix) from error
    except torch.OutOfMemoryError:
        raise  # says nothing of the shape
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(value.shape) for value in values_in([args, kwargs]))
        raise ShapeError(
            f"{describe_layer(layer)} cannot take an input of shape {shapes}: {_first_line(error)}"
        ) from error


def call_on(device: str, layer: nn.Module, args: Any, kwargs: Any) -> Any:
    """Call a layer with stand-ins for its weights on another device; it keeps its own."""
    state = dict(layer.named_parameters()) | dict(layer.named_buffers())
    stand_ins = {name: torch.empty_like(tensor, device=device) for name, tensor in state.items()}
    return functional_call(layer, stand_ins, args, kwargs)


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool | None) -> Iterator[None]:
    """Run `module` in training or inference mode; afterwards each part's own mode is as it was. None changes nothing."""
    if training is None or not (training or any(part.training for part in module.modules())):
        yield
        return
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, before in modes:
            part.training = before


@contextlib.contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Run `module` in inference mode, without gradients; afterwards each part's own mode is as it was."""
    with in_mode(module, False), torch.no_grad():
        yield


# Where layers are built that a layer calls for the first time while its own shape is being found: not on meta
_building_device: ContextVar[torch.device | None] = ContextVar("_building_device", default=None)


@contextlib.contextmanager
def building() -> Iterator[None]:
    """A context for making weights: on the default device of whoever began to find a shape."""
    with torch.device(_building_device.get() or torch.get_default_device()):
        yield


@contextlib.contextmanager
def shape_mode(foreign: bool) -> Iterator[str]:
    """A context in which forwards compute shapes only; yields the device on which to make the inputs.

    Our own layers run on torch's meta device. A module that someone else wrote may name a device in its forward, so
    it runs under FakeTensorMode, which costs two seconds of imports the first time.
    """
    if not foreign:
        before = _building_device.set(_building_device.get() or torch.get_default_device())
        try:
            with torch.device("meta"):
                yield "meta"
        finally:
            _building_device.reset(before)
        return
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield "cpu"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
