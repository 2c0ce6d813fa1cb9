"""Faults on purpose, so that what survives them can be tested: $SIGHTLINE_FAULT, such as "oom@7" or "oom@7.120,oom@9".

"oom@STEP" lets memory run out in that step of training (from 0) before its first operation, "oom@STEP.N" before its N-th
(forward, backward and update count on; a step that has fewer has none).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ArgumentError

VARIABLE = "SIGHTLINE_FAULT"


class Faults:
    """The faults that are still to come. Each happens once."""

    def __init__(self, asked: str | None = None):
        self._places: dict[int, list[int]] = {}
        for word in filter(None, (asked if asked is not None else os.environ.get(VARIABLE, "")).split(",")):
            found = re.fullmatch(r"oom@(\d+)(?:\.(\d+))?", word.strip())
            if found is None:
                raise ArgumentError(
                    f"${VARIABLE} is of another kind", expected="oom@STEP or oom@STEP.OPERATION", received=word
                )
            self._places.setdefault(int(found[1]), []).append(int(found[2] or 0))

    def around(self, step: int) -> AbstractContextManager[Any]:
        """Around one attempt at a step: in it happens the step's next fault, if it has one."""
        places = self._places.get(step)
        return _OutOfMemory(places.pop(0)) if places else nullcontext()


class _OutOfMemory(TorchDispatchMode):
    def __init__(self, left: int):
        super().__init__()
        self._left = left

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self._left == 0:
            self._left = -1
            raise torch.OutOfMemoryError(f"${VARIABLE}: memory runs out here, on purpose")
        self._left -= 1
        return func(*args, **(kwargs or {}))
