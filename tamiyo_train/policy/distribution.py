"""The factorised distribution over actions, for batches: masked softmaxes chained as in `actions`.

p(action) = p(operation) p(slot | operation) p(blueprint | slot) p(intensity | blueprint). With a ``floor`` every factor
is mixed with the uniform one over what its mask allows: no choice dies out while there is something to learn about it,
which a bonus for entropy cannot promise, since its gradient vanishes where a probability does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from tamiyo_runtime.contracts.observation import Heads, Operation
from tamiyo_train.policy.network import HeadViews
from tamiyo_train.population.growth_state import Seen

Tensor = torch.Tensor
FACTORS = ("operation", "slot", "blueprint", "intensity")


@dataclass(frozen=True, slots=True)
class ActionDistribution:
    """Heads of N rows with their masks; ``floor`` in 0..1."""

    heads: Mapping[str, Tensor]
    seen: Seen
    floor: float

    @staticmethod
    def of(output: Tensor, seen: Seen, layout: Heads, *, floor: float = 0.0) -> ActionDistribution:
        """From the network's output (N, layout.size)."""
        return ActionDistribution(HeadViews(layout)(output), seen, floor)

    def choose(self, rng: torch.Generator | None = None) -> Tensor:
        """Actions (N, 4): the likeliest factor by factor, or drawn; what means nothing to an operation is arbitrary."""

        def pick(p: Tensor) -> Tensor:
            return p.argmax(1) if rng is None else torch.multinomial(p, 1, generator=rng)[:, 0]

        chosen: list[Tensor] = []
        for factor in self._factors(lambda number: chosen[number]):
            chosen.append(pick(factor[0]))
        return torch.stack(chosen, 1)

    def log_probability(self, actions: Tensor) -> Tensor:
        """ln p of actions (N, 4), (N,)."""
        total = torch.zeros(len(actions), device=actions.device)
        for number, (p, means) in enumerate(self._factors(lambda number: actions[:, number])):
            picked = p.gather(1, actions[:, number : number + 1])[:, 0]
            total = total + torch.where(means, picked.clamp_min(1e-12).log(), 0.0)
        return total

    def entropies(self, actions: Tensor) -> Tensor:
        """Entropy of every factor along the path of the actions, over ln of its choices: (N, factors), NaN where a
        factor means nothing or leaves no choice.
        """
        columns = []
        for p, means in self._factors(lambda number: actions[:, number]):
            choices = (p > 0).sum(1)
            plain = -(p * p.clamp_min(1e-12).log()).sum(1) / choices.clamp_min(2).log()
            columns.append(torch.where(means & (choices > 1), plain, torch.nan))
        return torch.stack(columns, 1)

    def divergence(self, other: ActionDistribution, actions: Tensor) -> Tensor:
        """KL to another distribution along the path of the actions, nats, (N,)."""
        total = torch.zeros(len(actions), device=actions.device)
        both = zip(
            self._factors(lambda number: actions[:, number]),
            other._factors(lambda number: actions[:, number]),
            strict=True,
        )
        for (p, means), (q, _) in both:
            kl = (p * (p.clamp_min(1e-12).log() - q.clamp_min(1e-12).log())).sum(1)
            total = total + torch.where(means, kl, 0.0)
        return total

    def _factors(self, chosen: Callable[[int], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Probabilities (N, choices) of each factor, given the choices before it, and where it means something (N,)."""
        heads, seen, rows = self.heads, self.seen, torch.arange(len(self.seen.vector), device=self.seen.vector.device)
        yield self._mixed(heads["operation"], seen.operation_mask), torch.ones_like(rows, dtype=torch.bool)
        operation = chosen(0)
        acts, grows = operation != Operation.WAIT, operation == Operation.GERMINATE
        yield self._mixed(heads["slot"][rows, operation], seen.slot_mask[rows, operation]), acts
        slot = chosen(1)
        yield self._mixed(heads["blueprint"][rows, slot], seen.blueprint_mask[rows, slot]), grows
        eager = heads["intensity"][rows, chosen(2)]
        yield self._mixed(eager, torch.ones_like(eager, dtype=torch.bool)), grows

    def _mixed(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Probabilities over what the mask allows; a row that allows nothing is asked of nobody, and uniform."""
        open_ = torch.where(mask.any(1, keepdim=True), mask, True)
        p = torch.where(open_, logits, -torch.inf).softmax(1)
        uniform = open_ / open_.sum(1, keepdim=True)
        return (1 - self.floor) * p + self.floor * uniform
