from __future__ import annotations

import math

import pytest

from simulators.lorawan.chips import FACTORS, Radio, device_radios, gateway_radios
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError

SNR_FLOOR_DB = (-7.5, -10.0, -12.5, -15.0, -17.5, -20.0)  # SX1276 data sheet, table 13
RADIOS = [*dict(device_radios).items(), *dict(gateway_radios).items()]


@pytest.mark.parametrize(
    ("name", "bandwidth_hz", "expected"),
    [
        # SX1276 data sheet rev. 7; ns-3 lorawan's tables
        ("sx1276", 125_000, [-123, -126, -129, -132, -133, -136]),
        ("sx1276", 250_000, [-120, -123, -125, -128, -130, -133]),
        ("sx1276", 500_000, [-116, -119, -122, -125, -128, -130]),
        ("sx1272", 125_000, [-124, -127, -130, -133, -135, -137]),
        ("sx1301", 125_000, [-130, -132.5, -135, -137.5, -140, -142.5]),
        ("sx1302", 125_000, [-127, -129, -132.5, -135.5, -138, -141]),
    ],
)
def test_sensitivity_is_that_of_the_table(name: str, bandwidth_hz: int, expected: list[float]) -> None:
    radio: Radio = device_radios.get(name) if name in device_radios else gateway_radios.get(name)
    assert [radio.hears_dbm(factor, bandwidth_hz) for factor in FACTORS] == expected


@pytest.mark.parametrize(("name", "radio"), RADIOS)
def test_every_sensitivity_is_near_thermal_noise_with_6_db_and_better_at_higher_factors(
    name: str, radio: Radio
) -> None:
    for bandwidth_hz, row in radio.sensitivity_dbm.items():
        assert row.source
        assert list(row.values) == sorted(row.values, reverse=True)
        for dbm, snr_db in zip(row.values, SNR_FLOOR_DB, strict=True):
            assert dbm == pytest.approx(-174 + 10 * math.log10(bandwidth_hz) + 6 + snr_db, abs=6.1)


@pytest.mark.parametrize("name", device_radios.names())
def test_every_current_has_a_source_and_more_power_draws_no_less(name: str) -> None:
    radio = device_radios.get(name)
    for figure in (radio.sleep_ma, radio.wait_ma, radio.rx_ma, radio.overhead_mc):
        assert figure.source
        assert figure.value >= 0
    assert radio.tx.source
    currents = [radio.tx.ma[power] for power in sorted(radio.tx.ma)]
    assert currents == sorted(currents)
    assert radio.sleep_ma.value < radio.rx_ma.value < max(currents)


def test_current_between_tabled_powers_lies_on_a_line() -> None:
    radio = device_radios.get("sx1276")
    assert radio.tx_current_ma(14) == 44
    assert radio.tx_current_ma(13.5) == pytest.approx(39.5)


def test_a_mistake_names_what_is_legal() -> None:
    with pytest.raises(UnknownNameError) as name:
        device_radios.get("sx1267")
    assert "sx1262" in str(name.value.hint)
    with pytest.raises(InputError) as power:
        device_radios.get("sx1276").tx_current_ma(21)
    assert "-2 to 20 dBm" in str(power.value.hint)
    for factor, bandwidth_hz in ((6, 125_000), (7, 62_500)):
        with pytest.raises(InputError) as modulation:
            device_radios.get("sx1276").hears_dbm(factor, bandwidth_hz)
        assert "SF7 to SF12 at 125000, 250000, 500000 Hz" in str(modulation.value.hint)
