"""Plans for cellular fleets hold in the engine; classes, reach and updates are those of the models they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulators.cellular.presets import preset
from simulators.fleet.engine import run
from simulators.fleet.planning import plan
from simulators.fleet.planning_cellular import Cellular, farthest_m
from simulators.fleet.planning_lora import LoRa
from simulators.fleet.planning_question import device_of, link_of
from simulators.fleet.planning_terms import INTERVALS_S, SECONDS_A_DAY, Cause, Goals
from simulators.fleet.planning_update import update_cost
from simulators.fleet.resolve import resolve
from simulators.fleet.scenario import Battery, Group, Placement, Scenario, Workload
from simulators.links import open_link
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.update.chunks import Chunks, traffic


def scenario(link: str = "nb-iot", count: int = 40, radius_m: float | None = 1500.0, **changes: object) -> Scenario:
    group = Group(
        name="meters",
        count=count,
        link=link,
        placement=None if radius_m is None else Placement(radius_m=radius_m),
        workload=Workload(report_period_s=3600, payload_bytes=10),
        sleep_mw=0.02,
        battery=Battery(capacity_mah=5000),
    )
    return Scenario(name="meters", devices=(replace(group, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize("link", ["nb-iot", "lte-m"])
def test_a_plan_bound_by_the_battery_lasts_as_long_in_the_engine_and_one_step_beyond_does_not(link: str) -> None:
    asked, goals = scenario(link), Goals(years=2.0, delivery=0.95)
    network = link_of(asked, 0)
    one = plan(network, device_of(asked.devices[0]), goals).recommended
    assert one is not None
    assert one.binding is Cause.BATTERY

    def ran(interval_s: float) -> tuple[float, float]:
        workload = replace(asked.devices[0].workload, report_period_s=interval_s)
        days = 60 * interval_s / SECONDS_A_DAY
        devices = run(
            resolve(replace(asked, days=days, devices=(replace(asked.devices[0], workload=workload),)))
        ).devices
        return float(devices.battery_days.min()) / 365.25, float(devices.delivered.sum() / devices.messages.sum())

    years, delivered = ran(one.interval_s)
    assert years == pytest.approx(one.years, rel=0.1)
    assert abs(delivered - one.delivery.share) <= one.delivery.error + 2e-3
    beyond, _ = ran(INTERVALS_S[INTERVALS_S.index(one.interval_s) - 1])
    assert beyond < goals.years


def test_classes_are_those_the_devices_stand_in_and_the_plan_is_held_to_the_slowest() -> None:
    network = link_of(scenario(radius_m=2500.0, count=200), 0)
    classes = network.classes()
    assert sum(one.share for one in classes) == pytest.approx(1.0, abs=0.02)
    assert [one.report_mj for one in classes] == sorted(one.report_mj for one in classes)
    assert network.ways()[0].report_mj == classes[-1].report_mj


def test_a_network_that_climbs_by_sinr_has_no_classes_to_show() -> None:
    assert link_of(scenario("5g", radius_m=200.0), 0).classes() == ()


@pytest.mark.parametrize(("link", "name"), [("nb-iot", "nb-iot"), ("5g", "5g-sa-mid-band")])
def test_nine_of_ten_places_at_the_reach_are_on_the_rung(link: str, name: str) -> None:
    network = link_of(scenario(link, radius_m=300.0), 0)
    way = network.ways()[0]
    assert way.reach_m is not None
    there = Cellular(preset(name), payload_bytes=100, places=lambda _: np.full(500, way.reach_m), seed=3, speed_m_s=0.0)
    at_least = np.mean([(rungs >= way.number).mean() for rungs in there._rungs])
    assert at_least == pytest.approx(0.9, abs=0.02)


def test_where_nobody_has_coverage_the_way_is_out_for_its_range() -> None:
    far = link_of(scenario("5g-mmwave", count=3, radius_m=None), 0)
    assert far.ways()[0].refused is None
    none = Cellular(preset("5g-nsa-mmwave"), payload_bytes=100, places=lambda _: np.full(3, 4900.0))
    assert none.ways()[0].refused is not None
    asked = scenario(count=3)
    found = plan(none, device_of(asked.devices[0]), Goals())
    assert found.recommended is None
    assert [one.cause for one in found.refused] == [Cause.RANGE]
    assert found.nearest == ()


def test_places_beyond_the_path_loss_model_are_refused() -> None:
    with pytest.raises(SchemaError, match="placement"):
        link_of(scenario(radius_m=90_000.0), 0)
    assert farthest_m(preset("nb-iot")) == 5000.0


def test_a_report_larger_than_a_payload_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Cellular(preset("nb-iot"), payload_bytes=5000, places=lambda _: np.full(3, 100.0))


def test_reports_within_the_tail_cost_no_promotion() -> None:
    network = link_of(scenario(), 0)
    way = network.ways()[0]
    assert network.radio_mw(way, 30.0) * 30.0 > network.radio_mw(way, 9.0) * 9.0


def test_an_update_over_a_cellular_network_counts_the_frames_of_the_product() -> None:
    asked = scenario()
    network, device = link_of(asked, 0), device_of(asked.devices[0])
    cost = update_cost(60_000, asked.devices[0], device, network, network.ways()[0])
    opened = open_link("nb-iot")
    known = traffic(Chunks.for_payload(bytes(60_000), opened.max_payload_bytes()), opened)
    assert cost.sent
    assert (cost.frames, cost.seconds) == (known.frames, known.seconds)
    assert cost.energy_j is not None
    assert cost.battery_share == pytest.approx(cost.energy_j / device.battery_j)
    assert cost.energy_j > 167e-3 * known.seconds


def test_an_update_over_lora_is_not_sent_and_says_what_it_would_take() -> None:
    asked = scenario("lora-eu868", radius_m=1000.0)
    network, device = link_of(asked, 0), device_of(asked.devices[0])
    assert isinstance(network, LoRa)
    ways = {way.name: way for way in network.ways()}
    fast = update_cost(17 * 1024, asked.devices[0], device, network, ways["SF7/125"])
    slow = update_cost(17 * 1024, asked.devices[0], device, network, ways["SF12/125"])
    assert not fast.sent
    assert fast.energy_j is fast.battery_share is None
    assert fast.seconds is not None
    assert slow.seconds is not None
    assert 3000 < fast.seconds < 4000  # an hour, as docs/update.md has it
    assert 1.2 * 86_400 < slow.seconds < 2.2 * 86_400  # two days
    assert fast.contact_s < 1.0


def test_frames_too_small_for_a_piece_leave_an_update_without_a_time() -> None:
    asked = scenario("lora-us915", radius_m=1000.0)
    network = link_of(asked, 0)
    slowest = next(way for way in network.ways() if way.name == "SF10/125")
    cost = update_cost(1000, asked.devices[0], device_of(asked.devices[0]), network, slowest)
    assert cost.seconds is cost.frames is None
    assert not cost.sent


@pytest.mark.parametrize("size", [0, 1 << 40])
def test_a_size_that_no_bundle_has_is_refused(size: int) -> None:
    asked = scenario()
    network = link_of(asked, 0)
    with pytest.raises(SchemaError, match="no bundle"):
        update_cost(size, asked.devices[0], device_of(asked.devices[0]), network, network.ways()[0])
