"""Trains under the governor's eyes, and takes back what it panics about.

A window of steps starts from a snapshot. On a panic the rollback is audited, the snapshot restored, the seed to blame
culled, and the window counted as spent: time is not given back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_train import telemetry
from tamiyo_train.audit import AuditLog
from tamiyo_train.evaluation import score
from tamiyo_train.gardener import Gardener
from tamiyo_train.governor import Panic, Watch, fallen, fit_to_keep, judge, unsound
from tamiyo_train.lifecycle import LIVE, State
from tamiyo_train.snapshot import Snapshot
from tamiyo_train.trainer import StepResult, Trainer
from tamiyo_train.worth import Worth

MAX_BARREN_PANICS = 5
"""Panics in a row with no seed to blame before training is given up."""
_DRIFTING = (State.BLENDING, State.SHADOWING, State.PROBATIONARY)


class Guard:
    """A trainer and its gardener under guard. ``safety_events`` counts panics.

    ``on_restored`` is called between the restoring of a snapshot and the culling of the seed to blame.
    """

    on_restored: Callable[[], None] | None = None

    def __init__(self, trainer: Trainer, gardener: Gardener, audit: AuditLog) -> None:
        self.config = trainer.config
        self.network = trainer.network
        self.trainer = trainer
        self.gardener = gardener
        self.audit = audit
        self.safety_events = 0
        self._watch = Watch()
        self._barren_panics = 0
        self._reading = telemetry.read(self.network, self.trainer)
        self._snapshot = Snapshot(self.trainer)

    @property
    def reading(self) -> telemetry.Reading:
        """The network as it was measured last."""
        return self._reading

    @property
    def unsuspecting(self) -> bool:
        """Whether the network as it stands is fit to go back to, so that no earlier snapshot is needed any more."""
        return fit_to_keep(self.config.limits, self._watch, gate=self._gate_loss())

    def mark(self) -> None:
        """Begin a window: take a snapshot to go back to, or keep the one before while the network is suspect."""
        if not self.keep():
            self._watch = replace(self._watch, deferred=self._watch.sure)

    def keep(self) -> bool:
        """Take a snapshot to go back to, unless the network as it stands is suspect: False then."""
        gate = self._gate_loss()
        if not fit_to_keep(self.config.limits, self._watch, gate=gate):
            return False
        self._snapshot = Snapshot(self.trainer)
        self._watch = replace(self._watch, gate=gate, deferred=False)
        return True

    def start_from_here(self) -> None:
        """From now on go back to the network as it stands, and no further."""
        self._snapshot = Snapshot(self.trainer)

    def take_back_fallen(self) -> None:
        """Go back to the last snapshot when the network is far worse than it was there: no window will bear it out."""
        gate, kept = self._gate_loss(), self._watch.gate
        if fallen(self.config.limits, self._watch, gate=gate):
            what = f"loss {gate:.4g} on the gate split, {kept:.4g} when it was last sound"
            panic = Panic.LOSS_SPIKE if math.isfinite(gate) else Panic.NOT_FINITE
            self._take_back(panic, what, end=self.trainer.step_index)

    def train(self, steps: int, *, consolidate: bool = False) -> tuple[float, float] | None:
        """Train under the governor's eyes: mean loss and training accuracy, or None when it was taken back."""
        end = self.trainer.step_index + steps
        losses: list[float] = []
        correct = samples = 0
        known, within = None, True
        for _ in range(steps):
            grown = (self.gardener.budget, *map(id, self.network.seeds))
            if grown != known:
                known, within = grown, self.gardener.within_budget()
            self.gardener.raise_alphas(self._reading)
            try:
                result = self.trainer.step(consolidate=consolidate)
            except TamiyoError:
                raise
            except Exception as exc:
                if not any(self.network.seeds):
                    raise  # nothing grows here: the defect is not a seed's
                self._take_back(Panic.BROKEN, f"{type(exc).__name__}: {exc}"[:200], end=end)
                return None
            panic, what = self._judge(result, within)
            if panic is not None:
                self._take_back(panic, what, end=end)
                return None
            losses.append(result.loss)
            correct += result.correct
            samples += result.samples
        self._barren_panics = 0
        return float(np.mean(losses)), correct / samples

    def measure(self) -> bool:
        """Read the network and judge what every blending seed does to its slot; False when that was taken back."""
        self._reading = telemetry.read(self.network, self.trainer)
        for slot in self.network.slots_in(*_DRIFTING):
            seen = self._reading.slots[slot]
            _, panic = judge(
                self.config.limits, Watch(), loss=0.0, drift=seen.drift_p95, norm_ratio=seen.log_norm_ratio
            )
            if panic is not None:
                path = self.network.lives[slot].path
                what = f"slot {path}: drift {seen.drift_p95:.3f}, log2 norm ratio {seen.log_norm_ratio:.3f}"
                self._take_back(panic, what, end=self.trainer.step_index, blame=slot)
                self._reading = telemetry.read(self.network, self.trainer)
                return False
        return True

    def retire_idle(self) -> tuple[int, ...]:
        """Retire fossilised seeds that no longer earn their place, least worth first; the slots they left.

        Each is taken out on trial: where the network answers fewer samples of the gate split rightly without it, the
        seed is put back bit by bit and stays.
        """
        self._reading = telemetry.read(self.network, self.trainer)
        return tuple(slot for slot, worth in self.gardener.idle(self._reading) if self._retire_on_trial(slot, worth))

    def _retire_on_trial(self, slot: int, worth: Worth) -> bool:
        life, gate = self.network.lives[slot], self.trainer.data.gate
        if life.state is not State.FOSSILISED:
            return False  # it went with the seed around it
        before, snapshot, path = score(self.network, gate).accuracy, Snapshot(self.trainer), life.path
        self.gardener.retire(slot, str(worth))
        after = score(self.network, gate).accuracy
        if after >= before:
            return True
        self._roll_back(
            snapshot, reason="retirement", what=f"slot {path}: accuracy {before:.4f} with, {after:.4f} without"
        )
        return False

    def _roll_back(self, snapshot: Snapshot, **why: str) -> None:
        """Audit where the network goes back to, then go there."""
        states = {path: state.value for path, state in snapshot.states.items()}
        step = self.trainer.step_index
        self.audit.append("rollback", step=step, **why, to=snapshot.step, state=snapshot.sha256, slots=states)
        snapshot.restore(self.trainer)

    def _gate_loss(self) -> float:
        return score(self.network, self.trainer.data.gate).loss

    def _judge(self, result: StepResult, within_budget: bool) -> tuple[Panic | None, str]:
        """A step that left seeds out says nothing about spikes, and a newborn's loss only whether it is finite."""
        loss = result.loss if result.seed_loss is None or math.isfinite(result.seed_loss) else result.seed_loss
        what = f"loss {result.loss:.4g}, of seeds in training {result.seed_loss}"
        if math.isfinite(loss) and (name := unsound(self.trainer)) is not None:
            return Panic.NOT_FINITE, f"{name} is not finite; {what}"
        if math.isfinite(loss) and not result.whole:
            self._watch = replace(self._watch, partial=True)
            return (None if within_budget else Panic.BUDGET), what
        self._watch, panic = judge(self.config.limits, self._watch, loss=loss, within_budget=within_budget)
        return panic, what

    def _take_back(self, panic: Panic, what: str, *, end: int, blame: int | None = None) -> None:
        """Restore the snapshot, cull the seed to blame, and count the window as spent: time is not given back.

        With no seed to blame the learning rate is halved from here on; a budget that is breached all the same costs the
        fossilised seed that was born last.
        """
        self.safety_events += 1
        slot = self.gardener.youngest() if blame is None else blame
        blamed = None if slot is None else (slot, self.network.seed_at(slot).born_step)
        self.audit.append("panic", step=self.trainer.step_index, panic=panic.value, what=what)
        self._roll_back(self._snapshot, panic=panic.value)
        if self.on_restored is not None:
            self.on_restored()
        self._watch = Watch()
        if not self._cull(panic, blamed):
            self._barren_panics += 1
            self.trainer.caution /= 2
            if self._barren_panics > MAX_BARREN_PANICS:
                raise TamiyoError(
                    f"training diverges without any seed: {what}",
                    hint="lower the learning rate; the network was restored to its last sound state",
                )
        self.trainer.step_index = end

    def _cull(self, panic: Panic, blamed: tuple[int, int] | None) -> bool:
        """See that the seed to blame (slot and birth) is gone; False when there is none."""
        reason = f"governor: {panic}"
        if blamed is not None:
            slot, born_step = blamed
            seed = self.network.seeds[slot]
            if seed is not None and seed.born_step == born_step and self.network.lives[slot].state in LIVE:
                self.gardener.cull(slot, reason)
            return True  # or it was born after the snapshot, and restoring has undone that
        return panic is Panic.BUDGET and self.gardener.retire_youngest(reason)
