"""What a power budget of charge over time is worth: `tamiyo run --mission-hours` on batteries. All simulated.

    python benchmarks/bench_mission.py [--seeds 5] [--smoke] [--dry-run]

The devices are those of the family ``harvest`` of `bench_running_policy.py`: batteries that would carry the full
network for 0.4 to 1.2 episodes, and a sun that rises and sets once, of which nothing is known beforehand. Each decider
plays them without a mission and with one, of an episode's length and the battery's capacity: ``rule`` (no policy) and
``shipped``. *gauge*: charge is read at every review; *no gauge*: the battery is taken to go down evenly from full,
which it does not where the sun shines. ``planner`` knows tables, charge and end, without a mission. Measure, pairs and
intervals are those of that benchmark, the interval being of the plain mean: a mission helps those that would run dry.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.bench_running_policy import SLOTS, Decide, Gates, Played, by_plan, by_policy, by_rule, episodes
from benchmarks.growth_statistics import compare
from benchmarks.results import append
from benchmarks.running_scenarios import BUDGETS
from simulators.episodes.lanes import Lanes
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.mission import Mission, Rationing
from tamiyo_train.policy import shipped

PACKAGES = ("numpy", "torch")
FAMILY = "harvest"


class OnMission:
    """A decider whose lanes live by a mission of the episode's length; one object plays episode after episode."""

    def __init__(self, decide: Decide, *, steps: int, gauge: bool) -> None:
        self._decide, self._steps, self._gauge = decide, steps, gauge

    def __call__(self, lanes: Lanes, left: int) -> Gates:
        begins = left == self._steps
        if begins:
            self._begin(lanes)
        changed = [
            lane
            for lane, rationing in enumerate(self._rationings)
            if begins or rationing.review(float(lanes.now_s[lane]), self._charge(lanes, lane))
        ]
        if changed:
            power_mw, burst_uj = lanes.tables.power_mw.copy(), lanes.tables.burst_uj.copy()
            for lane in changed:
                budget = self._rationings[lane].applied(self._own[lane], float(self._dearest_uj[lane]))
                power_mw[lane] = budget.power_mw or 0.0
                burst_uj[lane] = np.inf if budget.energy_burst_uj is None else budget.energy_burst_uj
            lanes.tables = replace(lanes.tables, power_mw=power_mw, burst_uj=burst_uj)
            governor = lanes._governor  # as `Governor.under` does: what is in the bucket stays, up to the new burst
            lanes._governor = governor._replace(bucket_uj=np.minimum(governor.bucket_uj, burst_uj))
        return self._decide(lanes, left)

    def _begin(self, lanes: Lanes) -> None:
        tables, boards, lane_of = lanes.tables, lanes.boards, np.arange(len(lanes))
        assert boards.battery is not None
        battery_mwh = boards.battery.capacity_mah * np.broadcast_to(boards.supply_v, len(lanes))
        self._dearest_uj = tables.energy_worst_uj[lane_of, tables.last]
        self._own = [
            Budget(power_mw=float(power), energy_burst_uj=float(burst)) if np.isfinite(burst) else Budget()
            for power, burst in zip(tables.power_mw, tables.burst_uj, strict=True)
        ]
        self._rationings = [
            Rationing(
                Mission(battery_mwh=float(battery_mwh[lane]), hours=float(self._steps * tables.period_s[lane] / 3600)),
                _profile(active_mw=float(boards.rated_mw[lane]), idle_mw=float(boards.idle_mw[lane, -1])),
                started_s=0.0,
                charge=self._charge(lanes, lane),
            )
            for lane in lane_of
        ]

    def _charge(self, lanes: Lanes, lane: int) -> float | None:
        return float(lanes.battery[lane]) if self._gauge else None


def _profile(*, active_mw: float, idle_mw: float) -> ProfileSnapshot:
    return ProfileSnapshot(
        id="drawn",
        revision=1,
        sha256="0" * 64,
        active_mw=active_mw,
        idle_mw=idle_mw,
        memory_bytes=1,
        relative_error=0.0,
        budget=Budget(),
    )


def deciders(steps: int) -> dict[str, Decide]:
    """Everyone who plays, by name."""
    policy = by_policy(shipped.network().with_slots(SLOTS))
    alone: dict[str, Decide] = {"rule": by_rule, "shipped": policy}
    sent = {
        f"{name}, mission, {'gauge' if gauge else 'no gauge'}": OnMission(decide, steps=steps, gauge=gauge)
        for gauge in (True, False)
        for name, decide in alone.items()
    }
    return {**alone, **sent, "planner": by_plan}


def cell(played: Mapping[str, Played], rows: NDArray[np.bool_], seed_of: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of one budget: shares right in time, devices that broke down, and what each mission is worth."""

    def worth(name: str) -> dict[str, float]:
        differences = played[name].right[rows] - played[name.partition(",")[0]].right[rows]
        found = compare(differences, seed_of[rows], statistic=lambda values: values.mean(axis=-1), samples=2000)
        return {key: found.to_json()[key] for key in ("mean", "low", "high")}

    return {
        "right": {name: float(part.right[rows].mean()) for name, part in played.items()},
        "died": {name: float(part.died[rows].mean()) for name, part in played.items()},
        "late_share": {name: float(p.late[rows].sum() / max(1.0, p.granted[rows].sum())) for name, p in played.items()},
        "overdrawn": {name: int(part.overdrawn[rows].sum()) for name, part in played.items()},
        "worth": {name: worth(name) for name in played if "mission" in name},
    }


def main() -> int:
    """Play, print, append to results/mission.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="seconds: one seed, few devices, short episodes")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lanes, steps, seeds = (8, 60, 1) if arguments.smoke else (24 * len(BUDGETS), 300, arguments.seeds)
    played = episodes(deciders(steps), FAMILY, seeds=seeds, lanes=lanes, steps=steps)
    seed_of, budget = np.repeat(np.arange(seeds), lanes), np.tile(np.arange(lanes) % len(BUDGETS), seeds)
    cells: dict[str, dict[str, Any]] = {}
    for index, limit in enumerate(BUDGETS):
        figures = cells[f"{limit:g}"] = cell(played, budget == index, seed_of)
        print(f"\n{FAMILY}, {limit:g}")
        for name, right in figures["right"].items():
            worth = figures["worth"].get(name)
            more = (
                "  {:+.2f} ({:+.2f} to {:+.2f}) points".format(*(100 * worth[k] for k in ("mean", "low", "high")))
                if worth
                else ""
            )
            print(f"  {name:<26} {right:.3f} right in time, {figures['died'][name]:4.0%} broke down{more}")
    if not arguments.dry_run:
        scale = {"smoke": arguments.smoke, "seeds": seeds, "devices": lanes * seeds, "steps": steps}
        append("mission", {**scale, "shipped_sha256": shipped.card()["weights_sha256"], "cells": cells}, PACKAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
