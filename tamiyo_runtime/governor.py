"""The policy proposes, the governor disposes: budgets are held here, by pure functions.

Admission. An option may run when its *worst case*, upper end of its estimate x slowdown of the board x correction,
fits. Latency: worst case x margin <= deadline. Energy: worst case <= level of the token bucket, which fills at
``power_mw`` (= uJ per ms) up to ``burst_uj``. The worst case is taken from the bucket at once and the part not used is
given back after the inference, so as long as no inference exceeds its worst case

* no admitted inference misses the deadline, and
* the energy of all inferences admitted in any stretch of time W is at most burst + power x W.

Correction. Estimates may be wrong. The ratio of measured latency to the upper end of its estimate is followed by an
envelope that rises by at most 0.25 an inference, so that one preempted inference does not stop everything, and falls
by 5 % of the gap. It only ever makes worst cases worse: the correction is never below 1. While nothing runs it
relaxes, so that a board which recovers is tried again.

Choice. The proposal if it may run; else the most accurate of its subsets that may; else the most accurate of all that
may; else the sample is skipped. Going down is immediate. Going up waits: until ``dwell_ms`` have passed since the last
change, and until the bucket holds a reserve on top, so that a bucket near empty does not make the choice flap.

Nothing here reads a clock, draws a random number or raises: state goes in, a grant and the new state come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.records import Reason
from tamiyo_runtime.options import Options

SKIP = -1
"""Granted when nothing may run."""

MARGIN = 1.05
"""Default factor between the worst case of a latency and what is held against the deadline."""

_RISE, _FALL = 0.25, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A budget in the form that decisions use: infinite instead of absent. Times in ms, energies in uJ."""

    deadline_ms: float = math.inf
    power_mw: float = 0.0
    burst_uj: float = math.inf
    memory_bytes: float = math.inf
    margin: float = MARGIN
    dwell_ms: float = 1000.0
    reserve_share: float = 0.25

    def __post_init__(self) -> None:
        require(self.margin >= 1, "margin", f"must be 1 or more, got {self.margin}")
        require(self.dwell_ms >= 0, "dwell_ms", f"must not be negative, got {self.dwell_ms}")
        require(0 <= self.reserve_share <= 1, "reserve_share", f"must be in [0, 1], got {self.reserve_share}")

    @classmethod
    def of(cls, budget: Budget, *, margin: float = MARGIN, dwell_ms: float = 1000.0) -> Limits:
        """From a budget."""
        return cls(
            deadline_ms=math.inf if budget.latency_ms is None else budget.latency_ms,
            power_mw=budget.power_mw or 0.0,
            burst_uj=math.inf if budget.energy_burst_uj is None else budget.energy_burst_uj,
            memory_bytes=math.inf if budget.memory_bytes is None else budget.memory_bytes,
            margin=margin,
            dwell_ms=dwell_ms,
        )


class State(NamedTuple):
    """What the governor remembers. A tuple, because one is made at every inference."""

    current: int  # option that ran last, SKIP before the first
    since_ms: float  # when it became the current one
    bucket_uj: float  # level of the token bucket at ``at_ms``
    at_ms: float
    envelope: float  # of measured latency / upper end of the estimate

    @property
    def correction(self) -> float:
        """Factor on worst cases, 1 or more."""
        return max(1.0, self.envelope)


class Proposal(NamedTuple):
    """What the policy asks for: an option, and POLICY, UNAVAILABLE, POLICY_FAILED or NO_POLICY."""

    option: int
    reason: Reason


class Grant(NamedTuple):
    """The governor's word: an option or SKIP, and why.

    ``reserved_uj`` has been taken from the bucket; ``high_ms`` is the upper end of the estimate at the board's present
    speed, ``worst_ms`` that with the correction: what was held against the deadline.
    """

    option: int
    reason: Reason
    reserved_uj: float
    high_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Governor:
    """Options and limits; every method is a pure function of them and its arguments.

    ``broken``: options that failed and are not granted again.
    """

    options: Options
    limits: Limits
    broken: frozenset[int] = frozenset()

    def start(self, now_ms: float) -> State:
        """The first state: a full bucket, nothing running, estimates taken at their word."""
        return State(SKIP, now_ms, self.limits.burst_uj, now_ms, 1.0)

    def under(self, limits: Limits, state: State, now_ms: float) -> tuple[Governor, State]:
        """Governor and state under other limits from now on: what is in the bucket stays, up to the new burst.

        Where there was or will be no energy limit, the bucket is full.
        """
        level = min(self.level_uj(state, now_ms), limits.burst_uj) if limits.burst_uj < math.inf else math.inf
        return replace(self, limits=limits), state._replace(bucket_uj=level, at_ms=now_ms)

    def level_uj(self, state: State, now_ms: float) -> float:
        """Level of the bucket now."""
        limits = self.limits
        level = state.bucket_uj + limits.power_mw * (now_ms - state.at_ms)
        return level if level < limits.burst_uj else limits.burst_uj

    def fill(self, state: State, now_ms: float) -> float:
        """Level of the bucket now as a share of its size; 1 without an energy limit."""
        if self.limits.burst_uj == math.inf:
            return 1.0
        return min(1.0, max(0.0, self.level_uj(state, now_ms) / self.limits.burst_uj))

    def refusal(self, option: int, scale: float, level_uj: float, current: int = SKIP) -> Reason | None:
        """Why an option may not run now, or None when it may. ``scale`` multiplies its rated worst case."""
        limits, item = self.limits, self.options.items[option]
        if option in self.broken:
            return Reason.UNAVAILABLE
        if item.memory_bytes > limits.memory_bytes:
            return Reason.MEMORY
        if item.latency_high_ms * scale * limits.margin > limits.deadline_ms:
            return Reason.LATENCY
        need_uj = item.energy_high_uj * scale
        if SKIP != current < option and limits.burst_uj < math.inf:
            need_uj += min(limits.reserve_share * limits.burst_uj, max(0.0, limits.burst_uj - need_uj))
        return Reason.ENERGY if need_uj > level_uj else None

    def decide(self, state: State, proposal: Proposal, *, slowdown: float, now_ms: float) -> tuple[Grant, State]:
        """Grant an option to the inference that starts now, or skip it; the worst case is taken from the bucket."""
        level = self.level_uj(state, now_ms)
        scale = slowdown * state.envelope if state.envelope > 1.0 else slowdown
        current = state.current
        chosen, reason = proposal
        why = self.refusal(chosen, scale, level, current)
        if why is not None:
            reason = why
            for fallback in self.options.fallbacks[chosen]:
                if self.refusal(fallback, scale, level, current) is None:
                    chosen = fallback
                    break
            else:
                return self._skip(state, scale, level, now_ms)
        since_ms = state.since_ms
        if chosen != current:
            rising = SKIP != current < chosen and now_ms - since_ms < self.limits.dwell_ms
            if rising and self.refusal(current, scale, level) is None:
                chosen, reason = current, Reason.HYSTERESIS
            else:
                since_ms = now_ms
        item = self.options.items[chosen]
        reserved_uj = item.energy_high_uj * scale
        grant = Grant(chosen, reason, reserved_uj, item.latency_high_ms * slowdown, item.latency_high_ms * scale)
        return grant, State(chosen, since_ms, level - reserved_uj, now_ms, state.envelope)

    def settle(self, state: State, grant: Grant, *, latency_ms: float, energy_uj: float, now_ms: float) -> State:
        """Account for an inference that has ended: give back what it did not use, learn how good the estimate was."""
        level = self.level_uj(state, now_ms) + grant.reserved_uj - energy_uj
        level = min(level, self.limits.burst_uj)
        ratio = latency_ms / grant.high_ms if grant.high_ms > 0 else 1.0
        return State(state.current, state.since_ms, level, now_ms, _follow(state.envelope, ratio))

    def _skip(self, state: State, scale: float, level: float, now_ms: float) -> tuple[Grant, State]:
        """Nothing may run: say which limit even the cheapest option breaks, and relax the correction."""
        late = self.refusal(0, scale, math.inf) is Reason.LATENCY
        reason = Reason.SKIP_LATENCY if late else Reason.SKIP_ENERGY
        envelope = _follow(state.envelope, min(state.envelope, 1.0))
        return Grant(SKIP, reason, 0.0, 0.0, 0.0), State(state.current, state.since_ms, level, now_ms, envelope)


def _follow(envelope: float, ratio: float) -> float:
    gap = ratio - envelope
    if gap > 0:
        return envelope + (gap if gap < _RISE else _RISE)
    return envelope + _FALL * gap
