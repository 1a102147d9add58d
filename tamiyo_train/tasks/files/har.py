"""The UCI data sets of waist-worn sensors as they unpack: HAR (2012, cut windows) and HAPT (2015, whole recordings).

HAR: ``train/`` and ``test/`` with ``y_*.txt``, ``subject_*.txt`` and ``Inertial Signals/total_acc_x_*.txt`` and so on,
a window of 128 samples a line. Its test users stay the test set; the others are dealt out.

HAPT: ``RawData/labels.txt`` (experiment, user, activity, first and last sample from 1) and ``acc_exp01_user01.txt``,
``gyro_exp01_user01.txt`` with three numbers a line. Windows of 128 samples, half overlapping, are cut from each label;
transitions (activities from 7) are left out.

Both: three axes of acceleration in g and three of angular rate in rad/s at 50 Hz, (6, 128); splits by user. Source: J.
Reyes-Ortiz, D. Anguita et al., UCI Machine Learning Repository, data sets 240 and 341, their README files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task
from tamiyo_train.tasks.files.base import LIMIT_BYTES, SEED, Format, formats, renumbered, spec_for, task_by_group
from tamiyo_train.tasks.grouped import check_apart, dealt

LENGTH = 128
STRIDE = 64
CLASSES = ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")
"""Activities 1 to 6 of both data sets, as their activity_labels.txt numbers them."""
_CHANNELS = tuple(f"{kind}_{axis}" for kind in ("total_acc", "body_gyro") for axis in "xyz")
_OF_TRAINING = {"train": 0.8, "gate": 0.1, "score": 0.1, "test": 0.0}


def numbers(path: Path, columns: int) -> NDArray[np.float64]:
    """A text file of ``columns`` numbers a line, (lines, columns); raises InputError naming the line."""
    text = read_bytes(path, limit_bytes=LIMIT_BYTES, what="data file").decode("ascii", "replace")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(field) for field in line.split()]
        except ValueError:
            raise InputError(
                f"{path}, line {number}: it holds something that is no number", hint="unpack the data set again"
            ) from None
        if len(row) != columns:
            raise InputError(
                f"{path}, line {number}: {len(row)} numbers, expected {columns}", hint="the file is cut off or another"
            )
        if not np.isfinite(row).all():
            raise InputError(f"{path}, line {number}: NaN or infinity", hint="mend or remove the line everywhere")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} is empty", hint="copy it again")
    return np.array(rows)


def _labels(found: NDArray[np.float64], path: Path, highest: int) -> NDArray[np.int64]:
    labels = found.astype(np.int64)
    wrong = np.flatnonzero((labels < 1) | (labels > highest) | (labels != found))
    if len(wrong):
        raise InputError(f"{path}, line {wrong[0] + 1}: {found[wrong[0]]:g} is no activity", hint=f"1 to {highest}")
    return labels


def _half(folder: Path, name: str) -> tuple[Split, NDArray[np.int64]]:
    """Windows and users of ``train`` or ``test`` of HAR."""
    inside = folder / name
    y_path = inside / f"y_{name}.txt"
    y = _labels(numbers(y_path, 1)[:, 0], y_path, len(CLASSES)) - 1
    users = numbers(inside / f"subject_{name}.txt", 1)[:, 0].astype(np.int64)
    channels = []
    for channel in _CHANNELS:
        path = inside / "Inertial Signals" / f"{channel}_{name}.txt"
        rows = numbers(path, LENGTH)
        if not len(rows) == len(y) == len(users):
            raise InputError(
                f"{path} has {len(rows)} windows; there are {len(y)} labels and {len(users)} users",
                hint="a file is cut off; unpack the data again",
            )
        channels.append(rows)
    return Split(x=np.stack(channels, axis=1).astype(np.float32), y=y), users


def read_har(folder: Path) -> Task:
    """UCI HAR as a task."""
    (given, trained), (test, tested) = _half(folder, "train"), _half(folder, "test")
    try:
        check_apart({"train": np.unique(trained).tolist(), "test": np.unique(tested).tolist()}, noun="user")
        members = dealt_for_training(np.unique(trained).tolist())
    except InputError as exc:
        raise InputError(f"{folder}: {exc.message}", hint=exc.hint) from exc
    members["test"] = np.unique(tested).tolist()
    samples = Split(x=np.concatenate([given.x, test.x]), y=np.concatenate([given.y, test.y]))
    return _task("har", folder, samples, np.concatenate([trained, tested]), members)


def dealt_for_training(users: list[int]) -> dict[str, list[int]]:
    """Training users dealt to train, gate and score: the fourth part that `dealt` makes joins the first."""
    members = dealt(users, _OF_TRAINING, noun="user", seed=SEED)
    members["train"] = sorted(members["train"] + members["test"])
    return members


def _windows(folder: Path) -> Iterator[tuple[NDArray[np.float64], int, int]]:
    """Windows (6, 128) with activity and user, by experiment."""
    path = folder / "labels.txt"
    table = numbers(path, 5).astype(np.int64)
    _labels(table[:, 2].astype(np.float64), path, 12)
    for experiment, user in np.unique(table[:, :2], axis=0):
        ending = f"exp{experiment:02d}_user{user:02d}.txt"
        kinds = [numbers(folder / f"{kind}_{ending}", 3) for kind in ("acc", "gyro")]
        length = min(map(len, kinds))
        signal = np.concatenate([kind[:length] for kind in kinds], axis=1).T
        for line in np.flatnonzero((table[:, 0] == experiment) & (table[:, 1] == user)):
            activity, first, last = (int(value) for value in table[line, 2:])
            if not 1 <= first <= last <= length:
                raise InputError(
                    f"{path}, line {line + 1}: samples {first} to {last} of {length} in acc_{ending}",
                    hint="the recording is cut off; unpack the data again",
                )
            if activity <= len(CLASSES):
                for start in range(first - 1, last - LENGTH + 1, STRIDE):
                    yield signal[:, start : start + LENGTH], activity - 1, int(user)


def read_hapt(folder: Path) -> Task:
    """UCI HAPT as a task."""
    windows = list(_windows(folder / "RawData"))
    if not windows:
        raise InputError(f"{folder}: no activity lasts {LENGTH} samples", hint="is labels.txt the right one?")
    x = np.stack([window for window, _, _ in windows]).astype(np.float32)
    y = np.array([activity for _, activity, _ in windows], np.int64)
    return _task("hapt", folder, Split(x=x, y=y), np.array([user for _, _, user in windows], np.int64), None)


def _task(
    name: str, folder: Path, samples: Split, users: NDArray[np.int64], members: dict[str, list[int]] | None
) -> Task:
    y, classes = renumbered(samples.y, CLASSES)
    spec = spec_for(samples.x, "CT")
    return task_by_group(
        name, folder, Split(x=samples.x, y=y), users, classes=classes, spec=spec, noun="user", members=members
    )


HAR = Format(
    name="har",
    what="the folder of UCI HAR: train/Inertial Signals, test/Inertial Signals",
    looks_like=lambda path: (path / "train" / "Inertial Signals").is_dir(),
    read=read_har,
)
HAPT = Format(
    name="hapt",
    what="the folder of UCI HAPT: RawData/labels.txt",
    looks_like=lambda path: (path / "RawData" / "labels.txt").is_file(),
    read=read_hapt,
)
for _format in (HAR, HAPT):
    formats.register(_format.name)(_format)
