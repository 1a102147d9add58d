"""What a run is made of, as far as faults reach it: a fault takes a rig and gives it back with itself built in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from simulators.faults.clock import Drift, DriftingClock
from simulators.faults.outage import Outage
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.sources.base import Source, Stream

Samples = Source | Stream
SourceFault = Callable[[Samples, InputSpec, VirtualClock, int], Samples]
"""Source, form of its samples, the clock of the run, seed: the source with the fault in it."""
BundleFault = Callable[[Bundle, int], Bundle]
"""Bundle and seed: the bundle as it lies in a faulty memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """Faults by what they reach. An empty one changes nothing."""

    outages: tuple[Outage, ...] = ()
    drift: Drift | None = None
    source: tuple[SourceFault, ...] = field(default=())
    bundle: tuple[BundleFault, ...] = field(default=())

    def clock(self) -> VirtualClock:
        """A clock for the run, at 0."""
        return VirtualClock() if self.drift is None else DriftingClock(self.drift)

    def disturbed(self, source: Samples, spec: InputSpec, *, clock: VirtualClock, seed: int) -> Samples:
        """The source as a faulty sensor gives it."""
        for fault in self.source:
            source = fault(source, spec, clock, seed)
        return source

    def in_memory(self, bundle: Bundle, *, seed: int) -> Bundle:
        """The bundle as a faulty memory holds it, after it was verified."""
        for fault in self.bundle:
            bundle = fault(bundle, seed)
        return bundle


class Fault(Protocol):
    """Something that goes wrong, as a value."""

    def built_into(self, rig: Rig) -> Rig:
        """The rig with this fault."""
