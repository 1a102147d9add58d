"""Episodes over arrays, held to the parts of the runtime and to single simulated boards."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.loader import load_profile
from simulators.airtime import CreditAccount
from simulators.battery import batteries
from simulators.device import SimulatedBoard
from simulators.episodes import boards as boarding
from simulators.episodes import governors as governing
from simulators.episodes import links as linking
from simulators.episodes.boards import Boards
from simulators.episodes.drawn import drawn, reached
from simulators.episodes.governors import Met
from simulators.episodes.lanes import Lanes, Start
from simulators.episodes.links import Links
from simulators.episodes.states import RunningStates
from simulators.episodes.tables import joined, tables_of
from simulators.points import Ladder
from simulators.power_pack import PowerPack
from simulators.throttle import thermal_model
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.records import Reason
from tamiyo_runtime.contracts.running import PROFILE_FEATURES, RunningState, running_vector
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.fitting import limits_that_fit
from tamiyo_runtime.governor import SKIP, Conditions, Governor, Limits, Proposal
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.options import Options
from tamiyo_runtime.policy import PolicyAnswer
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tests import tiny
from tests.unit.simulators.test_device import cost

HOT = {"ambient_c": 51.5, "recover_c": 79.0, "time_constant_s": 3.0}
PI = load_profile("raspberry-pi-4").snapshot()
WARM = replace(PI, extra={**PI.extra, "thermal": {**PI.extra["thermal"], **HOT}})


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    made = tiny.make()
    manifest = replace(
        made.manifest, profile=replace(made.manifest.profile, extra=dict(WARM.extra), active_mw=3000.0, idle_mw=2500.0)
    )
    return Bundle(name="tiny", size_bytes=0, manifest=manifest, digest="0" * 64, signer=None, files=dict(made.files))


def boards_of(snapshot, lanes: int = 1, *, seed: int = 0, **more) -> Boards:
    simulation = snapshot.extra["simulation"]
    made = Boards.of(
        [Ladder.of(snapshot)] * lanes,
        [thermal_model(snapshot.extra.get("thermal") or {})] * lanes,
        [(simulation["jitter_sigma"], simulation["jitter_max"])] * lanes,
        devices=np.arange(lanes),
        seed=seed,
    )
    return replace(made, **more)


def links_of(lanes: int = 1, *, seed: int = 0, falls: float = 0.0) -> Links:
    full = np.ones(lanes)
    return Links(
        burst_s=3.6 * full,
        rate=0.009 * full,
        airtime_s=0.4 * full,
        report_s=11.0 * full,
        falls=falls * full,
        returns=0.3 * full,
        devices=np.arange(lanes),
        seed=seed,
    )


shares = st.floats(0, 1)
times = st.floats(0.001, 100)


@st.composite
def running_states(draw) -> RunningState:
    slots = draw(st.integers(1, 4))
    present = draw(st.lists(st.booleans(), min_size=slots, max_size=slots))
    on = [there and draw(st.booleans()) for there in present]

    def each(low: float, high: float) -> tuple[float, ...]:
        return tuple(draw(st.floats(low, high)) if there else 0.0 for there in present)

    return RunningState(
        present=tuple(present),
        on=tuple(on),
        contributions=each(-1, 1),
        relative_params=each(0, 50),
        relative_macs=each(0, 50),
        seed_latency_ms=each(-1, 10),
        host_latency_ms=draw(times),
        full_latency_ms=draw(times),
        current_latency_ms=draw(times),
        deadline_ms=draw(st.none() | times),
        slowdown=draw(st.floats(0.05, 20)),
        bucket_level=draw(shares),
        power_budget_mw=draw(st.none() | times),
        host_power_mw=draw(times),
        full_power_mw=draw(times),
        link_level=draw(shares),
        accuracy=draw(st.none() | shares),
        profile={name: draw(st.floats(-5, 20)) for name in PROFILE_FEATURES},
    )


def as_arrays(state: RunningState) -> RunningStates:
    def lane(value, absent=math.nan):
        return np.array([absent if value is None else value])

    return RunningStates(
        present=lane(state.present),
        on=lane(state.on),
        contributions=lane(state.contributions),
        relative_params=lane(state.relative_params),
        relative_macs=lane(state.relative_macs),
        seed_latency_ms=lane(state.seed_latency_ms),
        host_latency_ms=lane(state.host_latency_ms),
        full_latency_ms=lane(state.full_latency_ms),
        current_latency_ms=lane(state.current_latency_ms),
        deadline_ms=lane(state.deadline_ms, math.inf),
        slowdown=lane(state.slowdown),
        bucket_level=lane(state.bucket_level),
        power_budget_mw=lane(state.power_budget_mw, 0.0),
        host_power_mw=lane(state.host_power_mw),
        full_power_mw=lane(state.full_power_mw),
        link_level=lane(state.link_level),
        accuracy=lane(state.accuracy),
        profile=lane([state.profile[name] for name in PROFILE_FEATURES]),
    )


@given(running_states())
def test_vectors_over_arrays_are_those_of_the_runtimes_builder(state: RunningState) -> None:
    arrays = as_arrays(state)
    np.testing.assert_array_equal(arrays.matrix()[0], np.asarray(running_vector(state), np.float32))
    assert arrays.state(0) == state


def limits_drawn(draw) -> Limits:
    return Limits(
        deadline_ms=draw(st.just(math.inf) | st.floats(2.5, 30)),
        power_mw=draw(st.floats(0, 100)),
        burst_uj=draw(st.just(math.inf) | st.floats(500, 20_000)),
        memory_bytes=draw(st.just(math.inf) | st.floats(100, 2000)),
        hot_c=draw(st.just(math.inf) | st.floats(60, 80)),
        limit_c=draw(st.just(math.inf) | st.floats(80, 90)),
        dwell_ms=draw(st.floats(0, 3000)),
        reserve_share=draw(shares),
    )


@given(st.data())
def test_decisions_over_arrays_are_those_of_the_runtimes_governor(data) -> None:
    manifest = tiny.make().manifest
    variant = manifest.variants[0]
    limits = limits_drawn(data.draw)
    period_s = data.draw(st.floats(0.001, 0.5))
    tables = tables_of(manifest, variant, limits, period_s=period_s)
    options = Options.of(variant.runnables, manifest.configurations, manifest.profile, period_s=period_s)
    governor = Governor(options, limits)
    one, many, now_ms = governor.start(0.0), governing.start(tables, np.zeros(1)), 0.0
    for _ in range(data.draw(st.integers(1, 12))):
        proposal = data.draw(st.integers(0, len(options) - 1))
        slowdown, waited = data.draw(st.floats(0.5, 5)), data.draw(st.just(0.0) | st.floats(0, 5))
        heat = data.draw(st.just(-math.inf) | st.floats(50, 95))
        grant, one = governor.decide(one, Proposal(proposal, Reason.POLICY), Conditions(slowdown, waited, heat), now_ms)
        met = Met(np.array([slowdown]), np.array([waited]), np.array([heat]))
        grants, many = governing.decide(tables, many, np.array([proposal]), met, np.array([now_ms]))
        assert grants.option[0] == grant.option
        assert grants.reserved_uj[0] == pytest.approx(grant.reserved_uj)
        if grant.option != SKIP:
            latency, energy = data.draw(st.floats(0.1, 20)), data.draw(st.floats(0, 3000))
            now_ms += latency
            one = governor.settle(one, grant, ran=grant.option, latency_ms=latency, energy_uj=energy, now_ms=now_ms)
            many = governing.settle(
                tables,
                many,
                grants,
                latency_ms=np.array([latency]),
                energy_uj=np.array([energy]),
                now_ms=np.array([now_ms]),
            )
        assert [field[0] for field in many] == pytest.approx(list(one))
        now_ms += data.draw(st.floats(0, 2000))


@given(st.lists(st.tuples(st.floats(0, 300), st.booleans()), min_size=1, max_size=12))
def test_boards_over_arrays_heat_and_step_as_one_board_does(stretches) -> None:
    boards = boards_of(WARM)
    states, clock = boarding.at_rest(boards), VirtualClock()
    board = SimulatedBoard(replace(WARM, extra={**WARM.extra, "simulation": {}}), clock=clock)
    for seconds, busy in stretches:
        if busy:
            board.run(lambda: None, cost(seconds * 1e3 / board.status().slowdown))
        else:
            clock.advance(seconds)
        states = boarding.passed(boards, states, np.array([seconds]), busy=np.array([busy]))
        assert states.temperature_c[0] == pytest.approx(board.status().temperature_c, abs=1e-9)
        assert boards.stretch[0, states.step[0]] == board.status().slowdown


def test_credit_over_arrays_is_the_accounts() -> None:
    links = links_of(2)
    state, account, sent = linking.fresh(links), CreditAccount(burst_s=3.6, rate=0.009), 0
    waits, now_s, next_s = False, 0.0, 11.0
    for now_s in np.cumsum(np.random.default_rng(0).exponential(7.0, 300)):
        while next_s <= now_s:
            waits, next_s = True, next_s + 11.0
            if account.ready_at_s(0.4, next_s - 11.0) == next_s - 11.0:
                account.spend(0.4, next_s - 11.0)
                waits, sent = False, sent + 1
        if waits and account.ready_at_s(0.4, now_s) == now_s:
            account.spend(0.4, now_s)
            waits, sent = False, sent + 1
        state = linking.until(links, state, np.full(2, now_s))
        assert linking.level(links, state, np.full(2, now_s)) == pytest.approx(account.credit_s(now_s) / 3.6)
    assert 50 < sent < 300


def test_without_a_network_nothing_is_sent_and_credit_comes_back() -> None:
    links = replace(links_of(500, falls=0.2), returns=np.full(500, 0.1))
    state = linking.fresh(links, share=0.2)
    share = []
    for minute in range(1, 300):
        state = linking.until(links, state, np.full(500, minute * 60.0))
        share.append(state.there.mean())
    assert np.mean(share[50:]) == pytest.approx(0.1 / 0.3, abs=0.02)
    level = linking.level(links, state, np.full(500, 300 * 60.0))
    assert level[~state.there].mean() > level[state.there].mean() + 0.1


class Scripted:
    """A policy that asks for what it is told to, and keeps what it saw."""

    interpreter = "scripted"

    def __init__(self, wanted: np.ndarray) -> None:
        self.wanted, self.seen = wanted, []

    def propose(self, state: RunningState) -> PolicyAnswer:
        self.seen.append(running_vector(state))
        return PolicyAnswer(tuple(self.wanted[len(self.seen) - 1].tolist()))


class Credit:
    """A link's account that sends a report each 11 s, as the episodes' links do."""

    def __init__(self, links: Links) -> None:
        self.links, self.state = links, linking.fresh(links)

    def level(self, now_s: float) -> float:
        account, now = self.state, np.array([now_s])
        self.state = linking.until(self.links, account, now)
        return float(linking.level(self.links, self.state, now)[0])


@pytest.mark.parametrize(
    ("budget", "period_s", "battery"),
    [
        (Budget(latency_ms=9.0, power_mw=3.0, energy_burst_uj=20_000.0), 0.2, False),
        (Budget(latency_ms=7.5), 0.006, False),
        (Budget(power_mw=2.5, energy_burst_uj=9_000.0), 0.2, False),
        (Budget(latency_ms=12.0, power_mw=400.0, energy_burst_uj=30_000.0), 0.008, True),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_session_and_an_episode_on_one_seed_see_the_same_vectors_and_run_the_same(
    bundle, budget, period_s, battery, seed
) -> None:
    """The real runtime on one simulated board, and the generator on its lane: sample by sample the same."""
    samples = 400
    variant = next(one for one in bundle.manifest.variants if one.id == "int8")
    wanted = np.random.default_rng(seed).random((samples, 2)) < 0.6
    policy, links = Scripted(wanted), links_of(seed=seed, falls=0.3)
    cell = batteries.get("li-ion-18650")
    pack = PowerPack(battery=cell, supply_v=4.0, share=0.6) if battery else None
    clock = VirtualClock()
    session = Session(
        bundle.manifest,
        Executor(bundle, "int8"),
        board=SimulatedBoard(bundle.manifest.profile, clock=clock, seed=seed, pack=pack),
        source=open_source("bundle", bundle),
        reporter=Silent(),
        policy=policy,
        plan=Plan(samples=samples, period_s=period_s, budget=budget, policy_every=1, watchful=None, trace=True),
        link_level=Credit(links).level,
    )
    trace = session.run().trace
    known = Options.of(variant.runnables, bundle.manifest.configurations, bundle.manifest.profile, period_s=period_s)
    plan = Plan()
    limits = limits_that_fit(budget, known, bundle.manifest, margin=plan.margin, dwell_ms=plan.dwell_s * 1e3)
    tables = tables_of(bundle.manifest, variant, limits, period_s=period_s)
    boards = boards_of(bundle.manifest.profile, seed=seed, battery=cell if battery else None, supply_v=4.0)
    lanes = Lanes(tables, boards, links, Start(battery=0.6))
    options = []
    for index in range(samples):
        seen = lanes.observe().matrix()[0]
        np.testing.assert_allclose(seen, np.asarray(policy.seen[index], np.float32), rtol=1e-6, atol=1e-6)
        outcome = lanes.step(wanted[index : index + 1])
        options.append(int(outcome.option[0]))
        assert outcome.latency_ms[0] == pytest.approx(np.nan_to_num(trace.latency_ms[index]), rel=1e-9)
    np.testing.assert_array_equal(options, trace.option)
    assert len(set(options)) > 1


def test_a_lane_does_not_depend_on_who_is_beside_it(bundle: Bundle) -> None:
    limits = Limits.of(Budget(latency_ms=9.0, power_mw=30.0, energy_burst_uj=60_000.0))
    one = tables_of(bundle.manifest, bundle.manifest.variants[0], limits, period_s=0.2)
    many = Lanes(joined([one] * 5), boards_of(WARM, 5), links_of(5))
    alone = Lanes(
        one,
        replace(boards_of(WARM), devices=np.array([3])),
        replace(links_of(), devices=np.array([3])),
    )
    gates = np.random.default_rng(0).random((60, 5, 2)) < 0.5
    for step in range(60):
        np.testing.assert_array_equal(many.observe().matrix()[3], alone.observe().matrix()[0])
        assert many.step(gates[step]).latency_ms[3] == alone.step(gates[step, 3:4]).latency_ms[0]


class TestDrawn:
    def test_a_seed_brings_a_drawn_network_what_it_contributes_whatever_else_is_on(self) -> None:
        tables = drawn(400, 3, seed=9).tables
        there = tables.rank >= 0
        brought = (tables.gates * tables.contributions[:, None, :]).sum(2)
        np.testing.assert_allclose((tables.accuracy - tables.accuracy[:, :1])[there], brought[there], atol=1e-9)
        assert (tables.accuracy[there] < 1).all()

    def test_a_drawn_device_and_its_state_do_not_depend_on_how_many_are_drawn(self) -> None:
        few, many = (reached(count, 3, seed=4)[1] for count in (20, 60))
        np.testing.assert_array_equal(few.matrix(), many.matrix()[:20])
        assert not np.array_equal(few.matrix(), reached(20, 3, seed=5)[1].matrix())

    def test_every_state_is_one_that_the_runtime_accepts_and_builds_the_same_vector_of(self) -> None:
        _, states = reached(200, 4, seed=1)
        for lane, vector in enumerate(states.matrix()):
            np.testing.assert_array_equal(vector, np.asarray(running_vector(states.state(lane)), np.float32))

    def test_boards_are_slow_and_fast_budgets_tight_and_wide_links_full_and_empty(self) -> None:
        lanes, states = reached(3000, 4, seed=2)
        assert 0.1 < (states.slowdown > 1.2).mean() < 0.6
        assert 0.05 < (states.bucket_level < 0.2).mean() < 0.5
        assert 0.05 < (states.link_level < 0.2).mean() < 0.5
        assert 0.2 < (lanes.battery < 1).mean() < 0.4
        assert 0.05 < states.on.mean() < 0.5

    def test_options_are_ordered_ranked_and_found_as_the_runtime_does_it(self) -> None:
        tables = drawn(50, 3, seed=6).tables
        for lane in range(50):
            last = int(tables.last[lane])
            assert (np.diff(tables.latency_ms[lane, : last + 1]) >= 0).all()
            worth = [(tables.accuracy[lane, index], -index) for index in range(last + 1)]
            best_first = sorted(range(last + 1), key=worth.__getitem__, reverse=True)
            assert np.argsort(-tables.rank[lane, : last + 1]).tolist() == best_first
            for option in range(last + 1):
                gates = tables.gates[lane, option]
                assert not (gates & ~tables.present[lane]).any()
                assert tables.find[lane, gates @ (4, 2, 1)] == option


def test_a_lane_whose_battery_is_empty_is_told_of_and_stays_off(bundle: Bundle) -> None:
    limits = Limits.of(Budget(latency_ms=9.0))
    tables = tables_of(bundle.manifest, bundle.manifest.variants[0], limits, period_s=60.0)
    boards = boards_of(WARM, 2, battery=batteries.get("li-ion-18650"), supply_v=np.array([5.0, math.inf]))
    lanes = Lanes(joined([tables] * 2), boards, links_of(2), Start(battery=0.1))
    alive = [lanes.step(np.ones((2, 2), dtype=bool)).alive for _ in range(60)]
    assert alive[0].all()
    assert not alive[-1][0]
    assert alive[-1][1]
    assert sum(before[0] != after[0] for before, after in pairwise(alive)) == 1


def test_lanes_go_on_on_other_boards_with_the_state_they_were_in() -> None:
    usual, slowed = drawn(50, 3, seed=5), drawn(50, 3, seed=5)
    none = np.zeros((50, 3), dtype=bool)
    for lanes in (usual, slowed):
        lanes.step(none)
    slowed.under(replace(slowed.boards, stretch=slowed.boards.stretch * 2.0))
    np.testing.assert_array_equal(slowed.slowdown, usual.slowdown * 2.0)
    np.testing.assert_allclose(slowed.draw, usual.draw * 2.0)
    np.testing.assert_array_equal(slowed.bucket, usual.bucket)
    before, after = usual.step(none), slowed.step(none)
    both = (before.option == 0) & (after.option == 0) & (usual.tables.unclocked_ms[:, 0] == 0)
    assert both.sum() > 5
    np.testing.assert_allclose(after.latency_ms[both], before.latency_ms[both] * 2.0)
