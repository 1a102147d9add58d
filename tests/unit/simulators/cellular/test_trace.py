from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cellular.channel import Fleet, fleet, start
from simulators.cellular.handover import Handover
from simulators.cellular.latency import Plan, plan
from simulators.cellular.pathloss import los_probability
from simulators.cellular.presets import PRESETS
from simulators.cellular.trace import Trace, advance

names = st.sampled_from(sorted(PRESETS))


def made(name: str, devices: Sequence[int], *, seed: int = 1, **place: float) -> tuple[Fleet, Plan]:
    preset = PRESETS[name]
    return fleet(preset, devices, seed=seed, **place), plan(preset.access, preset.ladder, 300)


def run(name: str, devices: Sequence[int], pieces: Sequence[int], **place: float) -> Trace:
    fleet_, transfer = made(name, devices, **place)
    cursor, traces = start(fleet_), []
    for steps in pieces:
        trace, cursor = advance(fleet_, cursor, steps, transfer)
        traces.append(trace)
    columns = ("outage", "bits_per_s", "latency_ms")
    return Trace(*(np.concatenate([getattr(trace, column) for trace in traces], axis=1) for column in columns))


def same(one: Trace, other: Trace) -> bool:
    return all(
        getattr(one, column).tobytes() == getattr(other, column).tobytes()
        for column in ("outage", "bits_per_s", "latency_ms")
    )


@given(names, st.lists(st.integers(1, 150), min_size=1, max_size=6), st.integers(0, 60), st.integers(1, 40))
def test_neither_pieces_nor_company_change_a_bit(name: str, pieces: list[int], first: int, count: int) -> None:
    whole = run(name, range(100), [sum(pieces)])
    some = run(name, range(first, first + count), pieces)
    rows = slice(first, first + count)
    assert same(some, Trace(whole.outage[rows], whole.bits_per_s[rows], whole.latency_ms[rows]))


def test_neither_do_tiles() -> None:
    whole = run("5g-sa-mid-band", range(3), [40_000], speed_m_s=20.0)
    alone = run("5g-sa-mid-band", [1], [16_384, 1, 23_615], speed_m_s=20.0)
    assert same(alone, Trace(whole.outage[1:2], whole.bits_per_s[1:2], whole.latency_ms[1:2]))


def test_one_seed_gives_one_trace_and_another_another() -> None:
    assert same(run("lte-cat4", range(5), [500]), run("lte-cat4", range(5), [500]))
    assert not same(run("lte-cat4", range(5), [500]), run("lte-cat4", range(5), [500], seed=2))


@given(names, st.floats(30, 3000), st.floats(0, 40))
def test_no_latency_is_below_its_floor_and_no_rate_above_the_ladder(
    name: str, distance_m: float, speed_m_s: float
) -> None:
    preset = PRESETS[name]
    fleet_, transfer = made(name, range(4), distance_m=distance_m, speed_m_s=speed_m_s)
    trace, _ = advance(fleet_, start(fleet_), 200, transfer)
    assert trace.bits_per_s.max() <= np.float32(preset.ladder.bits_per_s[-1])
    assert trace.latency_ms.min() >= transfer.floor_ms.min() + preset.core.floor_ms
    assert bool(np.isinf(trace.latency_ms[trace.bits_per_s == 0]).all())
    assert bool((trace.bits_per_s[trace.outage] == 0).all())


# 1 s steps below 1 Mb/s: 2.5 % of the time and 2.2 s on 5G, 1.1 % and 2.6 s on LTE (SIGCOMM artifacts)
@pytest.mark.parametrize(
    ("name", "share", "mean_s"),
    [("5g-nsa-mmwave", 0.025, 2.2), ("5g-sa-mid-band", 0.025, 2.2), ("lte-cat4", 0.0114, 2.6)],
)
def test_outages_are_those_measured(name: str, share: float, mean_s: float) -> None:
    outage = run(name, range(200), [3000]).outage
    starts = (np.diff(outage.astype(np.int8), axis=1) == 1).sum()
    assert outage.mean() == pytest.approx(PRESETS[name].outages.share, rel=0.05)
    assert outage.mean() == pytest.approx(share, rel=0.10)
    assert outage.sum() / starts == pytest.approx(mean_s, rel=0.10)
    assert outage[:, 0].mean() == pytest.approx(share, abs=0.04)  # from the first step on


# log rate 1 s apart, walking: .76 on 5G, .89 on LTE (SIGCOMM 2021 artifact, Lumos5G traces)
@pytest.mark.parametrize(("name", "expected"), [("5g-sa-mid-band", 0.76), ("lte-cat4", 0.89)])
def test_the_rate_remembers_as_long_as_was_measured(name: str, expected: float) -> None:
    trace = run(name, range(60), [3000])
    seen = np.where(trace.bits_per_s > 0, trace.bits_per_s, np.nan)
    logs = np.log10(seen)
    logs -= np.nanmean(logs, axis=1, keepdims=True)
    lagged = np.nanmean(logs[:, 1:] * logs[:, :-1]) / np.nanmean(logs**2)
    assert lagged == pytest.approx(expected, abs=0.05)


def test_devices_see_the_antenna_as_often_as_tr_38_901_says() -> None:
    for distance_m in (50.0, 300.0):
        fleet_, _ = made("5g-sa-mid-band", range(20_000), distance_m=distance_m)
        share = float(los_probability(PRESETS["5g-sa-mid-band"].site.scenario, distance_m))
        assert fleet_.los.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)


def test_a_device_that_stands_still_keeps_its_rate_and_two_differ() -> None:
    trace = run("nb-iot", range(300), [50])
    assert bool((trace.bits_per_s == trace.bits_per_s[:, :1]).all())
    assert len(np.unique(trace.bits_per_s[:, 0])) > 1


def test_each_device_may_have_its_own_distance() -> None:
    preset = PRESETS["lte-cat4"]
    fleet_ = fleet(preset, [7, 8], distance_m=[50.0, 2000.0])
    near, far = (float(db) for db in fleet_.mean_db)
    assert near > far + 20
    assert fleet(preset, [7], distance_m=50.0).mean_db[0] == fleet_.mean_db[0]


def test_moving_faster_means_more_handovers() -> None:
    handover = Handover(median_ms=2000.0, p95_ms=2400.0, spacing_m=1000.0, source="test")
    preset = replace(PRESETS["lte-cat4"], handover=handover)
    transfer = plan(preset.access, preset.ladder, 300)
    for speed_m_s in (0.0, 20.0, 60.0):
        fleet_ = fleet(preset, range(20), speed_m_s=speed_m_s)
        latency_ms = advance(fleet_, start(fleet_), 3000, transfer)[0].latency_ms
        waited = (latency_ms > 500)[np.isfinite(latency_ms)].mean()
        # three quarters of what is left of a gap of 2 s, uniform in it, are longer than half a second
        assert waited == pytest.approx(handover.share(speed_m_s) * 0.76, abs=0.004)


def test_bad_numbers_are_refused_with_the_legal_ones() -> None:
    preset = PRESETS["5g-sa-mid-band"]
    with pytest.raises(ValueError, match=r"distance -1 m is not in 10\.\.5000 m"):
        fleet(preset, [0], distance_m=-1.0)
    with pytest.raises(ValueError, match="at least one device"):
        fleet(preset, [])
    with pytest.raises(ValueError, match="at least 0"):
        fleet(preset, [-1])
    with pytest.raises(ValueError, match="at least 0"):
        fleet(preset, [0], speed_m_s=-1.0)
    fleet_, transfer = made("5g-sa-mid-band", [0])
    with pytest.raises(ValueError, match="at least 1"):
        advance(fleet_, start(fleet_), 0, transfer)
