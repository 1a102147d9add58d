"""The plan that gates are taught from: priced options, and what it is worth in episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulators.episodes.drawn import drawn
from simulators.episodes.lanes import Lanes, Start
from tamiyo_runtime.governor import SKIP
from tamiyo_train.policy.asking import by_rule
from tamiyo_train.policy.planning import planned, priced, spendable_uj
from tests.unit.tamiyo_train.helpers import quiet_links

COUNT, SLOTS = 60, 3


def chosen(right: list[float], energy: list[float], budget: float, allowed: list[bool] | None = None) -> int:
    there = np.array([allowed or [True] * len(right)])
    return int(priced(np.array([right]), np.array([energy]), there, np.array([budget])).option[0])


def best_mixture(right: np.ndarray, energy: np.ndarray, budget: float, *, most: float) -> float:
    """By trying all pairs of options, skipping included; of two options the dearer is only ever taken when the middle
    between them is below ``most``, the largest budget there is."""
    right, energy = np.append(right, 0.0), np.append(energy, 0.0)
    best = float(right[energy <= budget].max())
    for high in np.flatnonzero(energy > budget):
        for low in np.flatnonzero(energy <= budget):
            if energy[low] > 0 and (energy[low] + energy[high]) / 2 > 0.95 * most:
                continue
            share = (budget - energy[low]) / (energy[high] - energy[low])
            best = max(best, float(share * right[high] + (1 - share) * right[low]))
    return best


def test_without_a_limit_it_is_the_most_accurate_and_the_cheaper_of_equals() -> None:
    assert chosen([0.7, 0.9, 0.8], [1.0, 3.0, 2.0], np.inf) == 1
    assert chosen([0.7, 0.9, 0.9], [1.0, 3.0, 2.0], np.inf) == 2


def test_a_little_accuracy_for_much_energy_is_not_bought_when_energy_is_short() -> None:
    assert chosen([0.7, 0.72], [1.0, 4.0], 1.0) == 0
    assert chosen([0.7, 0.72], [1.0, 4.0], 4.0) == 1


def test_with_less_than_any_option_takes_it_is_the_one_with_most_answers_for_its_energy() -> None:
    assert chosen([0.4, 0.9], [1.0, 1.2], 0.5) == 1
    assert chosen([0.7, 0.9], [1.0, 2.0], 0.5) == 0


def test_what_is_not_allowed_is_not_chosen_and_nothing_allowed_is_the_bare_host() -> None:
    assert chosen([0.7, 0.9, 0.8], [1.0, 2.0, 3.0], np.inf, [True, False, True]) == 2
    assert chosen([0.7, 0.9], [1.0, 2.0], 1.0, [False, False]) == 0


@settings(max_examples=25, deadline=None)
@example([(1.0, 2.0), (0.5, 0.25)], 0.5)  # the middle is never within reach: what comes in beyond the cheap one is lost
@given(
    st.lists(st.tuples(st.floats(0.3, 1.0), st.floats(0.1, 5.0)), min_size=1, max_size=8),
    st.floats(0.1, 4.0),
)
def test_choices_that_follow_an_account_come_to_the_best_mixture(
    options: list[tuple[float, float]], income: float
) -> None:
    right, energy = np.array([one[0] for one in options]), np.array([one[1] for one in options])
    there = np.ones((1, len(right)), dtype=bool)
    account, answered, samples = 50.0, 0.0, 1500
    for _ in range(samples):
        account = min(account + income, 100.0)
        budget = income * max(0.0, 1 + (account - 50.0) / 50.0)
        option = int(priced(right[None], energy[None], there, np.array([budget])).option[0])
        if energy[option] <= account:
            account, answered = account - energy[option], answered + right[option]
    assert answered / samples >= best_mixture(right, energy, income, most=2 * income) - 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 3.0))
def test_nothing_is_lost_by_the_choice_and_nothing_gained_by_another(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    plan = priced(
        rng.uniform(size=(5, 8)), rng.uniform(0.1, 3, (5, 8)), rng.uniform(size=(5, 8)) < 0.8, np.full(5, budget)
    )
    assert (plan.regret >= 0).all()
    assert (plan.regret[np.arange(5), plan.option] <= 1e-9).all()


def short_of_energy(*, battery: float = 1.0) -> Lanes:
    """Drawn devices, each with a quarter of what its full network would draw."""
    base = drawn(COUNT, SLOTS, seed=11)
    tables = base.tables
    last = tables.energy_uj[np.arange(COUNT), tables.last]
    tables = replace(
        tables,
        power_mw=0.25 * last / (tables.period_s * 1e3),
        burst_uj=10 * last,
        deadline_ms=np.full(COUNT, np.inf),
        dwell_ms=10 * tables.period_s * 1e3,
    )
    return Lanes(tables, base.boards, quiet_links(COUNT), Start(battery=battery))


def answered(lanes: Lanes, *, by_plan: bool) -> float:
    """Share of 150 samples, mean over devices."""
    total = 0.0
    for _ in range(150):
        outcome = lanes.step(planned(lanes, spendable_uj(lanes)).gates if by_plan else by_rule(lanes.tables))
        total += float(np.where(outcome.option != SKIP, outcome.accuracy, 0.0).mean())
    return total / 150


def test_a_plan_answers_more_samples_than_the_most_accurate_option_where_energy_is_short() -> None:
    assert answered(short_of_energy(), by_plan=True) > answered(short_of_energy(), by_plan=False) + 0.01


def test_an_empty_bucket_is_given_less_than_comes_in_and_a_full_one_more() -> None:
    full = short_of_energy()
    income = full.tables.power_mw * full.tables.period_s * 1e3
    on_a_socket = full.battery == 1.0
    assert (spendable_uj(full)[on_a_socket] > income[on_a_socket]).all()
    empty = Lanes(full.tables, full.boards, quiet_links(COUNT), Start(bucket=0.0))
    assert (spendable_uj(empty) < income).all()


def test_a_battery_is_rationed_once_less_than_seven_tenths_are_left() -> None:
    def budget(charge: float) -> np.ndarray:
        lanes = short_of_energy(battery=charge)
        free = replace(lanes.tables, power_mw=np.zeros(COUNT), burst_uj=np.full(COUNT, np.inf))
        return spendable_uj(Lanes(free, lanes.boards, quiet_links(COUNT), Start(battery=charge)))

    assert np.isinf(budget(0.75)).all()
    np.testing.assert_allclose(budget(0.1) * 2, budget(0.2))
