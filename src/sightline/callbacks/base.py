"""The base of callbacks, and one made of functions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..configurable import Configurable
from ..console import say
from ..errors import ArgumentError
from ..training.ranks import is_first

if TYPE_CHECKING:
    from ..models import Model
    from ..training.training import Training

Logs = Mapping[str, float]


def say_once(text: str) -> None:
    """Say it to the person; of several processes that train together the first one does."""
    if is_first():
        say(text)


EVENTS = tuple(
    f"on_{what}_{when}" for what in ("train", "epoch", "train_batch", "batch", "test") for when in ("begin", "end")
)


class Callback(Configurable):
    """The base of callbacks: override what you need. `self.model` is the model in training, `self.params` the call's.

    `kept` names the attributes that a resumed training carries over: tensors, numbers, texts, None, and lists and
    dicts of them. A resumed training calls `on_train_begin` first and `load_state_dict` then.
    `on_test_begin` and `on_test_end` stand around the validation in `fit`. Where several processes train together, those
    that `writes` (files, or to the person) are called in the first one only; the others must do the same in all of them.
    """

    kept: tuple[str, ...] = ()
    writes = False
    model: Model
    training: Training
    params: Mapping[str, Any] = MappingProxyType({})

    def set_model(self, model: Model) -> None:
        for name in dir(type(self)):
            if name.startswith(("on_test_batch_", "on_predict_")):
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is not called",
                    fix="on_test_begin and on_test_end stand around the validation; look in on_epoch_end, at the val_ logs",
                )
        self.model = model

    def set_training(self, training: Training) -> None:
        """Take the training that the callback stands in; `training.last_loss` is the last step's, on its device."""
        self.training = training

    def set_params(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def state_dict(self) -> dict[str, Any]:
        """A copy of what `kept` names. Raises ArgumentError for a name that is no attribute."""
        for name in self.kept:
            if not hasattr(self, name):
                raise ArgumentError(
                    f"{type(self).__name__} keeps {name!r}, which it does not have",
                    fix="Set it in __init__ or on_train_begin",
                )
        return {name: copy.deepcopy(getattr(self, name)) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises ArgumentError where that was of a callback that keeps something else."""
        if set(state) != set(self.kept):
            raise ArgumentError(
                f"The state is of another callback than this {type(self).__name__}",
                expected=", ".join(self.kept) or "nothing",
                received=", ".join(state) or "nothing",
            )
        for name in self.kept:
            setattr(self, name, copy.deepcopy(state[name]))

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)


class LambdaCallback(Callback):
    """A callback made of functions, each by the name of what it is called at; `functions` are the others of Callback's."""

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **functions: Callable[..., Any] | None,
    ):
        self._refuse({name: function for name, function in functions.items() if name not in EVENTS})
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        } | functions
        for name, function in given.items():
            if function is not None and not callable(function):
                raise ArgumentError(f"LambdaCallback: {name} is a function", received=repr(function))
            if function is not None:
                setattr(self, name, function)


def as_callbacks(given: Sequence[Callback] | Callback | None) -> list[Callback]:
    """A callback, several or none as a list; raises ArgumentError for what is none."""
    callbacks = [given] if isinstance(given, Callback) else list(given or ())
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ArgumentError("A callback is an instance of callbacks.Callback", received=repr(callback))
    return callbacks
