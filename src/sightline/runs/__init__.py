"""A run on disk: its settings, its folder, and train, evaluate and predict as one call each."""

from .cross_validation import CrossValidation, cross_validate
from .run import Run
from .training import train

__all__ = ["CrossValidation", "Run", "cross_validate", "train"]
