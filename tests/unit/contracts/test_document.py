from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import canonical_json, check_schema, dump, load, parse_json
from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError
from tests.strategies import budgets, costs, profiles


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    ratio: float
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    pair: tuple[int, str]
    inners: tuple[Inner, ...] = ()
    table: Mapping[str, Inner] = field(default_factory=dict)
    maybe: int | str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {"name": "n", "pair": [1, "a"], "inners": [{"ratio": 1}], "table": {"k": {"ratio": 0.5}}}


@given(budgets())
def test_a_budget_survives_a_round_trip(budget: Budget) -> None:
    assert load(Budget, dump(budget)) == budget


@given(costs)
def test_a_cost_survives_json(cost: Any) -> None:
    assert load(type(cost), parse_json(canonical_json(cost))) == cost


@given(profiles())
def test_a_profile_survives_json(profile: Any) -> None:
    assert load(type(profile), parse_json(canonical_json(profile))) == profile


def test_unknown_fields_are_kept_where_a_contract_is_open_and_refused_where_it_is_closed() -> None:
    outer = load(Outer, {**GOOD, "later": [1, {"a": None}]})
    assert outer.extra == {"later": [1, {"a": None}]}
    assert dump(outer)["later"] == [1, {"a": None}]
    with pytest.raises(SchemaError, match=r"inners\[0\]: unknown field 'shade'"):
        load(Outer, {**GOOD, "inners": [{"ratio": 1.0, "shade": 3}]})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": 3}, "document.name: expected a string, got the number 3"),
        ({"pair": [1]}, "document.pair: expected 2 items, got 1"),
        ({"pair": [True, "a"]}, "document.pair[0]: expected an integer, got a boolean"),
        ({"pair": "ab"}, "document.pair: expected a list, got a string"),
        ({"inners": [{"ratio": float("nan")}]}, "document.inners[0].ratio: must be finite, got nan"),
        ({"inners": [{"ratio": 1, "colour": "green"}]}, "document.inners[0].colour: 'green' is not one of red, blue"),
        ({"inners": [{}]}, "document.inners[0]: missing field 'ratio'"),
        ({"table": []}, "document.table: expected an object, got a list"),
        ({"table": {"k": None}}, "document.table.k: expected an object, got null"),
        ({"maybe": 1.5}, "document.maybe: expected a string, got the number 1.5"),
    ],
)
def test_a_wrong_document_names_the_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(SchemaError) as caught:
        load(Outer, {**GOOD, **change})
    assert caught.value.message == where


def test_a_check_of_a_nested_contract_is_reported_with_its_full_path() -> None:
    with pytest.raises(SchemaError) as caught:
        load(Budget, {"latency_ms": -1.0}, path="budget")
    assert caught.value.path == "budget.latency_ms"
    assert "above 0" in caught.value.message


@pytest.mark.parametrize("raw", [b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'"\xff"', b"[" * 100_000])
def test_hostile_json_is_a_schema_error(raw: bytes) -> None:
    with pytest.raises(SchemaError):
        parse_json(raw)


def test_json_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(SchemaError, match="exceed the limit of 4"):
        parse_json(b"[1,2]", limit_bytes=4)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_schema_error(raw: bytes) -> None:
    with contextlib.suppress(SchemaError):
        load(Outer, parse_json(raw))


def test_schema_tags_of_a_later_version_or_another_document_are_refused() -> None:
    check_schema("tamiyo.x/1", "tamiyo.x/2")
    with pytest.raises(SchemaVersionError) as caught:
        check_schema("tamiyo.x/3", "tamiyo.x/2")
    assert caught.value.hint == "upgrade tamiyo-edge"
    for wrong in ("tamiyo.y/1", "tamiyo.x", "tamiyo.x/one", "tamiyo.x/-1"):
        with pytest.raises(SchemaError):
            check_schema(wrong, "tamiyo.x/2")
