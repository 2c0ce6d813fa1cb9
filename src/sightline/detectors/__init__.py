"""Finding objects: with a classifier, slid over the picture or as a fully convolutional network, and with what was trained to."""

from .base import Detector
from .dense import DenseDetector
from .sliding import SlidingWindowDetector
from .trained import TrainedDetector

__all__ = ["DenseDetector", "Detector", "SlidingWindowDetector", "TrainedDetector"]
