"""The atlas of topologies, and the teacher that prices them for the budget at hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.policy import atlas, foresight
from tamiyo_train.policy.levels import EPISODE, FAMILIES, TAUGHT, growth
from tamiyo_train.policy.rollout import drawn_lanes, roll
from tamiyo_train.population.growth_state import legal

SHORT = replace(EPISODE, steps=60)
INITS = range(10_000, 10_004)
CODES = (4, 5)


@pytest.fixture(scope="module")
def env():
    family = FAMILIES["spirals"]
    return growth(family.builder(), [family.training_level(0), family.training_level(4)], episode=SHORT)


@pytest.fixture(scope="module")
def surveyed(env):
    config = atlas.Survey(codes=CODES, hosts=(2, 1), chunk=64)
    return atlas.survey(env, config, rng=np.random.default_rng(0), inits=INITS)


def lanes(env, count=4, factor=None):
    """Lanes without limits, or with ``factor`` times the bare host's parameters."""
    drawn = drawn_lanes(env, np.random.default_rng(0), count=count, inits=INITS)
    budget = torch.full_like(drawn.budget, torch.inf)
    if factor is not None:
        budget[:, 0] = factor * env.table.host[0, 0]
    return replace(drawn, budget=budget)


def drawn_atlas(gain, late=None):
    """An atlas of two levels with the gain of a topology given by a function of its codes."""
    codes = atlas.topologies(CODES, 3)
    row = torch.tensor([gain(tuple(code)) for code in codes.tolist()], dtype=torch.float64)
    late = torch.ones(15, dtype=torch.float64) if late is None else late
    return atlas.Atlas(codes=codes, gain=row.repeat(2, 1), late=late)


def test_what_is_wanted_is_grown_and_nothing_else(env):
    codes = torch.tensor([[0, 0, 0], [4, 0, 5], [5, 5, 5], [0, 4, 0]])
    starts = torch.tensor([0, 0, 0, 3])
    rollout = roll(env, lanes(env), atlas.Wanted(codes, starts, taught=env.taught))
    planted = rollout.actions[..., 0] == Operation.GERMINATE
    assert not planted[:, 0].any()
    assert rollout.actions[0, 1].tolist() == [Operation.GERMINATE, 2, TAUGHT[4], atlas.INTENSITY]
    assert rollout.actions[:, 1, 2][planted[:, 1]].unique().tolist() == sorted([TAUGHT[3], TAUGHT[4]])
    assert planted[:, 3].nonzero()[0, 0] == 3


def test_an_atlas_survives_its_file_and_begins_with_the_bare_host(surveyed):
    again = atlas.Atlas.from_json(json.loads(json.dumps(surveyed.to_json())))
    assert torch.equal(again.codes, surveyed.codes) and torch.allclose(again.gain, surveyed.gain)
    assert surveyed.codes[0].tolist() == [0, 0, 0] and len(surveyed.codes) == 27
    assert surveyed.gain.shape == (2, 27) and bool((surveyed.gain[:, 0] == 0).all())
    assert surveyed.late[0] == 1 and surveyed.late[-1] == 0
    assert bool((surveyed.late.diff() <= 0).all())


def test_a_survey_says_the_same_in_chunks_of_any_size(env, surveyed):
    config = atlas.Survey(codes=CODES, hosts=(2, 1), chunk=1000)
    whole = atlas.survey(env, config, rng=np.random.default_rng(0), inits=INITS)
    assert float((whole.gain - surveyed.gain).abs().max()) < 0.02


def test_smoothing_keeps_what_is_in_each_slot_and_takes_noise_away():
    codes = atlas.topologies((1, 2, 3), 3)
    true = codes.double() @ torch.tensor([0.03, 0.02, 0.01], dtype=torch.float64)
    noise = 0.02 * torch.randn(1, len(codes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[:, 0] = 0
    few, many = (atlas.smoothed(true + noise, codes, torch.full((len(codes),), n)) for n in (1.0, 1e6))
    assert float((few - true).square().mean()) < 0.8 * float(noise.square().mean())
    assert torch.allclose(many, true + noise, atol=1e-3)


def test_the_teacher_takes_the_best_topology_that_fits(env):
    best = drawn_atlas(lambda codes: 0.1 * codes.count(5) + 0.05 * codes.count(4))
    roomy = roll(env, lanes(env), foresight.Foresight(env, best, None))
    kinds = roomy.actions[..., 2][roomy.actions[..., 0] == Operation.GERMINATE]
    assert set(kinds.tolist()) == {TAUGHT[4]}
    own = env.table.seed_params[2]
    between = 1 + 0.5 * float(own[4] + own[5]) / float(env.table.host[0, 0])
    assert own[4] < own[5]
    tight = roll(env, lanes(env, factor=between), foresight.Foresight(env, best, None))
    kinds = tight.actions[..., 2][tight.actions[..., 0] == Operation.GERMINATE]
    assert len(kinds) and set(kinds.tolist()) == {TAUGHT[3]}
    assert bool((tight.result.cost[:, 0] <= env.budget[:, 0]).all())


def test_the_teacher_grows_nothing_that_does_not_pay_and_says_how_much_hangs_on_it(env):
    teacher = foresight.Foresight(env, drawn_atlas(lambda codes: 0.0), None)
    rollout = roll(env, lanes(env, factor=24), teacher)
    assert not bool((rollout.actions[..., 0] == Operation.GERMINATE).any())
    rich = foresight.Foresight(env, drawn_atlas(lambda codes: 0.1 * (5 in codes)), None)
    seen = env.reset(lanes(env))
    assert bool(legal(rich.decide(seen), seen).all())
    assert float(rich.stakes.min()) == 2.0
    env.reset(lanes(env, factor=24))
    teacher.decide(env.seen)
    assert float(teacher.stakes.max()) < 1.0


def test_the_teacher_stops_when_it_is_too_late(env):
    late = torch.zeros(15, dtype=torch.float64)
    rollout = roll(env, lanes(env, factor=24), foresight.Foresight(env, drawn_atlas(sum, late), None))
    assert not bool((rollout.actions[..., 0] == Operation.GERMINATE).any())


def test_a_forecast_tells_levels_by_what_is_observed(env, surveyed):
    seeds = surveyed.codes.sum(1).double()
    atlases = {"spirals": replace(surveyed, gain=torch.stack([seeds * 0.01, -seeds * 0.01]))}
    rng = np.random.default_rng(1)
    tutor = foresight.learn({"spirals": env}, atlases, rng=rng, inits=INITS, lanes=32, steps=150, batch=256)
    rollout = roll(env, lanes(env, count=16), tutor.begin("spirals", env))
    with torch.no_grad():
        said = tutor.forecast(rollout.decisions.vector[-16:])
    gain = said[:, 26]
    level = env.task.bool()
    assert float(gain[~level].mean()) > float(gain[level].mean()) + 0.05


def test_states_are_imagined_under_other_limits_and_change_nothing(env):
    best = drawn_atlas(lambda codes: 0.1 * codes.count(5))
    plain = roll(env, lanes(env), foresight.Foresight(env, best, None))
    teacher = foresight.Foresight(env, best, None)
    others = [lanes(env, factor=1.01), lanes(env)]
    asked = roll(env, lanes(env), foresight.Foresight(env, best, None), teacher=teacher, imagined=others)
    assert torch.equal(asked.utility, plain.utility) and torch.equal(asked.actions, plain.actions)
    told = asked.imagined
    assert len(told) == 2 * len(asked.decisions)
    tight, same = (told.rows(torch.arange(4) + 4 * number) for number in (0, 1))
    assert bool((tight.actions[:, 0] == Operation.WAIT).all())
    assert torch.equal(same.actions, asked.decisions.actions[:4])
    assert torch.equal(same.vector, asked.decisions.vector[:4])
    later = told.rows(torch.arange(len(told) - 8, len(told) - 4))
    assert bool((later.weight == 0).all())  # what has grown by then is beyond such limits


def test_a_forecast_does_not_depend_on_limits_or_device(env, surveyed):
    forecast = foresight.Forecast(len(env.reset(lanes(env)).vector[0]), 54)
    roomy = env.seen.vector
    tight = env.reset(lanes(env, factor=2)).vector
    assert not torch.equal(roomy, tight)
    with torch.no_grad():
        assert torch.equal(forecast(roomy), forecast(tight))
