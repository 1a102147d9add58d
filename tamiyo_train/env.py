"""A growth episode: a host trained for a fixed number of steps, with a decision before every window of them.

The environment trains, lets the governor watch, and values the outcome; the gardener does what a decision asks for.
A decider sees an `Observation` and returns an `Action`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation
from tamiyo_train import charges, pricing, telemetry
from tamiyo_train.admission import check_tensors
from tamiyo_train.audit import AuditLog
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.evaluation import score
from tamiyo_train.gardener import Gardener
from tamiyo_train.governor import Panic, Watch
from tamiyo_train.guard import Guard
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import LIVE, State
from tamiyo_train.policy.actions import Action, Decider, Observation
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer
from tamiyo_train.regions.allocators import EVERY, Allocator
from tamiyo_train.regions.steward import Steward
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.snapshot import Snapshot
from tamiyo_train.trainer import Trainer

CONSOLIDATION_WINDOW = 32
"""Steps of consolidation that a panic takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """One decision and the window of training after it; accuracy (gate split) and params are those at its end.

    ``loss``: mean over the window, None when the window was taken back. ``alphas``: blending factor of every slot, 0
    where there is no seed; ``learning_rate``: the host's at the last step.
    """

    index: int
    step: int
    action: Action
    loss: float | None
    accuracy: float
    params: int
    drift: float
    panics: int
    culled: int
    latency_ok: bool
    memory_ok: bool
    alphas: tuple[float, ...]
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came out: the committed network (host and fossilised seeds) on the score split, and its utility."""

    utility: float
    accuracy: float
    cost: Priced
    fossilised: tuple[int, ...]
    safety_events: int
    training_macs: int


@dataclass(frozen=True, slots=True)
class _Sound:
    """The network before consolidation: accuracy on the gate split, and what to go back to."""

    accuracy: float
    snapshot: Snapshot


class GrowthEnv(Guard):
    """One episode. ``seed`` decides batches and newborn weights; the host comes initialised.

    ``audit``: the log to write to, empty as yet; a list in memory unless given. ``allocator``: who splits the budget
    over the regions of a host with more slots than a region holds, every `EVERY` windows; None: nobody. Raises
    InputError when the data cannot be learned from.
    """

    def __init__(
        self,
        *,
        host: Host,
        data: Tensors,
        config: Episode,
        blueprints: Sequence[Blueprint],
        pricer: Pricer,
        budget: GrowthBudget,
        seed: int,
        audit: AuditLog | None = None,
        allocator: Allocator | None = None,
    ) -> None:
        check_tensors(data)
        log = AuditLog() if audit is None else audit
        network = GrownNetwork(host, log.transition, nested_slots=config.nested_slots)
        trainer = Trainer(network, data, config, seed=seed)
        steward = Steward(network, pricer=pricer, budget=budget, allocator=allocator)
        gardener = Gardener(trainer, blueprints=blueprints, pricer=pricer, budget=budget, seed=seed, steward=steward)
        super().__init__(trainer, gardener, log)
        self.steward = steward
        self.pricer = pricer
        self.budget = budget
        self.heads = Heads(slots=network.slots, blueprints=len(blueprints))
        self._windows: list[WindowReport] = []
        self._curve = telemetry.Curve()
        self._sound: _Sound | None = None
        self._split()

    @property
    def windows(self) -> tuple[WindowReport, ...]:
        """Reports of the windows so far."""
        return tuple(self._windows)

    @property
    def done(self) -> bool:
        """Whether all decisions were made."""
        return len(self._windows) >= self.config.decisions

    def observe(self) -> Observation:
        """What the decider sees now; changes nothing."""
        with self.network.lock:
            vector, masks = self._vector(), self.gardener.masks(self._reading)
            return Observation(vector=vector, masks=masks, inside=self.steward.inside(vector, masks))

    def act(self, action: Action) -> WindowReport:
        """Carry out an action and train one window; raises TamiyoError on an illegal one, changing nothing.

        What is wrong with a seed that is asked for is said in detail: see `Gardener.check_germination`.
        """
        if not self.done and action.operation is Operation.GERMINATE:
            self.gardener.check_germination(action.slot, action.blueprint, action.intensity)
        if self.done or not self.gardener.masks(self._reading).allows(action):
            raise TamiyoError(f"{action} is not allowed now", hint="take actions from what the masks allow")
        events, culled = self.safety_events, self.gardener.culled
        with self.network.lock:
            self._carry_out(action)
            self.gardener.release()
        loss = self._train_window()
        with self.network.lock:
            self.measure()
            self.gardener.settle(self._reading)
            self.keep()  # before the next action: whoever takes the episode up here has no other snapshot
        cost = self.pricer.price(self.network.graphs())
        report = WindowReport(
            index=len(self._windows),
            step=self.trainer.step_index,
            action=action,
            loss=loss,
            accuracy=self._reading.scores.accuracy,
            params=cost.params,
            drift=self._reading.worst_drift,
            panics=self.safety_events - events,
            culled=self.gardener.culled - culled,
            latency_ok=_within(cost.latency_ms, self.budget.latency_ms),
            memory_ok=_within(cost.memory_bytes, self.budget.memory_bytes),
            alphas=self.network.alphas(),
            learning_rate=self.trainer.host_rate(),
        )
        self._windows.append(report)
        if not self.done and len(self._windows) % EVERY == 0:
            self._split()
        return report

    @property
    def settled(self) -> bool:
        """Whether consolidation has begun and all its steps are done."""
        return self._sound is not None and self.trainer.step_index >= self.config.total_steps

    def begin_consolidation(self) -> None:
        """Cull what was not fossilised, and remember where the network stood; a second call changes nothing.

        What the last window ruined is taken back first: nothing from before this point is restored after it.
        """
        if self._sound is not None:
            return
        self.take_back_fallen()
        for slot in self.network.slots_in(*LIVE):
            if self.network.lives[slot].state in LIVE:  # it may have gone with the seed it was in
                self.gardener.cull(slot, "the episode ended before it proved its worth")
        self._watch = Watch()  # what is a usual loss changes here
        self.start_from_here()
        self._sound = _Sound(score(self.network, self.trainer.data.gate).accuracy, self._snapshot)

    def consolidate_window(self) -> None:
        """Settle all configurations for one window of steps: what a panic takes back."""
        step, hold = self.trainer.step_index, self.config.hold_from
        if step == hold:
            self._watch = Watch()  # and here again
        stop = min(step + CONSOLIDATION_WINDOW, self.config.total_steps if step >= hold else hold)
        self.mark()
        self.train(stop - step, consolidate=True)

    def finish(self) -> Outcome:
        """Consolidate what is left to consolidate, and value the committed network on the score split."""
        self.begin_consolidation()
        while not self.settled:
            self.consolidate_window()
        if self.config.consolidation_steps:
            self._check_regression()
        if self.network.slots_in(State.FOSSILISED):
            self.retire_idle()
        scores = score(self.network, self.trainer.data.score)
        cost = self.pricer.price(self.network.graphs())
        alone = charges.alone(self.network.host, self.config)
        return Outcome(
            utility=pricing.utility(
                scores.accuracy,
                cost,
                budget=self.budget,
                prices=self.config.prices,
                safety_events=self.safety_events,
                training_ratio=self.trainer.training_macs / alone,
            ),
            accuracy=scores.accuracy,
            cost=cost,
            fossilised=self.network.slots_in(State.FOSSILISED),
            safety_events=self.safety_events,
            training_macs=self.trainer.training_macs,
        )

    def _vector(self) -> NDArray[np.float32]:
        return telemetry.vector(
            self.trainer,
            self._reading,
            self._curve,
            pricer=self.pricer,
            budget=self.budget,
            steps_left=1 - len(self._windows) / self.config.decisions,
        )

    def _split(self) -> None:
        """Split what is left of the budget over the regions of the host, if it has any, and say so in the log."""
        with self.network.lock:
            split = self.steward.split(self._vector())
            if split is not None:
                self.audit.append("split", step=self.trainer.step_index, **split.to_audit())

    def _check_regression(self) -> None:
        """Take consolidation back as a whole when it costs accuracy."""
        assert self._sound is not None, "consolidation has not begun"
        before, after = self._sound.accuracy, score(self.network, self.trainer.data.gate).accuracy
        if after < before - self.config.limits.regression:
            self._snapshot = self._sound.snapshot
            what = f"accuracy {before:.3f} before consolidation, {after:.3f} after it"
            self._take_back(Panic.REGRESSION, what, end=self.trainer.step_index)

    def _carry_out(self, action: Action) -> None:
        slot, data = action.slot, {"operation": action.operation.name}
        if action.operation is not Operation.WAIT:
            data["slot"] = str(slot)
        if action.operation is Operation.GERMINATE:
            data["blueprint"] = self.gardener.blueprints[action.blueprint].name
            data["intensity"] = str(INTENSITIES[action.intensity])
        self.audit.append("decision", step=self.trainer.step_index, **data)
        match action.operation:
            case Operation.GERMINATE:
                self.gardener.germinate(slot, action.blueprint, action.intensity)
            case Operation.ADVANCE:
                self.gardener.advance(self._reading, slot)
            case Operation.PRUNE:
                self.gardener.prune(self._reading, slot)
            case Operation.FOSSILISE:
                self.gardener.fossilise(self._reading, slot)
            case Operation.WAIT:
                pass

    def _train_window(self) -> float | None:
        self.mark()
        means = self.train(self.config.window)
        if means is None:
            return None
        loss, accuracy = means
        self._curve = telemetry.Curve(
            losses=(*self._curve.losses, loss), accuracies=(*self._curve.accuracies, accuracy)
        )
        return loss


def play(env: GrowthEnv, decider: Decider, *, on_window: Callable[[WindowReport], None] | None = None) -> Outcome:
    """Run an episode to its end with one decider."""
    while not env.done:
        report = env.act(decider.decide(env.observe()))
        if on_window is not None:
            on_window(report)
    return env.finish()


def _within(used: float | None, limit: float | None) -> bool:
    return used is None or limit is None or used <= limit
