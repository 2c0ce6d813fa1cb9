"""The search for hyperparameters: trials over folds, bad ones stopped early, the answer measured on images that no trial saw."""

from .search import Tuned, tune

__all__ = ["Tuned", "tune"]
