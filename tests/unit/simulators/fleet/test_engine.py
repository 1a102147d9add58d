from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulators.fleet.answered import listens, network_of
from simulators.fleet.engine import Watch, run
from simulators.fleet.faults import faults_of
from simulators.fleet.forecast import Forecast, available_bytes, check_memory, forecast
from simulators.fleet.parts import Battery, Fault, FaultKind, Gateway, Placement, Schedule
from simulators.fleet.resolve import resolve
from simulators.fleet.result import Fate, FleetResult, Packets
from simulators.fleet.scenario import Field, Scenario
from simulators.fleet.shards import run_field
from simulators.fleet.summary import record, summarise
from simulators.lorawan import closed_loop, energy, open_loop
from simulators.lorawan.network import resolve as resolve_network
from simulators.lorawan.record import replay
from simulators.lorawan.scenario import Activation, Fading, Mac, Traffic
from simulators.lorawan.scenario import Scenario as Uniform
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError, UsageError
from tests.unit.simulators.fleet.fields import DAY_S, group, lora, mixed, same, scenario, tallied


def ran(one: Scenario, **options: Any) -> FleetResult:
    return run(resolve(one), **options)


def equal(one: FleetResult, other: FleetResult) -> bool:
    return all(
        np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
        for table in ("devices", "hours", "gateways")
        for (_, mine, _, _), (_, theirs, _, _) in zip(
            getattr(one, table).columns(), getattr(other, table).columns(), strict=True
        )
    )


def cellular(name: str = "gate", count: int = 20, **changes: Any) -> Any:
    return group(name, count, **{"link": "lte-m", "placement": None, "payload_bytes": 100, **changes})


def uniform(**changes: Any) -> Uniform:
    given: dict[str, Any] = {
        "devices": 40,
        "duration_s": DAY_S,
        "seed": 3,
        "radius_m": 4000.0,
        "data_rate": None,
        "traffic": Traffic(period_s=600, payload_bytes=20),
    }
    return Uniform(**{**given, **changes})


def test_energy_of_the_radio_is_that_of_the_open_loop_state_by_state() -> None:
    result = ran(scenario(group(count=40), days=1))
    network = resolve_network(uniform())
    spent = energy.energy(network, energy.use_of_open(open_loop.run(network)))
    for name, values in {
        "sending": spent.sent_mj,
        "listening": spent.received_mj,
        "waiting": spent.waited_mj + spent.overhead_mj,
        "sleep": spent.slept_mj,
    }.items():
        assert getattr(result.devices, f"radio_{name}_mj") == pytest.approx(values, rel=1e-4)


def test_one_group_that_listens_fares_as_in_the_closed_loop() -> None:
    asks = group(count=40, confirmed=True, adr=True, activation=Activation.JOIN, placement=Placement(radius_m=4000.0))
    result = ran(scenario(asks, days=1))
    mac = Mac(adr=True, activation=Activation.JOIN)
    network = resolve_network(uniform(mac=mac, traffic=Traffic(period_s=600, payload_bytes=20, confirmed=True)))
    loop = closed_loop.run(network)
    devices = result.devices
    assert devices.packets.sum() == loop.log.device.size
    assert devices.delivered.sum() == loop.messages.delivered.sum()
    assert devices.acknowledged.sum() == loop.messages.acknowledged.sum()
    assert devices.collided.sum() == (loop.log.verdict == 1).sum()
    spent = energy.energy(network, energy.use_of_closed(loop))
    assert devices.radio_sending_mj == pytest.approx(spent.sent_mj, rel=1e-6)
    assert devices.radio_listening_mj == pytest.approx(spent.received_mj, rel=1e-6)
    assert (devices.data_rate == 5).mean() > 0.5
    assert (devices.busiest_hour_s < 36).all()


def test_groups_that_listen_and_that_do_not_share_one_loop_and_its_verdicts_are_those_of_the_vectors() -> None:
    one = lora(
        scenario(
            group("asks", 60, confirmed=True, report_period_s=200.0, data_rate=5, payload_bytes=51),
            group("tells", 200, report_period_s=120.0, data_rate=5, radio="sx1262", power_index=1),
            group("joins", 30, activation=Activation.JOIN),
            days=0.2,
            gateways=(Gateway(), Gateway(x_m=2500.0)),
            faults=(Fault(kind=FaultKind.GATEWAY_DOWN, gateway=1, at_h=1, for_h=2),),
        )
    )
    assert listens(one)
    network = network_of(one)
    loop = closed_loop.run(network, one.timing.between(0, one.scenario.duration_s))
    assert np.array_equal(replay(loop), loop.log.by_gateway)
    down = (loop.log.start_s >= 3600) & (loop.log.start_s < 10_800)
    assert not (loop.log.by_gateway[1, down] == 0).any()


@pytest.mark.parametrize("capture", ["goursaud", "energy-goursaud"])
def test_where_nobody_listens_the_loop_and_the_windows_come_to_the_same_fates(capture: str) -> None:
    one = lora(
        scenario(
            group("soil", 300, report_period_s=400.0),
            group("rain", 200, report_period_s=300.0, data_rate=3, payload_bytes=40),
            group("far", 50, report_period_s=1200.0, data_rate=0, power_index=2, radio="sx1262"),
            days=0.04,
            gateways=(Gateway(), Gateway(x_m=3000.0)),
            field=Field(plan="ttn", shadowing_db=6.0, capture=capture, fading=Fading.RAYLEIGH),
        )
    )
    loop = closed_loop.run(network_of(one), one.timing.between(0, one.scenario.duration_s))
    assert sum(device.deferred_s for device in loop.devices) == 0
    fates = np.zeros((one.count, len(Fate)), np.int32)
    verdict = loop.log.verdict
    np.add.at(fates, (loop.log.device, verdict + (verdict == 4)), 1)
    assert np.array_equal(tallied(one, 500.0).fates, fates)


def test_what_is_withheld_sent_and_delivered_adds_up_where_devices_listen() -> None:
    quiet = Fault(kind=FaultKind.BROWN_OUT, share=0.5, at_h=2, for_h=3)
    result = ran(scenario(group(count=30, confirmed=True), faults=(quiet,)))
    devices = result.devices
    assert (devices.messages + devices.withheld == 72).all()
    assert set(devices.withheld.tolist()) == {0, 18}
    assert (devices.delivered <= devices.messages).all()
    assert (devices.packets == sum(getattr(devices, fate.name.lower()) for fate in Fate)).all()
    assert devices.latency_p99_ms.max() < 60_000


def test_neither_windows_nor_processes_change_a_bit_of_the_result() -> None:
    one = replace(mixed(days=0.2), devices=(*mixed().devices, cellular()))
    whole = ran(one)
    assert equal(ran(one, window_s=500.0), whole)
    assert equal(ran(one, window_s=500.0, workers=2), whole)
    assert not equal(ran(replace(one, seed=4)), whole)


def test_a_stretch_that_took_the_wrong_demodulators_for_held_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full demodulators for longer than a stretch looks back: what it assumes is wrong, and must not show."""
    crowd = group(count=5000, report_period_s=300.0, data_rate=0, placement=Placement(radius_m=10.0))
    one = lora(scenario(crowd, days=0.02))
    whole = tallied(one, 100.0)
    assert same(run_field(one, workers=2, length_s=100.0), whole)


def test_columns_of_a_group_do_not_depend_on_groups_on_other_links() -> None:
    alone, beside = ran(scenario(group())), ran(scenario(group(), cellular()))
    assert np.array_equal(alone.devices.packets, beside.devices.packets[:100])
    assert alone.devices.airtime_s == pytest.approx(beside.devices.airtime_s[:100])


def test_progress_reaches_the_whole_and_packets_come_once_each() -> None:
    told, seen = list[float](), list[Packets]()
    result = ran(mixed(days=0.1), window_s=1000.0, watch=Watch(share=told.append, packets=seen.append))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert sum(part.device.size for part in seen) == result.devices.packets.sum()
    asked = list[Packets]()
    told.clear()
    result = ran(scenario(group(count=90, confirmed=True)), watch=Watch(share=told.append, packets=asked.append))
    assert asked[0].device.size == result.devices.packets.sum()
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] <= 1


def test_inferences_cost_what_the_cost_model_says_and_the_board_sleeps_for_the_rest() -> None:
    busy = group(count=3, inference_period_s=10.0, latency_ms=100.0, energy_uj=5_000.0, sleep_mw=0.05)
    devices = ran(scenario(busy, days=1)).devices
    assert devices.inferences.tolist() == [8640] * 3
    assert devices.inference_mj == pytest.approx([8640 * 5.0] * 3)
    assert devices.board_sleep_mj == pytest.approx([0.05 * (DAY_S - 864)] * 3)
    model = ran(scenario(group(count=1, inference_period_s=10.0, macs=100_000, params=5000), days=1))
    assert model.groups[0].inference_energy_uj is not None
    assert model.devices.inference_mj[0] == pytest.approx(8640e-3 * model.groups[0].inference_energy_uj.value)


def test_hours_of_rest_and_brown_outs_leave_inferences_out() -> None:
    busy = group(count=2, inference_period_s=10.0, latency_ms=1.0, energy_uj=1.0)
    rest = ran(scenario(busy, days=1, schedule=Schedule(from_h=6, to_h=18))).devices
    assert rest.inferences.tolist() == [4320] * 2
    morning = ran(scenario(busy, days=1.375, schedule=Schedule(from_h=6, to_h=18))).devices
    assert morning.inferences.tolist() == [4320 + 1080] * 2  # of the second day, from 6 to 9
    night = Fault(kind=FaultKind.BROWN_OUT, at_h=0, for_h=6)
    slept = ran(scenario(busy, days=1, schedule=Schedule(from_h=6, to_h=18), faults=(night,))).devices
    assert slept.inferences.tolist() == [4320] * 2
    dark = ran(scenario(busy, days=1, faults=(Fault(kind=FaultKind.BROWN_OUT, at_h=0, for_h=6),))).devices
    assert dark.inferences.tolist() == [6480] * 2


def test_a_battery_lasts_as_long_as_its_charge_at_the_mean_power() -> None:
    cell = Battery(capacity_mah=1000.0, voltage_v=3.0, usable_share=0.8, self_discharge_a_year=0.02)
    devices = ran(scenario(group(count=4, sleep_mw=0.1, battery=cell), days=1)).devices
    current_ma, rate_per_h = devices.energy_mj / DAY_S / 3.0, -np.log(0.98) / 8766
    assert devices.battery_days == pytest.approx(np.log1p(rate_per_h * 800 / current_ma) / rate_per_h / 24)
    lithium = ran(scenario(group(count=4, sleep_mw=0.1, battery=Battery(kind="li-socl2-aa")), days=1)).devices
    assert 2.0 < (lithium.battery_days / devices.battery_days).mean() < 4.0  # 2600 mAh in place of 800
    fed = replace(cell, harvest_mw=5.0)
    assert np.isinf(ran(scenario(group(battery=fed, sleep_mw=0.1))).devices.battery_days).all()
    assert np.isnan(ran(scenario(group())).devices.battery_days).all()
    with pytest.raises(SchemaError, match="either a kind"):
        Battery(kind="li-socl2-aa", capacity_mah=100.0)
    with pytest.raises(SchemaError, match="unknown battery"):
        Battery(kind="li-po")


@pytest.mark.parametrize(
    ("budget", "broken"),
    [
        (Budget(latency_ms=50.0), "over_latency"),
        (Budget(power_mw=0.1, energy_burst_uj=1e6), "over_power"),
        (Budget(power_mw=10.0, energy_burst_uj=10.0), "over_power"),
        (Budget(airtime_s_per_hour=0.1), "over_airtime"),
        (Budget(link_bytes_per_day=1000), "over_bytes"),
        (
            Budget(
                latency_ms=500.0, power_mw=1.0, energy_burst_uj=1e4, airtime_s_per_hour=9.0, link_bytes_per_day=9000
            ),
            "",
        ),
    ],
)
def test_limits_that_are_broken_are_named(budget: Budget, broken: str) -> None:
    busy = group(count=5, inference_period_s=10.0, latency_ms=100.0, energy_uj=5_000.0, budget=budget)
    devices = ran(scenario(busy, days=1)).devices
    names = [name for name, _, _, _ in devices.columns() if name.startswith("over_")]
    assert [name for name in names if getattr(devices, name).any()] == ([broken] if broken else [])
    assert devices.violations.tolist() == [int(bool(broken))] * 5


def test_an_illegal_schedule_is_not_run() -> None:
    with pytest.raises(SchemaError, match="report_period_s"):
        ran(scenario(group(report_period_s=3.0)))


def test_the_record_is_json_without_infinities_and_names_its_source() -> None:
    fed = Battery(capacity_mah=1000.0, harvest_mw=50.0)
    result = ran(scenario(group(battery=fed), cellular(), days=0.1))
    text = json.dumps(record(result), allow_nan=False)
    loaded = json.loads(text)
    assert loaded["source"] == "simulated"
    assert loaded["groups"][0]["battery_days_worst"] is None
    assert loaded["groups"][0]["battery_lasts"] == 100
    assert loaded["groups"][1]["delivered_other_share"] is None
    assert sum(loaded["groups"][0]["fates"].values()) == result.devices.packets[:100].sum()
    soil, gate = summarise(result)
    assert soil.delivered_share == pytest.approx(loaded["groups"][0]["delivered_share"])
    assert gate.limit_s_per_hour is None
    assert soil.total_mj_a_day == pytest.approx(result.devices.energy_mj[:100].mean() / 0.1)


def test_the_other_rule_of_capture_parts_from_the_first_where_channels_are_full() -> None:
    crowd = group(count=3000, report_period_s=60.0, placement=Placement(radius_m=1000.0), data_rate=5)
    alone = ran(scenario(crowd, days=0.02))
    together = ran(scenario(crowd, days=0.02, field=Field(capture="energy-goursaud")))
    assert alone.devices.delivered_other.sum() == together.devices.delivered.sum()
    assert together.devices.delivered_other.sum() == alone.devices.delivered.sum()
    assert alone.devices.delivered.sum() != together.devices.delivered.sum()
    assert alone.groups[0].other_capture == "energy-goursaud"
    assert ran(scenario(field=Field(capture="aloha"))).groups[0].other_capture is None


def test_a_forecast_is_of_the_order_of_the_run_and_memory_is_checked_against_it() -> None:
    resolved = resolve(scenario(group(), cellular(), days=1))
    expected = forecast(resolved)
    result = run(resolved)
    assert expected.messages == pytest.approx(result.devices.messages.sum(), rel=0.02)
    assert forecast(resolve(scenario(group(confirmed=True)))).seconds > forecast(resolve(scenario(group()))).seconds
    assert forecast(resolve(scenario(group(count=100_000)))).memory_bytes > 1e8
    free = available_bytes()
    assert free is None or free > 0
    check_memory(expected, None)
    with pytest.raises(UsageError, match="1 KiB are free"):
        check_memory(Forecast(messages=1, memory_bytes=1e9, seconds=1), 1024)


def test_who_a_fault_befalls_does_not_depend_on_the_other_groups() -> None:
    fault = Fault(kind=FaultKind.BROWN_OUT, devices="soil", share=0.3, at_h=1)
    one = scenario(group(), group("other", 50), faults=(fault,))
    numbers = np.arange(150)
    ((who, _, _),) = faults_of(one, numbers, np.repeat([0, 1], [100, 50])).silences
    assert 15 < who[:100].sum() < 45
    assert not who[100:].any()


@pytest.mark.parametrize("capture", ["goursaud", "aloha"])
def test_where_devices_listen_gateways_may_be_down_and_the_other_rule_weighs_the_same_packets(capture: str) -> None:
    down = Fault(kind=FaultKind.GATEWAY_DOWN, gateway=0, at_h=2, for_h=3)
    asks = group(count=80, confirmed=True, report_period_s=900.0, placement=Placement(radius_m=1500.0), data_rate=5)
    result = ran(scenario(asks, days=0.3, faults=(down,), field=Field(capture=capture)))
    devices = result.devices
    assert devices.gateway_down.sum() > 80 * 12
    assert devices.too_weak.sum() == 0
    assert result.hours.received[0, 3] == 0
    if capture == "aloha":
        assert (devices.delivered_other == -1).all()
        assert result.groups[0].other_capture is None
    else:
        assert (devices.delivered_other >= 0.9 * devices.delivered).all()
    assert (devices.radio_waiting_mj > 0).all()
    assert not devices.over_duty_cycle.any()


def test_notes_come_in_the_order_of_the_scenario_whatever_the_process_hashes() -> None:
    radios = ("sx1276", "mdot", "sx1262")
    for order in (radios, radios[::-1]):
        groups = [group(name, 2, radio=name) for name in order]
        notes = [note for note in ran(scenario(*groups, days=0.1)).notes if note.startswith("currents")]
        assert [note.split()[3].lower() for note in notes] == list(order)


def test_a_fault_that_begins_after_the_run_is_told() -> None:
    late = Fault(kind=FaultKind.BROWN_OUT, at_h=30)
    assert any("brown-out at 30 h begins after the run" in note for note in ran(scenario(faults=(late,))).notes)
    assert not any("after the run" in note for note in ran(scenario(faults=(replace(late, at_h=3),))).notes)


def test_an_empty_run_is_one_of_nothing() -> None:
    """Shorter than any message's phase: nobody has sent by its end, and every figure says so."""
    quiet = scenario(group(count=2, report_period_s=86_400.0, confirmed=True), cellular(count=2), days=1e-5)
    result = ran(quiet)
    assert result.devices.packets.tolist() == [0] * 4
    assert np.isnan(result.devices.latency_p50_ms).all()
    assert [one.delivered_share for one in summarise(result)] == [None, None]
    json.dumps(record(result), allow_nan=False)
