"""Losses as objects: a function's arguments, and how the values of a batch are weighted and reduced."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch

from ..configurable import Configurable
from ..errors import ArgumentError, choose
from ..graph.build import snake_case
from . import functions
from .reduction import REDUCTIONS, SUM_OVER_BATCH_SIZE, at_least_float32, divisor, reduced
from .targets import aligned, class_targets


class Loss(Configurable, abc.ABC):
    """A loss for each sample of a batch, weighted and reduced to one number: write one by giving `call`.

    `reduction` is "sum_over_batch_size" or "mean" (the mean of the weighted values), "mean_with_sample_weight" (their
    sum over the sum of weights), "sum", or "none" or None (no reduction: the values). Raises ArgumentError for others.
    `takes` names the activation whose output the loss expects, where it expects one.
    """

    takes: ClassVar[Literal["softmax", "sigmoid"] | None] = None

    def __init__(self, name: str | None = None, reduction: str | None = SUM_OVER_BATCH_SIZE, **unknown: Any):
        self._refuse(unknown)
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction if reduction is None else choose("reduction", reduction, REDUCTIONS)

    def __call__(self, y_true: torch.Tensor, y_pred: torch.Tensor, sample_weight: Any = None) -> torch.Tensor:
        """The reduced loss; `sample_weight` as `reduction.weights_of` takes it. As Keras, `call` gets floats."""
        values, mask = self.values(y_true, y_pred)
        return reduced(values, sample_weight, self.reduction, mask)

    def values(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The values before they are weighted and reduced, and which of them count, or how much (None: all alike)."""
        y_pred = at_least_float32(y_pred)
        y_true = y_true.to(y_pred.dtype)
        return self.call(y_true, y_pred), self.mask(y_true, y_pred)

    def divisor(
        self, y_true: torch.Tensor, sample_weight: Any, values: torch.Tensor, y_pred: torch.Tensor
    ) -> torch.Tensor | None:
        """What the sum over a batch is divided by: `y_true` and `sample_weight` are all of it, `values` and `y_pred` a part's.

        None where nothing is divided.
        """
        if not values.ndim:  # a person's function with one number for the batch, taken for a mean
            return values.new_full((), len(y_true))
        as_all, answers = (part[:1].detach().expand(len(y_true), *part.shape[1:]) for part in (values, y_pred))
        return divisor(as_all, sample_weight, self.reduction, self.mask(y_true.to(y_pred.dtype), answers))

    @abc.abstractmethod
    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        """A value for each sample. Override this to write a loss."""

    def mask(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
        """Which of `call`'s values count, or how much each does, where they do not all count alike."""
        return None

    def terms(self) -> Sequence[tuple[Loss, float]]:
        """The losses, with their weights, of which it is the sum: each is divided by a number of its own."""
        return [(self, 1.0)]

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        """Targets of the kind that it takes, of no certain values, for predictions of this shape: a tensor's without batch."""
        return torch.empty((batch_size, *shape))

    def of_logits(self) -> Loss | None:
        """The same loss for what goes into the activation `takes` instead of what comes out; None where there is none."""
        return None


class _Crossentropy(Loss):
    """A loss that computes from logits more exactly than from probabilities, which it clips."""

    from_logits: bool

    def of_logits(self) -> Loss | None:
        if self.from_logits or type(self) not in _EXACT_OF_LOGITS:  # a person's subclass wants its probabilities
            return None
        return type(self)(**(self.get_config() | {"from_logits": True}))


class CategoricalCrossentropy(_Crossentropy):
    """Cross-entropy with one-hot targets; see `categorical_crossentropy`."""

    takes = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "categorical_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


class SparseCategoricalCrossentropy(_Crossentropy):
    """Cross-entropy with class numbers; see `sparse_categorical_crossentropy`.

    Targets that are `ignore_class` (such as 255) count neither in the sum nor in the number of values.
    """

    takes = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "sparse_categorical_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.from_logits, self.ignore_class = from_logits, ignore_class

    def blank_targets(self, batch_size: int, shape: Sequence[int]) -> torch.Tensor:
        return torch.empty((batch_size, *shape[1:]), dtype=torch.int64)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class)

    def mask(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor | None:
        return None if self.ignore_class is None else class_targets(y_true, y_pred) != self.ignore_class


class BinaryCrossentropy(_Crossentropy):
    """Cross-entropy of yes or no; see `binary_crossentropy`."""

    takes = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "binary_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


_EXACT_OF_LOGITS = (CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy)


class CategoricalFocalCrossentropy(Loss):
    """Focal loss with one-hot targets; see `categorical_focal_crossentropy`. Keras clips its logits' probabilities too."""

    takes = "softmax"

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "categorical_focal_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.alpha, self.gamma = alpha, gamma
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        arguments = self.alpha, self.gamma, self.from_logits, self.label_smoothing
        return functions.categorical_focal_crossentropy(y_true, y_pred, *arguments)


class BinaryFocalCrossentropy(Loss):
    """Focal loss of yes or no; see `binary_focal_crossentropy`."""

    takes = "sigmoid"

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "binary_focal_crossentropy",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.apply_class_balancing, self.alpha, self.gamma = apply_class_balancing, alpha, gamma
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        arguments = self.apply_class_balancing, self.alpha, self.gamma, self.from_logits, self.label_smoothing
        return functions.binary_focal_crossentropy(y_true, y_pred, *arguments)


class MeanSquaredError(Loss):
    """The mean squared difference; see `mean_squared_error`."""

    def __init__(self, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "mean_squared_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name, reduction)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(Loss):
    """The mean difference without sign; see `mean_absolute_error`."""

    def __init__(self, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "mean_absolute_error", **unknown: Any):
        self._refuse(unknown)
        super().__init__(name, reduction)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.mean_absolute_error(y_true, y_pred)


class Huber(Loss):
    """Squared for small differences, linear for large ones; see `huber`."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "huber_loss",
        **unknown: Any,
    ):
        self._refuse(unknown)
        super().__init__(name, reduction)
        self.delta = delta

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        return functions.huber(y_true, y_pred, self.delta)


class FunctionLoss(Loss):
    """A person's own function of (y_true, y_pred) that returns a value for each sample, or one."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], **unknown: Any):
        self._refuse(unknown)
        super().__init__(getattr(function, "__name__", None))
        self.function = function

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        values = self.function(*aligned(y_true, y_pred))
        if not isinstance(values, torch.Tensor):
            raise ArgumentError(
                f"The loss {self.name} must return a tensor, with a value for each sample or one", received=repr(values)
            )
        return values
