"""Tasks: the only place that knows both a network's output and a person's labels."""

from .base import Measures, Task
from .classify import Classify

TASKS: dict[str, type[Task]] = {"classify": Classify}

__all__ = ["TASKS", "Measures", "Task"]
