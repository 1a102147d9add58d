"""How a run stands, in one line."""

from __future__ import annotations

from tamiyo_runtime.contracts.units import milliseconds
from tamiyo_runtime.summary import Turn


def status_line(turn: Turn) -> str:
    """Mode, what runs, latency, misses, bucket, heat, and what was lost on the way in; only what is known."""
    tally, status = turn.tally, turn.status
    parts = [turn.mode.value]
    if turn.configuration is not None:
        parts.append(turn.configuration)
    p50_ms = tally.latency.quantile(0.5)
    if p50_ms is not None:
        parts += [f"p50 {milliseconds(p50_ms)}", f"{tally.deadline_misses} missed"]
    if tally.skips:
        parts.append(f"{sum(tally.skips.values())} skipped")
    parts.append(f"bucket {turn.fill:.0%}")
    if status.temperature_c is not None:
        parts.append(f"{status.temperature_c:.0f} C")
    if status.slowdown > 1.0 or status.throttled:
        parts.append(f"throttled x{status.slowdown:.3g}")
    if turn.intake is not None:
        parts += [f"{reason} {count}" for reason, count in turn.intake.lost.items()]
        if turn.intake.state not in {"", "connected"}:
            parts.append(turn.intake.state)
    return ", ".join(parts)
