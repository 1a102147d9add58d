"""The reward cannot be gamed: at any prices, limits and costs, for one network and for many lanes at once.

Each law is held by `pricing.utility`, which the ordinary environment pays, and by `population.reward`, which a policy
learns from. What waiting and growing return when episodes are really played is in `test_env`, `test_growth` and
`tuning/test_outcomes`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tamiyo_train.config import Prices
from tamiyo_train.population.cost_table import LIMITS, budget_row
from tamiyo_train.population.growth_state import Result
from tamiyo_train.population.reward import rewards, utilities
from tamiyo_train.pricing import GrowthBudget, Priced, utility

MARGIN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A committed network and what it took to get it."""

    accuracy: float
    params: int
    latency_ms: float
    energy_uj: float
    events: int = 0
    training: float = 1.0


price = st.floats(1e-5, 1.0)
prices_of = st.builds(Prices, **{field.name: price for field in fields(Prices)})
networks = st.builds(
    Network,
    accuracy=st.floats(0.05, 0.95),
    params=st.integers(10, 5000),
    latency_ms=st.floats(0.01, 20),
    energy_uj=st.floats(0.1, 500),
    events=st.integers(0, 3),
    training=st.floats(1, 20),
)
maybe = st.none() | st.floats(0.05, 100)
budgets = st.builds(
    GrowthBudget, params=st.integers(20, 10_000), macs=st.just(10**6), latency_ms=maybe, energy_uj=maybe
)


def single(network: Network, budget: GrowthBudget, prices: Prices) -> float:
    cost = Priced(
        params=network.params,
        macs=1000,
        memory_bytes=100,
        latency_ms=network.latency_ms,
        energy_uj=network.energy_uj,
    )
    return utility(
        network.accuracy,
        cost,
        budget=budget,
        prices=prices,
        safety_events=network.events,
        training_ratio=network.training,
    )


def in_lanes(network: Network, budget: GrowthBudget, prices: Prices) -> float:
    used = {"params": network.params, "macs": 1000, "memory_bytes": 100}
    used |= {"latency_ms": network.latency_ms, "energy_uj": network.energy_uj}
    result = Result(
        accuracy=torch.tensor([network.accuracy], dtype=torch.float64),
        test_accuracy=torch.tensor([torch.nan]),
        cost=torch.tensor([[used[name] for name in LIMITS]], dtype=torch.float64),
        events=torch.tensor([network.events]),
        training_macs=torch.tensor([0]),
        training_ratio=torch.tensor([network.training], dtype=torch.float64),
        fossilised=torch.zeros(1, 3, dtype=torch.bool),
    )
    return float(utilities(result, torch.tensor([budget_row(budget)], dtype=torch.float64), prices))


PAYS = pytest.mark.parametrize("worth", [single, in_lanes], ids=["one network", "lanes"])


@settings(max_examples=200, deadline=None)
@given(networks, budgets, prices_of)
def test_one_network_and_a_lane_are_paid_the_same(network, budget, prices):
    assert in_lanes(network, budget, prices) == pytest.approx(single(network, budget, prices), abs=1e-12)


@PAYS
@settings(max_examples=100, deadline=None)
@given(networks, budgets, prices_of, st.integers(1, 5000), st.floats(0, 5))
def test_useless_parameters_always_lose_and_so_does_training_for_nothing(worth, host, budget, prices, added, trained):
    useless = replace(host, params=host.params + added, training=host.training + trained)
    assert worth(useless, budget, prices) < worth(host, budget, prices)


@PAYS
@settings(max_examples=100, deadline=None)
@given(networks, budgets, prices_of, st.integers(0, 5000), st.floats(0, 5), st.floats(0, 1), st.floats(0, 0.9))
def test_growth_beats_waiting_exactly_when_it_gains_more_than_it_costs(
    worth, host, budget, prices, added, trained, slower, gain
):
    larger = replace(
        host,
        params=host.params + added,
        training=host.training + trained,
        latency_ms=host.latency_ms * (1 + slower),
        energy_uj=host.energy_uj * (1 + slower),
    )
    cost = worth(host, budget, prices) - worth(larger, budget, prices)
    assume(abs(gain - cost) > MARGIN)
    grown = replace(larger, accuracy=larger.accuracy + gain)
    assert cost >= 0
    assert (worth(grown, budget, prices) > worth(host, budget, prices)) == (gain > cost)


@PAYS
@settings(max_examples=100, deadline=None)
@given(networks, budgets, prices_of, st.integers(1, 3))
def test_a_panic_always_costs_its_price_and_no_accuracy_is_paid_twice(worth, network, budget, prices, panics):
    calm = replace(network, events=0)
    shaken = replace(calm, events=panics)
    lost = worth(calm, budget, prices) - worth(shaken, budget, prices)
    assert lost == pytest.approx(panics * prices.safety_event, abs=MARGIN)
    better = replace(calm, accuracy=calm.accuracy + 0.05)
    assert worth(better, budget, prices) - worth(calm, budget, prices) == pytest.approx(0.05, abs=MARGIN)


@PAYS
@settings(max_examples=100, deadline=None)
@given(networks, budgets, prices_of, st.floats(0.1, 1.0))
def test_being_below_a_limit_of_energy_or_latency_earns_nothing(worth, network, budget, prices, share):
    limited = replace(budget, latency_ms=budget.latency_ms or 1.0, energy_uj=budget.energy_uj or 1.0)
    at_limit = replace(network, latency_ms=limited.latency_ms, energy_uj=limited.energy_uj)
    frugal = replace(at_limit, latency_ms=share * limited.latency_ms, energy_uj=share * limited.energy_uj)
    assert worth(frugal, limited, prices) == pytest.approx(worth(at_limit, limited, prices), abs=MARGIN)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=15),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(0, 5),
)
def test_shaping_never_changes_what_an_episode_returns_whatever_was_seen_on_the_way(sureness, worth, shaping):
    seen, paid_for = torch.tensor(sureness, dtype=torch.float64), torch.tensor(worth, dtype=torch.float64)
    paid = rewards(paid_for, seen, shaping=shaping)
    assert torch.allclose(paid.sum(0), paid_for, atol=MARGIN, rtol=0)
    assert torch.equal(rewards(paid_for, seen, shaping=0.0)[-1], paid_for)
