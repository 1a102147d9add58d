from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.fleet.kinds import CellularKind, LoraKind
from simulators.fleet.parts import Placement
from simulators.fleet.reading import parse_scenario, read_scenario
from simulators.fleet.scenario import FaultKind, Field, PlacementKind, Scenario
from simulators.lorawan.eu868 import EU868
from simulators.lorawan.region import Channel, regions
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UsageError
from tests.unit.simulators.fleet.fields import group, lora, scenario

ORCHARD = """\
name = "orchard"
days = 30
seed = 1
[[gateways]]
x_m = 0
y_m = 0
[[devices]]
name = "soil"
count = 40
profile = "cortex-m4"
link = "lora-eu868"
macs = 100000
params = 5000
[devices.placement]
kind = "disc"
radius_m = 3000
[devices.workload]
report_period_s = 3600
inference_period_s = 60
payload_bytes = 24
[devices.budget]
latency_ms = 50
[devices.battery]
capacity_mah = 2600
[[devices]]
name = "gate"
count = 3
link = "nb-iot?distance_m=2000"
workload = { report_period_s = 900, payload_bytes = 200 }
[[faults]]
kind = "brown-out"
devices = "soil"
share = 0.1
at_h = 3
for_h = 2
"""


def parsed(text: str) -> Scenario:
    return parse_scenario(text, name="orchard.toml", folder=Path("fields"))


def test_a_file_becomes_groups_gateways_and_faults() -> None:
    scenario = parsed(ORCHARD)
    soil, gate = scenario.devices
    assert scenario.count == 43
    assert scenario.first_of(1) == 40
    assert scenario.duration_s == 30 * 86_400
    assert soil.kind == LoraKind(region="eu868")
    assert soil.data_rates() == (0, 1, 2, 3, 4, 5)
    assert gate.kind == CellularKind(preset="nb-iot", options={"distance_m": 2000.0})
    assert soil.placement is not None
    assert soil.placement.kind is PlacementKind.DISC
    assert scenario.faults[0].kind is FaultKind.BROWN_OUT
    assert (scenario.faults[0].start_s, scenario.faults[0].end_s) == (10_800, 18_000)


def test_seed_and_days_of_the_command_line_go_before_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "orchard.toml").write_text(ORCHARD)
    scenario = read_scenario(tmp_path / "orchard.toml", seed=7, days=2)
    assert (scenario.seed, scenario.days) == (7, 2)


def test_files_that_a_scenario_names_are_looked_for_beside_it() -> None:
    text = ORCHARD.replace("macs = 100000\nparams = 5000", 'network = "orchard.tamiyo"')
    text = text.replace('kind = "disc"\nradius_m = 3000', 'kind = "file"\nfile = "trees.csv"')
    soil = parsed(text).devices[0]
    assert soil.network == str(Path("fields/orchard.tamiyo"))
    assert soil.placement is not None
    assert soil.placement.file == str(Path("fields/trees.csv"))


WRONG = [
    ("count = 40", "count = 0", "orchard.toml:9: devices[0].count: 0 devices", "1 or more"),
    ("count = 3\n", "count = 3.5\n", "orchard.toml:27: devices[1].count", "integer"),
    ("radius_m", "radus_m", "orchard.toml:16: devices[0].placement.radus_m: unknown key", "did you mean radius_m?"),
    ("[devices.battery]", "[devices.batery]", "orchard.toml:23: devices[0].batery: unknown", "mean battery"),
    ("latency_ms = 50", "deadline_ms = 50", "orchard.toml:22: devices[0].budget.deadline_ms", "legal here: latency_ms"),
    ('"cortex-m4"', '"cortex-m5"', "orchard.toml:10: devices[0].profile: unknown", "cortex-m4"),
    ('"lora-eu868"', '"lora-eu433"', "orchard.toml:11: devices[0].link: unknown link", "lora-eu868"),
    ('"lora-eu868"', '"lora-eu868-sf6"', "orchard.toml:11: devices[0].link: eu868 has no SF6", "sf7"),
    ('"lora-eu868"', '"lora-eu868?a=1"', "orchard.toml:11: devices[0].link: lora-eu868 has no options", "[field]"),
    ("distance_m=2000", "distance_m=20000", "orchard.toml:28: devices[1].link", "10..5000"),
    ("distance_m=2000", "seed=1", "orchard.toml:28: devices[1].link: its seed", "scenario's seed"),
    ("radius_m = 3000", "radius_m = -1", "orchard.toml:16: devices[0].placement.radius_m: -1.0 m", "0 to"),
    ("radius_m = 3000", "spacing_m = 3", "orchard.toml:14: devices[0].placement.radius_m: is missing", "disc"),
    ("payload_bytes = 24", "payload_bytes = 52", "orchard.toml:20: devices[0].workload.payload_bytes", "DR3 115 B"),
    ("payload_bytes = 200", "payload_bytes = 2000", "orchard.toml:29: devices[1].workload.payload_bytes", "0 to 1200"),
    ("count = 40", "count = 40\ndata_rate = 9", "orchard.toml:10: devices[0].data_rate", "DR0 SF12/125"),
    ("count = 40", "count = 40\ndata_rate = 7", "orchard.toml:10: devices[0].data_rate", "LoRa data rates"),
    ("count = 40", 'count = 40\ndata_rate = "fast"', "orchard.toml:10: devices[0].data_rate: 'fast'", "adaptive"),
    ("count = 40", "count = 40\npower_index = 9", "orchard.toml:10: devices[0].power_index", "0 to 7"),
    ("count = 3\n", "count = 3\nadr = true\n", "orchard.toml:28: devices[1].adr: is for LoRa", "nb-iot"),
    ("params = 5000", "", "orchard.toml:12: devices[0].macs: macs and params go together", ""),
    ("macs = 100000\nparams = 5000", "", "orchard.toml:18: devices[0].workload.inference_period_s", "network"),
    ("report_period_s = 3600", "report_period_s = 0", "toml:18: devices[0].workload.report_period_s", "above 0"),
    ("report_period_s = 3600", "", "orchard.toml:17: devices[0].workload: missing field 'report_period_s'", ""),
    ('name = "gate"', 'name = "soil"', "orchard.toml:26: devices[1].name: 'soil'", "each its own"),
    ('devices = "soil"', 'devices = "sol"', "orchard.toml:32: faults[0].devices: unknown group 'sol'", "soil"),
    ('"brown-out"', '"blackout"', "orchard.toml:31: faults[0].kind: 'blackout'", "gateway-down"),
    ('"brown-out"', '"gateway-down"', "orchard.toml:30: faults[0].gateway: is needed", ""),
    ('"brown-out"\ndevices = "soil"', '"gateway-down"\ngateway = 1', "toml:32: faults[0].gateway: there", "0 to 0"),
    ("[devices.battery]", "[devices.battery]\nusable_share = 2", "toml:24: devices[0].battery.usable_share", "share"),
    ("capacity_mah = 2600", 'kind = "li-socl2-aa"\nvoltage_v = 3', "toml:25: devices[0].battery.voltage_v", "its own"),
    ("payload_bytes = 24", 'jitter_s = 9\npattern = "poisson"', "toml:20: devices[0].workload.jitter_s", "periodic"),
    ("count = 3\n", 'count = 3\nradio = "sx1262"\n', "orchard.toml:28: devices[1].radio: is for LoRa", "nb-iot"),
    ("count = 3\n", 'count = 3\nactivation = "otaa"\n', "toml:28: devices[1].activation: is for LoRa", "nb-iot"),
    ("days = 30", "field = {gateway_antenna_dbi = 1e6}", "orchard.toml:2: field.gateway_antenna_dbi: 1e+06", "60"),
    ("days = 30", "field = {gateway_height_m = 1e9}", "orchard.toml:2: field.gateway_height_m: 1e+09 m", "10000"),
    ("share = 0.1", "share = 0", "orchard.toml:33: faults[0].share", "above 0"),
    ("radius_m = 3000", "radius_m = 1e308", "orchard.toml:16: devices[0].placement.radius_m: 1e+308 m", "0 to"),
    ("x_m = 0", "x_m = -1e308", "orchard.toml:5: gateways[0].x_m: -1e+308 m is off the Earth", ""),
    ("days = 30", "field = {shadowing_db = 1e308}", "orchard.toml:2: field.shadowing_db: 1e+308 dB", "0 to 40"),
    ("days = 30", "days = 0", "orchard.toml:2: days: 0.0 days", "above 0"),
    ("days = 30", "days = inf", "orchard.toml:2: days: must be finite", ""),
    ("seed = 1", "seed = -1", "orchard.toml:3: seed: -1", "0 to"),
    ("days = 30", 'field = {plan = "fsb2"}', "orchard.toml:2: field.plan: eu868 has no channel plan", "default, ttn"),
    ("days = 30", 'field = {path_loss = "hata"}', "orchard.toml:2: field.path_loss: unknown", "okumura-hata-rural"),
    ("days = 30", "schedule = {from_h = 9, to_h = 8}", "orchard.toml:2: schedule.to_h", "0 <= from_h < to_h <= 24"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "says", "legal"), WRONG, ids=[row[1][:40] for row in WRONG])
def test_what_is_wrong_is_named_with_file_line_key_and_what_is_legal(
    good: str, bad: str, says: str, legal: str
) -> None:
    assert good in ORCHARD
    with pytest.raises(SchemaError) as refused:
        parsed(ORCHARD.replace(good, bad, 1))
    assert says in refused.value.message
    assert legal in f"{refused.value.message} {refused.value.hint}"


def test_what_is_no_toml_or_no_text_or_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at line 2"):
        parsed('name = "orchard"\ndays 30')
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not text"):
        read_scenario(tmp_path / "bytes.toml")
    with pytest.raises(InputError, match="not found"):
        read_scenario(tmp_path / "none.toml")


def test_a_scenario_without_groups_says_so_without_a_line() -> None:
    with pytest.raises(UsageError, match=r"^orchard.toml: scenario: missing field 'devices'"):
        parsed('name = "orchard"')


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"latency_ms": 1.0}, "latency_ms and energy_uj go together"),
        ({"latency_ms": 1.0, "energy_uj": 1.0, "network": "a.tamiyo"}, "says again what network says"),
        ({"sleep_mw": -1.0}, "sleep_mw: -1.0 mW is below 0"),
        ({"placement": None}, "placement: is missing"),
        ({"link": "lora-eu868-sf9", "data_rate": 2}, "data_rate: is 2, lora-eu868-sf9 is DR3"),
        ({"link": "lora-eu868-sf7", "payload_bytes": 243}, "243 bytes do not fit DR5"),
        (
            {"link": "nb-iot?distance_m=500", "placement": Placement(radius_m=9.0)},
            "link: says a distance, and placement says others",
        ),
        ({"count": 10_000_001}, "more than the 10000000 allowed"),
        ({"radio": "sx1261"}, "radio: unknown LoRa radio"),
    ],
)
def test_a_group_that_contradicts_itself_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaError) as refused:
        group(**values)
    assert says in refused.value.message


def test_a_plan_that_the_gateway_cannot_listen_to_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"field.plan: SX1301 listens to 8 channels, 'all' of us915 has 64"):
        scenario(group(link="lora-us915", payload_bytes=11), field=Field(plan="all"))


def test_a_data_rate_that_no_channel_of_the_plan_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"slow": (Channel(frequency_hz=868_100_000, data_rates=range(1)),)}
    monkeypatch.setitem(regions._items, "eu868-slow", replace(EU868, plans=slow))
    with pytest.raises(SchemaError, match=r"devices\[0\].data_rate: no channel of the plan takes DR5"):
        scenario(group(link="lora-eu868-slow", data_rate=5))
    assert set(lora(scenario(group(link="lora-eu868-slow"))).data_rate.tolist()) == {0}


def test_two_networks_on_one_spectrum_are_refused_as_they_would_not_hear_each_other_here() -> None:
    with pytest.raises(SchemaError, match=r"devices\[1\].link: eu868-ttn and eu868 are two networks"):
        scenario(group(), group("other", link="lora-eu868-ttn"))
    scenario(group(link="lora-eu868-sf9"), group("other", link="lora-us915", payload_bytes=11))


def test_data_rates_that_a_device_may_come_to_use_follow_from_what_it_asks_for() -> None:
    assert group(link="lora-eu868-sf9").data_rates() == (3,)
    assert group(data_rate=4).data_rates() == (4,)
    assert group(data_rate=4, confirmed=True).data_rates() == (0, 1, 2, 3, 4)
    assert group(data_rate=6, adr=True).data_rates() == (0, 1, 2, 3, 4, 5, 6)


LINES = ORCHARD.splitlines()
values = st.sampled_from(
    ["0", "-1", "1e308", "nan", "inf", "-inf", "true", '""', '"x"', "[]", "[1]", "{}", "{a = 1}", "9" * 40, "0.5", "3",
     "1979-05-27", '"\\u0000"', '"' + "a" * 300 + '"', '"disc"', "[{x_m = 1}]", '["a"]']
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), values), min_size=1, max_size=3), st.randoms())
def test_whatever_stands_in_a_file_is_a_scenario_or_one_error_of_the_users(
    changes: list[tuple[int, str]], chance: Random
) -> None:
    lines = list(LINES)
    for place, value in changes:
        key = lines[place].partition("=")[0]
        kept = chance.random()
        lines[place] = f"{key}= {value}" if "=" in lines[place] and kept < 0.8 else "" if kept < 0.9 else lines[-place]
    try:
        scenario = parsed("\n".join(lines))
    except UsageError as error:
        assert "orchard.toml" in error.message
        assert "\n" not in error.message.strip()
        return
    assert scenario.count >= 1
