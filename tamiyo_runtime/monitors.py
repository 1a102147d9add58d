"""Whether input and answers still look like the reference in the bundle: three watches, and a bound on false alarms.

After every inference each watch sees an event or none:

    range        a value of the sample lies outside all values of the reference, or is no finite number
    level        its values lie inside, but its mean or standard deviation does not: a dark, saturated or flat sensor
    confidence   the answer is less certain than nine tenths of this configuration's were

How often such an event may come while all is well follows from the reference, up to `MonitorSettings.doubt`; a
`Detector` a watch turns that into a bound on false alarms of all watches together. A second detector, looking the other
way, says when a watch rests again.

What this does not do: look at labels, or tell right answers from wrong ones. A change that leaves range, level and
certainty as they were is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.manifest import InputSpec, Manifest
from tamiyo_runtime.contracts.plan import Variant
from tamiyo_runtime.contracts.reference import Reference
from tamiyo_runtime.detector import Detector, at_odds, rate_bound

ALARM_ODDS = (3.0, 30.0)
"""Alternatives that the alarm is tuned for: events at these times the odds of what may be."""
REST_ODDS = 4.0
"""A watch does not rest while events come at these times the odds of what may be, or more."""
AGAIN, LONGEST = 10, 64
"""Multiples of a hold. While an alarm rests, other seeds run, so what raised it may be back at once."""


class Watch(StrEnum):
    """What is watched."""

    RANGE = "range"
    LEVEL = "level"
    CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """How watchful to be.

    ``false_alarm``: while all is well, the mean number of inferences to an alarm of any watch is this or more.
    ``doubt``: probability, over the draw of the reference, that the event rates are higher than what is taken for them.
    ``false_rest``: while events stay too frequent, the mean number of inferences until an alarmed watch rests is this
    or more. ``hold``: least number of inferences that an alarm lasts; twice as many as the last time when it comes
    again within AGAIN holds, up to LONGEST holds.
    """

    false_alarm: float = 1_000_000
    doubt: float = 0.01
    false_rest: float = 10_000
    hold: int = 256

    def __post_init__(self) -> None:
        require(self.false_alarm >= 1, "false_alarm", f"must be 1 or more, got {self.false_alarm}")
        require(0 < self.doubt < 0.5, "doubt", f"must be in (0, .5), got {self.doubt}")
        require(self.false_rest >= 1, "false_rest", f"must be 1 or more, got {self.false_rest}")
        require(self.hold >= 1, "hold", f"must be 1 or more, got {self.hold}")


@dataclass(frozen=True, slots=True)
class Change:
    """What an inference changed: watches that began to alarm, and watches that rest again."""

    alarmed: tuple[Watch, ...]
    rested: tuple[Watch, ...]


class Monitors:
    """The watches over one variant of one bundle. `of` builds them from a manifest.

    ``rates``: the bound on each watch's event rate; ``settings``: what they were built with.
    """

    def __init__(
        self,
        reference: Reference,
        spec: InputSpec,
        *,
        least_confidence: Sequence[float | None],
        settings: MonitorSettings | None = None,
    ) -> None:
        """``least_confidence``: that of each option, None where it is not known and so not watched."""
        self.settings = settings or MonitorSettings()
        self.rates = _rates(reference, least_confidence, self.settings.doubt)
        self._least = tuple(least_confidence)
        self._states = {watch: _State(rate, len(self.rates), self.settings) for watch, rate in self.rates.items()}
        self._range, self._level = self._states[Watch.RANGE], self._states[Watch.LEVEL]
        self._confidence = self._states.get(Watch.CONFIDENCE)
        # Everything is compared about the network's own offset: squares of small numbers lose no digits in float32.
        self._centre = np.float32(spec.offset)
        self._centred = np.empty(spec.shape, np.float32)
        self._flat = self._centred.reshape(-1)
        self._share = 1.0 / self._flat.size
        self._raw = tuple(float(np.float32(end) - self._centre) for end in (reference.raw.low, reference.raw.high))
        self._mean = (reference.mean.low - spec.offset, reference.mean.high - spec.offset)
        lowest = reference.deviation.low**2 if reference.deviation.low > 0 else -math.inf  # a variance rounds below 0
        self._variance = (lowest, reference.deviation.high**2)

    @classmethod
    def of(cls, manifest: Manifest, variant: Variant, settings: MonitorSettings | None = None) -> Monitors | None:
        """For the options of a variant, in their order; None when the bundle holds no reference."""
        if manifest.reference is None:
            return None
        known: Mapping[str, float] = manifest.reference.confidence.get(variant.id, {})
        least = [known.get(item.configuration) for item in variant.runnables]
        return cls(manifest.reference, manifest.input, least_confidence=least, settings=settings)

    @property
    def alarmed(self) -> tuple[Watch, ...]:
        """Watches that alarm now."""
        return tuple(watch for watch, state in self._states.items() if state.alarmed)

    def observe(self, sample: NDArray[Any], option: int, confidence: float) -> Change | None:
        """Take in an inference: raw sample, what ran, how certain its answer was. None when no watch changes."""
        out_of_range, off_level = self.look(sample)
        changed = self._range.step(out_of_range) | self._level.step(off_level)
        least = self._least[option]
        if least is not None and self._confidence is not None:
            changed |= self._confidence.step(not confidence >= least)  # not <: NaN is an event
        return self._change() if changed else None

    def look(self, sample: NDArray[Any]) -> tuple[bool, bool]:
        """Whether a raw sample is an event of range, and of level; one that is out of range is judged no further."""
        flat, (low, high) = self._flat, self._raw
        np.subtract(sample, self._centre, out=self._centred)
        if not (low <= np.minimum.reduce(flat) and np.maximum.reduce(flat) <= high):  # so that NaN is out of range
            return True, False
        mean = float(np.add.reduce(flat)) * self._share
        variance = float(np.dot(flat, flat)) * self._share - mean * mean
        (mean_low, mean_high), (least, most) = self._mean, self._variance
        return False, not (mean_low <= mean <= mean_high and least <= variance <= most)

    def delay(self, watch: Watch, rate: float) -> float:
        """Bound on the mean number of inferences to an alarm once events of a watch come independently at ``rate``."""
        return self._states[watch].alarm.delay(rate)

    def _change(self) -> Change:
        new = {watch: state.alarmed for watch, state in self._states.items() if state.steps == 0}
        return Change(tuple(w for w, alarmed in new.items() if alarmed), tuple(w for w, on in new.items() if not on))


class _State:
    """Of one watch. ``steps``: since it last changed, or began."""

    __slots__ = ("_hold", "_least", "_rested", "alarm", "alarmed", "rest", "steps")

    def __init__(self, rate: float, watches: int, settings: MonitorSettings) -> None:
        # The mean of all watches' detectors is one too: with a limit as many times as high for each, the first of all.
        limit = settings.false_alarm * watches
        self.alarm = Detector(rate, [at_odds(rate, factor) for factor in ALARM_ODDS], mean_steps=limit)
        self.rest = Detector(at_odds(rate, REST_ODDS), [rate], mean_steps=settings.false_rest)
        self._hold = self._least = settings.hold
        self._rested = self.alarmed = False
        self.steps = 0

    def step(self, event: bool) -> bool:
        """Take in one step; whether the watch changes by it."""
        self.steps += 1
        if not self.alarmed:
            if not self.alarm.observe(event):
                return False
            again = self._rested and self.steps <= AGAIN * self._hold
            self._hold = min(2 * self._hold, LONGEST * self._least) if again else self._least
            self.rest.reset()
        elif self.rest.observe(event) and self.steps >= self._hold:
            self._rested = True
            self.alarm.reset()
        else:
            return False
        self.alarmed, self.steps = not self.alarmed, 0
        return True


def _rates(reference: Reference, least: Sequence[float | None], doubt: float) -> dict[Watch, float]:
    """Bounds that hold all at once: the doubt is shared among range, level and each option's confidence."""
    options = sum(limit is not None for limit in least)
    share = doubt / (2 + options)
    ranks = {Watch.RANGE: reference.raw_rank, Watch.LEVEL: reference.level_rank}
    if options:
        ranks[Watch.CONFIDENCE] = reference.confidence_rank
    return {watch: rate_bound(rank, reference.samples, doubt=share) for watch, rank in ranks.items()}
