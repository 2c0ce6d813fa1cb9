"""Networks by name: one file a family, `create`, which makes the Model, and `segmenter`, which makes one that segments."""

from .registry import create, list_models
from .segmenters import SEGMENTERS, segmenter

__all__ = ["SEGMENTERS", "create", "list_models", "segmenter"]
