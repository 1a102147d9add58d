"""What growing each topology comes to: measured once on the training levels, where nothing is limited.

A budget forbids topologies and a device prices them, but neither changes what one learns. So one survey of topologies
on a level tells what pays there under any budget on any device, which no sample of habits under drawn budgets does:
there, most episodes say nothing about most budgets.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.lane_deciders import tended
from tamiyo_train.policy.rollout import drawn_lanes, roll
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes, Seen

Tensor = torch.Tensor
INTENSITY, MATURE, TRIAL = 3, 0.0, 0.5
"""How the atlas is grown: the settings of the tuned heuristic."""
LATE = (0, 2, 5, 9)
"""Decisions at which growth begins, to see what waiting costs."""


class Wanted:
    """Grows the topology that is wanted in every lane, ``codes`` (N, S), 0 for nothing, the last slot first.

    ``start`` (N,): first decision at which anything is germinated; ``taught``: see `TensorGrowth`. What does not fit is
    left out.
    """

    def __init__(self, codes: Tensor, start: Tensor, *, taught: Sequence[int]) -> None:
        self._codes, self._start, self._decision = codes, start, 0
        self._numbers = torch.tensor([0, *taught], device=codes.device)

    def decide(self, seen: Seen) -> Tensor:
        """Tend what grows, then germinate what is wanted."""
        wants = self._codes * (self._decision >= self._start)[:, None]
        self._decision += 1
        return planted(seen, wants, self._numbers)


def planted(seen: Seen, wants: Tensor, numbers: Tensor) -> Tensor:
    """Actions (N, 4) that tend what grows, and germinate what is wanted, codes ``wants`` (N, S), where it fits.

    ``numbers`` (K,): of the blueprint of each code.
    """
    lanes, slots = wants.shape
    rows = torch.arange(lanes, device=wants.device)
    share = torch.zeros(lanes, dtype=torch.float64, device=wants.device)
    actions, chosen = tended(seen, mature=share + MATURE, trial=share + TRIAL)
    wanted = numbers[wants]
    fits = seen.blueprint_mask.gather(2, wanted[..., None])[..., 0] & (wants > 0)
    fits &= seen.slot_mask[:, Operation.GERMINATE]
    slot = torch.where(fits, slots - 1 - torch.arange(slots, device=wants.device), slots).argmin(1)
    grows = fits.any(1) & ~chosen
    eager = torch.full_like(slot, INTENSITY)
    seed = [torch.full_like(slot, int(Operation.GERMINATE)), slot, wanted[rows, slot], eager]
    return torch.where(grows[:, None], torch.stack(seed, 1), actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Of the L levels of a family: ``gain`` (L, K) of K topologies over the bare host, accuracy less panics' price.

    ``codes`` (K, S): the topologies, the first without a seed; ``late`` (D,): share of a gain that is left when growth
    begins at each decision.
    """

    codes: Tensor
    gain: Tensor
    late: Tensor

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return {name: getattr(self, name).tolist() for name in ("codes", "gain", "late")}

    @staticmethod
    def from_json(found: Mapping[str, object]) -> Atlas:
        """What `to_json` gave."""
        numbers = {name: torch.tensor(found[name], dtype=torch.float64) for name in ("gain", "late")}
        return Atlas(codes=torch.tensor(found["codes"]), **numbers)


def topologies(codes: Sequence[int], slots: int) -> Tensor:
    """All rows of codes, 0 among them, (K, slots); the first is all 0."""
    return torch.tensor(list(itertools.product((0, *codes), repeat=slots)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How much is grown: ``codes`` of the blueprints; on how many ``hosts`` a level topologies of one seed, of two, of
    three and so on; ``chunk`` episodes at a time.
    """

    codes: tuple[int, ...]
    hosts: tuple[int, ...] = (24, 8, 4)
    chunk: int = 2048


def survey(env: TensorGrowth, config: Survey, *, rng: np.random.Generator, inits: range) -> Atlas:
    """Grow all topologies without limits, each on the same hosts as the bare one."""
    codes = topologies(config.codes, env.host.slots)
    seeds = (codes > 0).sum(1).tolist()
    hosts = [config.hosts[0] if n == 0 else config.hosts[min(n, len(config.hosts)) - 1] for n in seeds]
    late = [number for number, row in enumerate(codes.tolist()) if seeds[number] == 1 and row[-1]]
    plans = [(number, 0, host) for number in range(len(codes)) for host in range(hosts[number])]
    plans += [(number, start, host) for start in LATE[1:] for number in late for host in range(config.hosts[1])]
    levels, most = len(env.tasks), config.hosts[0]
    drawn = drawn_lanes(env, rng, count=levels * most, inits=inits)  # level by level within a host
    rows = [(level, *plan) for level in range(levels) for plan in plans]
    worth = _grown(env, drawn, rows, codes, config.chunk)
    table = dict(zip(rows, worth, strict=True))
    counts = torch.tensor(hosts, dtype=torch.float64)
    found = torch.zeros(levels, len(codes), dtype=torch.float64)
    begun: dict[int, list[float]] = {start: [] for start in LATE}
    for level in range(levels):
        bare = [table[level, 0, 0, host] for host in range(most)]
        for number in range(len(codes)):
            gains = [table[level, number, 0, host] - bare[host] for host in range(hosts[number])]
            found[level, number] = float(np.mean(gains))
        for start in LATE:
            gains = [table[level, n, start, host] - bare[host] for n in late for host in range(config.hosts[1])]
            begun[start].append(float(np.sum(gains)))
    shares = _shares([sum(begun[start]) for start in LATE])
    decisions = env.config.decisions
    left = np.interp(np.arange(decisions), [*LATE, max(decisions - 2, LATE[-1] + 1)], [*shares, 0.0])
    return Atlas(codes=codes, gain=smoothed(found, codes, counts), late=torch.from_numpy(left))


def _grown(
    env: TensorGrowth, drawn: Lanes, rows: Sequence[tuple[int, int, int, int]], codes: Tensor, chunk: int
) -> list[float]:
    """Worth of every row: level, number of the topology, start, host."""
    levels, found = len(env.tasks), []
    for begin in range(0, len(rows), chunk):
        part = list(rows[begin : begin + chunk])
        part += part[-1:] * (min(chunk, len(rows)) - len(part))  # the last chunk has as many, so that graphs are reused
        which = [host * levels + level for level, _, _, host in part]
        lanes = Lanes(
            task=drawn.task[which],
            init=[drawn.init[number] for number in which],
            seed=[drawn.seed[number] for number in which],
            profile=drawn.profile[which],
            budget=torch.full_like(drawn.budget[which], torch.inf),
        )
        wanted = codes[[number for _, number, _, _ in part]].to(env.device)
        starts = torch.tensor([start for _, _, start, _ in part], device=env.device)
        result = roll(env, lanes, Wanted(wanted, starts, taught=env.taught)).result
        worth = result.accuracy - env.config.prices.safety_event * result.events.double()
        found += worth.tolist()
    return found[: len(rows)]


def smoothed(gain: Tensor, codes: Tensor, counts: Tensor, *, ridge: float = 1.0, doubt: float = 6.0) -> Tensor:
    """Gains (L, K), each mean of ``counts`` (K,) hosts, drawn towards a regression: by half where there are ``doubt``.

    The regression is on how many seeds there are, what is in each slot, in each pair of slots, and in a slot alone.
    """
    kinds = int(codes.max()) + 1
    each = torch.nn.functional.one_hot(codes, kinds)[..., 1:].double()
    pairs = [
        (each[:, a, :, None] * each[:, b, None, :]).flatten(1)
        for a, b in itertools.combinations(range(codes.shape[1]), 2)
    ]
    filled = (codes > 0).sum(1)
    number = torch.nn.functional.one_hot(filled, codes.shape[1] + 1)[:, 1:].double()
    alone = each.flatten(1) * (filled == 1)[:, None]
    design = torch.cat([number, each.flatten(1), *pairs, alone], 1)
    weighted = design * counts[:, None] / counts.mean()
    gram = weighted.t() @ design + ridge * torch.eye(design.shape[1], dtype=torch.float64)
    fitted = (design @ torch.linalg.solve(gram, weighted.t() @ gain.double().t())).t()
    trust = counts / (counts + doubt)
    found: Tensor = fitted + trust * (gain - fitted)
    return found - found[:, :1]


def _shares(totals: Sequence[float]) -> list[float]:
    """What is left of the first, never more than before."""
    shares = [1.0]
    for total in totals[1:]:
        shares.append(min(shares[-1], max(0.0, total / totals[0])) if totals[0] > 0 else shares[-1])
    return shares
