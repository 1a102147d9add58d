from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulators.cellular.presets import PRESETS
from simulators.cellular.rrc import State, Transfer, timeline
from simulators.fleet.cellular import run_cellular
from simulators.fleet.engine import run
from simulators.fleet.parts import Fault, FaultKind, Pattern, Placement, PlacementKind
from simulators.fleet.radio_states import Spending
from simulators.fleet.resolve import resolve
from simulators.fleet.scenario import Scenario
from simulators.links.cellular import NETWORKS, CellularLink
from tamiyo_runtime.contracts.errors import SchemaError
from tests.unit.simulators.fleet.fields import group, scenario


def fleet_of(link: str, count: int = 40, *, seed: int = 3, **changes: Any) -> Scenario:
    return scenario(group("g", count, **{"link": link, "placement": None, **changes}), seed=seed)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_fleet_sends_as_the_runtimes_link_does(name: str) -> None:
    """The same places through `CellularLink`: a seed gives its device the place that it gives device 0 of a fleet."""
    ours, theirs = [], []
    for seed in range(20):
        devices = run(resolve(fleet_of(name, 1, seed=seed, report_period_s=300.0, payload_bytes=200))).devices
        charged = devices.radio_sending_mj + devices.radio_listening_mj + devices.radio_waiting_mj
        ours.append((devices.latency_p50_ms[0], charged[0] / devices.packets[0]))
        link = type("Link", (CellularLink,), {"network": NETWORKS[name]})(seed=seed)
        sent = [link.transmit(200, link.ready_at_s(200, 30.0 + 300.0 * number)) for number in range(100)]
        spent = sum(one.energy_uj for one in sent) * 1e-3 / len(sent)
        theirs.append((float(np.median([1e3 * one.latency_s for one in sent])), spent))
    assert np.array(ours) == pytest.approx(np.array(theirs), rel=0.25)  # each place
    assert np.mean(ours, axis=0) == pytest.approx(np.mean(theirs, axis=0), rel=0.06)


@pytest.mark.parametrize("preset", ["lte-cat4", "nb-iot", "5g-sa-mid-band"])
def test_spending_is_that_of_the_timeline_cause_by_cause(preset: str) -> None:
    radio = PRESETS[preset].radio
    spending = Spending.of(radio, 1)
    begins = (5.0, 12.0, 40.0, 95.0, 99.5)
    transfers, device = [], np.zeros(1, np.int64)
    for begin in begins:
        begin_s, length, air = np.array([begin]), np.array([0.5]), np.array([0.2])
        spending.transfer(device, begin_s, length, air, 0.01)
        transfers.append(Transfer(start_s=begin, duration_s=0.5, air_s=0.2, megabits=0.01))
    spending.end(200.0)
    by_state = dict.fromkeys(State, 0.0)
    for span in timeline(radio, transfers, 200.0):
        by_state[span.state] += span.energy_uj * 1e-3
    columns = spending.columns()
    assert columns["radio_sending_mj"][0] == pytest.approx(by_state[State.CONNECTED])
    assert columns["radio_waiting_mj"][0] == pytest.approx(by_state[State.PROMOTING])
    assert columns["radio_listening_mj"][0] == pytest.approx(by_state[State.TAIL] + by_state[State.DRX])
    resting = by_state[State.INACTIVE] + by_state[State.IDLE] + by_state[State.PSM]
    assert columns["radio_sleep_mj"][0] == pytest.approx(resting)


@pytest.mark.parametrize("pattern", list(Pattern))
@pytest.mark.parametrize("link", ["5g?speed_m_s=1.4", "nb-iot"])
def test_how_many_devices_are_computed_at_once_does_not_change_a_bit(pattern: Pattern, link: str) -> None:
    one = fleet_of(link, 70, report_period_s=900.0, pattern=pattern)
    whole, parts = run_cellular(one, 0), run_cellular(one, 0, messages_at_once=500)
    for name, values in whole.columns.items():
        assert np.array_equal(values, parts.columns[name], equal_nan=values.dtype.kind == "f"), name
    assert np.array_equal(whole.sent, parts.sent)
    assert np.array_equal(whole.received, parts.received)


def test_outages_take_their_share_of_messages_that_come_up_far_apart() -> None:
    devices = run(resolve(fleet_of("lte?speed_m_s=0", 400, report_period_s=600.0))).devices
    outages = PRESETS["lte-cat4"].outages
    slow = devices.latency_p99_ms > 1000 * 1.2  # an outage lasts 2.6 s on average
    assert slow.mean() > 0.2
    assert outages.share == pytest.approx(0.0115, abs=1e-3)


def test_placed_devices_are_as_far_as_they_stand_and_out_of_reach_they_give_up() -> None:
    near_far = scenario(group("g", 100, link="nb-iot", placement=Placement(kind=PlacementKind.GRID, spacing_m=700.0)))
    devices = run(resolve(near_far)).devices
    assert devices.distance_m == pytest.approx(np.maximum(np.round(np.hypot(devices.x_m, devices.y_m)), 10))
    assert devices.signal_db[devices.distance_m < 500].mean() > devices.signal_db[devices.distance_m > 2000].mean()
    assert devices.no_coverage.sum() > 0
    assert (devices.no_coverage[devices.no_coverage > 0] == devices.packets[devices.no_coverage > 0]).all()
    assert np.isnan(devices.latency_p50_ms[devices.no_coverage > 0]).all()
    with pytest.raises(SchemaError, match="range of uma"):
        run(resolve(scenario(group("g", 2, link="lte", placement=Placement(radius_m=9000.0)))))


def test_a_brown_out_withholds_cellular_messages_too() -> None:
    quiet = Fault(kind=FaultKind.BROWN_OUT, at_h=2, for_h=3)
    devices = run(resolve(scenario(group("g", 10, link="lte-m", placement=None), faults=(quiet,)))).devices
    assert devices.withheld.tolist() == [18] * 10
    assert (devices.packets == 54).all()
