"""Sections on who is heard: delivery, losses by cause, by data rate, by distance, hour by hour, gateway by gateway."""

from __future__ import annotations

import numpy as np

from exporters.html.charts import Bar, Part, bars, stacked
from exporters.html.page import Figure, Section, Table
from exporters.html.plane import Axis, Curve, Plane, chart
from simulators.fleet.kinds import LoraKind
from simulators.fleet.result import FleetResult
from simulators.lorawan.region import regions
from tamiyo_runtime.cli.fleet_page.figures import COLOUR_OF_FATE, groups, percentage, share
from tamiyo_runtime.contracts.units import plural

_BINS = 12
_MOST_HOURS = 24 * 14
"""Longer runs are shown day by day."""
_MOST_RATES = 24


def sections(result: FleetResult) -> list[Section]:
    """All of them."""
    found = [_delivery(result), _losses(result)]
    found += [one for one in (_by_data_rate(result), _by_distance(result)) if one is not None]
    found.append(_timeline(result))
    if len(result.gateways.x_m):
        found.append(_gateways(result))
    return found


def _delivery(result: FleetResult) -> Section:
    devices = result.devices
    items, rows = [], []
    for number, name, part in groups(result):
        sent, arrived = int(devices.messages[part].sum()), int(devices.delivered[part].sum())
        other = devices.delivered_other[part]
        told = share(arrived, sent)
        items.append(Bar(label=name, value=told or 0.0, text=percentage(told, digits=2) or "nothing sent", colour=2))
        acknowledged = devices.acknowledged[part]
        rows.append(
            [
                name,
                f"{sent:,}",
                f"{arrived:,}",
                percentage(told, digits=2),
                f"{int(devices.withheld[part].sum()):,}",
                f"{int(acknowledged[acknowledged >= 0].sum()):,}" if (acknowledged >= 0).any() else "",
                percentage(share(float(other.sum()), sent), digits=2) if (other >= 0).all() else "",
                result.groups[number].other_capture or "",
            ]
        )
    head = ["group", "messages", "arrived", "share", "withheld", "acknowledged", "by the other rule", "that rule"]
    used = [column for column in range(len(head)) if column < 4 or any(row[column] not in ("", "0") for row in rows)]
    table = Table([head[column] for column in used], [[row[column] for column in used] for row in rows])
    return Section(
        "Delivery",
        "Share of the messages sent that reached a gateway or the network (simulated). A message counts once however "
        "often it was sent; withheld ones came up and were never sent.",
        (Figure(bars(items, title="share of messages that arrived, by group"), "By group (simulated)."), table),
    )


def _losses(result: FleetResult) -> Section:
    devices, rows, table = result.devices, [], []
    for _, name, part in groups(result):
        packets = int(devices.packets[part].sum())
        parts, cells = [], [name, f"{packets:,}"]
        for fate, colour in COLOUR_OF_FATE.items():
            count = int(getattr(devices, fate.name.lower())[part].sum())
            told = share(count, packets)
            tip = f"{name}: {count:,} of {packets:,} packets {fate.label}, {percentage(told, digits=2)}"
            parts.append(Part(kind=fate.label, value=told or 0.0, colour=colour, tip=tip))
            cells.append(f"{count:,}")
        rows.append((name, parts, percentage(sum(part.value for part in parts), digits=2)))
        table.append(cells)
    head = ["group", "packets", *(fate.label for fate in COLOUR_OF_FATE)]
    used = [column for column in range(len(head)) if column < 2 or any(row[column] != "0" for row in table)]
    if len(used) == 2:
        return Section("Losses by cause", "No packet was lost in this run (simulated).")
    drawn = stacked(rows, title="share of packets lost, by cause")
    counts = Table([head[column] for column in used], [[row[column] for column in used] for row in table])
    return Section(
        "Losses by cause",
        "Packets, repetitions included, that nobody received (simulated); of several gateways the one nearest to "
        "success counts.",
        (Figure(drawn, "Share of all packets of a group."), counts),
    )


def _by_data_rate(result: FleetResult) -> Section | None:
    devices = result.devices
    rates = [rate for rate in np.unique(devices.data_rate).tolist() if rate >= 0]
    items, rows = [], []
    for rate in rates[:_MOST_RATES]:
        part = devices.data_rate == rate
        sent, arrived = int(devices.messages[part].sum()), int(devices.delivered[part].sum())
        told = share(arrived, sent)
        called = _rate_name(result, rate)
        items.append(Bar(label=called, value=told or 0.0, text=percentage(told, digits=2), colour=2))
        airtime = share(float(devices.airtime_s[part].sum()), int(devices.packets[part].sum()))
        rows.append(
            [
                called,
                f"{int(part.sum()):,}",
                f"{sent:,}",
                percentage(told, digits=2),
                "" if airtime is None else f"{1e3 * airtime:.4g} ms",
            ]
        )
    if not rates:
        return None
    table = Table(["data rate", "devices", "messages", "arrived", "mean time on air"], rows)
    drawn = bars(items, title="share of messages that arrived, by data rate")
    return Section(
        "Delivery by data rate",
        "By the data rate of the device, at the end of the run where it adapts (simulated).",
        (Figure(drawn, "Faster data rates have higher numbers."), table),
    )


def _rate_name(result: FleetResult, rate: int) -> str:
    """With its modulation, where all groups have it of one region."""
    used = {group.kind.region for group in result.scenario.devices if isinstance(group.kind, LoraKind)}
    names = {regions.get(region).uplink_rate(rate).name for region in used if rate in regions.get(region).uplink}
    return f"DR{rate}, {names.pop()}" if len(names) == 1 else f"DR{rate}"


def _by_distance(result: FleetResult) -> Section | None:
    devices = result.devices
    known = np.isfinite(devices.distance_m)
    farthest = float(devices.distance_m[known].max()) if known.any() else 0.0
    if farthest <= 0:
        return None
    places = np.minimum((devices.distance_m / farthest * _BINS), _BINS - 1)
    plane = Plane(
        Axis(low=0.0, high=farthest, label="distance to the gateway heard best, or to the antenna, m"),
        Axis(low=0.0, high=1.0, label="share of messages that arrived", text=lambda value: f"{100 * value:.0f} %"),
        title="delivery by distance",
    )
    rows = []
    for place in range(_BINS):
        part = known & (np.nan_to_num(places, nan=-1.0).astype(np.int64) == place)
        sent, arrived = int(devices.messages[part].sum()), int(devices.delivered[part].sum())
        told = share(arrived, sent)
        low, high = place * farthest / _BINS, (place + 1) * farthest / _BINS
        if told is None:
            continue
        text = f"{low:.0f} to {high:.0f} m"
        plane.bar(low, high, told, "f2 edged", tip=f"{text}: {percentage(told, digits=2)}, {int(part.sum()):,} devices")
        rows.append([text, f"{int(part.sum()):,}", f"{sent:,}", percentage(told, digits=2)])
    if not rows:
        return None
    table = Table(["distance", "devices", "messages", "arrived"], rows, fold="the same as figures")
    return Section("Delivery by distance", "", (Figure(plane.render(), "By distance (simulated)."), table))


def _timeline(result: FleetResult) -> Section:
    hours = result.hours.sent.shape[1]
    daily = hours > _MOST_HOURS
    length = 24 if daily else 1
    unit = "day" if daily else "hour"
    curves, rows = [], []
    for number, name, _ in groups(result):
        sent, received = (_summed(counts[number], length) for counts in (result.hours.sent, result.hours.received))
        told = [(index + 0.5, got / out) for index, (out, got) in enumerate(zip(sent, received, strict=True)) if out]
        curves.append(Curve(label=name, points=told, colour=number % 6, dashed=number % 2 == 1))
        rows += [
            [name, f"{index}", f"{out:,}", f"{got:,}", percentage(share(got, out), digits=2)]
            for index, (out, got) in enumerate(zip(sent, received, strict=True))
        ]
    seen = [value for curve in curves for _, value in curve.points]
    if not seen:
        return Section(f"Hour by {unit}" if not daily else "Day by day", "Nothing was sent (simulated).")
    floor = max(0.0, min(seen) - 0.02)
    plane = chart(
        Axis(low=0.0, high=max(1.0, hours / length), label=f"{unit}s since the run began"),
        Axis(low=floor, high=1.0, label="share of packets received", text=lambda value: f"{100 * value:.3g} %"),
        curves,
        title=f"packets received, {unit} by {unit}",
    )
    for row, fault in enumerate(result.scenario.faults):
        start, end = fault.start_s / 3600 / length, min(fault.end_s / 3600, hours) / length
        whom = f"gateway {fault.gateway}" if fault.gateway is not None else fault.devices or "all groups"
        plane.span(start, end, f"{fault.kind}: {whom}", row=row % 4)
    faults = len(result.scenario.faults)
    marked = f" Shaded: {plural(faults, 'fault')} of the scenario." if faults else ""
    table = Table(["group", unit, "packets", "received", "share"], rows, fold="the same as figures")
    figure = Figure(plane.render(), f"Packets received, of those that began in the {unit} (simulated).{marked}")
    return Section(f"{unit.capitalize()} by {unit}", "", (figure, table) if len(rows) <= 500 else (figure,))


def _summed(counts: np.ndarray, length: int) -> list[int]:
    """By stretches of so many hours; the last may be shorter."""
    edges = np.arange(0, len(counts), length)
    return np.add.reduceat(counts, edges).tolist() if len(counts) else []


def _gateways(result: FleetResult) -> Section:
    gateways = result.gateways
    rows = [
        [
            str(number),
            f"{gateways.x_m[number]:.0f}, {gateways.y_m[number]:.0f} m",
            *(f"{int(column[number]):,}" for column in (gateways.received, gateways.only)),
            *(f"{int(column[number]):,}" for column in (gateways.collided, gateways.no_path)),
        ]
        for number in range(len(gateways.x_m))
    ]
    head = ["gateway", "place", "received", "only here", "strong enough, spoilt", "strong enough, no demodulator"]
    table = Table(head, rows, fold="" if len(rows) <= 20 else f"all {len(rows)} gateways")
    return Section("Gateways", "Packets at each gateway (simulated).", (table,))
