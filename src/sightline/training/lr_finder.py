"""The learning-rate finder: one short training whose rate grows at each step, and the rates that its losses speak for.

The sweep is Smith's ("Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3), the smoothing Gugger's
("How Do You Find A Good Learning Rate", 2018): what is told of a loss is told of its smoothed curve.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..configurable import refuse_beyond
from ..console import is_terminal, progress_bar
from ..errors import ArgumentError, DataError, SightlineError, whole_number
from ..graph.network import Network
from ..graph.symbolic import in_mode
from ..plots import draw_learning_rates
from ..schedules import ABOVE_0, is_number
from .batches import Batch, Batches, as_batches
from .numerics import AUTO, Numerics
from .ports import ports_of
from .state import unchanged
from .step import Step

if TYPE_CHECKING:
    from ..models import Model

MEMORY = 0.95  # how much of its past the smoothed loss keeps in a step
STEPS, PASSES = 200, 50  # the most steps of a sweep, and passes over the data: what is known by heart falls at any rate
LOOK = 10  # steps between two looks at the losses: each waits for the device
RISE = 3.0  # a loss this many times itself above its best has diverged

# --- what losses say -------------------------------------------------------------------------------------------------


def smooth(losses: np.ndarray) -> np.ndarray:
    """The exponential moving average of losses, divided by 1 - MEMORY^t, so that it does not begin near 0."""
    average, smoothed = 0.0, np.empty(len(losses))
    for i, loss in enumerate(losses):
        average = MEMORY * average + (1 - MEMORY) * loss
        smoothed[i] = average / (1 - MEMORY ** (i + 1))
    return smoothed


def steps_before_divergence(losses: np.ndarray) -> int:
    """How many steps there are before a loss is not finite, or the smoothed loss far above its best (4 times, if positive)."""
    finite = np.isfinite(losses)
    steps = len(losses) if finite.all() else int(np.argmin(finite))
    smoothed = smooth(losses[:steps])
    best = np.minimum.accumulate(smoothed)
    # the way down counts too, so that a loss whose best is about 0 has not diverged when it trembles there
    far = smoothed > best + RISE * np.maximum(np.abs(best), smoothed[:1] - best)
    return int(np.argmax(far)) if far.any() else steps


def lowest(smoothed: np.ndarray) -> int:
    """The step at which the loss is lowest; the first tenth, whose averages are of a few batches, is left out."""
    first = len(smoothed) // 10
    return first + int(np.argmin(smoothed[first:]))


def steepest(smoothed: np.ndarray) -> int:
    """The step, before the lowest, at which the loss falls fastest: with log(rate), which grows as much in each step."""
    first, end = len(smoothed) // 10, lowest(smoothed) + 1
    if end - first < 2:
        return end - 1
    return first + int(np.argmin(np.gradient(smoothed[first:end])))


def valley(smoothed: np.ndarray) -> int:
    """The step two thirds down the longest valley before the lowest (ESRI's rule, which fastai has as "valley").

    A valley is a longest row of losses each of which is below the one before; others may lie between them. It is taken
    to be as long as it has losses, up to its last: on a plateau, where few of many losses belong to it, it has not begun.
    """
    first = len(smoothed) // 10
    below: list[float] = []  # for each length of a row, the best loss (negated) on which one ends
    end = longest = 0
    for i, loss in enumerate(smoothed[first : lowest(smoothed) + 1].tolist()):
        length = bisect.bisect_left(below, -loss) + 1
        below[length - 1 : length] = [-loss]
        if length > longest:
            end, longest = first + i, length
    return end - round((longest - 1) / 3)


def falls(losses: np.ndarray) -> bool:
    """Whether some tenth of the losses lies below the first by more than three standard errors of two such means.

    How much a loss trembles is the median difference to the next one's, in which neither fall nor divergence counts. Of
    losses that only tremble, one row in twenty seems to fall.
    """
    width = max(len(losses) // 10, 5)
    if len(losses) < 2 * width:
        return False
    means = np.convolve(losses, np.ones(width) / width, "valid")
    error = float(np.median(np.abs(np.diff(losses)))) * np.sqrt(2 / width)
    return bool(means[0] - means.min() > max(3 * error, 1e-6 * abs(means[0])))  # float32 tells no less apart


@dataclass(frozen=True, eq=False, repr=False)
class LearningRateSweep:
    """What a sweep found: for each step its rate, the loss of the batch it learned from, and the smoothed loss."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def suggestion(self) -> float:
        """The rate to train with: the geometric mean of `valley` and a tenth of the rate at which the loss is lowest.

        Each errs for some networks and optimizers, seldom both to one side. `steepest` is too high for most.
        """
        return float(np.sqrt(self.valley * self.rates[lowest(self.smoothed)] / 10))

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest: often close to where it diverges, so rather a bound."""
        return float(self.rates[steepest(self.smoothed)])

    @property
    def valley(self) -> float:
        """The rate two thirds down the longest valley of the loss."""
        return float(self.rates[valley(self.smoothed)])

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        named = {name: getattr(self, name) for name in ("suggestion", "steepest", "valley")}
        return named | {name: getattr(self, name).tolist() for name in ("rates", "losses", "smoothed")}

    def draw(self, path: str | Path) -> Path:
        """Write a PNG file of the loss against the rate, the suggestions marked; returns its path."""
        marks = {name: getattr(self, name) for name in ("suggestion", "valley", "steepest")}
        draw_learning_rates(self.rates, self.losses, self.smoothed, marks, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        return (
            f"Learning rate {self.suggestion:.2g} (valley {self.valley:.2g}, steepest {self.steepest:.2g}): "
            f"{len(self.rates)} steps from {self.rates[0]:.2g} to {self.rates[-1]:.2g}, "
            f"loss {self.smoothed[0]:.4g} to {self.smoothed[lowest(self.smoothed)]:.4g} at its lowest"
        )


# --- the sweep -------------------------------------------------------------------------------------------------------


def lr_find(
    model: Model,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int | None = None,
    verbose: str | int = "auto",
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    **unknown: Any,
) -> LearningRateSweep:
    """Find a learning rate for a compiled model by training it on data as `fit` takes it, at rates that grow each step.

    The rates are `steps` from `start` to `end`, each the same factor above the one before; the sweep ends sooner when
    the loss diverges, and goes through the data again when it has fewer batches. Without `steps` they are 200, or as many
    as go through the data 50 times, if these are fewer. Afterwards weights, optimizer, metrics and random generators are
    as they were. `verbose`: "auto" or 1 shows a bar in a terminal, 0 none.
    Raises SightlineError when no rate makes the loss fall.
    """
    refuse_beyond(lr_find, unknown)
    sweep_rates(start, end, steps)  # a wrong one is told before the data are looked at
    if verbose not in ("auto", 0, 1):
        raise ArgumentError('verbose is "auto", 0 or 1', received=repr(verbose))
    if not isinstance(model, Network) or not hasattr(model, "_step"):
        raise ArgumentError(
            "lr_find takes a compiled model", expected="a Sequential or Model", received=type(model).__name__
        )
    model._build_for(x)
    model._require_built("lr_find")
    once = isinstance(x, Iterator) and not isinstance(x, Batches)
    data = (chain(x, _used_up(steps or STEPS)) if once else x, y, sample_weight)
    batches = as_batches(data, ports_of(model), batch_size=batch_size, shuffle=shuffle, class_weight=class_weight)
    rates = sweep_rates(start, end, sweep_steps(batches.steps) if steps is None else steps)
    losses = _losses(model, batches, rates, bar=verbose != 0 and is_terminal())
    if not falls(losses):
        raise SightlineError(
            f"No learning rate from {start:g} to {end:g} made the loss of {model.name} fall",
            fix="Begin lower if it diverged at once (start=1e-9); else see that the targets belong to the inputs, that "
            "inputs are scaled and the batches not tiny, and that the model is not trained already",
        )
    return LearningRateSweep(rates[: len(losses)], losses, smooth(losses))


def sweep_steps(batches: int | None, most: int = STEPS) -> int:
    """The steps of a sweep of data with so many batches (None: not known), of at most 50 passes."""
    return most if batches is None else min(most, PASSES * batches)


def sweep_rates(start: float, end: float, steps: int | None) -> np.ndarray:
    """The rates of a sweep, as many as there can be without `steps`; raises ArgumentError where there is none between these."""
    for name, rate in (("start", start), ("end", end)):
        if not is_number(rate) or not ABOVE_0[1](rate):
            raise ArgumentError(f"lr_find: {name} is not a learning rate", expected=ABOVE_0[0], received=repr(rate))
    if start >= end:
        raise ArgumentError("lr_find: start is below end", received=f"start={start:g}, end={end:g}")
    return np.geomspace(start, end, STEPS if steps is None else whole_number(steps, "lr_find: steps", least=10))


def _losses(model: Model, batches: Batches, rates: np.ndarray, *, bar: bool) -> np.ndarray:
    """The losses of the steps at these rates, until they diverge; the model is as before afterwards."""
    progress = progress_bar("Learning rate", "steps")
    progress.disable = progress.disable or not bar
    known = np.empty(0)
    waiting: list[torch.Tensor] = []  # on the device
    with progress, _aside(model) as (step, set_rate):
        task = progress.add_task("", total=len(rates), note="")
        for number, (rate, batch) in enumerate(zip(rates.tolist(), _again_and_again(batches), strict=False)):
            set_rate(rate)
            waiting.append(step.train(batch))
            if number % LOOK and number + 1 < len(rates):
                continue
            known = np.append(known, torch.stack(waiting).double().cpu().numpy())
            waiting.clear()
            if number == 0 and not np.isfinite(known[0]):
                raise _not_a_loss(known[0], batch)
            progress.update(task, completed=number + 1, note=f"{rate:.1e}  loss {known[-1]:.4f}")
            if (taken := steps_before_divergence(known)) < len(known):
                return known[:taken]
    return known


@contextmanager
def _aside(model: Model) -> Iterator[tuple[Step, Callable[[float], None]]]:
    """A step that trains the model, and what sets its rate; afterwards all that they changed is as before.

    The rate may follow a schedule, which cannot be set to a number: it is put aside, and given back before the
    optimizer's state is, which knows whether its rate is a number.
    """
    step = _step_without_metrics(model)
    if step.ranks is not None:
        step.ranks.begin_alike(model)
    optimizer = model.optimizer
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    own_rate = optimizer._rate

    def set_rate(rate: float) -> None:
        optimizer._rate = rate

    with unchanged(model, optimizer), in_mode(model, True):
        try:
            yield step, set_rate
        finally:
            optimizer._rate = own_rate
            for parameter, gradient in gradients:
                parameter.grad = gradient


def _step_without_metrics(model: Model) -> Step:
    """The step of `fit`; what the metrics have seen stays as it is, and they cost no time.

    A precision that a training would have to find out yet is float32: the same data then gives the same rates.
    """
    compiled = model._compiled
    if compiled is None:
        return model._step("lr_find", update=True)  # which says so
    metrics = compiled.metrics, compiled.weighted_metrics
    compiled.metrics = compiled.weighted_metrics = None
    try:
        step = model._step("lr_find", update=True)
    finally:
        compiled.metrics, compiled.weighted_metrics = metrics
    step.numerics = Numerics("float32" if compiled.precision == AUTO else compiled.precision)
    return step


def _again_and_again(batches: Batches) -> Iterable[Batch]:
    return chain.from_iterable(batches.epoch(number) for number in count())


def _used_up(steps: int) -> Iterator[Any]:
    """What stands behind the last batch of a generator."""
    raise DataError(
        f"The generator ended before the {steps} steps of lr_find, and cannot begin again",
        fix="Give something that can be iterated again, or fewer steps",
    )
    yield


def _not_a_loss(loss: float, batch: Batch) -> SightlineError:
    """Why the loss of the first batch, which no update came before, is no number."""
    broken = not all(bool(torch.isfinite(part).all()) for part in batch.inputs if part.is_floating_point())
    fix = (
        "Its inputs hold NaN or infinity: see how they were read and scaled"
        if broken
        else "No rate mends that: see that the targets are what the loss takes, and that inputs and weights are not huge"
    )
    return SightlineError(f"The loss of the first batch is {loss}, before any update", fix=fix)
