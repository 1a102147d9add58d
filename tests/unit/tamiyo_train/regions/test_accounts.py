"""Dividing a host into regions, and the arithmetic of splitting what is left of its budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.regions.accounts import fair, limits_of
from tamiyo_train.regions.allocators import ByNeed, Even
from tamiyo_train.regions.division import MOST_SLOTS, Region, divide, divided, widest
from tamiyo_train.regions.telemetry import FEATURES

ANYTHING = st.floats(allow_nan=True, allow_infinity=True)


@given(slots=st.integers(1, 80), most=st.integers(1, 12))
def test_regions_hold_every_slot_once_and_are_as_even_as_can_be(slots, most):
    regions = divide(slots, most=most)
    assert [slot for region in regions for slot in region.slots] == list(range(slots))
    sizes = [len(region) for region in regions]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(regions) == -(-slots // most)
    assert widest(regions) == max(sizes)


def test_a_host_of_eight_slots_is_not_divided_and_one_of_nine_is():
    assert divided(MOST_SLOTS) == ()
    assert [str(region) for region in divided(9)] == ["0-4", "5-8"]
    assert [str(region) for region in divided(16)] == ["0-7", "8-15"]


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (-1, 2), (4, 2)])
def test_a_region_holds_a_slot_at_least(start, stop):
    with pytest.raises(SchemaError, match="holds a slot"):
        Region(start=start, stop=stop)


def test_no_host_has_no_slots():
    with pytest.raises(SchemaError, match="above 0"):
        divide(0)


@given(shares=st.lists(ANYTHING, min_size=1, max_size=6))
def test_shares_count_as_none_below_nothing_and_at_most_all_together(shares):
    found = fair(torch.tensor(shares, dtype=torch.float64))
    assert bool((found >= 0).all())
    assert float(found.sum()) <= 1 + 1e-12
    if all(0 <= share < 1 / len(shares) for share in shares):
        assert found.tolist() == shares


@given(
    shares=st.lists(ANYTHING, min_size=2, max_size=4),
    used=st.lists(st.floats(0, 50), min_size=4, max_size=4),
    budget=st.floats(20, 400),
)
def test_regions_that_all_spend_their_limit_spend_no_more_than_the_budget(shares, used, budget):
    host, regions = 10.0, len(shares)
    own = host + torch.tensor(used[:regions], dtype=torch.float64)[None, :, None].expand(-1, -1, len(LIMITS))
    cost = host + (own - host).sum(1)
    whole = torch.full((1, len(LIMITS)), budget, dtype=torch.float64)
    limits = limits_of(whole, cost=cost, own=own, shares=torch.tensor([shares], dtype=torch.float64))
    split = [index for index, name in enumerate(LIMITS) if name != "memory_bytes"]
    assert bool((limits >= own)[..., split].all())
    spent = host + (limits - host).sum(1)[0, split]
    assert bool((spent <= max(budget, float(cost[0, 0])) + 1e-9).all())


def test_a_limit_that_is_not_set_binds_no_region_and_memory_is_not_split():
    budget = torch.tensor([[100.0, torch.inf, torch.inf, 50.0, 800.0]], dtype=torch.float64)
    own = torch.full((1, 2, 5), 20.0, dtype=torch.float64)
    cost = torch.full((1, 5), 30.0, dtype=torch.float64)
    limits = limits_of(budget, cost=cost, own=own, shares=torch.tensor([[0.75, 0.25]]))[0]
    assert limits[:, 0].tolist() == [20 + 0.75 * 70, 20 + 0.25 * 70]
    assert bool(limits[:, 1:3].isinf().all())
    assert limits[:, 3].tolist() == [35.0, 25.0]
    assert limits[:, 4].tolist() == [800.0, 800.0]


def telemetry(**columns: list[float]) -> torch.Tensor:
    """One host's regions, everything not given 0."""
    regions = len(next(iter(columns.values())))
    rows = torch.zeros(1, regions, len(FEATURES), dtype=torch.float64)
    for name, values in columns.items():
        rows[0, :, FEATURES.index(name)] = torch.tensor(values, dtype=torch.float64)
    return rows


def test_even_is_even_whatever_is_measured():
    assert Even().shares(telemetry(utilisation=[0.9, 0.0, 0.1]))[0].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("name", ["utilisation", "gradient_ratio"])
def test_by_need_gives_more_to_the_region_whose_seeds_do_more(name):
    shares = ByNeed().shares(telemetry(**{name: [0.9, 0.1], "seeds": [0.25, 0.25], "free": [0.5, 0.5]}))[0]
    assert float(shares[0]) > float(shares[1]) > 0
    assert float(shares.sum()) == pytest.approx(1.0)


def test_by_need_gives_nothing_where_there_is_no_room_and_starves_no_region_that_was_not_tried():
    need = ByNeed()
    assert need.shares(telemetry(free=[0.0, 0.5]))[0].tolist() == [0.0, 1.0]
    assert need.shares(telemetry(free=[0.5, 0.5]))[0].tolist() == [0.5, 0.5]
    assert need.shares(telemetry(free=[0.0, 0.0]))[0].tolist() == [0.5, 0.5]
    useless = need.shares(telemetry(seeds=[0.25, 0.0], free=[0.5, 0.5]))[0]
    assert float(useless[1]) > float(useless[0])
