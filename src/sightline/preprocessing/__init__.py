"""Keras's older preprocessing: `preprocessing.image` has ImageDataGenerator. It loads no torch."""

from . import image as image

__all__ = ["image"]
