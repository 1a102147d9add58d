"""What several tests of growth use."""

from __future__ import annotations

import numpy as np
import torch

from simulators.episodes.links import Links
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train import telemetry
from tamiyo_train.config import Episode
from tamiyo_train.env import GrowthEnv
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.policy.actions import Action
from tamiyo_train.seeding import initialising

SHORT = Episode(steps=32, decisions=8, consolidation_steps=8, batch=32, blend_windows=0.5)


def new_host(seed: int = 0) -> Host:
    """A freshly initialised host for digits."""
    with initialising(seed):
        return hosts.get("dsconv")(shape=(1, 8, 8), classes=10, width=4)


def quiet_links(devices: int) -> Links:
    """Without a limit and without a report."""
    still = np.zeros(devices)
    return Links(
        burst_s=still + np.inf,
        rate=still,
        airtime_s=still,
        report_s=still + 1e9,
        falls=still,
        returns=still + 1,
        devices=np.arange(devices),
        seed=1,
    )


def germinate(slot: int, blueprint: int = 3) -> Action:
    """A seed of a kind into a slot, at middling intensity."""
    return Action(operation=Operation.GERMINATE, slot=slot, blueprint=blueprint, intensity=2)


def slot_of(env: GrowthEnv, slot: int, **keywords: float) -> dict[str, float]:
    """What telemetry says of a slot now."""
    return telemetry.slot_features(env.trainer, telemetry.read(env.network, env.trainer), slot, **keywords)


def tensors_of(env: GrowthEnv) -> dict[str, torch.Tensor]:
    """Everything training changes, cloned: weights, buffers, moments, generators."""
    found = {name: tensor.clone() for name, tensor in env.network.state_dict().items()}
    for group in env.trainer.optimiser.param_groups:
        for index, param in enumerate(group["params"]):
            for key, value in env.trainer.optimiser.state.get(param, {}).items():
                found[f"optimiser/{group['name']}/{index}/{key}"] = value.clone()
    for name, made in env.trainer.generators.items():
        found[f"generator/{name}"] = made.get_state().clone()
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit by bit, NaN included."""
    return a.keys() == b.keys() and all(_bits(a[name]) == _bits(b[name]) for name in a)


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()
