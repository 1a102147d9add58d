"""The policy proposes, the governor disposes: budgets are held here, by pure functions.

Admission. An option may run when its *worst case* fits. That is the upper end of its estimate x the profile's p99.9
over p50 x slowdown of the board x correction. Latency: time waited + worst case x margin <= deadline. Energy: worst
case <= level of the token bucket, which fills at ``power_mw`` (= uJ per ms) up to ``burst_uj``. The worst case is taken
from the bucket at once and the part not used is given back after the inference, so as long as no inference exceeds its
worst case

* no answer of an admitted inference is late, however long its sample had waited, and
* the energy of all inferences admitted in any stretch of time W is at most burst + power x W.

Heat. From ``hot_c`` on, until the board has cooled by ``COOLING_K``, only what keeps it below may run: the options
whose temperature in the long run, at this rate of samples, lies below, and always the bare host. From ``limit_c`` on
nothing runs. Memory: what does not fit in what is left of the board's memory is refused as well, but for the bare host.

Correction. Estimates may be wrong. The ratio of measured latency to the worst case of its estimate is followed by an
envelope that rises by at most 0.25 an inference, so that one preempted inference does not stop everything, and falls
by 5 % of the gap, below 1 by 1 %. A board that is slower than its worst case makes all worst cases worse. One that
shows itself faster makes those of latencies better, down to the estimate itself times p99.9 over p50 and no further:
what is given up is the width of the estimate's interval, never the spread. Energies are reserved in full, since what
is not used comes back. While nothing runs the envelope relaxes to 1, so that a board which recovers is tried again.

Choice. The proposal if it may run; else the most accurate of its subsets that may; else the most accurate of all that
may; else the sample is skipped. Going down is immediate. Going up waits: until ``dwell_ms`` have passed since the last
change, and until the bucket holds a reserve on top, so that a bucket near empty does not make the choice flap. Less for
one sample that had to wait is no change of the standing choice: the next one that did not wait gets it at once.

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

GUARD_K = 3.0
"""How far below a limit of temperature the governor begins to hold back."""
COOLING_K = 2.0

_RISE, _FALL, _FALL_BELOW_1 = 0.25, 0.05, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A budget in the form that decisions use: infinite instead of absent. Times in ms, energies in uJ.

    ``hot_c``: from there on the board is not heated further; ``limit_c``: from there on nothing runs.
    """

    deadline_ms: float = math.inf
    power_mw: float = 0.0
    burst_uj: float = math.inf
    memory_bytes: float = math.inf
    hot_c: float = math.inf
    limit_c: float = math.inf
    margin: float = MARGIN
    dwell_ms: float = 1000.0
    reserve_share: float = 0.25

    def __post_init__(self) -> None:
        require(self.margin >= 1, "margin", f"must be 1 or more, got {self.margin}")
        require(self.dwell_ms >= 0, "dwell_ms", f"must not be negative, got {self.dwell_ms}")
        require(0 <= self.reserve_share <= 1, "reserve_share", f"must be in [0, 1], got {self.reserve_share}")

    @classmethod
    def of(
        cls, budget: Budget, *, throttle_c: float = math.inf, margin: float = MARGIN, dwell_ms: float = 1000.0
    ) -> Limits:
        """From a budget. ``throttle_c``: where the board would lower its clock, as far as its profile knows."""
        limit_c = math.inf if budget.temperature_c is None else budget.temperature_c
        return cls(
            deadline_ms=math.inf if budget.latency_ms is None else budget.latency_ms,
            power_mw=budget.power_mw or 0.0,
            burst_uj=math.inf if budget.energy_burst_uj is None else budget.energy_burst_uj,
            memory_bytes=math.inf if budget.memory_bytes is None else budget.memory_bytes,
            hot_c=min(limit_c, throttle_c) - GUARD_K,
            limit_c=limit_c,
            margin=margin,
            dwell_ms=dwell_ms,
        )


class Conditions(NamedTuple):
    """The board and the sample at the time of a decision. The defaults are those of a cool, idle, rated board.

    ``slowdown`` multiplies rated latencies. ``waited_ms``: since the sample arrived. ``temperature_c`` -inf: not known.
    """

    slowdown: float = 1.0
    waited_ms: float = 0.0
    temperature_c: float = -math.inf
    memory_bytes: float = math.inf


CALM = Conditions()


class Case(NamedTuple):
    """What options are held against. ``hot``: the board has to cool.

    ``stretch`` and ``draw``: factors on the rated worst cases of latencies and energies; ``level_uj``: of the bucket.
    """

    level_uj: float
    stretch: float = 1.0
    draw: float = 1.0
    conditions: Conditions = CALM
    hot: bool = False


class State(NamedTuple):
    """What the governor remembers. A tuple, because one is made at every inference."""

    current: int  # the standing choice: the option that ran last without having been cut down for one sample
    since_ms: float  # when it became the current one
    bucket_uj: float  # level of the token bucket at ``at_ms``
    at_ms: float
    envelope: float  # of measured latency / worst case of the estimate
    hot: bool = False  # since it was too hot, the board has not cooled down yet


class Proposal(NamedTuple):
    """What the policy asks for: an option, and POLICY, UNAVAILABLE, POLICY_FAILED, NO_POLICY or DRIFT."""

    option: int
    reason: Reason


class Grant(NamedTuple):
    """The governor's word: an option or SKIP, and why.

    ``reserved_uj`` has been taken from the bucket; ``stretch`` multiplies rated worst cases of latencies: ``slowdown``
    x correction. ``left_ms``: of the deadline when the inference begins.
    """

    option: int
    reason: Reason
    reserved_uj: float
    slowdown: float
    stretch: float
    worst_ms: float
    left_ms: float


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
        return replace(self, limits=limits), self._carried(limits, state, now_ms)

    def over(self, options: Options, limits: Limits, state: State, now_ms: float) -> tuple[Governor, State]:
        """Governor and state for other options: what is in the bucket stays, what was learnt of the old ones goes."""
        carried = self._carried(limits, state, now_ms)
        return Governor(options, limits), carried._replace(current=SKIP, since_ms=now_ms, envelope=1.0)

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

    def refusal(self, option: int, case: Case, current: int = SKIP) -> Reason | None:
        """Why an option may not run now, or None when it may. ``current``: what runs; going up needs a reserve."""
        limits, item, conditions = self.limits, self.options.items[option], case.conditions
        if option in self.broken:
            return Reason.UNAVAILABLE
        if item.memory_bytes > limits.memory_bytes or (option and item.memory_bytes > conditions.memory_bytes):
            return Reason.MEMORY
        if conditions.temperature_c >= limits.limit_c or (case.hot and option and item.settled_c >= limits.hot_c):
            return Reason.THERMAL
        if item.latency_worst_ms * case.stretch * limits.margin + conditions.waited_ms > limits.deadline_ms:
            return Reason.LATENCY
        need_uj = item.energy_worst_uj * case.draw
        if SKIP != current < option and limits.burst_uj < math.inf:
            need_uj += min(limits.reserve_share * limits.burst_uj, max(0.0, limits.burst_uj - need_uj))
        return Reason.ENERGY if need_uj > case.level_uj else None

    def decide(self, state: State, proposal: Proposal, conditions: Conditions, now_ms: float) -> tuple[Grant, State]:
        """Grant an option to the inference that starts now, or skip it; the worst case is taken from the bucket."""
        limits, current = self.limits, state.current
        slowdown, envelope = conditions.slowdown, state.envelope
        case = Case(
            self.level_uj(state, now_ms),
            slowdown * envelope,
            slowdown * (envelope if envelope > 1.0 else 1.0),
            conditions,
            conditions.temperature_c >= (limits.hot_c - COOLING_K if state.hot else limits.hot_c),
        )
        chosen, reason = proposal
        why = self.refusal(chosen, case, current)
        if why is not None:
            reason = why
            for fallback in self.options.fallbacks[chosen]:
                if self.refusal(fallback, case, current) is None:
                    chosen = fallback
                    break
            else:
                return self._skip(state, case, now_ms)
        standing, since_ms = chosen, state.since_ms
        if chosen != current:
            rising = SKIP != current < chosen and now_ms - since_ms < limits.dwell_ms
            if rising and self.refusal(current, case) is None:
                chosen = standing = current
                reason = Reason.HYSTERESIS
            elif reason is Reason.LATENCY and self._only_waited(current, case):
                standing = current
            else:
                since_ms = now_ms
        item = self.options.items[chosen]
        reserved_uj, worst_ms = item.energy_worst_uj * case.draw, item.latency_worst_ms * case.stretch
        left_ms = limits.deadline_ms - conditions.waited_ms
        grant = Grant(chosen, reason, reserved_uj, slowdown, case.stretch, worst_ms, left_ms)
        return grant, State(standing, since_ms, case.level_uj - reserved_uj, now_ms, state.envelope, case.hot)

    def settle(
        self, state: State, grant: Grant, *, ran: int, latency_ms: float, energy_uj: float, now_ms: float
    ) -> State:
        """Account for an inference that has ended: give back what it did not use, learn how good the estimate was.

        ``ran``: the option that it was in the end, which is not the granted one when seeds were left out on the way.
        """
        level = self.level_uj(state, now_ms) + grant.reserved_uj - energy_uj
        level = min(level, self.limits.burst_uj)
        worst_ms = self.options.items[ran].latency_worst_ms * grant.slowdown
        ratio = latency_ms / worst_ms if worst_ms > 0 else 1.0
        envelope = max(
            _follow(state.envelope, ratio), self.options.floor
        )  # where it is of use, so that it rises at once
        return state._replace(bucket_uj=level, at_ms=now_ms, envelope=envelope)

    def _carried(self, limits: Limits, state: State, now_ms: float) -> State:
        level = min(self.level_uj(state, now_ms), limits.burst_uj) if limits.burst_uj < math.inf else math.inf
        return state._replace(bucket_uj=level, at_ms=now_ms)

    def _only_waited(self, current: int, case: Case) -> bool:
        """Whether the standing choice would run now, had the sample not waited."""
        if current == SKIP or case.conditions.waited_ms <= 0:
            return False
        return self.refusal(current, _at_once(case)) is None

    def _skip(self, state: State, case: Case, now_ms: float) -> tuple[Grant, State]:
        """Nothing may run: say which limit even the cheapest option breaks, and relax the correction."""
        why = self.refusal(0, case._replace(level_uj=math.inf))
        reason, envelope = Reason.SKIP_ENERGY, state.envelope
        if why is Reason.THERMAL:
            reason = Reason.SKIP_THERMAL
        elif why is Reason.LATENCY:
            at_once = self.refusal(0, _at_once(case)._replace(level_uj=math.inf))
            reason = Reason.SKIP_LATENCY if at_once is Reason.LATENCY else Reason.SKIP_LATE
        if reason is not Reason.SKIP_LATE:  # which says nothing of how fast the board is
            envelope = _follow(envelope, min(envelope, 1.0))
        relaxed = State(state.current, state.since_ms, case.level_uj, now_ms, envelope, case.hot)
        left_ms = self.limits.deadline_ms - case.conditions.waited_ms
        return Grant(SKIP, reason, 0.0, case.conditions.slowdown, case.stretch, 0.0, left_ms), relaxed


def _at_once(case: Case) -> Case:
    """The same, had the sample not waited."""
    return case._replace(conditions=case.conditions._replace(waited_ms=0.0))


def _follow(envelope: float, ratio: float) -> float:
    gap = ratio - envelope
    if gap > 0:
        return envelope + (gap if gap < _RISE else _RISE)
    return envelope + (_FALL if envelope > 1.0 else _FALL_BELOW_1) * gap
