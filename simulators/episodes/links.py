"""Links over arrays of lanes: airtime credit that fills and is spent, and outages in which nothing is sent.

The account is that of `simulators.airtime.CreditAccount`. Each lane has a report every ``report_s``, which goes out as
soon as the credit covers it and the network is there; at most one waits, as the newest one says it all. Whether there
is a network is a chain of two states, minute by minute, drawn at (seed, device, minute) as clouds are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulators.episodes.tables import Bools, Floats, Ints
from simulators.lorawan.streams import Purpose, uniforms

_ROUNDING_S = 1e-8
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """(lanes,) each; ``burst_s`` infinite: a link without a limit. ``falls`` and ``returns``: chances a minute."""

    burst_s: Floats
    rate: Floats
    airtime_s: Floats
    report_s: Floats
    falls: Floats
    returns: Floats
    devices: Ints
    seed: int

    def there(self, minute: Ints, before: Bools) -> Bools:
        """Whether there is a network in these minutes; ``before``: whether there was in the ones before."""
        drawn, _ = uniforms(self.seed, Purpose.EPISODE, self.devices, minute, salt=1)
        return np.where(before, drawn >= self.falls, drawn < self.returns)


class LinkStates(NamedTuple):
    """(lanes,) each: credit and when it was that, reports due so far, whether one waits, the network, its minute."""

    credit_s: Floats
    as_of_s: Floats
    reports: Ints
    waits: Bools
    there: Bools
    minute: Ints


def fresh(links: Links, *, share: Floats | float = 1.0) -> LinkStates:
    """Links with this share of their credit, and a network."""
    lanes = len(links.burst_s)
    limited = np.where(np.isinf(links.burst_s), 0.0, links.burst_s)
    zeros = np.zeros(lanes, dtype=np.int64)
    no = np.zeros(lanes, dtype=bool)
    return LinkStates(limited * share, np.zeros(lanes), zeros, no, ~no, zeros.copy())


def until(links: Links, state: LinkStates, now_s: Floats) -> LinkStates:
    """Report what was due up to ``now_s``, in order. Credit is looked at when a report comes up, and now."""
    credit, as_of, reports, waits, there, minute = state
    target = (now_s // _MINUTE_S).astype(np.int64)
    while (behind := minute < target).any():
        minute = np.where(behind, minute + 1, minute)
        there = np.where(behind, links.there(minute, there), there)
    while True:
        due_s = (reports + 1) * links.report_s
        due = due_s <= now_s
        when_s = np.where(due, due_s, now_s)
        gained = np.minimum(links.burst_s, credit + links.rate * np.maximum(0.0, when_s - as_of))
        gained = np.where(np.isinf(links.burst_s), credit, gained)
        waits = waits | due
        sends = waits & there & ((links.airtime_s <= gained + _ROUNDING_S) | np.isinf(links.burst_s))
        spent = np.where(np.isinf(links.burst_s), 0.0, links.airtime_s)
        credit = np.where(sends, gained - spent, credit)
        as_of = np.where(sends, when_s, as_of)
        waits, reports = waits & ~sends, reports + due
        if not due.any():
            return LinkStates(credit, as_of, reports, waits, there, minute)


def level(links: Links, state: LinkStates, now_s: Floats) -> Floats:
    """Share of the credit that is there now, 1 without a limit: `Link.level`."""
    gained = np.minimum(links.burst_s, state.credit_s + links.rate * np.maximum(0.0, now_s - state.as_of_s))
    with np.errstate(invalid="ignore"):
        share = np.clip(gained / links.burst_s, 0.0, 1.0)
    return np.where(np.isinf(links.burst_s), 1.0, share)
