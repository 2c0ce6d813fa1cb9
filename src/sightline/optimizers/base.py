"""What optimizers share: the rate, clipping, weight decay, averages, and the state of each parameter.

An optimizer is made without parameters (`Adam(1e-3)`) and bound to a network's when it is compiled or first fitted.
Each update clips the gradients, decays the weights and then follows the rule of its kind, in Keras's order.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from ..configurable import Configurable
from ..errors import ArgumentError, SightlineError, whole_number
from ..graph.build import snake_case
from ..schedules import ABOVE_0, AT_LEAST_0, TO_1, LearningRateSchedule, Range, check_numbers, is_number

BELOW_1: Range = ("a number >= 0 and below 1", lambda value: 0 <= value < 1)

LearningRate = float | LearningRateSchedule | Callable[[], float]
Tensors = list[torch.Tensor]


class Optimizer(Configurable, abc.ABC):
    """The base: the learning rate, clipping, weight decay and the state of each parameter.

    `learning_rate`: a number, a schedule of the updates so far, or a function without arguments.
    `weight_decay`: before each update a weight loses rate * weight_decay of itself (Loshchilov & Hutter, 2019).
    At most one of: `clipnorm`, the most that the norm of one gradient may be; `clipvalue`, of one of its elements;
    `global_clipnorm`, of all gradients as one vector.
    `use_ema`: keep an average of each parameter, which an update moves by 1 - `ema_momentum` of the way to it (Polyak &
    Juditsky, 1992). The parameters become their averages after each `ema_overwrite_frequency` updates, and by `finalize`.
    `iterations` counts the updates.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self._rate = self._checked_rate(learning_rate)
        self.weight_decay, self.name = weight_decay, name or snake_case(type(self).__name__)
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum, self.ema_overwrite_frequency = use_ema, ema_momentum, ema_overwrite_frequency
        self.iterations, self.swapped = 0, False
        self._parameters: Tensors | None = None
        self._undecayed: Tensors = []
        self._scales: dict[torch.Tensor, float] = {}  # of the learning rate
        self._state: dict[str, dict[torch.Tensor, torch.Tensor]] = {}
        if weight_decay is not None:
            check_numbers(self, AT_LEAST_0, "weight_decay")
        check_numbers(self, TO_1, "ema_momentum")
        if ema_overwrite_frequency is not None:
            whole_number(ema_overwrite_frequency, f"{type(self).__name__}: ema_overwrite_frequency is None or")
        clips = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, name) is not None]
        check_numbers(self, ABOVE_0, *clips)
        if len(clips) > 1:
            raise ArgumentError(
                f"{type(self).__name__}: gradients are clipped in one way",
                expected="one of clipnorm, clipvalue and global_clipnorm",
                received=" and ".join(clips),
            )

    @property
    def learning_rate(self) -> float:
        """The rate of the next update. Raises ArgumentError when a schedule or function gives none."""
        if isinstance(self._rate, float):
            return self._rate
        rate = self._rate(self.iterations) if isinstance(self._rate, LearningRateSchedule) else self._rate()
        if not is_number(rate) or rate < 0:
            raise ArgumentError(f"{self._rate!r} gave no learning rate", expected=AT_LEAST_0[0], received=repr(rate))
        return float(rate)

    @learning_rate.setter
    def learning_rate(self, rate: LearningRate) -> None:
        if not callable(rate) and not isinstance(self._rate, float):
            raise ArgumentError(
                f"The learning rate of this {type(self).__name__} follows {self._rate!r} and cannot be set to {rate!r}",
                fix="Make the optimizer with a number as learning_rate, or set another schedule",
            )
        self._rate = self._checked_rate(rate)

    def _checked_rate(self, rate: Any) -> LearningRate:
        if callable(rate) and not isinstance(rate, type):
            return rate
        if is_number(rate) and rate >= 0:
            return float(rate)
        raise ArgumentError(
            f"{type(self).__name__}: learning_rate is not one",
            expected="a number >= 0, a LearningRateSchedule, or a function without arguments that returns a number",
            received=repr(rate),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"learning_rate": self._rate}

    # --- parameters ------------------------------------------------------------------------------------------------

    def bind(self, parameters: Iterable[nn.Parameter]) -> None:
        """Take over these parameters; state and `iterations` begin anew. Frozen ones are left out."""
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._state, self.iterations, self.swapped = {}, 0, False

    def is_bound_to(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether just these parameters, less the frozen ones, are what `step` updates."""
        if self._parameters is None:
            return False
        return [id(p) for p in parameters if p.requires_grad] == [id(p) for p in self._parameters]

    def exclude_from_weight_decay(self, var_list: Iterable[torch.Tensor] | None = None, **unknown: Any) -> None:
        """Let these parameters not decay, and all others again. Keras's `var_names` is not there: torch's have none."""
        if unknown:
            raise ArgumentError(
                f"exclude_from_weight_decay does not support the argument {next(iter(unknown))!r}",
                fix="Give the parameters, as var_list=[p for name, p in model.named_parameters() if 'bias' in name]",
            )
        self._undecayed = list(var_list or ())

    def scale_learning_rate(self, factor: float, var_list: Iterable[torch.Tensor]) -> None:
        """Let these parameters follow `factor` times the learning rate (discriminative rates: Howard & Ruder, 2018, section 3.2).

        Their weight decay is scaled with it. Not Keras's; called again, the last factor of a parameter counts.
        """
        if not is_number(factor) or factor < 0:
            raise ArgumentError("The factor of a learning rate is a number >= 0", received=repr(factor))
        self._scales |= {parameter: float(factor) for parameter in var_list}

    def zero_grad(self) -> None:
        for parameter in self._parameters or ():
            parameter.grad = None

    # --- updates ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have gradients, which clipping changes in place."""
        parameters = [parameter for parameter in self._bound() if parameter.grad is not None]
        if not parameters:
            return
        gradients = [_laid_as(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        rate = self.learning_rate
        self._clip(gradients)
        for factor, group, group_gradients in self._groups(parameters, gradients):
            self._decay(group, rate * factor)
            self._update(group, group_gradients, rate * factor)
        if self.use_ema:
            self._average()
        self.iterations += 1

    def _groups(self, parameters: Tensors, gradients: Tensors) -> Iterator[tuple[float, Tensors, Tensors]]:
        """The parameters, and their gradients, by the factor of their learning rate."""
        factors = [self._scales.get(parameter, 1.0) for parameter in parameters]
        for factor in dict.fromkeys(factors):
            chosen = [i for i, own in enumerate(factors) if own == factor]
            yield factor, [parameters[i] for i in chosen], [gradients[i] for i in chosen]

    @abc.abstractmethod
    def _update(self, parameters: Tensors, gradients: Tensors, rate: float) -> None:
        """Change the parameters in place."""

    def _clip(self, gradients: Tensors) -> None:
        if self.clipnorm is not None:
            norms = torch.stack(torch._foreach_norm(gradients))
            torch._foreach_mul_(gradients, (self.clipnorm / norms.clamp(min=self.clipnorm)).unbind())
        elif self.global_clipnorm is not None:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            scale = self.global_clipnorm / norm.clamp(min=self.global_clipnorm)
            torch._foreach_mul_(gradients, scale + (norm - norm))  # Keras's: one that is not finite makes all NaN
        elif self.clipvalue is not None:
            torch._foreach_clamp_min_(gradients, -self.clipvalue)
            torch._foreach_clamp_max_(gradients, self.clipvalue)

    def _decay(self, parameters: Tensors, rate: float) -> None:
        excluded = {id(parameter) for parameter in self._undecayed}
        decayed = [parameter for parameter in parameters if id(parameter) not in excluded]
        if self.weight_decay and decayed:
            # p + (-rate * decay) * p: as a factor, 1 - rate * decay would lose most of its digits in float32
            torch._foreach_add_(decayed, decayed, alpha=-rate * self.weight_decay)

    def _kept(self) -> dict[str, float]:
        """The names of what `_update` keeps for each parameter, and what it begins as."""
        return {}

    @torch.no_grad()
    def make_state(self) -> None:
        """Make what the first update would make, so that no update ends for lack of memory when it is half done."""
        for name, initial in self._kept().items():
            self._slots(name, self._bound(), initial)

    def _slots(self, name: str, parameters: Tensors, initial: float | None = 0.0) -> Tensors:
        """The state of this name for each parameter, made when first asked for; it follows a parameter that moved.

        Without `initial` it begins as the parameter.
        """
        slots = self._state.setdefault(name, {})
        for parameter in parameters:
            if parameter not in slots:
                slots[parameter] = torch.clone(parameter) if initial is None else torch.full_like(parameter, initial)
            slots[parameter] = _laid_as(parameter, slots[parameter])
        return [slots[parameter] for parameter in parameters]

    # --- averages --------------------------------------------------------------------------------------------------

    def _average(self) -> None:
        """average += (1 - ema_momentum) * (parameter - average), also of parameters that this update did not reach."""
        parameters, averages = self._bound(), self._averages()
        torch._foreach_lerp_(averages, parameters, 1 - self.ema_momentum)
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            torch._foreach_copy_(parameters, averages)

    def _averages(self) -> Tensors:
        if not self.iterations:  # a file of Keras's holds zeros then, which are no averages
            self._state.pop("average", None)
        return self._slots("average", self._bound(), None)

    @torch.no_grad()
    def swap_averages(self) -> None:
        """Exchange the parameters and their averages, to the bit; `swapped` says whether they stand in each other's place.

        Raises SightlineError without `use_ema`.
        """
        if not self.use_ema:
            raise SightlineError(
                f"This {type(self).__name__} keeps no averages of the weights",
                fix=f"Make it with use_ema=True: {type(self).__name__}(use_ema=True)",
            )
        parameters, averages = self._bound(), self._averages()
        weights = [torch.clone(parameter) for parameter in parameters]
        torch._foreach_copy_(parameters, averages)
        torch._foreach_copy_(averages, weights)
        self.swapped = not self.swapped

    @torch.no_grad()
    def finalize(self) -> None:
        """The end of a training: with `use_ema` the parameters become their averages, if there was any update."""
        if not self.use_ema or not self.iterations:
            return
        if self.swapped:
            self.swap_averages()
        torch._foreach_copy_(self._bound(), self._averages())

    # --- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training: `iterations`, the rate where it is a number, and each parameter's state.

        What the constructor was given is `get_config`'s. The tensors are the optimizer's own, not copies.
        """
        numbers = {parameter: number for number, parameter in enumerate(self._parameters or ())}
        state = {name: {numbers[p]: slot for p, slot in slots.items()} for name, slots in self._state.items()}
        return self._kind() | {
            "learning_rate": self._rate if isinstance(self._rate, float) else None,
            "iterations": self.iterations,
            "swapped": self.swapped,
            "state": state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises ArgumentError unless class, parameters' shapes and kind of rate are the same."""
        parameters, rate = self._bound(), state["learning_rate"]
        mine = self._kind() | {"learning rate": "a number" if isinstance(self._rate, float) else "not a number"}
        its = {name: state[name] for name in self._kind()}
        its["learning rate"] = "not a number" if rate is None else "a number"
        for what, expected in mine.items():
            if its[what] != expected:
                raise ArgumentError(
                    f"The state is of another optimizer: not the same {what}",
                    expected=expected,
                    received=its[what],
                    fix="Make and bind the optimizer as the one that was saved",
                )
        self._state = {
            name: {
                parameters[number]: torch.empty_like(parameters[number]).copy_(slot) for number, slot in slots.items()
            }
            for name, slots in state["state"].items()
        }
        self._rate, self.iterations = self._rate if rate is None else float(rate), state["iterations"]
        self.swapped = state["swapped"]

    def _kind(self) -> dict[str, Any]:
        """What a state must share with an optimizer that loads it."""
        return {"class": type(self).__name__, "shapes": [tuple(p.shape) for p in self._parameters or ()]}

    def _bound(self) -> Tensors:
        if self._parameters is None:
            raise SightlineError(
                "The optimizer has no parameters yet", fix="Call bind(model.parameters()) or model.compile"
            )
        return self._parameters


def _laid_as(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the parameter's device and in its memory order, in which fused kernels walk all of them."""

    def lies(of: torch.Tensor) -> tuple[Any, ...]:
        steps = [step for size, step in zip(of.shape, of.stride(), strict=True) if size != 1]
        return of.device, of.dtype, steps

    return tensor if lies(tensor) == lies(parameter) else torch.empty_like(parameter).copy_(tensor)
