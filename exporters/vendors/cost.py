"""Cost of a chain of graphs that a vendor's compiler has timed: its figures for the accelerator, ours for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from device_profiles.cost import Op, estimate, explain
from device_profiles.profile import Profile
from exporters.vendors.compiler import VendorCost
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.plan import Precision


def vendor_cost(
    profile: Profile, graphs: Sequence[Sequence[Op]], timed: Sequence[VendorCost], *, precision: Precision
) -> Cost:
    """Cost of one inference that invokes ``graphs`` one after the other, each with the compiler's figures.

    Time is the sum of the compiler's, of the invocations' floors and of the operators it left to the host, which the
    profile prices. The interval is the profile's relative error. Energy is the profile's power for that time. Memory
    is the largest working set that the compiler laid out, beside all weights and commands.
    """
    ours = estimate(profile, graphs, precision=precision)
    host_us = sum(
        term.latency_us.value
        for term in explain(profile, graphs, precision=precision)
        if term.op is None or not term.op.on_accelerator
    )
    latency_ms = 1e-3 * (host_us + sum(item.latency_us for item in timed))
    spread = 1 + profile.value("model.relative_error")
    active = profile.figures["power.active_mw"]
    stored, working = sum(item.stored_bytes for item in timed), max(item.sram_bytes for item in timed)
    return replace(
        ours,
        latency_ms=Estimate(value=latency_ms, low=latency_ms / spread, high=latency_ms * spread, source=Source.VELA),
        energy_uj=Estimate(  # mW * ms = uJ
            value=latency_ms * active.value,
            low=latency_ms / spread * active.low,
            high=latency_ms * spread * active.high,
            source=profile.energy_source,
        ),
        peak_memory_bytes=stored + working,
        weight_bytes=stored,
        activation_bytes=working,
        extra={"accelerator_cycles": sum(item.cycles for item in timed)},
    )
