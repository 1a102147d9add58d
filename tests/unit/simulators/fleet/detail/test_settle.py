"""Runs and verdicts agree at the end, and what they agree on is what happens when everything goes step by step."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.fleet.detail.air import Assumed, Medium
from simulators.fleet.detail.device import Inferring, Reporting, live
from simulators.fleet.detail.link import Frame, Radio
from simulators.fleet.detail.settle import Settled, settle
from simulators.lorawan.network import Network, resolve
from simulators.lorawan.propagation import Shadowing
from simulators.lorawan.reception import Verdict
from simulators.lorawan.scenario import Fading, Scenario, Traffic
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import TamiyoError
from tests.by_events import Stepped, held, history
from tests.mediums import medium_of, radio_of, scenario


@dataclass(frozen=True)
class Log:
    """What a toy leaves."""

    frames: list[Frame]
    received: list[bool]


def toy(radio: Radio, airtime_s: float) -> Stepped:
    """A device that is as hard to foresee as can be: all that it does hangs on every verdict before."""
    now_s, past, index = random.Random(radio.number).uniform(0, 20), 0, 0
    while now_s < radio.end_s:
        draws = random.Random(f"{radio.number} {past} {index}")
        frame = Frame(
            index=index,
            start_s=now_s,
            airtime_s=airtime_s,
            channel=draws.choice(radio.open_channels()),
            data_rate=radio.data_rate,
            power_index=draws.choice((0, 3)),
            size_bytes=20,
        )
        received = yield frame
        past, index = 2 * past + received & 0xFFFF, index + 1
        now_s = frame.end_s + draws.choice((0.0, draws.uniform(0.0, 3.0), 30.0 * received))


def play_toys(toys: Mapping[int, partial[Stepped]], judges: Mapping[int, Assumed]) -> dict[int, Log]:
    """Whole runs of toys."""
    logs = {}
    for number, judge in judges.items():
        log, device = Log([], []), toys[number]()
        frame = next(device, None)
        while frame is not None:
            log.frames.append(frame)
            log.received.append(judge(frame))
            try:
                frame = device.send(log.received[-1])
            except StopIteration:
                break
        logs[number] = log
    return logs


def play_days(jobs: Mapping[int, Inferring | Reporting], judges: Mapping[int, Assumed]) -> dict[int, object]:
    """Whole runs of real runtimes."""
    return {number: live(jobs[number], judge) for number, judge in judges.items()}


def check_same(medium: Medium, settled: Settled, devices: Mapping[int, Stepped], channels: int) -> None:
    """Frame by frame and packet by packet."""
    logs, verdicts = history(medium, devices, channels=channels)
    assert {number: list(run.frames) for number, run in settled.runs.items()} == logs
    ours = zip(settled.air.device.tolist(), settled.air.packets.start_s.tolist(), strict=True)
    assert dict(zip(ours, map(Verdict, settled.verdicts.tolist()), strict=True)) == verdicts
    for number, run in settled.runs.items():
        assert list(run.received) == [verdicts[number, frame.start_s] is Verdict.RECEIVED for frame in run.frames]


@st.composite
def fields(draw: st.DrawFn) -> tuple[Scenario, set[int]]:
    """Networks small and busy enough for every verdict to occur, and some of their devices."""
    devices = draw(st.integers(1, 25))
    return scenario(
        seed=draw(st.integers(0, 2**40)),
        devices=devices,
        duration_s=draw(st.sampled_from([40.0, 300.0])),
        gateways_m=tuple((2000.0 * x, 0.0) for x in range(draw(st.integers(1, 2)))),
        radius_m=draw(st.sampled_from([10.0, 3000.0, 9000.0])),
        traffic=Traffic(period_s=draw(st.sampled_from([5.0, 60.0]))),
        data_rate=draw(st.sampled_from([0, 3, None])),
        plan=draw(st.sampled_from(["default", "ttn"])),
        capture=draw(st.sampled_from(["goursaud", "lorasim", "aloha", "energy-croce"])),
        shadowing=Shadowing(sigma_db=draw(st.sampled_from([0.0, 7.8]))),
        fading=draw(st.sampled_from(Fading)),
    ), draw(st.sets(st.integers(0, devices - 1), min_size=1, max_size=6))


def check_toys(case: tuple[Scenario, set[int]]) -> None:
    network, detailed = resolve(case[0]), case[1]
    medium = medium_of(network, detailed)
    rates = {number: int(network.data_rate[number]) for number in detailed}
    toys = {number: partial(toy, radio_of(network, number), network.airtime_s(rate)) for number, rate in rates.items()}
    settled = settle(sorted(detailed), partial(play_toys, toys), medium)
    final = sum(len(run.frames) for run in settled.runs.values())
    assert settled.rounds <= final + 1
    assert settled.played <= settled.rounds * len(detailed)
    check_same(medium, settled, {number: make() for number, make in toys.items()}, len(network.channels))


@given(fields())
@settings(max_examples=60)
def test_devices_live_by_the_verdicts_that_they_would_get_event_by_event(case: tuple[Scenario, set[int]]) -> None:
    check_toys(case)


@given(fields(), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_devices_changes_nothing(case: tuple[Scenario, set[int]], order: random.Random) -> None:
    network, numbers = resolve(case[0]), sorted(case[1])
    medium = medium_of(network, case[1])
    toys = {
        number: partial(toy, radio_of(network, number), network.airtime_s(int(network.data_rate[number])))
        for number in numbers
    }
    shuffled = order.sample(numbers, len(numbers))
    one, two = (settle(many, partial(play_toys, toys), medium) for many in (numbers, shuffled))
    assert dict(one.runs) == dict(two.runs)
    assert np.array_equal(one.verdicts, two.verdicts)
    assert (one.rounds, one.played) == (two.rounds, two.played)


@pytest.mark.long
@given(fields())
@settings(max_examples=1000)
def test_a_thousand_fields_settle_on_the_history_of_the_event_engine(case: tuple[Scenario, set[int]]) -> None:
    check_toys(case)


def jobs_of(network: Network, detailed: set[int], bundle: Path) -> dict[int, Inferring | Reporting]:
    end_s = network.scenario.duration_s
    jobs: dict[int, Inferring | Reporting] = {}
    for number in detailed:
        radio = radio_of(network, number)
        if number % 2:
            times = tuple(3.0 * number + 40.0 * step for step in range(int(end_s // 40)))
            jobs[number] = Reporting(radio=radio_of(network, number, filled_bytes=40), times_s=times, end_s=end_s)
        else:
            jobs[number] = Inferring(
                radio=radio,
                bundle=Bundle.open(bundle),
                period_s=2.0,
                start_s=float(number),
                end_s=end_s,
                budget=Budget(latency_ms=10.0, power_mw=0.2, energy_burst_uj=2000.0),
            )
    return jobs


def test_real_runtimes_settle_on_what_they_do_when_held_at_every_frame(bundle: Path) -> None:
    network, detailed = resolve(scenario(devices=150)), {0, 1, 2, 3, 4, 5}
    medium = medium_of(network, detailed)
    jobs = jobs_of(network, detailed, bundle)
    settled = settle(sorted(detailed), partial(play_days, jobs), medium)
    lost = sum(not one for run in settled.runs.values() for one in run.received)
    assert lost > 10
    assert sum(run.resent for run in settled.runs.values()) > 5
    stepped = {number: held(partial(live, job)) for number, job in jobs.items()}
    check_same(medium, settled, stepped, len(network.channels))


def test_a_run_that_does_not_repeat_itself_is_found_out() -> None:
    network = resolve(scenario(devices=40, capture="aloha", radius_m=10.0, duration_s=200.0))
    medium = medium_of(network, {0})
    runs = iter(range(100))

    def play(judges: Mapping[int, Assumed]) -> dict[int, Log]:
        early_s = 0.001 * next(runs)
        frames = [
            Frame(index=0, start_s=at_s - early_s, airtime_s=0.3, channel=0, data_rate=3, power_index=0, size_bytes=40)
            for at_s in range(1, 200, 10)
        ]
        return {0: Log(frames, [not judges[0](frame) for frame in frames])}

    with pytest.raises(TamiyoError, match="did not repeat"):
        settle([0], play, medium)
