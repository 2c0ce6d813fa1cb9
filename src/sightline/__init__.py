"""Sightline: convolutional networks that you can see, measure, rewrite and run.

Every public name is loaded when it is first used, so that `import sightline` answers at once and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import callbacks as callbacks
    from . import layers as layers
    from . import losses as losses
    from . import measure as measure
    from . import metrics as metrics
    from . import models as models
    from . import optimizers as optimizers
    from . import rewrite as rewrite
    from . import utils as utils
    from .architectures import create as create
    from .architectures import list_models as list_models
    from .errors import SightlineError as SightlineError
    from .layers import Input as Input
    from .models import Model as Model
    from .models import Sequential as Sequential
    from .models import load as load
    from .runs import Run as Run
    from .runs import train as train

_MODULES = ("callbacks", "layers", "losses", "measure", "metrics", "models", "optimizers", "rewrite", "utils")
_NAMES = {
    "Input": "layers",
    "Model": "models",
    "Run": "runs",
    "Sequential": "models",
    "SightlineError": "errors",
    "create": "architectures",
    "list_models": "architectures",
    "load": "models",
    "train": "runs",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    from .errors import did_you_mean

    raise AttributeError(f"sightline has no {name!r}. {did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
