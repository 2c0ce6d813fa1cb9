"""Weights as Keras counts, orders and lays them out: what layers and networks have in common."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..errors import ShapeError
from ..layout import kernel_from_keras, kernel_to_keras
from .symbolic import describe_layer


class Variable(NamedTuple):
    """One weight with its name in Keras; `tensor` is laid out as torch has it, which differs for what Keras calls a kernel."""

    name: str
    tensor: torch.Tensor

    @property
    def trainable(self) -> bool:
        return self.tensor.requires_grad

    @property
    def is_kernel(self) -> bool:
        return self.name.endswith("kernel")

    @property
    def keras_shape(self) -> tuple[int, ...]:
        return tuple((kernel_to_keras(self.tensor) if self.is_kernel else self.tensor).shape)

    def read(self) -> np.ndarray:
        """The values in Keras's layout: a kernel is (height, width, in, out) or (in, out)."""
        tensor = self.tensor.detach().cpu()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # which NumPy has not
        return np.array((kernel_to_keras(tensor) if self.is_kernel else tensor).numpy())

    def write(self, values: np.ndarray) -> None:
        """The inverse of `read`; the shapes must be equal."""
        given = torch.from_numpy(np.array(values))
        with torch.no_grad():
            self.tensor.copy_(kernel_from_keras(given) if self.is_kernel else given)


class Weighted:
    """Mixin of whatever holds weights: `variables()` names them, all else follows."""

    @abc.abstractmethod
    def variables(self) -> Iterator[Variable]:
        """The weights in Keras's order."""

    @property
    def weights(self) -> list[torch.Tensor]:
        """All weights, each layer's trainable ones before its moving statistics."""
        return [variable.tensor for variable in self.variables()]

    @property
    def trainable_weights(self) -> list[torch.Tensor]:
        """The weights that training changes."""
        return [variable.tensor for variable in self.variables() if variable.trainable]

    @property
    def non_trainable_weights(self) -> list[torch.Tensor]:
        """Frozen weights and moving statistics."""
        return [variable.tensor for variable in self.variables() if not variable.trainable]

    def count_params(self) -> int:
        """The number of parameters, non-trainable ones (moving statistics) included."""
        return sum(variable.tensor.numel() for variable in self.variables())

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as Keras gives them: its order, its layout (kernels are (height, width, in, out))."""
        return [variable.read() for variable in self.variables()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over weights as `get_weights` gives them. Raises ShapeError, before any is changed, where one does not fit."""
        if not isinstance(weights, Sequence):
            raise ShapeError("set_weights takes a list of arrays", received=type(weights).__name__)
        variables, arrays = list(self.variables()), [np.asarray(weight) for weight in weights]
        if len(variables) != len(arrays):
            raise ShapeError(
                f"{describe_layer(self)} has {len(variables)} weights",  # type: ignore[arg-type]
                received=f"{len(arrays)} arrays",
                fix=None if variables else "A layer has its weights once it was called or built",
            )
        for variable, array in zip(variables, arrays, strict=True):
            if variable.keras_shape != array.shape:
                raise ShapeError(
                    f"The weight {variable.name} of {describe_layer(self)} has another shape",  # type: ignore[arg-type]
                    expected=variable.keras_shape,
                    received=array.shape,
                )
        for variable, array in zip(variables, arrays, strict=True):
            variable.write(array)


def variables_of(module: nn.Module) -> Iterator[Variable]:
    """The weights of a layer, a network, or any module of torch's, whose own names and layouts stay."""
    yield from module.variables() if isinstance(module, Weighted) else parts_of(module)


def parts_of(module: nn.Module) -> Iterator[Variable]:
    """A module's own parameters and floating buffers, then those of the modules in it."""
    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if tensor.is_floating_point():
            yield Variable(name, tensor)
    for child in module.children():
        yield from variables_of(child)
