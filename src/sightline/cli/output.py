"""How commands say what they found: JSON, and the files that were left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ..console import complain

if TYPE_CHECKING:
    from ..structures import Problem


def is_first() -> bool:
    """Whether this is the only process, or the first that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def print_json_list(name: str, items: Iterable[Any], others: Callable[[], dict[str, Any]]) -> None:
    """One object with a list, printed item by item as they come, and what is known only then."""
    items = iter(items)
    first = list(islice(items, 1))  # what goes wrong at once is told alone
    print(f'{{"{name}": [', end="")
    for number, item in enumerate(chain(first, items)):
        print("," if number else "", json.dumps(item, indent=1), sep="\n", end="")
    print("\n]", end="")
    for key, value in others().items():
        print(f",\n{json.dumps(key)}: {json.dumps(value, indent=1)}", end="")
    print("}")


def as_rows(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"path": str(problem.path), "reason": problem.reason} for problem in problems]


def tell(problems: list[Problem]) -> None:
    for problem in problems:
        complain(f"left out: {problem}")
