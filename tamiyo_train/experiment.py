"""A whole training run: collect, teach, grow, compare.

    episodes of heuristics and chance -> policy cloned from what went well -> the policy grows the final network
    beside it: the same host ungrown, its static twin, and short episodes of the policy against the others

Everything follows from the configuration and its seed; the number of workers changes nothing but the time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_train.config import TrainConfig, plain
from tamiyo_train.data import task_of
from tamiyo_train.hosts import hosts
from tamiyo_train.jobs import (
    GROWTH,
    HOSTS,
    EpisodeResult,
    Grown,
    collect,
    grow,
    heads_of,
    new_host,
    offered,
    static,
)
from tamiyo_train.policy.experience import concatenate
from tamiyo_train.policy.imitation import Lesson, teach
from tamiyo_train.pool import workers
from tamiyo_train.run import SCHEMA, MethodSummary, NetworkResult, Run, RunRecord
from tamiyo_train.seeding import derive
from tamiyo_train.tasks import stages

OnProgress = Callable[[str, int, int, str], None]
"""Called with phase, done, total and a note."""
_SAMPLES = 256


def check(config: TrainConfig) -> None:
    """Check every name before any work; raises UnknownNameError."""
    stages.get(config.task)
    hosts.get(config.host)
    if config.growth not in GROWTH:
        raise UnknownNameError("growth method", config.growth, GROWTH)
    if config.profile is not None:
        from device_profiles.loader import load_profile

        load_profile(config.profile)


def train(config: TrainConfig, *, policy_from: Run | None = None, on_progress: OnProgress | None = None) -> Run:
    """Do a run; ``policy_from`` takes the policy of another run instead of teaching one."""
    check(config)
    report = on_progress or _silent
    with workers(config.workers) as executor:
        episodes: list[EpisodeResult] = []
        if policy_from is not None:
            policy: Mapping[str, torch.Tensor] = policy_from.policy
            lesson: Mapping[str, object] = {"from": policy_from.record.task_sha256, "seed": policy_from.record.seed}
        else:
            if config.growth == "policy":
                episodes = _collect(executor, config, _collection(config.episodes), report)
            taught, summary = _teach(config, episodes, report)
            policy, lesson = taught, summary.to_json()
        final, results, evaluated = _final(executor, config, policy, report)
    methods = _summaries([*episodes, *evaluated])
    return _run(config, final=final, results=results, methods=methods, policy=policy, lesson=lesson, episodes=episodes)


def _collection(count: int) -> list[str]:
    """Methods of the collected episodes: each once on every host, most of them drawn heuristics, then over again."""
    order = ["kasmina-drawn", "kasmina", "kasmina-drawn", "random", "kasmina-drawn", "none", "kasmina-drawn"]
    return [order[index // HOSTS % len(order)] for index in range(count)]


def _collect(
    executor: Executor,
    config: TrainConfig,
    methods: Sequence[str],
    report: OnProgress,
) -> list[EpisodeResult]:
    futures = [executor.submit(collect, config, method, index) for index, method in enumerate(methods)]
    for done, future in enumerate(as_completed(futures), 1):
        outcome = future.result().outcome
        report("collect", done, len(futures), f"utility {outcome.utility:.3f}, {outcome.cost.params} parameters")
    return [future.result() for future in futures]


def _teach(
    config: TrainConfig, episodes: Sequence[EpisodeResult], report: OnProgress
) -> tuple[dict[str, torch.Tensor], Lesson]:
    experience = concatenate([episode.experience for episode in episodes]) if episodes else None

    def on_step(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            report("teach", done, total, "")

    network, lesson = teach(
        experience,
        heads=heads_of(config),
        config=config.teaching,
        seed=derive(config.seed, "teach"),
        on_step=on_step,
    )
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}, lesson


def _final(
    executor: Executor, config: TrainConfig, policy: Mapping[str, torch.Tensor], report: OnProgress
) -> tuple[Grown, dict[str, NetworkResult], list[EpisodeResult]]:
    """The final episode with its controls beside it; the twin waits for the topology, the evaluations fill the gap."""
    total = 3 + config.evaluation_episodes
    growing = executor.submit(grow, config, config.growth, policy)
    bare = executor.submit(static, config, {})
    grown = growing.result()
    report("grow", 1, total, f"grown: {grown.result.test_accuracy:.1%} on the test set")
    twin = executor.submit(static, config, {seed.slot: seed.blueprint for seed in grown.seeds})
    played = [executor.submit(collect, config, "policy", index, policy) for index in range(config.evaluation_episodes)]
    results = {"grown": grown.result, "ungrown": bare.result()}
    report("grow", 2, total, f"ungrown: {results['ungrown'].test_accuracy:.1%}")
    results["twin"] = twin.result()
    report("grow", 3, total, f"static twin: {results['twin'].test_accuracy:.1%}")
    evaluated = []
    for index, future in enumerate(played):
        evaluated.append(future.result())
        report("grow", 4 + index, total, f"policy episode: utility {evaluated[-1].outcome.utility:.3f}")
    return grown, results, evaluated


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
    methods: Mapping[str, MethodSummary],
    policy: Mapping[str, torch.Tensor],
    lesson: Mapping[str, object],
    episodes: Sequence[EpisodeResult],
) -> Run:
    task, host = task_of(config.task), new_host(config, 0)
    seen = np.concatenate([final.experience.observation, *(e.experience.observation for e in episodes)])[:_SAMPLES]
    record = RunRecord(
        schema=SCHEMA,
        task=config.task,
        task_sha256=task.sha256(),
        host=config.host,
        width=config.width,
        input_shape=task.input.shape,
        classes=len(task.classes),
        slots=host.slots,
        seed=config.seed,
        growth=config.growth,
        blueprints=tuple(blueprint.name for blueprint in offered(host)),
        seeds=final.seeds,
        history=final.history,
        audit=final.audit,
        configurations=final.configurations,
        results=results,
        methods=methods,
        lesson=lesson,
        config=plain(config),
        versions=_versions(),
        policy_samples_seed=derive(config.seed, "samples") % 2**32,
        profile=config.profile,
    )
    return Run(record=record, network=final.network, policy=policy, observations=torch.from_numpy(seen))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    try:
        versions["tamiyo-edge"] = version("tamiyo-edge")
    except PackageNotFoundError:
        versions["tamiyo-edge"] = "not installed"
    return versions


def _silent(phase: str, done: int, total: int, note: str) -> None:
    """Reports nothing."""
