"""How runs of real runtimes and the verdicts of the field come to agree.

A device's frames depend on what became of those before; what becomes of a frame depends on everybody's. So devices run
against verdicts that are assumed, all frames go through the vector engine, and whoever assumed wrongly runs again from
its start with the verdicts found. At the end everybody has lived by exactly the verdicts that the field gives.

That this ends. Take three facts: a run is a function of the verdicts of its frames (clocks are virtual, draws have
addresses); a device begins a frame only after its last one has ended, with that one's verdict; and a verdict depends
only on frames that begin before the judged one ends. Let m be the earliest end of a frame that was assumed wrongly in a
round. (1) What all devices began before m in that round is final: it follows from verdicts of frames that ended before
m, which were assumed right, and those from nothing later. So the verdicts found for frames that ended at m or before
are final too. (2) In the next round these same frames are sent and their verdicts are known, so none that ends at m or
before is assumed wrongly: the next round's m is later. (3) The frame that ends at m is final. So there are at most as
many rounds as final frames, and one more. Since only some overlap, a few rounds do.

(2) is checked at every round: it fails only where a run does not repeat itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from simulators.fleet.detail.air import Air, Assumed, Medium
from simulators.fleet.detail.link import Frame
from simulators.lorawan.reception import Codes, Verdict
from tamiyo_runtime.contracts.errors import TamiyoError


class Played(Protocol):
    """What a run leaves, at least: its frames, and for each whether it was taken as received."""

    @property
    def frames(self) -> Sequence[Frame]:
        """In order."""

    @property
    def received(self) -> Sequence[bool]:
        """One a frame."""


P = TypeVar("P", bound=Played)
Play = Callable[[Mapping[int, Assumed]], Mapping[int, P]]
"""Runs the devices of these numbers from their start, each with its judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Generic[P]):
    """``runs`` by number of the device; ``verdicts`` (packets,) of ``air``, in its order.

    ``rounds``: how often the field was weighed. ``played``: runs made for it.
    """

    runs: Mapping[int, P]
    air: Air
    verdicts: Codes
    rounds: int
    played: int

    def verdicts_of(self, number: int) -> Codes:
        """Of one device's frames, in order."""
        verdicts: Codes = self.verdicts[self.air.device == number]
        return verdicts


def settle(numbers: Sequence[int], play: Play[P], medium: Medium) -> Settled[P]:
    """Run devices until all have lived by the field's verdicts; see the module's description.

    Raises TamiyoError when a run does not repeat itself, which only a defect can cause.
    """
    air = medium.rest
    known: dict[int, Mapping[Frame, bool]] = {number: {} for number in numbers}
    runs: dict[int, P] = {}
    wrong, earliest_s, rounds, played = list(numbers), -math.inf, 0, 0
    while True:
        judges = {number: Assumed(number=number, medium=medium, air=air, known=known[number]) for number in wrong}
        runs.update(play(judges))
        played += len(wrong)
        rounds += 1
        air = medium.air({number: runs[number].frames for number in numbers})
        settled = Settled(runs=runs, air=air, verdicts=medium.verdicts(air), rounds=rounds, played=played)
        wrong, ends_s = [], [math.inf]
        for number in numbers:
            run, found = runs[number], settled.verdicts_of(number) == Verdict.RECEIVED
            known[number] = dict(zip(run.frames, found.tolist(), strict=True))
            if (missed := found != np.array(run.received, dtype=np.bool_)).any():
                wrong.append(number)
                ends_s.append(run.frames[int(missed.argmax())].end_s)
        if not wrong:
            return settled
        if min(ends_s) <= earliest_s:
            raise TamiyoError(
                f"device {wrong[0]} did not repeat what it had done before {min(ends_s)} s", hint="report this, please"
            )
        earliest_s = min(ends_s)
