"""What a metered board makes of its readings: right on average, silent where it cannot tell, cheap."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.meters import Board, HostBoard, MeteredBoard, Usage, find_meters, host_board
from tamiyo_runtime.meters.fake import FakeBoard
from tamiyo_runtime.meters.host import REFRESH_S

ACTIVE_MW, IDLE_MW = 5000.0, 2000.0


@pytest.fixture
def fake(tmp_path: Path) -> FakeBoard:
    return FakeBoard(tmp_path / "tree")


def _cost(latency_ms: float) -> Cost:
    estimate = Estimate(value=latency_ms, low=0.0, high=2 * latency_ms, source=Source.ANALYTIC)
    return Cost(latency_ms=estimate, energy_uj=estimate, peak_memory_bytes=0, params=0, macs=0)


Infer = Callable[..., list[Usage]]


@pytest.fixture
def infer(fake: FakeBoard, tiny_bundle: Bundle) -> Infer:
    """Run so many inferences on the fake board, each followed by a pause that differs by up to a millisecond."""

    def run(count: int, *, latency_ms: float, pause_ms: float, active_mw: float = ACTIVE_MW) -> list[Usage]:
        meters = find_meters(fake.root)
        assert meters.power is not None
        board = MeteredBoard(tiny_bundle.manifest.profile, meters, meters.power, clock=fake, now_ns=fake.now_ns)
        rng, usages = random.Random(1), []
        for _ in range(count):
            _, usage = board.run(lambda: fake.advance(latency_ms * 1e-3, power_mw=active_mw), _cost(latency_ms))
            usages.append(usage)
            if pause_ms:
                fake.advance((pause_ms + rng.random()) * 1e-3, power_mw=IDLE_MW)
        return usages

    return run


def test_a_long_inference_gets_the_difference_of_its_counter(fake: FakeBoard, infer: Infer) -> None:
    fake.rapl({"package-0": 123})
    for usage in infer(20, latency_ms=40.0, pause_ms=100.0):
        assert usage.energy_source is Source.MEASURED
        assert usage.energy_uj == pytest.approx(40.0 * ACTIVE_MW, rel=0.05)
        assert usage.latency_ms == pytest.approx(40.0)


def test_short_inferences_back_to_back_get_mean_power_times_latency(fake: FakeBoard, infer: Infer) -> None:
    fake.rapl({"package-0": 0})
    usages = infer(1000, latency_ms=0.3, pause_ms=0.0)
    sources = [usage.energy_source for usage in usages]
    first = sources.index(Source.MEASURED)
    assert first == pytest.approx(100 / 0.3, abs=2)  # a hundred steps of the counter
    assert set(sources[first:]) == {Source.MEASURED}
    assert set(sources[:first]) == {Source.ANALYTIC}
    for usage in usages[first:]:
        assert usage.energy_uj == pytest.approx(0.3 * ACTIVE_MW, rel=0.02)


def test_short_inferences_with_pauses_stay_estimates_since_no_counter_is_that_fine(
    fake: FakeBoard, infer: Infer, tiny_bundle: Bundle
) -> None:
    fake.rapl({"package-0": 0})
    usages = infer(200, latency_ms=2.0, pause_ms=5.0)
    assert {usage.energy_source for usage in usages} == {Source.ANALYTIC}
    assert usages[-1].energy_uj == pytest.approx(2.0 * tiny_bundle.manifest.profile.active_mw)


def test_the_mean_follows_a_board_whose_power_changes(fake: FakeBoard, tiny_bundle: Bundle) -> None:
    fake.rapl({"package-0": 0})
    meters = find_meters(fake.root)
    assert meters.power is not None
    board = MeteredBoard(tiny_bundle.manifest.profile, meters, meters.power, clock=fake, now_ns=fake.now_ns)
    for power_mw in (5000.0, 3000.0, 7000.0):
        for _ in range(150):
            _, usage = board.run(partial(fake.advance, 2.5e-3, power_mw=power_mw), _cost(2.5))
        assert usage.energy_source is Source.MEASURED
        assert usage.energy_uj == pytest.approx(2.5 * power_mw, rel=0.02)


@pytest.mark.parametrize("kind", ["counter", "sensor"])
def test_what_the_whole_board_took_is_known_whatever_belongs_to_which_inference(
    fake: FakeBoard, tiny_bundle: Bundle, kind: str
) -> None:
    fake.rapl({"package-0": 990_000}, range_uj=10_000_000) if kind == "counter" else fake.ina(power_mw=IDLE_MW)
    meters = find_meters(fake.root)
    assert meters.power is not None
    board = MeteredBoard(tiny_bundle.manifest.profile, meters, meters.power, clock=fake, now_ns=fake.now_ns)
    board.status()
    for _ in range(100):
        fake.advance(0.1, power_mw=IDLE_MW)
        board.status()
    assert board.total.seconds == pytest.approx(10.0, abs=0.55)
    assert board.total.energy_uj == pytest.approx(IDLE_MW * board.total.seconds * 1e3, rel=0.01)


def test_a_sensor_counts_only_where_no_pause_is_averaged_in(fake: FakeBoard, infer: Infer) -> None:
    fake.ina("ina226", update_interval_ms=4)
    assert {usage.energy_source for usage in infer(100, latency_ms=1.0, pause_ms=5.0)} == {Source.ANALYTIC}
    back_to_back = infer(300, latency_ms=1.0, pause_ms=0.0)
    assert back_to_back[-1].energy_source is Source.MEASURED
    assert back_to_back[-1].energy_uj == pytest.approx(ACTIVE_MW)
    long = infer(5, latency_ms=8.0, pause_ms=200.0)
    assert {usage.energy_source for usage in long} == {Source.MEASURED}
    assert long[-1].energy_uj == pytest.approx(8.0 * ACTIVE_MW)


def test_a_meter_that_dies_leaves_the_estimate_or_the_last_mean(fake: FakeBoard, infer: Infer) -> None:
    fake.rapl({"package-0": 0})
    path = "sys/class/powercap/intel-rapl:0/energy_uj"
    fake.advance(0.01, power_mw=1.0)
    meters = find_meters(fake.root)
    fake.set(path, "gone")
    assert meters.power is not None
    assert meters.power.read_uj() is None  # type: ignore[union-attr]  # a counter


def test_each_board_says_what_its_energy_is(fake: FakeBoard, tiny_bundle: Bundle) -> None:
    profile = tiny_bundle.manifest.profile
    assert "estimated from the profile" in host_board(profile, find_meters(fake.root)).label
    fake.rapl({"package-0": 0, "dram": 0})
    board = host_board(profile, find_meters(fake.root))
    assert isinstance(board, MeteredBoard)
    assert board.label == "test-board (this machine, energy by RAPL package-0 + dram)"
    assert "difference of readings for inferences of 20 ms and more" in board.method
    assert "not the rest of the board" in board.method


@pytest.mark.parametrize("metered", [False, True])
def test_files_are_read_twice_a_second_at_the_most_not_for_every_sample(
    fake: FakeBoard, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, metered: bool
) -> None:
    fake.cpufreq(rated_mhz=2000, present_mhz=2000)
    fake.throttled(0)
    if metered:
        fake.rapl({"package-0": 0})
    profile, meters = tiny_bundle.manifest.profile, find_meters(fake.root)
    board: Board = HostBoard(profile, meters, clock=fake)
    if meters.power is not None:
        board = MeteredBoard(profile, meters, meters.power, clock=fake, now_ns=fake.now_ns)
    reads = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args) or real(*args))
    for _ in range(1000):
        assert board.status().slowdown == 1.0
        fake.advance(REFRESH_S / 500, power_mw=0.0)
    assert len(reads) == 2 * (3 if metered else 2)  # two refreshes of two files, and of the meter
    fake.cpufreq(rated_mhz=2000, present_mhz=2000, allowed_mhz=1000)
    fake.advance(REFRESH_S, power_mw=0.0)
    assert board.status().slowdown == 2.0


def test_readings_of_the_counter_are_spaced(fake: FakeBoard, infer: Infer, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.rapl({"package-0": 0})
    reads = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args) or real(*args))
    infer(1200, latency_ms=0.25, pause_ms=0.0)  # .3 s
    assert len(reads) <= 1 + 1 + 3
