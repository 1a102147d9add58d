"""A LoRa field in which what some devices send depends on answers: confirmed messages, ADR, joining.

`lorawan.closed_loop` plays the whole field, since all of its devices share channels and gateways; the duty cycle then
makes devices wait. Its log is held whole in memory. Under the other rule of capture the same transmissions are weighed
again: what devices would have sent in its place is another run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulators.airtime import AirtimeLedger
from simulators.fleet.lora import LoraField
from simulators.fleet.lora_columns import Columns, caps_s
from simulators.fleet.percentiles import percentiles
from simulators.fleet.result import Fate, Packets
from simulators.fleet.tally import HOUR_S, Tally
from simulators.fleet.windows import Windows
from simulators.lorawan import closed_loop
from simulators.lorawan.chips import device_radios, gateway_radios
from simulators.lorawan.network import Kind, Network
from simulators.lorawan.reception import Bools, Codes, Verdict
from simulators.lorawan.record import ClosedRun, replay
from simulators.lorawan.region import regions
from simulators.lorawan.scenario import Mac, Scenario, Traffic
from simulators.lorawan.streams import Floats, Ints

_FATE_OF = np.array(
    [Fate.RECEIVED, Fate.COLLIDED, Fate.NO_PATH, Fate.GATEWAY_SENDING, Fate.TOO_WEAK], dtype=np.uint8
)  # by `Verdict`


def listens(field: LoraField) -> bool:
    """Whether what some device of the field sends depends on answers."""
    return any(field.scenario.devices[group].listens for group in np.unique(field.group).tolist())


def network_of(field: LoraField) -> Network:
    """The field as the closed loop has it: a kind of devices a group."""
    scenario, shared = field.scenario, field.scenario.field
    groups = np.unique(field.group).tolist()
    first = scenario.devices[groups[0]]
    plans = regions.get(field.name).plans
    common = Scenario(  # what kinds do not say; its own traffic is nobody's
        devices=field.count,
        duration_s=scenario.duration_s,
        traffic=Traffic(period_s=first.workload.report_period_s, payload_bytes=0),
        seed=scenario.seed,
        gateways_m=tuple((one.x_m, one.y_m) for one in scenario.gateways),
        region=field.name,
        plan=shared.plan or next(iter(plans)),
        gateway_radio=shared.gateway_radio,
        path_loss=shared.path_loss,
        capture=shared.capture,
        fading=shared.fading,
        gateway_antenna_dbi=shared.gateway_antenna_dbi,
        device_antenna_dbi=shared.device_antenna_dbi,
    )
    kinds = []
    for number in groups:
        group = scenario.devices[number]
        mac = Mac(adr=group.adr, activation=group.activation)
        kinds.append(
            Kind(
                radio=device_radios.get(group.radio),
                mac=mac,
                payload_bytes=group.workload.payload_bytes,
                confirmed=group.workload.confirmed,
                power_index=group.power_index,
                data_rates=group.data_rates(),
            )
        )
    return Network(
        scenario=common,
        region=field.region,
        channels=field.channels,
        gateway_radio=gateway_radios.get(shared.gateway_radio),
        loss_db=field.loss_db,
        data_rate=field.data_rate,
        kinds=tuple(kinds),
        kind=np.searchsorted(groups, field.group),
        numbers=field.numbers,
        outages=field.faults.outages,
    )


def closed_run(field: LoraField) -> ClosedRun:
    """All that the field's devices send and hear."""
    due, _ = field.due(0.0, field.scenario.duration_s)
    return closed_loop.run(network_of(field), (due.device, due.message, due.start_s))


def run_answered(
    field: LoraField,
    *,
    on_share: Callable[[float], None] | None = None,
    on_packets: Callable[[Packets], None] | None = None,
) -> tuple[Columns, Tally]:
    """The whole run of a field whose devices listen. ``on_share`` is told how much of its time has gone by."""

    def on_time(now_s: float) -> None:
        if on_share is not None:
            on_share(min(now_s / field.scenario.duration_s, 1.0))

    network = network_of(field)
    device, number, when = field.timing.between(0.0, field.scenario.duration_s)
    silent = field.faults.silent(device, when)
    device, number, when = device[~silent], number[~silent], when[~silent]
    run = closed_loop.run(network, (device, number, when), on_time=on_time)
    fates = _FATE_OF[run.log.by_gateway]
    fate = fates.min(axis=0)
    if field.faults.outages:
        fate[(fate == Fate.TOO_WEAK) & _audible(field, run)] = Fate.GATEWAY_DOWN
    other = _other_verdicts(field, run) == Verdict.RECEIVED
    tally = Windows.of(field).tally()
    tally.count(run.log.device, field.group[run.log.device], run.log.start_s, fate, other)
    tally.count_gateways(fates)
    if on_packets is not None:
        on_packets(_table(field, run, fate))
    columns = _traffic(field, run, tally, (device, when), other)
    columns["withheld"] = (
        np.bincount(device, minlength=field.count)
        - columns["messages"]
        + np.bincount(field.timing.between(0.0, field.scenario.duration_s)[0][silent], minlength=field.count)
    )
    return {**columns, **_energy(network, run, field.powered_s)}, tally


def _traffic(field: LoraField, run: ClosedRun, tally: Tally, due: tuple[Ints, Floats], other: Bools) -> Columns:
    """``due``: device and time of every message that came up, in the order in which the run was given them."""
    count, log, messages = field.count, run.log, run.messages
    of_device, when = due
    ends_s = log.start_s + log.airtime_s
    first_of = np.searchsorted(of_device, np.arange(count))
    data = ~log.joins
    arrived = data & (log.verdict == Verdict.RECEIVED)
    came_s = when[np.minimum(first_of[log.device] + log.message, when.size - 1)] if when.size else ends_s
    first = _firsts(log.device[arrived], log.message[arrived])
    latency_ms = 1e3 * (ends_s[arrived] - came_s[arrived])[first]
    p50, p95, p99 = percentiles(log.device[arrived][first], latency_ms, count)
    by_other = data & other
    other_device = log.device[by_other][_firsts(log.device[by_other], log.message[by_other])]
    confirmed = np.array([field.scenario.devices[group].workload.confirmed for group in field.group.tolist()])
    acknowledged = np.bincount(messages.device[messages.acknowledged], minlength=count)
    busiest_s = _busiest(run, count)
    return {
        "messages": np.bincount(messages.device, minlength=count),
        "packets": np.bincount(log.device, minlength=count),
        "delivered": np.bincount(messages.device[messages.delivered], minlength=count),
        "delivered_other": np.full(count, -1)
        if field.other_capture is None
        else np.bincount(other_device, minlength=count),
        "acknowledged": np.where(confirmed, acknowledged, -1),
        **{one.name.lower(): tally.fates[:, one].astype(np.int64) for one in Fate},
        "airtime_s": np.bincount(log.device, weights=log.airtime_s, minlength=count),
        "busiest_hour_s": busiest_s,
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "latency_p99_ms": p99,
        "over_duty_cycle": busiest_s > sum_of_caps_s(field),
        "data_rate": np.array([one.settings.data_rate for one in run.devices], dtype=np.int64),
    }


def sum_of_caps_s(field: LoraField) -> Floats:
    """(devices,) what all sub-bands of the plan allow together in an hour: devices wait for the credit of each."""
    bands = {band.name: band for band in (field.region.sub_band(one.frequency_hz) for one in field.channels)}
    limited = [band.limit_s_per_hour for band in bands.values() if band.duty_cycle < 1]
    return np.maximum(caps_s(field), sum(limited) if limited else np.inf) * (1 + 1e-9)


def _energy(network: Network, run: ClosedRun, powered_s: Floats) -> Columns:
    columns: Columns = {
        f"radio_{state}_mj": np.zeros(powered_s.size) for state in ("sending", "listening", "waiting", "sleep")
    }
    antenna = network.scenario.device_antenna_dbi
    for place, device in enumerate(run.devices):
        radio = network.kinds[device.kind].radio
        sent_mc = sum(
            radio.tx_current_ma(network.power_dbm(index, device.kind) - antenna) * sent_s
            for index, sent_s in enumerate(device.sent_s)
            if sent_s
        )
        asleep_s = max(0.0, powered_s[place] - sum(device.sent_s) - device.received_s - device.waited_s)
        waiting_mc = radio.wait_ma.value * device.waited_s + radio.overhead_mc.value * device.index
        for name, charge_mc in (
            ("sending", sent_mc),
            ("listening", radio.rx_ma.value * device.received_s),
            ("waiting", waiting_mc),
            ("sleep", radio.sleep_ma.value * asleep_s),
        ):
            columns[f"radio_{name}_mj"][place] = radio.supply_v * charge_mc
    return columns


def _busiest(run: ClosedRun, count: int) -> Floats:
    found = np.zeros(count)
    order = np.lexsort((run.log.start_s, run.log.device))
    device, start_s, airtime_s = (column[order] for column in (run.log.device, run.log.start_s, run.log.airtime_s))
    begins = np.searchsorted(device, np.arange(count + 1))
    for place in range(count):
        ledger = AirtimeLedger()
        part = slice(begins[place], begins[place + 1])
        for when, length in zip(start_s[part].tolist(), airtime_s[part].tolist(), strict=True):
            ledger.add(when, length)
        found[place] = ledger.peak_s(HOUR_S)
    return found


def _firsts(device: Ints, message: Ints) -> Ints:
    """Places of the first of each message in a log in order of time."""
    pairs = np.stack([device, message])
    return np.unique(pairs, axis=1, return_index=True)[1]


def _other_verdicts(field: LoraField, run: ClosedRun) -> Codes:
    """(packets,) best verdict of each transmission under the other rule of capture; the run's own without one."""
    if field.other_ears is None:
        return run.log.verdict
    best: Codes = replay(run, field.other_ears).min(axis=0)
    return best


def _audible(field: LoraField, run: ClosedRun) -> Bools:
    needed = {rate: field.ears.sensitivity_dbm[index] for rate, index in run.network.modulation.items()}
    strongest = field.rssi_dbm.max(axis=0)[run.log.device]
    loud: Bools = strongest >= np.array([needed[rate] for rate in run.log.data_rate.tolist()])
    return loud


def _table(field: LoraField, run: ClosedRun, fate: Codes) -> Packets:
    log = run.log
    order = np.argsort(log.start_s, kind="stable")
    return Packets(
        device=field.numbers[log.device[order]],
        message=np.where(log.joins, -1, log.message)[order],
        start_s=log.start_s[order],
        airtime_s=log.airtime_s[order],
        channel=log.channel[order],
        data_rate=log.data_rate[order],
        rssi_dbm=field.rssi_dbm.max(axis=0)[log.device[order]],
        fate=fate[order],
    )
