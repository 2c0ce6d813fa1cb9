"""Where random layers get their numbers: from torch's own generator or, with a `seed`, from one made for each call.

A seeded layer counts its calls and makes a generator of (seed, call): what it draws then depends on nothing else that
draws, and a layer made again draws the same again. Few numbers are drawn on the CPU, so that they do not depend on
the device either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from ..errors import ArgumentError


def checked_seed(seed: object, where: str) -> int | None:
    """None, or any whole number; raises ArgumentError otherwise."""
    if seed is None or (isinstance(seed, int) and not isinstance(seed, bool)):
        return seed
    raise ArgumentError(f"{where}: seed is a whole number or None", received=repr(seed))


def generator(seed: int | None, call: int, device: torch.device | str = "cpu") -> torch.Generator | None:
    """The generator of a seeded layer's `call`-th draw on `device`; without a seed None, torch's own."""
    if seed is None:
        return None
    # A digest, since neighbouring seeds must not give related numbers and Python's hash may change with its version
    digest = hashlib.blake2b(f"{seed} {call}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)


def uniform(shape: Sequence[int], low: float, high: float, source: torch.Generator | None) -> torch.Tensor:
    """float32 numbers in [low, high) of this shape, on the CPU."""
    return torch.rand(tuple(shape), generator=source, device="cpu", dtype=torch.float32) * (high - low) + low


def whole_below(limit: int, source: torch.Generator | None) -> torch.Tensor:
    """One whole number in [0, limit), on the CPU."""
    return torch.randint(limit, (), generator=source, device="cpu")
