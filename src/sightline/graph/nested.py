"""Walks over nested lists, tuples and dicts, for whatever kind of thing one looks for in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def each(kind: type[T], structure: Any) -> Iterator[T]:
    """Every instance of `kind`, in order."""
    if isinstance(structure, kind):
        yield structure
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            yield from each(kind, item)
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from each(kind, item)


def mapped(kind: type[T], function: Callable[[T], Any], structure: Any) -> Any:
    """The structure with `function` applied to every instance of `kind`; all else stays."""
    if isinstance(structure, kind):
        return function(structure)
    if isinstance(structure, (list, tuple)):
        return type(structure)(mapped(kind, function, item) for item in structure)
    if isinstance(structure, dict):
        return {key: mapped(kind, function, item) for key, item in structure.items()}
    return structure
