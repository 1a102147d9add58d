"""The governor: budgets hold whatever the policy asks for and however the board behaves.

The energy law is checked in exact arithmetic: the governor's formulas only add, multiply and compare, so they run on
fractions as well as on floats.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Reason
from tamiyo_runtime.governor import COOLING_K, GUARD_K, SKIP, Case, Conditions, Governor, Grant, Limits, Proposal, State
from tamiyo_runtime.options import Option, Options, is_subset

GATES = [(False, False), (True, False), (False, True), (True, True)]


def _options(
    latency: tuple[Any, ...] = (1, 2, 3, 4),
    energy: tuple[Any, ...] = (10, 20, 30, 40),
    memory: tuple[int, ...] = (1, 1, 1, 1),
    settled: tuple[float, ...] = (math.inf, math.inf, math.inf, math.inf),
    accuracy: tuple[float | None, ...] = (0.7, 0.8, 0.9, 0.95),
) -> Options:
    return Options(
        [
            Option(
                configuration=f"c{index}",
                gates=GATES[index],
                latency_worst_ms=latency[index],
                energy_worst_uj=energy[index],
                memory_bytes=memory[index],
                settled_c=settled[index],
                accuracy=accuracy[index],
            )
            for index in range(4)
        ]
    )


def _ask(index: int) -> Proposal:
    return Proposal(index, Reason.POLICY)


def _decide(governor: Governor, state: State, index: int, *, now_ms: float = 0.0, **conditions: float) -> Grant:
    return governor.decide(state, _ask(index), Conditions(**conditions), now_ms)[0]


fractions = st.fractions(0, 1, max_denominator=50)
steps = st.lists(
    st.tuples(
        st.fractions(0, 50, max_denominator=20),  # idle time before the sample, ms
        st.fractions(Fraction(1, 2), 3, max_denominator=10),  # slowdown
        st.integers(0, 3),  # proposal
        fractions,  # share of the worst case that it really takes
        st.just(Fraction(0)) | st.fractions(0, 10, max_denominator=10),  # how long the sample had waited, ms
        st.integers(0, 3),  # what it was in the end, seeds having been left out on the way
    ),
    max_size=40,
)


@given(
    steps=steps,
    power=st.fractions(Fraction(1, 10), 20, max_denominator=10),
    burst=st.fractions(5, 200, max_denominator=4),
    deadline=st.fractions(1, 12, max_denominator=4),
    costs=st.lists(st.fractions(Fraction(1, 4), 60, max_denominator=8), min_size=8, max_size=8),
)
def test_no_stretch_of_time_holds_more_energy_than_burst_plus_power_times_its_length(
    steps: list[tuple[Fraction, Fraction, int, Fraction, Fraction, int]],
    power: Fraction,
    burst: Fraction,
    deadline: Fraction,
    costs: list[Fraction],
) -> None:
    limits = Limits(
        deadline_ms=deadline,  # type: ignore[arg-type]  # exact stand-ins for floats, here and below
        power_mw=power,  # type: ignore[arg-type]
        burst_uj=burst,  # type: ignore[arg-type]
        margin=1,
        dwell_ms=5,
        reserve_share=Fraction(1, 4),  # type: ignore[arg-type]
    )
    governor = Governor(_options(latency=tuple(sorted(costs[:4])), energy=tuple(costs[4:])), limits)
    now: Any = Fraction(0)
    state = governor.start(now)
    spent: list[tuple[Any, Any]] = []
    for idle, slowdown, proposal, share, waited, ran in steps:
        now += idle
        conditions = Conditions(slowdown, waited)  # type: ignore[arg-type]
        grant, state = governor.decide(state, _ask(proposal), conditions, now)
        assert 0 <= state.bucket_uj <= burst
        if grant.option == SKIP:
            continue
        latency, energy = share * grant.worst_ms, share * grant.reserved_uj
        assert waited + latency <= deadline
        spent.append((now, energy))
        now += latency
        state = governor.settle(state, grant, ran=ran, latency_ms=latency, energy_uj=energy, now_ms=now)
        assert 0 <= state.bucket_uj <= burst
    totals = [Fraction(0), *accumulate(energy for _, energy in spent)]
    for first, (start, _) in enumerate(spent):
        for last in range(first, len(spent)):
            assert totals[last + 1] - totals[first] <= burst + power * (spent[last][0] - start)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.5, 4), st.integers(0, 3), st.floats(0, 20)), min_size=1, max_size=60
    ),
    deadline=st.floats(1, 30),
)
def test_however_wrong_the_estimates_are_an_inference_within_its_admitted_worst_case_meets_the_deadline(
    steps: list[tuple[float, float, int, float]], deadline: float
) -> None:
    governor = Governor(_options(), Limits(deadline_ms=deadline, dwell_ms=0))
    state, now = governor.start(0.0), 0.0
    for idle, slowdown, proposal, ratio in steps:
        now += idle
        grant, state = governor.decide(state, _ask(proposal), Conditions(slowdown), now)
        if grant.option == SKIP:
            continue
        assert grant.worst_ms * governor.limits.margin <= deadline * (1 + 1e-12)
        rated_ms = governor.options.items[grant.option].latency_worst_ms * slowdown
        assert grant.worst_ms >= rated_ms * governor.options.floor
        state = governor.settle(state, grant, ran=grant.option, latency_ms=ratio * rated_ms, energy_uj=0.0, now_ms=now)


def test_a_board_that_is_slower_than_estimated_is_skipped_soon_and_tried_again_when_it_recovers() -> None:
    governor = Governor(_options(), Limits(deadline_ms=2.0))
    state, now, misses, ran = governor.start(0.0), 0.0, 0, []
    for sample in range(300):
        really = 4.0 if sample < 100 else 0.9  # times the estimate's upper end; 2 is the most that fits
        grant, state = governor.decide(state, _ask(0), Conditions(1.0), now)
        now += 10
        ran.append(grant.option != SKIP)
        if grant.option != SKIP:  # the bare host, whose worst case is 1 ms
            misses += really > 2.0
            state = governor.settle(state, grant, ran=grant.option, latency_ms=really, energy_uj=0.0, now_ms=now)
    assert misses < 25
    assert sum(ran[50:100]) < 15
    assert all(ran[140:])


def test_a_board_faster_than_its_worst_case_is_trusted_down_to_its_estimate_and_no_further() -> None:
    options = Options(_options().items, floor=0.5)  # the upper end of the interval is twice the estimate
    governor = Governor(options, Limits(deadline_ms=2.2, margin=1.0, dwell_ms=0.0))
    state, granted = governor.start(0.0), []
    for sample in range(400):
        grant, state = governor.decide(state, _ask(3), Conditions(), 10.0 * sample)
        granted.append(grant.option)
        really_ms = 0.25 * options.items[grant.option].latency_worst_ms
        state = governor.settle(
            state, grant, ran=grant.option, latency_ms=really_ms, energy_uj=0.0, now_ms=10.0 * sample
        )
        assert grant.worst_ms >= 0.5 * options.items[grant.option].latency_worst_ms
    assert granted[0] == 1  # 2 ms at worst
    assert granted[-1] == 3  # 4 ms at worst, 2 ms as estimated
    late, state = governor.decide(state, _ask(3), Conditions(), 4000.0)
    state = governor.settle(state, late, ran=3, latency_ms=4.0, energy_uj=0.0, now_ms=4000.0)
    assert _decide(governor, state, 3, now_ms=4010.0).option < 3  # one late answer is enough to be careful again


def test_one_preempted_inference_stops_nothing() -> None:
    governor = Governor(_options(), Limits(deadline_ms=2.0))
    state = governor.start(0.0)
    grant, state = governor.decide(state, _ask(0), Conditions(1.0), 0.0)
    state = governor.settle(state, grant, ran=0, latency_ms=50.0, energy_uj=0.0, now_ms=50.0)
    assert _decide(governor, state, 0, now_ms=60.0).option == 0


def test_the_proposal_is_granted_when_it_fits() -> None:
    governor = Governor(_options(), Limits(deadline_ms=5.0))
    for index in range(4):
        grant = _decide(governor, governor.start(0.0), index)
        assert (grant.option, grant.reason) == (index, Reason.POLICY)


@pytest.mark.parametrize(
    ("limits", "proposal", "granted", "reason"),
    [
        (Limits(deadline_ms=3.5), 3, 2, Reason.LATENCY),  # the best subset
        (Limits(deadline_ms=2.2), 3, 1, Reason.LATENCY),
        (Limits(deadline_ms=2.2), 2, 0, Reason.LATENCY),  # c1 is better and fits, but is no subset of what was asked
        (Limits(burst_uj=35.0, power_mw=1.0), 3, 2, Reason.ENERGY),
        (Limits(memory_bytes=7), 3, 1, Reason.MEMORY),
    ],
)
def test_else_the_most_accurate_subset_of_the_proposal_that_fits(
    limits: Limits, proposal: int, granted: int, reason: Reason
) -> None:
    governor = Governor(_options(memory=(5, 6, 8, 9)), limits)
    grant = _decide(governor, governor.start(0.0), proposal)
    assert (grant.option, grant.reason) == (granted, reason)


def test_where_no_subset_fits_any_other_may_run() -> None:
    """A grouped seed can make a larger configuration cheaper in memory than the one proposed."""
    governor = Governor(_options(memory=(9, 9, 5, 9)), Limits(memory_bytes=6))
    assert _decide(governor, governor.start(0.0), 1).option == 2


@given(
    proposal=st.integers(0, 3),
    slowdown=st.floats(0.5, 5),
    limits=st.builds(
        Limits,
        deadline_ms=st.floats(0.5, 20),
        power_mw=st.just(1.0),
        burst_uj=st.floats(5, 300),
        memory_bytes=st.integers(1, 10),
    ),
    memory=st.lists(st.integers(1, 10), min_size=4, max_size=4),
    broken=st.frozensets(st.integers(1, 3)),
)
def test_a_grant_is_always_admissible_and_a_skip_means_that_nothing_was(
    proposal: int, slowdown: float, limits: Limits, memory: list[int], broken: frozenset[int]
) -> None:
    options = _options(memory=tuple(memory))
    governor = Governor(options, limits, broken)
    grant = _decide(governor, governor.start(0.0), proposal, slowdown=slowdown)
    fits = [i for i in range(4) if governor.refusal(i, Case(limits.burst_uj, slowdown, slowdown)) is None]
    if not fits:
        assert grant.option == SKIP
        assert grant.reason in {Reason.SKIP_LATENCY, Reason.SKIP_ENERGY}
        return
    assert grant.option in fits
    assert grant.option not in broken
    subsets = [i for i in fits if is_subset(GATES[i], GATES[proposal])]
    if subsets:
        assert is_subset(GATES[grant.option], GATES[proposal])
    if proposal in fits:
        assert grant.option == proposal


def test_a_skip_says_which_limit_even_the_bare_host_breaks() -> None:
    late = Governor(_options(), Limits(deadline_ms=1.0))
    assert _decide(late, late.start(0.0), 3, slowdown=2.0).reason is Reason.SKIP_LATENCY
    poor = Governor(_options(), Limits(burst_uj=12.0, power_mw=1.0))
    assert _decide(poor, poor.start(0.0)._replace(bucket_uj=3.0), 0).reason is Reason.SKIP_ENERGY


def test_going_down_is_immediate_and_going_up_waits() -> None:
    governor = Governor(_options(), Limits(deadline_ms=9.0, dwell_ms=1000.0))
    _, state = governor.decide(governor.start(0.0), _ask(3), Conditions(1.0), 0.0)
    down, state = governor.decide(state, _ask(0), Conditions(1.0), 1.0)
    assert (down.option, down.reason) == (0, Reason.POLICY)
    for now_ms in (2.0, 500.0, 1000.0):
        held, state = governor.decide(state, _ask(3), Conditions(1.0), now_ms)
        assert (held.option, held.reason) == (0, Reason.HYSTERESIS)
    assert _decide(governor, state, 3, now_ms=1001.0).option == 3


def test_a_sample_that_has_waited_gets_what_still_fits_and_the_next_one_gets_the_standing_choice_again() -> None:
    governor = Governor(_options(), Limits(deadline_ms=5.0, margin=1.0, dwell_ms=1000.0))
    _, state = governor.decide(governor.start(0.0), _ask(3), Conditions(), 0.0)
    late, state = governor.decide(state, _ask(3), Conditions(waited_ms=2.5), 10.0)
    assert (late.option, late.reason, late.left_ms) == (1, Reason.LATENCY, 2.5)
    assert state.current == 3
    again, state = governor.decide(state, _ask(3), Conditions(), 20.0)
    assert (again.option, again.reason) == (3, Reason.POLICY)
    gone, state = governor.decide(state, _ask(3), Conditions(waited_ms=4.5), 30.0)
    assert (gone.option, gone.reason) == (SKIP, Reason.SKIP_LATE)
    slow, _ = governor.decide(state, _ask(3), Conditions(slowdown=6.0, waited_ms=1.0), 40.0)
    assert slow.reason is Reason.SKIP_LATENCY


def test_a_hot_board_runs_what_lets_it_cool_until_it_has() -> None:
    limits = Limits.of(Budget(), throttle_c=80.0)
    governor = Governor(_options(settled=(60.0, 70.0, 78.0, 90.0)), limits)
    state = governor.start(0.0)
    granted = []
    for now_s, temperature_c in enumerate((70.0, 76.9, 77.0, 79.0, 75.1, 74.9)):
        conditions = Conditions(temperature_c=temperature_c)
        grant, state = governor.decide(state, _ask(3), conditions, 2000.0 * now_s)
        granted.append((grant.option, grant.reason))
    full, cool = (3, Reason.POLICY), (1, Reason.THERMAL)  # c2 would settle above 80 - 3 degrees
    assert granted == [full, full, cool, cool, cool, full]
    assert limits.hot_c == 80.0 - GUARD_K
    assert limits.hot_c - COOLING_K == 75.0


def test_at_a_limit_of_temperature_nothing_runs_and_without_one_the_bare_host_always_may() -> None:
    held = Governor(_options(), Limits.of(Budget(temperature_c=60.0)))
    assert _decide(held, held.start(0.0), 3, temperature_c=58.0).option == 0  # nothing is known of what settles where
    assert _decide(held, held.start(0.0), 3, temperature_c=60.0).reason is Reason.SKIP_THERMAL
    free = Governor(_options(), Limits.of(Budget(), throttle_c=60.0))
    assert _decide(free, free.start(0.0), 3, temperature_c=99.0)[:2] == (0, Reason.THERMAL)


def test_what_does_not_fit_in_the_memory_that_is_left_waits_until_it_does() -> None:
    governor = Governor(_options(memory=(5, 6, 8, 9)), Limits())
    assert _decide(governor, governor.start(0.0), 3, memory_bytes=8.0)[:2] == (2, Reason.MEMORY)
    assert _decide(governor, governor.start(0.0), 3, memory_bytes=1.0)[:2] == (0, Reason.MEMORY)
    assert _decide(governor, governor.start(0.0), 3, memory_bytes=9.0).option == 3


def test_another_bundle_inherits_the_bucket_and_nothing_that_was_learnt_of_the_old_one() -> None:
    governor = Governor(_options(), Limits(burst_uj=100.0, power_mw=1.0), frozenset({2}))
    state = State(3, 0.0, 60.0, 0.0, 2.5)
    other, after = governor.over(_options(energy=(1, 2, 3, 4)), Limits(burst_uj=80.0, power_mw=1.0), state, 10.0)
    assert (after.current, after.envelope, other.broken) == (SKIP, 1.0, frozenset())
    assert other.level_uj(after, 10.0) == 70.0
    assert _decide(other, after, 2, now_ms=10.0).option == 2


def test_going_up_needs_a_reserve_of_energy_but_staying_does_not() -> None:
    governor = Governor(_options(), Limits(burst_uj=100.0, power_mw=1.0, dwell_ms=0.0))
    low = governor.start(0.0)._replace(current=0, bucket_uj=50.0)
    assert _decide(governor, low, 3).reason is Reason.ENERGY  # 40 + a reserve of 25 is more than 50
    assert _decide(governor, low._replace(bucket_uj=66.0), 3).option == 3
    assert _decide(governor, low._replace(current=3), 3).option == 3


def test_a_new_budget_keeps_what_is_in_the_bucket_up_to_its_own_burst() -> None:
    governor = Governor(_options(), Limits(burst_uj=100.0, power_mw=1.0))
    state = governor.start(0.0)._replace(bucket_uj=60.0)
    tight, after = governor.under(Limits(burst_uj=20.0, power_mw=1.0), state, 10.0)
    assert tight.level_uj(after, 10.0) == 20.0
    wide, after = governor.under(Limits(burst_uj=500.0, power_mw=1.0), state, 10.0)
    assert wide.level_uj(after, 10.0) == 70.0
    free, after = governor.under(Limits(), state, 10.0)
    assert free.fill(after, 10.0) == 1.0
    again, after = free.under(Limits(burst_uj=100.0, power_mw=1.0), after, 20.0)
    assert again.fill(after, 20.0) == 1.0


def test_what_was_not_used_comes_back_and_an_overrun_is_paid() -> None:
    governor = Governor(_options(), Limits(burst_uj=100.0, power_mw=0.0))
    grant, state = governor.decide(governor.start(0.0), _ask(3), Conditions(1.0), 0.0)
    assert state.bucket_uj == 60.0
    assert governor.settle(state, grant, ran=3, latency_ms=1.0, energy_uj=15.0, now_ms=1.0).bucket_uj == 85.0
    assert governor.settle(state, grant, ran=3, latency_ms=1.0, energy_uj=55.0, now_ms=1.0).bucket_uj == 45.0


def test_limits_are_those_of_the_budget_and_absent_ones_do_not_bind() -> None:
    limits = Limits.of(Budget(latency_ms=5.0, power_mw=2.0, energy_burst_uj=30.0, memory_bytes=7))
    assert (limits.deadline_ms, limits.power_mw, limits.burst_uj, limits.memory_bytes) == (5.0, 2.0, 30.0, 7)
    free = Governor(_options(), Limits.of(Budget()))
    state = free.start(0.0)
    for now_ms in range(100):
        grant, state = free.decide(state, _ask(3), Conditions(50.0), float(now_ms))
        assert grant.option == 3
        state = free.settle(state, grant, ran=3, latency_ms=9.0, energy_uj=1e9, now_ms=float(now_ms))
    assert math.isinf(state.bucket_uj)
    with pytest.raises(SchemaError, match="margin"):
        Limits(margin=0.9)


def test_unmeasured_options_come_after_measured_ones_and_more_seeds_first() -> None:
    assert _options(accuracy=(0.7, None, 0.9, None)).best_first == (2, 0, 3, 1)


def test_equal_accuracy_prefers_the_cheaper() -> None:
    assert _options(accuracy=(0.9, 0.9, 0.8, 0.9)).best_first == (0, 1, 3, 2)


def test_gates_that_are_no_option_find_the_best_one_within_them() -> None:
    options = Options([_options().items[0], _options().items[1]])
    assert options.find((True, True)) == (1, False)
    assert options.find((False, True)) == (0, False)
    assert options.find((True, False)) == (1, True)
