"""The hierarchy for all lanes at once: a slow allocator over regions, the policy network inside each of them.

Every `EVERY` decisions the allocator splits what is left of the budget. At every decision the policy looks at each
region by itself, masked by the region's account, and `deciding` says which of them acts: an operation a window, as
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.distribution import ActionDistribution
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Seen
from tamiyo_train.regions.accounts import limits_of
from tamiyo_train.regions.allocators import EVERY, Allocator
from tamiyo_train.regions.deciding import Acting
from tamiyo_train.regions.division import Region, divide, widest
from tamiyo_train.regions.telemetry import pooled, views

Tensor = torch.Tensor


class RegionalLanes:
    """A `LaneDecider` for one episode of ``env``.

    ``splits``: telemetry and shares of each split so far; ``limits``: (N, R, limits), of the regions at present.
    """

    def __init__(
        self,
        env: TensorGrowth,
        network: PolicyNetwork,
        allocator: Allocator,
        *,
        regions: Sequence[Region] | None = None,
        every: int = EVERY,
        acting: Acting = Acting.PLACE,
    ) -> None:
        self.env, self.allocator, self.every, self.acting = env, allocator, every, acting
        self.regions = tuple(divide(env.host.slots) if regions is None else regions)
        self.splits: list[tuple[Tensor, Tensor]] = []
        self._network = network.with_slots(widest(self.regions)).to(env.device)
        self._decision = 0

    @torch.no_grad()
    def decide(self, seen: Seen) -> Tensor:
        """Legal actions, (N, 4), that keep every region to its account."""
        env = self.env
        own = self._own()
        if self._decision % self.every == 0:
            host = env.table.host[env.profile]
            telemetry = pooled(seen.vector, self.regions, budget=env.budget, host=host, own=own)
            shares = self.allocator.shares(telemetry)
            self.splits.append((telemetry, shares))
            self.limits = limits_of(env.budget, cost=env.cost, own=own, shares=shares)
        seen_inside = views(seen.vector, self.regions, own=own, limits=self.limits, without=self._without())
        fits = seen.blueprint_mask & self._within()
        actions, doubts, places = [], [], []
        for region, vector in zip(self.regions, seen_inside, strict=True):
            inside = _inside(seen, fits, region, vector, widest(self.regions))
            chosen = ActionDistribution.of(self._network(vector), inside, self._network.heads)
            action = chosen.choose()
            rows = torch.arange(len(action), device=action.device)
            operations = torch.where(inside.operation_mask, chosen.heads["operation"], -torch.inf).double()
            doubts.append(operations.softmax(1)[:, Operation.WAIT])
            places.append(chosen.heads["slot"][rows, action[:, 0], action[:, 1]].double())
            action[:, 1] += region.start
            actions.append(action)
        found = torch.stack(actions, 1)
        acting = self._acting(found[..., 0], torch.stack(doubts, 1), torch.stack(places, 1))
        self._decision += 1
        rows = torch.arange(len(found), device=found.device)
        return torch.where((found[..., 0] != Operation.WAIT).any(1)[:, None], found[rows, acting], 0)

    def _acting(self, operations: Tensor, doubts: Tensor, places: Tensor) -> Tensor:
        """Which region acts, (N,), given what the policy would do in each (N, R); arbitrary where all wait."""
        acts = operations != Operation.WAIT
        count = len(self.regions)
        if self.acting is Acting.TURNS:
            order = (torch.arange(count, device=acts.device) - self._decision) % count
            return torch.where(acts, order, count).argmin(1)
        surest = torch.where(acts, doubts, torch.inf).argmin(1)
        if self.acting is Acting.SUREST:
            return surest
        same = acts & (operations == operations.gather(1, surest[:, None]))
        return torch.where(same, places, -torch.inf).argmax(1)

    def _codes(self, region: Region) -> Tensor:
        """Codes of a region's seeds, the others taken out."""
        codes = torch.zeros_like(self.env.slots.code)
        codes[:, region.start : region.stop] = self.env.slots.code[:, region.start : region.stop]
        return codes

    def _own(self) -> Tensor:
        return torch.stack([self.env.table.of_lanes(self.env.profile, self._codes(r)) for r in self.regions], 1)

    def _without(self) -> Tensor:
        found = []
        for region in self.regions:
            for slot in region.slots:
                codes = self._codes(region)
                codes[:, slot] = 0
                found.append(self.env.table.of_lanes(self.env.profile, codes))
        return torch.stack(found, 1)

    def _within(self) -> Tensor:
        """Whether a blueprint in a free slot leaves the slot's region within its limit, (N, S, B)."""
        env = self.env
        within = torch.zeros(*env.slots.code.shape, env.heads.blueprints, dtype=torch.bool, device=env.device)
        for number, region in enumerate(self.regions):
            codes, limit = self._codes(region), self.limits[:, number]
            for slot in region.slots:
                for code, blueprint in enumerate(env.taught, 1):
                    grown = codes.clone()
                    grown[:, slot] = code
                    within[:, slot, blueprint] = (env.table.of_lanes(env.profile, grown) <= limit).all(1)
        return within


def _inside(seen: Seen, fits: Tensor, region: Region, vector: Tensor, slots: int) -> Seen:
    """What the policy is shown of a region, padded to so many slots."""
    where, missing = slice(region.start, region.stop), slots - len(region)
    slot_mask = seen.slot_mask[:, :, where].clone()
    slot_mask[:, Operation.GERMINATE] &= fits[:, where].any(2)
    return Seen(
        vector=vector,
        slot_mask=torch.nn.functional.pad(slot_mask, (0, missing)),
        blueprint_mask=torch.nn.functional.pad(fits[:, where], (0, 0, 0, missing)),
        params=torch.nn.functional.pad(seen.params[:, where], (0, 0, 0, missing)),
    )
