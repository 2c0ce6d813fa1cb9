"""Sightline: convolutional networks that you can see, measure, rewrite and run.

Every public name is loaded when it is first used, so that `import sightline` answers at once and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import activations as activations
    from . import callbacks as callbacks
    from . import data as data
    from . import detectors as detectors
    from . import explain as explain
    from . import initializers as initializers
    from . import layers as layers
    from . import losses as losses
    from . import measure as measure
    from . import metrics as metrics
    from . import models as models
    from . import ops as ops
    from . import optimizers as optimizers
    from . import preprocessing as preprocessing
    from . import regularizers as regularizers
    from . import rewrite as rewrite
    from . import utils as utils
    from .architectures import create as create
    from .architectures import list_models as list_models
    from .architectures import segmenter as segmenter
    from .architectures.foreign import wrap as wrap
    from .errors import SightlineError as SightlineError
    from .initializers import Initializer as Initializer
    from .layers import Input as Input
    from .layers import Layer as Layer
    from .losses import Loss as Loss
    from .metrics import Metric as Metric
    from .models import Model as Model
    from .models import Sequential as Sequential
    from .models import load as load
    from .optimizers import Optimizer as Optimizer
    from .regularizers import Regularizer as Regularizer
    from .runs import CrossValidation as CrossValidation
    from .runs import Run as Run
    from .runs import cross_validate as cross_validate
    from .runs import train as train
    from .segmenting import TrainedSegmenter as TrainedSegmenter
    from .training.lr_finder import lr_find as lr_find
    from .tuning import Tuned as Tuned
    from .tuning import tune as tune

_MODULES = (
    "activations",
    "callbacks",
    "data",
    "detectors",
    "explain",
    "initializers",
    "layers",
    "losses",
    "measure",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "regularizers",
    "rewrite",
    "utils",
)
_NAMES = {
    "CrossValidation": "runs",
    "Initializer": "initializers",
    "Input": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Regularizer": "regularizers",
    "Run": "runs",
    "TrainedSegmenter": "segmenting",
    "Sequential": "models",
    "SightlineError": "errors",
    "create": "architectures",
    "cross_validate": "runs",
    "list_models": "architectures",
    "load": "models",
    "lr_find": "training.lr_finder",
    "segmenter": "architectures",
    "train": "runs",
    "Tuned": "tuning",
    "tune": "tuning",
    "wrap": "architectures.foreign",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    from .keras_only import missing

    raise missing("", name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
