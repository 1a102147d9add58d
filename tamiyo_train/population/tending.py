"""Tends the seeds of a population by a schedule: when to germinate is planned, everything after that is earned.

A seed is blended in when the task's loss is lower with it than without, fossilised when the lower bound of its paired
gain lies above the price of its parameters, and culled when it has not got so far in time: the gates of `Gardener`,
measured on the gate split, for all lanes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.evaluation import Scores, without
from tamiyo_train.footprint import Footprint
from tamiyo_train.gates import proven_gain
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.population.population import Population
from tamiyo_train.pricing import GrowthBudget, params_price
from tamiyo_train.worth import evidence_of

_LIVE = (State.TRAINING, State.BLENDING, State.SHADOWING, State.PROBATIONARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planting:
    """Germinate a blueprint in a slot at the first window that begins at ``step`` or later."""

    step: int
    slot: int
    blueprint: Blueprint
    rate: float = 1.0


class Tending:
    """Call it before every window with the lanes in training. ``budget``: what parameters are priced against.

    ``min_age`` steps pass before a seed may be blended in, ``trial`` steps before one that is not fossilised is culled.
    """

    def __init__(
        self,
        population: Population,
        plantings: Sequence[Planting],
        *,
        budget: GrowthBudget,
        min_age: int,
        trial: int,
    ) -> None:
        self.population = population
        self.plantings = tuple(plantings)
        self.budget = budget
        self.min_age = min_age
        self.trial = trial
        self._planted: dict[int, tuple[int, set[int]]] = {}

    def __call__(self, lanes: Sequence[int]) -> None:
        """Let every seed take the step that it has earned, then germinate what is due."""
        self._settle(lanes)
        for slot in range(self.population.layout.slots):
            judged = [lane for lane in lanes if self._state(lane, slot) in (State.TRAINING, State.PROBATIONARY)]
            if judged:
                self._judge(judged, slot)
        for lane in lanes:
            self._cull_late(lane)
            self.population.release(lane)
            self._germinate(lane)

    def finish(self, lane: int) -> None:
        """Commit a lane: what has not been fossilised is culled."""
        self._settle([lane])
        for slot in range(self.population.layout.slots):
            if self._state(lane, slot) is State.PROBATIONARY:
                self._judge([lane], slot)
        for slot in self.population.at(lane).slots_in(*_LIVE):
            self.population.cull(lane, slot, "the episode is over")

    def _state(self, lane: int, slot: int) -> State:
        return self.population.at(lane).lives[slot].state

    def _settle(self, lanes: Sequence[int]) -> None:
        """Take seeds that are blended in fully to probation."""
        for lane in lanes:
            for slot in self.population.at(lane).slots_in(State.BLENDING):
                if self.population.at(lane).seed_at(slot).alpha == 1.0:
                    self.population.fire(lane, slot, Event.BLENDED, "alpha 1")
                    self.population.fire(lane, slot, Event.SHADOWED, "its outcome is part of the lane's")

    def _judge(self, lanes: Sequence[int], slot: int) -> None:
        population, gate = self.population, self.population.data.gate
        alphas = [(0.0,) * population.layout.slots if lane is None else lane.alphas() for lane in population.lanes]
        absent = population.score(gate, [without(own, slot) for own in alphas])
        present = population.score(gate, [[*own[:slot], 1.0, *own[slot + 1 :]] for own in alphas])
        for lane in lanes:
            here = population.at(lane)
            if self._state(lane, slot) is State.PROBATIONARY:
                self._fossilise(lane, slot, present[lane], absent[lane])
            elif here.step_index - here.seed_at(slot).born_step >= self.min_age:
                after, before = present[lane].loss, absent[lane].loss
                if after < before:
                    population.fire(lane, slot, Event.ADVANCE, f"loss {before:.4f} without, {after:.4f} with it")

    def _fossilise(self, lane: int, slot: int, present: Scores, absent: Scores) -> None:
        config, seed = self.population.config, self.population.at(lane).seed_at(slot)
        seed.evidence = (*seed.evidence, evidence_of(present, absent))[-config.evaluations :]
        if len(seed.evidence) < config.evaluations:
            return
        gain, low = proven_gain(seed.evidence, confidence=config.confidence)
        price = self.price(lane, slot)
        if low > price:
            reason = f"gain {gain:.4f}, lower bound {low:.4f}, price {price:.4f}"
            self.population.fire(lane, slot, Event.FOSSILISE, reason)

    def price(self, lane: int, slot: int) -> float:
        """What a seed's parameters cost, in accuracy, on top of the rest of the network."""
        seed, prices = self.population.at(lane).seed_at(slot), self.population.config.prices
        own = Footprint.of(seed.blueprint.layers(self.population.host.places[slot])).params
        total = Footprint.of(self.population.layers(lane)).params
        return params_price(total, self.budget, prices) - params_price(total - own, self.budget, prices)

    def _cull_late(self, lane: int) -> None:
        here = self.population.at(lane)
        for slot in here.slots_in(*_LIVE):
            if here.step_index - here.seed_at(slot).born_step >= self.trial:
                self.population.cull(lane, slot, f"not proven within {self.trial} steps")

    def _germinate(self, lane: int) -> None:
        here = self.population.at(lane)
        seed, done = self._planted.get(lane, (here.seed, set()))
        if seed != here.seed or here.step_index == 0:
            done = set()  # the lane was refilled
        for number, planting in enumerate(self.plantings):
            due = number not in done and here.step_index >= planting.step
            if due and self._state(lane, planting.slot) is State.DORMANT:
                self.population.germinate(lane, planting.slot, planting.blueprint, rate=planting.rate)
                done.add(number)
        self._planted[lane] = (here.seed, done)
