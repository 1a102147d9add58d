"""The loop, on real graphs under a simulated board: budgets hold, changes are told, failures are survived."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.device import SimulatedBoard
from simulators.throttle import Phase, ThrottleSchedule
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source as FigureSource
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.contracts.records import Decision, Event, EventRecord, Mode, Reason
from tamiyo_runtime.contracts.running import RunningState
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.interpreters import GraphError
from tamiyo_runtime.meters import Board, HostBoard, MeteredBoard, Meters, VirtualClock
from tamiyo_runtime.policy import Policy, PolicyAnswer
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.summary import LatencyHistogram, SessionSummary


class Recorder(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.events: list[EventRecord] = []
        self.skips: list[Reason] = []
        self.inferences = 0
        self.pumps: list[float] = []
        self.bundles: list[str] = []

    def inference(self, **_figures: Any) -> None:
        self.inferences += 1

    def skipped(self, *, t_ms: int, reason: Reason) -> None:
        self.skips.append(reason)

    def decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def event(self, event: EventRecord) -> None:
        self.events.append(event)

    def running(self, bundle: str) -> None:
        self.bundles.append(bundle)

    def pump(self, now_s: float) -> None:
        self.pumps.append(now_s)

    def seen(self, event: Event) -> list[str]:
        return [record.detail for record in self.events if record.event is event]


Run = Callable[..., tuple[SessionSummary, Recorder]]


@pytest.fixture
def run(tiny_bundle: Bundle) -> Run:
    """Run the tiny bundle; ``phases`` of the simulated board, other names as in `Plan`."""

    def build(
        *,
        phases: tuple[tuple[float, float], ...] = (),
        policy: Policy | None = None,
        executor: Executor | None = None,
        board: Board | None = None,
        **plan: Any,
    ) -> tuple[SessionSummary, Recorder]:
        schedule = ThrottleSchedule(tuple(Phase(start_s=s, slowdown=k, label="") for s, k in phases))
        board = board or SimulatedBoard(tiny_bundle.manifest.profile, clock=VirtualClock(), schedule=schedule)
        recorder = Recorder()
        session = Session(
            tiny_bundle.manifest,
            executor or Executor(tiny_bundle, "int8"),
            board=board,
            source=open_source("bundle", tiny_bundle),
            reporter=recorder,
            policy=policy,
            plan=Plan(**{"samples": 100, "trace": True, **plan}),
        )
        return session.run(), recorder

    return build


@pytest.fixture
def policy(tiny_bundle: Bundle) -> Policy:
    loaded = Policy.of(tiny_bundle, Format.TFLITE)
    assert loaded is not None
    return loaded


def test_without_limits_the_most_accurate_configuration_runs_and_answers_as_the_network_does(run: Run) -> None:
    summary, recorder = run(samples=24)
    assert summary.counts == {"c11": 24}
    assert summary.accuracy == 1.0
    assert summary.latency_source is FigureSource.SIMULATED
    assert recorder.inferences == 24
    assert [(d.granted, d.reason) for d in recorder.decisions] == [("c11", Reason.NO_POLICY)]
    assert recorder.seen(Event.STOP) == ["done"]


def test_the_policy_switches_seeds_off_while_the_board_is_throttled_and_on_again(run: Run, policy: Policy) -> None:
    summary, recorder = run(policy=policy, phases=((3, 2.5), (6, 1)), period_s=0.1)
    assert [d.granted for d in recorder.decisions] == ["c11", "c00", "c11"]
    assert {d.reason for d in recorder.decisions} == {Reason.POLICY}
    assert [e.value for e in recorder.events if e.event is Event.THROTTLE] == [2500, 1000]
    assert summary.deadline_misses == 0
    assert summary.trace is not None
    during = (summary.trace.t_s >= 3.0) & (summary.trace.t_s < 5.9)
    assert set(summary.trace.option[during]) == {0}


def test_the_governor_holds_the_deadline_where_the_policy_would_not(run: Run, tiny_bundle: Bundle) -> None:
    summary, recorder = run(phases=((2, 2.5), (5, 4.0)), period_s=0.1)
    assert summary.deadline_misses == 0
    assert summary.trace is not None
    ran = summary.trace.option >= 0
    assert np.all(summary.trace.latency_ms[ran] <= 10.0)
    assert summary.skips == {"skip_latency": 50}  # at 4 x even the bare host's 3 ms are too long
    assert recorder.seen(Event.MODE) == ["degraded", "fault"]
    assert recorder.skips == [Reason.SKIP_LATENCY] * 50
    assert summary.mode is Mode.FAULT


@settings(max_examples=25)
@given(
    power=st.floats(0.5, 30),
    burst=st.floats(310, 3000),
    period=st.floats(0.0, 0.3),
    slowdown=st.floats(1.0, 2.0),
    tighter=st.floats(0.2, 1.0),
)
def test_energy_and_deadline_hold_for_any_budget_period_and_throttling(
    tiny_bundle: Bundle, power: float, burst: float, period: float, slowdown: float, tighter: float
) -> None:
    schedule = ThrottleSchedule((Phase(start_s=2.0, slowdown=slowdown, label=""),))
    later = Budget(latency_ms=9.0, power_mw=power * tighter, energy_burst_uj=310 + (burst - 310) * tighter)
    summary = Session(
        tiny_bundle.manifest,
        Executor(tiny_bundle, "int8"),
        board=SimulatedBoard(tiny_bundle.manifest.profile, clock=VirtualClock(), schedule=schedule),
        source=open_source("bundle", tiny_bundle),
        reporter=Silent(),
        policy=Policy.of(tiny_bundle, Format.TFLITE),
        plan=Plan(
            samples=80,
            period_s=period,
            budget=Budget(latency_ms=12.0, power_mw=power, energy_burst_uj=burst),
            schedule=[(3.0, later)],
            trace=True,
        ),
    ).run()
    trace = summary.trace
    assert trace is not None
    assert summary.deadline_misses == 0
    for changed in (False, True):  # each budget over the stretches of time in which it held
        held = (trace.t_s >= 3.0) == changed
        energy, times = trace.energy_uj[held], trace.t_s[held]
        limit_uj, rate = (later.energy_burst_uj, later.power_mw) if changed else (burst, power)
        assert limit_uj is not None
        assert rate is not None
        totals = np.concatenate([[0.0], np.cumsum(energy)])
        for first in range(len(times)):
            window_ms = (times[first:] - times[first]) * 1e3
            spent = totals[first + 1 :] - totals[first]
            assert np.all(spent <= (limit_uj + rate * window_ms) * (1 + 1e-9))


def test_a_budget_can_tighten_on_the_way_and_the_change_is_told(run: Run) -> None:
    summary, recorder = run(schedule=[(5.0, Budget(latency_ms=4.0))], period_s=0.1)
    assert recorder.seen(Event.BUDGET) == ["deadline_ms 10 -> 4"]
    assert summary.trace is not None
    later = summary.trace.option[summary.trace.t_s > 5.05].tolist()
    assert later == sorted(later)  # 3.6 ms at worst, then 3.5 ms as estimated: the board has kept to its estimates
    assert set(later) == {1, 2}
    assert recorder.decisions[-1].reason is Reason.LATENCY


def test_a_budget_that_not_even_the_bare_host_fits_is_refused_before_anything_runs(run: Run) -> None:
    with pytest.raises(BudgetError, match="not even the bare host fits the latency budget") as caught:
        run(budget=Budget(latency_ms=2.0))
    assert caught.value.exit_code == 3
    assert "trunk0 (128 MACs), seed0" in str(caught.value.hint)
    with pytest.raises(BudgetError, match="energy"):
        run(schedule=[(1.0, Budget(power_mw=1.0, energy_burst_uj=100.0))])
    with pytest.raises(BudgetError, match="memory"):
        run(budget=Budget(memory_bytes=100))


class Broken(Policy):
    """A policy that fails in the given way from the third consultation on."""

    def __init__(self, how: str) -> None:
        self.how, self.calls, self.interpreter = how, 0, "broken"

    def forward(self, observation: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]  # a test's double
        self.calls += 1
        if self.calls > 2 and self.how == "crash":
            raise RuntimeError("segment fault in a delegate")
        value = np.nan if self.calls > 2 and self.how == "nan" else 0.0
        return np.full(40, value, np.float32)

    def propose(self, state: RunningState) -> PolicyAnswer:
        self._gates = slice(0, 2)
        return super().propose(state)


@pytest.mark.parametrize("how", ["nan", "crash"])
def test_a_policy_that_crashes_or_answers_nan_is_replaced_by_the_governors_choice(run: Run, how: str) -> None:
    summary, recorder = run(policy=Broken(how), policy_every=10)
    assert summary.inferences == 100
    assert summary.policy_failures > 0
    assert [d.granted for d in recorder.decisions] == ["c00", "c11"]
    assert recorder.decisions[-1].reason is Reason.POLICY_FAILED
    assert len(recorder.seen(Event.POLICY_FAILURE)) == 1


class Fragile(Executor):
    """An executor some of whose configurations fail."""

    failing: tuple[int, ...] = ()

    def stoppable(self, index: int) -> bool:
        return False

    def classify(self, sample: np.ndarray, index: int) -> tuple[int, float]:  # type: ignore[type-arg]  # a double
        if index in self.failing:
            raise RuntimeError("tensor allocation failed")
        return super().classify(sample, index)


def test_a_failing_configuration_is_rolled_back_to_the_bare_host_and_not_tried_again(
    run: Run, tiny_bundle: Bundle
) -> None:
    fragile = Fragile(tiny_bundle, "int8")
    fragile.failing = (3,)
    summary, recorder = run(executor=fragile, dwell_s=0.0)
    assert summary.inferences == 100
    assert recorder.seen(Event.MODE)[:2] == ["rollback c11: tensor allocation failed", "safe"]
    assert "c11" not in summary.counts
    assert summary.failures == 1


def test_when_the_bare_host_fails_as_well_the_session_ends_in_fault(run: Run, tiny_bundle: Bundle) -> None:
    fragile = Fragile(tiny_bundle, "int8")
    fragile.failing = (0, 1, 2, 3)
    with pytest.raises(GraphError, match="the bare host c00 failed"):
        run(executor=fragile)


def test_a_session_ends_soon_after_it_is_told_to_and_says_so(tiny_bundle: Bundle) -> None:
    recorder = Recorder()
    session = Session(
        tiny_bundle.manifest,
        Executor(tiny_bundle),
        board=HostBoard(tiny_bundle.manifest.profile),
        source=open_source("bundle", tiny_bundle),
        reporter=recorder,
        plan=Plan(samples=10, period_s=3600.0),
    )
    threading.Timer(0.2, session.stop).start()
    started_s = time.monotonic()
    summary = session.run()
    assert time.monotonic() - started_s < 5
    assert summary.samples == 1
    assert summary.stopped_early
    assert recorder.seen(Event.STOP) == ["stopped"]


def test_telemetry_gets_its_turns_while_nothing_runs(run: Run) -> None:
    _, recorder = run(samples=3, period_s=2.0)
    gaps = np.diff(recorder.pumps)
    assert len(gaps) >= 15
    assert gaps.max() <= 0.25 + 1e-9


def test_the_source_is_repeated_until_there_are_enough_samples(run: Run) -> None:
    assert run(samples=31)[0].samples == 31
    assert run(samples=None)[0].samples == 12


def test_a_starved_device_does_not_report_every_skip(run: Run) -> None:
    summary, recorder = run(budget=Budget(power_mw=1.5, energy_burst_uj=320.0), samples=200, period_s=0.1)
    assert summary.skipped >= 100
    assert len(recorder.skips) == summary.skipped
    assert len(recorder.decisions) < 8
    assert Reason.SKIP_ENERGY in {decision.reason for decision in recorder.decisions}


def test_on_a_real_board_latency_is_measured_and_energy_estimated(run: Run, tiny_bundle: Bundle) -> None:
    profile = tiny_bundle.manifest.profile
    summary, _ = run(board=HostBoard(profile), period_s=0.0, budget=Budget())
    assert summary.latency_source is FigureSource.MEASURED
    assert summary.energy_source is FigureSource.ANALYTIC
    assert summary.latency_p50_ms is not None
    took_ms = float(np.nansum(summary.trace.latency_ms))  # type: ignore[union-attr]  # asked for
    assert took_ms * profile.idle_mw < summary.energy_uj <= took_ms * profile.active_mw * (1 + 1e-9)


def test_who_waits_for_the_processor_is_charged_for_waiting(tiny_bundle: Bundle) -> None:
    profile, cost = tiny_bundle.manifest.profile, tiny_bundle.manifest.variants[0].runnables[0].cost
    _, usage = HostBoard(profile).run(lambda: time.sleep(0.05), cost)
    assert usage.latency_ms >= 50
    assert usage.energy_uj < 0.5 * usage.latency_ms * profile.active_mw


class SteadyMeter:
    """Counts 5 W, in steps of a tenth of a millisecond, on the machine's own clock."""

    label, scope, interval_ms = "a counter", "everything", 0.1

    def read_uj(self) -> float:
        return time.perf_counter_ns() // 100_000 * 0.1 * 5000.0


class Slow(Executor):
    """An executor that takes a millisecond at the least."""

    def stoppable(self, index: int) -> bool:
        return False

    def classify(self, sample: np.ndarray, index: int) -> tuple[int, float]:  # type: ignore[type-arg]  # a double
        until = time.perf_counter() + 1e-3
        while time.perf_counter() < until:
            pass
        return super().classify(sample, index)


def test_on_a_metered_board_a_sum_is_measured_only_where_all_of_it_is(run: Run, tiny_bundle: Bundle) -> None:
    meter = SteadyMeter()
    board = MeteredBoard(tiny_bundle.manifest.profile, Meters(power=meter), meter)
    summary, _ = run(board=board, executor=Slow(tiny_bundle, "int8"), period_s=0.0, budget=Budget(), samples=250)
    assert summary.energy_source is FigureSource.ANALYTIC  # the first tenth of a second was
    parts = summary.energy_by_source
    assert parts.keys() == {"analytic", "measured"}
    assert sum(parts.values()) == pytest.approx(summary.energy_uj)
    trace = summary.trace
    assert trace is not None
    rates = trace.energy_uj / trace.latency_ms  # the estimate's 100 mW, or what the meter said
    measured = rates[np.abs(rates - 100.0) > 1.0]
    assert measured == pytest.approx(5000.0, rel=0.1)  # a busy machine has its share in it


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=3000), st.floats(0.01, 1.0))
@settings(max_examples=30)
def test_percentiles_are_right_to_half_a_percent(values: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.0051)
    assert histogram.maximum == max(values)


def test_no_values_have_no_percentile() -> None:
    assert LatencyHistogram().quantile(0.5) is None
