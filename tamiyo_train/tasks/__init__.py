"""Tasks a network can be grown on, one file a stage. ``stages.get(name)`` gives a function that makes the `Task`."""

from tamiyo_train.tasks import (  # noqa: F401  (they register themselves)
    captions,
    checkerboard,
    clusters,
    digits,
    digits_c,
    ecg,
    imu,
    language,
    mnist1d,
    moons,
    spheres,
    spirals,
    xor,
)
from tamiyo_train.tasks.base import Augmentation, Split, Task, stages

__all__ = ["Augmentation", "Split", "Task", "stages"]
