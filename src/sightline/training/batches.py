"""What a person hands to `fit` as batches of tensors: arrays, torch tensors, or any iterable of batches.

NumPy is NHWC, torch tensors are NCHW; both become float32 NCHW tensors in channels_last memory. Values are never
scaled here. Whatever has `epoch(number)`, which yields batches for that epoch, is taken as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from ..errors import ArgumentError, DataError, ShapeError, whole_number
from ..graph.symbolic import Value
from ..layout import fits, to_channels_first
from .ports import Ports, arranged
from .state import random_state, set_random_state

Tensors = tuple[torch.Tensor, ...]


class Batch(NamedTuple):
    """Tensors for each of a network's inputs; targets and sample weights for each output, or None.

    Where it is a part of a batch, its rows are those from `first` on, of `of`; else `of` is None.
    """

    inputs: Tensors
    targets: tuple[torch.Tensor | None, ...] | None
    weights: tuple[torch.Tensor | None, ...] | None
    size: int
    first: int = 0
    of: int | None = None

    @property
    def whole(self) -> int:
        """How many rows the whole batch has."""
        return self.size if self.of is None else self.of


@runtime_checkable
class Batches(Protocol):
    """Batches by epoch, from batch `first` on. `steps` is their number in one epoch, None when it is not known before.

    `state_dict` is what else `epoch` depends on when a training goes on in another process, and `load_state_dict` takes it.
    """

    steps: int | None

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def as_batches(
    data: Any,
    ports: Ports,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
    class_weight: Mapping[int, float] | None = None,
) -> Batches:
    """Batches of `data`, which is (x, y, sample_weight) with None where there is none, for a network with these `ports`.

    Raises ShapeError or DataError, naming what does not fit, before the first batch where that can be seen.
    """
    x, y, weights = data
    if isinstance(x, Batches):
        return x
    if class_weight is not None and not isinstance(class_weight, Mapping):
        expected = "a dict of class numbers and weights, such as {0: 1.0, 1: 5.0}"
        raise ArgumentError("class_weight is of another kind", expected=expected, received=repr(class_weight))
    if class_weight is not None and not all(isinstance(n, (int, np.integer)) for n in class_weight):
        raise ArgumentError("class_weight names classes by their numbers", received=list(class_weight))
    if class_weight is not None and weights is not None:
        raise ArgumentError("Give class_weight or sample_weight, not both")
    if class_weight is not None and len(ports.outputs) > 1:
        raise ArgumentError("class_weight takes a model with one output", received=f"outputs {ports.outputs}")
    make = BatchMaker(ports, class_weight)
    if _is_arrays(x, ports, with_targets=y is not None):
        return ArrayBatches(x, y, weights, make, 32 if batch_size is None else batch_size, shuffle, steps)
    if isinstance(x, Iterable) or (hasattr(x, "__len__") and hasattr(x, "__getitem__")):
        if y is not None or weights is not None:
            raise ArgumentError("An iterable of batches brings its own targets and weights", fix="Leave y out")
        if batch_size is not None:
            raise ArgumentError("An iterable of batches has its own batch size", fix="Leave batch_size out")
        return IterableBatches(x, make, steps)
    raise ArgumentError(
        "This is no data", expected="arrays, tensors or an iterable of batches", received=type(x).__name__
    )


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, torch.Tensor))


def _is_arrays(x: Any, ports: Ports, *, with_targets: bool) -> bool:
    """Whether `x` holds all samples: an array, one for each input, or a list of images (which has targets beside it)."""
    if _is_array(x) or isinstance(x, dict):
        return True
    if not isinstance(x, (list, tuple)) or not x:
        return False
    if len(ports.inputs) > 1:
        return len(x) == len(ports.inputs) and all(_is_array(part) for part in x)
    return with_targets and not isinstance(x[0], tuple)


class BatchMaker:
    """Turns what a person has for one batch into tensors."""

    def __init__(self, ports: Ports, class_weight: Mapping[int, float] | None = None):
        self.ports, self.class_weight = ports, class_weight

    def __call__(self, x: Any, y: Any = None, weights: Any = None) -> Batch:
        values = self.ports.inputs
        given = arranged(x, list(values), "inputs")
        inputs = tuple(as_inputs(part, value) for part, value in zip(given, values.values(), strict=True))
        targets = None if y is None else tuple(_if_any(as_targets, t) for t in self.targets(y))
        if self.class_weight is not None and weights is None and targets is not None and targets[0] is not None:
            weights = weights_of_classes(targets[0], self.class_weight)
        heavy = None if weights is None else tuple(_if_any(_as_weights, w) for w in self.weights(weights))
        return Batch(inputs, targets, heavy, len(inputs[0]))

    def targets(self, y: Any) -> tuple[Any, ...]:
        return arranged(y, self.ports.outputs, "targets", optional=True)

    def weights(self, weights: Any) -> tuple[Any, ...]:
        """One array counts for every output."""
        several = isinstance(weights, (list, tuple, dict))
        return (
            arranged(weights, self.ports.outputs, "sample weights", optional=True)
            if several
            else ((weights,) * len(self.ports.outputs))
        )


def _if_any(function: Any, given: Any) -> Any:
    return None if given is None else function(given)


class ArrayBatches:
    """Batches of arrays that are in memory; shuffled anew in each pass from torch's generator."""

    def __init__(
        self, x: Any, y: Any, weights: Any, make: BatchMaker, batch_size: int, shuffle: bool, steps: int | None
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError("batch_size is a positive whole number", received=repr(batch_size))
        self._make = make
        self._x = [_as_array(part) for part in arranged(x, list(make.ports.inputs), "inputs")]
        self._y = None if y is None else [_if_any(_as_array, part) for part in make.targets(y)]
        self._w = None if weights is None else [_if_any(_as_array, part) for part in make.weights(weights)]
        count = len(self._x[0])
        if count == 0:
            raise DataError("There is no sample in x", received=f"an array of shape {tuple(self._x[0].shape)}")
        for what, parts in (("all inputs", self._x), ("y", self._y or []), ("sample_weight", self._w or [])):
            for part in parts:
                if part is not None and len(part) != count:
                    raise ShapeError(f"x and {what} must have as many samples", received=f"{count} and {len(part)}")
        self._count, self._batch_size, self._shuffle = count, batch_size, shuffle
        whole = -(-count // batch_size)
        if steps is not None and steps > whole:
            raise ArgumentError(f"There are {whole} batches of {batch_size}, not the {steps} asked for")
        self.steps: int | None = whole if steps is None else whole_number(steps, "The number of steps")
        self._seed: int | None = None  # of the pass that is not over
        self._taken = 0  # batches of it
        self._order: torch.Tensor | None = None
        self._drawn: int | None = None  # the seed that the order is of
        make([part[:1] for part in self._x])  # a wrong shape is told now

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """One pass; or, where the steps are fewer, as many batches, on from where the epoch before stopped."""
        if number == 0 and not first:
            self._seed = None
        for _ in range(first, self.steps or 0):
            if self._seed is None or self._taken * self._batch_size >= self._count:
                self._seed, self._taken = int(torch.randint(2**62, ())) if self._shuffle else 0, 0
            if not self._taken or self._drawn != self._seed:
                self._order, self._drawn = self._shuffled(self._seed), self._seed
            start = self._taken * self._batch_size
            self._taken += 1
            at: Any = slice(start, start + self._batch_size)
            at = at if self._order is None else self._order[at]
            yield self._make(_take(self._x, at), _take(self._y, at), _take(self._w, at))

    def _shuffled(self, seed: int) -> torch.Tensor | None:
        return torch.randperm(self._count, generator=torch.Generator().manual_seed(seed)) if self._shuffle else None

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self._seed, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seed, self._taken = state["seed"], state["taken"]


class IterableBatches:
    """Batches from a list, a DataLoader or a generator. With `steps`, an epoch goes on where the last one stopped."""

    def __init__(self, batches: Any, make: BatchMaker, steps: int | None):
        self._batches, self._make = batches, make
        self._unfinished: Iterator[Any] | None = None
        self._began: dict[str, Any] = {}  # the random state where the pass began that is not over
        self._taken = 0  # batches of it
        length = len(batches) if isinstance(batches, Sized) else None
        self._limit = steps
        self.steps = length if steps is None else steps

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        taken = first
        for item in self._items(first):
            taken += 1
            yield self._make(*_parts_of(item))
        if not taken:
            again = (
                "give steps_per_epoch, or something" if self._limit is None else "give one that goes on, or something"
            )
            once = f"A generator is used up after one pass: {again} that can be iterated again"
            fix = once if isinstance(self._batches, Iterator) else "The iterable of batches is empty"
            raise DataError(f"There is no batch for epoch {number + 1}", fix=fix)
        if self._limit is not None and taken < self._limit:
            warnings.warn(
                f"The batches ended after {taken} of the {self._limit} steps of epoch {number + 1}", stacklevel=2
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the pass began and how far it is: a generator's own position is not in it."""
        return {"began": None if self._unfinished is None else self._began, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Read anew up to that place. What draws numbers, such as a DataLoader that shuffles, draws the same again."""
        if state["began"] is None:
            return
        now = random_state()
        set_random_state(state["began"])
        self._open()
        for _ in islice(self._unfinished or (), state["taken"]):
            self._taken += 1
        set_random_state(now)

    def _open(self) -> None:
        self._began, self._taken, self._unfinished = random_state(), 0, _iterate(self._batches)

    def _items(self, first: int) -> Iterator[Any]:
        """What is left of one pass; or of `steps` batches, from the beginning again where they end."""
        if self._limit is None and not first:
            self._unfinished = None
        left = None if self._limit is None else self._limit - first
        while left is None or left > 0:
            fresh = self._unfinished is None
            if fresh:
                self._open()
            got = 0
            for item in islice(self._unfinished or (), left):
                got += 1
                self._taken += 1
                yield item
            if left is not None:
                left -= got
            if left != 0:
                self._unfinished = None
            if left is None or (left and fresh and not got):
                return  # one pass, or used up, or empty


def _iterate(batches: Any) -> Iterator[Any]:
    """One pass: by number where batches have a length and numbers, as Keras's own data sets, which may be endless otherwise."""
    by_number = hasattr(batches, "__len__") and hasattr(batches, "__getitem__")
    if not by_number or isinstance(batches, (list, tuple)):
        yield from iter(batches)
        return
    yield from (batches[i] for i in range(len(batches)))
    if hasattr(batches, "on_epoch_end"):
        batches.on_epoch_end()


def _parts_of(item: Any) -> tuple[Any, ...]:
    """(x), (x, y) or (x, y, weights) of one batch."""
    if isinstance(item, (tuple, list)) and 1 <= len(item) <= 3:
        return tuple(item)
    if _is_array(item) or isinstance(item, dict):
        return (item,)
    received = f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, (tuple, list)) else "")
    raise ArgumentError("A batch is (inputs, targets) or (inputs, targets, sample weights)", received=received)


def _take(arrays: list[Any] | None, at: Any) -> list[Any] | None:
    return None if arrays is None else [_if_any(lambda a: a[_index(a, at)], array) for array in arrays]


def _index(array: Any, at: Any) -> Any:
    return at.numpy() if isinstance(array, np.ndarray) and isinstance(at, torch.Tensor) else at


def _as_array(given: Any) -> Any:
    array = given if _is_array(given) else np.asarray(given)
    if not array.ndim:
        raise ShapeError("Samples stand in an array, the first axis first", received=repr(given))
    return array


def as_inputs(x: Any, value: Value) -> torch.Tensor:
    """A batch of inputs as the network takes it: NHWC arrays become a channels_last view, tensors are NCHW already."""
    if not isinstance(x, torch.Tensor):
        array = np.asarray(x)
        _require_numbers(array, "A batch of inputs")
        if array.ndim == len(value.inner_shape) and value.shape[-1] == 1:
            array = array[..., None]  # grayscale images without their channel axis, as Keras takes them
        expected = value.shape
        received: tuple[int, ...] = array.shape
        tensor = to_channels_first(_as_tensor(array))
    else:
        expected, received, tensor = (None, *value.inner_shape), tuple(x.shape), x
    if not fits(tensor.shape[1:], value.inner_shape):
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
    if not isinstance(y, torch.Tensor):
        array = np.asarray(y)
        _require_numbers(array, "A batch of targets or weights")
        wide = array.dtype.kind == "u" and array.dtype.itemsize > 1  # torch computes with no unsigned numbers but bytes
        y = to_channels_first(_as_tensor(array.astype(np.int64) if wide else array))
    return y.float() if y.is_floating_point() else y


def _require_numbers(array: np.ndarray, what: str) -> None:
    if array.dtype.kind not in "biuf":
        fix = "Class names become numbers with np.unique(y, return_inverse=True)" if array.dtype.kind in "US" else None
        raise ShapeError(f"{what} is one array of real numbers", received=f"an array of {array.dtype}", fix=fix)


def _as_weights(weights: Any) -> torch.Tensor:
    """Sample weights keep a person's axes: one for each sample, or for each place (N, H, W)."""
    return as_targets(weights).float()


def weights_of_classes(targets: torch.Tensor, class_weight: Mapping[int, float]) -> torch.Tensor:
    """A weight for each sample from its class, 1 where `class_weight` does not name it; one-hot targets or class numbers."""
    if targets.ndim > 2:
        raise ArgumentError(
            "class_weight takes one class for each sample", received=f"targets of shape {tuple(targets.shape)}",
            fix="Give sample_weight an array of one weight for each place",
        )  # fmt: skip
    one_hot = targets.ndim == 2 and targets.shape[1] > 1
    numbers = (targets.argmax(1) if one_hot else targets.flatten()).round().long()
    return torch.tensor([float(class_weight.get(n, 1.0)) for n in numbers.tolist()])


def as_triple(data: Any, ports: Ports) -> tuple[Any, Any, Any]:
    """`validation_data` as (x, y, weights): a pair or triple of arrays, or an iterable of batches and None."""
    if isinstance(data, (tuple, list)) and len(data) in (2, 3) and _is_arrays(data[0], ports, with_targets=True):
        return (*data, None)[:3]
    return data, None, None


def split_off(data: tuple[Any, Any, Any], share: float) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """(training data, validation data): the last `share` of all arrays, before any shuffling, as Keras takes it."""
    arrays = [part for part in _leaves(data) if part is not None]
    if data[1] is None or not all(_is_array(part) for part in arrays):
        raise ArgumentError("validation_split takes arrays x and y", received=type(data[0]).__name__)
    if not 0 < share < 1 or not (first := int(len(arrays[0]) * (1 - share))):
        raise ArgumentError("validation_split is a share between 0 and 1 that leaves a sample", received=share)
    x, y, w = (_part(each, slice(None, first)) for each in data)
    vx, vy, vw = (_part(each, slice(first, None)) for each in data)
    return (x, y, w), (vx, vy, vw)


def _leaves(data: Any) -> Iterator[Any]:
    if isinstance(data, (tuple, list)):
        for part in data:
            yield from _leaves(part)
    elif isinstance(data, dict):
        yield from _leaves(tuple(data.values()))
    else:
        yield data


def _part(data: Any, at: slice) -> Any:
    if isinstance(data, (tuple, list)):
        return type(data)(_part(part, at) for part in data)
    if isinstance(data, dict):
        return {name: _part(part, at) for name, part in data.items()}
    return None if data is None else data[at]
