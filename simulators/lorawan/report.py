"""A run in a few figures, as data and as text. All of it is simulated, and says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.lorawan.energy import energy, use_of_closed, use_of_open
from simulators.lorawan.open_loop import OpenRun
from simulators.lorawan.reception import Verdict
from simulators.lorawan.record import ClosedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Simulated. ``acknowledged`` is None where nothing was to be; ``by_verdict`` counts packets."""

    region: str
    devices: int
    duration_s: float
    packets: int
    by_verdict: dict[str, int]
    messages: int
    delivered: int
    acknowledged: int | None
    downlinks: int
    mean_energy_mj: float

    def lines(self) -> list[str]:
        """The summary for people."""
        share = self.by_verdict["received"] / self.packets if self.packets else 0.0
        lost = [f"; {count} {name}" for name, count in self.by_verdict.items() if name != "received" and count]
        lines = [
            f"{self.devices} devices in {self.region} for {self.duration_s:g} s (simulated)",
            f"packets    {self.packets} sent, {share:.1%} received by a gateway (simulated){''.join(lost)}",
            f"messages   {self.messages} sent, {self.delivered} delivered (simulated)",
        ]
        if self.acknowledged is not None:
            lines.append(f"confirmed  {self.acknowledged} acknowledged (simulated)")
        lines.append(f"downlinks  {self.downlinks} (simulated)")
        lines.append(f"energy     {self.mean_energy_mj:.3g} mJ a radio on average (simulated)")
        return lines


def summarise(run: OpenRun | ClosedRun) -> Summary:
    """Figures of a run of either engine."""
    scenario = run.network.scenario
    if isinstance(run, OpenRun):
        verdict, use = run.verdict, use_of_open(run)
        messages, delivered, acknowledged, downlinks = verdict.size, int((verdict == 0).sum()), None, 0
    else:
        verdict, use = run.log.verdict, use_of_closed(run)
        messages, delivered = run.messages.number.size, int(run.messages.delivered.sum())
        acknowledged = int(run.messages.acknowledged.sum()) if scenario.traffic.confirmed else None
        downlinks = sum(gateway.start_s.size for gateway in run.downlinks)
    counts = np.bincount(verdict, minlength=len(Verdict)).tolist()
    return Summary(
        region=run.network.region.name,
        devices=scenario.devices,
        duration_s=scenario.duration_s,
        packets=verdict.size,
        by_verdict={code.name.lower().replace("_", " "): counts[code] for code in Verdict},
        messages=messages,
        delivered=delivered,
        acknowledged=acknowledged,
        downlinks=downlinks,
        mean_energy_mj=float(energy(run.network, use).total_mj.mean()),
    )
