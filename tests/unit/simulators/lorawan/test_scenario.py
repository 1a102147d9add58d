from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simulators.lorawan.network import resolve
from simulators.lorawan.propagation import Shadowing, Site
from simulators.lorawan.scenario import Mac, Scenario, Traffic
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError, UsageError

GOOD: dict[str, Any] = {"devices": 10, "duration_s": 3600.0, "traffic": Traffic(period_s=600, payload_bytes=20)}

SMALL = Traffic(period_s=600, payload_bytes=1)


@pytest.mark.parametrize(
    ("wrong", "error", "says", "hints"),
    [
        ({"devices": 0}, SchemaError, "0 devices", "1 or more"),
        ({"duration_s": 0.0}, SchemaError, "duration_s", ""),
        ({"radius_m": -1.0}, SchemaError, "-1.0 m", "0 or more"),
        ({"gateways_m": ()}, SchemaError, "no gateway", "one position"),
        ({"data_rate": 9}, InputError, "DR9", "DR0 SF12/125"),
        ({"data_rate": 7}, InputError, "FSK", "LoRa data rates"),
        ({"traffic": Traffic(period_s=600, payload_bytes=52)}, SchemaError, "52 bytes", "DR0 SF12/125 51 B"),
        ({"traffic": Traffic(period_s=600, payload_bytes=-1)}, SchemaError, "-1 bytes", "0 to 51"),
        ({"region": "eu433"}, UnknownNameError, "eu433", "eu868"),
        ({"plan": "all"}, UnknownNameError, "all", "ttn"),
        (
            {"region": "us915", "plan": "all", "traffic": Traffic(period_s=9, payload_bytes=1)},
            SchemaError,
            "64",
            "fsb2",
        ),
        ({"power_index": 8}, InputError, "TXPower 8", "0 to 7"),
        ({"device_radio": "sx1261"}, UnknownNameError, "sx1261", "sx1262"),
        ({"gateway_radio": "sx1303"}, UnknownNameError, "sx1303", "sx1302"),
        ({"path_loss": "hata-urban"}, UnknownNameError, "hata-urban", "okumura-hata-urban"),
        ({"capture": "croce2"}, UnknownNameError, "croce2", "croce"),
        ({"mac": Mac(rx1_offset=6)}, InputError, "offset 6", "0 to 5"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_scenario_that_cannot_be_is_refused_with_what_can(
    wrong: dict[str, Any], error: type[UsageError], says: str, hints: str
) -> None:
    with pytest.raises(error) as refused:
        Scenario(**{**GOOD, **wrong})
    assert says in refused.value.message
    assert hints in str(refused.value.hint or "")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Traffic(period_s=0), "period_s"),
        (lambda: Traffic(period_s=float("nan")), "period_s"),
        (lambda: Traffic(period_s=10, jitter_s=11), "jitter_s"),
        (lambda: Mac(attempts=0), "attempts"),
        (lambda: Mac(adr_history=math.nan), "adr_history"),  # type: ignore[arg-type]
        (lambda: Mac(adr_margin_db=math.nan), "adr_margin_db"),
        (lambda: Mac(retry_s=math.inf), "retry_s"),
        (lambda: Shadowing(sigma_db=math.inf), "sigma_db"),
        (lambda: Site(frequency_hz=math.inf), "frequency_hz"),
        (lambda: Scenario(**{**GOOD, "device_antenna_dbi": math.nan}), "gateways_m"),
        (lambda: Scenario(**{**GOOD, "gateways_m": ((math.inf, 0.0),)}), "gateways_m"),
        (lambda: Scenario(**{**GOOD, "devices": 2**33}), "devices"),
        (lambda: Mac(retry_s=1, retry_spread_s=2), "retry_spread_s"),
    ],
)
def test_traffic_and_mac_are_checked_when_made(make: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        make()


def test_a_payload_has_to_fit_every_rate_that_a_device_may_fall_back_to() -> None:
    large = Traffic(period_s=600, payload_bytes=200)
    Scenario(**{**GOOD, "traffic": large, "data_rate": 5})
    for change in ({"mac": Mac(adr=True)}, {"traffic": Traffic(period_s=600, payload_bytes=200, confirmed=True)}):
        with pytest.raises(SchemaError, match="200 bytes do not fit DR0"):
            Scenario(**{**GOOD, "traffic": large, "data_rate": 5, **change})
    steady = Traffic(period_s=600, payload_bytes=200, confirmed=True)
    Scenario(**{**GOOD, "traffic": steady, "data_rate": 5, "mac": Mac(step_down_every=0)})


def test_without_a_data_rate_each_device_gets_the_fastest_that_is_heard() -> None:
    network = resolve(Scenario(**{**GOOD, "devices": 500, "radius_m": 20_000.0, "data_rate": None}))
    assert set(network.data_rate.tolist()) == {0, 1, 2, 3, 4, 5}
    strongest = network.power_dbm(0) - network.loss_db.min(axis=0)
    for data_rate, modulation in network.modulation.items():
        heard = strongest[network.data_rate == data_rate] >= network.sensitivity_dbm[modulation]
        assert heard.all() or data_rate == 0


def test_power_is_limited_by_the_radio_where_the_region_allows_more() -> None:
    traffic = Traffic(period_s=600, payload_bytes=11)
    american = {**GOOD, "region": "us915", "plan": "fsb2", "traffic": traffic}
    assert resolve(Scenario(**american)).power_dbm(0) == pytest.approx(20 + 2.15)
    assert resolve(Scenario(**american, device_radio="sx1262")).power_dbm(0) == pytest.approx(22 + 2.15)
    european = resolve(Scenario(**GOOD))
    assert european.power_dbm(0) == 16
    assert european.current_ma(0) == pytest.approx(44, abs=1.5)  # 13.85 dBm from the radio


def test_without_a_site_the_frequency_is_the_plans_own() -> None:
    american = {**GOOD, "region": "us915", "plan": "fsb2", "traffic": SMALL, "path_loss": "free-space"}
    more_db = resolve(Scenario(**american)).loss_db - resolve(Scenario(**GOOD, path_loss="free-space")).loss_db
    assert more_db == pytest.approx(20 * np.log10(903.9 / 868.1) * np.ones((1, 10)))
