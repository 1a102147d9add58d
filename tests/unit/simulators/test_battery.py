"""Batteries, harvest and supply: closed forms against the simulation, and one device against a fleet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.battery import Battery, batteries
from simulators.device import SimulatedBoard
from simulators.devices import only, parse_device
from simulators.faults.outage import Outage, PowerLost
from simulators.harvest import DAY_S, HOUR_S, Constant, Solar
from simulators.lorawan.chips import MDOT
from simulators.lorawan.energy import SECONDS_A_YEAR, battery_life_s, mean_current_ma
from simulators.lorawan.region import regions
from simulators.power_pack import PowerPack
from simulators.supply import after, follow, full
from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.meters import VirtualClock
from tests.unit.simulators.test_device import STEADY, cost

FLAT = Battery(capacity_mah=2400.0, curve=((0.0, 3.0), (1.0, 3.6)))
CELL = batteries.get("li-ion-18650")
currents = st.floats(0.01, 200)


@given(currents, st.floats(0.05, 0.9), st.integers(1, 30))
def test_life_in_closed_form_is_life_simulated(load_ma: float, self_discharge: float, pieces: int) -> None:
    battery = replace(CELL, self_discharge=self_discharge)
    life_s = float(battery.life_s(load_ma))
    state, on_s = full(battery, 1), 0.0
    for _ in range(pieces + 1):
        state, was_on = after(battery, state, life_s / pieces, load_ma=load_ma, harvest_ma=0.0)
        on_s += float(was_on[0])
    assert on_s == pytest.approx(life_s, rel=1e-9)
    assert not state.on[0]


def test_a_battery_without_leaks_or_resistance_lasts_capacity_over_current() -> None:
    assert float(FLAT.life_s(2.0)) == pytest.approx(1200 * 3600)
    assert float(FLAT.life_s(2.0)) == pytest.approx(battery_life_s(2400, 2.0))


def test_a_battery_still_lasts_as_long_as_casals_et_al_say() -> None:
    """Sensors 17(10):2364 (2017): 2400 mAh give 1 year at a message every 5 min, 6 years at most."""
    radio, region = MDOT, regions.get("eu868-ttn")

    def years(period_s: float) -> float:
        mean_ma = mean_current_ma(radio, region, data_rate=5, payload_bytes=1, power_dbm=14, period_s=period_s)
        state, lasted_s = full(FLAT, 1), 0.0
        while state.on[0]:
            state, on_s = after(FLAT, state, 30 * DAY_S, load_ma=mean_ma, harvest_ma=0.0)
            lasted_s += float(on_s[0])
        assert lasted_s == pytest.approx(battery_life_s(2400, mean_ma))
        return lasted_s / SECONDS_A_YEAR

    assert years(300.0) == pytest.approx(1.0, rel=0.10)
    assert years(1e8) == pytest.approx(6.0, rel=0.10)


@given(st.floats(0, 2400), st.floats(-50, 50), st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from([0.0, 0.3]))
def test_charge_does_not_depend_on_the_steps_it_is_computed_in(charge, net, first_s, second_s, leak) -> None:
    battery = replace(FLAT, self_discharge=leak)
    at_once = battery.charge_after(charge, net, first_s + second_s)
    assert battery.charge_after(battery.charge_after(charge, net, first_s), net, second_s) == pytest.approx(
        float(at_once), abs=1e-6
    )
    assert 0 <= at_once <= 2400


def test_self_discharge_alone_takes_its_share_in_a_year() -> None:
    battery = replace(FLAT, self_discharge=0.02)
    assert float(battery.charge_after(2400, 0.0, SECONDS_A_YEAR)) == pytest.approx(2400 * 0.98)


def test_a_load_makes_the_voltage_sag_and_break_down_earlier() -> None:
    assert float(CELL.volts(1250, 0.0)) - float(CELL.volts(1250, 1000.0)) == pytest.approx(0.05)
    assert CELL.least_mah(2000.0) > CELL.least_mah(10.0) > 0
    assert float(replace(CELL, resistance_ohm=10).life_s(200.0)) == 0.0


def test_a_board_comes_back_when_the_open_voltage_has_recovered_and_not_before() -> None:
    _, on_s = after(CELL, full(CELL, 1, share=0.2), 3600.0 * 40, load_ma=100.0, harvest_ma=30.0)
    broke_s = float(CELL.seconds_to(500.0, CELL.least_mah(100.0), 70.0))
    returns_s = float(CELL.seconds_to(CELL.least_mah(100.0), CELL.charge_at(CELL.recover_v), -30.0))
    again_s = float(CELL.seconds_to(CELL.charge_at(CELL.recover_v), CELL.least_mah(100.0), 70.0))
    cycles, rest_s = divmod(3600 * 40 - broke_s, returns_s + again_s)
    expected_s = broke_s + cycles * again_s + max(0.0, rest_s - returns_s)
    assert float(on_s[0]) == pytest.approx(expected_s, rel=1e-6)


@pytest.mark.parametrize(
    ("share", "load_ma", "harvest_ma", "off_ma"),
    [(0.2, 100.0, 30.0, 0.0), (0.15, 900.0, 850.0, 2.0), (0.05, 400.0, 60.0, 1.0), (0.9, 50.0, 500.0, 0.0)],
)
def test_charge_and_time_on_are_those_of_a_simulation_in_small_steps(
    share: float, load_ma: float, harvest_ma: float, off_ma: float
) -> None:
    """Euler's method, 2 s at a time, with none of the closed forms."""
    hours, step_s = 40, 2.0
    shares, volts = zip(*CELL.curve, strict=True)
    charge, on, on_s = CELL.capacity_mah * share, True, 0.0
    leak_a_second = -math.log(1 - CELL.self_discharge) / (365.25 * 86_400)
    for _ in range(int(hours * 3600 / step_s)):
        open_v = float(np.interp(charge / CELL.capacity_mah, shares, volts))
        if on and open_v - load_ma * 1e-3 * CELL.resistance_ohm < CELL.cutoff_v:
            on = False
        elif not on and open_v >= CELL.recover_v:
            on = True
        on_s += step_s * on
        net_ma = (load_ma if on else off_ma) - harvest_ma
        charge -= step_s * (net_ma / 3600 + leak_a_second * charge)
        charge = min(max(charge, 0.0), CELL.capacity_mah)
    state, was_on = after(
        CELL, full(CELL, 1, share=share), hours * 3600.0, load_ma=load_ma, harvest_ma=harvest_ma, off_ma=off_ma
    )
    assert float(was_on[0]) == pytest.approx(on_s, abs=0.003 * hours * 3600)
    assert float(state.charge_mah[0]) == pytest.approx(charge, abs=0.005 * CELL.capacity_mah)


def test_a_fleet_and_its_devices_one_by_one_have_the_same_charge_and_the_same_outages() -> None:
    sun = Solar(peak_ma=60.0, latitude_deg=48.0, day=350.0, seed=3)
    loads = np.linspace(1.0, 60.0, 6)
    whole, on_s = follow(
        CELL, full(CELL, 6, share=0.3), 0.0, 4 * DAY_S, devices=np.arange(6), load_ma=loads, harvest=sun
    )
    assert 0 < (on_s < 4 * DAY_S).sum() < 6
    for device in range(6):
        one, own_s = follow(
            CELL,
            full(CELL, 1, share=0.3),
            0.0,
            4 * DAY_S,
            devices=np.array([device]),
            load_ma=loads[device],
            harvest=sun,
        )
        assert one.charge_mah[0] == whole.charge_mah[device]
        assert own_s[0] == on_s[device]


class TestSolar:
    def test_a_clear_equinox_day_at_the_equator_is_worth_two_over_pi_half_days(self) -> None:
        clear = Solar(peak_ma=100.0, latitude_deg=0.0, day=80.0, through=1.0)
        assert float(clear.mean_ma(np.array([0]), 0.0, DAY_S)[0]) == pytest.approx(100 / np.pi, rel=0.01)
        night = clear.mean_ma(np.array([0]), 0.0, 5 * HOUR_S)
        assert float(night[0]) == 0.0

    @pytest.mark.parametrize(("day", "low", "high"), [(172.0, 0.3, 0.42), (355.0, 0.03, 0.1)])
    def test_summer_and_winter_differ_in_the_north(self, day: float, low: float, high: float) -> None:
        clear = Solar(peak_ma=1.0, latitude_deg=52.0, day=day, through=1.0)
        assert low < float(clear.mean_ma(np.array([0]), 0.0, DAY_S)[0]) < high

    @pytest.mark.parametrize(("latitude", "day"), [(48.0, 172.0), (48.0, 355.0), (-35.0, 20.0), (67.0, 172.0)])
    def test_a_day_is_what_the_suns_elevation_adds_up_to(self, latitude: float, day: float) -> None:
        """Every ten seconds, with Cooper's declination."""
        tilt = np.radians(-23.44 * np.cos(2 * np.pi * (day + 10) / 365.25))
        hour_angle = (np.arange(5.0, DAY_S, 10.0) / DAY_S - 0.5) * 2 * np.pi
        place = np.radians(latitude)
        sine = np.sin(place) * np.sin(tilt) + np.cos(place) * np.cos(tilt) * np.cos(hour_angle)
        clear = Solar(peak_ma=1.0, latitude_deg=latitude, day=day, through=1.0)
        assert float(clear.mean_ma(np.array([0]), 0.0, DAY_S)[0]) == pytest.approx(
            np.clip(sine, 0, None).mean(), rel=1e-4
        )

    def test_there_is_no_night_at_the_pole_in_june_and_no_day_in_december(self) -> None:
        june, december = (Solar(peak_ma=1.0, latitude_deg=90.0, day=day, through=1.0) for day in (172.0, 355.0))
        assert float(june.mean_ma(np.array([0]), 0.0, HOUR_S)[0]) == pytest.approx(np.sin(np.radians(23.44)), rel=0.01)
        assert float(december.mean_ma(np.array([0]), 12 * HOUR_S, 13 * HOUR_S)[0]) == 0.0

    def test_clouds_are_a_markov_chain_of_the_stated_probabilities(self) -> None:
        sky = Solar(peak_ma=1.0, latitude_deg=0.0, seed=1).cloudy(np.arange(300), np.arange(1000))
        share = sky.mean()
        assert share == pytest.approx(0.4, abs=0.01)
        late = Solar(peak_ma=1.0, latitude_deg=0.0, seed=1).cloudy(np.arange(300), np.arange(990, 1000))
        np.testing.assert_array_equal(late, sky[:, 990:])
        now, then = sky[:, 1:], sky[:, :-1]
        assert (now & ~then).sum() / (~then).sum() == pytest.approx(0.1067, abs=0.005)
        assert (~now & then).sum() / then.sum() == pytest.approx(0.16, abs=0.005)

    @given(st.floats(0, 40), st.floats(0, 40), st.floats(-80, 80))
    def test_the_charge_of_two_stretches_is_that_of_both(
        self, first_h: float, second_h: float, latitude: float
    ) -> None:
        sky, device = Solar(peak_ma=10.0, latitude_deg=latitude, seed=2), np.array([7])
        one = sky.mean_ma(device, 0.0, first_h * HOUR_S) * first_h
        two = sky.mean_ma(device, first_h * HOUR_S, (first_h + second_h) * HOUR_S) * second_h
        whole = sky.mean_ma(device, 0.0, (first_h + second_h) * HOUR_S) * (first_h + second_h)
        assert float(one[0] + two[0]) == pytest.approx(float(whole[0]), abs=1e-6)

    def test_what_a_device_gets_does_not_depend_on_who_is_asked_for_with_it(self) -> None:
        sky = Solar(peak_ma=10.0, latitude_deg=30.0, seed=2)
        many = sky.mean_ma(np.arange(50), 0.0, 3 * DAY_S)
        assert many[17] == sky.mean_ma(np.array([17]), 0.0, 3 * DAY_S)[0]


class TestBoard:
    PACK = PowerPack(battery=CELL, supply_v=4.0, share=0.5, boot_s=3.0)  # 625 mA idle, 750 mA busy

    def test_the_battery_of_a_board_is_drained_by_what_it_draws(self) -> None:
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, pack=self.PACK)
        assert board.status().battery == 0.5
        board.run(lambda: None, cost(600e3))
        assert board.status().battery == pytest.approx(0.5 - 750 * 600 / 3600 / 2500, abs=1e-5)
        clock.advance(600)
        assert board.status().battery == pytest.approx(0.5 - (750 + 625) * 600 / 3600 / 2500, abs=1e-5)

    def test_an_empty_one_takes_the_power_away_and_a_harvest_gives_it_back(self) -> None:
        pack = replace(self.PACK, harvest=Constant(current_ma=100.0))
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, pack=pack)
        with pytest.raises(PowerLost, match="brown-out") as caught:
            for _ in range(10_000):
                board.run(lambda: None, cost(30e3))
        lost = caught.value
        assert lost.at_s == pytest.approx(float(CELL.seconds_to(1250, CELL.least_mah(750.0), 650.0)), abs=31)
        assert lost.back_s > clock.now_s()
        boot_uj = board.power_up(lost)
        assert clock.now_s() == pytest.approx(lost.back_s + 3.0)
        assert boot_uj == pytest.approx(3000 * 3.0 * 1e3)
        assert board.status().battery == pytest.approx(float(CELL.charge_at(3.5)) / 2500, abs=0.01)

    def test_without_a_harvest_it_is_for_good(self) -> None:
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, pack=self.PACK)
        clock.advance(86_400)
        with pytest.raises(PowerLost) as caught:
            board.status()
        assert caught.value.for_good

    def test_the_harvest_goes_on_while_an_outage_keeps_the_board_off(self) -> None:
        pack = replace(self.PACK, harvest=Constant(current_ma=625.0), boot_s=0.0)  # as much as idling takes
        clock = VirtualClock()
        outage = Outage(at_s=600.0, for_s=3600.0, boot_s=0.0)
        board = SimulatedBoard(STEADY, clock=clock, pack=pack, outages=[outage])
        clock.advance(600)
        with pytest.raises(PowerLost) as caught:
            board.status()
        board.power_up(caught.value)
        assert board.status().battery == pytest.approx(0.5 + 625 / 2500, abs=1e-4)

    def test_a_battery_that_is_too_empty_to_boot_from_is_drained_by_trying_until_it_is_for_good(self) -> None:
        pack = PowerPack(battery=CELL, supply_v=4.0, share=0.1, boot_s=3.0)
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, pack=pack, outages=[Outage(at_s=1.0, for_s=1.0, boot_s=9000.0)])
        clock.advance(1.5)
        with pytest.raises(PowerLost) as caught:
            board.status()
        with pytest.raises(PowerLost) as again:
            board.power_up(caught.value)
        assert again.value.for_good

    @pytest.mark.parametrize("changes", [{"supply_v": 5.0}, {"supply_v": math.nan}, {"boot_s": -1.0}])
    def test_packs_that_make_no_sense_are_refused(self, changes: dict[str, float]) -> None:
        with pytest.raises(SchemaError, match=next(iter(changes))):
            replace(self.PACK, **changes)

    def test_a_pack_is_made_from_a_devices_options(self) -> None:
        board = parse_device("simulated?battery=li-ion-18650&charge=.25&solar_ma=400&latitude=48", only(STEADY))
        assert board.status().battery == 0.25
        with pytest.raises(UnknownNameError, match="li-ion"):
            parse_device("simulated?battery=li-ion", only(STEADY))
        with pytest.raises(UsageError, match="of a board with a battery"):
            parse_device("simulated?solar_ma=4", only(STEADY))
        for query, what in (
            ("latitude=48", "of a board with a battery"),
            ("battery=li-ion-18650&latitude=48", "of a board with solar_ma"),
            ("battery=li-ion-18650&solar_ma=4&harvest_ma=4", "not by both"),
            ("battery=li-ion-18650&battery=li-socl2-aa", "battery is given twice"),
            ("battery=li-ion-18650&solar_ma=4&day=1e18", "day: must be in"),
        ):
            with pytest.raises(UsageError, match=what):
                parse_device(f"simulated?{query}", only(STEADY))
        with pytest.raises(UsageError, match="share"):
            parse_device("simulated?battery=li-ion-18650&charge=2", only(STEADY))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"capacity_mah": 0.0}, "capacity_mah"),
        ({"curve": ((0.0, 3.0),)}, "curve"),
        ({"curve": ((0.0, 3.0), (1.0, 2.0))}, "curve"),
        ({"resistance_ohm": -1.0}, "resistance_ohm"),
        ({"self_discharge": 1.0}, "self_discharge"),
        ({"cutoff_v": 3.2, "recover_v": 3.1}, "recover_v"),
        ({"recover_v": 5.0}, "recover_v"),
    ],
)
def test_batteries_that_make_no_sense_are_refused(changes, what) -> None:
    with pytest.raises(SchemaError, match=what):
        replace(FLAT, **changes)
