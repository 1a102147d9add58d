"""When messages of a fleet come up, for any stretch of time by itself: nothing before it has to be drawn.

A periodic message k of a device is due at ``(phase + k) period`` and late by ``jitter u(k)``. A Poisson process is
drawn in cells of one period: how many messages in a cell, by the Poisson law of mean 1, and where in it. So a run may
be cut into windows, and windows shared among processes, without a change of a bit.

A clock that drifts stretches the time its device goes by; hours of rest and brown-outs leave messages out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulators.lorawan.reception import Bools
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms

HOUR_S = 3600.0
DAY_S = 86_400.0
_MOST_A_CELL = 16  # more than 15 come up once in 5e13 cells
_LAW = np.cumsum([math.exp(-1.0) / math.factorial(count) for count in range(_MOST_A_CELL - 1)])
_SLACK_S = 1e-3
_NEVER_S = 1e18


def active_s(active_h: tuple[float, float] | None, until_s: float) -> float:
    """Seconds from the run's first midnight to ``until_s`` that lie within hours of the day; all, for None."""
    if active_h is None:
        return until_s
    from_s, to_s = (hour * HOUR_S for hour in active_h)
    days, rest_s = divmod(until_s, DAY_S)
    return days * (to_s - from_s) + min(max(rest_s - from_s, 0.0), to_s - from_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Clocks that lose ``rate`` seconds a second, (devices,), from ``start_s`` to ``end_s``; 0 is a right clock."""

    rate: Floats
    start_s: float
    end_s: float

    def told(self, when_s: Floats, device: Ints | slice) -> Floats:
        """True time at which a clock shows ``when_s``."""
        late: Floats = when_s + self.rate[device] * (np.clip(when_s, self.start_s, self.end_s) - self.start_s)
        return late

    def shown(self, when_s: Floats) -> Floats:
        """(devices,) what clocks show at true times, one a device."""
        during = self.start_s + (when_s - self.start_s) / (1.0 + self.rate)
        lost_s = self.rate * (min(self.end_s, _NEVER_S) - self.start_s)
        return np.where(when_s <= self.start_s, when_s, np.where(during <= self.end_s, during, when_s - lost_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The law of each device's messages, (devices,) each; ``numbers`` address their draws. ``active_h``: hours of the
    day, None for all of them."""

    seed: int
    numbers: Ints
    period_s: Floats
    jitter_s: Floats
    poisson: Bools
    duration_s: float
    active_h: tuple[float, float] | None = None
    drifts: tuple[Drift, ...] = ()

    def between(self, start_s: float, end_s: float) -> tuple[Ints, Ints, Floats]:
        """Messages that come up from ``start_s`` to before ``end_s``: place of the device, number, time.

        In order of devices, and of time for each. Numbers of Poisson messages have gaps.
        """
        since, until = self._shown(max(start_s, 0.0)), self._shown(min(end_s, self.duration_s))
        parts = [self._periodic(since, until), self._poisson(since, until)]
        device, number, when = (np.concatenate(column) for column in zip(*parts, strict=True))
        for drift in self.drifts:
            when = drift.told(when, device)
        kept = (when >= start_s) & (when < end_s) & (when >= 0) & (when < self.duration_s)
        if self.active_h is not None:
            hour = when % DAY_S / HOUR_S
            kept &= (hour >= self.active_h[0]) & (hour < self.active_h[1])
        device, number, when = device[kept], number[kept], when[kept]
        if bool(self.poisson.any()):
            order = np.lexsort((when, device))
            return device[order], number[order], when[order]
        return device, number, when

    def expected(self) -> float:
        """Messages of the whole run, on average."""
        return float((active_s(self.active_h, self.duration_s) / self.period_s).sum())

    def _shown(self, when_s: float) -> Floats:
        shown = np.full(self.numbers.size, when_s)
        for drift in reversed(self.drifts):
            shown = drift.shown(shown)
        return shown

    def _periodic(self, since: Floats, until: Floats) -> tuple[Ints, Ints, Floats]:
        some = np.flatnonzero(~self.poisson)
        period, jitter = self.period_s[some], self.jitter_s[some]
        phase = uniforms(self.seed, Purpose.PHASE, self.numbers[some], 0)[0]
        first = np.maximum(np.ceil((since[some] - jitter - _SLACK_S) / period - phase), 0).astype(np.int64)
        last = np.floor((until[some] + _SLACK_S) / period - phase).astype(np.int64)
        row, number = _ranges(first, last + 1)
        when = (phase[row] + number) * period[row]
        if bool(jitter.any()):
            when = when + jitter[row] * uniforms(self.seed, Purpose.GAP, self.numbers[some][row], number)[0]
        return some[row], number, when

    def _poisson(self, since: Floats, until: Floats) -> tuple[Ints, Ints, Floats]:
        some = np.flatnonzero(self.poisson)
        period = self.period_s[some]
        first = np.maximum(np.floor((since[some] - _SLACK_S) / period), 0).astype(np.int64)
        row, cell = _ranges(first, np.floor((until[some] + _SLACK_S) / period).astype(np.int64) + 1)
        count = np.searchsorted(_LAW, uniforms(self.seed, Purpose.GAP, self.numbers[some][row], cell)[0], "right")
        which, place = _ranges(np.zeros(row.size, np.int64), count)
        row, number = row[which], cell[which] * _MOST_A_CELL + place
        where = uniforms(self.seed, Purpose.GAP, self.numbers[some][row], number, salt=1)[0]
        return some[row], number, (cell[which] + where) * period[row]


def _ranges(first: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Every integer from ``first[i]`` to before ``end[i]``, and its i."""
    count = np.maximum(end - first, 0)
    row = np.repeat(np.arange(count.size), count)
    begins = np.cumsum(count) - count
    return row, np.arange(row.size) - begins[row] + first[row]
