"""A policy held to thrift: what it saves, and that it is the policy everywhere else."""

from __future__ import annotations

import torch

from benchmarks.growth_thrift import Thrift, Thrifty
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy.lane_deciders import Waiting
from tamiyo_train.population.growth_state import Phase, Seen
from tests.unit.tamiyo_train.population.test_growth import EPISODE, growth, lanes


class Eager:
    """Germinates wherever it may, then waits: what it planted is never advanced."""

    def decide(self, seen: Seen) -> torch.Tensor:
        free = seen.slot_mask[:, Operation.GERMINATE]
        slot = free.int().argmax(1)
        kinds = seen.blueprint_mask[torch.arange(len(slot)), slot].int().argmax(1)
        action = torch.where(free.any(1), int(Operation.GERMINATE), int(Operation.WAIT))
        return torch.stack([action, slot, kinds, torch.full_like(slot, 2)], 1)


def played(decider, *, never: bool = False) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Phases and operations of an episode; ``never``: no seed is ever seen to be better than none."""
    env = growth()
    seen, phases, taken = env.reset(lanes((1, 2))), [], []
    while not env.done:
        if never:
            seen.slot_mask[:, Operation.ADVANCE] = False
        actions = decider.decide(seen)
        taken.append(actions[:, 0])
        seen = env.act(actions)
        phases.append(env.slots.phase.clone())
    return phases, taken


def test_a_newborn_that_may_not_be_advanced_goes_after_its_patience():
    thrifty = Thrifty(Eager(), Thrift(patience=2, until=99), decisions=EPISODE.decisions)
    phases, taken = played(thrifty, never=True)
    assert all((operation == Operation.GERMINATE).all() for operation in taken[:3])
    assert all((operation == Operation.PRUNE).all() for operation in taken[3:5])
    assert bool((phases[4] == Phase.EMBARGOED).any())


def test_one_that_may_be_advanced_is_the_deciders_own_affair():
    always = Thrifty(Eager(), Thrift(patience=2, until=99), decisions=EPISODE.decisions)
    env = growth()
    seen = env.reset(lanes((1, 2)))
    while not env.done:
        seen.slot_mask[:, Operation.ADVANCE] = env.slots.phase == Phase.TRAINING
        actions = always.decide(seen)
        assert not bool((actions[:, 0] == Operation.PRUNE).any())
        seen = env.act(actions)


def test_nothing_is_germinated_where_it_comes_too_late():
    late = Thrifty(Eager(), Thrift(patience=1, until=1), decisions=EPISODE.decisions)
    _, taken = played(late)
    germinating = [bool((operation == Operation.GERMINATE).any()) for operation in taken]
    assert germinating == [True] + [False] * (EPISODE.decisions - 1)


def test_with_nothing_to_save_the_decider_is_as_it_is():
    _, taken = played(Thrifty(Waiting(), Thrift(patience=1, until=0), decisions=EPISODE.decisions))
    assert all((operation == Operation.WAIT).all() for operation in taken)
