"""Growth as a Gymnasium environment: ``gymnasium.make("tamiyo_train.gymnasium_env:tamiyo/Growth-v0")``.

One lane of `population.growth` on the training levels of a family; every reset draws a level, a host, a device and a
budget. An action is operation, slot, blueprint and intensity. In ``info``, both bool: ``slot_mask`` (operations, S),
which slots each operation may take, WAIT being legal always, and ``blueprint_mask`` (S, B), what may be germinated in
each. An action that they forbid, or that is none, is refused: the window is spent waiting, and ``info["refused"]`` says
so. Rewards sum to the utility of the committed network.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_runtime.contracts.features import GLOBAL, SLOT
from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train.config import Episode
from tamiyo_train.policy.levels import EPISODE, FAMILIES, growth
from tamiyo_train.policy.rollout import drawn_lanes
from tamiyo_train.population.growth_state import Seen, legal
from tamiyo_train.population.reward import SHAPING, utilities

ID = "tamiyo/Growth-v0"
Vector = NDArray[np.float32]
_INITS = range(10_000, 10_064)


class GrowthGym(gymnasium.Env[Vector, NDArray[np.int64]]):
    """``family``: one of `policy.levels.FAMILIES`; ``episode``: another horizon; ``shaping``: see `population.reward`.

    Raises UnknownNameError when there is no such family, and for an episode what `TensorGrowth` raises.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own interface)

    def __init__(self, family: str = "spirals", *, episode: Episode = EPISODE, shaping: float = SHAPING) -> None:
        if family not in FAMILIES:
            raise UnknownNameError("family", family, tuple(FAMILIES))
        made = FAMILIES[family]
        self._growth = growth(made.builder(), made.training_data(), episode=episode)
        self._shaping = shaping
        heads = self._growth.heads
        ranges = [*GLOBAL, *(feature for _ in range(heads.slots) for feature in SLOT)]
        self.observation_space = gymnasium.spaces.Box(
            np.array([feature.low for feature in ranges], dtype=np.float32),
            np.array([feature.high for feature in ranges], dtype=np.float32),
        )
        self.action_space = gymnasium.spaces.MultiDiscrete(
            [len(Operation), heads.slots, heads.blueprints, len(INTENSITIES)]
        )
        self._potential = self._begun = 0.0
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """A fresh host; ``options`` has none."""
        super().reset(seed=seed)
        level = int(self.np_random.integers(len(self._growth.tasks)))
        lanes = drawn_lanes(self._growth, self.np_random, count=1, inits=_INITS, task=[level])
        seen = self._growth.reset(lanes)
        self._begun, self._potential, self._over = float(self._growth.sensed.sureness[0]), 0.0, False
        return _vector(seen), self._info(seen, refused=False)

    def step(self, action: NDArray[np.int64]) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Carry out an action, or wait when it is refused, and train one window.

        Raises ResetNeeded before the first `reset` and after the last decision.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("no episode is going on: call reset()")
        growth, waiting = self._growth, torch.zeros(1, 4, dtype=torch.int64)
        known = self.action_space.contains(np.asarray(action))
        wanted = torch.as_tensor(np.asarray(action), dtype=torch.int64)[None] if known else waiting
        refused = not known or not bool(legal(wanted, growth.seen)[0])
        seen = growth.act(waiting if refused else wanted)
        potential = 0.0
        reward = 0.0
        if growth.done:
            reward = float(utilities(growth.finish(), growth.budget, growth.config.prices)[0])
        else:
            potential = self._shaping * (float(growth.sensed.sureness[0]) - self._begun)
        reward += potential - self._potential
        self._potential, self._over = potential, growth.done
        return _vector(seen), reward, growth.done, False, self._info(seen, refused=refused)

    def _info(self, seen: Seen, *, refused: bool) -> dict[str, Any]:
        return {
            "slot_mask": seen.slot_mask[0].numpy(),
            "blueprint_mask": seen.blueprint_mask[0].numpy(),
            "refused": refused,
        }


def _vector(seen: Seen) -> Vector:
    return seen.vector[0].numpy().copy()


gymnasium.register(id=ID, entry_point=f"{__name__}:GrowthGym")
