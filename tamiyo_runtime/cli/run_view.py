"""What ``tamiyo run`` prints: the plan of a dry run, and what came of a run, for people and as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.cli.field_terms import FieldResult
    from tamiyo_runtime.summary import SessionSummary


def as_data(result: FieldResult) -> dict[str, Any]:
    """A result as plain data, for ``--json`` and reports."""
    from dataclasses import fields

    summary = result.summary
    data: dict[str, Any] = {item.name: getattr(summary, item.name) for item in fields(summary) if item.name != "trace"}
    data |= {"accuracy": summary.accuracy, "skipped": summary.skipped, "mean_power_mw": summary.mean_power_mw}
    data |= {"link": result.link, "broker": result.broker}
    if result.restarts:
        data["restarts"] = [{item.name: getattr(one, item.name) for item in fields(one)} for one in result.restarts]
    if result.board_total is not None:
        data |= {"board_energy_uj": result.board_total.energy_uj, "board_energy_s": result.board_total.seconds}
    if result.counters is not None:
        telemetry = {item.name: getattr(result.counters, item.name) for item in fields(result.counters)}
        telemetry["dropped"] = {str(reason): count for reason, count in result.counters.dropped.items()}
        data["telemetry"] = {
            **telemetry,
            "delivered": result.delivered,
            "waiting": result.waiting,
            "trouble": result.trouble,
            "spool": str(result.spool),
        }
        data["telemetry"]["airtime_worst_hour_s"] = result.airtime_worst_hour_s
    if result.ledger is not None:
        from tamiyo_runtime.spool import boot_name

        data["ledger"] = [
            {
                "device": entry.device,
                "boot": boot_name(entry.boot),
                "sent": entry.sent,
                "stored": entry.stored,
                "lost": dict(entry.lost),
                "balanced": entry.balanced,
            }
            for entry in result.ledger
        ]
        data["store"] = str(result.store)
    return data


def show_plan(field: FieldRun, *, as_json: bool) -> None:
    """What a dry run found: everything that a run would be made of."""
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.sources import length_of

    request = field.request
    plan = {
        "bundle": field.bundle.manifest.name,
        "variant": field.executor.variant.id,
        "interpreter": field.executor.interpreter,
        "policy": field.policy.interpreter if field.policy else None,
        "board": field.board.label,
        "link": field.link.label,
        "broker": request.broker,
        "source": field.source.label,
        "samples": field.plan.samples or length_of(field.source),
        "period_ms": field.plan.period_s * 1e3,
        "budget": dump(field.plan.budget or field.bundle.manifest.budget),
        "budget_schedule": [[when_s, dump(later)] for when_s, later in request.plan.schedule],
        "mission": _mission(field),
        "throttle": [list(phase) for phase in request.throttle],
        "faults": list(request.faults),
        "state_dir": str(request.state_dir),
    }
    if as_json:
        emit_json(plan)
        return
    for name, value in plan.items():
        say(f"{name:<16} {value}")
    say("dry run: everything is in order, nothing was run")


def _mission(field: FieldRun) -> dict[str, float | str | None] | None:
    """How long the battery has to last, and what inferences may draw for that as the board begins."""
    from tamiyo_runtime.mission import ration_mw

    mission, profile = field.plan.mission, field.bundle.manifest.profile
    if mission is None:
        return None
    charge = field.board.status().battery
    mean_mw = mission.mean_mw(0.0, charge)
    return {
        "hours": mission.hours,
        "battery_mwh": mission.battery_mwh,
        "charge": charge,
        "mean_mw": round(mean_mw, 3),
        "waiting_mw": profile.idle_mw,
        "inferences_mw": round(ration_mw(mean_mw, profile), 3),
    }


def show(result: FieldResult, trace: Path | None) -> None:
    from tamiyo_runtime.cli.render import say, table
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent

    s = result.summary
    policy = f"policy by {s.policy}" if s.policy else "no policy"
    say(f"{s.bundle} on {s.board}: {s.variant} by {s.interpreter}, {policy}, samples from {s.source}")
    say()
    total = max(1, s.samples)
    rows = [[name, count, percent(count / total)] for name, count in s.counts.items()]
    rows += [[f"skipped ({reason})", count, percent(count / total)] for reason, count in s.skips.items()]
    table(["ran", "samples", "share"], rows)
    say()
    if s.accuracy is not None:
        say(f"accuracy         {percent(s.accuracy)} of {s.labelled} labelled samples")
    if s.latency_p50_ms is not None and s.latency_p99_ms is not None and s.latency_max_ms is not None:
        p50, p99, worst = (milliseconds(value) for value in (s.latency_p50_ms, s.latency_p99_ms, s.latency_max_ms))
        say(f"latency          p50 {p50}, p99 {p99}, max {worst} ({s.latency_source})")
        say(f"deadlines        {s.deadline_misses} missed")
        power = f", {s.mean_power_mw:.3g} mW on average" if s.mean_power_mw is not None else ""
        say(f"energy           {microjoules(s.energy_uj)}{power} ({_shares(s.energy_by_source, s.energy_source)})")
    if (seen := result.board_total) is not None:
        mean_mw = seen.energy_uj / seen.seconds * 1e-3
        took = f"{microjoules(seen.energy_uj)} in {seen.seconds:.1f} s, {mean_mw:.4g} mW"
        say(f"meter            {took}, pauses included (measured)")
    say(f"duration         {s.duration_s:.1f} s on the board's clock; mode at the end: {s.mode}")
    if s.policy_failures:
        say(f"policy           failed {s.policy_failures} times; the governor chose instead")
    if s.failures:
        say(f"failed           {s.failures} configurations, which were not tried again")
    say(f"monitors         {_monitors(s)}")
    if s.lost:
        reasons = ", ".join(f"{reason} {count}" for reason, count in s.lost.items())
        say(f"lost on arrival  {sum(s.lost.values())}: {reasons}")
    for one in result.restarts:
        say(
            f"power lost       {one.why} at {one.at_s:.1f} s, power again at {one.back_s:.1f} s, works again at "
            f"{one.again_s:.1f} s (simulated)"
        )
        say(
            f"                 {one.samples} samples before, {one.missed} came meanwhile; the boot took "
            f"{microjoules(one.boot_uj)}, not in the energy above"
        )
    if s.stopped_early:
        say("stopped          by a signal, in good order")
    say(f"decisions        {s.decisions} records of what ran and why")
    _show_telemetry(result)
    if trace is not None:
        say(f"trace            {trace}")


def _monitors(summary: SessionSummary) -> str:
    if not summary.watched:
        return "none: switched off, or the bundle holds no reference"
    alarms = ", ".join(f"{watch} {count}" for watch, count in summary.alarms.items() if count)
    return f"{', '.join(summary.watched)}: {f'alarms: {alarms}' if alarms else 'no alarm'}"


def _shares(by_source: Mapping[str, float], only: str | None) -> str:
    """Where a sum comes from: one word, or the share of each."""
    total = sum(by_source.values())
    if len(by_source) < 2 or not total:
        return str(only)
    return ", ".join(f"{energy_uj / total:.0%} {source}" for source, energy_uj in by_source.items())


def _show_telemetry(result: FieldResult) -> None:
    from tamiyo_runtime.cli.render import say, table
    from tamiyo_runtime.contracts.units import microjoules

    counters = result.counters
    if counters is None:
        say("telemetry        none (--broker none)")
        return
    say(f"broker           {result.broker}")
    lost = sum(counters.dropped.values())
    say(
        f"telemetry        {counters.records_created} records, {counters.stored_acked} stored by the collector, "
        f"{counters.pending} waiting, {lost} lost"
    )
    air = f", {counters.airtime_s:.2f} s on air" if counters.airtime_s else ""
    worst = result.airtime_worst_hour_s
    hour = f" ({worst:.2f} s in the worst hour)" if worst is not None else ""
    say(f"link             {result.link}: {counters.transmissions} frames, {counters.bytes_sent} bytes{air}{hour}")
    if counters.radio_energy_uj:
        say(f"radio            {microjoules(counters.radio_energy_uj)} (simulated, not in the board's energy)")
    if not result.delivered:
        unheard = counters.transmissions > 0 and counters.stored_acked == 0
        trouble = result.trouble or (
            "nothing that was sent was acknowledged: does a collector run?" if unheard else None
        )
        why = f" ({trouble})" if trouble else ""
        say(f"waiting          {result.waiting} records stay in {result.spool} and are sent after the next start{why}")
    if result.ledger:
        from tamiyo_runtime.spool import boot_name

        say()
        rows = [
            [
                entry.device,
                boot_name(entry.boot),
                entry.sent,
                entry.stored,
                sum(entry.lost.values()),
                "yes" if entry.balanced else "no",
            ]
            for entry in result.ledger
        ]
        table(["device", "boot", "sent", "stored", "lost", "balanced"], rows)
        say(f"store            {result.store}")
