"""The factorised distribution over actions, for batches: masked softmaxes chained as in `actions`.

p(action) = p(operation) p(slot | operation) p(blueprint | slot) p(intensity | blueprint). With a ``floor`` every factor
is mixed with the uniform one over what its mask allows: no choice dies out while there is something to learn about it,
which a bonus for entropy cannot promise, since its gradient vanishes where a probability does. Everything is worked out
as ln p, so that an action that a network thinks next to impossible can still be taught.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from tamiyo_runtime.contracts.observation import Heads, Operation
from tamiyo_train.policy.network import HeadViews
from tamiyo_train.population.growth_state import operations

Tensor = torch.Tensor
FACTORS = ("operation", "slot", "blueprint", "intensity")
FORBIDDEN = -1e9
"""Stands for ln 0: its exponential is 0, and 0 times it is 0 and not NaN."""


class Masked(Protocol):
    """Rows with masks: what a decider is shown, or decisions that were made."""

    @property
    def slot_mask(self) -> Tensor:
        """(N, operations, S) bool."""

    @property
    def blueprint_mask(self) -> Tensor:
        """(N, S, B) bool."""


class Factor(NamedTuple):
    """``log_p`` (N, choices), ``means`` (N,): whether the factor means something there, ``choices`` (N,) allowed."""

    log_p: Tensor
    means: Tensor
    choices: Tensor


@dataclass(frozen=True, slots=True)
class ActionDistribution:
    """Heads of N rows, ``slot_mask`` (N, operations, S) and ``blueprint_mask`` (N, S, B) bool; ``floor`` in 0..1."""

    heads: Mapping[str, Tensor]
    slot_mask: Tensor
    blueprint_mask: Tensor
    floor: float

    @staticmethod
    def of(output: Tensor, seen: Masked, layout: Heads, *, floor: float = 0.0) -> ActionDistribution:
        """From the network's output (N, layout.size) and what carries the masks."""
        return ActionDistribution(HeadViews(layout)(output), seen.slot_mask, seen.blueprint_mask, floor)

    def choose(self, rng: torch.Generator | None = None) -> Tensor:
        """Actions (N, 4): the likeliest factor by factor, or drawn; what means nothing to an operation is arbitrary."""

        def pick(log_p: Tensor) -> Tensor:
            return log_p.argmax(1) if rng is None else torch.multinomial(log_p.exp(), 1, generator=rng)[:, 0]

        chosen: list[Tensor] = []
        for factor in self._factors(lambda number: chosen[number]):
            chosen.append(pick(factor.log_p))
        return torch.stack(chosen, 1)

    def log_probability(self, actions: Tensor) -> Tensor:
        """ln p of actions (N, 4), (N,); about `FORBIDDEN` where a mask forbids one."""
        total = torch.zeros(len(actions), device=actions.device)
        for number, factor in enumerate(self._factors(lambda number: actions[:, number])):
            picked = factor.log_p.gather(1, actions[:, number : number + 1])[:, 0]
            total = total + torch.where(factor.means, picked, 0.0)
        return total

    def entropies(self, actions: Tensor) -> Tensor:
        """Entropy of every factor along the path of the actions, over ln of its choices: (N, factors), NaN where a
        factor means nothing or leaves no choice.
        """
        columns = []
        for log_p, means, choices in self._factors(lambda number: actions[:, number]):
            plain = -(log_p.exp() * log_p).sum(1) / choices.clamp_min(2).log()
            columns.append(torch.where(means & (choices > 1), plain, torch.nan))
        return torch.stack(columns, 1)

    def mean_entropy(self, actions: Tensor) -> Tensor:
        """Mean of `entropies` where there are any, (); 0 where nothing leaves a choice."""
        table = self.entropies(actions)
        found: Tensor = table.nan_to_num(0.0).sum() / (~table.isnan()).sum().clamp_min(1)
        return found

    def divergence(self, other: ActionDistribution, actions: Tensor) -> Tensor:
        """KL to another distribution along the path of the actions, nats, (N,)."""
        total = torch.zeros(len(actions), device=actions.device)
        both = zip(
            self._factors(lambda number: actions[:, number]),
            other._factors(lambda number: actions[:, number]),
            strict=True,
        )
        for own, others in both:
            kl = (own.log_p.exp() * (own.log_p - others.log_p)).sum(1)
            total = total + torch.where(own.means, kl, 0.0)
        return total

    def _factors(self, chosen: Callable[[int], Tensor]) -> Iterator[Factor]:
        """Each factor, given the choices before it."""
        heads, rows = self.heads, torch.arange(len(self.slot_mask), device=self.slot_mask.device)
        yield self._mixed(heads["operation"], operations(self.slot_mask), torch.ones_like(rows, dtype=torch.bool))
        operation = chosen(0)
        acts, grows = operation != Operation.WAIT, operation == Operation.GERMINATE
        yield self._mixed(heads["slot"][rows, operation], self.slot_mask[rows, operation], acts)
        slot = chosen(1)
        yield self._mixed(heads["blueprint"][rows, slot], self.blueprint_mask[rows, slot], grows)
        eager = heads["intensity"][rows, chosen(2)]
        yield self._mixed(eager, torch.ones_like(eager, dtype=torch.bool), grows)

    def _mixed(self, logits: Tensor, mask: Tensor, means: Tensor) -> Factor:
        """The factor over what the mask allows; a row that allows nothing is asked of nobody, and open to all."""
        open_ = torch.where(mask.any(1, keepdim=True), mask, True)
        choices = open_.sum(1)
        log_p = torch.where(open_, logits, FORBIDDEN).log_softmax(1)
        if self.floor > 0:
            uniform = torch.where(open_, -choices[:, None].log(), FORBIDDEN)
            log_p = torch.logaddexp(log_p + math.log1p(-self.floor), uniform + math.log(self.floor))
        return Factor(log_p, means, choices)
