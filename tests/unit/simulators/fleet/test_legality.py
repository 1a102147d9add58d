from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.airtime import AirtimeLedger
from simulators.fleet.legality import check_legal, limit_s_per_hour, shortest
from simulators.fleet.parts import Pattern, Placement
from simulators.fleet.resolve import resolve
from simulators.fleet.scenario import Field
from simulators.lorawan.region import regions
from tamiyo_runtime.contracts.errors import SchemaError
from tests.unit.simulators.fleet.fields import group, scenario

EU868, US915 = regions.get("eu868"), regions.get("us915")


def test_a_schedule_above_the_duty_cycle_is_refused_with_the_shortest_legal_interval() -> None:
    with pytest.raises(SchemaError) as refused:
        check_legal(resolve(scenario(group(report_period_s=3.0, data_rate=0, payload_bytes=51))))
    assert refused.value.path == "devices[0].workload.report_period_s"
    assert "DR0 are 2.79 s on the air each, 93.12% of the time" in refused.value.message
    assert "band 868.0 may be used 1.0% of an hour" in refused.value.message
    assert refused.value.hint == "the shortest legal interval there is 299.8 s"
    check_legal(resolve(scenario(group(report_period_s=299.8, data_rate=0, payload_bytes=51))))


def test_adaptive_devices_are_held_to_the_slowest_rate_that_one_of_them_has() -> None:
    far = group(report_period_s=60.0, placement=Placement(radius_m=16_000.0))
    with pytest.raises(SchemaError, match=r"at DR0 \(\d+ of 100 devices are\)"):
        check_legal(resolve(scenario(far)))
    check_legal(resolve(scenario(group(report_period_s=60.0, placement=Placement(radius_m=500.0)))))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(6)), st.integers(0, 51), st.floats(0, 200), st.integers(0, 2**32))
def test_no_hour_of_the_shortest_legal_schedule_holds_more_than_the_limit(
    data_rate: int, payload: int, jitter_s: float, seed: int
) -> None:
    airtime_s = EU868.airtime_s(data_rate, payload)
    channels = EU868.plan("default")
    least = shortest(EU868, channels, data_rate=data_rate, airtime_s=airtime_s, jitter_s=jitter_s)
    late = [(seed >> number % 32 & 1) * jitter_s for number in range(800)]  # the worst jitter is none or all of it
    ledger = AirtimeLedger()
    for number in range(min(800, math.ceil(7200 / least.interval_s))):
        ledger.add(number * least.interval_s + late[number], airtime_s)
    assert ledger.peak_s() <= 36.0 + 1e-6


def test_the_shortest_legal_interval_is_tight_where_the_duty_cycle_makes_it() -> None:
    airtime_s = EU868.airtime_s(0, 51)
    least = shortest(EU868, EU868.plan("default"), data_rate=0, airtime_s=airtime_s)
    ledger = AirtimeLedger()
    for number in range(30):
        ledger.add(number * (least.interval_s - 0.1), airtime_s)
    assert ledger.peak_s() > 36.0
    poisson = shortest(EU868, EU868.plan("default"), data_rate=0, airtime_s=airtime_s, pattern=Pattern.POISSON)
    assert poisson.interval_s == pytest.approx(100 * airtime_s)


def test_a_plan_over_two_bands_has_more_airtime_and_its_limit_says_so() -> None:
    ttn = EU868.plan("ttn")
    assert limit_s_per_hour(EU868, ttn, 5) == pytest.approx(36 / (5 / 8))
    assert limit_s_per_hour(EU868, EU868.plan("default"), 5) == pytest.approx(36)
    assert limit_s_per_hour(US915, US915.plan("fsb2"), 0) is None
    check_legal(resolve(scenario(group(report_period_s=250.0, data_rate=0, payload_bytes=51), field=Field(plan="ttn"))))


def test_in_us915_a_channel_carries_400_ms_in_20_s() -> None:
    airtime_s = US915.airtime_s(4, 242)  # the only channel of 500 kHz
    least = shortest(US915, US915.plan("fsb2"), data_rate=4, airtime_s=airtime_s)
    assert (least.interval_s, least.rule) == (pytest.approx(20 * airtime_s / 0.4), "a channel carries 400 ms in 20 s")


def test_a_class_a_device_does_not_send_before_its_windows_have_closed() -> None:
    airtime_s = US915.airtime_s(4, 1)
    least = shortest(US915, US915.plan("fsb2"), data_rate=4, airtime_s=airtime_s, jitter_s=3.0)
    assert 5 < least.interval_s < 5.1
    assert "second window" in least.rule
