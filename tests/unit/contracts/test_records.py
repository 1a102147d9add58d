from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given

from tamiyo_runtime.contracts import schema
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Record, Window, record_from_dict, record_to_dict
from tests.strategies import records, windows

SCHEMA = schema.documents()["records-2.json"]


@given(records)
def test_a_record_survives_json_with_its_unknown_fields(record: Record) -> None:
    assert record_from_dict(json.loads(json.dumps(record_to_dict(record)))) == record


@given(records)
def test_a_record_matches_its_published_schema(record: Record) -> None:
    jsonschema.validate(json.loads(json.dumps(record_to_dict(record))), SCHEMA)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SchemaError, match="'picture' is not one of window, decision, event, sample, tombstone"):
        record_from_dict({"kind": "picture"})


@given(windows())
def test_a_window_whose_counts_do_not_add_up_is_refused(window: Window) -> None:
    data = record_to_dict(window)
    with pytest.raises(SchemaError, match="add up"):
        record_from_dict({**data, "inferences": window.inferences + 1})
    with pytest.raises(SchemaError, match="must not be negative"):
        record_from_dict({**data, "energy_uj": -1})
