"""What a plan asks for: the governor then grants what the plan wants, and no seed is left out for a deadline alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.episodes import governors as governing
from simulators.episodes.drawn import drawn
from simulators.episodes.governors import Met
from simulators.episodes.tables import Tables
from tamiyo_runtime.governor import SKIP
from tamiyo_train.policy.asking import NOTHING, asking, by_rule, granted
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.policy.planning import allowed_now

COUNT, SLOTS = 40, 3
ROWS = np.arange(COUNT)
WEIGHTS = 1 << np.arange(SLOTS)[::-1]


def held_to_deadlines(seed: int) -> Tables:
    """Drawn devices with nothing to keep but a deadline, some of them too short for anything."""
    tables = drawn(COUNT, SLOTS, seed=seed).tables
    last = tables.latency_worst_ms[ROWS, tables.last]
    free = np.full(COUNT, np.inf)
    deadline_ms = last * np.random.default_rng(seed).uniform(0.1, 1.2, COUNT)
    return replace(tables, power_mw=np.zeros(COUNT), burst_uj=free, deadline_ms=deadline_ms, margin=np.ones(COUNT))


def the_governor_grants(tables: Tables, pattern: np.ndarray) -> np.ndarray:
    """Options that a fresh governor grants on cool boards at rated speed, SKIP for none."""
    state = governing.start(tables, np.zeros(COUNT))._replace(envelope=tables.floor)
    proposal = tables.find[ROWS, (pattern & tables.present) @ WEIGHTS]
    met = Met(np.ones(COUNT), np.zeros(COUNT), np.full(COUNT, -np.inf))
    grants, _ = governing.decide(tables, state, proposal, met, np.zeros(COUNT))
    return grants.option


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_what_each_pattern_comes_to_is_what_the_governor_grants(seed: int) -> None:
    tables = held_to_deadlines(seed)
    comes_to = granted(tables, allowed_now(tables, np.ones(COUNT)))
    for number in range(2**SLOTS):
        pattern = np.broadcast_to((number & WEIGHTS) > 0, (COUNT, SLOTS)) & tables.present
        expected = the_governor_grants(tables, pattern)
        found = comes_to[ROWS, pattern @ WEIGHTS]
        assert np.array_equal(np.where(found == NOTHING, SKIP, found), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_asking_gets_what_is_wanted_wherever_that_may_run(seed: int) -> None:
    tables = held_to_deadlines(seed)
    allowed = allowed_now(tables, np.ones(COUNT))
    chance = np.random.default_rng(seed).uniform(size=allowed.shape)
    wanted = np.where(allowed, chance, -1.0).argmax(axis=1)
    asked = asking(tables, wanted, allowed).gates
    assert not (asked & ~tables.present).any()
    got = the_governor_grants(tables, asked)
    assert np.array_equal(got[allowed.any(axis=1)], wanted[allowed.any(axis=1)])


def test_a_seed_that_is_only_too_slow_is_asked_for_all_the_same() -> None:
    tables = held_to_deadlines(3)
    allowed = allowed_now(tables, np.ones(COUNT))
    best = np.where(allowed, tables.rank, -1).argmax(axis=1)
    comes_to = granted(tables, allowed)[ROWS, by_rule(tables) @ WEIGHTS]
    same = (comes_to == best) | ~allowed.any(axis=1)
    late = ~allowed[ROWS, tables.rank.argmax(axis=1)]
    assert (same & late).sum() > 10
    assert np.array_equal(asking(tables, best, allowed).gates[same], by_rule(tables)[same])


def test_devices_without_an_account_or_a_battery_are_taught_the_rule() -> None:
    samples = simulate(400, SLOTS, seed=4)
    tables = drawn(400, SLOTS, seed=4).tables
    free = np.isinf(tables.burst_uj) & (samples.observation[:, _index("energy_left")] >= 1.0)
    assert free.sum() > 30
    assert np.array_equal(samples.gates[free], by_rule(tables)[free])


def _index(name: str) -> int:
    from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES

    return GLOBAL_FEATURES.index(name)
