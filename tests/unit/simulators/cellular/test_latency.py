from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cellular.channel import fleet, start
from simulators.cellular.handover import Handover
from simulators.cellular.latency import Access, Core, plan
from simulators.cellular.luck import luck
from simulators.cellular.presets import PRESETS
from simulators.cellular.rates import cqi_ladder
from simulators.cellular.streams import keys, normals, uniforms, words
from simulators.cellular.trace import advance

LTE = Access(tti_ms=1.0, uplink_every_ms=1.0, request_period_ms=10.0, device_ms=3.0, station_ms=3.0)
LADDER = cqi_ladder(numerology=0, blocks=50, harq_s=8e-3)
NOTHING = np.zeros(1, dtype=np.float32)
BEST = np.array([15], dtype=np.uint8)
names = st.sampled_from(sorted(PRESETS))


def test_lte_takes_17_ms_on_average_and_retries_after_8() -> None:
    # TR 36.881 table 5.2.1-1: wait 5, request 1, decode 3, grant 1, prepare 3, data 1, decode 3 (10 ms period)
    transfer = plan(LTE, LADDER, 40)
    assert float(transfer.floor_ms[15]) == 12.0
    assert float(transfer.radio_ms(BEST, NOTHING + np.float32(0.5), NOTHING)[0]) == 17.0
    assert LTE.turn_ms == 8.0


def test_a_period_of_1_ms_takes_12_5_ms() -> None:
    # the same table's second column
    transfer = plan(replace(LTE, request_period_ms=1.0), LADDER, 40)
    assert float(transfer.radio_ms(BEST, NOTHING + np.float32(0.5), NOTHING)[0]) == 12.5


def test_a_configured_grant_saves_request_and_grant() -> None:
    transfer = plan(replace(LTE, configured=True), LADDER, 40)
    assert float(transfer.floor_ms[15]) == 3 + 1 + 3


def test_time_duplex_waits_for_the_next_uplink_slot() -> None:
    # DDDSU at 30 kHz: .5 + 1 + .5 + 6/14 ms of work end before the uplink slot 2.5 ms on; a slower station misses it
    access = PRESETS["5g-sa-mid-band"].access
    assert access.turn_ms == 2.5
    assert replace(access, station_ms=1.2).turn_ms == 5.0


def test_a_transfer_of_more_than_a_slot_takes_more_slots() -> None:
    assert [float(plan(LTE, LADDER, size).floor_ms[15]) for size in (1, 5000, 6000, 12000)] == [12, 12, 13, 14]


@given(names, st.integers(1, 20_000), st.integers(0, 15), st.floats(0, 0.999), st.floats(0, 0.999999))
def test_no_transfer_is_faster_than_its_floor_nor_than_its_bits(
    name: str, size: int, rung: int, wait: float, harq: float
) -> None:
    preset = PRESETS[name]
    rung = min(rung, len(preset.ladder.bits_per_s) - 1)
    transfer = plan(preset.access, preset.ladder, size)
    rungs = np.array([rung], dtype=np.uint8)
    took_ms = float(transfer.radio_ms(rungs, np.array([wait], np.float32), np.array([harq], np.float32))[0])
    assert took_ms >= float(transfer.floor_ms[rung])
    if not rung:
        assert took_ms == np.inf
        return
    access, rate = preset.access, preset.ladder.bits_per_s[rung]
    most = preset.ladder.block_bits[rung] / rate * 1e3  # the last block may be nearly empty, and sent at once
    assert took_ms >= 8 * size / rate * 1e3 - most + access.station_ms
    assert transfer.air_s[rung] * 1e3 <= took_ms


@pytest.mark.parametrize(("bler", "blocks"), [(0.1, 1), (0.1, 20), (0.3, 5)])
def test_retransmissions_of_the_slowest_block_follow_the_closed_form(bler: float, blocks: int) -> None:
    transfer = plan(replace(LTE, bler=bler), LADDER, round(LADDER.block_bits[15] / 8 * (blocks - 0.5)))
    harq = uniforms(words(keys(1, 0, np.arange(1)), 0, 1 << 19))[0]
    rungs = np.full(harq.shape, 15, dtype=np.uint8)
    again = transfer.retries(rungs, harq)
    for most in range(3):
        assert (again <= most).mean() == pytest.approx((1 - bler ** (most + 1)) ** blocks, abs=0.003)
    assert again.mean() == pytest.approx(transfer.mean_retries(15), rel=0.02)
    assert transfer.lost(rungs, harq).mean() == pytest.approx(1 - (1 - bler**4) ** blocks, rel=0.2)
    took_ms = transfer.radio_ms(rungs, np.zeros_like(harq), harq)
    assert bool((took_ms == transfer.floor_ms[15] + 8 * again).all())


def test_a_perfect_channel_never_retries() -> None:
    transfer = plan(replace(LTE, bler=0.0), LADDER, 10_000)
    harq = np.array([[0.0, 0.5, 1 - 2.0**-24]], dtype=np.float32)
    rungs = np.full(harq.shape, 15, dtype=np.uint8)
    assert transfer.retries(rungs, harq).tolist() == [[0, 0, 0]]
    assert not transfer.lost(rungs, harq).any()


def test_core_delays_have_their_floor_median_and_tail() -> None:
    core = Core(floor_ms=2.0, median_ms=6.0, sigma=0.4)
    delays = core.delay_ms(normals(words(keys(1, 0, np.arange(1)), 0, 1 << 18))[0])
    assert delays.min() > 2.0
    assert np.median(delays) == pytest.approx(8.0, rel=0.01)
    assert np.percentile(delays, 95) == pytest.approx(2 + 6 * np.exp(0.4 * 1.645), rel=0.01)


# medians and 95th percentiles of execution times, ms: SIGCOMM 2022 artifact (43.8 thousand handovers)
@pytest.mark.parametrize(
    ("name", "median_ms", "p95_ms"),
    [
        ("lte-cat4", (17, 22), (38, 50)),
        ("5g-nsa-low-band", (31, 32), (51, 58)),
        ("5g-nsa-mmwave", (40, 65), (83, 84)),
        ("5g-sa-mid-band", (54, 54), (57, 57)),
    ],
)
def test_handovers_take_what_was_measured(
    name: str, median_ms: tuple[float, float], p95_ms: tuple[float, float]
) -> None:
    gaps = PRESETS[name].handover.gap_ms(normals(words(keys(4, 0, np.arange(1)), 0, 1 << 18))[0])
    for share, (low, high) in ((50, median_ms), (95, p95_ms)):
        assert 0.9 * low <= np.percentile(gaps, share) <= 1.1 * high


def test_a_random_moment_meets_long_gaps_more_often() -> None:
    # renewal theory: what is left of the gap around a random moment is E[g^2] / (2 E[g]) on average
    handover = Handover(median_ms=20.0, p95_ms=60.0, spacing_m=500.0, source="test")
    drawn = words(keys(5, 0, np.arange(2)), 0, 1 << 19)
    normal, uniform = normals(drawn[:1])[0], uniforms(drawn[1:])[0]
    gaps = handover.gap_ms(normal).astype(float)
    assert gaps.mean() == pytest.approx(handover.mean_ms, rel=0.01)
    assert handover.left_ms(normal, uniform).mean() == pytest.approx((gaps**2).mean() / (2 * gaps.mean()), rel=0.02)
    assert handover.share(10.0) == pytest.approx(10 / 500 * handover.mean_ms * 1e-3)
    assert handover.share(0.0) == 0


def test_bad_numbers_are_refused_with_the_legal_ones() -> None:
    for wrong in (
        {"tti_ms": 0.0},
        {"tti_ms": 2.0},
        {"device_ms": -1.0},
        {"bler": 1.0},
        {"tries": 0},
        {"station_ms": math.nan},
    ):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
            replace(LTE, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        plan(LTE, LADDER, 0)
    with pytest.raises(ValueError, match="median > 0"):
        Core(floor_ms=1.0, median_ms=math.inf, sigma=0.1)
    with pytest.raises(ValueError, match="median > 0"):
        Core(floor_ms=1.0, median_ms=0.0, sigma=0.1)
    with pytest.raises(ValueError, match="above 0"):
        Handover(median_ms=5.0, p95_ms=9.0, spacing_m=0.0, source="test")


@given(names, st.integers(1, 20_000), st.integers(1, 15), st.floats(0, 1, exclude_max=True, width=32))
def test_one_transfer_fails_as_often_as_the_same_in_an_array(name: str, size: int, rung: int, harq: float) -> None:
    preset = PRESETS[name]
    transfer = plan(preset.access, preset.ladder, size)
    rung = min(rung, len(preset.ladder.bits_per_s) - 1)
    failed = transfer.failures(rung, harq)
    rungs, drawn = np.array([rung], np.uint8), np.array([harq], np.float32)
    assert min(failed, preset.access.tries - 1) == transfer.retries(rungs, drawn)[0]
    assert (failed == preset.access.tries) == transfer.lost(rungs, drawn)[0]


def test_luck_does_not_depend_on_how_much_of_it_is_drawn() -> None:
    device = fleet(PRESETS["5g-nsa-mmwave"], [3], speed_m_s=40.0)
    whole = luck(device, 0, 3000)
    assert whole == [one for first in range(0, 3000, 7) for one in luck(device, first, 7)][:3000]
    hit = [one.gap_ms for one in whole if one.gap_ms]
    assert len(hit) / 3000 == pytest.approx(device.preset.handover.share(40.0), abs=0.006)
    assert all(0 <= one.wait < 1 and 0 <= one.harq < 1 and one.core_ms > device.preset.core.floor_ms for one in whole)


# Rohde & Schwarz, one-way uplink in a 5G NSA network, Munich 2022: about 18 ms. The core's delay is our estimate; this
# is the figure that holds it.
def test_an_uplink_over_5g_nsa_takes_what_was_measured() -> None:
    device = fleet(PRESETS["5g-nsa-low-band"], range(200), seed=1)
    latency_ms = advance(device, start(device), 100, plan(device.preset.access, device.preset.ladder, 300))[
        0
    ].latency_ms
    assert np.median(latency_ms) == pytest.approx(18.0, rel=0.10)
