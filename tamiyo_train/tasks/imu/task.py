"""Stage 6: what somebody does, from a simulated accelerometer and gyroscope at the waist, told across users.

A sample is a window of 2.56 s: (6, 128), three axes of acceleration in g and three of angular rate in rad/s at 50 Hz.
72 users have 12 windows of each of 6 activities; 42 train, 8 decide about seeds, 8 price the outcome and 14 test. No
user is in two of them. Split and window follow UCI HAR and HAPT (J. Reyes-Ortiz, D. Anguita et al., 2012 and 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples, stages
from tamiyo_train.tasks.generated import within
from tamiyo_train.tasks.grouped import by_group
from tamiyo_train.tasks.imu.activities import ACTIVITIES, motion
from tamiyo_train.tasks.imu.sensor import LIMITS, sensed
from tamiyo_train.tasks.imu.users import SEED, generator_of, user

CLASSES = tuple(ACTIVITIES)
LENGTH = 128
SPEC = InputSpec(shape=(6, LENGTH), layout="CT", offset=0.0, scale=1.0, raw_low=-LIMITS.max(), raw_high=LIMITS.max())
WINDOWS = 12
"""A user's of each activity."""
MEMBERS = {"train": range(42), "gate": range(42, 50), "score": range(50, 58), "test": range(58, 72)}


def draw(
    users: Sequence[int], *, windows: int = WINDOWS, noise: float = 1.0, spread: float = 1.0, seed: int = SEED
) -> tuple[Split, NDArray[np.int64]]:
    """``windows`` of every activity from each user, and whose each is, (N,). A user's do not depend on the others.

    ``noise`` scales noise, bias and lost packets, ``spread`` how differently users wear the sensor. Raises SchemaError.
    """
    within("windows", windows, 1, 1000)
    within("noise", noise, 0, 10)
    within("spread", spread, 0, 4)
    rows, labels, owners = [], [], []
    for number in users:
        person = user(number, spread=spread, seed=seed)
        for label, activity in enumerate(ACTIVITIES.values()):
            for window in range(windows):
                rng = generator_of(number, label, window, seed=seed)
                force, rate = motion(person, activity, LENGTH, rng=rng)
                rows.append(sensed(force, rate, person, noise=noise, rng=rng))
                labels.append(label)
                owners.append(number)
    return Split(x=np.stack(rows), y=np.array(labels, np.int64)), np.array(owners, np.int64)


@stages.register("imu")
def imu() -> Task:
    """The task with 72 users."""
    drawn, owners = draw([number for members in MEMBERS.values() for number in members])
    check_samples(drawn.x, drawn.y, spec=SPEC, classes=len(CLASSES))
    parts = by_group(drawn, owners, MEMBERS, noun="user")
    return Task(
        name="imu",
        classes=CLASSES,
        input=SPEC,
        train=parts["train"],
        gate=parts["gate"],
        score=parts["score"],
        test=parts["test"],
    )


def statistics(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean, standard deviation and mean absolute difference of each channel, (N, 18): what a linear baseline reads."""
    steps = np.abs(np.diff(x, axis=2)).mean(axis=2)
    return np.concatenate([x.mean(axis=2), x.std(axis=2), steps], axis=1)
