"""What a session adds up to: counts, percentiles, and, where asked for, one row a sample.

Everything here stays small however long a device runs, except the trace, which is for plots of short runs.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.meters import BoardStatus, Usage
from tamiyo_runtime.sources.base import Intake

_STEP = math.log(1.01)
_LEAST = 1e-9  # stands for 0 on the logarithmic scale
_ASIDE = 1024


class LatencyHistogram:
    """Counts on a logarithmic scale, 1 % a class: percentiles to within 0.5 % in constant memory.

    Values are put aside and sorted in by the thousand, since that is cheaper than one by one.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._aside = array("d")
        self._total = 0
        self._maximum = 0.0

    def add(self, value: float) -> None:
        """Count one value of 0 or more."""
        self._aside.append(value)
        if len(self._aside) >= _ASIDE:
            self._sort_in()

    @property
    def maximum(self) -> float:
        """The greatest value, 0 when there are none."""
        self._sort_in()
        return self._maximum

    def quantile(self, share: float) -> float | None:
        """The value below or at which that share of all values lies; None when there are none."""
        self._sort_in()
        rank = math.ceil(share * self._total)
        for index in sorted(self._counts):
            rank -= self._counts[index]
            if rank <= 0:
                return min(math.exp(index * _STEP), self._maximum)
        return None

    def absorb(self, other: LatencyHistogram) -> None:
        """Count what the other one has counted."""
        self._sort_in()
        other._sort_in()
        self._counts.update(other._counts)
        self._total += other._total
        self._maximum = max(self._maximum, other._maximum)

    def _sort_in(self) -> None:
        if not self._aside:
            return
        values = np.array(self._aside)
        del self._aside[:]
        self._total += len(values)
        self._maximum = max(self._maximum, float(values.max()))
        classes = np.rint(np.log(np.maximum(values, _LEAST)) / _STEP).astype(int)
        self._counts.update(classes.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One row a sample, in order. A skipped sample has ``option`` -1, latency NaN and energy 0.

    ``t_s``: since the start of the session. ``option``: index into ``configurations``. ``deadline_ms``: in force then,
    infinite when there was none. ``bucket``: fill of the energy bucket, 0..1. ``correct``: 1, 0, or -1 without a label.
    """

    configurations: tuple[str, ...]
    t_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    energy_uj: NDArray[np.float64]
    option: NDArray[np.int64]
    deadline_ms: NDArray[np.float64]
    bucket: NDArray[np.float64]
    slowdown: NDArray[np.float64]
    correct: NDArray[np.int64]


class TraceRecorder:
    """Collects a trace."""

    _FLOATS = ("t_s", "latency_ms", "energy_uj", "deadline_ms", "bucket", "slowdown")
    _INTEGERS = ("option", "correct")

    def __init__(self, configurations: tuple[str, ...]) -> None:
        self._configurations = configurations
        self._offset = 0
        self._floats = {name: array("d") for name in self._FLOATS}
        self._integers = {name: array("q") for name in self._INTEGERS}

    def reloaded(self, configurations: tuple[str, ...]) -> None:
        """Options count among these from now on: another bundle runs."""
        self._offset = len(self._configurations)
        self._configurations += configurations

    def add(self, *, option: int, correct: int, **floats: float) -> None:
        """One row, every column named."""
        self._integers["option"].append(option + self._offset if option >= 0 else option)
        self._integers["correct"].append(correct)
        for name, column in self._floats.items():
            column.append(floats[name])

    def finish(self) -> Trace:
        """The trace so far."""
        arrays = {name: np.array(column) for name, column in (*self._floats.items(), *self._integers.items())}
        return Trace(configurations=self._configurations, **arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What happened. Durations are on the board's clock; the two sources say what the figures are.

    ``failures``: configurations that failed and were given up.
    ``counts`` maps configurations to inferences, ``skips`` reasons to samples; ``energy_uj`` is that of inferences.
    ``energy_by_source`` says how much of it is what: with some of it estimated, ``energy_source`` is the estimate's.
    ``lost`` maps reasons to what a stream could not hand over. ``watched``: by which monitors; ``alarms``: of each.
    Percentiles are None when nothing ran, ``accuracy`` when no sample had a label.
    """

    bundle: str
    board: str
    source: str
    variant: str
    interpreter: str
    policy: str | None
    samples: int
    inferences: int
    labelled: int
    correct: int
    deadline_misses: int
    duration_s: float
    energy_uj: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    latency_source: Source | None
    energy_source: Source | None
    mode: Mode
    stopped_early: bool
    decisions: int
    policy_failures: int
    failures: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    skips: Mapping[str, int] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    alarms: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    energy_by_source: Mapping[str, float] = field(default_factory=dict)
    trace: Trace | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among the labelled samples that ran."""
        return self.correct / self.labelled if self.labelled else None

    @property
    def skipped(self) -> int:
        """Samples that did not run."""
        return sum(self.skips.values())

    @property
    def mean_power_mw(self) -> float | None:
        """Energy of the inferences over the duration; uJ / ms = mW."""
        return self.energy_uj / (self.duration_s * 1e3) if self.duration_s > 0 else None


class Tally:
    """The running counts behind a summary. ``counts`` are by option, ``skips`` by reason.

    ``names``: of the options. ``failures``: options that failed and are not run again.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.samples = self.inferences = self.labelled = self.correct = 0
        self.deadline_misses = self.policy_failures = self.failures = 0
        self.energy_uj = 0.0
        self.latency = LatencyHistogram()
        self.latency_source: Source | None = None
        self.energy_source: Source | None = None  # of the last inference
        self._energy_by_source: dict[Source, float] = {}
        self._told_apart_uj = 0.0
        self.counts = [0] * len(self.names)
        self.skips: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()
        self._absorbed: Counter[str] = Counter()

    def served(self, option: int, usage: Usage, correct: bool | None, *, missed: bool) -> None:
        """Count an inference of an option; ``correct`` None without a label, ``missed`` its deadline."""
        self.inferences += 1
        self.counts[option] += 1
        if usage.energy_source is not self.energy_source:
            self._tell_apart()
            self.energy_source = usage.energy_source
        self.energy_uj += usage.energy_uj
        self.latency.add(usage.latency_ms)
        self.latency_source = usage.latency_source
        self.deadline_misses += missed
        if correct is not None:
            self.labelled += 1
            self.correct += correct

    def absorb(self, other: Tally) -> None:
        """Add what the other one has counted, of other options perhaps."""
        for name in ("samples", "inferences", "labelled", "correct", "deadline_misses", "policy_failures", "failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.absorb(other.latency)
        self.latency_source = other.latency_source or self.latency_source
        self.skips.update(other.skips)
        self.alarms.update(other.alarms)
        self._absorbed.update(other.by_name())
        self._tell_apart()
        for source, energy_uj in other.energy_by_source().items():
            self._energy_by_source[Source(source)] = self._energy_by_source.get(Source(source), 0.0) + energy_uj
        self.energy_uj += other.energy_uj
        self._told_apart_uj = self.energy_uj
        self.energy_source = other.energy_source or self.energy_source

    def by_name(self) -> dict[str, int]:
        """Inferences by configuration, those that never ran left out."""
        own = {name: count for name, count in zip(self.names, self.counts, strict=True) if count}
        return dict(self._absorbed + Counter(own))

    def energy_by_source(self) -> dict[str, float]:
        """Energy so far by where its figures come from, uJ."""
        self._tell_apart()
        return {source.value: energy_uj for source, energy_uj in self._energy_by_source.items()}

    def weakest_energy_source(self) -> Source | None:
        """What may be said of the sum: measured only where all of it is."""
        self._tell_apart()
        return next((source for source in self._energy_by_source if source is not Source.MEASURED), self.energy_source)

    def _tell_apart(self) -> None:
        if self.energy_source is not None:
            before_uj = self._energy_by_source.get(self.energy_source, 0.0)
            self._energy_by_source[self.energy_source] = before_uj + self.energy_uj - self._told_apart_uj
        self._told_apart_uj = self.energy_uj


@dataclass(frozen=True, slots=True)
class Turn:
    """How things stand, a few times a second: for a status line, and to show a watchdog that the loop goes round.

    ``tally``: since the bundle that runs was loaded, or other limits were ordered; ``earlier``: samples before that.
    ``configuration``: what runs, None before the first inference. ``fill``: of the energy bucket, 0..1.
    """

    tally: Tally
    mode: Mode
    configuration: str | None
    fill: float
    status: BoardStatus
    intake: Intake | None
    earlier: int = 0
