"""Stage 3: beats of a simulated single-lead electrocardiogram, told apart across patients.

A sample is a window of two seconds with an R peak in its middle, as a detector would cut it: (1, 256) millivolt at
128 Hz. 64 patients have 6 windows of each of 13 classes, so classes are balanced in every split; 40 patients train, 6
decide about seeds, 6 price the outcome and 12 test. No patient is in two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples, stages
from tamiyo_train.tasks.ecg.model import STEP_HZ, Breathing, integrate
from tamiyo_train.tasks.ecg.patients import SEED, generator_of, patient
from tamiyo_train.tasks.ecg.recorder import LIMIT_MV, RATE_HZ, recorded
from tamiyo_train.tasks.ecg.rhythms import RHYTHMS, score
from tamiyo_train.tasks.generated import within
from tamiyo_train.tasks.grouped import by_group

CLASSES = tuple(RHYTHMS)
LENGTH = 256
SPEC = InputSpec(shape=(1, LENGTH), layout="CT", offset=0.0, scale=1.0, raw_low=-LIMIT_MV, raw_high=LIMIT_MV)
WINDOWS = 6
"""A patient's of each class."""
MEMBERS = {"train": range(40), "gate": range(40, 46), "score": range(46, 52), "test": range(52, 64)}
_BEATS, _CENTRE = 15, 7
"""Of a strip: enough for a second on both sides at the fastest rate."""
_JITTER_S = 0.03
"""How far a detector's idea of an R peak may lie beside it."""


def draw(
    patients: Sequence[int], *, windows: int = WINDOWS, noise: float = 1.0, seed: int = SEED
) -> tuple[Split, NDArray[np.int64]]:
    """``windows`` of every class from each patient, and whose each is, (N,). A patient's do not depend on the others.

    ``noise`` scales white noise, muscles and mains. Raises SchemaError.
    """
    within("windows", windows, 1, 1000)
    within("noise", noise, 0, 10)
    addresses = [
        (number, kind, strip) for number in patients for kind in range(len(CLASSES)) for strip in range(windows)
    ]
    people = {number: patient(number, seed=seed) for number in patients}
    generators = [generator_of(*address, seed=seed) for address in addresses]
    scores = [
        score(people[number], RHYTHMS[CLASSES[kind]], _BEATS, centre=_CENTRE, rng=rng)
        for (number, kind, _), rng in zip(addresses, generators, strict=True)
    ]
    intervals = np.stack([item.intervals_s for item in scores])
    jitter = np.array([rng.uniform(-_JITTER_S, _JITTER_S) for rng in generators])
    potentials = integrate(
        intervals,
        np.stack([item.waves for item in scores]),
        start_s=intervals[:, :_CENTRE].sum(axis=1) - LENGTH / RATE_HZ / 2 + jitter,
        steps=LENGTH * STEP_HZ // RATE_HZ,
        breathing=Breathing(
            height_mv=np.array([people[number].breathing_mv for number, _, _ in addresses]),
            rate_hz=np.array([people[number].breathing_hz for number, _, _ in addresses]),
            phase=np.array([rng.uniform(0, 2 * np.pi) for rng in generators]),
        ),
    )
    rows = [
        recorded(potential, people[number], fibrillation_mv=item.fibrillation_mv, noise=noise, rng=rng)
        for potential, (number, _, _), item, rng in zip(potentials, addresses, scores, generators, strict=True)
    ]
    labels = np.array([kind for _, kind, _ in addresses], np.int64)
    return Split(x=np.stack(rows)[:, None], y=labels), np.array([number for number, _, _ in addresses], np.int64)


@stages.register("ecg")
def ecg() -> Task:
    """The task with 64 patients."""
    drawn, owners = draw([number for members in MEMBERS.values() for number in members])
    check_samples(drawn.x, drawn.y, spec=SPEC, classes=len(CLASSES))
    parts = by_group(drawn, owners, MEMBERS, noun="patient")
    return Task(
        name="ecg",
        classes=CLASSES,
        input=SPEC,
        metric="macro-auc",
        train=parts["train"],
        gate=parts["gate"],
        score=parts["score"],
        test=parts["test"],
    )
