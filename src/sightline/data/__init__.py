"""From files to batches: formats, checks, splits, decoding, caches, augmentation, loading. Names are loaded when they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contact_sheet import preview as preview
    from .findings import Check as Check
    from .recipes import Augmentation as Augmentation
    from .scene_files import write_scenes as write_scenes
    from .scenes import make_scenes as make_scenes
    from .sources import read as read
    from .sources import write as write
    from .splits import with_splits as with_splits
    from .survey import check as check

_NAMES = {
    "Augmentation": "recipes",
    "Check": "findings",
    "check": "survey",
    "make_scenes": "scenes",
    "preview": "contact_sheet",
    "read": "sources",
    "with_splits": "splits",
    "write": "sources",
    "write_scenes": "scene_files",
}

__all__ = [*_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
