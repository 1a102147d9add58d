"""A whole training run: collect, teach, grow, compare.

    episodes of heuristics and chance -> policy cloned from what went well -> the policy grows the final network
    beside it: the same host ungrown, its static twin, and short episodes of the policy against the others

Everything follows from the configuration and its seed; the number of workers changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from tamiyo_runtime.contracts.observation import observation_size
from tamiyo_train.config import TrainConfig, plain
from tamiyo_train.data import task_of
from tamiyo_train.fingerprint import versions
from tamiyo_train.growing import Beside, Grown, grow, kept_steps
from tamiyo_train.jobs import HOSTS, EpisodeResult, collect, heads_of, new_host, offered, static
from tamiyo_train.policy.experience import concatenate
from tamiyo_train.policy.given import GivenPolicy
from tamiyo_train.policy.imitation import teach
from tamiyo_train.pool import Counter, Crew, Workers, crew_of
from tamiyo_train.preflight import check
from tamiyo_train.progress import OnProgress, Phase, silent
from tamiyo_train.run import SCHEMA, MethodSummary, NetworkResult, Run, RunRecord, inner_topology_of
from tamiyo_train.same_data import bound
from tamiyo_train.seeding import derive
from tamiyo_train.work import Work, keep, keeping

_SAMPLES = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A policy's weights and how it came by them."""

    policy: dict[str, torch.Tensor]
    lesson: dict[str, Any]


def train(
    config: TrainConfig,
    *,
    workers: Workers = 1,
    policy_from: Run | GivenPolicy | None = None,
    work: Work | None = None,
    events: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Do a run, or what is left of it.

    ``policy_from`` takes another run's policy, or the shipped one, instead of teaching one; ``work`` keeps what is
    done, and gives back what was; ``events`` is the folder TensorBoard files go to.
    """
    check(config, policy_from=policy_from)
    with crew_of(workers, jobs=config.episodes + config.evaluation_episodes + 3) as crew:
        doing = _Doing(config, crew, work, on_progress or silent)
        episodes = doing.collect() if policy_from is None and config.growth == "policy" else []
        taught = doing.taught(episodes, policy_from)
        final, results, evaluated = doing.final(taught.policy, events)
    return _run(config, final=final, results=results, evaluated=evaluated, taught=taught, episodes=episodes)


class _Doing:
    """The phases of one run in progress."""

    def __init__(self, config: TrainConfig, crew: Crew, work: Work | None, report: OnProgress) -> None:
        self.config, self.crew, self.work, self.report = config, crew, work, report

    def collect(self) -> list[EpisodeResult]:
        """Episodes of heuristics and chance."""
        config = self.config
        phase = Phase("collect", self.crew, self.report)
        tasks = []
        for index, method in enumerate(collection(config.episodes)):
            tasks.append(self._episode(phase, f"episode-{index}", method, index, None))
        phase.begin()
        futures = [task() for task in tasks]
        for future in self.crew.done(futures):
            outcome = future.result().outcome
            phase.remark(f"utility {outcome.utility:.3f}, {outcome.cost.params} parameters")
        phase.end(f"{len(futures)} episodes")
        return [future.result() for future in futures]

    def taught(self, episodes: Sequence[EpisodeResult], policy_from: Run | GivenPolicy | None) -> Taught:
        """The policy: taught now, kept from before, or another run's."""
        if isinstance(policy_from, Run):
            record = policy_from.record
            return Taught(policy=dict(policy_from.policy), lesson={"from": record.task_sha256, "seed": record.seed})
        if policy_from is not None:
            return Taught(policy=dict(policy_from.policy), lesson=policy_from.lesson())
        found = None if self.work is None else self.work.kept("policy", Taught)
        if found is not None:
            return found

        def on_step(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                self.report("teach", done, total, "")

        network, lesson = teach(
            concatenate([episode.experience for episode in episodes]) if episodes else None,
            heads=heads_of(self.config),
            config=self.config.teaching,
            seed=derive(self.config.seed, "teach"),
            on_step=on_step,
        )
        weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        taught = Taught(policy=weights, lesson=lesson.to_json())
        if self.work is not None:
            keep(self.work.path("policy"), taught)
        return taught

    def final(
        self, policy: Mapping[str, torch.Tensor], events: Path | None
    ) -> tuple[Grown, dict[str, NetworkResult], list[EpisodeResult]]:
        """The final episode with its controls beside it; the twin waits for the topology, evaluations fill the gap."""
        config, crew, steps = self.config, self.crew, self.config.final.total_steps
        phase = Phase("grow", crew, self.report)
        counter = phase.counter(steps, done=0 if self.work is None else kept_steps(self.work))
        beside = Beside(counter=counter, work=None if self.work is None else self.work.folder, events=events)
        growing = self._task(phase, counter, "grown", Grown, grow, config, config.growth, policy, beside, here=True)
        bare = self._static(phase, "ungrown", {}, {})
        twin_counter = phase.counter(steps)
        played = [
            self._episode(phase, f"evaluation-{index}", "policy", index, policy)
            for index in range(config.evaluation_episodes)
        ]
        phase.begin()
        started, ungrown = growing(), bare()
        grown = crew.result(started)
        phase.remark(f"grown: {grown.result.test_accuracy:.1%} on the test set")
        topology = {seed.slot: seed.blueprint for seed in grown.seeds}
        inner = inner_topology_of(grown.inner_seeds)
        twin = self._static(phase, "twin", topology, inner, counter=twin_counter)()
        episodes = [play() for play in played]
        results = {"grown": grown.result, "ungrown": crew.result(ungrown)}
        phase.remark(f"ungrown: {results['ungrown'].test_accuracy:.1%}")
        results["twin"] = crew.result(twin)
        phase.remark(f"static twin: {results['twin'].test_accuracy:.1%}")
        evaluated = [crew.result(future) for future in episodes]
        phase.end(f"grown: {grown.result.test_accuracy:.1%} on the test set")
        return grown, results, evaluated

    def _static(
        self,
        phase: Phase,
        name: str,
        topology: Mapping[int, str],
        inner: Mapping[str, str],
        counter: Counter | None = None,
    ) -> Callable[[], Future[NetworkResult]]:
        counter = counter or phase.counter(self.config.final.total_steps)
        return self._task(phase, counter, name, NetworkResult, static, self.config, topology, inner, counter)

    def _episode(
        self, phase: Phase, name: str, method: str, index: int, policy: Mapping[str, torch.Tensor] | None
    ) -> Callable[[], Future[EpisodeResult]]:
        counter = phase.counter(self.config.collect.total_steps)
        return self._task(phase, counter, name, EpisodeResult, collect, self.config, method, index, policy, counter)

    def _task(
        self,
        phase: Phase,
        counter: Counter,
        name: str,
        kind: type[T],
        job: Callable[..., T],
        *args: Any,
        here: bool = False,
    ) -> Callable[[], Future[T]]:
        """A job that is ready to be handed in; one that was done before is looked up instead.

        ``here``: it writes into folders of this machine.
        """
        found = None if self.work is None else self.work.kept(name, kind)
        if found is not None:
            phase.is_done(counter)
            future: Future[T] = Future()
            future.set_result(found)
            return lambda: future
        submit = self.crew.submit_here if here else self.crew.submit
        job, before = bound(job, self.config.task, self.config.data)
        if self.work is None:
            return lambda: submit(job, *before, *args)
        path = self.work.path(name)
        return lambda: keeping(submit(job, *before, *args), path)


def collection(count: int) -> list[str]:
    """Methods of the collected episodes: each once on every host, most of them drawn heuristics, then over again."""
    order = ["kasmina-drawn", "kasmina", "kasmina-drawn", "random", "kasmina-drawn", "none", "kasmina-drawn"]
    return [order[index // HOSTS % len(order)] for index in range(count)]


def _summaries(episodes: Sequence[EpisodeResult]) -> dict[str, MethodSummary]:
    summaries: dict[str, MethodSummary] = {}
    for method in sorted({episode.method for episode in episodes}):
        outcomes = [episode.outcome for episode in episodes if episode.method == method]
        utilities = [outcome.utility for outcome in outcomes]
        summaries[method] = MethodSummary(
            episodes=len(outcomes),
            mean_utility=float(np.mean(utilities)),
            mean_accuracy=float(np.mean([outcome.accuracy for outcome in outcomes])),
            mean_params=float(np.mean([outcome.cost.params for outcome in outcomes])),
            utility_deviation=float(np.std(utilities, ddof=1)) if len(utilities) > 1 else None,
        )
    return summaries


def _run(
    config: TrainConfig,
    *,
    final: Grown,
    results: Mapping[str, NetworkResult],
    evaluated: Sequence[EpisodeResult],
    taught: Taught,
    episodes: Sequence[EpisodeResult],
) -> Run:
    task, host = task_of(config.task, config.data), new_host(config, 0)
    width = observation_size(host.slots)  # slots inside seeds come last, and are not the policy's
    met = [final.experience, *(episode.experience for episode in episodes)]
    seen = np.concatenate([each.observation[:, :width] for each in met])[:_SAMPLES]
    record = RunRecord(
        schema=SCHEMA,
        task=config.task,
        task_sha256=task.sha256(),
        host=config.host,
        width=config.width,
        depth=config.depth,
        input_shape=task.input.shape,
        classes=len(task.classes),
        slots=host.slots,
        seed=config.seed,
        growth=config.growth,
        blueprints=tuple(blueprint.name for blueprint in offered(host, config.taught)),
        seeds=final.seeds,
        history=final.history,
        audit=final.audit,
        configurations=final.configurations,
        results=results,
        methods=_summaries([*episodes, *evaluated]),
        lesson=taught.lesson,
        config=plain(config),
        versions=versions(),
        policy_samples_seed=derive(config.seed, "samples") % 2**32,
        profile=config.profile,
        inner_seeds=final.inner_seeds,
        metric=task.metric,
    )
    return Run(record=record, network=final.network, policy=taught.policy, observations=torch.from_numpy(seen))
