"""Growth against its twins and a peer at equal budgets: spirals, digits and MNIST-1D, the same seeds for everybody.

Every arm trains the same number of steps on the same batches in the same order. Recipes (learning rate and the like)
were chosen for every arm on seeds that are not reported; ``--tune`` chooses them anew and writes `RECIPES`. Growth may
come to as many parameters as gromo has, rounded (`CAPS`). Arms:

    bare host       the host, ungrown
    grown           a plateau heuristic plants the dearest blueprint that fits; seeds live through the whole life cycle
    random growth   the same, drawn at random from what is allowed
    static twin     the grown network's final topology from step 0
    wider host      the ungrown host made wider until it has as many parameters as the grown network or more
    gromo           TINY's growing perceptron (see `gromo_peer`)

Training MACs count everything: blending, the held pass of newborn seeds, gromo's statistics and line searches.
Confidence intervals are Student's, 95 %, over seeds. What loses stays in the table.

    python benchmarks/bench_growth.py [--tasks ...] [--seeds N] [--workers N] [--tune]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append

TASKS = ("spirals", "digits", "mnist1d")
CAPS = {"spirals": 375, "digits": 1300, "mnist1d": 2430}
"""Parameters growth may come to: what gromo comes to with the settings of `PEERS`, rounded."""
PEERS = {"spirals": (10, 4), "digits": (8, 3), "mnist1d": (20, 7)}
"""Hidden units of gromo's three layers at birth, and how many it may add to each in each of its two rounds."""
STEPS, BATCH, SETTLING = 2000, 64, 400
TUNING = (1000, 1001)
RECIPES = Path(__file__).parent / "growth_recipes.json"
PACKAGES = ("torch", "gromo", "mnist1d", "scikit-learn")
RATES = (3e-3, 1e-2, 2e-2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an arm is trained; what a network without growth does not have is left alone there.

    ``rate``: peak learning rate; ``limit``: largest gradient norm; ``decisions`` an episode; ``intensity`` of
    newborn seeds (an index).
    """

    rate: float = 1e-2
    limit: float = 0.5
    decisions: int = 40
    intensity: int = 2


GROWING = tuple(Recipe(rate=rate) for rate in RATES[1:])
STATIC = tuple(Recipe(rate=rate) for rate in RATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A host and what may grow in it; ``order``: slots in which the heuristic fills them."""

    name: str
    host: str
    width: int
    offers: tuple[str, ...]
    order: tuple[int, ...]


RESIDUAL = ("bottleneck", "low-rank", "residual-mlp")
CONVOLUTIONS = ("wide-conv", "depthwise", "bottleneck")
FAMILIES = {
    "spirals": (
        Family(name="residual", host="mlp", width=8, offers=RESIDUAL, order=(2, 1, 0)),
        Family(name="widening", host="mlp-skip", width=6, offers=("widening", "glu", "bottleneck"), order=(0, 1, 2)),
    ),
    "digits": (
        Family(name="residual", host="mlp", width=8, offers=RESIDUAL, order=(2, 1, 0)),
        Family(
            name="widening",
            host="mlp-skip",
            width=6,
            offers=("widening", "bottleneck-quarter", "low-rank"),
            order=(0, 1, 2),
        ),
        Family(name="input-conv", host="mlp-skip", width=6, offers=("input-conv", "low-rank"), order=(0, 1, 2)),
        Family(name="image", host="dsconv", width=4, offers=CONVOLUTIONS, order=(3, 2, 1, 0)),
    ),
    "mnist1d": (
        Family(name="residual", host="mlp", width=16, offers=RESIDUAL, order=(2, 1, 0)),
        Family(
            name="widening", host="mlp-skip", width=12, offers=("widening", "bottleneck", "low-rank"), order=(0, 1, 2)
        ),
        Family(name="input-conv", host="mlp-skip", width=8, offers=("input-conv", "bottleneck"), order=(0, 1, 2)),
        Family(name="sequence", host="conv1d", width=6, offers=CONVOLUTIONS, order=(3, 2, 1, 0)),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trained network: accuracy on the test set (fraction), parameters, MACs, training MACs, and what grew."""

    accuracy: float
    params: int
    macs: int
    training_macs: int
    topology: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process does: an arm of a family (None: gromo).

    ``topology``: what the twin shall have; ``params``: how many the wider host shall reach.
    """

    task: str
    family: Family | None
    arm: str
    seed: int
    recipe: Recipe
    topology: tuple[tuple[int, str], ...] = ()
    params: int = 0


def work(job: Job) -> Result:
    """Train one network."""
    import torch

    from tamiyo_train.data import data_of, task_of

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="gromo")
    task, data = task_of(job.task), data_of(job.task)
    # Shifted images are left out: they would help the largest network most.
    data = replace(data, variants=data.variants[data.still][None], still=0)
    if job.family is not None:
        return _ours(job, job.family, task, data)
    from benchmarks.gromo_peer import GromoSettings, grow

    hidden, added = PEERS[job.task]
    settings = GromoSettings(hidden=hidden, added=added, steps=STEPS, batch=BATCH, learning_rate=job.recipe.rate)
    result = grow(data, inputs=math.prod(task.input.shape), classes=len(task.classes), settings=settings, seed=job.seed)
    return Result(**asdict(result))


def _ours(job: Job, family: Family, task: Any, data: Any) -> Result:
    from tamiyo_train.blueprints import blueprints
    from tamiyo_train.config import Episode, Limits
    from tamiyo_train.env import GrowthEnv, play
    from tamiyo_train.evaluation import score
    from tamiyo_train.footprint import Footprint
    from tamiyo_train.hosts import Host, hosts
    from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings, RandomDecider, Waiting
    from tamiyo_train.pricing import GrowthBudget, Pricer
    from tamiyo_train.seeding import initialising
    from tamiyo_train.static import train_static

    recipe = job.recipe
    episode = Episode(
        steps=STEPS - SETTLING,
        decisions=recipe.decisions,
        consolidation_steps=SETTLING,
        batch=BATCH,
        learning_rate=recipe.rate,
        gradient_limit=recipe.limit,
        gate_dropout=0.0,  # networks that run whole: nobody switches their seeds off
        consolidation_dropout=0.0,
        limits=Limits(drift_hold=1.5, drift_critical=1.9) if family.host.startswith("mlp") else Limits(),
    )

    def host(width: int) -> Host:
        with initialising(job.seed):
            return hosts.get(family.host)(shape=task.input.shape, classes=len(task.classes), width=width)

    topology = job.topology
    if job.arm in {"static twin", "wider host"}:
        width = family.width
        while host(width).footprint().params < job.params:
            width += 1
        trainer = train_static(host(width), dict(topology), data, episode, seed=job.seed)
    else:
        offers = tuple(blueprints.get(name) for name in ("no-op", *family.offers))
        settings = KasminaSettings(
            patience=0, improvement=0.0, order=family.order, mature=0.0, trial=0.5, intensity=recipe.intensity
        )
        deciders = {
            "grown": KasminaMicro(settings),
            "random growth": RandomDecider(job.seed),
            "bare host": Waiting(),
        }
        env = GrowthEnv(
            host=host(family.width),
            data=data,
            config=episode,
            blueprints=offers,
            pricer=Pricer(None),
            budget=GrowthBudget(params=CAPS[job.task], macs=10**9),
            seed=job.seed,
        )
        outcome = play(env, deciders[job.arm])
        topology = tuple((slot, env.network.seed_at(slot).blueprint.name) for slot in outcome.fossilised)
        trainer = env.trainer
    cost = Footprint.of(layer for piece in trainer.network.graphs() for layer in piece)
    return Result(
        accuracy=score(trainer.network, data.test).accuracy,
        params=cost.params,
        macs=cost.macs,
        training_macs=trainer.training_macs,
        topology=topology,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % confidence interval (Student)."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


Key = tuple[str, str]
"""Names of family and arm."""


@dataclass
class Bench:
    """The arms of one task, run by a pool of processes."""

    pool: ProcessPoolExecutor
    task: str
    recipes: dict[Key, Recipe] = field(default_factory=dict)

    def arms(self, *names: str) -> list[tuple[Family | None, str]]:
        """Family and arm of every arm with one of the names; gromo belongs to no family."""
        ours = [(family, name) for family in FAMILIES[self.task] for name in names if name != "gromo"]
        return [*ours, *([(None, "gromo")] if "gromo" in names else [])]

    def run(self, jobs: Sequence[Job]) -> list[Result]:
        """Results of jobs, in their order, with word of how far they are."""
        started, futures = time.monotonic(), [self.pool.submit(work, job) for job in jobs]
        results = []
        for done, future in enumerate(futures, 1):
            results.append(future.result())
            if done % 20 == 0 or done == len(jobs):
                print(
                    f"  {self.task}: {done}/{len(jobs)}, {time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        return results

    def tune(self) -> None:
        """Choose every arm's recipe: the best mean accuracy on the tuning seeds."""
        grown = self._best(self.arms("grown"), GROWING)
        self.recipes |= {key: recipe for key, (recipe, _) in grown.items()}
        self.recipes |= {(family, "random growth"): recipe for (family, _), (recipe, _) in grown.items()}
        parents = {key[0]: results for key, (_, results) in grown.items()}
        rest = self._best(self.arms("bare host", "static twin", "wider host", "gromo"), STATIC, parents)
        self.recipes |= {key: recipe for key, (recipe, _) in rest.items()}

    def _best(
        self, arms: Sequence[tuple[Family | None, str]], choices: Sequence[Recipe], parents: Any = None
    ) -> dict[Key, tuple[Recipe, dict[int, Result]]]:
        jobs = [
            self._job(family, arm, seed, recipe, parents)
            for family, arm in arms
            for recipe in choices
            for seed in TUNING
        ]
        by_arm: dict[Key, dict[Recipe, dict[int, Result]]] = {}
        for job, result in zip(jobs, self.run(jobs), strict=True):
            by_arm.setdefault(_key(job.family, job.arm), {}).setdefault(job.recipe, {})[job.seed] = result
        best = {}
        for key, by_recipe in by_arm.items():
            means = {
                recipe: statistics.fmean(r.accuracy for r in found.values()) for recipe, found in by_recipe.items()
            }
            chosen = max(means, key=lambda recipe: means[recipe])
            print(f"  {self.task}: {', '.join(key)}: {means[chosen]:.1%} {chosen}", file=sys.stderr, flush=True)
            best[key] = (chosen, by_recipe[chosen])
        return best

    def _job(self, family: Family | None, arm: str, seed: int, recipe: Recipe, parents: Any) -> Job:
        """Twin and wider host take after the network that grew from the same seed."""
        job = Job(task=self.task, family=family, arm=arm, seed=seed, recipe=recipe)
        if family is None or parents is None or arm not in {"static twin", "wider host"}:
            return job
        parent = parents[family.name][seed]
        return replace(job, topology=parent.topology) if arm == "static twin" else replace(job, params=parent.params)

    def report(self, seeds: int) -> list[dict[str, Any]]:
        """Train every arm on the reported seeds, print the table."""
        found: dict[Key, dict[int, Result]] = {}
        for names in (("grown", "random growth", "bare host", "gromo"), ("static twin", "wider host")):
            parents = {key[0]: results for key, results in found.items() if key[1] == "grown"}
            jobs = [
                self._job(family, arm, seed, self.recipes[_key(family, arm)], parents)
                for family, arm in self.arms(*names)
                for seed in range(seeds)
            ]
            for job, result in zip(jobs, self.run(jobs), strict=True):
                found.setdefault(_key(job.family, job.arm), {})[job.seed] = result
        line = "{:<8} {:<10} {:<14} {:>14} {:>7} {:>8} {:>15} {:>19}"
        print(
            line.format("task", "family", "arm", "accuracy %", "params", "MACs", "training GMACs", "over gromo, points")
        )
        rows = [_row(key, results, found["peer", "gromo"]) for key, results in sorted(found.items())]
        for row in rows:
            lead = "" if row["arm"] == "gromo" else f"{100 * row['lead']:+.1f} +- {100 * row['lead_ci95']:.1f}"
            shown = f"{100 * row['accuracy']:.1f} +- {100 * row['accuracy_ci95']:.1f}"
            costs = (f"{row['params']:.0f}", f"{row['macs']:.0f}", f"{row['training_macs'] * 1e-9:.2f}")
            print(line.format(self.task, row["family"], row["arm"], shown, *costs, lead), flush=True)
            row["recipe"] = asdict(self.recipes[row["family"], row["arm"]])
        return rows


def _key(family: Family | None, arm: str) -> Key:
    return (family.name if family else "peer", arm)


def _row(key: Key, results: dict[int, Result], peer: dict[int, Result]) -> dict[str, Any]:
    accuracy, half = interval([result.accuracy for result in results.values()])
    lead, lead_half = interval([result.accuracy - peer[seed].accuracy for seed, result in results.items()])
    means = {
        name: statistics.fmean(getattr(result, name) for result in results.values())
        for name in ("params", "macs", "training_macs")
    }
    return {
        "family": key[0],
        "arm": key[1],
        "accuracy": accuracy,
        "accuracy_ci95": half,
        **means,
        "lead": lead,
        "lead_ci95": lead_half,
        "seeds": len(results),
    }


def _read_recipes(task: str) -> dict[Key, Recipe]:
    found = json.loads(RECIPES.read_text())[task]
    return {(family, arm): Recipe(**recipe) for family, arms in found.items() for arm, recipe in arms.items()}


def _write_recipes(task: str, recipes: dict[Key, Recipe]) -> None:
    document = json.loads(RECIPES.read_text()) if RECIPES.exists() else {}
    document[task] = {}
    for (family, arm), recipe in sorted(recipes.items()):
        document[task].setdefault(family, {})[arm] = asdict(recipe)
    RECIPES.write_text(json.dumps(document, indent=1) + "\n")


def main() -> int:
    """Measure, print, append to results/growth.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tune", action="store_true", help=f"choose the recipes anew and write {RECIPES.name}")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for task in arguments.tasks:
            bench = Bench(pool, task)
            if arguments.tune:
                bench.tune()
                _write_recipes(task, bench.recipes)
            bench.recipes = _read_recipes(task)
            figures = {
                "task": task,
                "steps": STEPS,
                "batch": BATCH,
                "cap": CAPS[task],
                "rows": bench.report(arguments.seeds),
            }
            if not arguments.dry_run:
                append("growth", figures, PACKAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
