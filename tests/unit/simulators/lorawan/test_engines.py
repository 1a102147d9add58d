"""Both engines on whole networks: the same verdicts, the same bytes again, rules kept, energy that adds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.airtime import HOUR_S, AirtimeLedger
from simulators.lorawan import closed_loop, open_loop, traffic
from simulators.lorawan.energy import RadioUse, energy, use_of_closed, use_of_open
from simulators.lorawan.network import Network, resolve
from simulators.lorawan.propagation import Shadowing
from simulators.lorawan.record import ClosedRun, replay
from simulators.lorawan.report import summarise
from simulators.lorawan.scenario import Activation, Fading, Mac, Pattern, Scenario, Traffic
from tamiyo_runtime.contracts.errors import InputError

PLAN = {"eu868": "ttn", "us915": "fsb2"}


@st.composite
def scenarios(draw: st.DrawFn, *, answers: bool) -> Scenario:
    """Networks small and busy enough for every verdict to occur."""
    region = draw(st.sampled_from(["eu868", "us915"]))
    mac = Mac(
        adr=draw(st.booleans()),
        adr_history=draw(st.sampled_from([3, 20])),
        adr_ack_limit=draw(st.sampled_from([2, 64])),
        adr_ack_delay=2,
        activation=draw(st.sampled_from(Activation)),
        step_down_every=draw(st.integers(0, 2)),
    )
    return Scenario(
        seed=draw(st.integers(0, 2**40)),
        devices=draw(st.integers(1, 40)),
        duration_s=draw(st.sampled_from([60.0, 900.0])),
        traffic=Traffic(
            period_s=draw(st.sampled_from([20.0, 100.0])) if answers else draw(st.sampled_from([60.0, 400.0])),
            payload_bytes=draw(st.integers(0, 11)),
            pattern=draw(st.sampled_from(Pattern)) if answers else Pattern.PERIODIC,
            confirmed=answers and draw(st.booleans()),
        ),
        gateways_m=tuple((2000.0 * x, 0.0) for x in range(draw(st.integers(1, 3)))),
        radius_m=draw(st.sampled_from([10.0, 3000.0, 9000.0])),
        region=region,
        plan=draw(st.sampled_from(["default", "ttn"])) if region == "eu868" else "fsb2",
        data_rate=draw(st.sampled_from([0, 3, None])),
        gateway_radio=draw(st.sampled_from(["sx1301", "sx1302"])),
        path_loss=draw(st.sampled_from(["okumura-hata-urban", "oulu"])),
        capture=draw(st.sampled_from(["goursaud", "croce", "lorasim", "aloha", "energy-goursaud"])),
        shadowing=Shadowing(sigma_db=draw(st.sampled_from([0.0, 7.8])), correlation=0.5),
        fading=draw(st.sampled_from(Fading)),
        mac=mac if answers else Mac(),
    )


def equal(one: ClosedRun, two: ClosedRun) -> bool:
    names = ("device", "index", "start_s", "channel", "data_rate", "power_index", "by_gateway")
    return all(np.array_equal(getattr(one.log, name), getattr(two.log, name)) for name in names)


@given(scenarios(answers=True))
@settings(max_examples=60, deadline=None)
def test_what_a_closed_loop_sent_gets_the_same_verdicts_from_the_open_loop(scenario: Scenario) -> None:
    run = closed_loop.run(resolve(scenario))
    assert np.array_equal(replay(run), run.log.by_gateway)


@pytest.mark.long
@given(scenarios(answers=True))
@settings(max_examples=1000, deadline=None)
def test_a_thousand_networks_get_the_same_verdicts_from_both_engines(scenario: Scenario) -> None:
    run = closed_loop.run(resolve(scenario))
    assert np.array_equal(replay(run), run.log.by_gateway)


def spread_out(network: Network) -> bool:
    """Whether every device is done with a message, and has the credit, before its next."""
    scenario = network.scenario
    airtime_s = network.airtime_s(min(scenario.data_rates()))
    return scenario.traffic.period_s > max(airtime_s + 3, airtime_s / 0.009)


@given(scenarios(answers=False))
@settings(max_examples=40, deadline=None)
def test_where_nobody_has_to_wait_both_engines_send_and_hear_the_same_from_one_seed(scenario: Scenario) -> None:
    network = resolve(scenario)
    if not spread_out(network):
        network = resolve(replace(scenario, traffic=replace(scenario.traffic, period_s=400.0)))
    open_run, closed_run = open_loop.run(network), closed_loop.run(network)
    by_open = np.lexsort((open_run.schedule.index, open_run.schedule.device))
    by_closed = np.lexsort((closed_run.log.index, closed_run.log.device))
    assert np.array_equal(open_run.schedule.packets.start_s[by_open], closed_run.log.start_s[by_closed])
    assert np.array_equal(open_run.schedule.packets.channel[by_open], closed_run.log.channel[by_closed])
    assert np.array_equal(open_run.by_gateway[:, by_open], closed_run.log.by_gateway[:, by_closed])


@given(scenarios(answers=True))
@settings(max_examples=10, deadline=None)
def test_a_run_repeats_bit_for_bit(scenario: Scenario) -> None:
    assert equal(closed_loop.run(resolve(scenario)), closed_loop.run(resolve(scenario)))


@given(scenarios(answers=False), st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_a_schedule_does_not_depend_on_the_size_of_batches(scenario: Scenario, size: int) -> None:
    scenario = replace(scenario, traffic=replace(scenario.traffic, pattern=Pattern.POISSON))
    network = resolve(scenario)
    whole = open_loop.plan(network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic, "_DEVICES_AT_ONCE", size)
        parts = open_loop.plan(network)
    for name in ("start_s", "end_s", "channel", "rssi_dbm"):
        assert np.array_equal(getattr(whole.packets, name), getattr(parts.packets, name))


def test_another_seed_is_another_run() -> None:
    scenario = Scenario(devices=20, duration_s=600, traffic=Traffic(period_s=60))
    one, two = (open_loop.run(resolve(replace(scenario, seed=seed))) for seed in (1, 2))
    assert not np.array_equal(one.schedule.packets.start_s, two.schedule.packets.start_s)


def busiest_hours(run: ClosedRun) -> dict[tuple[int, str], float]:
    """The most seconds on the air of each device and band in any hour."""
    ledgers: dict[tuple[int, str], AirtimeLedger] = {}
    order = np.argsort(run.log.start_s)
    for device, channel, start_s, airtime_s in zip(
        run.log.device[order].tolist(),
        run.log.channel[order].tolist(),
        run.log.start_s[order].tolist(),
        run.log.airtime_s[order].tolist(),
        strict=True,
    ):
        band = run.network.region.sub_band(run.network.channels[channel].frequency_hz).name
        ledgers.setdefault((device, band), AirtimeLedger()).add(start_s, airtime_s)
    return {key: ledger.peak_s(HOUR_S) for key, ledger in ledgers.items()}


@given(
    st.integers(0, 2**30),
    st.sampled_from([0, 2, 5]),
    st.integers(0, 51),
    st.booleans(),
    st.sampled_from(["default", "ttn"]),
    st.sampled_from(Activation),
)
@settings(max_examples=20, deadline=None)
def test_no_device_exceeds_the_duty_cycle_of_a_sub_band_in_any_hour(
    seed: int, data_rate: int, payload: int, confirmed: bool, plan: str, activation: Activation
) -> None:
    run = closed_loop.run(
        resolve(
            Scenario(
                seed=seed,
                devices=2,
                duration_s=3 * HOUR_S,
                traffic=Traffic(period_s=10, payload_bytes=payload, confirmed=confirmed, pattern=Pattern.POISSON),
                radius_m=40_000,  # some are heard, some never
                plan=plan,
                data_rate=data_rate,
                mac=Mac(activation=activation),
            )
        )
    )
    assert all(peak_s <= 36 + 1e-6 for peak_s in busiest_hours(run).values())


def test_the_allowance_of_both_sub_bands_is_used_and_not_merely_kept() -> None:
    run = closed_loop.run(
        resolve(Scenario(devices=1, duration_s=4 * HOUR_S, traffic=Traffic(period_s=5), plan="ttn", data_rate=2))
    )
    peaks = busiest_hours(run)
    assert set(peaks) == {(0, "865.0"), (0, "868.0")}
    assert all(34 < peak_s <= 36 + 1e-6 for peak_s in peaks.values())
    assert run.devices[0].deferred_s > HOUR_S


@given(st.integers(0, 2**30), st.sampled_from([0, 3, 5]))
@settings(max_examples=8, deadline=None)
def test_no_gateway_exceeds_the_duty_cycle_or_sends_twice_at_once(seed: int, data_rate: int) -> None:
    run = closed_loop.run(
        resolve(
            Scenario(
                seed=seed,
                devices=60,
                duration_s=2 * HOUR_S,
                traffic=Traffic(period_s=120, payload_bytes=10, confirmed=True),
                gateways_m=((0.0, 0.0), (500.0, 0.0)),
                data_rate=data_rate,
                mac=Mac(activation=Activation.JOIN),
            )
        )
    )
    for sends in run.downlinks:
        assert (sends.start_s[1:] >= sends.end_s[:-1]).all()
        ledger = AirtimeLedger()
        for start_s, end_s in zip(sends.start_s.tolist(), sends.end_s.tolist(), strict=True):
            ledger.add(start_s, end_s - start_s)
        # first windows lie in 868.0 (1 %), second ones in 869.4 (10 %)
        assert 0 < ledger.peak_s(HOUR_S) <= 36 + 360 + 1e-6


def check_energy(network: Network, use: RadioUse) -> None:
    states_s = use.sent_s.sum(axis=0) + use.received_s + use.waited_s + use.slept_s
    assert states_s == pytest.approx(np.full(network.scenario.devices, use.span_s))
    assert (use.slept_s >= 0).all()
    parts = energy(network, use)
    radio = network.device_radio
    assert parts.total_mj == pytest.approx(
        parts.sent_mj + parts.received_mj + parts.waited_mj + parts.slept_mj + parts.overhead_mj
    )
    assert parts.received_mj == pytest.approx(radio.supply_v * radio.rx_ma.value * use.received_s)
    most_mj = radio.supply_v * (max(radio.tx.ma.values()) * use.span_s + radio.overhead_mc.value * use.frames)
    assert (parts.total_mj <= most_mj).all()
    assert (parts.total_mj >= radio.supply_v * radio.sleep_ma.value * use.span_s * (1 - 1e-9)).all()


@given(scenarios(answers=True), st.sampled_from(["sx1276", "sx1262", "mdot"]))
@settings(max_examples=30, deadline=None)
def test_every_second_of_a_radio_is_in_one_state_and_energies_add_up(scenario: Scenario, radio: str) -> None:
    power = {"adr": False} if radio == "mdot" else {}  # the module's table has no lower powers
    run = closed_loop.run(resolve(replace(scenario, device_radio=radio, mac=replace(scenario.mac, **power))))
    use = use_of_closed(run)
    check_energy(run.network, use)
    assert use.sent_s.sum() == pytest.approx(run.log.airtime_s.sum())
    assert use.frames.sum() == run.log.device.size


def test_both_engines_account_the_same_energy_where_they_send_the_same() -> None:
    network = resolve(Scenario(devices=50, duration_s=7200, traffic=Traffic(period_s=600), data_rate=5))
    by_open, by_closed = use_of_open(open_loop.run(network)), use_of_closed(closed_loop.run(network))
    check_energy(network, by_open)
    assert by_open.sent_s == pytest.approx(by_closed.sent_s)
    assert by_open.received_s == pytest.approx(by_closed.received_s)
    assert by_open.waited_s == pytest.approx(by_closed.waited_s)


def test_no_radio_sleeps_for_less_than_no_time_however_much_a_schedule_asks_of_it() -> None:
    traffic = Traffic(period_s=1.0, payload_bytes=51)  # 2.8 s on the air each
    network = resolve(Scenario(devices=3, duration_s=100.0, traffic=traffic, radius_m=10.0, data_rate=0))
    use = use_of_open(open_loop.run(network))
    assert use.sent_s.sum() > 3 * use.span_s
    assert (use.slept_s == 0).all()


@pytest.mark.parametrize(
    "wrong", [{"mac": Mac(adr=True)}, {"mac": Mac(activation=Activation.JOIN)}, {"confirmed": True}], ids=str
)
def test_the_open_loop_refuses_what_depends_on_answers(wrong: dict[str, object]) -> None:
    mac = wrong.get("mac", Mac())
    assert isinstance(mac, Mac)
    traffic_ = Traffic(period_s=100, payload_bytes=10, confirmed=bool(wrong.get("confirmed")))
    network = resolve(Scenario(devices=2, duration_s=100, traffic=traffic_, mac=mac))
    with pytest.raises(InputError) as refused:
        open_loop.run(network)
    assert "closed loop" in str(refused.value.hint)


def test_a_summary_counts_everything_and_says_that_it_is_simulated() -> None:
    network = resolve(
        Scenario(devices=30, duration_s=3600, traffic=Traffic(period_s=300, confirmed=True), radius_m=5e3)
    )
    run = closed_loop.run(network)
    summary = summarise(run)
    assert sum(summary.by_verdict.values()) == summary.packets == run.log.device.size
    assert summary.acknowledged is not None
    assert summary.acknowledged <= summary.delivered <= summary.messages
    assert all("simulated" in line for line in summary.lines())
    unconfirmed = resolve(Scenario(devices=30, duration_s=3600, traffic=Traffic(period_s=300)))
    one, two = summarise(open_loop.run(unconfirmed)), summarise(closed_loop.run(unconfirmed))
    assert (one.packets, one.by_verdict, one.acknowledged) == (two.packets, two.by_verdict, two.acknowledged)
    assert one.mean_energy_mj == pytest.approx(two.mean_energy_mj)
