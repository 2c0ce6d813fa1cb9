"""A run on disk: its settings, its folder, and train, evaluate and predict as one call each."""

from .run import Run
from .training import train

__all__ = ["Run", "train"]
