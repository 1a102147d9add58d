"""What the benchmark of regions shares: hosts of 12 to 16 slots, budgets that bind, and who plays there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from tamiyo_train.hosts import Host, hosts
from tamiyo_train.policy.lane_deciders import Habit, Kasminas, LaneDecider, Networked, Waiting
from tamiyo_train.policy.levels import EPISODE, FAMILIES, growth
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.rollout import drawn_lanes
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.regions import shipped as shipped_allocator
from tamiyo_train.regions.allocators import Allocator, ByNeed, Even
from tamiyo_train.regions.deciding import Acting
from tamiyo_train.regions.lanes import RegionalLanes
from tamiyo_train.regions.learned import Learned, SplitWorth

LONG = replace(EPISODE, decisions=30)
"""A seed takes three operations: with more slots to fill there are more decisions, in as many steps."""
TRAINING, HELD_OUT = range(30_000, 30_400), range(40_000, 40_400)
"""Seeds of weights: to learn from and choose by, and to be judged on."""
LEARNED = "learned.safetensors"
Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep:
    """A family of tasks on a host with many slots. ``taught``: the allocator learned on it."""

    family: str
    depth: int
    width: int
    taught: bool = True

    def build(self) -> Callable[[], Host]:
        """Makes its hosts."""
        family = FAMILIES[self.family]
        make = hosts.get(family.host)
        return functools.partial(
            make, shape=(family.inputs,), classes=family.classes, width=self.width, depth=self.depth
        )


DEEP = {
    "spirals": Deep(family="spirals", depth=12, width=6),
    "checkerboard": Deep(family="checkerboard", depth=16, width=6),
    "clusters": Deep(family="clusters", depth=14, width=4, taught=False),
}


class Drawn:
    """Splits drawn at random, a new one each time: even on average, from one region takes all to all alike."""

    name = "drawn"

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def shares(self, telemetry: Tensor) -> Tensor:
        """Dirichlet of concentration 1, and a total of 0.3 to 1."""
        lanes, regions = telemetry.shape[:2]
        split = self._rng.dirichlet(np.ones(regions), lanes) * self._rng.uniform(0.3, 1.0, (lanes, 1))
        return torch.from_numpy(split).to(telemetry.device)


class Last:
    """Everything to the region nearest to the answer: is there more to the learned allocator than this?"""

    name = "last"

    def shares(self, telemetry: Tensor) -> Tensor:
        """0, ..., 0, 1."""
        found = torch.zeros(telemetry.shape[:2], dtype=torch.float64, device=telemetry.device)
        found[:, -1] = 1.0
        return found


def environment(deep: Deep, *, held_out: bool, device: str, steps: int) -> TensorGrowth:
    """Episodes of a family on all its training or held-out levels."""
    family = FAMILIES[deep.family]
    data = family.held_out_data() if held_out else family.training_data()
    return growth(deep.build(), data, device=device, episode=replace(LONG, steps=steps))


def lanes_of(env: TensorGrowth, rng: np.random.Generator, *, count: int, inits: range) -> Lanes:
    """Lanes with budgets that bind: room for the cost of 1 to S seeds of middling size, on drawn profiles.

    Every limit lies above the bare host by a factor of its own on the same number of seeds, 0.7 to 2.
    """
    lanes = drawn_lanes(env, rng, count=count, inits=inits)
    slots = env.host.slots
    host = env.table.host.cpu()[lanes.profile]
    typical = env.table.parts.cpu()[lanes.profile, :, 1:].mean((1, 2))
    seeds = np.exp(rng.uniform(0.0, np.log(slots), count))[:, None]
    factors = torch.from_numpy(seeds * np.exp(rng.uniform(np.log(0.7), np.log(2.0), (count, host.shape[1]))))
    budget = host + factors * typical
    budget[:, :2] = budget[:, :2].round()
    budget[:, 4] = torch.inf
    return replace(lanes, budget=budget)


def methods(env: TensorGrowth, policy: PolicyNetwork, learned: Allocator) -> dict[str, Callable[[], LaneDecider]]:
    """Fresh deciders by name."""

    def regional(allocator: Allocator, acting: Acting = Acting.PLACE) -> Callable[[], LaneDecider]:
        return lambda: RegionalLanes(env, policy, allocator, acting=acting)

    flat = policy.with_slots(env.host.slots).to(env.device)
    found: dict[str, Callable[[], LaneDecider]] = {
        "none": Waiting,
        "flat": lambda: Networked(flat),
        "even": regional(Even()),
        "by-need": regional(ByNeed()),
        "even-turns": regional(Even(), Acting.TURNS),
        "even-surest": regional(Even(), Acting.SUREST),
        "learned": regional(learned),
        "last": regional(Last()),
        "drawn": regional(Drawn(3)),
        "kasmina": lambda: Kasminas([Habit(forward=False, seeds=env.host.slots)] * len(env.task), device=env.device),
    }
    return found


def room_of(env: TensorGrowth, lanes: Lanes) -> list[float]:
    """Seeds of middling size that each lane's budget has room for, by the tightest limit."""
    host, parts = env.table.host.cpu()[lanes.profile], env.table.parts.cpu()[lanes.profile, :, 1:]
    return ((lanes.budget - host) / parts.mean((1, 2)))[:, :4].amin(1).round(decimals=2).tolist()


def learned_of(out: Path | None, device: str) -> Allocator:
    """The learned allocator of this folder if one was taught there, else the shipped one."""
    if out is None or not (out / LEARNED).exists():
        return shipped_allocator.allocator().to(device)
    network = SplitWorth()
    network.load_state_dict(load_file(out / LEARNED))
    return Learned(network).to(device)
