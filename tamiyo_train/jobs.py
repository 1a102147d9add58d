"""The pieces of a training run that can be done side by side, each a pure function of plain data.

Seeds: everything is derived from the run's seed and the job's place in the run, so a job gives the same result in any
process, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, UnknownNameError
from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.audit import AuditLog
from tamiyo_train.blueprints import OFFERED, Blueprint, blueprints
from tamiyo_train.config import Episode, TrainConfig
from tamiyo_train.data import data_of, task_of
from tamiyo_train.env import GrowthEnv, Outcome
from tamiyo_train.evaluation import network_result
from tamiyo_train.hosts import Host, made
from tamiyo_train.hosts.piece import recompute
from tamiyo_train.policy.actions import Decider
from tamiyo_train.policy.baselines import KasminaMicro, RandomDecider, Waiting, drawn_settings
from tamiyo_train.policy.experience import Experience, record
from tamiyo_train.policy.imitation import Learned
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.pool import Counter
from tamiyo_train.pricing import GrowthBudget, Pricer
from tamiyo_train.regions import shipped
from tamiyo_train.regions.allocators import Allocator
from tamiyo_train.regions.deciding import RegionalPolicy
from tamiyo_train.regions.division import Region, divided, widest
from tamiyo_train.run import NetworkResult
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.static import train_static
from tamiyo_train.trainer import Trainer

HOSTS = 2
"""Hosts that the collected episodes grow in turn."""
POLICY = "policy"
GROWTH = (POLICY, "kasmina", "random", "none")
"""Who can decide, by name; a schedule decides when the configuration holds one."""
SCHEDULE = "schedule"
Tensor = torch.Tensor


def new_host(config: TrainConfig, seed: int) -> Host:
    """A freshly initialised host for the run's task.

    Raises UsageError or IncompatibleError when it cannot do as configured.
    """
    task = task_of(config.task, config.data)
    with initialising(derive(seed, "host")):
        host = made(
            config.host, shape=task.input.shape, classes=len(task.classes), width=config.width, depth=config.depth
        )
    if config.checkpointing and recompute(host.trunk) == 0:
        raise IncompatibleError(
            f"no piece of host '{config.host}' can recompute its activations",
            hint="leave checkpointing off, or take a sequence host: conv1d, attention1d",
        )
    return host


def offered(host: Host, taught: Sequence[str] = ()) -> tuple[Blueprint, ...]:
    """The blueprints of the policy's head on a host, in order: those a run is taught, or its domain's.

    Raises UnknownNameError.
    """
    return tuple(blueprints.get(name) for name in taught or OFFERED[host.domain])


def heads_of(config: TrainConfig) -> Heads:
    """The policy's head layout for the run's host: over the slots of the host, as it will run on a device."""
    host = new_host(config, 0)
    return Heads(slots=host.slots, blueprints=len(offered(host, config.taught)))


def environment(
    config: TrainConfig,
    episode: Episode,
    *,
    seed: int,
    budget: GrowthBudget | None = None,
    audit: AuditLog | None = None,
    allocator: Allocator | None = None,
) -> GrowthEnv:
    """An episode on a fresh host; without a budget the profile's default one, without a log one in memory.

    ``allocator``: see `GrowthEnv`.
    """
    host, pricer = new_host(config, seed), Pricer(config.profile)
    return GrowthEnv(
        host=host,
        data=data_of(config.task, config.data),
        config=episode,
        blueprints=offered(host, config.taught),
        pricer=pricer,
        budget=budget or pricer.default_budget(host.layers),
        seed=seed,
        audit=audit,
        allocator=allocator,
    )


def drawn_budget(pricer: Pricer, host: Host, rng: np.random.Generator) -> GrowthBudget:
    """A budget drawn log-uniformly round the default one, so that a policy meets tight and generous ones.

    Parameters 10 to 40 times the host's, MACs 10 to 40 times, latency 1.2 to 30 times; one in ten latencies is
    below what the host takes, so that nothing may grow.
    """

    def factor(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    cost, default = pricer.price(host.layers), pricer.default_budget(host.layers)
    drawn = replace(default, params=round(factor(10, 40) * cost.params), macs=round(factor(10, 40) * cost.macs))
    return (
        drawn
        if cost.latency_ms is None
        else replace(drawn, latency_ms=(0.9 if rng.random() < 0.1 else factor(1.2, 30)) * cost.latency_ms)
    )


def regions_of(config: TrainConfig) -> tuple[Region, ...]:
    """The regions in which a run's policy grows its host; none where it looks over all of it, or another decides."""
    return divided(new_host(config, 0).slots) if config.growth == POLICY else ()


def decider(
    method: str, *, seed: int, heads: Heads, policy: PolicyNetwork | None = None, regions: Sequence[Region] = ()
) -> Decider:
    """The decider of that name, a policy inside regions if there are any; raises UnknownNameError."""
    if method == POLICY and policy is not None:
        return RegionalPolicy(policy, slots=widest(regions)) if regions else Learned(policy)
    makers: Mapping[str, Decider] = {
        "kasmina": KasminaMicro(),
        "kasmina-drawn": KasminaMicro(drawn_settings(seed, slots=heads.slots, blueprints=heads.blueprints)),
        "random": RandomDecider(seed),
        "none": Waiting(),
    }
    if method not in makers:
        raise UnknownNameError("growth method", method, GROWTH)
    return makers[method]


def drawing_from(config: TrainConfig, *path: int | str) -> AbstractContextManager[None]:
    """Torch's own generator as if newly seeded for one job: a process may have done other jobs before it."""
    return initialising(derive(config.seed, "torch", *path))


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeResult:
    """What an episode of the collection left."""

    method: str
    outcome: Outcome
    experience: Experience


def collect(
    config: TrainConfig,
    method: str,
    index: int,
    policy: Mapping[str, Tensor] | None = None,
    counter: Counter | None = None,
) -> EpisodeResult:
    """Play episode number ``index``; hosts take turns, so that methods meet the same ones."""
    seed = derive(config.seed, "collect", index % HOSTS)
    pricer, host = Pricer(config.profile), new_host(config, seed)
    rng = np.random.default_rng(derive(config.seed, "budget", index))
    budget = None if policy is not None else drawn_budget(pricer, host, rng)
    allocator = None if policy is None else shipped.allocator()
    env = environment(config, config.collect, seed=seed, budget=budget, allocator=allocator)
    network = None if policy is None else rebuilt(policy, env.heads)
    env.trainer.on_step = counter
    chosen = decider(
        method,
        seed=derive(config.seed, "decider", index) % 2**32,
        heads=env.heads,
        policy=network,
        regions=env.steward.regions,
    )
    with drawing_from(config, "collect", index):
        experience, outcome = record(env, chosen, group=index % HOSTS)
    return EpisodeResult(method=method, outcome=outcome, experience=experience)


def rebuilt(state: Mapping[str, Tensor], heads: Heads) -> PolicyNetwork:
    """A policy network with the given weights, in eval mode."""
    with initialising(0):
        network = PolicyNetwork(heads)
    network.load_state_dict(dict(state))
    return network.eval()


def static(
    config: TrainConfig,
    topology: Mapping[int, str],
    inner: Mapping[str, str] | None = None,
    counter: Counter | None = None,
) -> NetworkResult:
    """What comes of `trained`."""
    trainer = trained(config, topology, inner, counter)
    return network_result(trainer.network, trainer.data, trainer.training_macs, config.final.total_steps)


def trained(
    config: TrainConfig,
    topology: Mapping[int, str],
    inner: Mapping[str, str] | None = None,
    counter: Counter | None = None,
) -> Trainer:
    """Train a fixed topology from the same start, by the same steps; ``inner``: seeds inside seeds, by path."""
    seed = derive(config.seed, "final")
    host, data = new_host(config, seed), data_of(config.task, config.data)
    with drawing_from(config, "static"):
        return train_static(host, topology, data, config.final, inner=inner or {}, seed=seed, on_step=counter)
