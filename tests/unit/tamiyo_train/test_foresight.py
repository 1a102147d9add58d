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
    return atlas.survey(env, CODES, rng=np.random.default_rng(0), inits=INITS, hosts=1, decisions=15)


def lanes(env, count=4, factor=None):
    """Lanes without limits, or with ``factor`` times the bare host's parameters."""
    drawn = drawn_lanes(env, np.random.default_rng(0), count=count, inits=INITS)
    budget = torch.full_like(drawn.budget, torch.inf)
    if factor is not None:
        budget[:, 0] = factor * env.table.host[0, 0]
    return replace(drawn, budget=budget)


def drawn_atlas(worth, late=None):
    """An atlas of two levels with the worth of a topology given by a function of its codes."""
    codes = atlas.topologies(CODES, 3)
    row = torch.tensor([worth(tuple(code)) for code in codes.tolist()], dtype=torch.float64)
    return atlas.Atlas(
        codes=codes,
        worth=row.repeat(2, 1),
        manners=torch.zeros(2, len(atlas.MANNERS), dtype=torch.float64),
        late=torch.ones(15, dtype=torch.float64) if late is None else late,
    )


@pytest.mark.parametrize("manner", atlas.MANNERS)
def test_what_is_wanted_is_grown_and_nothing_else(env, manner):
    codes = torch.tensor([[0, 0, 0], [4, 0, 5], [5, 5, 5], [0, 4, 0]])
    starts = torch.tensor([0, 0, 0, 3])
    rollout = roll(env, lanes(env), atlas.Wanted(codes, [manner] * 4, starts, taught=env.taught))
    planted = rollout.actions[..., 0] == Operation.GERMINATE
    assert not planted[:, 0].any()
    first = rollout.actions[0, 1]
    assert first[1] == (0 if manner.forward else 2)
    assert first[2] == TAUGHT[(4 if manner.forward else 5) - 1] and first[3] == manner.intensity
    assert planted[:, 3].nonzero()[0, 0] == 3
    if manner.eager:
        assert bool(planted[:3, 2].all())


def test_an_atlas_survives_its_file_and_begins_with_the_bare_host(surveyed):
    again = atlas.Atlas.from_json(json.loads(json.dumps(surveyed.to_json())))
    assert torch.equal(again.codes, surveyed.codes) and torch.allclose(again.worth, surveyed.worth)
    assert surveyed.codes[0].tolist() == [0, 0, 0] and len(surveyed.codes) == 27
    assert surveyed.worth.shape == (2, 27) and surveyed.manners.shape == (2, len(atlas.MANNERS))
    assert surveyed.late[0] == 1 and surveyed.late[-1] == 0
    assert bool((surveyed.late.diff() <= 0).all())


def test_smoothing_keeps_what_is_in_each_slot_and_takes_noise_away():
    codes = atlas.topologies((1, 2, 3), 3)
    true = codes.double() @ torch.tensor([0.03, 0.02, 0.01], dtype=torch.float64)
    noise = 0.02 * torch.randn(1, len(codes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = atlas.smoothed(true + noise, codes)
    assert float((found - true).square().mean()) < 0.7 * float(noise.square().mean())
    assert float(found.mean()) == pytest.approx(float((true + noise).mean()))


def test_the_teacher_takes_the_best_topology_that_fits(env):
    best = drawn_atlas(lambda codes: 0.5 + 0.1 * codes.count(5) + 0.05 * codes.count(4))
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
    teacher = foresight.Foresight(env, drawn_atlas(lambda codes: 0.5), None)
    rollout = roll(env, lanes(env, factor=24), teacher)
    assert not bool((rollout.actions[..., 0] == Operation.GERMINATE).any())
    rich = foresight.Foresight(env, drawn_atlas(lambda codes: 0.5 + 0.1 * (5 in codes)), None)
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
    differing = replace(
        surveyed, worth=torch.stack([surveyed.codes.sum(1) * 0.01, -surveyed.codes.sum(1) * 0.01]).double()
    )
    tutor = foresight.learn(
        {"spirals": env},
        {"spirals": differing},
        rng=np.random.default_rng(1),
        inits=INITS,
        lanes=32,
        steps=150,
        batch=256,
    )
    rollout = roll(env, lanes(env, count=16), tutor.begin("spirals", env))
    with torch.no_grad():
        said = tutor.forecast(rollout.decisions.vector[-16:])
    gain = said[:, 26]
    level = env.task.bool()
    assert float(gain[~level].mean()) > float(gain[level].mean()) + 0.05
