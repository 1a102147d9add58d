"""How fast the simulators are on one core each: a case does its work once and says how much that was.

Targets are what the simulators are meant to reach on a quiet x86-64 core; below 0.7 of one the run ends with status 1.

    python benchmarks/bench_simulators.py [--only WORD] [--runs 7]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread

PACKAGES = ("numpy", "simpy")
TOLERATED = 0.7


@dataclass(frozen=True, slots=True)
class Case:
    """``prepare`` returns the work; the work returns how many ``unit`` it did."""

    name: str
    unit: str
    target: float
    prepare: Callable[[], Callable[[], int]]


CASES: list[Case] = []


def case(
    name: str, unit: str, target: float
) -> Callable[[Callable[[], Callable[[], int]]], Callable[[], Callable[[], int]]]:
    """File a case."""

    def add(prepare: Callable[[], Callable[[], int]]) -> Callable[[], Callable[[], int]]:
        CASES.append(Case(name, unit, target, prepare))
        return prepare

    return add


@case("5g fleet", "samples", 5e6)
def _5g_fleet() -> Callable[[], int]:
    """A thousand devices: rate, outage and latency every second."""
    return _trace("5g-sa-mid-band", devices=1000, steps=2000)


@case("5g device", "samples", 5e6)
def _5g_device() -> Callable[[], int]:
    """One device for three weeks: nothing to vectorise over but time."""
    return _trace("5g-sa-mid-band", devices=1, steps=2_000_000)


@case("nb-iot fleet", "samples", 5e6)
def _nb_iot_fleet() -> Callable[[], int]:
    """A hundred thousand devices for twenty seconds."""
    return _trace("nb-iot", devices=100_000, steps=20)


@case("rrc account", "transfers", 1e5)
def _rrc_account() -> Callable[[], int]:
    """Radio states and their energy, transfer by transfer: tails, DRX, idle and power saving in turn."""
    from simulators.cellular.presets import preset
    from simulators.cellular.rrc import Account, Transfer

    transfers = [Transfer(20.0 * n + (n % 7) * 2.5, 0.05, 0.01, 0.001) for n in range(50_000)]

    def work() -> int:
        account = Account(preset("lte-m").radio)
        for transfer in transfers:
            account.charge_uj(transfer)
        return len(transfers)

    return work


@case("5g link", "transfers", 1e4)
def _5g_link() -> Callable[[], int]:
    """The link as the runtime calls it."""
    from simulators.links import open_link

    def work() -> int:
        link, now_s = open_link("5g"), 0.0
        for _ in range(5000):
            now_s = link.ready_at_s(500, now_s + 1.0)
            link.transmit(500, now_s)
        return 5000

    return work


@case("simulate lora", "packets", 2.4e5)
def _simulate_lora() -> Callable[[], int]:
    """A whole run of a fleet: 100,000 devices, a message an hour each for a day, both rules of capture, all columns."""
    return _simulate(count=100_000, link="lora-eu868", radius_m=4000.0)


@case("simulate lte-m", "packets", 2.4e5)
def _simulate_lte_m() -> Callable[[], int]:
    """The same of 10,000 devices on LTE-M."""
    return _simulate(count=10_000, link="lte-m", radius_m=None)


@case("lora open", "packets", 1e6)
def _lora_open() -> Callable[[], int]:
    """Verdicts alone, of a schedule: 100,000 devices, eight channels, a message an hour each for a day."""
    from simulators.lorawan.open_loop import ears, plan
    from simulators.lorawan.reception import receive

    network = _lora(devices=100_000)
    packets = plan(network).packets
    return lambda: receive(packets, ears(network)).shape[1]


@case("lora schedule", "packets", 5e5)
def _lora_schedule() -> Callable[[], int]:
    """The same, with the drawing of the schedule."""
    from simulators.lorawan.open_loop import run

    network = _lora(devices=100_000)
    return lambda: run(network).verdict.size


@case("lora closed", "packets", 2.5e4)
def _lora_closed() -> Callable[[], int]:
    """10,000 devices, unconfirmed, with duty cycle and windows."""
    from simulators.lorawan.closed_loop import run

    network = _lora(devices=10_000)
    return lambda: run(network).log.device.size


@case("lora answers", "packets", 2.5e4)
def _lora_answers() -> Callable[[], int]:
    """The same devices join, confirm, retransmit and adapt; two gateways answer."""
    from simulators.lorawan.closed_loop import run

    network = _lora(devices=10_000, answers=True)
    return lambda: run(network).log.device.size


@case("episodes", "steps", 5e4)
def _episodes() -> Callable[[], int]:
    """4096 devices at run time: what the policy sees, the governor's word, a sample, and the wait for the next."""
    import numpy as np

    from simulators.episodes.drawn import drawn

    lanes, gates = drawn(4096, 4, seed=1), np.random.default_rng(0).random((4096, 4)) < 0.5

    def work() -> int:
        for _ in range(10):
            lanes.observe().matrix()
            lanes.step(gates)
        return 10 * len(lanes)

    return work


@case("cost, CPU", "costs", 1e4)
def _cost_cpu() -> Callable[[], int]:
    """What growth asks for at every decision: all configurations of a network of the demo's size."""
    return _costs("raspberry-pi-4")


@case("cost, kernels", "costs", 1e4)
def _cost_kernels() -> Callable[[], int]:
    """The same where vector sizes and windows are known."""
    return _costs("cortex-m4")


@case("cost, array", "costs", 1e4)
def _cost_array() -> Callable[[], int]:
    """The same on an array whose energy is counted byte by byte."""
    return _costs("generic-asic")


def _costs(profile: str) -> Callable[[], int]:
    """16 configurations of four slots on 8 x 8 images, 12 to 20 operators each."""
    from itertools import product

    from device_profiles.cost import Op, OpKind, estimate
    from device_profiles.loader import load_profile
    from tamiyo_runtime.contracts.plan import Precision

    def conv(side: int, channels: int, out: int, window: int) -> Op:
        depth = window * channels
        macs, weights = side**2 * depth * out, depth * out + 4 * out
        moved = side**2 * channels, side**2 * out
        return Op(OpKind.CONV2D, macs, weights, *moved, gemm=(side**2, depth, out), window=window)

    def depthwise(side: int, channels: int) -> Op:
        size = side**2 * channels
        gemm = (side**2, 9, 1)
        return Op(OpKind.DEPTHWISE_CONV2D, 9 * size, 13 * channels, size, size, gemm=gemm, groups=channels, window=9)

    def network(gates: tuple[bool, ...]) -> list[list[Op]]:
        ops = [conv(8, 1, 4, 9)]
        for gate, (side, channels) in zip(gates, ((8, 4), (4, 8), (4, 8), (2, 16)), strict=True):
            size = side**2 * channels
            if gate:
                ops += [conv(side, channels, channels, 9), Op(OpKind.ELEMENTWISE, 0, 0, 2 * size, size)]
            ops += [depthwise(side, channels), conv(side, channels, channels, 1)]
        ops += [Op(OpKind.POOL, 0, 0, 64, 16), Op(OpKind.FULLY_CONNECTED, 160, 200, 16, 10, gemm=(1, 16, 10))]
        return [[*ops, Op(OpKind.SOFTMAX, 0, 0, 10, 10)]]

    device = load_profile(profile)
    networks = [network(gates) for gates in product((False, True), repeat=4)]

    def work() -> int:
        for _ in range(50):
            for one in networks:
                estimate(device, one, precision=Precision.INT8)
        return 50 * len(networks)

    return work


def _simpy_events() -> Callable[[], int]:
    """SimPy's bare kernel on the times of ``lora closed``: a process a device wakes where a packet begins and ends,
    without radio, MAC or gateway. A bound on what a simulator on it could reach, not the speed of one."""
    import simpy

    from simulators.lorawan.closed_loop import run

    log = run(_lora(devices=10_000)).log
    starts: list[list[float]] = [[] for _ in range(10_000)]
    for device, start_s in zip(log.device.tolist(), log.start_s.tolist(), strict=True):
        starts[device].append(start_s)
    airtime_s = float(log.airtime_s.mean())

    def work() -> int:
        environment = simpy.Environment()

        def device(times: list[float]) -> Iterator[Any]:
            for start_s in times:
                yield environment.timeout(max(0.0, start_s - environment.now))
                yield environment.timeout(airtime_s)

        for times in starts:
            environment.process(device(times))
        environment.run()
        return log.device.size

    return work


if find_spec("simpy") is not None:  # extra `bench`
    case("simpy, bare", "packets", 0.0)(_simpy_events)


def _lora(*, devices: int, answers: bool = False) -> Any:
    from simulators.lorawan.network import resolve
    from simulators.lorawan.scenario import Activation, Mac, Scenario, Traffic

    activation = Activation.JOIN if answers else Activation.PERSONALISED
    return resolve(
        Scenario(
            devices=devices,
            duration_s=86_400.0,
            radius_m=6000.0,
            plan="ttn",
            data_rate=0 if answers else None,
            traffic=Traffic(period_s=3600.0, payload_bytes=20, confirmed=answers),
            gateways_m=((0.0, 0.0), (3000.0, 0.0)) if answers else ((0.0, 0.0),),
            mac=Mac(adr=answers, activation=activation),
        )
    )


def _simulate(*, count: int, link: str, radius_m: float | None) -> Callable[[], int]:
    from simulators.fleet.engine import run
    from simulators.fleet.parts import Placement, Workload
    from simulators.fleet.resolve import resolve
    from simulators.fleet.scenario import Field, Group, Scenario

    place = None if radius_m is None else Placement(radius_m=radius_m)
    group = Group(name="one", count=count, link=link, placement=place, workload=Workload(report_period_s=3600.0))
    scenario = Scenario(name="bench", devices=(group,), field=Field(plan="ttn"))
    return lambda: int(run(resolve(scenario)).devices.packets.sum())


def _trace(name: str, *, devices: int, steps: int) -> Callable[[], int]:
    from simulators.cellular.channel import fleet, start
    from simulators.cellular.latency import plan
    from simulators.cellular.presets import preset
    from simulators.cellular.trace import advance

    network = preset(name)
    simulated, transfer = fleet(network, range(devices)), plan(network.access, network.ladder, 300)
    cursor = start(simulated)

    def work() -> int:
        return advance(simulated, cursor, steps, transfer)[0].outage.size

    return work


def main() -> int:
    """Run the cases, print and record them; 1 if one stays below what is tolerated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name contains it")
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    chosen = [one for one in CASES if asked.only in one.name]
    if not chosen:
        parser.error(f"no case contains '{asked.only}'; there are {', '.join(one.name for one in CASES)}")
    figures, slow = {}, []
    for one in chosen:
        work = one.prepare()
        work()
        rates = []
        for _ in range(max(2, asked.runs)):
            begun = time.perf_counter()
            done = work()
            rates.append(done / (time.perf_counter() - begun))
        figures[one.name] = {"unit": f"{one.unit}/s", "target": one.target, **spread(rates)}
        median = figures[one.name]["median"]
        verdict = "ok" if median >= one.target else f"below the target of {one.target:.3g}"
        if median < TOLERATED * one.target:
            slow.append(one.name)
        print(f"{one.name:<16} {median:12.4g} {one.unit}/s  {verdict}")
    print(f"recorded in {append('simulators', {'cases': figures}, PACKAGES)}")
    if slow:
        print(f"below {TOLERATED:g} of the target: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
