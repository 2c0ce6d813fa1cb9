"""What a person hands to `fit` as batches of tensors: arrays, torch tensors, or any iterable of batches.

NumPy is NHWC, torch tensors are NCHW; both become float32 NCHW tensors in channels_last memory. Values are never
scaled here. Whatever has `epoch(number)`, which yields (inputs, targets) for that epoch, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from ..errors import ArgumentError, DataError, ShapeError
from ..graph.symbolic import Value
from ..layout import to_channels_first


class Batch(NamedTuple):
    inputs: torch.Tensor
    targets: torch.Tensor | None
    size: int


@runtime_checkable
class Batches(Protocol):
    """Batches by epoch. `steps` is their number in one epoch, None when it is not known before."""

    steps: int | None

    def epoch(self, number: int) -> Iterator[Batch]: ...


def as_batches(
    x: Any, y: Any, value: Value, *, batch_size: int | None = None, shuffle: bool = False, steps: int | None = None
) -> Batches:
    """Batches of `x` and `y` for a network whose input is the symbolic `value`.

    Raises ShapeError or DataError, naming what does not fit, before the first batch where that can be seen.
    """
    if isinstance(x, Batches):
        return x
    if isinstance(x, list) and y is not None and not isinstance(x[0], tuple):
        x = np.asarray(x)
    if isinstance(x, (np.ndarray, torch.Tensor)):
        return ArrayBatches(x, y, value, 32 if batch_size is None else batch_size, shuffle, steps)
    if isinstance(x, Iterable) or (hasattr(x, "__len__") and hasattr(x, "__getitem__")):
        if y is not None:
            raise ArgumentError("An iterable of batches brings its own targets", fix="Leave y out")
        if batch_size is not None:
            raise ArgumentError("An iterable of batches has its own batch size", fix="Leave batch_size out")
        return IterableBatches(x, value, steps)
    raise ArgumentError(
        "Cannot train on this", expected="arrays, tensors or an iterable of batches", received=type(x).__name__
    )


class ArrayBatches:
    """Batches of arrays that are in memory; shuffled anew each epoch from torch's generator."""

    def __init__(self, x: Any, y: Any, value: Value, batch_size: int, shuffle: bool, steps: int | None = None):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError("batch_size is a positive whole number", received=repr(batch_size))
        if len(x) == 0:
            raise DataError("There is no sample in x", received=f"an array of shape {tuple(x.shape)}")
        if y is not None:
            y = y if isinstance(y, (np.ndarray, torch.Tensor)) else np.asarray(y)
            if len(y) != len(x):
                raise ShapeError("x and y must have as many samples", received=f"{len(x)} and {len(y)}")
        self._x, self._y, self._value = x, y, value
        self._batch_size, self._shuffle = batch_size, shuffle
        whole = -(-len(x) // batch_size)
        if steps is not None and steps > whole:
            raise ArgumentError(f"There are {whole} batches of {batch_size}, not the {steps} asked for")
        self.steps: int | None = whole if steps is None else steps
        as_inputs(x[:1], value)  # a wrong shape is told now

    def epoch(self, number: int) -> Iterator[Batch]:
        order = torch.randperm(len(self._x)) if self._shuffle else None
        for step in range(self.steps or 0):
            at: Any = slice(step * self._batch_size, (step + 1) * self._batch_size)
            if order is not None:
                at = order[at]
            yield make_batch(_take(self._x, at), None if self._y is None else _take(self._y, at), self._value)


class IterableBatches:
    """Batches from a list, a DataLoader or a generator. With `steps`, an epoch goes on where the last one stopped."""

    def __init__(self, batches: Any, value: Value, steps: int | None):
        self._batches, self._value = batches, value
        self._unfinished: Iterator[Any] | None = None
        length = len(batches) if isinstance(batches, Sized) else None
        self._limit = steps
        self.steps = length if steps is None else steps

    def epoch(self, number: int) -> Iterator[Batch]:
        taken = 0
        for item in self._items():
            taken += 1
            x, y = _inputs_and_targets(item)
            yield make_batch(x, y, self._value)
        if not taken:
            once = (
                "A generator is used up after one pass: give steps_per_epoch, or something that can be iterated again"
            )
            fix = once if isinstance(self._batches, Iterator) else "The iterable of batches is empty"
            raise DataError(f"There is no batch for epoch {number + 1}", fix=fix)

    def _items(self) -> Iterator[Any]:
        """One pass; or `steps` batches, from the beginning again where they end."""
        if self._limit is None:
            yield from _iterate(self._batches)
            return
        left = self._limit
        while left:
            fresh = self._unfinished is None
            self._unfinished = self._unfinished or _iterate(self._batches)
            got = 0
            for item in islice(self._unfinished, left):
                got += 1
                yield item
            left -= got
            if left:
                self._unfinished = None
                if fresh and not got:
                    return  # used up, or empty


def _iterate(batches: Any) -> Iterator[Any]:
    """An iterable's items, or those of an object that has a length and gives its batches by number."""
    return iter(batches) if isinstance(batches, Iterable) else (batches[i] for i in range(len(batches)))


def make_batch(x: Any, y: Any, value: Value) -> Batch:
    inputs = as_inputs(x, value)
    return Batch(inputs, None if y is None else as_targets(y), len(inputs))


def _inputs_and_targets(item: Any) -> tuple[Any, Any]:
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, (tuple, list)) and len(item) == 1:
        return item[0], None
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return item, None
    received = f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, (tuple, list)) else "")
    raise ArgumentError("A batch is (inputs, targets)", received=received)


def _take(array: Any, at: Any) -> Any:
    return array[at.numpy() if isinstance(array, np.ndarray) and isinstance(at, torch.Tensor) else at]


def as_inputs(x: Any, value: Value) -> torch.Tensor:
    """A batch of inputs as the network takes it: NHWC arrays become a channels_last view, tensors are NCHW already."""
    if not isinstance(x, torch.Tensor):
        array = np.asarray(x)
        if array.dtype == object or array.dtype.kind in "USO":
            raise ShapeError("A batch of images is one array of numbers", received=f"an array of {array.dtype}")
        if array.ndim == len(value.inner_shape) and value.shape[-1] == 1:
            array = array[..., None]  # grayscale images without their channel axis, as Keras takes them
        expected = value.shape
        received: tuple[int, ...] = array.shape
        tensor = to_channels_first(_as_tensor(array))
    else:
        expected, received, tensor = (None, *value.inner_shape), tuple(x.shape), x
    if tuple(tensor.shape[1:]) != value.inner_shape:
        kind = "a tensor (channels first)" if isinstance(x, torch.Tensor) else "an array"
        raise ShapeError(
            "The input has the wrong shape", expected=f"{kind} of shape {expected}", received=f"shape {received}",
            fix=_transposed(received, expected),
        )  # fmt: skip
    return tensor.to(value.dtype)


def _transposed(received: tuple[int, ...], expected: tuple[int | None, ...]) -> str | None:
    if len(received) == 4 and sorted(map(str, received[1:])) == sorted(map(str, expected[1:])):
        return "The axes stand in another order: arrays are (batch, height, width, channels), tensors channels first"
    return None


def _as_tensor(array: Any) -> torch.Tensor:
    """An array as a tensor on the same memory, copied only where it is not contiguous or may not be written."""
    return torch.from_numpy(np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"]))


def as_targets(y: Any) -> torch.Tensor:
    """A batch of targets, laid out as inputs are; floating ones in single precision."""
    tensor = y if isinstance(y, torch.Tensor) else to_channels_first(_as_tensor(y))
    return tensor.float() if tensor.is_floating_point() else tensor


def as_pair(data: Any) -> tuple[Any, Any]:
    """`validation_data` as (x, y): a pair of arrays, or an iterable of batches and None."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and hasattr(data[0], "shape"):
        return data[0], data[1]
    if isinstance(data, tuple) and len(data) == 3:
        raise ArgumentError("validation_data is (x, y); sample weights are not supported")
    return data, None


def split_off(x: Any, y: Any, share: float, given: Any) -> tuple[Any, Any, tuple[Any, Any]]:
    """(x, y, (validation x, validation y)): the last `share` of arrays, before any shuffling, as Keras takes it."""
    if given is not None:
        raise ArgumentError("Give validation_split or validation_data, not both")
    if not isinstance(x, (np.ndarray, torch.Tensor)) or y is None:
        raise ArgumentError("validation_split takes arrays x and y", received=type(x).__name__)
    if not 0 < share < 1 or not (first := int(len(x) * (1 - share))):
        raise ArgumentError("validation_split is a share between 0 and 1 that leaves a sample", received=share)
    return x[:first], y[:first], (x[first:], y[first:])
