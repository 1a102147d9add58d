"""Growth as a Gymnasium environment."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402

from tamiyo_runtime.contracts.errors import IncompatibleError, UnknownNameError  # noqa: E402
from tamiyo_runtime.contracts.observation import Operation  # noqa: E402
from tamiyo_train.gymnasium_env import GrowthGym  # noqa: E402
from tamiyo_train.policy.levels import EPISODE  # noqa: E402
from tamiyo_train.population.reward import utilities  # noqa: E402

SHORT = replace(EPISODE, steps=30)
WAIT = np.zeros(4, dtype=np.int64)


def test_it_is_registered_and_passes_gymnasiums_own_checker():
    made = gymnasium.make("tamiyo_train.gymnasium_env:tamiyo/Growth-v0", episode=SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped, skip_render_check=True)


def test_an_episode_that_waits_is_paid_what_its_host_is_worth():
    env = GrowthGym(episode=SHORT)
    env.reset(seed=3)
    paid, over = 0.0, False
    for _ in range(SHORT.decisions):
        assert not over
        _, reward, over, cut, info = env.step(WAIT)
        assert not cut and not info["refused"]
        paid += reward
    assert over
    growth = env._growth
    assert paid == pytest.approx(float(utilities(growth.finish(), growth.budget, SHORT.prices)[0]), abs=1e-9)


def test_an_action_the_masks_forbid_is_refused_and_the_window_spent():
    env = GrowthGym("spheres", episode=SHORT)
    _, info = env.reset(seed=1)
    assert not info["slot_mask"][Operation.FOSSILISE].any()
    seen, _, _, _, info = env.step(np.array([Operation.FOSSILISE, 0, 0, 0]))
    assert info["refused"]
    env.reset(seed=1)
    waited, *_ = env.step(WAIT)
    assert np.array_equal(seen, waited)


def test_an_episode_that_would_be_played_otherwise_than_it_says_is_refused_with_what_to_set():
    with pytest.raises(IncompatibleError, match="apart = True is not for populations") as caught:
        gymnasium.make("tamiyo_train.gymnasium_env:tamiyo/Growth-v0", episode=replace(SHORT, apart=True))
    assert "set apart = False" in str(caught.value.hint)


def test_a_family_that_does_not_exist_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="spiral"):
        GrowthGym("spiral")
