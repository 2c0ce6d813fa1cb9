"""Finding objects with a classifier: slid over the picture, or as a fully convolutional network."""

from .base import Detector
from .dense import DenseDetector
from .sliding import SlidingWindowDetector

__all__ = ["DenseDetector", "Detector", "SlidingWindowDetector"]
