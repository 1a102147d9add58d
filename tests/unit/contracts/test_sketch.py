"""Sketches: quantiles within the stated error, and the same whatever the order and grouping of merges."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.sketch import (
    MAX_INDEX,
    MAX_LEVEL,
    RELATIVE_ERROR,
    Sketch,
    merge,
    sketch_from,
    sketch_of,
    tokens_of,
)

values = st.lists(st.integers(1, 2**63 - 1) | st.integers(1, 5000), min_size=1, max_size=200)
levels = st.integers(0, MAX_LEVEL)
shares = st.floats(0, 1)


def at_level(sketch: Sketch, level: int) -> Sketch:
    return sketch if sketch.level == level else at_level(sketch.coarser(), level)


sketches = st.builds(lambda numbers, level: at_level(sketch_of(numbers), level), values | st.just([]), levels)


@given(values, shares, levels)
def test_a_quantile_is_off_by_no_more_than_the_stated_error(numbers: list[int], share: float, level: int) -> None:
    sketch = at_level(sketch_of(numbers), level)
    exact = sorted(numbers)[max(0, math.ceil(share * len(numbers)) - 1)]
    found = sketch.quantile(share)
    assert found is not None
    assert abs(found - exact) <= exact * sketch.relative_error * (1 + 1e-9)


def test_the_error_is_two_per_cent_and_about_doubles_with_each_level() -> None:
    errors = [at_level(sketch_of([7]), level).relative_error for level in range(MAX_LEVEL + 1)]
    assert errors == pytest.approx([RELATIVE_ERROR, 0.04, 0.08, 0.158, 0.309], abs=1e-3)


@given(values, values)
def test_merged_sketches_are_the_sketch_of_all_numbers(a: list[int], b: list[int]) -> None:
    assert merge([sketch_of(a), sketch_of(b)]) == sketch_of(a + b)


@given(sketches, sketches, sketches)
def test_neither_order_nor_grouping_of_merges_matters(a: Sketch, b: Sketch, c: Sketch) -> None:
    whole = merge([a, b, c])
    assert whole == merge([c, a, b]) == merge([merge([a, b]), c]) == merge([a, merge([b, c])])
    assert whole.count == a.count + b.count + c.count
    assert whole.level == max(a.level, b.level, c.level)


@given(sketches)
def test_tokens_come_back(sketch: Sketch) -> None:
    first = sketch.buckets[0][0] if sketch.buckets else 0
    assert sketch_from(sketch.level, first, tokens_of(sketch)) == sketch


@given(st.integers(0, 7), st.integers(0, 2 * MAX_INDEX), st.lists(st.integers(0, 300), max_size=8))
def test_any_tokens_are_a_sketch_or_a_schema_error(level: int, first: int, tokens: list[int]) -> None:
    try:
        sketch = sketch_from(level, first, tokens)
    except SchemaError:
        return
    assert sketch.count <= sum(tokens)


@given(sketches, st.integers(1, 30))
def test_a_sketch_made_to_fit_is_no_coarser_than_it_must_be(sketch: Sketch, tokens: int) -> None:
    fitted = sketch.within(tokens)
    assert fitted.count == sketch.count
    assert len(tokens_of(fitted)) <= tokens or fitted.level == MAX_LEVEL
    if fitted.level > sketch.level:
        assert len(tokens_of(at_level(sketch, fitted.level - 1))) > tokens


def test_nothing_is_counted_twice_or_out_of_order() -> None:
    assert sketch_of([]).quantile(0.5) is None
    assert sketch_of([0, 0, 1]).quantile(0.5) == 1.0
    for wrong in (((3, 1), (2, 1)), ((2, 1), (2, 1)), ((2, 0),), ((-1, 1),), ((MAX_INDEX, 1),)):
        with pytest.raises(SchemaError):
            Sketch(buckets=wrong)
    for level in (-1, MAX_LEVEL + 1):
        with pytest.raises(SchemaError, match="level"):
            Sketch(level=level)
