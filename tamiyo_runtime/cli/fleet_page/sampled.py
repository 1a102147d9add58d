"""Sections on devices that were run in detail, by the real runtime, beside what the vector path says of the same."""

from __future__ import annotations

import math

from exporters.html.page import Figure, Section, Table
from exporters.html.plane import Axis, Curve, chart
from simulators.fleet.detail.run import Detail
from simulators.fleet.result import FleetResult
from tamiyo_runtime.cli.fleet_page.figures import number_of, percentage, seconds, share
from tamiyo_runtime.contracts.units import si

_MOST_CURVES = 6


def sections(result: FleetResult, detail: Detail) -> list[Section]:
    """Radio and records of each sampled device, its inferences, and its queue hour by hour."""
    if not len(detail.devices):
        left_out = "; ".join(f"{name}: {why}" for name, why in detail.left_out.items())
        return [Section("Devices in detail", f"None was run in detail. {left_out}".strip())]
    found = [_radio(result, detail)]
    if (detail.devices.samples >= 0).any():
        found.append(_inferences(result, detail))
    if detail.devices.made.any():
        found.append(_queues(result, detail))
    return found


def _radio(result: FleetResult, detail: Detail) -> Section:
    sampled, devices, rows = detail.devices, result.devices, []
    for place, number in enumerate(sampled.device.tolist()):
        busiest = float(sampled.busiest_hour_share[place])
        rows.append(
            [
                number_of(result, number),
                f"{int(sampled.frames[place]):,}",
                percentage(share(int(sampled.received[place]), int(sampled.frames[place]))),
                percentage(share(int(devices.received[number]), int(devices.packets[number]))),
                f"{sampled.airtime_s[place]:.3g} s",
                f"{devices.airtime_s[number]:.3g} s",
                percentage(busiest),
                f"{int(sampled.made[place]):,}",
                f"{int(sampled.delivered[place]):,}",
                f"{int(sampled.dropped[place]):,}",
                "" if math.isnan(sampled.delay_p50_s[place]) else seconds(float(sampled.delay_p50_s[place])),
                "" if math.isnan(sampled.delay_p95_s[place]) else seconds(float(sampled.delay_p95_s[place])),
            ]
        )
    head = ["device", "frames", "received", "vector path", "on air", "vector path", "busiest hour, of the law"]
    head += ["records", "delivered", "given up", "delay, median", "delay, 95 %"]
    note = "; ".join(f"{name} was not run in detail: {why}" for name, why in detail.left_out.items())
    return Section(
        "Devices in detail",
        "A sample of the fleet run by the real runtime on a virtual clock, with its spool, telemetry and governor, "
        "among all the others on the air (simulated). The vector path has every device send its messages and no more; "
        "the runtime sends records, acknowledges, and sends again, so frames need not agree, and shares should.",
        (Table(head, rows),),
        note,
    )


def _inferences(result: FleetResult, detail: Detail) -> Section:
    sampled, rows = detail.devices, []
    for place, number in enumerate(sampled.device.tolist()):
        if sampled.samples[place] < 0:
            continue
        allowed, overdraft = float(sampled.allowed_mj[place]), float(sampled.overdraft_jobs[place])
        ran = ", ".join(f"{name} {count:,}" for name, count in detail.configurations[place].items() if count)
        skips = ", ".join(f"{name} {count:,}" for name, count in detail.skips[place].items() if count)
        rows.append(
            [
                number_of(result, number),
                f"{int(sampled.samples[place]):,}",
                f"{int(sampled.inferences[place]):,}",
                ran,
                skips,
                f"{int(sampled.deadline_misses[place]):,}",
                percentage(float(sampled.correct_share[place])),
                f"{sampled.latency_p50_ms[place]:.3g} ms",
                f"{sampled.latency_max_ms[place]:.3g} ms",
                si(1e-3 * float(sampled.energy_mj[place]), "J"),
                "" if math.isnan(allowed) else si(1e-3 * allowed, "J"),
                "" if math.isnan(overdraft) else f"{overdraft:.2g}",
            ]
        )
    head = ["device", "samples", "inferred", "configurations", "skipped", "late", "correct", "latency, median"]
    head += ["latency, longest", "energy", "allowed", "overdraft, inferences"]
    return Section(
        "Inferences in detail",
        "What the governor granted and what it cost on the simulated boards; the deepest overdraft of the energy "
        "budget is in inferences of the costliest kind, and one is what it may be.",
        (Table(head, rows),),
    )


def _queues(result: FleetResult, detail: Detail) -> Section:
    waiting = detail.hours.waiting
    worst = sorted(range(len(detail.devices)), key=lambda place: -int(waiting[place].max()))[:_MOST_CURVES]
    hours = waiting.shape[1]
    curves = [
        Curve(
            label=number_of(result, int(detail.devices.device[place])),
            points=[(hour + 1.0, float(count)) for hour, count in enumerate(waiting[place].tolist())],
            colour=number % 6,
            dashed=number % 2 == 1,
        )
        for number, place in enumerate(worst)
    ]
    plane = chart(
        Axis(low=0.0, high=float(hours), label="hours since the run began"),
        Axis(low=0.0, high=max(1.0, float(waiting.max())) * 1.05, label="records that wait to be delivered"),
        curves,
        title="records that wait on devices, hour by hour",
    )
    oldest = seconds(float(detail.hours.oldest_s.max()))
    return Section(
        "Records that wait",
        f"At the end of each hour; the oldest record that ever waited was {oldest} old (simulated).",
        (Figure(plane.render(), f"The {len(curves)} sampled devices with the longest queues."),),
    )
