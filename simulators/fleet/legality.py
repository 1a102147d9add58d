"""Whether a schedule is legal on the air, and the shortest interval that is.

Duty cycle, where the region has one: no hour, wherever it begins, may hold more of a sub-band than its limit. For
periodic messages whose channels all lie in one sub-band that is exact: n whole frames of a s fit the limit L, and

    n p - jitter >= 3600 - (L - n a)

keeps what is left of the next frame out of the hour. For Poisson messages, and where channels are drawn from several
sub-bands, the mean is held to the limit; a busy hour may hold more, and a run says so (``over_duty_cycle``).

US915: a frame is 400 ms at most (its payloads see to that), and a channel carries 400 ms in 20 s at most, on average
over the draw of channels: that none is used twice within 20 s is not enforced.

Class A: the radio is free again when the second receive window has closed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from simulators.fleet.lora import LoraField
from simulators.fleet.resolve import Resolved
from simulators.lorawan.region import Channel, Region
from simulators.lorawan.scenario import Pattern
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import SchemaError

HOUR_S = 3600.0
_DWELL_WINDOW_S = 20.0


@dataclass(frozen=True, slots=True)
class Shortest:
    """The shortest legal interval and the rule that makes it so."""

    interval_s: float
    rule: str


def bands(region: Region, channels: tuple[Channel, ...], data_rate: int) -> dict[str, tuple[float, float]]:
    """Share of the messages at a data rate, and duty cycle, of each sub-band that its channels lie in."""
    taking = [region.sub_band(channel.frequency_hz) for channel in channels if data_rate in channel.data_rates]
    counts = Counter(band.name for band in taking)
    duty = {band.name: band.duty_cycle for band in taking}
    return {name: (count / len(taking), duty[name]) for name, count in counts.items()}


def limit_s_per_hour(region: Region, channels: tuple[Channel, ...], data_rate: int) -> float | None:
    """Time on air of an hour at a data rate, over sub-bands as their channels are drawn; None without a limit."""
    limits = [HOUR_S * duty / share for share, duty in bands(region, channels, data_rate).values() if duty < 1]
    return min(limits, default=None)


def shortest(
    region: Region,
    channels: tuple[Channel, ...],
    *,
    data_rate: int,
    airtime_s: float,
    jitter_s: float = 0.0,
    pattern: Pattern = Pattern.PERIODIC,
) -> Shortest:
    """The shortest legal interval of messages of that time on air; infinite where one frame is too long."""
    free_s = airtime_s + windows(region, data_rate).until_closed_s + jitter_s
    found = [Shortest(free_s, "class A sends, and listens until its second window has closed")]
    shares = bands(region, channels, data_rate)
    for name, (share, duty) in shares.items():
        if duty >= 1:
            continue
        rule = f"band {name} may be used {duty:.1%} of an hour"
        if len(shares) > 1 or pattern is Pattern.POISSON:
            found.append(Shortest(share * airtime_s / duty, rule))
            continue
        limit_s = HOUR_S * duty
        frames = math.floor(limit_s / airtime_s)
        least = (HOUR_S - (limit_s - frames * airtime_s) + jitter_s) / frames if frames else math.inf
        found.append(Shortest(least, rule))
    if region.dwell_s is not None:
        number = sum(1 for channel in channels if data_rate in channel.data_rates)
        least = _DWELL_WINDOW_S * airtime_s / (region.dwell_s * number)
        found.append(Shortest(least, f"a channel carries {region.dwell_s * 1e3:g} ms in {_DWELL_WINDOW_S:g} s"))
    return max(found, key=lambda one: one.interval_s)


def check_legal(resolved: Resolved) -> None:
    """Raise SchemaError for the first group with a schedule that is not legal at a data rate of its devices."""
    for field in resolved.lora:
        for group in np.unique(field.group).tolist():
            _check(field, group)


def _check(field: LoraField, number: int) -> None:
    group = field.scenario.devices[number]
    workload, mine = group.workload, field.group == number
    rates, counts = np.unique(field.data_rate[mine], return_counts=True)
    for rate, count in zip(rates.tolist(), counts.tolist(), strict=True):
        airtime_s = field.region.airtime_s(rate, workload.payload_bytes)
        least = shortest(
            field.region,
            field.channels,
            data_rate=rate,
            airtime_s=airtime_s,
            jitter_s=workload.jitter_s,
            pattern=workload.pattern,
        )
        if workload.report_period_s >= least.interval_s:
            continue
        who = "" if count == group.count else f" ({count} of {group.count} devices are)"
        raise SchemaError(
            f"devices[{number}].workload.report_period_s",
            f"{workload.payload_bytes} bytes every {workload.report_period_s:g} s at DR{rate}{who} are"
            f" {airtime_s:.3g} s on the air each, {airtime_s / workload.report_period_s:.2%} of the time; {least.rule}",
            hint=f"the shortest legal interval there is {math.ceil(10 * least.interval_s) / 10:g} s"
            if math.isfinite(least.interval_s)
            else "send less, or at a faster data rate: a single frame is too long",
        )
