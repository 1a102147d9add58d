from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporters.pareto import choose, front

points = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(st.floats(0.1, 10), st.floats(0, 1)),
    min_size=2,
    max_size=12,
)


@given(points)
def test_nothing_on_the_front_is_beaten_in_both(found: dict[str, tuple[float, float]]) -> None:
    costs = {name: cost for name, (cost, _) in found.items()}
    accuracies = {name: accuracy for name, (_, accuracy) in found.items()}
    chosen = front(costs, accuracies)
    for name in chosen:
        assert not any(
            costs[other] <= costs[name] and accuracies[other] > accuracies[name] for other in found if other != name
        )
    best = max(accuracies.values())
    assert accuracies[chosen[-1]] == best


@given(points, st.integers(2, 5))
def test_host_and_full_are_always_chosen_and_the_rest_lies_on_the_front(
    found: dict[str, tuple[float, float]], most: int
) -> None:
    costs = {name: cost for name, (cost, _) in found.items()}
    accuracies = {name: accuracy for name, (_, accuracy) in found.items()}
    always = tuple(sorted(found)[:2])
    chosen = choose(costs, accuracies, always=always, most=most)
    assert set(always) <= set(chosen)
    assert len(chosen) == len(set(chosen)) <= max(most, len(set(always)))
    assert [costs[name] for name in chosen] == sorted(costs[name] for name in chosen)
    assert set(chosen) - set(always) <= set(front(costs, accuracies))


def test_the_one_between_that_gives_most_accuracy_for_its_cost_is_taken() -> None:
    costs = {"host": 1.0, "cheap": 2.0, "middle": 5.0, "full": 6.0}
    accuracies = {"host": 0.80, "cheap": 0.90, "middle": 0.91, "full": 0.95}
    assert choose(costs, accuracies, always=("host", "full"), most=3) == ("host", "cheap", "full")


def test_a_network_without_seeds_has_one_configuration() -> None:
    assert choose({"c": 1.0}, {"c": 0.9}, always=("c", "c"), most=4) == ("c",)
