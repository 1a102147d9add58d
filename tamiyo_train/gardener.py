"""Plants, tends and culls seeds: what each transition of the life cycle demands and does.

The gardener acts on request of a decider or of the governor. It never trains; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import BudgetError, UsageError
from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train import telemetry
from tamiyo_train.allotment import allotment, fits_inside
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.channel_gate import OPEN, ChannelGate
from tamiyo_train.costs import footprint_in
from tamiyo_train.evaluation import paired_gain
from tamiyo_train.footprint import Footprint
from tamiyo_train.gates import probe_at_birth, proven_gain, ready_to_blend
from tamiyo_train.lifecycle import LIVE, Event, State, follow
from tamiyo_train.policy.actions import Masks
from tamiyo_train.pricing import GrowthBudget, Pricer, params_price
from tamiyo_train.regions.steward import Steward
from tamiyo_train.seed import Seed, cosine_ramp
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.trainer import HOST, Trainer
from tamiyo_train.worth import Worth, evidence_of, worth_of

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
        steward: Steward | None = None,
    ) -> None:
        self.trainer = trainer
        self.network = trainer.network
        self.config = trainer.config
        self.blueprints = tuple(blueprints)
        self.pricer = pricer
        self.budget = budget
        self.steward = steward
        self.culled = 0
        self._seed = seed
        self._embargo: dict[int, int] = {}

    def masks(self, reading: telemetry.Reading) -> Masks:
        """What is legal now, from slot states, computed costs and measured gains; changes nothing."""
        slots, blueprints = self.network.slots, len(self.blueprints)
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
                proven = len(self.network.seed_at(slot).evidence) >= self.config.evaluations
                allowed[Operation.FOSSILISE, slot] = proven and self.gain(reading, slot)[1] > self.price(slot)
            allowed[Operation.PRUNE, slot] = state in LIVE
        return Masks(slot=allowed, blueprint=fits, params=self._params())

    def _params(self) -> NDArray[np.int64]:
        """Parameters each blueprint would add in each slot, (S, B); 0 where it does not fit."""
        added = np.zeros((len(self.network.seeds), len(self.blueprints)), dtype=np.int64)
        for slot, index in np.ndindex(*added.shape):
            place, blueprint = self.network.place(slot), self.blueprints[index]
            if place is not None and blueprint.misfit(place) is None:
                added[slot, index] = footprint_in(blueprint.layers, place).params
        return added

    def fits(self, slot: int, index: int) -> bool:
        """Whether the network with that blueprint in that slot would be within the budget."""
        blueprint, place = self.blueprints[index], self.network.place(slot)
        if index == NO_OP or place is None or blueprint.misfit(place) is not None:
            return False
        graphs = self.network.graphs(extra=(slot, blueprint))
        within = fits_inside(self.network, self.budget, slot, blueprint) and self.budget.allows(
            self.pricer.price(graphs)
        )
        return within and (self.steward is None or self.steward.allows(slot, blueprint))

    def within_budget(self) -> bool:
        """Whether the network as it stands is within the budget; a bare host counts as such, for it cannot shrink."""
        return not any(self.network.seeds) or self.budget.allows(self.pricer.price(self.network.graphs()))

    def gain(self, reading: telemetry.Reading, slot: int) -> tuple[float, float]:
        """Paired gain of a slot's seed and its lower bound: over all its evaluations on probation, see `gates`."""
        seen, evidence = reading.slots[slot], self.network.seed_at(slot).evidence
        if len(evidence) > 1:
            return proven_gain(evidence, confidence=self.config.confidence)
        return paired_gain(seen.present, seen.absent, confidence=self.config.confidence)

    def price(self, slot: int) -> float:
        """What the seed's parameters cost, in accuracy, on top of the rest of the network."""
        total = self._whole()
        prices, own = self.config.prices, self._own_params(slot)
        return params_price(total, self.budget, prices) - params_price(total - own, self.budget, prices)

    def worth(self, reading: telemetry.Reading, slot: int) -> Worth:
        """What the network's loss would rise by without the seed, beside the share of the parameters it takes."""
        seen = reading.slots[slot]
        share = self._own_params(slot) / self._whole()
        return worth_of(seen.present, seen.absent, share=share, confidence=self.config.confidence)

    def least_worth(self, reading: telemetry.Reading, *states: State) -> int | None:
        """The slot whose seed is worth least by its counterfactual gain less its price: what PRUNE should take.

        Among seeds in ``states``, all live ones if none is given; None when there is no such seed.
        """
        slots = self.network.slots_in(*(states or LIVE))
        return min(slots, key=lambda slot: self.gain(reading, slot)[0] - self.price(slot), default=None)

    def check_germination(self, slot: int, index: int, intensity: int) -> None:
        """Raise what is wrong with a seed that is asked for; nothing has changed then.

        UsageError: no such slot, blueprint or intensity, or the slot is taken; IncompatibleError: the blueprint cannot
        live there; BudgetError: the budget is spent.
        """
        network = self.network
        if not 0 <= slot < network.slots or (place := network.place(slot)) is None:
            raise UsageError(
                f"germinating is not allowed: there is no slot {slot}",
                hint=f"the host has {network.host.slots}, from 0",
            )
        if not NO_OP < index < len(self.blueprints) or not 0 <= intensity < len(INTENSITIES):
            raise UsageError(
                f"germinating blueprint {index} with intensity {intensity} is not allowed",
                hint=f"blueprints are 1..{len(self.blueprints) - 1}, intensities 0..{len(INTENSITIES) - 1}",
            )
        life, blueprint = network.lives[slot], self.blueprints[index]
        if life.state is not State.DORMANT:
            seed = network.seeds[slot]
            what = life.state.value if seed is None else f"taken by '{seed.blueprint.name}', {life.state}"
            raise UsageError(
                f"germinating in slot {life.path} is not allowed: it is {what}", hint="choose a dormant slot"
            )
        blueprint.check_fits(place)
        if not self.fits(slot, index):
            raise self._spent(slot, blueprint)

    def germinate(self, slot: int, index: int, intensity: int) -> None:
        """Plant a newborn that passed the probe; one that fails it never reaches the network.

        Raises as `check_germination` does, before anything changes.
        """
        self.check_germination(slot, index, intensity)
        step, blueprint = self.trainer.step_index, self.blueprints[index]
        rate = learning_rate_of(blueprint, intensity)
        life, place = self.network.lives[slot], self.network.place(slot)
        assert place is not None, f"slot {slot} was checked"
        life.fire(Event.GERMINATE, step=step, reason=f"{blueprint.name}, intensity {INTENSITIES[intensity]}")
        try:
            with initialising(derive(self._seed, "seed", slot, step)):
                module = blueprint.build(place)
            problem = probe_at_birth(module, place, blueprint)
        except Exception as exc:  # noqa: BLE001  (a blueprint of others may raise anything; none of it is to end a run)
            problem = f"it cannot be built: {type(exc).__name__}: {exc}"
        if problem is not None:
            self.cull(slot, problem)
            return
        life.fire(Event.PROBE_PASSED, step=step, reason="shape, finite, identity, gradients, export")
        self.trainer.plant(slot, Seed(blueprint=blueprint, module=module, rate=rate, born_step=step))

    def advance(self, reading: telemetry.Reading, slot: int) -> None:
        """Start blending a seed that learned something."""
        seen = reading.slots[slot]
        reason = f"loss {seen.absent.loss:.4f} without, {seen.present.loss:.4f} with it"
        self.network.lives[slot].fire(Event.ADVANCE, step=self.trainer.step_index, reason=reason)
        if self.config.blending == "gate":
            self.trainer.close_in(slot)

    def fossilise(self, reading: telemetry.Reading, slot: int) -> None:
        """Make a seed part of the network."""
        gain, low = self.gain(reading, slot)
        trials = len(self.network.seed_at(slot).evidence)
        reason = f"gain {gain:.4f}, lower bound {low:.4f} over {trials} evaluations, price {self.price(slot):.4f}"
        self.network.lives[slot].fire(Event.FOSSILISE, step=self.trainer.step_index, reason=reason)
        self.network.expose(slot)

    def prune(self, reading: telemetry.Reading, slot: int) -> None:
        """Take out the seed a decider named."""
        least = self.least_worth(reading)
        note = "" if least is None else f", least worth was slot {self.network.lives[least].path}"
        self.cull(slot, f"pruned by the decider{note}")

    def cull(self, slot: int, reason: str) -> None:
        """Take a live seed out and lay an embargo on its slot."""
        self._remove(slot, Event.CULL, reason)
        self.culled += 1

    def idle(self, reading: telemetry.Reading) -> list[tuple[int, Worth]]:
        """Fossilised seeds that no longer earn their place, least worth first; none when none is to be retired."""
        if self.config.utilisation is None:
            return []
        worth = [(slot, self.worth(reading, slot)) for slot in self.network.slots_in(State.FOSSILISED)]
        idle = [(slot, own) for slot, own in worth if not own.earns(self.config.utilisation)]
        return sorted(idle, key=lambda pair: pair[1].relative)

    def retire(self, slot: int, reason: str) -> None:
        """Take a fossilised seed out, with all that grows inside it."""
        self._remove(slot, Event.RETIRE, reason)

    def retire_youngest(self, reason: str) -> bool:
        """Retire the fossilised seed that was born last, with all that grows inside it; False when there is none."""
        slots = self.network.slots_in(State.FOSSILISED)
        if not slots:
            return False
        self.retire(max(slots, key=lambda slot: self.network.seed_at(slot).born_step), reason)
        return True

    def youngest(self) -> int | None:
        """The slot of the live seed that was born last: the first to blame when something goes wrong."""
        live = [slot for slot in self.network.slots_in(*LIVE) if self.network.seeds[slot] is not None]
        return max(live, key=lambda slot: self.network.seed_at(slot).born_step, default=None)

    def release(self) -> None:
        """Free the slots whose embargo has ended."""
        step = self.trainer.step_index
        for slot in self.network.slots_in(State.EMBARGOED):
            if step >= self._embargo.get(slot, 0):
                self.network.lives[slot].fire(Event.RELEASE, step=step, reason="embargo over")

    def raise_alphas(self, reading: telemetry.Reading) -> None:
        """Move every blending seed one training step on, unless it drifts too far or changes the norm too much.

        On a ramp eager seeds rise faster; a learned gate is given its windows, and taken away when it is open.
        """
        limits = self.config.limits
        for slot in self.network.slots_in(State.BLENDING):
            seen, seed = reading.slots.get(slot), self.network.seed_at(slot)
            held = seen is not None and (
                seen.drift_p95 > limits.drift_hold or abs(seen.log_norm_ratio) > limits.norm_hold
            )
            if isinstance(seed.module, ChannelGate):
                self._tend_gate(slot, seed, seed.module, held=held)
            elif not held:
                steps = max(1.0, self.config.blend_windows * self.config.window / min(max(seed.rate, 0.5), 2.0))
                seed.blend_position = min(1.0, seed.blend_position + 1 / steps)
                seed.alpha = cosine_ramp(seed.blend_position)

    def settle(self, reading: telemetry.Reading) -> None:
        """Take fully blended seeds into shadowing, and those whose outcome is sound into probation.

        On the training side shadowing is one comparison on the gate split; on a device it is a phase of its own. Every
        seed on probation has its gain measured once more.
        """
        step = self.trainer.step_index
        for slot in self.network.slots_in(State.BLENDING):
            seed = self.network.seed_at(slot)
            if seed.alpha == 1.0 and not isinstance(seed.module, ChannelGate):
                self.network.lives[slot].fire(Event.BLENDED, step=step, reason="alpha 1")
        for slot in self.network.slots_in(State.SHADOWING):
            seen = reading.slots[slot]
            differing = float((seen.present.correct != seen.absent.correct).double().mean())
            if np.isfinite(seen.present.loss):
                reason = f"outcome differs on {differing:.3f} of the samples, drift {seen.drift:.3f}"
                self.network.lives[slot].fire(Event.SHADOWED, step=step, reason=reason)
            else:
                self.cull(slot, "its loss is not finite")
        for slot in self.network.slots_in(State.PROBATIONARY):
            seed, seen = self.network.seed_at(slot), reading.slots[slot]
            seed.evidence = (*seed.evidence, evidence_of(seen.present, seen.absent))[-self.config.evaluations :]

    def _ready_to_blend(self, reading: telemetry.Reading, slot: int) -> bool:
        """The gate before blending: old enough, gradients finite and not lost, and the task's loss lower with it on."""
        seen = reading.slots.get(slot)
        if seen is None or self._windows_old(slot) < self.config.min_age:
            return False
        own, host = self.trainer.seed_gradient_norm(slot), self.trainer.gradient_norms().get(HOST)
        return ready_to_blend(seen.present, seen.absent, own=own, host=host, least_ratio=self.config.gradient_ratio)

    def _tend_gate(self, slot: int, seed: Seed, gate: ChannelGate, *, held: bool) -> None:
        self.trainer.hold_gate(slot, held=held)
        if held:
            return
        seed.blend_position = min(
            1.0, seed.blend_position + 1 / max(1.0, self.config.gate_windows * self.config.window)
        )
        if seed.blend_position == 1.0 or bool((gate.openness() >= OPEN).all()):
            self.trainer.open_up(slot)

    def _remove(self, slot: int, event: Event, reason: str) -> None:
        """Take a seed out, and before it what grows inside it; the slots inside are gone then."""
        step, network, life = self.trainer.step_index, self.network, self.network.lives[slot]
        follow(life.state, event, slot=life.path)  # illegal: raise before anything inside is touched
        for child in network.inside(slot):
            state = network.lives[child].state
            if state in LIVE or state is State.FOSSILISED:
                inner = Event.CULL if state in LIVE else Event.RETIRE
                self._remove(child, inner, f"the seed around it goes: {reason}")
            if network.lives[child].state is State.EMBARGOED:
                network.lives[child].fire(Event.RELEASE, step=step, reason="the slot is gone")
            network.close(child)
        life.fire(event, step=step, reason=reason)
        self.trainer.uproot(slot)
        life.fire(Event.EMBARGO, step=step, reason=f"{self.config.embargo_windows} windows")
        self._embargo[slot] = step + self.config.embargo_windows * self.config.window

    def _spent(self, slot: int, blueprint: Blueprint) -> BudgetError:
        path, name = self.network.lives[slot].path, blueprint.name
        if not fits_inside(self.network, self.budget, slot, blueprint):
            own, left = (
                Footprint.of(self.network.layers_at(slot, blueprint)),
                allotment(self.network, self.budget, slot),
            )
            return BudgetError(
                f"germinating '{name}' in slot {path} is not allowed: it takes {own.params} parameters and "
                f"{own.macs} MACs, the seed around it left {left.params} and {left.macs}",
                hint="choose a smaller blueprint",
            )
        cost = self.pricer.price(self.network.graphs(extra=(slot, blueprint)))
        if self.budget.allows(cost):
            return BudgetError(
                f"germinating '{name}' in slot {path} is not allowed: the budget has room for it, the share of the "
                "slot's region has not",
                hint="choose a smaller blueprint or a slot of another region, or wait until the budget is split anew",
            )
        pairs = {
            key: (getattr(cost, key), getattr(self.budget, key))
            for key in ("params", "macs", "latency_ms", "energy_uj", "memory_bytes")
        }
        over = ", ".join(
            f"{key} {used:.4g} of {limit:.4g}"
            for key, (used, limit) in pairs.items()
            if used is not None and limit is not None and used > limit
        )
        return BudgetError(
            f"germinating '{name}' in slot {path} is not allowed: the network would take {over}",
            hint="choose a smaller blueprint, prune a seed, or raise the budget",
        )

    def _own_params(self, slot: int) -> int:
        """Parameters of a seed and of what grows inside it."""
        own = Footprint.of(self.network.layers_at(slot, self.network.seed_at(slot).blueprint)).params
        inside = (child for child in self.network.inside(slot) if self.network.seeds[child] is not None)
        return own + sum(self._own_params(child) for child in inside)

    def _whole(self) -> int:
        return Footprint.of(layer for piece in self.network.graphs() for layer in piece).params

    def _windows_old(self, slot: int) -> float:
        return (self.trainer.step_index - self.network.seed_at(slot).born_step) / self.config.window
