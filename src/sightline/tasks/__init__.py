"""Tasks: the only place that knows both a network's output and a person's labels."""

from .base import Measures, Task
from .classify import Classify
from .detect import Detect
from .localize import Localize
from .segment import Segment

TASKS: dict[str, type[Task]] = {"classify": Classify, "localize": Localize, "detect": Detect, "segment": Segment}

__all__ = ["TASKS", "Measures", "Task"]
