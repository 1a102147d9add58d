"""Ranges of stored numbers, against a plain set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.coverage import Coverage, size
from tamiyo_runtime.contracts.wire import spans

ranges = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(ranges, max_size=20), ranges)
def test_ranges_say_what_a_set_of_numbers_says(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    coverage, model = Coverage(), set[int]()
    for first, last in added:
        numbers = set(range(first, last + 1))
        assert coverage.add(first, last) == list(spans(numbers - model))
        model |= numbers
        assert coverage.spans == list(spans(model))
    assert size(coverage.spans) == len(model)
    first, last = asked
    assert coverage.overlap(first, last) == len(model & set(range(first, last + 1)))


@given(st.lists(ranges, max_size=10), ranges)
def test_ranges_taken_up_again_go_on_as_before(added: list[tuple[int, int]], more: tuple[int, int]) -> None:
    once = Coverage()
    for span in added:
        once.add(*span)
    again = Coverage(once.spans)
    assert again.add(*more) == once.add(*more)
    assert again.spans == once.spans
