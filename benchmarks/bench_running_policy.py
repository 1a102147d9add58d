"""What the policy's run-time gates are worth under the governor, on devices they were not taught on. All simulated.

    python benchmarks/bench_running_policy.py [--smoke] [--dry-run] [--card] [--seeds 5] [--teachings 2]

Protocol, written before the first full run. Scenarios: `benchmarks/running_scenarios.py`, four families x four energy
budgets, 300 samples an episode, 24 devices a cell and seed, three slots. Deciders, on the very same devices and draws:

* ``policy``: the gates of a policy taught as `tamiyo train` teaches without episodes of growth (`Teaching()`, another
  seed each time); the torch module, which the tests of export hold to the exported graphs.
* ``shipped``: the gates of the policy that comes with the package, taught beside its growth heads.
* ``rule``: what the runtime proposes without a policy, the most accurate option; the governor grants what may run.
* ``fixed-K``: each pattern of gates, asked for always, under the same governor.
* ``fixed``: the pattern that is best over a whole family and budget; ``hindsight``: the best one of each device, known
  only afterwards.
* ``planner``: no policy, but the plan of `tamiyo_train.policy.planning` with the device's true tables, its
  temperature, its battery's charge and the end of the episode; what it leaves to hindsight is what it cannot foresee.

Measure: share of samples answered right and in time (expected accuracy of what ran; 0 for skipped, late, or after
the battery broke down), a mean over an episode. Compared in pairs, device by device, with interquartile mean of the
differences and its 95 % bootstrap interval, whole seeds being strata. Violations are counted, never traded:
late answers among those granted, samples after which the energy account was overdrawn, devices whose battery broke
down. Verdict of a cell: better, worse, or neither, by the interval; the plain mean stands beside it, since an
interquartile mean does not see rare large differences, with an interval of its own. ``--card`` states the shipped
policy's figures in its card.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.growth_statistics import compare, interquartile_mean
from benchmarks.results import append
from benchmarks.running_scenarios import BUDGETS, FAMILIES, Scenario, scenario
from simulators.episodes.lanes import Lanes
from tamiyo_runtime.contracts.observation import Heads
from tamiyo_runtime.files import write_atomic_text
from tamiyo_runtime.governor import SKIP
from tamiyo_train.config import Teaching
from tamiyo_train.policy import shipped
from tamiyo_train.policy.asking import by_rule as most_accurate
from tamiyo_train.policy.imitation import proposed_gates, teach
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.planning import planned, spendable_uj

PACKAGES = ("numpy", "torch")
SLOTS = 3
SHOWN = ("policy", "shipped", "rule", "fixed", "hindsight", "planner")
COLUMNS = (
    "family, budget",
    *SHOWN,
    "policy less rule, interquartile mean",
    "policy less rule, mean",
    "shipped less rule, mean",
)
CARD = Path(shipped.__file__).parent / "vector.json"
Gates = NDArray[np.bool_]
Floats = NDArray[np.float64]
Decide = Callable[[Lanes, int], Gates]
"""Gates for all lanes, given how many samples are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """By device, (lanes,) each: share of samples answered right in time, late answers, overdrafts, and who died."""

    right: Floats
    granted: Floats
    late: Floats
    overdrawn: Floats
    died: Floats


def play(made: Scenario, decide: Decide, steps: int) -> Played:
    """One episode. The energy account is kept here once more, from what came out, not by the governor's own."""
    lanes, tables = made.lanes, made.lanes.tables
    right, granted, late, overdrawn = (np.zeros(len(lanes)) for _ in range(4))
    metered = np.isfinite(tables.burst_uj)
    burst = np.where(metered, tables.burst_uj, 0.0)
    level = burst * lanes.bucket
    alive = np.ones(len(lanes), dtype=bool)
    for step in range(steps):
        lanes.under(made.boards(step))
        begun_s = lanes.now_s
        outcome = lanes.step(decide(lanes, steps - step))
        ran, passed_ms = (outcome.option != SKIP) & alive, (lanes.now_s - begun_s) * 1e3
        ended = np.minimum(level + tables.power_mw * outcome.latency_ms, burst + outcome.energy_uj) - outcome.energy_uj
        overdrawn += metered & ran & (ended < -1e-6 * burst)
        level = np.minimum(ended + tables.power_mw * (passed_ms - outcome.latency_ms), burst)
        alive &= outcome.alive
        granted += ran
        late += outcome.missed & ran
        right += np.where(ran & ~outcome.missed & alive, outcome.accuracy, 0.0)
    return Played(right=right / steps, granted=granted, late=late, overdrawn=overdrawn, died=~alive * 1.0)


def by_rule(lanes: Lanes, left: int) -> Gates:
    """What the runtime proposes when it has no policy."""
    return most_accurate(lanes.tables)


def fixed(pattern: Gates) -> Decide:
    """These gates always."""
    return lambda lanes, left: np.broadcast_to(pattern, (len(lanes), len(pattern)))


def by_policy(network: PolicyNetwork) -> Decide:
    """What the policy asks for."""
    return lambda lanes, left: proposed_gates(network, lanes.observe().matrix())


def by_plan(lanes: Lanes, left: int) -> Gates:
    """A plan that knows the device and the end of the episode, but neither jitter nor what its board will meet."""
    tables, boards = lanes.tables, lanes.boards
    budget = spendable_uj(lanes)
    income, metered = tables.power_mw * tables.period_s * 1e3, np.isfinite(tables.burst_uj)
    burst = np.where(metered, tables.burst_uj, 0.0)
    budget = np.where(metered, np.maximum(budget, income + burst * lanes.bucket / left), np.inf)
    if boards.battery is not None:
        usable_mah = lanes.battery * boards.battery.capacity_mah - boards.battery.least_mah(0.0)
        joules_uj = np.maximum(usable_mah, 0.0) * 3.6e6 * boards.supply_v
        idle_mw = boards.idle_mw[:, -1]
        spare = joules_uj / left + (boards.harvest_ma * boards.supply_v - idle_mw) * tables.period_s * 1e3
        budget = np.minimum(budget, np.maximum(spare, 0.0) / (1 - idle_mw / boards.rated_mw))
    return planned(lanes, budget).gates


def patterns() -> dict[str, Gates]:
    """All fixed choices by name, gates as digits."""
    grid = np.array(np.meshgrid(*[[False, True]] * SLOTS, indexing="ij")).reshape(SLOTS, -1).T
    return {"fixed-" + "".join(str(int(gate)) for gate in row): row for row in grid}


def episodes(deciders: Mapping[str, Decide], family: str, *, seeds: int, lanes: int, steps: int) -> dict[str, Played]:
    """Every decider on the same devices, seeds one after the other."""
    found: dict[str, list[Played]] = {name: [] for name in deciders}
    for seed in range(seeds):
        for name, decide in deciders.items():
            found[name].append(play(scenario(family, lanes=lanes, slots=SLOTS, steps=steps, seed=seed), decide, steps))
    names = ("right", "granted", "late", "overdrawn", "died")
    return {
        name: Played(**{field: np.concatenate([getattr(part, field) for part in parts]) for field in names})
        for name, parts in found.items()
    }


def cell(
    played: Mapping[str, Played], policies: list[str], rows: NDArray[np.bool_], seed_of: NDArray[np.int64]
) -> dict[str, Any]:
    """Figures of one family and budget."""
    right = {name: part.right[rows] for name, part in played.items()}
    all_fixed = {name: values for name, values in right.items() if name.startswith("fixed-")}
    best = max(all_fixed, key=lambda name: float(all_fixed[name].mean()))
    right["policy"] = np.mean([right[name] for name in policies], axis=0)
    right["fixed"], right["hindsight"] = all_fixed[best], np.max(list(all_fixed.values()), axis=0)

    def less(one: str, other: str) -> dict[str, Any]:
        """Paired differences with two intervals: of the interquartile mean, and of the plain one."""
        differences, of = right[one] - right[other], seed_of[rows]
        plain = compare(differences, of, statistic=lambda values: values.mean(axis=-1), samples=2000)
        return {**compare(differences, of, samples=2000).to_json(), "plain": plain.to_json()}

    against = {name: less("policy", name) for name in ("rule", "fixed", "hindsight", "planner")}
    low, high = against["rule"]["low"], against["rule"]["high"]
    return {
        "best_fixed": best,
        "right_iqm": {n: float(interquartile_mean(right[n])) for n in SHOWN},
        "right_mean": {n: float(right[n].mean()) for n in SHOWN},
        "policy_less": against,
        "shipped_less": {"rule": less("shipped", "rule")},
        "verdict": "better" if low > 0 else "worse" if high < 0 else "neither",
        "violations": {
            name: {
                "late_share": float(part.late[rows].sum() / max(1.0, part.granted[rows].sum())),
                "overdrawn": int(part.overdrawn[rows].sum()),
                "died": float(part.died[rows].mean()),
            }
            for name, part in played.items()
            if not name.startswith("fixed-")
        },
    }


def main() -> int:
    """Teach, play, print, append to results/running_policy.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--teachings", type=int, default=2, help="policies, each taught with another seed")
    parser.add_argument("--smoke", action="store_true", help="a minute: one seed, few devices, short lessons")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    parser.add_argument("--card", action="store_true", help="state the shipped policy's figures in its card")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lanes, steps, seeds, teachings, config = 24 * len(BUDGETS), 300, arguments.seeds, arguments.teachings, Teaching()
    if arguments.smoke:
        lanes, steps, seeds, teachings, config = 16, 60, 1, 1, Teaching(steps=150, running_samples=2000)
    begun = time.perf_counter()
    policies = {
        f"policy-{seed}": by_policy(teach(None, heads=Heads(slots=SLOTS, blueprints=2), config=config, seed=seed)[0])
        for seed in range(teachings)
    }
    taught_s = (time.perf_counter() - begun) / teachings
    others = {"shipped": by_policy(shipped.network().with_slots(SLOTS)), "rule": by_rule, "planner": by_plan}
    deciders = {**policies, **others, **{n: fixed(p) for n, p in patterns().items()}}
    cells: dict[str, dict[str, Any]] = {}
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for family in FAMILIES:
        played = episodes(deciders, family, seeds=seeds, lanes=lanes, steps=steps)
        seed_of, budget = np.repeat(np.arange(seeds), lanes), np.tile(np.arange(lanes) % len(BUDGETS), seeds)
        for index, limit in enumerate(BUDGETS):
            figures = cell(played, list(policies), budget == index, seed_of)
            cells[f"{family} {limit:g}"] = figures
            print(row(f"{family}, {limit:g}", figures), flush=True)
    scale = {"smoke": arguments.smoke, "seeds": seeds, "devices": lanes * seeds, "steps": steps}
    how = {"teachings": teachings, "teaching": asdict(config), "taught_s": taught_s}
    judged = {"shipped_sha256": shipped.card()["weights_sha256"]}
    if not arguments.dry_run:
        append("running_policy", {**scale, **how, **judged, "cells": cells}, PACKAGES)
    if arguments.card:
        card = shipped.card() | {"running": on_card(scale, cells)}
        write_atomic_text(CARD, json.dumps(card, indent=1) + "\n", overwrite=True)
    return 0


def row(name: str, figures: Mapping[str, Any]) -> str:
    """A line of the table, in Markdown: shares, then differences in percentage points with their 95 % intervals."""
    less, own = figures["policy_less"]["rule"], figures["shipped_less"]["rule"]
    shares = (f"{figures['right_mean'][shown]:.3f}".lstrip("0") for shown in SHOWN)
    points = (
        "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * found[key] for key in ("mean", "low", "high")))
        for found in (less, less["plain"], own["plain"])
    )
    return f"| {' | '.join((name, *shares, *points))} |"


def on_card(scale: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the shipped policy's card says of its gates: share right and in time, and what that is above the rule's."""

    def stated(figures: Mapping[str, Any]) -> dict[str, float]:
        plain = figures["shipped_less"]["rule"]["plain"]
        found = {name: figures["right_mean"][name] for name in ("shipped", "rule")}
        found |= {"less_rule": plain["mean"], "low": plain["low"], "high": plain["high"]}
        return {name: round(value, 4) + 0.0 for name, value in found.items()}

    return {
        "command": "python benchmarks/bench_running_policy.py --card",
        "source": "simulated",
        "devices_a_cell": scale["devices"] // len(BUDGETS),
        "samples": scale["steps"],
        "cells": {name: stated(figures) for name, figures in cells.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
