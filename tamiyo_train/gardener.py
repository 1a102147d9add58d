"""Plants, tends and culls seeds: what each transition of the life cycle demands and does.

The gardener acts on request of a decider or of the governor. It never trains; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train import telemetry
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.evaluation import paired_gain
from tamiyo_train.footprint import Footprint
from tamiyo_train.gates import probe_at_birth
from tamiyo_train.lifecycle import LIVE, Event, State
from tamiyo_train.policy.actions import Masks
from tamiyo_train.pricing import GrowthBudget, Pricer, params_price
from tamiyo_train.seed import Seed, cosine_ramp
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.trainer import Trainer

RATE_LIMITS = (0.05, 3.0)
NO_OP = 0
"""Blueprint 0 is the no-op: germinating it is what WAIT is for, so it is never offered."""


def learning_rate_of(blueprint: Blueprint, intensity: int) -> float:
    """Multiplier of the host's learning rate that an intensity means for a blueprint, clamped last."""
    low, high = RATE_LIMITS
    return min(max(INTENSITIES[intensity] * blueprint.rate, low), high)


class Gardener:
    """The slots of one network. ``culled`` counts seeds culled so far."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        blueprints: Sequence[Blueprint],
        pricer: Pricer,
        budget: GrowthBudget,
        seed: int,
    ) -> None:
        self.trainer = trainer
        self.network = trainer.network
        self.config = trainer.config
        self.blueprints = tuple(blueprints)
        self.pricer = pricer
        self.budget = budget
        self.culled = 0
        self._seed = seed
        self._embargo: dict[int, int] = {}

    def masks(self, reading: telemetry.Reading) -> Masks:
        """What is legal now, from slot states, computed costs and measured gains; changes nothing."""
        slots, blueprints = self.network.host.slots, len(self.blueprints)
        allowed = np.zeros((len(Operation), slots), dtype=np.bool_)
        fits = np.zeros((slots, blueprints), dtype=np.bool_)
        for slot, life in enumerate(self.network.lives):
            state = life.state
            if state is State.DORMANT:
                fits[slot] = [self.fits(slot, index) for index in range(blueprints)]
                allowed[Operation.GERMINATE, slot] = fits[slot].any()
            elif state is State.TRAINING:
                allowed[Operation.ADVANCE, slot] = self._ready_to_blend(reading, slot)
            elif state is State.PROBATIONARY:
                gain_low = self.gain(reading, slot)[1]
                allowed[Operation.FOSSILISE, slot] = gain_low > self.price(slot)
            allowed[Operation.PRUNE, slot] = state in LIVE
        return Masks(slot=allowed, blueprint=fits)

    def fits(self, slot: int, index: int) -> bool:
        """Whether the network with that blueprint in that slot would be within the budget."""
        if index == NO_OP or self.blueprints[index].misfit(self.network.host.places[slot]) is not None:
            return False
        graphs = self.network.graphs(extra=(slot, self.blueprints[index]))
        return self.budget.allows(self.pricer.price(graphs))

    def gain(self, reading: telemetry.Reading, slot: int) -> tuple[float, float]:
        """Paired gain of a slot's seed and its lower bound: see `evaluation.paired_gain`."""
        seen = reading.slots[slot]
        return paired_gain(seen.present, seen.absent, confidence=self.config.confidence)

    def price(self, slot: int) -> float:
        """What the seed's parameters cost, in accuracy, on top of the rest of the network."""
        own = Footprint.of(self.network.seed_at(slot).blueprint.layers(self.network.host.places[slot])).params
        total = Footprint.of(layer for piece in self.network.graphs() for layer in piece).params
        prices = self.config.prices
        return params_price(total, self.budget, prices) - params_price(total - own, self.budget, prices)

    def germinate(self, slot: int, index: int, intensity: int) -> None:
        """Plant a newborn and probe it; one that fails the probe is culled at once."""
        step, blueprint = self.trainer.step_index, self.blueprints[index]
        rate = learning_rate_of(blueprint, intensity)
        life = self.network.lives[slot]
        life.fire(Event.GERMINATE, step=step, reason=f"{blueprint.name}, intensity {INTENSITIES[intensity]}")
        place = self.network.host.places[slot]
        with initialising(derive(self._seed, "seed", slot, step)):
            module = blueprint.build(place)
        self.trainer.plant(slot, Seed(blueprint=blueprint, module=module, rate=rate, born_step=step))
        problem = probe_at_birth(module, place)
        if problem is None:
            life.fire(Event.PROBE_PASSED, step=step, reason="shape, finite, identity")
        else:
            self.cull(slot, problem)

    def advance(self, reading: telemetry.Reading, slot: int) -> None:
        """Start blending a seed that learned something."""
        seen = reading.slots[slot]
        reason = f"loss {seen.absent.loss:.4f} without, {seen.present.loss:.4f} with it"
        self.network.lives[slot].fire(Event.ADVANCE, step=self.trainer.step_index, reason=reason)

    def fossilise(self, reading: telemetry.Reading, slot: int) -> None:
        """Make a seed part of the network."""
        gain, low = self.gain(reading, slot)
        reason = f"gain {gain:.4f}, lower bound {low:.4f}, price {self.price(slot):.4f}"
        self.network.lives[slot].fire(Event.FOSSILISE, step=self.trainer.step_index, reason=reason)

    def cull(self, slot: int, reason: str) -> None:
        """Take a live seed out and lay an embargo on its slot."""
        step, life = self.trainer.step_index, self.network.lives[slot]
        life.fire(Event.CULL, step=step, reason=reason)
        self.trainer.uproot(slot)
        life.fire(Event.EMBARGO, step=step, reason=f"{self.config.embargo_windows} windows")
        self._embargo[slot] = step + self.config.embargo_windows * self.config.window
        self.culled += 1

    def cull_youngest(self, reason: str) -> bool:
        """Cull the live seed that was born last; False when there is none."""
        live = self.network.slots_in(*LIVE)
        if not live:
            return False
        self.cull(max(live, key=lambda slot: self.network.seed_at(slot).born_step), reason)
        return True

    def release(self) -> None:
        """Free the slots whose embargo has ended."""
        step = self.trainer.step_index
        for slot in self.network.slots_in(State.EMBARGOED):
            if step >= self._embargo.get(slot, 0):
                self.network.lives[slot].fire(Event.RELEASE, step=step, reason="embargo over")

    def raise_alphas(self, reading: telemetry.Reading) -> None:
        """Move every blending seed one training step up its ramp, unless it drifts too far; eager seeds rise faster."""
        for slot in self.network.slots_in(State.BLENDING):
            seen = reading.slots.get(slot)
            if seen is not None and seen.drift_p95 > self.config.limits.drift_hold:
                continue
            seed = self.network.seed_at(slot)
            steps = max(1.0, self.config.blend_windows * self.config.window / min(max(seed.rate, 0.5), 2.0))
            seed.blend_position = min(1.0, seed.blend_position + 1 / steps)
            seed.alpha = cosine_ramp(seed.blend_position)

    def settle(self, reading: telemetry.Reading) -> None:
        """Take fully blended seeds into shadowing, and those whose outcome is sound into probation.

        On the training side shadowing is one comparison on the gate split; on a device it is a phase of its own.
        """
        step = self.trainer.step_index
        for slot in self.network.slots_in(State.BLENDING):
            if self.network.seed_at(slot).alpha == 1.0:
                self.network.lives[slot].fire(Event.BLENDED, step=step, reason="alpha 1")
        for slot in self.network.slots_in(State.SHADOWING):
            seen = reading.slots[slot]
            differing = float((seen.present.correct != seen.absent.correct).double().mean())
            if np.isfinite(seen.present.loss):
                reason = f"outcome differs on {differing:.3f} of the samples, drift {seen.drift:.3f}"
                self.network.lives[slot].fire(Event.SHADOWED, step=step, reason=reason)
            else:
                self.cull(slot, "its loss is not finite")

    def _ready_to_blend(self, reading: telemetry.Reading, slot: int) -> bool:
        """The gate before blending: old enough, finite gradients, and the task's loss is lower with the seed on."""
        seen = reading.slots[slot]
        old = self._windows_old(slot) >= self.config.min_age
        return old and telemetry.finite_gradients(self.trainer, slot) and seen.present.loss < seen.absent.loss

    def _windows_old(self, slot: int) -> float:
        return (self.trainer.step_index - self.network.seed_at(slot).born_step) / self.config.window
