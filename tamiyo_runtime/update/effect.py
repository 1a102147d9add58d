"""What an order comes to when it is carried out."""

from __future__ import annotations

from dataclasses import replace

from tamiyo_runtime.contracts.budget import Budget


def budget_of(ordered: Budget | None, own: Budget) -> Budget:
    """The limits under which a bundle runs: its own, or those ordered, of which one left out is lifted.

    But not that of heat: whoever orders a deadline does not mean to let the board burn. Memory and the link's limits
    are never ordered: they are the board's and the bundle's.
    """
    if ordered is None:
        return own
    return replace(
        own,
        latency_ms=ordered.latency_ms,
        power_mw=ordered.power_mw,
        energy_burst_uj=ordered.energy_burst_uj,
        temperature_c=own.temperature_c if ordered.temperature_c is None else ordered.temperature_c,
    )
