"""Tasks a network can be grown on, one file a stage. ``stages.get(name)`` gives a function that makes the `Task`."""

from tamiyo_train.tasks import digits as _digits  # noqa: F401  (registers itself)
from tamiyo_train.tasks.base import Split, Task, stages

__all__ = ["Split", "Task", "stages"]
