from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simulators.links.lora import MAX_PAYLOAD_BYTES
from simulators.lorawan.eu868 import EU868
from simulators.lorawan.region import MAC_OVERHEAD_BYTES, Region, regions
from simulators.lorawan.us915 import US915
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError


@pytest.mark.parametrize(
    ("region", "airtimes_ms"),
    [
        # time on air of the largest payload plus 13 bytes: Semtech's calculator by way of the ToA vectors
        (EU868, [2793.5, 1560.6, 698.4, 676.9, 707.1, 399.6, 199.8]),
        (US915, [370.7, 390.1, 399.9, 399.6, 176.8]),
    ],
    ids=["eu868", "us915"],
)
def test_a_full_frame_takes_as_long_as_published(region: Region, airtimes_ms: list[float]) -> None:
    for data_rate, expected in enumerate(airtimes_ms):
        most = region.uplink[data_rate].max_payload_bytes
        assert region.airtime_s(data_rate, most) * 1e3 == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("data_rate", range(4))
def test_payloads_of_us915_are_the_largest_within_the_dwell_time_and_a_frame(data_rate: int) -> None:
    rate = US915.uplink[data_rate]
    dwell_s = US915.dwell_s
    assert dwell_s == 0.4
    assert rate.airtime_s(rate.max_payload_bytes + MAC_OVERHEAD_BYTES) <= dwell_s
    one_more = rate.max_payload_bytes + 1 + MAC_OVERHEAD_BYTES
    assert one_more > 255 or rate.airtime_s(one_more) > dwell_s


def test_one_byte_more_at_dr0_of_us915_takes_the_published_411_ms() -> None:
    assert US915.uplink[0].airtime_s(12 + MAC_OVERHEAD_BYTES) == pytest.approx(0.4116, abs=5e-5)


@pytest.mark.parametrize("region", [EU868, US915], ids=lambda region: region.name)
def test_every_payload_fits_the_255_bytes_of_a_frame(region: Region) -> None:
    for rate in (*region.uplink.values(), *region.downlink.values()):
        assert rate.via_repeater_bytes <= rate.max_payload_bytes <= 255 - MAC_OVERHEAD_BYTES


def test_fsk_takes_what_the_published_vector_says() -> None:
    # 200 B at 50 kb/s: 33.76 ms (TheThingsNetwork/lorawan-stack, pkg/toa)
    assert EU868.uplink[7].airtime_s(200) == pytest.approx(33.76e-3)


def test_the_runtimes_link_and_the_region_agree_on_payloads_via_repeaters() -> None:
    table = {rate.spreading_factor: rate.via_repeater_bytes for rate in (EU868.uplink[index] for index in range(6))}
    assert table == MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("mhz", "duty_cycle"),
    [(864.0, 0.001), (867.1, 0.01), (868.1, 0.01), (868.0, 0.01), (868.9, 0.001), (869.525, 0.1), (869.85, 0.01)],
)
def test_sub_bands_of_eu868_have_their_duty_cycles(mhz: float, duty_cycle: float) -> None:
    assert EU868.sub_band(round(mhz * 1e6)).duty_cycle == duty_cycle


@pytest.mark.parametrize("region", [EU868, US915], ids=lambda region: region.name)
def test_every_channel_of_every_plan_lies_in_a_band_and_takes_known_data_rates(region: Region) -> None:
    for channels in region.plans.values():
        for channel in channels:
            assert region.sub_band(channel.frequency_hz)
            assert set(channel.data_rates) <= set(region.uplink)
    assert region.sub_band(region.rx2_frequency_hz)
    assert region.rx2_data_rate in region.downlink


@pytest.mark.parametrize(
    ("region", "data_rate", "offset", "expected"),
    [
        (EU868, 5, 0, 5),
        (EU868, 5, 5, 0),
        (EU868, 2, 5, 0),
        (US915, 0, 0, 10),
        (US915, 0, 3, 8),
        (US915, 4, 0, 13),
        (US915, 4, 3, 11),
    ],
)
def test_the_first_window_follows_the_table(region: Region, data_rate: int, offset: int, expected: int) -> None:
    assert region.rx1_data_rate(data_rate, offset) == expected
    assert expected in region.downlink


def test_power_goes_down_in_steps_of_2_db() -> None:
    assert [EU868.eirp_dbm(index) for index in range(8)] == [16, 14, 12, 10, 8, 6, 4, 2]
    assert (US915.eirp_dbm(0), US915.eirp_dbm(14)) == (30, 2)


def test_a_downlink_of_us915_answers_on_its_own_eight_channels() -> None:
    channels = US915.plan("all")
    assert len(channels) == 72
    assert US915.rx1_frequency_hz(channels[11]) == 923_300_000 + 3 * 600_000
    wide = US915.plan("fsb2")[8]  # channel 65 of the region, though the ninth of its plan
    assert wide == channels[65]
    assert US915.rx1_frequency_hz(wide) == 923_300_000 + 1 * 600_000
    assert EU868.rx1_frequency_hz(EU868.plan("default")[1]) == 868_300_000


@pytest.mark.parametrize("change", [{"high_hz": 1}, {"duty_cycle": 0.0}, {"duty_cycle": math.nan}, {"low_hz": -1}])
def test_a_band_that_makes_no_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(SchemaError, match="sub_band"):
        replace(EU868.sub_bands[0], **change)


def test_a_mistake_names_what_is_legal() -> None:
    with pytest.raises(UnknownNameError) as region:
        regions.get("eu686")
    assert "eu868" in str(region.value.hint)
    with pytest.raises(InputError) as rate:
        EU868.uplink_rate(9)
    assert "DR0 SF12/125" in str(rate.value.hint)
    assert "DR7 FSK" in str(rate.value.hint)
    with pytest.raises(SchemaError, match="52 bytes") as payload:
        EU868.airtime_s(0, 52)
    assert "0 to 51 bytes" in str(payload.value.hint)
    with pytest.raises(InputError, match="DR0"):
        US915.downlink_rate(0)
    with pytest.raises(InputError, match=r"870\.5 MHz") as band:
        EU868.sub_band(870_500_000)
    assert "869.4 to 869.65 MHz" in str(band.value.hint)
    with pytest.raises(UnknownNameError) as plan:
        EU868.plan("tnt")
    assert "ttn" in str(plan.value.hint)
    with pytest.raises(InputError) as power:
        EU868.eirp_dbm(8)
    assert "0 to 7" in str(power.value.hint)
    with pytest.raises(InputError) as offset:
        US915.rx1_data_rate(0, 4)
    assert "0 to 3" in str(offset.value.hint)
