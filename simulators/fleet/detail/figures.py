"""What devices run in detail leave, as columns: a row a device, and its hours. All of it is simulated.

A figure that does not exist is NaN in a column of floats and -1 in one of integers, as in `simulators.fleet.result`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulators.fleet.detail.device import Day, Inferring, Job
from simulators.fleet.detail.link import Radio, accounts, level_of
from simulators.fleet.result import Floats, Ints, Table, column
from tamiyo_runtime.contracts.budget import Budget

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Table):
    """A row a device that was run in detail: (devices,) each."""

    device: Ints = field(metadata=column("", "number of the device"))
    group: Ints = field(metadata=column("", "number of its group in the scenario"))
    frames: Ints = field(metadata=column("", "frames sent"))
    received: Ints = field(metadata=column("", "of these, received by a gateway or the network"))
    resent: Ints = field(metadata=column("", "of these, sent before"))
    content_bytes: Ints = field(metadata=column("B", "payload that the runtime handed to the link"))
    airtime_s: Floats = field(metadata=column("s", "time on the air; cellular: that the radio sent for"))
    busiest_hour_share: Floats = field(
        metadata=column("", "most airtime in any hour, as a share of what its sub-band allows; NaN without a limit")
    )
    radio_mj: Floats = field(metadata=column("mJ", "radio: frames with their windows, sleep not counted"))
    made: Ints = field(metadata=column("", "telemetry records made, tombstones among them"))
    delivered: Ints = field(metadata=column("", "records that reached the collector"))
    dropped: Ints = field(metadata=column("", "records given up, each with a tombstone"))
    duplicates: Ints = field(metadata=column("", "records that came again"))
    delay_p50_s: Floats = field(
        metadata=column("s", "from the first sample in a record to its delivery, median; NaN without one")
    )
    delay_p95_s: Floats = field(metadata=column("s", "the same, 95th percentile"))
    delay_max_s: Floats = field(metadata=column("s", "the same, longest"))
    samples: Ints = field(metadata=column("", "samples taken; -1 where nothing is inferred, as below"))
    inferences: Ints = field(metadata=column("", "of these, inferred"))
    skipped: Ints = field(metadata=column("", "of these, skipped by the governor"))
    deadline_misses: Ints = field(metadata=column("", "answers that came late"))
    decisions: Ints = field(metadata=column("", "decision records"))
    correct_share: Floats = field(metadata=column("", "of answers to samples with a label; NaN without one"))
    latency_p50_ms: Floats = field(metadata=column("ms", "of an inference, median"))
    latency_p99_ms: Floats = field(metadata=column("ms", "the same, 99th percentile"))
    latency_max_ms: Floats = field(metadata=column("ms", "the same, longest"))
    energy_mj: Floats = field(metadata=column("mJ", "inferences, by the governor's account"))
    allowed_mj: Floats = field(metadata=column("mJ", "what the energy budget allows in that time; NaN without one"))
    overdraft_jobs: Floats = field(
        metadata=column("", "deepest overdraft of the energy budget, in inferences of the costliest kind; NaN without")
    )

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course(Table):
    """How things stood at the end of each hour: (devices, hours) each."""

    link_level: Floats = field(metadata=column("", "share of the airtime credit that was left; 1 without a limit"))
    waiting: Ints = field(metadata=column("", "records made, and neither delivered nor given up"))
    oldest_s: Floats = field(metadata=column("s", "age of the oldest of them; 0 without one"))


def sampled(jobs: Sequence[Job], groups: Sequence[int], days: Sequence[Day]) -> Sampled:
    """Rows in the order given."""
    rows = [
        {"device": job.radio.number, "group": group, **_row(day), **_inferred(job, day)}
        for job, group, day in zip(jobs, groups, days, strict=True)
    ]
    types = {one.name: np.int64 if one.type == "Ints" else np.float64 for one in dataclasses.fields(Sampled)}
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows], kind) for name, kind in types.items()}
    return Sampled(**columns)


def course(jobs: Sequence[Job], days: Sequence[Day], duration_s: float) -> Course:
    """Hour by hour, the last one perhaps a part of one."""
    ends_s = np.minimum(np.arange(1, max(1, math.ceil(duration_s / HOUR_S)) + 1) * HOUR_S, duration_s)
    levels = np.array([_levels(job, day, ends_s) for job, day in zip(jobs, days, strict=True)])
    queues = [_queue(day, ends_s) for day in days]
    return Course(
        link_level=levels.reshape(len(days), ends_s.size),
        waiting=np.array([waiting for waiting, _ in queues], dtype=np.int64).reshape(len(days), ends_s.size),
        oldest_s=np.array([oldest for _, oldest in queues]).reshape(len(days), ends_s.size),
    )


def overdraft_uj(budget: Budget, t_s: Floats, energy_uj: Floats) -> float:
    """How far a token bucket of the budget, charged for each inference when it begins, goes below empty at worst."""
    burst_uj, power_mw = budget.energy_burst_uj, budget.power_mw or 0.0
    if burst_uj is None:
        return math.nan
    level_uj, at_s, deepest_uj = burst_uj, 0.0, 0.0
    for when_s, used_uj in zip(t_s.tolist(), energy_uj.tolist(), strict=True):
        level_uj, at_s = min(burst_uj, level_uj + power_mw * 1e3 * (when_s - at_s)) - used_uj, when_s
        deepest_uj = max(deepest_uj, -level_uj)
    return deepest_uj


def _row(day: Day) -> dict[str, float]:
    delays_s = np.array([one.arrived_s - one.t_ms * 1e-3 for one in day.arrivals])
    p50_s = p95_s = longest_s = math.nan
    if delays_s.size:  # by nearest rank, as the fleet's own percentiles
        p50_s, p95_s, longest_s = np.quantile(delays_s, (0.5, 0.95, 1.0), method="inverted_cdf").tolist()
    return {
        "frames": len(day.frames),
        "received": sum(day.received),
        "resent": day.resent,
        "content_bytes": day.content_bytes,
        "airtime_s": sum(frame.airtime_s for frame in day.frames),
        "busiest_hour_share": math.nan if day.worst_hour_share is None else day.worst_hour_share,
        "radio_mj": day.radio_mj,
        "made": day.created,
        "delivered": len(day.arrivals),
        "dropped": day.dropped,
        "duplicates": day.duplicates,
        "delay_p50_s": p50_s,
        "delay_p95_s": p95_s,
        "delay_max_s": longest_s,
    }


def _inferred(job: Job, day: Day) -> dict[str, float]:
    summary, budget = day.summary, day.budget
    if summary is None or summary.trace is None or budget is None or not isinstance(job, Inferring):
        return _NOTHING
    trace = summary.trace
    largest_uj = float(trace.energy_uj.max(initial=0.0))
    overdraft = overdraft_uj(budget, trace.t_s, trace.energy_uj)
    allowed_uj = _or_nan(budget.energy_burst_uj) + 1e3 * (budget.power_mw or 0.0) * (job.end_s - job.start_s)
    return {
        "samples": summary.samples,
        "inferences": summary.inferences,
        "skipped": summary.skipped,
        "deadline_misses": summary.deadline_misses,
        "decisions": summary.decisions,
        "correct_share": _or_nan(summary.accuracy),
        "latency_p50_ms": _or_nan(summary.latency_p50_ms),
        "latency_p99_ms": _or_nan(summary.latency_p99_ms),
        "latency_max_ms": _or_nan(summary.latency_max_ms),
        "energy_mj": summary.energy_uj * 1e-3,
        "allowed_mj": allowed_uj * 1e-3,
        "overdraft_jobs": overdraft / largest_uj if largest_uj else overdraft,
    }


_NOTHING = {
    **dict.fromkeys(("samples", "inferences", "skipped", "deadline_misses", "decisions"), -1),
    **dict.fromkeys(
        (
            "correct_share",
            "latency_p50_ms",
            "latency_p99_ms",
            "latency_max_ms",
            "energy_mj",
            "allowed_mj",
            "overdraft_jobs",
        ),
        math.nan,
    ),
}
"""Of a device that infers nothing."""


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _levels(job: Job, day: Day, times_s: Floats) -> Floats:
    """The link's credit at times, found again from what was sent."""
    if not isinstance(job.radio, Radio):
        return np.ones(times_s.size)
    radio, held, levels = job.radio, accounts(job.radio), np.ones(times_s.size)
    coming = iter(day.frames)
    frame = next(coming, None)
    for place, when_s in enumerate(times_s.tolist()):
        while frame is not None and frame.start_s <= when_s:
            band = radio.region.sub_band(radio.channels[frame.channel].frequency_hz).name
            if band in held:
                held[band].spend(frame.airtime_s, frame.start_s)
            frame = next(coming, None)
        levels[place] = level_of(held.values(), when_s)
    return levels


def _queue(day: Day, times_s: Floats) -> tuple[Ints, Floats]:
    """Records that wait at times, and the age of the oldest."""
    arrived = {arrival.seq: arrival.arrived_s for arrival in day.arrivals}
    made_s = np.array(list(day.made_s.values()))
    ended_s = np.array([min(arrived.get(seq, math.inf), day.gone_s.get(seq, math.inf)) for seq in day.made_s])
    waits = (made_s[:, None] <= times_s) & (ended_s[:, None] > times_s)
    ages_s = np.where(waits, times_s - made_s[:, None], 0.0)
    return waits.sum(axis=0), ages_s.max(axis=0, initial=0.0)
