"""Hosts with many slots grown region by region: accounts that hold, splits that flow back, and two ways that agree."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import BudgetError, IncompatibleError
from tamiyo_runtime.contracts.observation import SLOT_FEATURES, Heads, Operation, observation_size
from tamiyo_train.audit_store import NETWORK, lives
from tamiyo_train.blueprints import OFFERED, Domain, blueprints
from tamiyo_train.config import Episode, TrainConfig
from tamiyo_train.env import GrowthEnv
from tamiyo_train.hosts import hosts
from tamiyo_train.jobs import environment
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.policy.baselines import RandomDecider
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import MOST_HELD, agreement, simulate
from tamiyo_train.population.cost_table import CostTable, budget_row, cost_row
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes
from tamiyo_train.pricing import GrowthBudget, Pricer
from tamiyo_train.regions.allocators import EVERY, ByNeed, Even
from tamiyo_train.regions.deciding import Acting, RegionalPolicy
from tamiyo_train.regions.division import Region
from tamiyo_train.regions.lanes import RegionalLanes
from tamiyo_train.regions.telemetry import FEATURES
from tamiyo_train.resume import restore, state_of
from tamiyo_train.seeding import initialising
from tests.unit.tamiyo_train.population.helpers import spirals

SLOTS = 10
PROFILE = "raspberry-pi-4"
SHORT = Episode(
    steps=24, decisions=12, consolidation_steps=0, gate_dropout=0.0, batch=16, utilisation=None, blend_windows=0.5
)
DEEP = TrainConfig(task="spirals", host="mlp-skip", width=3, depth=SLOTS, profile=PROFILE)
OFFERS = tuple(blueprints.get(name) for name in OFFERED[Domain.VECTOR])
TAUGHT = tuple(n for n, b in enumerate(OFFERS) if b.name in {"bottleneck", "low-rank", "residual-mlp", "glu"})
HOST = Pricer(PROFILE).price(hosts.get("mlp-skip")(shape=(2,), classes=2, width=3, depth=SLOTS).layers)


def budget(params=3.0, latency=1.6, energy=1.8) -> GrowthBudget:
    """So many times what the bare host costs."""
    return GrowthBudget(
        params=round(params * HOST.params),
        macs=round(params * HOST.macs),
        latency_ms=latency * HOST.latency_ms,
        energy_uj=energy * HOST.energy_uj,
    )


class Saying:
    """An allocator that says one thing after the other, over and over."""

    name = "saying"

    def __init__(self, *said: tuple[float, float]) -> None:
        self._said = itertools.cycle(said)

    def shares(self, telemetry):
        assert telemetry.shape[1:] == (2, len(FEATURES))
        return torch.tensor([next(self._said)], dtype=torch.float64).expand(len(telemetry), -1)


def policy(seed: int = 0) -> PolicyNetwork:
    with initialising(seed):
        return PolicyNetwork(Heads(slots=SLOTS, blueprints=len(OFFERS))).eval()


def own(env: GrowthEnv, region: Region):
    return env.pricer.price(env.network.graphs(only=region.slots))


SHARE = st.one_of(st.floats(0, 1), st.floats(allow_nan=True, allow_infinity=True))


@settings(max_examples=8, deadline=None)
@given(said=st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=3), seed=st.integers(0, 99), tight=st.booleans())
def test_whatever_an_allocator_says_no_limit_is_exceeded_and_waiting_stays_legal(said, seed, tight):
    limit = budget(1.5, 1.2, 1.3) if tight else budget()
    env = environment(DEEP, SHORT, seed=3, budget=limit, allocator=Saying(*said))
    decider = RandomDecider(seed)
    while not env.done:
        observation = env.observe()
        for inside in observation.inside:
            assert inside.masks.operation[Operation.WAIT]
        env.act(decider.decide(observation))
        assert limit.allows(env.pricer.price(env.network.graphs()))
        for account, region in zip(env.steward.accounts, env.steward.regions, strict=True):
            assert account.allows(own(env, region))


@settings(max_examples=4, deadline=None)
@given(said=st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_whatever_an_allocator_says_no_lane_exceeds_its_limits(said, seed):
    env = TensorGrowth(builder(), [spirals()], SHORT, blueprints=OFFERS, taught=TAUGHT, profiles=[PROFILE])
    seen = env.reset(lanes([budget(), budget(1.5, 1.2, 1.3), budget(1.2, 4.0, 4.0)]))
    decider = RegionalLanes(env, policy(seed), Saying(*said))
    while not env.done:
        seen = env.act(decider.decide(seen))
        assert bool((env.cost <= env.budget).all())
        assert bool((decider._own() <= decider.limits).all())
    assert len(decider.splits) == -(-SHORT.decisions // EVERY)


def builder():
    return functools.partial(hosts.get("mlp-skip"), shape=(2,), classes=2, width=3, depth=SLOTS)


def lanes(budgets) -> Lanes:
    nobody = torch.zeros(len(budgets), dtype=torch.int64)
    return Lanes(
        task=nobody,
        init=list(range(len(budgets))),
        seed=list(range(len(budgets))),
        profile=nobody,
        budget=torch.tensor([budget_row(each) for each in budgets], dtype=torch.float64),
    )


def test_a_region_without_a_share_grows_nothing_and_what_the_other_left_is_split_anew():
    env = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Saying((1.0, 0.0), (0.0, 1.0)))
    first, second = env.steward.regions
    masks = env.observe().masks
    assert masks.slot[Operation.GERMINATE, list(first.slots)].all()
    assert not masks.slot[Operation.GERMINATE, list(second.slots)].any()
    with pytest.raises(BudgetError, match="share of the slot's region"):
        env.act(Action(operation=Operation.GERMINATE, slot=SLOTS - 1, blueprint=TAUGHT[0]))
    env.act(Action(operation=Operation.GERMINATE, slot=0, blueprint=TAUGHT[0]))
    for _ in range(EVERY - 1):
        env.act(WAIT)
    left = budget().params - env.pricer.price(env.network.graphs()).params
    assert env.steward.accounts[0].params == own(env, first).params
    assert env.steward.accounts[1].params == HOST.params + left
    assert not env.observe().masks.slot[Operation.GERMINATE, list(first.slots)].any()


def test_splits_are_in_the_audit_log_with_shares_that_count():
    env = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Saying((3.0, 1.0), (float("nan"), 0.5)))
    while not env.done:
        env.act(WAIT)
    splits = [entry for entry in env.audit.entries if entry.kind == "split"]
    assert [entry.step for entry in splits] == [0, EVERY * SHORT.window, 2 * EVERY * SHORT.window]
    assert [entry.data["shares"] for entry in splits[:2]] == [["0.7500", "0.2500"], ["0.0000", "0.5000"]]
    assert splits[0].data["regions"] == ["0-4", "5-9"]
    moments = [moment for moment in lives(env.audit.entries)[NETWORK] if moment.what == "split by saying"]
    assert [moment.why for moment in moments[:2]] == ["slots 0-4: 75%, slots 5-9: 25%", "slots 0-4: 0%, slots 5-9: 50%"]
    assert splits[0].data["params"] == [str(int(HOST.params * part)) for part in (2.5, 1.5)]


def test_nobody_splits_the_budget_of_a_host_that_one_region_holds():
    env = environment(replace(DEEP, depth=8), SHORT, seed=3, allocator=ByNeed())
    assert env.observe().inside == ()
    assert [entry.kind for entry in env.audit.entries] == []


def test_inside_a_region_its_budget_is_all_there_is():
    env = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Saying((0.5, 0.1)))
    env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=TAUGHT[0]))
    observation = env.observe()
    first, second = observation.inside
    assert (first.start, second.start) == (0, 5)
    assert first.vector.shape == (observation_size(5),)
    names = ("params_left", "latency_left")
    for inside, account, region in zip(observation.inside, env.steward.accounts, env.steward.regions, strict=True):
        cost = own(env, region)
        expected = [1 - cost.params / account.params, 1 - cost.latency_ms / account.latency_ms]
        assert [feature(inside.vector, name) for name in names] == pytest.approx(expected, rel=1e-5)
    assert feature(first.vector, "accuracy") == feature(observation.vector, "accuracy")
    assert np.array_equal(second.masks.slot, observation.masks.slot[:, 5:])


def feature(vector, name):
    from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES

    return float(vector[GLOBAL_FEATURES.index(name)])


@pytest.mark.parametrize("allocator", [Even(), ByNeed()])
def test_a_lane_and_an_ordinary_episode_see_the_same_inside_regions_and_decide_the_same(allocator):
    env = environment(DEEP, SHORT, seed=5, budget=budget(), allocator=allocator)
    population = TensorGrowth(
        builder(), [env.trainer.data], SHORT, blueprints=OFFERS, taught=TAUGHT, profiles=[PROFILE]
    )
    seen = population.reset(replace(lanes([budget()]), init=[5], seed=[5]))
    network = policy(1)
    network.forget_blueprints([n for n in range(len(OFFERS)) if n not in TAUGHT])
    one, many = RegionalPolicy(network, slots=5), RegionalLanes(population, network, allocator)
    action, row = one.decide(env.observe()), many.decide(seen)[0].tolist()
    assert action.operation is Operation.GERMINATE
    assert row == [int(action.operation), action.slot, action.blueprint, action.intensity]
    _, shares = many.splits[0]
    split = next(entry for entry in env.audit.entries if entry.kind == "split")
    assert [float(share) for share in split.data["shares"]] == pytest.approx(shares[0].tolist(), abs=1e-4)
    limits = torch.tensor([budget_row(account) for account in env.steward.accounts], dtype=torch.float64)
    assert torch.allclose(limits[:, 2:4], many.limits[0, :, 2:4], rtol=1e-9)
    assert torch.equal(limits[:, :2], many.limits[0, :, :2].floor())


def eager_for_late_slots() -> PolicyNetwork:
    """A policy that always germinates, in the last slot it may."""
    network = policy()
    with torch.no_grad():
        for param in network.parameters():
            param.zero_()
        network.slot_in.weight[0, SLOT_FEATURES.index("depth")] = 1.0
        network.slot_mid.weight[0, 0] = network.slot_code.weight[0, 0] = 1.0
        network.slot_out.weight[Operation.GERMINATE, 0] = 5.0
        network.global_out.bias[Operation.GERMINATE] = 5.0
    return network


@pytest.mark.parametrize(
    ("acting", "slots"), [(Acting.TURNS, [4, 9, 3]), (Acting.SUREST, [4, 3, 2]), (Acting.PLACE, [9, 8, 7])]
)
def test_regions_act_in_turn_or_the_surest_or_where_the_policy_likes_the_slot_best(acting, slots):
    env = TensorGrowth(builder(), [spirals()], SHORT, blueprints=OFFERS, taught=TAUGHT, profiles=[PROFILE])
    seen = env.reset(lanes([budget(9.0, 9.0, 9.0)]))
    decider = RegionalLanes(env, eager_for_late_slots(), Even(), acting=acting)
    taken = []
    for _ in slots:
        action = decider.decide(seen)
        taken.append(int(action[0, 1]))
        seen = env.act(action)
    assert taken == slots


def test_a_policy_that_would_rather_wait_waits_in_all_regions():
    network = eager_for_late_slots()
    with torch.no_grad():
        network.global_out.bias[Operation.WAIT] = 9.0
    env = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Even())
    assert RegionalPolicy(network, slots=5).decide(env.observe()) == WAIT
    growing = eager_for_late_slots()
    assert RegionalPolicy(growing, slots=5).decide(env.observe()).slot == SLOTS - 1


def test_an_episode_taken_up_keeps_its_accounts():
    env = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Saying((0.9, 0.1), (0.2, 0.3)))
    for _ in range(EVERY + 1):
        env.act(WAIT)
    document, tensors = state_of(env)
    fresh = environment(DEEP, SHORT, seed=3, budget=budget(), allocator=Saying((0.9, 0.1), (0.2, 0.3)))
    assert fresh.steward.accounts != env.steward.accounts
    restore(fresh, document, tensors)
    assert fresh.steward.accounts == env.steward.accounts
    assert fresh.audit.entries == env.audit.entries


def test_a_slot_inside_a_seed_belongs_to_the_region_of_the_seed_around_it():
    nested = replace(SHORT, nested_slots=2)
    config = replace(DEEP, taught=("no-op", "nested", "bottleneck"), profile=None)
    env = environment(config, nested, seed=3, allocator=Saying((0.5, 0.5)))
    assert env.network.slots == SLOTS + 2
    assert all(len(inside.vector) == observation_size(5) for inside in env.observe().inside)
    env.act(Action(operation=Operation.GERMINATE, slot=6, blueprint=1, intensity=2))
    env.network.expose(6)
    assert [env.steward.region_of(slot) for slot in (0, 6, SLOTS, SLOTS + 1)] == [0, 1, 1, 1]


@pytest.mark.parametrize("profile", [None, "raspberry-pi-4", "cortex-m4", "coral-m2"])
def test_costs_of_sets_of_seeds_are_sums_whatever_the_number_of_slots(profile):
    host, pricer = builder()(), Pricer(profile)
    grown = [OFFERS[number] for number in TAUGHT]
    table = CostTable.of(host, grown, [profile])
    rng = np.random.default_rng(0)
    for _ in range(5):
        codes = rng.integers(0, len(grown) + 1, SLOTS)
        pieces = [host.layers[0]]
        for slot, code in enumerate(codes):
            pieces += [grown[code - 1].layers(host.places[slot]) if code else (), host.layers[slot + 1]]
        expected = cost_row(pricer.price([piece for piece in pieces if piece]))
        found = table.of_lanes(torch.tensor([0]), torch.from_numpy(codes)[None])[0].tolist()
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_population_refuses_a_profile_where_costs_do_not_add_up():
    host = hosts.get("mlp")(shape=(2,), classes=2, width=1500)
    with pytest.raises(IncompatibleError, match="do not add up"):
        CostTable.of(host, [blueprints.get("bottleneck"), blueprints.get("residual-mlp")], ["coral-usb"])


def test_devices_with_many_slots_hold_as_many_seeds_as_a_plan_can_weigh():
    samples = simulate(64, SLOTS, seed=3)
    assert samples.observation.shape == (64, observation_size(SLOTS))
    assert not samples.present[:, MOST_HELD:].any()
    assert samples.present[:, :MOST_HELD].any(axis=0).all()
    assert agreement(samples, samples.gates).regret == agreement(samples, samples.gates | ~samples.present).regret
    assert agreement(samples, samples.gates).exact == 1.0
