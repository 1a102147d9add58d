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


@pytest.mark.parametrize("action", [[1, 99, 0, 0], [7, 0, 0, 0], [1, -1, 0, 0], [1, 0, 0, 9], [0, 0], [0.5, 0, 0, 0]])
def test_what_is_no_action_is_refused_like_one_that_the_masks_forbid(action):
    env = GrowthGym("spheres", episode=replace(SHORT, decisions=2, steps=4))
    env.reset(seed=1)
    seen, _, over, _, info = env.step(np.array(action))
    assert info["refused"] and not over and env.observation_space.contains(seen)


def test_what_the_masks_in_info_allow_is_never_refused_and_rewards_sum_to_what_was_grown_is_worth():
    env = GrowthGym("clusters", episode=SHORT)
    _, info = env.reset(seed=5)
    rng, grew, paid, over = np.random.default_rng(0), 0, 0.0, False
    while not over:
        allowed = np.flatnonzero(info["slot_mask"].any(1))
        operation = int(rng.choice(allowed)) if len(allowed) else int(Operation.WAIT)
        slot = int(info["slot_mask"][operation].argmax())
        blueprint = int(info["blueprint_mask"][slot].argmax())
        seen, reward, over, _, info = env.step(np.array([operation, slot, blueprint, 2]))
        assert not info["refused"] and env.observation_space.contains(seen)
        grew, paid = grew + (operation == Operation.GERMINATE), paid + reward
    growth = env._growth
    assert grew
    assert paid == pytest.approx(float(utilities(growth.finish(), growth.budget, SHORT.prices)[0]), abs=1e-9)


def test_a_step_without_an_episode_says_what_to_do():
    env = GrowthGym(episode=replace(SHORT, decisions=1, steps=2))
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(WAIT)
    env.reset(seed=0)
    assert env.step(WAIT)[2]
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(WAIT)


def test_a_family_that_does_not_exist_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="spiral"):
        GrowthGym("spiral")
