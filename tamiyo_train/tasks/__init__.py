"""Tasks a network can be grown on, one file a stage. ``stages.get(name)`` gives a function that makes the `Task`."""

from tamiyo_train.tasks import digits as _digits  # noqa: F401  (registers itself)
from tamiyo_train.tasks import spirals as _spirals  # noqa: F401
from tamiyo_train.tasks.base import Augmentation, Split, Task, stages

__all__ = ["Augmentation", "Split", "Task", "stages"]
