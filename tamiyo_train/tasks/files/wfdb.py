"""A folder of WFDB electrocardiogram records with beat annotations, such as the MIT-BIH Arrhythmia Database.

Beats become the five classes of ANSI/AAMI EC57 that are there: N (normal and bundle branch blocks), S (early from above
the ventricles), V (ventricular), F (fusion), Q (paced and unknown). A sample is two seconds of the first signal round a
beat, resampled to 128 Hz, less the record's median. Beats whose window leaves the record are left out.

A record is taken for a patient of its own and patients are dealt out. ``split.csv`` in the folder says otherwise, in
lines ``record,patient,split``; split is train, gate, score or test.
"""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task
from tamiyo_train.tasks.files.base import Format, formats, renumbered, spec_for, task_by_group
from tamiyo_train.tasks.files.wfdb_files import Header, read_annotations, read_header, read_signal
from tamiyo_train.tasks.grouped import SPLITS

RATE_HZ = 128
LENGTH = 256
CLASSES = ("N", "S", "V", "F", "Q")
_CODES = {"N": (1, 2, 3, 11, 25, 34), "S": (4, 7, 8, 9, 35), "V": (5, 10), "F": (6,), "Q": (12, 13, 38)}
"""Codes of annot(5) by class."""
_CLASS_OF = {code: CLASSES.index(name) for name, codes in _CODES.items() for code in codes}
_SPLIT = "split.csv"


def beats_of(folder: Path, name: str) -> Split:
    """The beats of one record: windows (N, 1, 256) in mV and classes. Raises InputError naming file and place."""
    header = read_header(folder / f"{name}.hea")
    signal = read_signal(folder, header)
    notes = read_annotations(folder / f"{name}.atr")
    if len(notes.at) and not 0 <= notes.at.min() <= notes.at.max() < len(signal):
        raise InputError(
            f"{folder / name}.atr: a beat at sample {notes.at.max()}, the signal has {len(signal)}",
            hint="annotations and signals are of different records",
        )
    wanted = np.isin(notes.code, list(_CLASS_OF))
    centres = np.rint(notes.at[wanted] * RATE_HZ / header.rate_hz).astype(int)
    labels = np.array([_CLASS_OF[code] for code in notes.code[wanted].tolist()], np.int64)
    even = _resampled(signal - np.median(signal), header)
    inside = (centres >= LENGTH // 2) & (centres + LENGTH // 2 <= len(even))
    rows = centres[inside, None] + np.arange(-(LENGTH // 2), LENGTH // 2)
    return Split(x=even[rows][:, None].astype(np.float32), y=labels[inside])


def _resampled(signal: NDArray[np.float64], header: Header) -> NDArray[np.float64]:
    from scipy.signal import resample_poly  # type: ignore[import-untyped]  # scipy, of scikit-learn, ships no types

    ratio = Fraction(RATE_HZ / header.rate_hz).limit_denominator(1000)
    result: NDArray[np.float64] = resample_poly(signal, ratio.numerator, ratio.denominator)
    return result


def read(folder: Path) -> Task:
    """All records of a folder as a task."""
    names = sorted(path.stem for path in folder.glob("*.hea"))
    people, members = _placed(folder, names)
    beats = [beats_of(folder, name) for name in names]
    y, classes = renumbered(np.concatenate([part.y for part in beats]), CLASSES)
    x = np.concatenate([part.x for part in beats])
    owners = np.concatenate(
        [np.full(len(part), people[name], np.int64) for name, part in zip(names, beats, strict=True)]
    )
    return task_by_group(
        "wfdb",
        folder,
        Split(x=x, y=y),
        owners,
        classes=classes,
        spec=spec_for(x, "CT"),
        noun="patient",
        members=members,
        metric="macro-auc",
    )


def _placed(folder: Path, names: list[str]) -> tuple[dict[str, int], dict[str, list[int]] | None]:
    """Number of the patient by record, and patients by split if the folder says so."""
    path = folder / _SPLIT
    if not path.is_file():
        return {name: number for number, name in enumerate(names)}, None
    text = read_bytes(path, limit_bytes=1 << 20, what="split file").decode("utf-8-sig", "replace")
    patients: dict[str, int] = {}
    home: dict[str, str] = {}
    people: dict[str, int] = {}
    for line, row in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), 1):
        if not row or row[0] == "record":
            continue
        if len(row) != 3 or row[2] not in SPLITS or row[0] not in names:
            raise InputError(
                f"{path}, line {line}: '{','.join(row)[:60]}' is no 'record,patient,split'",
                hint=f"split is one of {', '.join(SPLITS)}; records: {', '.join(names[:8])}",
            )
        record, patient, split = row
        if home.setdefault(patient, split) != split:
            raise InputError(
                f"{path}, line {line}: patient {patient} is in split '{home[patient]}' and in split '{split}'",
                hint="a network would be tested on whom it was trained on: put each patient on one side",
            )
        people[record] = patients.setdefault(patient, len(patients))
    left = sorted(set(names) - set(people))
    if left:
        raise InputError(f"{path}: record {left[0]} is in no line", hint="one line a record: record,patient,split")
    return people, {split: [patients[patient] for patient in home if home[patient] == split] for split in SPLITS}


WFDB = Format(
    name="wfdb",
    what="a folder of WFDB records: NAME.hea, NAME.dat and NAME.atr",
    looks_like=lambda path: path.is_dir() and any(path.glob("*.hea")),
    read=read,
)
formats.register("wfdb")(WFDB)
