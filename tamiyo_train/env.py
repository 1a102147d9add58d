"""A growth episode: a host trained for a fixed number of steps, with a decision before every window of them.

The environment trains, lets the governor watch, and values the outcome; the gardener does what a decision asks for.
A decider sees an `Observation` and returns an `Action`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation, observe
from tamiyo_train import pricing, telemetry
from tamiyo_train.audit import AuditLog
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.evaluation import score
from tamiyo_train.gardener import Gardener
from tamiyo_train.governor import Panic, Snapshot, Watch, judge
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import LIVE, State
from tamiyo_train.policy.actions import Action, Decider, Observation
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.trainer import BACKWARD_FACTOR, StepResult, Trainer

MAX_BARREN_PANICS = 5
"""Panics in a row with no seed to blame before an episode is given up."""
CONSOLIDATION_WINDOW = 32
"""Steps of consolidation that a panic takes back."""
_DRIFTING = (State.BLENDING, State.SHADOWING, State.PROBATIONARY)


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


class GrowthEnv:
    """One episode. ``seed`` decides batches and newborn weights; the host comes initialised."""

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
    ) -> None:
        self.config = config
        self.pricer = pricer
        self.budget = budget
        self.audit = AuditLog()
        self.network = GrownNetwork(host, self.audit.transition)
        self.trainer = Trainer(self.network, data, config, seed=seed)
        self.gardener = Gardener(self.trainer, blueprints=blueprints, pricer=pricer, budget=budget, seed=seed)
        self.heads = Heads(slots=host.slots, blueprints=len(blueprints))
        self.safety_events = 0
        self._windows: list[WindowReport] = []
        self._watch = Watch()
        self._curve = telemetry.Curve()
        self._barren_panics = 0
        self._reading = telemetry.read(self.network, self.trainer)
        self._snapshot = Snapshot(self.trainer)
        self._sound: _Sound | None = None

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
        features = telemetry.global_features(
            self._reading,
            self._curve,
            self.pricer.price(self.network.graphs()),
            self.budget,
            steps_left=1 - len(self._windows) / self.config.decisions,
        )
        slots = [
            telemetry.slot_features(self.trainer, self._reading, slot, latency=self._relative_latency(slot))
            for slot in range(self.network.host.slots)
        ]
        vector = np.asarray(observe({**features, **self.pricer.features}, slots), dtype=np.float32)
        return Observation(vector=vector, masks=self.gardener.masks(self._reading))

    def act(self, action: Action) -> WindowReport:
        """Carry out an action and train one window; raises TamiyoError on an illegal one, changing nothing."""
        if self.done or not self.gardener.masks(self._reading).allows(action):
            raise TamiyoError(f"{action} is not allowed now", hint="take actions from what the masks allow")
        events, culled = self.safety_events, self.gardener.culled
        self._carry_out(action)
        self.gardener.release()
        loss = self._train_window()
        self._reading = telemetry.read(self.network, self.trainer)
        self._check_drift()
        self.gardener.settle(self._reading)
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
        return report

    @property
    def settled(self) -> bool:
        """Whether consolidation has begun and all its steps are done."""
        return self._sound is not None and self.trainer.step_index >= self.config.total_steps

    def begin_consolidation(self) -> None:
        """Cull what was not fossilised, and remember where the network stood; a second call changes nothing."""
        if self._sound is not None:
            return
        for slot in self.network.slots_in(*LIVE):
            self.gardener.cull(slot, "the episode ended before it proved its worth")
        self._sound = _Sound(score(self.network, self.trainer.data.gate).accuracy, Snapshot(self.trainer))

    def consolidate_window(self) -> None:
        """Settle all configurations for one window of steps: what a panic takes back."""
        step, hold = self.trainer.step_index, self.config.hold_from
        if step in {self.config.steps, hold}:
            self._watch = Watch()  # what is a usual loss changes here
        stop = min(step + CONSOLIDATION_WINDOW, self.config.total_steps if step >= hold else hold)
        self._snapshot = Snapshot(self.trainer)
        self._train(stop - step, consolidate=True)

    def finish(self) -> Outcome:
        """Consolidate what is left to consolidate, and value the committed network on the score split."""
        self.begin_consolidation()
        while not self.settled:
            self.consolidate_window()
        if self.config.consolidation_steps:
            self._check_regression()
        scores = score(self.network, self.trainer.data.score)
        cost = self.pricer.price(self.network.graphs())
        alone = BACKWARD_FACTOR * self.config.batch * self.network.host.footprint().macs * self.config.total_steps
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
                self.gardener.cull(slot, "pruned by the decider")
            case Operation.FOSSILISE:
                self.gardener.fossilise(self._reading, slot)
            case Operation.WAIT:
                pass

    def _train_window(self) -> float | None:
        self._snapshot = Snapshot(self.trainer)
        means = self._train(self.config.window)
        if means is None:
            return None
        loss, accuracy = means
        self._barren_panics = 0
        self._curve = telemetry.Curve(
            losses=(*self._curve.losses, loss), accuracies=(*self._curve.accuracies, accuracy)
        )
        return loss

    def _train(self, steps: int, *, consolidate: bool = False) -> tuple[float, float] | None:
        """Train under the governor's eyes: mean loss and training accuracy, or None when it was taken back."""
        end = self.trainer.step_index + steps
        within = self.budget.allows(self.pricer.price(self.network.graphs())) or not any(self.network.seeds)
        losses: list[float] = []
        correct = samples = 0
        for _ in range(steps):
            self.gardener.raise_alphas(self._reading)
            result = self.trainer.step(consolidate=consolidate)
            panic = self._judge(result, within)
            if panic is not None:
                what = f"loss {result.loss:.4g}, of seeds in training {result.seed_loss}"
                self._take_back(panic, what, end=end)
                return None
            losses.append(result.loss)
            correct += result.correct
            samples += result.samples
        return float(np.mean(losses)), correct / samples

    def _judge(self, result: StepResult, within_budget: bool) -> Panic | None:
        """A step that left seeds out says nothing about spikes, and a newborn's loss only whether it is finite."""
        loss = result.loss if result.seed_loss is None or math.isfinite(result.seed_loss) else result.seed_loss
        if math.isfinite(loss) and not result.whole:
            return None if within_budget else Panic.BUDGET
        self._watch, panic = judge(self.config.limits, self._watch, loss=loss, within_budget=within_budget)
        return panic

    def _check_drift(self) -> None:
        for slot in self.network.slots_in(*_DRIFTING):
            drift = self._reading.slots[slot].drift_p95
            _, panic = judge(self.config.limits, Watch(), loss=0.0, drift=drift)
            if panic is not None:
                self._take_back(panic, f"slot {slot}: drift {drift:.3f}", end=self.trainer.step_index, blame=slot)
                self._reading = telemetry.read(self.network, self.trainer)
                return

    def _take_back(self, panic: Panic, what: str, *, end: int, blame: int | None = None) -> None:
        """Restore the snapshot, cull the seed to blame, and count the window as spent: time is not given back.

        With no seed to blame the learning rate is halved from here on.
        """
        self.safety_events += 1
        self.audit.append("panic", step=self.trainer.step_index, panic=panic.value, what=what)
        self._snapshot.restore(self.trainer)
        self.audit.append("rollback", step=self.trainer.step_index, panic=panic.value)
        self._watch = Watch()
        if blame is not None:
            self.gardener.cull(blame, f"governor: {panic}")
        elif not self.gardener.cull_youngest(f"governor: {panic}"):
            self._barren_panics += 1
            self.trainer.caution /= 2
            if self._barren_panics > MAX_BARREN_PANICS:
                raise TamiyoError(
                    f"training diverges without any seed: {what}",
                    hint="lower the learning rate; the network was restored to its last sound state",
                )
        self.trainer.step_index = end

    def _relative_latency(self, slot: int) -> float | None:
        seed, limit = self.network.seeds[slot], self.budget.latency_ms
        if seed is None or limit is None:
            return None
        own = self.pricer.price([seed.blueprint.layers(self.network.host.places[slot])]).latency_ms
        return None if own is None else own / limit


def play(env: GrowthEnv, decider: Decider, *, on_window: Callable[[WindowReport], None] | None = None) -> Outcome:
    """Run an episode to its end with one decider."""
    while not env.done:
        report = env.act(decider.decide(env.observe()))
        if on_window is not None:
            on_window(report)
    return env.finish()


def _within(used: float | None, limit: float | None) -> bool:
    return used is None or limit is None or used <= limit
