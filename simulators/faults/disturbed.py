"""A source behind a faulty sensor: within the fault's time, samples come out as `simulators.faults.sensor` has it.

``stuck`` is the fault of time that is no function of one sample: the last good one is given again and again. Labels
stay, so that the accuracy of what the board answers falls as it would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace

import numpy as np

from simulators.faults.clock import true_s
from simulators.faults.rig import Rig, Samples
from simulators.faults.sensor import FAULTS
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.sources.base import Array, Sample, Source

STUCK = "stuck"


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorFault:
    """A sensor fault by name from ``at_s`` for ``for_s``, in the world's time."""

    name: str
    at_s: float
    for_s: float

    def built_into(self, rig: Rig) -> Rig:
        """The rig with this fault between sensor and board."""
        return replace(rig, source=(*rig.source, self._wrapped))

    def at_work(self, now_s: float) -> bool:
        """Whether it disturbs now."""
        return self.at_s <= now_s < self.at_s + self.for_s

    def _wrapped(self, source: Samples, spec: InputSpec, clock: VirtualClock, seed: int) -> Samples:
        if not isinstance(source, Sized):
            raise UsageError(f"{source.label} is a stream: sensor faults are for recordings", hint="--source bundle")
        return Disturbed(source, self, spec, clock, seed)


class Disturbed:
    """A `Source`; a sample is disturbed when its fault is at work at the time at which it is fetched."""

    def __init__(self, source: Source, fault: SensorFault, spec: InputSpec, clock: VirtualClock, seed: int) -> None:
        self.label = f"{source.label}, sensor {fault.name} (simulated)"
        self._source, self._fault, self._spec, self._clock, self._seed = source, fault, spec, clock, seed
        self._index, self._last = 0, np.full(spec.shape, spec.raw_low, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._source:
            value = sample.value
            if self._fault.at_work(true_s(self._clock)):
                value = self._disturbed(np.asarray(value, dtype=np.float32))
            else:
                self._last = value
            self._index += 1
            yield sample._replace(value=value)

    def _disturbed(self, value: Array) -> Array:
        if self._fault.name == STUCK:
            return self._last
        return FAULTS[self._fault.name](value, self._spec, np.random.default_rng((self._seed % 2**64, self._index)))
