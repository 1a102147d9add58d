"""A device from boot to the end: the real runtime within its budgets, the same bits again, and no idle turning."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators.faults.disturbed import STUCK, SensorFault
from simulators.fleet.detail.cell import Cell
from simulators.fleet.detail.clock import DozingClock
from simulators.fleet.detail.device import SMALLEST_BYTES, Inferring, Reporting, live
from simulators.fleet.detail.link import Frame
from simulators.lorawan.network import resolve
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.meters import VirtualClock
from tests.mediums import radio_of, scenario

NETWORK = resolve(scenario(devices=3, data_rate=5, plan="ttn", duration_s=7200.0))
TIGHT = Budget(latency_ms=4.0, power_mw=0.3, energy_burst_uj=900.0, airtime_s_per_hour=2.0)


def deaf(share: float) -> object:
    """A judge that loses some frames, always the same ones."""
    return lambda frame: random.Random(f"{frame}").random() >= share


def inferring(bundle: Path, **changes: object) -> Inferring:
    values: dict[str, object] = {"period_s": 1.0, "start_s": 2.5, "end_s": 7200.0, "budget": TIGHT}
    radio = changes.pop("radio", radio_of(NETWORK, 1))
    return Inferring(radio=radio, bundle=Bundle.open(bundle), **{**values, **changes})  # type: ignore[arg-type]


@given(
    st.integers(0, 2**40), st.sampled_from([0.0, 0.2]), st.sampled_from([0.2, 1.5]), st.sampled_from([3.2, 4.0, 9.0])
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_admitted_job_is_late_and_no_budget_is_overdrawn_by_more_than_a_job(
    bundle: Path, seed: int, losses: float, power_mw: float, deadline_ms: float
) -> None:
    radio = radio_of(NETWORK, 1, seed=seed)
    budget = replace(TIGHT, power_mw=power_mw, latency_ms=deadline_ms)
    day = live(inferring(bundle, radio=radio, budget=budget, end_s=1800.0), deaf(losses))  # type: ignore[arg-type]
    summary = day.summary
    assert summary is not None and summary.trace is not None
    assert summary.samples == 1798
    assert summary.inferences > 100
    assert summary.deadline_misses == 0
    level_uj, at_s, largest_uj = 900.0, 0.0, summary.trace.energy_uj.max()
    for t_s, energy_uj in zip(summary.trace.t_s.tolist(), summary.trace.energy_uj.tolist(), strict=True):
        level_uj, at_s = min(900.0, level_uj + power_mw * 1e3 * (t_s - at_s)) - energy_uj, t_s
        assert level_uj >= -largest_uj
    starts = np.array([frame.start_s for frame in day.frames])
    airtimes = np.array([frame.airtime_s for frame in day.frames])
    assert all(airtimes[(starts >= start) & (starts < start + 3600.0)].sum() <= 2.0 for start in starts.tolist())
    assert day.worst_hour_share is not None
    assert day.worst_hour_share <= 1.0


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(bundle: Path) -> None:
    one, two = (live(inferring(bundle, end_s=1800.0), deaf(0.2)) for _ in range(2))  # type: ignore[arg-type]
    other = live(inferring(bundle, radio=radio_of(NETWORK, 1, seed=5), end_s=1800.0), deaf(0.2))  # type: ignore[arg-type]
    for name in ("frames", "received", "arrivals", "made_s", "content_bytes"):
        assert getattr(one, name) == getattr(two, name)
    assert one.summary is not None and two.summary is not None
    assert one.summary.trace is not None and two.summary.trace is not None
    assert np.array_equal(one.summary.trace.latency_ms, two.summary.trace.latency_ms)
    assert one.frames != other.frames


def test_lost_frames_are_sent_again_until_what_they_held_is_acked(bundle: Path) -> None:
    day = live(inferring(bundle), deaf(0.3))  # type: ignore[arg-type]
    assert day.resent > 5
    assert sum(day.received) < len(day.frames)
    assert len(day.made_s) - 8 < len(day.arrivals) <= len(day.made_s)
    assert day.pending >= len(day.made_s) - len(day.arrivals)
    assert all(day.made_s[arrival.seq] <= arrival.arrived_s for arrival in day.arrivals)
    assert not day.dropped


def test_dozing_changes_when_one_looks_and_not_what_one_sees(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = inferring(bundle, period_s=20.0, report_s=120.0)
    dozing = live(job, deaf(0.0))  # type: ignore[arg-type]
    monkeypatch.setattr(DozingClock, "sleep_until", VirtualClock.sleep_until)
    awake = live(job, deaf(0.0))  # type: ignore[arg-type]
    assert dozing.summary is not None
    assert awake.summary is not None
    assert dozing.summary.counts == awake.summary.counts
    assert len(dozing.frames) > 30
    for one, two in zip(dozing.frames, awake.frames, strict=True):
        assert one.start_s == pytest.approx(two.start_s, abs=1.0)
        assert abs(one.size_bytes - two.size_bytes) <= 2


def test_the_governor_trades_configurations_when_energy_is_short(bundle: Path) -> None:
    rich = live(inferring(bundle, budget=Budget(latency_ms=10.0), end_s=1800.0), deaf(0.0))  # type: ignore[arg-type]
    poor = live(inferring(bundle, budget=replace(TIGHT, power_mw=0.2), end_s=1800.0), deaf(0.0))  # type: ignore[arg-type]
    assert rich.summary is not None and poor.summary is not None
    assert set(rich.summary.counts) == {"c11"}
    assert len(poor.summary.counts) > 1
    assert poor.summary.skipped > 0
    assert poor.summary.energy_uj < 900.0 + 0.2 * 1800e3


def test_devices_of_a_group_do_not_all_see_the_same_sample(bundle: Path) -> None:
    days = [
        live(inferring(bundle, radio=radio_of(NETWORK, number), end_s=60.0), deaf(0.0))  # type: ignore[arg-type]
        for number in range(3)
    ]
    traces = [day.summary.trace for day in days if day.summary]
    assert len({tuple(one.correct.tolist()) for one in traces if one}) > 1


def test_a_stuck_sensor_gives_the_same_answer_until_it_moves_again(bundle: Path) -> None:
    fault = SensorFault(name=STUCK, at_s=20.0, for_s=30.0)
    days = [live(inferring(bundle, end_s=80.0, stuck=stuck), deaf(0.0)) for stuck in ((fault,), ())]  # type: ignore[arg-type]
    stuck, right = (day.summary.trace.correct for day in days if day.summary and day.summary.trace)
    assert np.array_equal(stuck[:16], right[:16])
    assert not np.array_equal(stuck[18:47], right[18:47])
    assert np.array_equal(stuck[50:], right[50:])


def test_a_reporter_sends_each_record_once_as_it_comes_up() -> None:
    times = tuple(10.0 + 60.0 * step for step in range(100))
    radio = radio_of(NETWORK, 2, filled_bytes=40)
    day = live(Reporting(radio=radio, times_s=times, end_s=7200.0), deaf(0.3))  # type: ignore[arg-type]
    assert [frame.start_s for frame in day.frames] == list(times)
    assert len(day.arrivals) == sum(day.received) < 100
    assert day.pending == 100 - len(day.arrivals)
    assert (day.resent, day.dropped, day.duplicates) == (0, 0, 0)


def test_a_payload_too_small_for_a_record_is_sent_bare(bundle: Path) -> None:
    times = tuple(10.0 + 60.0 * step for step in range(100))
    radio = radio_of(NETWORK, 2, filled_bytes=20)
    day = live(Reporting(radio=radio, times_s=times, end_s=5000.0), deaf(0.3))  # type: ignore[arg-type]
    assert [frame.start_s for frame in day.frames] == list(times[:84])
    assert {frame.size_bytes for frame in day.frames} == {20}
    assert 0 < sum(day.received) < 84
    assert (day.created, len(day.arrivals), day.content_bytes) == (0, 0, 84 * 20)
    assert day.radio_mj > 0


def test_frames_with_a_record_fit_after_a_year_as_on_the_first_day() -> None:
    year_s = 365 * 86_400.0
    radio = radio_of(NETWORK, 2, filled_bytes=SMALLEST_BYTES, end_s=2 * year_s)
    times = (1.0, *(year_s + 60.0 * step for step in range(3)))
    day = live(Reporting(radio=radio, times_s=times, end_s=2 * year_s), deaf(0.0))  # type: ignore[arg-type]
    assert len(day.arrivals) == len(day.frames) == 4


@pytest.mark.parametrize("network", ["nb-iot", "5g-sa-mid-band"])
def test_a_cellular_device_lives_by_verdicts_of_its_own(bundle: Path, network: str) -> None:
    def never(frame: Frame) -> bool:
        raise AssertionError("nobody judges a cellular frame")

    cell = Cell(seed=3, number=4, preset=network, end_s=3600.0)
    job = inferring(bundle, radio=cell, period_s=30.0, end_s=3600.0, budget=Budget(latency_ms=10.0))
    one, two = live(job, never), live(job, never)
    assert one.frames == two.frames
    assert len(one.arrivals) > 10
    assert one.worst_hour_share is None
    other = live(replace(job, radio=replace(cell, number=5)), never)
    assert [arrival.arrived_s for arrival in one.arrivals] != [arrival.arrived_s for arrival in other.arrivals]


def test_a_job_that_cannot_be_is_refused(bundle: Path) -> None:
    with pytest.raises(SchemaError, match="above 0"):
        inferring(bundle, period_s=0.0)
    with pytest.raises(SchemaError, match="is not in 0"):
        inferring(bundle, start_s=7200.0)
