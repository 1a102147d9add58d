"""What is changed while a session runs, and what is left out while an inference runs: no sample is lost to either."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.device import SimulatedBoard
from simulators.throttle import Phase, ThrottleSchedule
from tamiyo_runtime.advice import Adviser, patience_ms
from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Estimate
from tamiyo_runtime.contracts.plan import Format, Runnable
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.records import Event, Mode, Reason
from tamiyo_runtime.contracts.running import RunningState
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.monitors import MonitorSettings
from tamiyo_runtime.policy import Policy, PolicyAnswer
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.sources.base import Sample
from tamiyo_runtime.summary import SessionSummary, Turn
from tests import tiny
from tests.unit.tamiyo_runtime.test_session import Fragile, Recorder

JITTERY = {"simulation": {"jitter_sigma": 0.1, "jitter_max": 1.3}}


class Script:
    """A control that makes its changes after so many samples, in order."""

    def __init__(self, *changes: tuple[int, Change]) -> None:
        self.changes = list(changes)
        self.problems: list[str] = []
        self.turns: list[Turn] = []

    def poll(self, turn: Turn) -> Change | None:
        self.turns.append(turn)
        if self.changes and turn.earlier + turn.tally.samples >= self.changes[0][0]:
            return self.changes.pop(0)[1]
        return None

    def refused(self, change: Change, problem: str) -> None:
        self.problems.append(problem)


def board(profile: ProfileSnapshot, *phases: tuple[float, float], seed: int = 0) -> SimulatedBoard:
    schedule = ThrottleSchedule(tuple(Phase(start_s=start, slowdown=factor, label="") for start, factor in phases))
    return SimulatedBoard(profile, clock=VirtualClock(), schedule=schedule, seed=seed)


def run(
    bundle: Bundle,
    on: SimulatedBoard,
    *,
    control: Script | None = None,
    policy: Policy | None = None,
    executor: Executor | None = None,
    **plan: Any,
) -> tuple[SessionSummary, Recorder]:
    recorder = Recorder()
    session = Session(
        bundle.manifest,
        executor or Executor(bundle, "int8"),
        board=on,
        source=open_source("bundle", bundle),
        reporter=recorder,
        policy=policy,
        plan=Plan(**{"samples": 100, "trace": True, **plan}),
        control=control,
    )
    return session.run(), recorder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    """Version 2 of the tiny bundle, under another name."""
    made = tiny.make()
    path = tmp_path_factory.mktemp("other") / "other.tamiyo"
    write_bundle(path, replace(made.manifest, name="other", version=2), made.files, key, overwrite=False)
    return Bundle.open(path, trusted=Trust([key.public]))


def loaded(bundle: Bundle) -> Loaded:
    return Loaded(bundle=bundle, executor=Executor(bundle, "float"), policy=None)


def test_another_bundle_takes_over_between_two_samples_and_none_is_dropped(tiny_bundle: Bundle, other: Bundle) -> None:
    control = Script((40, Change(loaded=loaded(other))))
    summary, recorder = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control)
    assert summary.samples == summary.inferences == 100
    assert summary.bundle == "other"
    assert recorder.seen(Event.RELOAD) == [f"{other.digest[:8]} other"]
    assert [event.value for event in recorder.events if event.event is Event.RELOAD] == [2]
    assert recorder.bundles == [other.digest[:8]]
    assert summary.counts == {"c11": 100}
    assert summary.trace is not None
    assert summary.trace.configurations == ("c00", "c10", "c01", "c11") * 2
    assert set(summary.trace.option) == {3, 7}
    assert np.all(np.diff(summary.trace.t_s) == pytest.approx(0.1))
    last = control.turns[-1]
    assert (last.earlier + last.tally.samples, last.earlier) == (pytest.approx(100, abs=3), pytest.approx(40, abs=3))


def test_another_bundle_is_not_judged_by_how_the_one_before_was_doing(tiny_bundle: Bundle, other: Bundle) -> None:
    """The bucket is soon empty and the board starves, until what takes over has one without limit."""
    poor = Budget(power_mw=1e-6, energy_burst_uj=500.0)
    control = Script((60, Change(loaded=loaded(other), budget=Budget())))
    _, recorder = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control, budget=poor)
    before = [turn.mode for turn in control.turns if not turn.earlier]
    after = [turn.mode for turn in control.turns if turn.earlier]
    assert before[-1] is Mode.FAULT
    assert set(after) == {Mode.NORMAL}
    assert recorder.seen(Event.MODE)[-1] == "normal another bundle"
    assert not control.turns[-1].tally.skips


def test_a_configuration_that_fails_counts_until_another_bundle_runs(tiny_bundle: Bundle, other: Bundle) -> None:
    fragile = Fragile(tiny_bundle, "int8")
    fragile.failing = (3,)
    control = Script((60, Change(loaded=loaded(other))))
    summary, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control, executor=fragile, dwell_s=0.0)
    assert {turn.tally.failures for turn in control.turns[2:] if not turn.earlier} == {1}
    assert {turn.tally.failures for turn in control.turns if turn.earlier} == {0}
    assert summary.failures == 1


def test_limits_that_were_ordered_outlive_the_bundle_and_its_own_do_not(tiny_bundle: Bundle, other: Bundle) -> None:
    tight, swap = Change(budget=Budget(latency_ms=4.0)), Change(loaded=loaded(other))
    ordered, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=Script((20, tight), (40, swap)))
    assert ordered.counts.keys() == {"c11", "c10"}
    assert set(ordered.trace.option[50:]) == {5}  # type: ignore[union-attr]  # asked for
    own, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=Script((40, swap)))
    assert own.counts == {"c11": 100}


def test_what_was_counted_under_other_limits_is_not_held_against_what_runs_under_these(tiny_bundle: Bundle) -> None:
    """Under the first limits most samples are skipped for want of energy; the second say what held before again."""
    poor, rich = Budget(power_mw=1e-6, energy_burst_uj=500.0), Budget()
    control = Script((60, Change(budget=rich)), (80, Change(budget=rich, use_policy=False)))
    summary, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control, budget=poor)
    before = [turn.tally for turn in control.turns if not turn.earlier]
    after = [turn for turn in control.turns if turn.earlier]
    assert before[-1].skips.total() > 0
    assert all(not turn.tally.skips for turn in after)
    assert {turn.earlier for turn in after} == {before[-1].samples}  # the order about the policy alone starts nothing
    assert summary.samples == 100 == summary.inferences + summary.skipped
    assert summary.skipped == before[-1].skips.total()


def test_a_configuration_that_failed_is_no_less_broken_under_other_limits(tiny_bundle: Bundle) -> None:
    fragile = Fragile(tiny_bundle, "int8")
    fragile.failing = (3,)
    control = Script((60, Change(budget=Budget(latency_ms=500.0))))
    summary, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control, executor=fragile, dwell_s=0.0)
    assert {turn.tally.failures for turn in control.turns if turn.earlier} == {1}
    assert summary.failures == 1


def test_a_change_that_cannot_be_made_is_refused_and_changes_nothing(tiny_bundle: Bundle, other: Bundle) -> None:
    wider = replace(other.manifest, input=replace(tiny.INPUT, raw_high=255.0))
    foreign = Loaded(bundle=_with(other, wider), executor=Executor(other), policy=None)
    control = Script(
        (10, Change(budget=Budget(latency_ms=1.0))),
        (20, Change(loaded=foreign)),
        (30, Change(loaded=loaded(other), budget=Budget(latency_ms=1.0))),
    )
    summary, recorder = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control)
    assert summary.counts == {"c11": 100}
    assert not recorder.seen(Event.RELOAD)
    assert not recorder.seen(Event.BUDGET)
    assert [problem.partition(":")[0] for problem in control.problems] == [
        "not even the bare host fits the latency budget",
        "other takes samples of [1, 4, 4] from 0 to 255, the source gives [1, 4, 4] from 0 to 16",
        "not even the bare host fits the latency budget",
    ]


def test_a_bundle_that_a_later_budget_of_the_schedule_would_stop_is_refused(tiny_bundle: Bundle, other: Bundle) -> None:
    slow = other.manifest.variants
    slow = tuple(
        replace(v, runnables=tuple(replace(r, cost=replace(r.cost, latency_ms=_tenfold(r))) for r in v.runnables))
        for v in slow
    )
    there = _with(other, replace(other.manifest, variants=slow))
    control = Script((20, Change(loaded=Loaded(bundle=there, executor=Executor(there, "float"), policy=None))))
    later = ((5.0, Budget(latency_ms=9.0)),)
    summary, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), control=control, budget=Budget(), schedule=later)
    assert (summary.bundle, summary.inferences) == ("tiny", 100)
    assert [problem.partition(":")[0] for problem in control.problems] == [
        "not even the bare host fits the latency budget"
    ]


def _tenfold(runnable: Runnable) -> Estimate:
    ms = 10 * runnable.cost.latency_ms.value
    return replace(runnable.cost.latency_ms, value=ms, low=ms, high=ms)


def _with(bundle: Bundle, manifest: Any) -> Bundle:
    changed = object.__new__(Bundle)
    changed.__dict__.update(bundle.__dict__)
    changed.manifest = manifest
    return changed


def test_the_policy_can_be_switched_off_and_on(tiny_bundle: Bundle) -> None:
    policy = Policy.of(tiny_bundle, Format.TFLITE)
    control = Script((30, Change(use_policy=False)), (60, Change(use_policy=True)))
    hot = board(tiny_bundle.manifest.profile, (0.0, 2.0))
    summary, recorder = run(tiny_bundle, hot, policy=policy, control=control)
    assert [decision.reason for decision in recorder.decisions] == [Reason.POLICY, Reason.NO_POLICY, Reason.POLICY]
    assert summary.deadline_misses == 0


def test_under_overload_samples_that_waited_get_less_and_hopeless_ones_are_skipped(tiny_bundle: Bundle) -> None:
    """The full network takes 4 ms, a sample comes every 3.2 ms, and an answer is due in 10 ms."""
    summary, _ = run(tiny_bundle, board(tiny_bundle.manifest.profile), period_s=3.2e-3, samples=500, dwell_s=0.0)
    assert summary.deadline_misses == 0
    assert summary.skipped == 0
    assert sum(summary.counts.values()) == 500
    assert summary.counts.keys() == {"c11", "c01", "c10"}  # 3.5 and 3 ms in turn, once the slack has been used up
    flood, recorder = run(tiny_bundle, board(tiny_bundle.manifest.profile), period_s=1.5e-3, samples=500, dwell_s=0.0)
    assert flood.deadline_misses == 0
    assert flood.skips.keys() == {"skip_late"}
    assert flood.inferences > 0.45 * 500
    assert Reason.SKIP_LATE in recorder.skips
    assert "fault" not in recorder.seen(Event.MODE)


@settings(max_examples=40)
@given(
    period_ms=st.floats(0.5, 12),
    deadline_ms=st.floats(4.2, 30),
    phases=st.lists(st.tuples(st.floats(0, 1), st.floats(0.5, 3)), max_size=4, unique_by=lambda phase: phase[0]),
    seed=st.integers(0, 1 << 16),
    energy=st.tuples(st.floats(1, 120), st.floats(450, 3000)) | st.none(),
)
def test_no_admitted_answer_is_late_and_no_stretch_overdrawn_for_any_arrivals_seed_and_throttling(
    tiny_bundle: Bundle,
    period_ms: float,
    deadline_ms: float,
    phases: Sequence[tuple[float, float]],
    seed: int,
    energy: tuple[float, float] | None,
) -> None:
    profile = replace(tiny_bundle.manifest.profile, extra=JITTERY)
    bundle = _with(tiny_bundle, replace(tiny_bundle.manifest, profile=profile))
    power_mw, burst_uj = energy or (None, None)
    summary, _ = run(
        bundle,
        board(profile, *sorted(phases), seed=seed),
        period_s=period_ms * 1e-3,
        samples=120,
        dwell_s=0.01,
        budget=Budget(latency_ms=deadline_ms, power_mw=power_mw, energy_burst_uj=burst_uj),
    )
    assert summary.deadline_misses == 0
    trace = summary.trace
    assert trace is not None
    if power_mw is None or burst_uj is None:
        return
    totals = np.concatenate([[0.0], np.cumsum(trace.energy_uj)])
    for first in range(len(trace.t_s)):
        window_ms = (trace.t_s[first:] - trace.t_s[first]) * 1e3
        assert np.all(totals[first + 1 :] - totals[first] <= (burst_uj + power_mw * window_ms) * (1 + 1e-9))


class Stalling(SimulatedBoard):
    """A board on which the second and third graph of an inference take three times as long as they should."""

    def lap(self, expected_ms: float) -> float:
        return super().lap(expected_ms * (3.0 if 0 < self._lapped_ms < 5 else 1.0))


def test_seeds_are_left_out_on_the_way_when_with_them_the_answer_would_be_late(tiny_bundle: Bundle) -> None:
    """4 ms as estimated, 7.2 ms on this board; without the second seed, which has not begun by then, 6.35 ms."""
    stalling = Stalling(tiny_bundle.manifest.profile, clock=VirtualClock())
    summary, recorder = run(tiny_bundle, stalling, samples=1, budget=Budget(latency_ms=7.0))
    assert summary.counts == {"c10": 1}
    assert summary.deadline_misses == 0
    assert [(d.granted, d.reason, d.mode) for d in recorder.decisions] == [("c10", Reason.DEADLINE, Mode.DEGRADED)]
    assert summary.correct == int(tiny.logits(tiny.samples()[0][0], (True, False)).argmax() == tiny.samples()[1][0])


def test_a_board_too_hot_is_left_to_cool(tiny_bundle: Bundle) -> None:
    thermal = {
        "ambient_c": 25.0, "resistance_k_per_w": 600.0, "time_constant_s": 1.0,
        "throttle_c": 80.0, "recover_c": 75.0, "throttled_slowdown": 2.0,
    }  # fmt: skip
    profile = replace(tiny_bundle.manifest.profile, extra={"thermal": thermal})
    bundle = _with(tiny_bundle, replace(tiny_bundle.manifest, profile=profile))
    summary, recorder = run(bundle, board(profile), samples=4000, period_s=4e-3, dwell_s=0.0)
    assert not recorder.seen(Event.THROTTLE)  # the governor keeps the board below where it would slow down
    assert Reason.THERMAL in {decision.reason for decision in recorder.decisions}
    assert summary.counts["c11"] > 400


class Sleeper(Policy):
    """A policy that answers when it is let go."""

    def __init__(self) -> None:
        self.interpreter = "sleeper"
        self.gate = threading.Event()
        self.asked = 0

    def propose(self, state: RunningState) -> PolicyAnswer:
        self.asked += 1
        self.gate.wait(20.0)
        return PolicyAnswer((True, False))


def test_a_policy_that_does_not_answer_costs_its_patience_once(tiny_bundle: Bundle) -> None:
    state: Any = None  # the sleeper does not look
    sleeper = Sleeper()
    adviser = Adviser(sleeper, in_real_time=True)
    first, second = adviser.ask(state, 20.0), adviser.ask(state, 20.0)
    assert first.problem == "the policy took longer than 20 ms"
    assert second.problem == "the policy is still busy with an earlier question"
    assert sleeper.asked == 1
    sleeper.gate.set()
    limit_s = time.monotonic() + 20.0
    while (answer := adviser.ask(state, 200.0)).problem is not None:  # what it said too late is not heard
        assert time.monotonic() < limit_s
    assert answer.gates == (True, False)
    assert sleeper.asked == 2
    adviser.close()
    assert [patience_ms(deadline_ms) for deadline_ms in (1.0, 20.0, 1e9)] == [2.0, 10.0, 50.0]


def test_on_a_real_clock_a_stuck_policy_does_not_stop_the_loop(tiny_bundle: Bundle, tmp_path: Path) -> None:
    from tamiyo_runtime.meters import HostBoard

    recorder = Recorder()
    session = Session(
        tiny_bundle.manifest,
        Executor(tiny_bundle, "int8"),
        board=HostBoard(tiny_bundle.manifest.profile),
        source=open_source("bundle", tiny_bundle),
        reporter=recorder,
        policy=Sleeper(),
        plan=Plan(samples=60, period_s=0.0, policy_every=10, budget=Budget(latency_ms=1000.0)),
    )
    summary = session.run()
    assert summary.inferences == 60
    assert summary.policy_failures >= 5
    assert recorder.seen(Event.POLICY_FAILURE) == ["the policy took longer than 50 ms"]
    assert {decision.reason for decision in recorder.decisions} == {Reason.POLICY_FAILED}


def test_input_that_is_not_what_the_network_was_made_for_brings_the_bare_host_until_it_is_again(
    tiny_bundle: Bundle,
) -> None:
    x, _ = tiny.samples()
    dark = [Sample(np.full_like(sample, 1), None) for sample in x]
    usual = [Sample(sample, None) for sample in x]

    class Night:
        label = "day and night"

        def __iter__(self) -> Iterator[Sample]:
            return chain(usual * 5, dark * 5, usual * 200)

        def __len__(self) -> int:
            return len(x) * 210

    recorder = Recorder()
    session = Session(
        tiny_bundle.manifest,
        Executor(tiny_bundle, "int8"),
        board=board(tiny_bundle.manifest.profile),
        source=Night(),
        reporter=recorder,
        policy=Policy.of(tiny_bundle, Format.TFLITE),
        plan=Plan(dwell_s=0.0, watchful=MonitorSettings(false_alarm=1000, hold=20)),
    )
    summary = session.run()
    seen = [(event.value, event.detail) for event in recorder.events if event.event is Event.DRIFT]
    assert (1, "level") in seen
    assert seen[-1][0] == 0
    assert sum(value for value, _ in seen) == len(seen) / 2  # each that began has ended
    assert "safe" in recorder.seen(Event.MODE)
    assert summary.mode is Mode.NORMAL
    assert summary.alarms["level"] == 1
    bare = [decision for decision in recorder.decisions if decision.reason is Reason.DRIFT]
    assert {decision.granted for decision in bare} == {"c00"}
    assert recorder.decisions[-1].granted == "c11"
