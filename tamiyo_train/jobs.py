"""The pieces of a training run that can be done side by side, each a pure function of plain data.

Seeds: everything is derived from the run's seed and the job's place in the run, so a job gives the same result in any
process, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation
from tamiyo_train.blueprints import OFFERED, Blueprint, blueprints
from tamiyo_train.config import Episode, TrainConfig
from tamiyo_train.data import Tensors, data_of, task_of
from tamiyo_train.env import GrowthEnv, Outcome, WindowReport
from tamiyo_train.evaluation import configurations, paired_accuracy_gain, score, without
from tamiyo_train.footprint import Footprint
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.policy.actions import Decider
from tamiyo_train.policy.baselines import KasminaMicro, RandomDecider, Waiting, drawn_settings
from tamiyo_train.policy.experience import Experience, Recorder, record
from tamiyo_train.policy.imitation import Learned
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.pricing import GrowthBudget, Pricer
from tamiyo_train.run import ConfigurationRecord, NetworkResult, SeedRecord, WindowRecord
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.static import train_static

HOSTS = 2
"""Hosts that the collected episodes grow in turn."""
GROWTH = ("policy", "kasmina", "random", "none")
Tensor = torch.Tensor


def new_host(config: TrainConfig, seed: int) -> Host:
    """A freshly initialised host for the run's task."""
    task, build = task_of(config.task), hosts.get(config.host)
    with initialising(derive(seed, "host")):
        return build(shape=task.input.shape, classes=len(task.classes), width=config.width)


def offered(host: Host) -> tuple[Blueprint, ...]:
    """The blueprints of the policy's head on a host, in order."""
    return tuple(blueprints.get(name) for name in OFFERED[host.domain])


def heads_of(config: TrainConfig) -> Heads:
    """The policy's head layout for the run's host."""
    host = new_host(config, 0)
    return Heads(slots=host.slots, blueprints=len(offered(host)))


def environment(config: TrainConfig, episode: Episode, *, seed: int, budget: GrowthBudget | None = None) -> GrowthEnv:
    """An episode on a fresh host; without a budget the profile's default one."""
    host, pricer = new_host(config, seed), Pricer(config.profile)
    return GrowthEnv(
        host=host,
        data=data_of(config.task),
        config=episode,
        blueprints=offered(host),
        pricer=pricer,
        budget=budget or pricer.default_budget(host.layers),
        seed=seed,
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


def decider(method: str, *, seed: int, heads: Heads, policy: PolicyNetwork | None = None) -> Decider:
    """The decider of that name; raises UnknownNameError."""
    if method == "policy" and policy is not None:
        return Learned(policy)
    makers: Mapping[str, Decider] = {
        "kasmina": KasminaMicro(),
        "kasmina-drawn": KasminaMicro(drawn_settings(seed, slots=heads.slots, blueprints=heads.blueprints)),
        "random": RandomDecider(seed),
        "none": Waiting(),
    }
    if method not in makers:
        raise UnknownNameError("growth method", method, GROWTH)
    return makers[method]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeResult:
    """What an episode of the collection left."""

    method: str
    outcome: Outcome
    experience: Experience


def collect(config: TrainConfig, method: str, index: int, policy: Mapping[str, Tensor] | None = None) -> EpisodeResult:
    """Play episode number ``index``; hosts take turns, so that methods meet the same ones."""
    seed = derive(config.seed, "collect", index % HOSTS)
    pricer, host = Pricer(config.profile), new_host(config, seed)
    rng = np.random.default_rng(derive(config.seed, "budget", index))
    budget = None if policy is not None else drawn_budget(pricer, host, rng)
    env = environment(config, config.collect, seed=seed, budget=budget)
    network = None if policy is None else rebuilt(policy, env.heads)
    chosen = decider(method, seed=derive(config.seed, "decider", index) % 2**32, heads=env.heads, policy=network)
    experience, outcome = record(env, chosen, group=index % HOSTS)
    return EpisodeResult(method=method, outcome=outcome, experience=experience)


def rebuilt(state: Mapping[str, Tensor], heads: Heads) -> PolicyNetwork:
    """A policy network with the given weights, in eval mode."""
    with initialising(0):
        network = PolicyNetwork(heads)
    network.load_state_dict(dict(state))
    return network.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """The final episode: the committed network, its record, and what the decider saw."""

    network: dict[str, Tensor]
    seeds: tuple[SeedRecord, ...]
    history: tuple[WindowRecord, ...]
    audit: tuple[dict[str, object], ...]
    configurations: tuple[ConfigurationRecord, ...]
    result: NetworkResult
    experience: Experience
    outcome: Outcome


def grow(config: TrainConfig, method: str, policy: Mapping[str, Tensor] | None) -> Grown:
    """Run the final episode, in which ``method`` makes the decisions."""
    env = environment(config, config.final, seed=derive(config.seed, "final"))
    network = None if policy is None else rebuilt(policy, env.heads)
    recorder = Recorder(decider(method, seed=derive(config.seed, "decider") % 2**32, heads=env.heads, policy=network))
    while not env.done:
        env.act(recorder.decide(env.observe()))
    outcome = env.finish()
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    return Grown(
        network=_state(env.network),
        seeds=tuple(_seed_record(env, slot) for slot in outcome.fossilised),
        history=tuple(_window_record(window, names) for window in env.windows),
        audit=tuple(asdict(entry) for entry in env.audit.entries),
        configurations=configurations(env.network, env.trainer.data),
        result=_result(env.network, env.trainer.data, env.trainer.training_macs, config.final.total_steps),
        experience=recorder.experience(env.windows, outcome),
        outcome=outcome,
    )


def static(config: TrainConfig, topology: Mapping[int, str]) -> NetworkResult:
    """Train a fixed topology from the same start, by the same steps."""
    seed = derive(config.seed, "final")
    trainer = train_static(new_host(config, seed), topology, data_of(config.task), config.final, seed=seed)
    return _result(trainer.network, trainer.data, trainer.training_macs, config.final.total_steps)


def _state(network: GrownNetwork) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _result(network: GrownNetwork, data: Tensors, training_macs: int, steps: int) -> NetworkResult:
    cost = Footprint.of(layer for piece in network.graphs() for layer in piece)
    return NetworkResult(
        test_accuracy=score(network, data.test).accuracy,
        validation_accuracy=score(network, data.validation).accuracy,
        params=cost.params,
        macs=cost.macs,
        training_macs=training_macs,
        steps=steps,
    )


def _seed_record(env: GrowthEnv, slot: int) -> SeedRecord:
    network, split = env.network, env.trainer.data.validation
    seed, alphas = network.seed_at(slot), network.alphas()
    gain, low = paired_accuracy_gain(
        score(network, split), score(network, split, without(alphas, slot)), confidence=env.config.confidence
    )
    own = Footprint.of(seed.blueprint.layers(network.host.places[slot]))
    return SeedRecord(
        slot=slot,
        blueprint=seed.blueprint.name,
        rate=seed.rate,
        contribution=gain,
        contribution_low=low,
        params=own.params,
        macs=own.macs,
    )


def _window_record(window: WindowReport, names: Sequence[str]) -> WindowRecord:
    action = window.action
    acts, grows = action.operation is not Operation.WAIT, action.operation is Operation.GERMINATE
    return WindowRecord(
        step=window.step,
        operation=action.operation.name.lower(),
        slot=action.slot if acts else None,
        blueprint=names[action.blueprint] if grows else None,
        intensity=INTENSITIES[action.intensity] if grows else None,
        loss=window.loss,
        accuracy=window.accuracy,
        params=window.params,
        drift=window.drift,
        panics=window.panics,
    )
