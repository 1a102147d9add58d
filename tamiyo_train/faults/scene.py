"""A network caught in mid-growth, and trials of faults on it under the real governor.

The scene holds a fossilised seed, one that is being blended in and one in training, and has learned something: what is
wrong is so for a network that knows what is right. It is grown once a process, from the campaign's seed alone, and put
back to the same moment, bit by bit, before every trial.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_train.data import data_of
from tamiyo_train.env import GrowthEnv
from tamiyo_train.evaluation import score
from tamiyo_train.jobs import new_host, offered
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.presets import preset
from tamiyo_train.pricing import Pricer
from tamiyo_train.seeding import derive
from tamiyo_train.snapshot import Snapshot, digest

WINDOW = 10
"""Steps of a decision window, and the most that may pass between a fault and its detection."""
LEARNED = 0.5
"""Share of the loss of guessing, on the gate split, below which a network has learned something."""
_LONGEST_WAIT_WINDOWS = 200
"""For that: the scene of a task that takes longer has a network that still guesses in part."""
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What the governor did about a fault; ``steps`` after it. The rest is measured right after the restoring."""

    steps: int
    state: str
    accuracy: float


class Scene(GrowthEnv):
    """An episode that can be put back to the moment it was `settle`d in."""

    # Outside the instance's dictionary: what is kept of an episode on disk is all that is in there.
    __slots__ = ("_offered", "_settled", "_steps", "recovery", "seed", "sound", "source", "struck_at")

    def __init__(self, task: str, data: str | None, seed: int) -> None:
        super().__init__(**_parts(task, data, seed))
        self.source, self.seed = (task, data), seed
        self.struck_at: int | None = None
        self.recovery: Recovery | None = None
        self.sound: dict[str, float] = {}
        self.on_restored = self._note

    def fresh(self) -> GrowthEnv:
        """A new episode of the same configuration, as after a restart."""
        return GrowthEnv(**_parts(*self.source, self.seed))

    @property
    def guessing(self) -> float:
        """Loss on the gate split over that of guessing all classes alike: 1 for a network that knows nothing."""
        gate = self.trainer.data.gate
        return score(self.network, gate).loss / math.log(int(self.trainer.data.train_y.max()) + 1)

    def grow(self, windows: int) -> None:
        """Train under guard without a decision."""
        for _ in range(windows):
            self.mark()
            self.train(WINDOW)
            self.measure()
            self.gardener.settle(self.reading)

    def settle(self) -> None:
        """Make the present moment the one that `rewind` goes back to."""
        self._settled = (Snapshot(self.trainer), self._watch, self.reading, self.trainer.data, self.gardener.budget)
        self._offered = self.gardener.blueprints
        self.sound = {self._settled[0].sha256: self.accuracy()}

    def rewind(self) -> None:
        """Go back to the moment the scene was settled in."""
        snapshot, self._watch, self._reading, self.trainer.data, self.gardener.budget = self._settled
        self.gardener.blueprints = self._offered
        snapshot.restore(self.trainer)
        self.trainer.caution = 1.0
        self.trainer.on_step = None
        self._barren_panics = 0
        self.struck_at = self.recovery = None
        self._snapshot = snapshot
        self.sound = {snapshot.sha256: self.accuracy()}

    def room(self) -> tuple[int, ...]:
        """Slots for another seed; where the scene filled them all, that of the seed in training is cleared first."""
        network = self.network
        free = tuple(slot for slot in network.slots_in(State.DORMANT) if network.place(slot) is not None)
        if free:
            return free
        slot = network.slots_in(State.TRAINING)[0]
        self.gardener.cull(slot, "makes room for another")
        network.lives[slot].fire(Event.RELEASE, step=self.trainer.step_index, reason="makes room for another")
        return (slot,)

    def accuracy(self) -> float:
        """Of the network as it stands, on the gate split."""
        return score(self.network, self.trainer.data.gate).accuracy

    def train_with(self, strike: Callable[[], None], *, after: int) -> Recovery | None:
        """Train under guard, let ``strike`` happen after that many steps, and see what the governor makes of it.

        None when nothing was restored within `WINDOW` steps of the fault. The last window is trained to its end, for
        what a seed does to its slot is measured there.
        """
        first = self.trainer.step_index

        def on_step(step: int) -> None:
            if step - first == after:
                self.struck_at = step
                strike()

        self.trainer.on_step = on_step
        self.mark()
        if after == 0:
            self.struck_at = first
            strike()
        while self.recovery is None and (self.struck_at is None or self.trainer.step_index < self.struck_at + WINDOW):
            if self.train(WINDOW) is not None:
                self.measure()
            if self.recovery is None:
                self.mark()
        self.trainer.on_step = None
        return self.recovery

    def mark(self) -> None:
        """Remember how accurate each state is that the governor chose to go back to before the fault."""
        super().mark()
        if self.struck_at is None and self._snapshot.step == self.trainer.step_index:
            self.sound[self._snapshot.sha256] = self.accuracy()

    def _roll_back(self, snapshot: Snapshot, **why: str) -> None:
        """Count the steps since the fault before they are taken back."""
        self._steps = self.trainer.step_index - (self.struck_at or 0)
        super()._roll_back(snapshot, **why)

    def _note(self) -> None:
        self.recovery = Recovery(steps=self._steps, state=digest(self.trainer), accuracy=self.accuracy())


def _parts(task: str, data: str | None, seed: int) -> dict[str, Any]:
    """What an episode of the campaign is built from: a long one of the task's preset, in short windows."""
    config = preset(task, data)
    episode = replace(
        config.final,
        steps=3000,
        decisions=300,
        consolidation_steps=0,
        batch=64,
        warmup_share=0.02,
        blend_windows=4.0,
    )
    host, pricer = new_host(config, derive(seed, "scene")), Pricer(config.profile)
    return {
        "host": host,
        "data": data_of(task, data),
        "config": episode,
        "blueprints": offered(host, config.taught),
        "pricer": pricer,
        "budget": pricer.default_budget(host.layers),
        "seed": derive(seed, "scene"),
    }


@functools.cache
def scene(task: str, data: str | None, seed: int) -> Scene:
    """The scene of a task, or of files in the format ``task``, grown once a process.

    Where the governor takes a seed that the scene needs, another one is grown from another seed. Raises TamiyoError
    when that happens every time.
    """
    for attempt in range(_ATTEMPTS):
        made = Scene(task, data, derive(seed, "attempt", attempt) if attempt else seed)
        if _grown(made):
            made.settle()
            return made
    raise TamiyoError(
        f"no network of '{task}' came of age: seeds that the campaign needs went astray in {_ATTEMPTS} of {_ATTEMPTS}",
        hint="try another --seed, or a task that trains more calmly",
    )


def _grown(made: Scene) -> bool:
    """Grow a scene from its beginning; False when a seed went astray on the way."""
    gardener, network, slots = made.gardener, made.network, made.network.host.slots
    fitting = {slot: [i for i in range(1, len(gardener.blueprints)) if gardener.fits(slot, i)] for slot in range(slots)}
    last = slots - 1
    made.grow(2)
    gardener.germinate(last, fitting[last][0], 2)
    made.grow(2)
    if network.slots_in(State.TRAINING) != (last,):
        return False
    gardener.advance(made.reading, last)
    made.grow(4)
    if network.slots_in(State.PROBATIONARY) != (last,):
        return False
    gardener.fossilise(made.reading, last)
    waited = 0
    while made.guessing > LEARNED and waited < _LONGEST_WAIT_WINDOWS:
        made.grow(1)
        waited += 1
    gardener.germinate(last - 1, fitting[last - 1][-1], 2)
    made.grow(2)
    if network.slots_in(State.TRAINING) != (last - 1,):
        return False
    gardener.advance(made.reading, last - 1)
    gardener.germinate(0, fitting[0][0], 2)
    made.grow(2)
    living = {state: network.slots_in(state) for state in (State.FOSSILISED, State.BLENDING, State.TRAINING)}
    return living == {State.FOSSILISED: (last,), State.BLENDING: (last - 1,), State.TRAINING: (0,)}
