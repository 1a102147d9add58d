"""A budget as the governor's limits, refused where nothing could ever run under it."""

from __future__ import annotations

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.records import Reason
from tamiyo_runtime.governor import Case, Governor, Limits
from tamiyo_runtime.options import Options, throttle_c


def limits_that_fit(budget: Budget, options: Options, manifest: Manifest, *, margin: float, dwell_ms: float) -> Limits:
    """Limits of a budget; raises BudgetError when the cheapest option breaks one on a cool, idle board."""
    limits = Limits.of(budget, throttle_c=throttle_c(manifest.profile), margin=margin, dwell_ms=dwell_ms)
    bare = options.items[0]
    why = Governor(options, limits).refusal(0, Case(limits.burst_uj))
    if why is None:
        return limits
    have = {
        Reason.LATENCY: f"up to {bare.latency_worst_ms * limits.margin:.3g} ms of {limits.deadline_ms:g} ms",
        Reason.ENERGY: f"up to {bare.energy_worst_uj:.3g} uJ of a burst of {limits.burst_uj:g} uJ",
        Reason.MEMORY: f"{bare.memory_bytes} bytes of {limits.memory_bytes:g}",
    }[why]
    macs = sorted(manifest.plan.segments, key=lambda segment: segment.macs, reverse=True)
    dearest = ", ".join(f"{segment.name} ({segment.macs} MACs)" for segment in macs[:3])
    raise BudgetError(
        f"not even the bare host fits the {why} budget: {have}",
        hint=f"raise the budget; costliest parts: {dearest}",
    )


def difference(old: Limits, new: Limits) -> str:
    """Which limits changed, as text: ``deadline_ms 2 -> 1``."""
    names = ("deadline_ms", "power_mw", "burst_uj", "memory_bytes", "limit_c")
    changes = [f"{n} {getattr(old, n):g} -> {getattr(new, n):g}" for n in names if getattr(old, n) != getattr(new, n)]
    return ", ".join(changes) or "no change"
