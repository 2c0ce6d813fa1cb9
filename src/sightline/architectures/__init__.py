"""Networks by name: one file a family, and `create`, which makes the Model."""

from .registry import create, list_models

__all__ = ["create", "list_models"]
