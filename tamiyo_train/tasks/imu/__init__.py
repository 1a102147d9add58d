"""Stage 6, activities from a worn sensor: `users` differ, `activities` are what is told apart, `sensor` watches."""

from tamiyo_train.tasks.imu.task import CLASSES, draw, imu, statistics

__all__ = ["CLASSES", "draw", "imu", "statistics"]
