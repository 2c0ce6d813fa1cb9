"""Where a network is joined to data: its inputs and outputs by name, and what a person gives for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import ArgumentError, did_you_mean
from ..graph.network import Network
from ..graph.symbolic import Value


@dataclass(frozen=True)
class Ports:
    """The inputs by the names of their layers, and the names of the outputs: of their layers, or keys of a dict."""

    inputs: dict[str, Value]
    outputs: tuple[str, ...]


def ports_of(network: Network) -> Ports:
    """A network's ports."""
    inputs = [node for node in network.graph.nodes if node.op == "placeholder"]
    structure = network.graph.output_node().args[0]
    if isinstance(structure, dict):
        outputs = list(structure)
    else:
        nodes = [structure] if not isinstance(structure, (list, tuple)) else list(structure)
        outputs = [_layer_name(node) for node in nodes]
    values = dict(zip([node.meta["layer"] for node in inputs], network.inputs, strict=True))
    return Ports(values, tuple(_distinct(outputs)))


def _layer_name(node: Any) -> str:
    while "layer" not in node.meta:  # one of several results of a layer
        node = node.args[0]
    return node.meta["layer"]


def _distinct(names: Sequence[str]) -> Iterator[str]:
    """Two outputs of one layer are numbered, the second name_1."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{seen[name]}" if seen[name] else name


def arranged(given: Any, names: Sequence[str], what: str, *, optional: bool = False) -> tuple[Any, ...]:
    """What is given, for each name in order: a list or tuple of as many, a dict by name, or, for one name, the thing itself.

    `optional`: a dict may leave names out, which are None then. Raises ArgumentError with the names otherwise.
    """
    if isinstance(given, dict):
        for name in given:
            if name not in names:
                raise ArgumentError(f"There is no {name!r} among the {what}", fix=did_you_mean(str(name), names))
        missing = [name for name in names if name not in given]
        if missing and not optional:
            raise ArgumentError(f"The {what} lack {missing[0]!r}", expected=f"{what} for {', '.join(names)}")
        return tuple(given.get(name) for name in names)
    if len(names) == 1:
        alone = isinstance(given, (list, tuple)) and len(given) == 1 and hasattr(given[0], "shape")
        return (given[0] if alone else given,)
    if isinstance(given, (list, tuple)) and len(given) == len(names):
        return tuple(given)
    received = f"{len(given)} of them" if isinstance(given, (list, tuple)) else type(given).__name__
    raise ArgumentError(f"The {what} must be one for each of {', '.join(names)}", received=received)


def flat(answers: Any) -> tuple[torch.Tensor, ...]:
    """A network's answers in the order of its outputs' names."""
    if isinstance(answers, dict):
        return tuple(answers.values())
    return tuple(answers) if isinstance(answers, (list, tuple)) else (answers,)
