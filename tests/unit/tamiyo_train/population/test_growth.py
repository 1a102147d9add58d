"""Growth episodes as tensors: the ordinary environment's observations, masks, life cycle and utility."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import IncompatibleError, TamiyoError
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES, Operation
from tamiyo_train import charges
from tamiyo_train.blueprints import OFFERED, Domain, blueprints
from tamiyo_train.config import Episode, Limits
from tamiyo_train.env import GrowthEnv
from tamiyo_train.policy.actions import Action
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings, RandomDecider
from tamiyo_train.population.cost_table import LIMITS, budget_row, drawn_budgets
from tamiyo_train.population.draws import Draws
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes, Phase, Result
from tamiyo_train.population.reward import rewards, utilities
from tamiyo_train.pricing import GrowthBudget, Pricer, utility
from tamiyo_train.seeding import derive, initialising
from tests.unit.tamiyo_train.population.helpers import builder, spirals

OFFERS = tuple(blueprints.get(name) for name in OFFERED[Domain.VECTOR])
TAUGHT = tuple(
    n for n, b in enumerate(OFFERS) if b.name in {"bottleneck", "low-rank", "residual-mlp", "glu", "widening"}
)
EPISODE = Episode(
    steps=120,
    decisions=12,
    consolidation_steps=0,
    gate_dropout=0.0,
    consolidation_dropout=0.4,
    batch=32,
    learning_rate=2e-2,
    utilisation=None,
    limits=Limits(drift_hold=0.5, drift_critical=1.9),
)
PROFILE = "raspberry-pi-4"
LARGE = GrowthBudget(params=2000, macs=4000, latency_ms=5.0, energy_uj=1e6)


def growth(*, host: str = "mlp-skip", dtype: torch.dtype = torch.float64, config: Episode = EPISODE, **options):
    made = {"profiles": [PROFILE], "blueprints": OFFERS, "taught": TAUGHT, "draws": Draws.STREAM} | options
    return TensorGrowth(builder(host), [spirals(dtype)], config, **made)


def lanes(seeds, budget: GrowthBudget = LARGE) -> Lanes:
    nobody = torch.zeros(len(seeds), dtype=torch.int64)
    return Lanes(
        task=nobody,
        init=tuple(seeds),
        seed=tuple(seeds),
        profile=nobody,
        budget=torch.tensor([budget_row(budget)] * len(seeds), dtype=torch.float64),
    )


def ordinary(seed: int, *, host: str = "mlp-skip", budget: GrowthBudget = LARGE) -> GrowthEnv:
    with initialising(derive(seed, "host")):
        built = builder(host)()
    built.trunk.double()
    env = GrowthEnv(
        host=built,
        data=spirals(torch.float64),
        config=EPISODE,
        blueprints=OFFERS,
        pricer=Pricer(PROFILE),
        budget=budget,
        seed=seed,
    )
    plant = env.trainer.plant

    def plant_in_double(slot, planted):
        planted.module.double()  # probed at birth in single precision, as always
        plant(slot, planted)

    env.trainer.plant = plant_in_double
    return env


def row(action: Action) -> list[int]:
    return [int(action.operation), action.slot, action.blueprint, action.intensity]


def looking(env: GrowthEnv) -> int:
    """What a reading of an episode as it stands takes."""
    pieces, alphas = env.network.grown(range(env.network.slots)), torch.tensor(env.network.alphas())
    there = torch.tensor([bool(piece) for piece in pieces])
    taken = charges.reading_pass(charges.tolls(env.network.host.layers), charges.tolls(pieces), alphas > 0, there)
    return len(env.trainer.data.gate.y) * int(taken)


def kasmina():
    return KasminaMicro(
        KasminaSettings(patience=0, mature=0.0, order=(1, 2, 0), preference=(*TAUGHT[::-1],), intensity=4)
    )


@pytest.mark.parametrize("host", ["mlp", "mlp-skip"])
def test_lanes_see_what_ordinary_episodes_see_and_come_to_the_same_end(host):
    seeds = (3, 4, 5, 6)
    deciders = (kasmina(), RandomDecider(1), RandomDecider(7), RandomDecider(8))
    deciders[-1].PRUNE_WEIGHT = 3.0
    envs = [ordinary(seed, host=host) for seed in seeds]
    population = growth(host=host)
    seen = population.reset(lanes(seeds))
    taken = set()
    looked = [looking(env) for env in envs]
    for _ in range(EPISODE.decisions):
        actions = []
        for lane, (env, decider) in enumerate(zip(envs, deciders, strict=True)):
            shown = env.observe()
            there = {"slot": seen.slot_mask[lane].numpy(), "blueprint": seen.blueprint_mask[lane].numpy()}
            assert np.array_equal(shown.masks.slot[1:], there["slot"][1:])
            assert np.array_equal(shown.masks.blueprint[:, TAUGHT], there["blueprint"][:, TAUGHT])
            assert np.array_equal(shown.masks.params, seen.params[lane].numpy())
            difference = np.abs(shown.vector - seen.vector[lane].numpy())
            worst = int(difference.argmax())
            names = (*GLOBAL_FEATURES, *(f"{n}" for _ in range(3) for n in SLOT_FEATURES))
            assert difference.max() < 1e-4, names[worst]
            restricted = replace(shown.masks, blueprint=there["blueprint"])
            action = decider.decide(replace(shown, masks=restricted))
            env.act(action)
            looked[lane] += looking(env)
            actions.append(row(action))
            taken.add(action.operation)
        seen = population.act(torch.tensor(actions))
    assert {Operation.GERMINATE, Operation.ADVANCE, Operation.FOSSILISE, Operation.PRUNE} <= taken
    result = population.finish()
    worth = utilities(result, population.budget, EPISODE.prices)
    for lane, env in enumerate(envs):
        outcome = env.finish()
        assert float(result.accuracy[lane]) == outcome.accuracy
        assert [float(result.cost[lane, LIMITS.index("params")])] == [outcome.cost.params]
        assert float(result.cost[lane, LIMITS.index("latency_ms")]) == pytest.approx(outcome.cost.latency_ms)
        assert int(result.training_macs[lane]) == outcome.training_macs
        assert int(population.reading_macs[lane]) == looked[lane]
        assert tuple(result.fossilised[lane].nonzero()[:, 0].tolist()) == outcome.fossilised
        assert int(result.events[lane]) == outcome.safety_events
        assert float(worth[lane]) == pytest.approx(outcome.utility, abs=1e-12)


def test_an_episode_that_only_waits_returns_exactly_what_the_host_is_worth():
    population = growth(dtype=torch.float32, draws=Draws.HASHED)
    seen = population.reset(lanes((1, 2)))
    waiting, sureness = torch.zeros(2, 4, dtype=torch.int64), []
    while not population.done:
        sureness.append(population.sensed.sureness)
        assert bool(seen.operation_mask[:, Operation.WAIT].all())
        seen = population.act(waiting)
    result = population.finish()
    worth = utilities(result, population.budget, EPISODE.prices)
    bare = ordinary(1).pricer.price(population.host.layers)
    expected = [utility(float(accuracy), bare, budget=LARGE, prices=EPISODE.prices) for accuracy in result.accuracy]
    assert worth.tolist() == pytest.approx(expected, abs=1e-15)
    paid = rewards(worth, torch.stack(sureness))
    assert paid.shape == (EPISODE.decisions, 2)
    assert paid.sum(0).tolist() == pytest.approx(expected, abs=1e-12)
    assert float(paid[:-1].abs().max()) > 0


def outcome(accuracy: float, params: float, *, events: int = 0, ratio: float = 1.0) -> Result:
    cost = torch.tensor([[params, params, 0.1, 1.0, 1.0]], dtype=torch.float64)
    return Result(
        accuracy=torch.tensor([accuracy], dtype=torch.float64),
        test_accuracy=torch.tensor([0.0]),
        cost=cost,
        events=torch.tensor([events]),
        training_macs=torch.tensor([0]),
        training_ratio=torch.tensor([ratio], dtype=torch.float64),
        fossilised=torch.zeros(1, 3, dtype=torch.bool),
    )


@settings(max_examples=100, deadline=None)
@given(
    accuracy=st.floats(0.2, 0.9),
    host=st.integers(50, 500),
    added=st.integers(1, 1500),
    ratio=st.floats(1.0, 10.0),
    gain=st.floats(0.0, 0.1),
)
def test_useless_parameters_always_lose_and_a_gain_above_its_price_always_wins(accuracy, host, added, ratio, gain):
    budget = torch.tensor([budget_row(LARGE)], dtype=torch.float64)
    waited = float(utilities(outcome(accuracy, host), budget, EPISODE.prices))
    useless = float(utilities(outcome(accuracy, host + added, ratio=ratio), budget, EPISODE.prices))
    assert useless < waited
    price = waited - useless
    useful = float(utilities(outcome(accuracy + gain, host + added, ratio=ratio), budget, EPISODE.prices))
    assert (useful > waited) == (gain > price) or abs(gain - price) < 1e-12
    assert float(utilities(outcome(accuracy, host, events=1), budget, EPISODE.prices)) < waited


def test_shaping_moves_credit_and_never_changes_a_return():
    rng = torch.Generator().manual_seed(0)
    sureness, worth = torch.rand(15, 6, generator=rng, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    for weight in (0.0, 0.5, 3.0):
        paid = rewards(worth, sureness, shaping=weight)
        assert torch.allclose(paid.sum(0), worth, atol=1e-12, rtol=0)
    assert bool((rewards(worth, sureness, shaping=0.0)[:-1] == 0).all())


def test_an_action_that_the_masks_forbid_is_refused_and_changes_nothing():
    population = growth(dtype=torch.float32)
    population.reset(lanes((1, 2)))
    before = population.engine.hosts.params.clone()
    with pytest.raises(TamiyoError, match="not allowed"):
        population.act(torch.tensor([[0, 0, 0, 0], [Operation.FOSSILISE, 1, 0, 0]]))
    with pytest.raises(TamiyoError, match="not allowed"):
        population.act(torch.tensor([[0, 0, 0, 0], [Operation.GERMINATE, 1, 0, 2]]))
    assert torch.equal(before, population.engine.hosts.params)
    assert population.window == 0


def test_a_lane_that_explodes_is_taken_back_and_the_seed_to_blame_culled():
    population = growth(dtype=torch.float32, draws=Draws.HASHED)
    population.reset(lanes((1, 2)))
    population.act(torch.tensor([[Operation.GERMINATE, 1, TAUGHT[0], 2]] * 2))
    before = population.engine.hosts.params.clone()
    population.engine.seeds.params[0, 1] = torch.nan
    seen = population.act(torch.zeros(2, 4, dtype=torch.int64))
    assert population.events.tolist() == [1, 0]
    assert population.slots.phase[:, 1].tolist() == [Phase.EMBARGOED, Phase.TRAINING]
    assert torch.equal(population.engine.hosts.params[0], before[0])
    assert not torch.equal(population.engine.hosts.params[1], before[1])
    assert bool(seen.vector.isfinite().all())
    population.act(torch.zeros(2, 4, dtype=torch.int64))
    population.act(torch.zeros(2, 4, dtype=torch.int64))
    assert population.slots.phase[0, 1] == Phase.DORMANT


def test_a_host_that_explodes_by_itself_goes_on_more_carefully():
    population = growth(dtype=torch.float32, draws=Draws.HASHED)
    population.reset(lanes((1,)))
    population.act(torch.zeros(1, 4, dtype=torch.int64))
    kept = population.engine.hosts.params.clone()
    population.watches.losses[:] = -5.0  # any loss is far above what it remembers
    population.act(torch.zeros(1, 4, dtype=torch.int64))
    assert population.events.tolist() == population.halvings.tolist() == [1]
    assert torch.equal(kept, population.engine.hosts.params)


def test_lanes_do_not_depend_on_their_company():
    together, alone = growth(dtype=torch.float64, draws=Draws.HASHED), growth(dtype=torch.float64, draws=Draws.HASHED)
    together.reset(lanes((1, 2, 3)))
    alone.reset(lanes((2,)))
    action = [Operation.GERMINATE, 2, TAUGHT[-1], 3]
    others = [[Operation.WAIT, 0, 0, 0], action, [Operation.GERMINATE, 0, TAUGHT[0], 0]]
    together.act(torch.tensor(others))
    seen = alone.act(torch.tensor([action]))
    assert torch.allclose(together.seen.vector[1], seen.vector[0], atol=1e-5)


def test_tasks_of_one_shape_share_a_batch_and_keep_their_samples_apart():
    first, second = spirals(), spirals()
    flipped = replace(second, train_y=1 - second.train_y, gate=replace(second.gate, y=1 - second.gate.y))
    options = {"profiles": [None], "blueprints": OFFERS, "taught": TAUGHT}
    both = TensorGrowth(builder("mlp"), [first, flipped], EPISODE, **options)
    alone = TensorGrowth(builder("mlp"), [flipped], EPISODE, **options)
    given = replace(lanes((1, 1)), task=torch.tensor([0, 1]))
    both.reset(given)
    alone.reset(lanes((1,)))
    waiting = torch.zeros(2, 4, dtype=torch.int64)
    both.act(waiting)
    alone.act(waiting[:1])
    assert torch.allclose(both.seen.vector[1], alone.seen.vector[0], atol=1e-5)
    assert not torch.allclose(both.seen.vector[0], alone.seen.vector[0], atol=1e-3)


def test_budgets_are_drawn_round_what_the_hosts_cost_and_some_leave_no_room():
    population = growth(dtype=torch.float32)
    host = population.table.host[torch.zeros(4000, dtype=torch.int64)]
    drawn = drawn_budgets(host, np.random.default_rng(0))
    factors = (drawn / host).log()
    for column, (low, high) in {0: (1.5, 24), 1: (1.5, 32), 3: (1.2, 8)}.items():
        middle = float((factors[:, column] - np.log(low)).mean() / np.log(high / low))
        assert middle == pytest.approx(0.5, abs=0.03)
    assert float((drawn[:, 2] < host[:, 2]).double().mean()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    "change",
    [
        {"consolidation_steps": 10},
        {"gate_dropout": 0.1},
        {"evaluations": 3},
        {"utilisation": 0.01},
        {"attack": 0.1},
        {"drift_target": 0.1},
        {"apart": True},
    ],
)
def test_an_episode_that_a_population_cannot_play_is_refused_by_its_field(change):
    ((name, value),) = change.items()
    with pytest.raises(IncompatibleError, match=f"{name} = {value!r} is not for populations"):
        growth(config=replace(EPISODE, **change))


def test_a_blueprint_without_a_family_cannot_be_taught():
    nested = next(n for n, b in enumerate(OFFERS) if b.name == "nested")
    with pytest.raises(IncompatibleError):
        growth(taught=(*TAUGHT, nested))
