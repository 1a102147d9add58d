"""Deciders for all lanes at once: the plateau heuristic with settings a lane, chance, waiting, the policy network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, INTENSITIES, SLOT_FEATURES, Operation
from tamiyo_train.policy.distribution import ActionDistribution
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.population.growth_state import Seen

Tensor = torch.Tensor
DEAREST = -1
"""A preference for the blueprint that would add most parameters."""
_LOSS = GLOBAL_FEATURES.index("loss_level")
_AGE = SLOT_FEATURES.index("age")


class LaneDecider(Protocol):
    """Decides for N lanes, (N, 4) int64: operation, slot, blueprint, intensity. Begin an episode with a new one."""

    def decide(self, seen: Seen) -> Tensor:
        """Legal actions."""


class Waiting:
    """Never grows."""

    def decide(self, seen: Seen) -> Tensor:
        """WAIT in every lane."""
        return torch.zeros(len(seen.vector), 4, dtype=torch.int64, device=seen.vector.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a plateau heuristic grows: see `baselines.KasminaSettings` for the first five.

    ``preferred``: number of the blueprint tried first, or `DEAREST`, others by size; ``forward``: fill the first slot
    first; ``seeds``: at most so many; ``start``: first decision at which it may germinate.
    """

    patience: int = 0
    improvement: float = 0.15
    intensity: int = 2
    mature: float = 0.0
    trial: float = 0.5
    preferred: int = DEAREST
    forward: bool = True
    seeds: int = 3
    start: int = 0


class Kasminas:
    """`baselines.KasminaMicro`, a habit for every lane."""

    def __init__(self, habits: Sequence[Habit], *, device: torch.device | str = "cpu") -> None:
        columns = {field.name: [getattr(habit, field.name) for habit in habits] for field in fields(Habit)}
        self._habit = {
            name: torch.tensor(
                column, dtype=torch.float64 if isinstance(column[0], float) else torch.int64, device=device
            )
            for name, column in columns.items()
        }
        self._best = torch.full((len(habits),), torch.inf, dtype=torch.float64, device=device)
        self._stale = torch.zeros(len(habits), dtype=torch.int64, device=device)
        self._decision = 0

    def decide(self, seen: Seen) -> Tensor:
        """Fossilise first, then advance, prune, and at last germinate."""
        habit, mask = self._habit, seen.slot_mask
        slots = mask.shape[2]
        self._watch(seen.vector[:, _LOSS].double())
        actions, chosen = tended(seen, mature=habit["mature"], trial=habit["trial"])
        free = mask[:, Operation.GERMINATE]
        held = slots - empty(seen)
        grows = ~chosen & free.any(1) & (self._stale >= habit["patience"]) & (self._decision >= habit["start"])
        grows &= held < habit["seeds"]
        order = torch.arange(slots, device=mask.device)
        rank = torch.where(habit["forward"][:, None] > 0, order, slots - 1 - order)
        slot = torch.where(free, rank, slots).argmin(1)
        rows = torch.arange(len(mask), device=mask.device)
        fits = seen.blueprint_mask[rows, slot]
        size = seen.params[rows, slot].double()
        size[rows, habit["preferred"].clamp_min(0)] += torch.where(habit["preferred"] >= 0, 1e9, 0.0)
        blueprint = torch.where(fits, size, -1.0).argmax(1)
        planted = torch.stack([torch.full_like(slot, int(Operation.GERMINATE)), slot, blueprint, habit["intensity"]], 1)
        self._stale = torch.where(grows, 0, self._stale)
        self._decision += 1
        return torch.where(grows[:, None], planted, actions)

    def _watch(self, loss: Tensor) -> None:
        better = (loss > 0) & (loss < self._best - self._habit["improvement"])
        self._best = torch.where(better, loss, self._best)
        self._stale = torch.where(better, 0, self._stale + 1)


class Chance:
    """Drawn from what is allowed, as `baselines.RandomDecider` draws: PRUNE a tenth as often as anything else."""

    PRUNE_WEIGHT = 0.1

    def __init__(self, seed: int, *, device: torch.device | str = "cpu") -> None:
        self._rng = torch.Generator(device=device).manual_seed(seed)

    def decide(self, seen: Seen) -> Tensor:
        """Legal actions."""
        rows = torch.arange(len(seen.vector), device=seen.vector.device)
        weights = seen.operation_mask.double()
        weights[:, Operation.PRUNE] *= self.PRUNE_WEIGHT
        operation = torch.multinomial(weights, 1, generator=self._rng)[:, 0]
        slot = self._among(seen.slot_mask[rows, operation])
        blueprint = self._among(seen.blueprint_mask[rows, slot])
        eager = torch.randint(len(INTENSITIES), rows.shape, generator=self._rng, device=rows.device)
        return torch.stack([operation, slot, blueprint, eager], 1)

    def _among(self, mask: Tensor) -> Tensor:
        weights = torch.where(mask.any(1, keepdim=True), mask, True).double()
        return torch.multinomial(weights, 1, generator=self._rng)[:, 0]


class MatchedChance:
    """Chance with the germinations of somebody else: as many, of the same kinds, at drawn times in drawn places.

    ``kinds`` (N, K): blueprints to germinate, -1 for none; what grew is advanced and fossilised when it may be.
    """

    def __init__(self, kinds: Tensor, intensities: Tensor, *, decisions: int, seed: int) -> None:
        self._rng = torch.Generator(device=kinds.device).manual_seed(seed)
        self._kinds, self._intensities = kinds, intensities
        drawn = torch.randint(decisions, kinds.shape, generator=self._rng, device=kinds.device)
        self._due = torch.where(kinds >= 0, drawn, decisions)
        self._decision = 0

    def decide(self, seen: Seen) -> Tensor:
        """Germinate what is due and fits; otherwise let seeds take the step they have earned."""
        rows = torch.arange(len(seen.vector), device=seen.vector.device)
        helper = Kasminas([Habit(seeds=0)] * len(rows), device=rows.device)
        actions = helper.decide(seen)
        due = self._due <= self._decision
        self._decision += 1
        number = due.int().argmax(1)
        kind = self._kinds[rows, number]
        fits = seen.blueprint_mask[rows, :, kind.clamp_min(0)] & seen.slot_mask[:, Operation.GERMINATE]
        grows = due.any(1) & fits.any(1) & (actions[:, 0] == Operation.WAIT)
        slot = torch.multinomial(torch.where(grows[:, None], fits, True).double(), 1, generator=self._rng)[:, 0]
        self._due[rows[grows], number[grows]] = torch.iinfo(torch.int64).max
        operation = torch.full_like(slot, int(Operation.GERMINATE))
        planted = torch.stack([operation, slot, kind.clamp_min(0), self._intensities[rows, number]], 1)
        return torch.where(grows[:, None], planted, actions)


class Networked:
    """The policy network: its most likely action head by head, or a draw when a generator is given."""

    def __init__(self, network: PolicyNetwork, rng: torch.Generator | None = None, *, floor: float = 0.0) -> None:
        self._network, self._rng, self._floor = network, rng, floor

    @torch.no_grad()
    def decide(self, seen: Seen) -> Tensor:
        """Legal actions."""
        output = self._network(seen.vector)
        return ActionDistribution.of(output, seen, self._network.heads, floor=self._floor).choose(self._rng)


def tended(seen: Seen, *, mature: Tensor, trial: Tensor) -> tuple[Tensor, Tensor]:
    """What seeds have earned, (N, 4): fossilised first, then advanced, then pruned; and where that is anything, (N,).

    ``mature`` and ``trial`` (N,): shares of the episode, see `baselines.KasminaSettings`.
    """
    mask, age = seen.slot_mask, _slot_features(seen)[..., _AGE].double()
    actions = torch.zeros(len(mask), 4, dtype=torch.int64, device=mask.device)
    chosen = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    wanted = (
        (Operation.FOSSILISE, mask[:, Operation.FOSSILISE]),
        (Operation.ADVANCE, mask[:, Operation.ADVANCE] & (age >= mature[:, None])),
        (Operation.PRUNE, mask[:, Operation.PRUNE] & (age > trial[:, None])),
    )
    for operation, where in wanted:
        takes = where.any(1) & ~chosen
        actions[:, 0] = torch.where(takes, int(operation), actions[:, 0])
        actions[:, 1] = torch.where(takes, where.int().argmax(1), actions[:, 1])
        chosen |= takes
    return actions, chosen


def empty(seen: Seen) -> Tensor:
    """Number of slots without a seed, embargoed ones included, (N,)."""
    features = _slot_features(seen)
    names = ("is_free", "is_embargoed")
    return torch.stack([features[..., SLOT_FEATURES.index(name)] for name in names]).sum((0, 2)).long()


def _slot_features(seen: Seen) -> Tensor:
    """(N, S, features)."""
    return seen.vector[:, len(GLOBAL_FEATURES) :].reshape(len(seen.vector), -1, len(SLOT_FEATURES))
