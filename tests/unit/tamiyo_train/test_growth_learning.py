"""Learning to grow: deciders for lanes, the distribution, cloning, PPO, the bandit, and the policy that ships."""

from __future__ import annotations

import functools
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation, observation_size
from tamiyo_train.jobs import rebuilt
from tamiyo_train.policy import bandit, dagger, ppo, shipped
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings
from tamiyo_train.policy.lane_deciders import (
    Chance,
    Habit,
    Kasminas,
    MatchedChance,
    Networked,
    Waiting,
)
from tamiyo_train.policy.levels import EPISODE, FAMILIES, OFFERS, TAUGHT, TRAINING_SCORE, growth
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.policy.rollout import Rollout, drawn_lanes, joined, repeated, roll, side_by_side
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Seen, legal
from tamiyo_train.tasks.generated import SCORE
from tests.unit.tamiyo_train.drawn import HEADS, drawn_seen, network, one

SHORT = replace(EPISODE, steps=60)
INITS = range(10_000, 10_004)
RESULTS = Path(__file__).parents[3] / "benchmarks" / "growth_policy"


@pytest.fixture(scope="module")
def env():
    family = FAMILIES["spirals"]
    return growth(family.builder(), [family.training_level(0), family.training_level(1)], episode=SHORT)


def lanes(env, count=6, seed=0):
    return drawn_lanes(env, np.random.default_rng(seed), count=count, inits=INITS)


def roomy(env, count=6):
    """Lanes without any limit."""
    return replace(lanes(env, count), budget=torch.full((count, 5), torch.inf, dtype=torch.float64))


def eager(env, count=6) -> Rollout:
    return roll(env, lanes(env, count), Kasminas([Habit(intensity=4)] * count))


def test_training_and_held_out_levels_are_disjoint_and_so_are_their_samples():
    assert set(FAMILIES) == {"spirals", "checkerboard", "clusters", "spheres", "digits", "mnist1d", "imu"}
    for family in FAMILIES.values():
        assert len(family.training) == 5 and len(family.held_out) == 3
        assert not set(family.training) & set(family.held_out)
    family = FAMILIES["clusters"]
    taught, judged = family.training_level(0), family.held_out_level(0)
    assert taught.variants.shape == judged.variants.shape
    assert not torch.equal(taught.variants, judged.variants)
    assert len(taught.score.y) == TRAINING_SCORE and len(judged.score.y) == SCORE


@pytest.mark.parametrize("settings", [KasminaSettings(patience=0), KasminaSettings(patience=2, improvement=0.3)])
def test_the_heuristic_for_lanes_decides_what_the_ordinary_one_decides(env, settings):
    habit = Habit(
        patience=settings.patience,
        improvement=settings.improvement,
        intensity=settings.intensity,
        mature=settings.mature,
        trial=settings.trial,
        forward=False,
    )
    given = roomy(env, 3)
    ordinary, many = [KasminaMicro(settings) for _ in range(3)], Kasminas([habit] * 3)
    seen, grew = env.reset(given), 0
    while not env.done:
        actions = many.decide(seen)
        for row, decider in enumerate(ordinary):
            expected = decider.decide(one(seen, row))
            assert actions[row, 0] == expected.operation
            if expected.operation is not Operation.WAIT:
                assert actions[row, 1] == expected.slot
            if expected.operation is Operation.GERMINATE:
                assert actions[row, 2:].tolist() == [expected.blueprint, expected.intensity]
                grew += 1
        seen = env.act(actions)
    assert grew


def test_a_habit_keeps_to_its_start_its_number_of_seeds_and_its_first_blueprint(env):
    habits = [Habit(seeds=0), Habit(seeds=1, start=3, preferred=TAUGHT[1]), Habit(seeds=2, preferred=TAUGHT[0])]
    rollout = roll(env, roomy(env, 3), Kasminas(habits))
    planted = rollout.actions[..., 0] == Operation.GERMINATE
    assert not planted[:, 0].any()
    assert planted[:, 1].nonzero()[0, 0] == 3
    assert rollout.actions[3, 1, 2] == TAUGHT[1]
    assert rollout.actions[0, 2, 2] == TAUGHT[0]


def test_every_decider_for_lanes_stays_within_the_masks():
    seen = drawn_seen(200)
    kinds = torch.full((200, 4), TAUGHT[0])
    deciders = [
        Waiting(),
        Kasminas([Habit()] * 200),
        Chance(0),
        MatchedChance(kinds, torch.zeros_like(kinds), decisions=1, seed=0),
        Networked(network()),
        Networked(network(), torch.Generator().manual_seed(0), floor=0.1),
    ]
    for decider in deciders:
        assert bool(legal(decider.decide(seen), seen).all()), type(decider).__name__


def test_matched_chance_germinates_what_it_is_given_and_no_more(env):
    kinds = torch.full((4, 3), -1)
    kinds[0, 0] = kinds[1, 0] = kinds[1, 1] = TAUGHT[0]
    rollout = roll(env, roomy(env, 4), MatchedChance(kinds, torch.full_like(kinds, 2), decisions=4, seed=1))
    planted = rollout.actions[..., 0] == Operation.GERMINATE
    assert planted.sum(0).tolist() == [1, 2, 0, 0]


def test_episodes_leave_what_can_be_learned_from_and_teachers_label_them(env):
    rollout = eager(env)
    decisions = rollout.decisions
    assert len(decisions) == 15 * 6 and decisions.safety.shape == (90, 3) and decisions.hardware.shape == (90, 2)
    assert torch.allclose(rollout.rewards.sum(0), rollout.utility, atol=1e-12)
    assert torch.allclose(decisions.returns[:6].double(), rollout.utility, atol=1e-6)
    waited = roll(env, lanes(env), Waiting(), teacher=Kasminas([Habit()] * 6))
    assert waited.result.training_ratio.tolist() == [1.0] * 6
    assert bool((waited.decisions.actions[:, 0] == Operation.GERMINATE).any())
    assert len(joined([decisions, waited.decisions])) == 180
    assert len(decisions.rows(torch.tensor([3, 5]))) == 2


def test_lanes_of_a_group_share_everything_but_what_is_decided(env):
    group = repeated(lanes(env, 2), 3)
    played = roll(env, group, Waiting())
    assert played.utility[0] == played.utility[1] == played.utility[2] != played.utility[3]


def test_a_static_twin_trains_the_topology_it_is_given_from_the_start(env):
    grown = eager(env)
    codes = torch.zeros(6, 3, dtype=torch.int64)
    codes[:, 1] = 1 + TAUGHT.index(TAUGHT[0])
    twin = roll(env, lanes(env), Waiting(), codes=codes)
    assert twin.result.fossilised.tolist() == [[False, True, False]] * 6
    assert bool((twin.result.training_ratio > 1).all())
    assert torch.equal(twin.codes, codes)
    assert grown.codes.shape == codes.shape


def test_jobs_give_the_same_side_by_side_as_one_by_one(env):
    job = functools.partial(roll, env, lanes(env, 2), Waiting())
    found = side_by_side({"a": job, "b": job}, warm=True)
    assert torch.equal(found["a"].utility, found["b"].utility)


class Told:
    """The best habit of every level as a tutor."""

    def __init__(self, teachers: dagger.Teachers) -> None:
        self.teachers = teachers

    def begin(self, family: str, env: TensorGrowth) -> ToldPlay:
        return ToldPlay(self.teachers, family, env)


class ToldPlay:
    def __init__(self, teachers: dagger.Teachers, family: str, env: TensorGrowth) -> None:
        self._make = functools.partial(teachers.for_lanes, family)
        self._env, self._inner = env, None

    def decide(self, seen: Seen) -> torch.Tensor:
        if self._inner is None:  # lanes are known once the episode has begun
            self._inner = self._make(self._env.lanes, self._env.device)
        return self._inner.decide(seen)


def test_search_finds_habits_clones_and_improves_them_and_a_bandit_chooses_among_them(env):
    envs, rng = {"spirals": env}, np.random.default_rng(0)
    habits = [Habit(seeds=0), Habit(intensity=4), Habit(intensity=4, start=1, preferred=TAUGHT[-1])]
    teachers = dagger.search(envs, habits, rng=rng, inits=INITS, draws=2, finalists=3, final_draws=2)
    assert teachers.tuned in habits and len(teachers.by_level["spirals"]) == 2
    assert all(a >= b - 1e-9 for a, b in zip(teachers.utility["spirals"], teachers.utility["tuned"], strict=True))
    running = simulate(128, 3, seed=1)
    rounds: list[tuple[int, float, float]] = []
    policy, scale = dagger.clone(
        envs,
        Told(teachers),
        heads=HEADS,
        running=running,
        rng=rng,
        inits=INITS,
        seed=0,
        config=dagger.Cloning(rounds=1, lanes=8, steps=150, batch=128),
        on_round=lambda *told: rounds.append(told),
    )
    assert [number for number, *_ in rounds] == [0, 1]
    assert rounds[-1][2] < 0.6  # nats a decision; chance is above 1.5
    settings = ppo.Settings(iterations=2, lanes=32, group=4, minibatches=2, inits=(10_000, 10_004))
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    learner = ppo.Learner(policy, settings, scale=ppo.Scale(*scale), running=running, seed=0)
    seen: list[ppo.Progress] = []
    history = learner.learn(envs, seen.append)
    assert history == seen and [step.iteration for step in history] == [0, 1]
    assert {field.name for field in fields(ppo.Progress)} == set(json.loads(json.dumps(history[0].to_json())))
    assert history[0].leash_kl < history[0].kl + 0.1 and history[0].choices["operation"] > 0
    after = policy.state_dict()
    assert torch.equal(after["mean"], before["mean"])  # statistics are frozen
    assert not torch.equal(after["slot_in.weight"], before["slot_in.weight"])
    made = bandit.fit(envs, habits, rng=rng, inits=INITS, episodes=3, steps=20)
    played = roll(env, lanes(env), made.begin())
    assert bool((played.actions[0, :, 0] == Operation.WAIT).all())
    assert made.predict(drawn_seen(5).vector).shape == (5, 3)


def test_the_shipped_policy_is_that_of_its_card_and_fits_hosts_of_vectors():
    known = shipped.card()
    names = tuple(blueprint.name for blueprint in OFFERS)
    assert tuple(known["blueprints"]) == names
    assert [names[number] for number in TAUGHT] == [name for name in names if name in known["taught"]]
    for slots in (3, 5):
        found = shipped.shipped_for("mlp", slots=slots, blueprints=names)
        policy = rebuilt(found.policy, Heads(slots=slots, blueprints=len(names)))
        parameters = sum(p.numel() for p in policy.parameters())
        assert 20_000 < parameters < 60_000
        with torch.no_grad():
            assert bool(policy(torch.zeros(1, observation_size(slots))).isfinite().all())
    assert found.lesson()["weights_sha256"] == known["weights_sha256"]
    with pytest.raises(UsageError, match="dsconv"):
        shipped.shipped_for("dsconv", slots=4, blueprints=("no-op", "bottleneck"))


def test_the_card_says_what_the_table_of_the_benchmark_says():
    known, table = shipped.card(), json.loads((RESULTS / "table.json").read_text())
    held_out = known["held_out"]
    assert table["hashes"][known["recipe"]["weights"]] == known["weights_sha256"]
    assert held_out["utility"] == {name: row["utility"] for name, row in table["methods"].items()}
    assert held_out["passes"] == table["passes"] and held_out["episodes"] == table["episodes"]
    assert held_out["policy_over"]["tuned"]["mean"] == table["comparisons"]["over tuned"]["mean"]


def test_the_card_only_makes_a_policy_the_default_when_it_beat_the_tuned_heuristic():
    known = shipped.card()
    assert known["default"] == known["held_out"]["passes"]["tuned"]
    assert known["default"] or known["why_not_default"]
    low = known["held_out"]["policy_over"]["tuned"]["low"]
    assert known["held_out"]["passes"]["tuned"] == (low > 0)


def test_untaught_blueprints_are_never_the_shipped_policys_choice():
    policy, seen = shipped.network(), drawn_seen(400, seed=9)
    taught = torch.zeros(HEADS.blueprints, dtype=torch.bool)
    taught[list(TAUGHT)] = True
    both = replace(seen, blueprint_mask=torch.ones_like(seen.blueprint_mask))
    actions = Networked(policy).decide(both)
    grows = actions[:, 0] == Operation.GERMINATE
    assert bool(grows.any()) and bool(taught[actions[grows, 2]].all())
    assert int(actions[:, 3].max()) < len(INTENSITIES)
