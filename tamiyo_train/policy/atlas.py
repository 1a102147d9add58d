"""What growing each topology comes to: measured once on the training levels, where nothing is limited.

A budget forbids topologies and a device prices them, but neither changes what one learns. So one survey of all
topologies on a level tells what pays there under any budget on any device, which no sample of habits under drawn
budgets does: there, most episodes say nothing about most budgets.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.lane_deciders import tended
from tamiyo_train.policy.rollout import drawn_lanes, repeated, roll
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Seen

Tensor = torch.Tensor
MATURE, TRIAL = 0.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a topology is grown: ``intensity``; ``forward``: first slot first; ``eager``: germinate before advancing."""

    intensity: int = 3
    forward: bool = False
    eager: bool = False


MANNERS = (Manner(), Manner(eager=True), Manner(intensity=4), Manner(forward=True))
LATE = (0, 2, 5, 9)
"""Decisions at which growth begins, to see what waiting costs."""


class Wanted:
    """Grows the topology that is wanted in every lane, ``codes`` (N, S), 0 for nothing, slot by slot.

    ``manners``: how, lane by lane; ``start`` (N,): first decision at which anything is germinated; ``taught``: see
    `TensorGrowth`. What does not fit is left out.
    """

    def __init__(self, codes: Tensor, manners: Sequence[Manner], start: Tensor, *, taught: Sequence[int]) -> None:
        self._codes, self._start, self._decision = codes, start, 0
        self._numbers = torch.tensor([0, *taught], device=codes.device)
        self._manners = columns(manners, codes.device)

    def decide(self, seen: Seen) -> Tensor:
        """Tend what grows, then germinate what is wanted; the other way round where that is the manner."""
        wants = self._codes * (self._decision >= self._start)[:, None]
        self._decision += 1
        return planted(seen, wants, self._manners, self._numbers)


def columns(manners: Sequence[Manner], device: torch.device) -> dict[str, Tensor]:
    """Manners of N lanes, field by field."""
    return {
        "intensity": torch.tensor([manner.intensity for manner in manners], device=device),
        "forward": torch.tensor([manner.forward for manner in manners], device=device),
        "eager": torch.tensor([manner.eager for manner in manners], device=device),
    }


def planted(seen: Seen, wants: Tensor, manners: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
    """Actions (N, 4) that tend what grows and germinate what is wanted, codes ``wants`` (N, S), where it fits.

    ``numbers`` (K,): of the blueprint of each code.
    """
    lanes, slots = wants.shape
    rows = torch.arange(lanes, device=wants.device)
    share = torch.zeros(lanes, dtype=torch.float64, device=wants.device)
    actions, chosen = tended(seen, mature=share + MATURE, trial=share + TRIAL)
    wanted = numbers[wants]
    fits = seen.blueprint_mask.gather(2, wanted[..., None])[..., 0] & (wants > 0)
    fits &= seen.slot_mask[:, Operation.GERMINATE]
    order = torch.arange(slots, device=wants.device)
    rank = torch.where(manners["forward"][:, None], order, slots - 1 - order)
    slot = torch.where(fits, rank, slots).argmin(1)
    grows = fits.any(1) & (~chosen | (manners["eager"] & (actions[:, 0] != Operation.FOSSILISE)))
    seed = [torch.full_like(slot, int(Operation.GERMINATE)), slot, wanted[rows, slot], manners["intensity"]]
    return torch.where(grows[:, None], torch.stack(seed, 1), actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Of the L levels of a family: ``worth`` (L, K) of K topologies, accuracy less the price of panics, smoothed.

    ``codes`` (K, S): the topologies, the first without a seed; ``manners`` (L, M): worth of each of `MANNERS` over the
    first; ``late`` (D,): share of a topology's gain that is left when growth begins at each decision.
    """

    codes: Tensor
    worth: Tensor
    manners: Tensor
    late: Tensor

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return {name: getattr(self, name).tolist() for name in ("codes", "worth", "manners", "late")}

    @staticmethod
    def from_json(found: Mapping[str, object]) -> Atlas:
        """What `to_json` gave."""
        return Atlas(
            codes=torch.tensor(found["codes"]),
            **{name: torch.tensor(found[name], dtype=torch.float64) for name in ("worth", "manners", "late")},
        )


def topologies(codes: Sequence[int], slots: int) -> Tensor:
    """All rows of codes, 0 among them, (K, slots); the first is all 0."""
    return torch.tensor(list(itertools.product((0, *codes), repeat=slots)))


def survey(
    env: TensorGrowth, codes: Sequence[int], *, rng: np.random.Generator, inits: range, hosts: int, decisions: int
) -> Atlas:
    """Grow all topologies of ``codes`` in all manners on ``hosts`` hosts a level, without limits."""
    all_codes = topologies(codes, env.host.slots)
    levels = len(env.tasks)
    late = _late(all_codes)
    plans = [(row, manner, 0) for manner in MANNERS for row in all_codes.tolist()]
    plans += [(row, MANNERS[0], start) for start in LATE[1:] for row in late.tolist()]
    chosen = torch.tensor([row for row, _, _ in plans], device=env.device).repeat(levels, 1)
    starts = torch.tensor([start for _, _, start in plans], device=env.device).repeat(levels)
    table = torch.zeros(levels, len(plans), dtype=torch.float64)
    for _ in range(hosts):  # one after the other, which bounds the memory
        lanes = drawn_lanes(env, rng, count=levels, inits=inits)
        lanes = replace(lanes, budget=torch.full_like(lanes.budget, torch.inf))
        decider = Wanted(chosen, [manner for _, manner, _ in plans] * levels, starts, taught=env.taught)
        result = roll(env, repeated(lanes, len(plans)), decider).result
        worth = result.accuracy - env.config.prices.safety_event * result.events.double()
        table += worth.reshape(levels, len(plans)).cpu() / hosts
    by_manner = table[:, : len(MANNERS) * len(all_codes)].reshape(levels, len(MANNERS), len(all_codes))
    begun = table[:, len(MANNERS) * len(all_codes) :].reshape(levels, len(LATE) - 1, len(late))
    return Atlas(
        codes=all_codes,
        worth=smoothed(by_manner.mean(1), all_codes),
        manners=_of_the_best(by_manner),
        late=_left(by_manner[:, 0], begun, all_codes, late, decisions),
    )


def smoothed(worth: Tensor, codes: Tensor, *, ridge: float = 2.0) -> Tensor:
    """Worth (L, K) by a ridge regression on what is in each slot and in each pair of them, which shares noise out."""
    kinds = int(codes.max()) + 1
    each = torch.nn.functional.one_hot(codes, kinds)[..., 1:].double()
    pairs = [
        (each[:, a, :, None] * each[:, b, None, :]).flatten(1)
        for a, b in itertools.combinations(range(codes.shape[1]), 2)
    ]
    filled = (codes > 0).sum(1)
    counts = torch.nn.functional.one_hot(filled, codes.shape[1] + 1)[:, 1:].double()
    design = torch.cat([counts, each.flatten(1), *pairs], 1)
    mean, target = design.mean(0), worth.double()
    centred = design - mean
    gram = centred.t() @ centred + ridge * torch.eye(design.shape[1], dtype=torch.float64)
    middle = target.mean(1, keepdim=True)
    weights = torch.linalg.solve(gram, centred.t() @ (target - middle).t())
    found: Tensor = middle + (centred @ weights).t()
    return found


def _of_the_best(by_manner: Tensor) -> Tensor:
    """Worth of the manners over the first, (L, M), of the quarter of topologies that are best on a level."""
    best = by_manner.mean(1).topk(by_manner.shape[2] // 4, dim=1).indices
    means = by_manner.gather(2, best[:, None].expand(-1, by_manner.shape[1], -1)).mean(2)
    return means - means[:, :1]


def _late(codes: Tensor) -> Tensor:
    """Topologies to be begun late: one seed of each kind in the last slot, and the same in every slot."""
    kinds = range(1, int(codes.max()) + 1)
    rows = [[0] * (codes.shape[1] - 1) + [kind] for kind in kinds] + [[kind] * codes.shape[1] for kind in kinds]
    known = {tuple(row) for row in codes.tolist()}
    return torch.tensor([row for row in rows if tuple(row) in known])


def _left(at_once: Tensor, begun: Tensor, codes: Tensor, late: Tensor, decisions: int) -> Tensor:
    """Share of the gain that is left by decision, over all levels: measured at `LATE`, nought at the end."""
    where = [codes.tolist().index(row) for row in late.tolist()]
    host = at_once[:, :1]
    whole = float((at_once[:, where] - host).sum())
    shares = [1.0]
    for number in range(len(LATE) - 1):
        part = float((begun[:, number] - host).sum())
        shares.append(min(shares[-1], max(0.0, part / whole)) if whole > 0 else shares[-1])
    found = np.interp(np.arange(decisions), [*LATE, max(decisions - 2, LATE[-1] + 1)], [*shares, 0.0])
    return torch.from_numpy(found)
